"""Results as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from typing import Any

from builtin_interfaces.msg import Time
from mtl_perception.msg import (
    BoundingBox,
    ClassScore,
    HumanPose,
    HumanPoseArray,
    RecognizedAction,
    RecognizedActivity,
    RecognizedActivityArray,
    RecognizedGesture,
    SceneCaption,
    SentenceScore,
)
from mtl_perception.network.config import TaskConfig
from mtl_perception.runtime.results import Caption, FrameResult, PersonResult, Recognition
from std_msgs.msg import Header, String

# What a task's results are published as; any other task of labels of clips speaks of actions too.
MESSAGE_TYPES: dict[str, Any] = {'gesture': RecognizedGesture}


CAPTION_TOPIC = 'scene_caption'
POSES_TOPIC, ACTIVITIES_TOPIC = 'human_poses', 'recognized_activities'
# Kinds of tasks whose labels are a matter of the checkpoint.
LABELLED_KINDS = ('classification', 'activity')


def message_type(task: str) -> Any:
    """Return the type of a task's results."""
    return MESSAGE_TYPES.get(task, RecognizedAction)


def topic_of(task: str) -> str:
    """Return the relative topic of a task's results."""
    return f'recognized_{task}'


def header_msg(stamp_ns: int, frame_id: str) -> Header:
    """Return the header of results."""
    return Header(stamp=time_msg(stamp_ns), frame_id=frame_id)


def time_msg(stamp_ns: int) -> Time:
    """Return nanoseconds as a message."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def recognition_msg(recognition: Recognition) -> Any:
    """Return a recognition as the message of its task, about the whole scene."""
    return message_type(recognition.task)(
        header=header_msg(recognition.stamp_ns, recognition.frame_id),
        clip_start=time_msg(recognition.clip_start_ns),
        label=recognition.label,
        score=recognition.score,
        top_k=_class_scores(recognition.top_k),
    )


def caption_msg(caption: Caption) -> SceneCaption:
    """Return what a clip shows in words."""
    return SceneCaption(
        header=header_msg(caption.stamp_ns, caption.frame_id),
        clip_start=time_msg(caption.clip_start_ns),
        sentence=caption.sentence,
        score=caption.score,
        candidates=[SentenceScore(sentence=s, score=score) for s, score in caption.candidates],
    )


def poses_msg(result: FrameResult) -> HumanPoseArray:
    """Return boxes and joints of all people of a frame."""
    return HumanPoseArray(
        header=header_msg(result.stamp_ns, result.frame_id),
        poses=[_pose_msg(person) for person in result.people],
    )


def activities_msg(result: FrameResult) -> RecognizedActivityArray:
    """Return what all people of a frame do."""
    return RecognizedActivityArray(
        header=header_msg(result.stamp_ns, result.frame_id),
        activities=[
            RecognizedActivity(
                track_id=person.track_id,
                label=person.activity,
                score=person.activity_score,
                top_k=_class_scores(person.top_k),
            )
            for person in result.people
        ],
    )


def _pose_msg(person: PersonResult) -> HumanPose:
    # A box is measured from the corner of the image, half a pixel before the first centre.
    x_min, y_min, x_max, y_max = (person.box + 0.5).tolist()
    return HumanPose(
        track_id=person.track_id,
        score=person.score,
        box=BoundingBox(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max),
        x=person.keypoints[:, 0].copy(),
        y=person.keypoints[:, 1].copy(),
        keypoint_score=person.keypoints[:, 2].copy(),
    )


def _class_scores(ranked: Sequence[tuple[str, float]]) -> list[ClassScore]:
    return [ClassScore(label=label, score=score) for label, score in ranked]


def labels_msg(tasks: Mapping[str, TaskConfig]) -> String:
    """Return the labels of all tasks that recognise something, as a JSON object of lists."""
    labels = {n: list(task.labels) for n, task in tasks.items() if task.kind in LABELLED_KINDS}
    return String(data=json.dumps(labels))
