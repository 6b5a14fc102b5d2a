"""Recognitions as messages."""

from __future__ import annotations

from collections.abc import Mapping
import json
from typing import Any

from builtin_interfaces.msg import Time
from mtl_perception.msg import ClassScore, RecognizedAction, RecognizedGesture
from mtl_perception.network.config import TaskConfig
from mtl_perception.runtime.recognizer import Recognition
from std_msgs.msg import Header, String

# What a task's results are published as; any other clip task speaks of actions too.
MESSAGE_TYPES: dict[str, Any] = {'gesture': RecognizedGesture}


def message_type(task: str) -> Any:
    """Return the type of a task's results."""
    return MESSAGE_TYPES.get(task, RecognizedAction)


def topic_of(task: str) -> str:
    """Return the relative topic of a task's results."""
    return f'recognized_{task}'


def time_msg(stamp_ns: int) -> Time:
    """Return nanoseconds as a message."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def recognition_msg(recognition: Recognition) -> Any:
    """Return a recognition as the message of its task, about the whole scene."""
    return message_type(recognition.task)(
        header=Header(stamp=time_msg(recognition.stamp_ns), frame_id=recognition.frame_id),
        clip_start=time_msg(recognition.clip_start_ns),
        label=recognition.label,
        score=recognition.score,
        top_k=[ClassScore(label=label, score=score) for label, score in recognition.top_k],
    )


def labels_msg(tasks: Mapping[str, TaskConfig]) -> String:
    """Return the labels of all tasks, as a JSON object of lists."""
    return String(data=json.dumps({name: list(task.labels) for name, task in tasks.items()}))
