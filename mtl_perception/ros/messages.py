"""Results as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from typing import Any

from builtin_interfaces.msg import Time
from mtl_perception.msg import (
    AnticipatedAction,
    AnticipatedActions,
    BoundingBox,
    ClassScore,
    HumanPose,
    HumanPoseArray,
    ObjectStateChange,
    RecognizedAction,
    RecognizedActivity,
    RecognizedActivityArray,
    RecognizedGesture,
    SceneCaption,
    SentenceScore,
)
from mtl_perception.network.config import TaskConfig
from mtl_perception.network.temporal_graph.config import GROUPED_KINDS
from mtl_perception.runtime.results import (
    Anticipation,
    Caption,
    FrameResult,
    ObjectChange,
    PersonResult,
    Recognition,
)
from std_msgs.msg import Header, String

# What a task's results are published as; any other task of labels of clips speaks of actions too.
MESSAGE_TYPES: dict[str, Any] = {'gesture': RecognizedGesture}


CAPTION_TOPIC = 'scene_caption'
ANTICIPATION_TOPIC, CHANGE_TOPIC = 'anticipated_actions', 'object_state_change'
POSES_TOPIC, ACTIVITIES_TOPIC = 'human_poses', 'recognized_activities'
# Kinds of tasks whose labels are a matter of the checkpoint.
LABELLED_KINDS = ('classification', 'activity')


def message_type(task: str) -> Any:
    """Return the type of a task's results."""
    return MESSAGE_TYPES.get(task, RecognizedAction)


def topic_of(task: str, group: str = '') -> str:
    """Return the relative topic of a task's results, or of one of its groups of labels."""
    return f'recognized_{task}_{group}' if group else f'recognized_{task}'


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


def anticipation_msg(anticipation: Anticipation) -> AnticipatedActions:
    """Return which actions are expected to follow."""
    return AnticipatedActions(
        header=header_msg(anticipation.stamp_ns, anticipation.frame_id),
        memory_start=time_msg(anticipation.memory_start_ns),
        groups=anticipation.groups,
        actions=[AnticipatedAction(labels=_class_scores(best)) for best in anticipation.actions],
    )


def change_msg(change: ObjectChange) -> ObjectStateChange:
    """Return whether and when an object changes its state."""
    message = ObjectStateChange(
        header=header_msg(change.stamp_ns, change.frame_id),
        memory_start=time_msg(change.memory_start_ns),
        change_known=change.change_score is not None,
        change=change.is_change,
        change_score=change.change_score or 0.0,
    )
    if change.point_ns is not None:
        message.point_of_no_return_known = True
        message.point_of_no_return = time_msg(change.point_ns)
        message.point_of_no_return_score = change.point_score
    return message


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
    """
    Return the labels of all tasks that recognise something, as a JSON object.

    Of most tasks they are a list; of those with groups of labels, an object of lists.
    """
    labels: dict[str, Any] = {}
    for name, task in tasks.items():
        if task.kind in LABELLED_KINDS:
            labels[name] = list(task.labels)
        elif task.kind in GROUPED_KINDS:
            labels[name] = {group: list(listed) for group, listed in task.groups.items()}
    return String(data=json.dumps(labels))
