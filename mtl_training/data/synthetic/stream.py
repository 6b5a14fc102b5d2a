"""Scenes one after another, as a stream of raw frames or as a video with its truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
import json
from pathlib import Path
from typing import BinaryIO

import av
from mtl_training.data.synthetic.activity_scenes import sample_activity_scene
from mtl_training.data.synthetic.clips import balanced_labels, scene_seed
from mtl_training.data.synthetic.labels import ACTIVITIES, ACTIVITY, TASK_LABELS
from mtl_training.data.synthetic.rendering import RenderedClip, SceneRenderer
from mtl_training.data.synthetic.scene import Scene
import numpy as np
from numpy.typing import NDArray

_FRAMES_AT_ONCE = 16  # one by one would cost twice the time
BOTH = 'both'  # actions and gestures take turns
ALL = 'all'  # and scenes of activities, too
# The kinds of scenes that take turns in a stream.
STREAM_TASKS: dict[str, tuple[str, ...]] = {
    **{task: (task,) for task in (*TASK_LABELS, ACTIVITY)},
    BOTH: tuple(TASK_LABELS),
    ALL: (*TASK_LABELS, ACTIVITY),
}


@dataclass(frozen=True)
class StreamSettings:
    """
    What a stream shows.

    ``num_scenes`` None never ends. ``clip_seconds`` is the window for which each frame tells
    whether a clip that ends there shows the labelled motion nearly whole.
    """

    size: tuple[int, int]  # height, width
    fps: float = 20.0
    seed: int = 0
    num_scenes: int | None = None
    task: str = BOTH
    clip_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.task not in STREAM_TASKS:
            raise ValueError(f"task must be one of {tuple(STREAM_TASKS)}, got '{self.task}'.")
        if not 1.0 <= self.fps <= 240.0:
            raise ValueError(f'fps must be from 1 to 240, got {self.fps}.')
        if self.num_scenes is not None and self.num_scenes < 1:
            raise ValueError(f'num_scenes must be positive, got {self.num_scenes}.')
        if min(self.size) < 16:
            raise ValueError(f'size must be at least 16x16, got {self.size[0]}x{self.size[1]}.')
        scene_seed('stream', self.seed, 0)


@dataclass(frozen=True)
class StreamedScene:
    """One scene of a stream, rendered whole."""

    number: int
    start_sec: float  # of its first frame, from the start of the stream
    times_sec: list[float]  # of its frames, from its own start
    recognizable: list[bool]  # whether a clip that ends at the frame shows the motion nearly whole
    scene: Scene
    clip: RenderedClip

    def frame_truth(self, frame: int) -> dict[str, object]:
        """
        Return the line that goes before one raw frame.

        ``boxes``, ``keypoints`` and ``activities`` are of the people who are in the picture, whom
        ``people`` numbers: the same person has the same number throughout the scene.
        """
        boxes = self.clip.boxes[frame]
        shown = boxes.any(-1)
        return {
            'scene': self.number,
            't': round(self.start_sec + self.times_sec[frame], 6),
            'action': self.clip.action,
            'gesture': self.clip.gesture,
            'caption': self.clip.caption,
            'num_people': len(self.scene.people),
            'recognizable': self.recognizable[frame],
            'people': np.flatnonzero(shown).tolist(),
            'boxes': _rounded(boxes[shown]),
            'keypoints': _rounded(self.clip.keypoints[frame, shown]),
            'activities': [ACTIVITIES[i] for i in self.clip.frame_activities[frame, shown]],
        }


def _rounded(values: NDArray[np.float32]) -> list[object]:
    return np.round(values.astype(float), 2).tolist()  # type: ignore[no-any-return]


def stream_labels(task: str, seed: int) -> Iterator[str | None]:
    """
    Yield labels for ever: tasks take turns, and the labels of each come round evenly.

    None stands for a scene of activities.
    """
    tasks = STREAM_TASKS[task]
    rng = np.random.default_rng([scene_seed('stream', seed, 0)])
    queues: dict[str, list[str]] = {name: [] for name in tasks}
    while True:
        for name in tasks:
            if name == ACTIVITY:
                yield None
                continue
            if not queues[name]:
                queues[name] = balanced_labels(TASK_LABELS[name], len(TASK_LABELS[name]), rng)
            yield queues[name].pop()


def iterate_scenes(settings: StreamSettings) -> Iterator[StreamedScene]:
    """Render the scenes of a stream; frame times run on evenly across the cuts."""
    first_frame = 0
    for number, label in enumerate(stream_labels(settings.task, settings.seed)):
        if number == settings.num_scenes:
            return
        scene = _stream_scene(scene_seed('stream', settings.seed, number), label)
        count = int(scene.duration_sec * settings.fps)
        times = np.arange(count) / settings.fps
        renderer = SceneRenderer(scene, settings.size)
        chunks = [
            renderer.render(times[i : i + _FRAMES_AT_ONCE])
            for i in range(0, count, _FRAMES_AT_ONCE)
        ]
        window = settings.clip_seconds
        yield StreamedScene(
            number=number,
            start_sec=first_frame / settings.fps,
            times_sec=times.tolist(),
            recognizable=[scene.is_recognizable(time - window, window) for time in times.tolist()],
            scene=scene,
            clip=_joined(chunks),
        )
        first_frame += count


def _stream_scene(seed: int, label: str | None) -> Scene:
    return sample_activity_scene(seed) if label is None else Scene.sample(seed, label=label)


def _joined(chunks: list[RenderedClip]) -> RenderedClip:
    last = chunks[-1]
    return RenderedClip(
        frames=np.concatenate([chunk.frames for chunk in chunks]),
        action=last.action,
        gesture=last.gesture,
        keypoints=np.concatenate([chunk.keypoints for chunk in chunks]),
        boxes=np.concatenate([chunk.boxes for chunk in chunks]),
        activities=last.activities,
        frame_activities=np.concatenate([chunk.frame_activities for chunk in chunks]),
        caption=last.caption,
    )


def render_stream(out: BinaryIO, settings: StreamSettings) -> None:
    """
    Write a stream: a JSON header line, then for each frame a JSON line and its raw RGB bytes.

    Ends quietly when the reader closes its end.
    """
    header = {
        'width': settings.size[1],
        'height': settings.size[0],
        'fps': settings.fps,
        'encoding': 'rgb8',
        'scenes': settings.num_scenes,
    }
    try:
        _write_line(out, header)
        for streamed in iterate_scenes(settings):
            for frame, image in enumerate(streamed.clip.frames):
                _write_line(out, streamed.frame_truth(frame))
                out.write(image.data)
        out.flush()
    except BrokenPipeError:
        return


def _write_line(out: BinaryIO, content: dict[str, object]) -> None:
    out.write(json.dumps(content).encode() + b'\n')


def truth_path(path: Path) -> Path:
    """Return where the truth of a video lies."""
    return path.with_name(f'{path.name}.truth.json')


def render_video(path: Path, settings: StreamSettings) -> None:
    """
    Write an H.264 video, and its truth beside it as ``<file>.truth.json``.

    :raises ValueError: If the settings never end, or the size is odd (H.264 halves its colours).
    """
    if settings.num_scenes is None:
        raise ValueError('num_scenes must be set: a video ends.')
    if settings.size[0] % 2 or settings.size[1] % 2:
        raise ValueError(f'size must be even, got {settings.size[0]}x{settings.size[1]}.')
    path.parent.mkdir(parents=True, exist_ok=True)
    scenes = []
    rate = Fraction(settings.fps).limit_denominator(1001)
    with av.open(str(path), 'w') as container:
        video = container.add_stream('libx264', rate=rate, options={'crf': '20'})
        video.height, video.width = settings.size
        video.pix_fmt = 'yuv420p'
        for streamed in iterate_scenes(settings):
            for image in streamed.clip.frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
            scenes.append(scene_truth(streamed))
        container.mux(video.encode())
    truth = {
        'height': settings.size[0],
        'width': settings.size[1],
        'fps': settings.fps,
        'seed': settings.seed,
        'scenes': scenes,
    }
    truth_path(path).write_text(json.dumps(truth))


def scene_truth(streamed: StreamedScene) -> dict[str, object]:
    """Return all truth of one scene, ready for JSON."""
    clip = streamed.clip
    return {
        'scene': streamed.number,
        'start_sec': round(streamed.start_sec, 6),
        'action': clip.action,
        'gesture': clip.gesture,
        'caption': clip.caption,
        'num_people': len(streamed.scene.people),
        'recognizable': streamed.recognizable,
        'activities': clip.frame_activities.tolist(),
        'boxes': _rounded(clip.boxes),
        'keypoints': _rounded(clip.keypoints),
    }
