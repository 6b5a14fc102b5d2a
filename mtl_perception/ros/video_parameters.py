"""The parameters of the video node."""

from __future__ import annotations

from dataclasses import dataclass
import re

from mtl_perception.ros.parameters import check_parameters, parameter, TRANSPORTS, When
from mtl_perception.runtime.scene_stream import renderer_command, SCENE_TASKS, SceneStream
from mtl_perception.runtime.video_source import open_video, VideoSource

SCENES = 'scenes'
_DEFAULT_SCENE_SIZE = (240, 320)
_DEFAULT_SCENE_RATE_HZ = 20.0


@dataclass(frozen=True)
class VideoParameters:
    """What an integrator may change about the video node; all of it at start only."""

    source: str = parameter(
        SCENES,
        'What to publish: a video file, a folder of images, a camera index, /dev/video*, a stream '
        "such as rtsp://..., or 'scenes' for rendered people with known truth.",
        When.START,
    )
    rate_hz: float = parameter(
        0.0,
        "Frames per second; 0 for the source's own (30 for folders, 20 for scenes).",
        When.START,
        limits=(0.0, 1000.0),
    )
    size: str = parameter(
        '', "Publish images of this HEIGHTxWIDTH, e.g. 480x640; empty for the source's own.",
        When.START,
    )  # fmt: skip
    loop: bool = parameter(
        False, 'Start again at the end; the stamps go on without a jump.', When.START
    )
    image_transport: str = parameter(
        'raw',
        "'raw' publishes image, 'compressed' publishes image/compressed.",
        When.START,
        choices=TRANSPORTS,
    )
    jpeg_quality: int = parameter(
        90, "Quality of the JPEGs of image_transport 'compressed'.", When.START, limits=(1, 100)
    )
    frame_id: str = parameter(
        'camera_optical_frame', 'Coordinate frame in the header of the images.', When.START
    )
    wait_for_subscribers: int = parameter(
        0, 'Publish nothing before so many subscribers are there.', When.START, limits=(0, 100)
    )
    wait_timeout_sec: float = parameter(
        30.0, 'Do not wait longer than this for subscribers.', When.START, limits=(0.0, 3600.0)
    )
    start_delay_sec: float = parameter(
        0.0,
        'Wait so long before the first image, after the subscribers are there.',
        When.START,
        limits=(0.0, 3600.0),
    )
    scenes_count: int = parameter(
        0, 'End after so many rendered scenes; 0 for no end.', When.START, limits=(0, 1_000_000)
    )
    scenes_seed: int = parameter(
        0, 'Seed of the rendered scenes.', When.START, limits=(0, 2**31 - 1)
    )
    scenes_task: str = parameter(
        'both',
        "What the rendered people do: 'both' are actions and gestures, 'all' activities too.",
        When.START,
        choices=SCENE_TASKS,
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        if not self.source:
            raise ValueError('source must name a video, a folder, a camera or scenes, got none.')
        parse_size(self.size)

    def open(self) -> VideoSource:
        """
        Open the source.

        :raises VideoSourceError: If there is none of that name or it cannot be read.
        """
        size, rate_hz = parse_size(self.size), self.rate_hz or None
        if self.source != SCENES:
            return open_video(self.source, rate_hz=rate_hz, size=size)
        command = renderer_command(
            size=size or _DEFAULT_SCENE_SIZE,
            rate_hz=rate_hz or _DEFAULT_SCENE_RATE_HZ,
            seed=self.scenes_seed,
            num_scenes=self.scenes_count or None,
            task=self.scenes_task,
        )
        return SceneStream(command)


def parse_size(text: str) -> tuple[int, int] | None:
    """
    Return (height, width) of a text such as ``480x640``; ``None`` if it is empty.

    :raises ValueError: If it is neither.
    """
    if not text:
        return None
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(8 <= side <= 8192 for side in size):
        raise ValueError(f'size must be HEIGHTxWIDTH, each 8 to 8192, got {text!r}.')
    return size
