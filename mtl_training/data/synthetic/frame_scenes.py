"""What the annotated frames of a seed show: pixels and truth, each ready for a cache."""

from dataclasses import dataclass
from typing import NamedTuple

from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
from mtl_training.data.frame_sample import UNKNOWN
from mtl_training.data.synthetic.activity_scenes import (
    EARLIEST_SEC,
    moment_of,
    sample_activity_scene,
)
from mtl_training.data.synthetic.clips import halved, OVERSAMPLING, scene_seed
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.rendering import RENDERER_VERSION, SceneRenderer
from mtl_training.data.synthetic.scene import MAX_PEOPLE, Scene
from mtl_training.data.synthetic.shapes import Image
import numpy as np
from numpy.typing import NDArray

# Part of every cache's key: raise it whenever the same arguments give other scenes or truth.
_FRAMES_VERSION = 1
_FIRST_SCENE = 2**31  # clips of actions and gestures use the scenes from 0
_TRUTHS = 4 + 3 * NUM_KEYPOINTS + 2  # box, joints, area, activity


class Truth(NamedTuple):
    """Of everybody in a scene, oldest frame first; coordinates in pixels of the frames."""

    boxes: NDArray[np.float32]  # [P, T, 4], xyxy
    keypoints: NDArray[np.float32]  # [P, T, 17, 3]
    areas: NDArray[np.float32]  # [P, T]
    activities: NDArray[np.float32]  # [P, T], places in ACTIVITIES; UNKNOWN for nobody


@dataclass(frozen=True)
class FrameScenes:
    """
    The scenes of a data set of frames, one per index.

    Half show activities; the others are those of actions, gestures and of neither, as in clips
    and streams, in turn; one in twenty is a place without anybody.
    """

    split: str
    num_images: int
    seed: int
    size: tuple[int, int]  # height and width of the frames, pixels

    @property
    def name(self) -> str:
        """Name everything that the scenes and their frames depend on."""
        return (
            f'frames-{self.split}-{self.num_images}-{self.size[0]}x{self.size[1]}'
            f'-seed{self.seed}-v{RENDERER_VERSION}.{_FRAMES_VERSION}'
        )

    def scene(self, index: int) -> Scene:
        """Return the scene of one sample."""
        seed = scene_seed(self.split, self.seed, _FIRST_SCENE + index)
        if index % 2:
            return sample_activity_scene(seed)
        turn = index // 2 % 10
        if turn < 8:
            return Scene.sample(seed, task=('action', 'gesture')[turn % 2])
        return Scene.sample(seed, num_people=0 if turn == 9 else None)

    def times(self, scene: Scene, num_frames: int, history_seconds: float) -> Array:
        """Return when its frames are taken; the newest does not depend on how many there are."""
        newest = moment_of(scene.seed, scene.duration_sec)
        if num_frames == 1:
            return np.array([newest])
        return np.linspace(newest - history_seconds, newest, num_frames)

    def renderer(self, scene: Scene) -> SceneRenderer:
        """Return the renderer of one scene at the size before reduction."""
        return SceneRenderer(scene, (self.size[0] * OVERSAMPLING, self.size[1] * OVERSAMPLING))


@dataclass(frozen=True)
class FramePixels:
    """The frames of all samples."""

    scenes: FrameScenes
    num_frames: int
    history_seconds: float

    @property
    def name(self) -> str:
        """Of the cache; a single frame does not depend on the history."""
        return f'{self.scenes.name}{_history(self.num_frames, self.history_seconds)}-pixels'

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all frames, ``(N, F, h, w, 3)``."""
        return (self.scenes.num_images, self.num_frames, *self.scenes.size, 3)

    def render(self, index: int) -> Image:
        """Return the frames of one sample, uint8 ``[F, h, w, 3]``."""
        scene = self.scenes.scene(index)
        times = self.scenes.times(scene, self.num_frames, self.history_seconds)
        return np.stack(
            [halved(frame) for frame in self.scenes.renderer(scene).render(times).frames]
        )


@dataclass(frozen=True)
class FrameTruths:
    """The truth of all samples, as rows of numbers."""

    scenes: FrameScenes
    num_frames: int
    history_seconds: float

    @property
    def name(self) -> str:
        """Of the cache."""
        return f'{self.scenes.name}{_history(self.num_frames, self.history_seconds)}-truth'

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the truth of all samples, ``(N, people, T, numbers)``."""
        return (self.scenes.num_images, MAX_PEOPLE, self.num_frames, _TRUTHS)

    def render(self, index: int) -> NDArray[np.float32]:
        """Return the truth of one sample; :meth:`unpack` tells what it means."""
        scene = self.scenes.scene(index)
        clip = self.scenes.renderer(scene).truth(
            self.scenes.times(scene, self.num_frames, self.history_seconds)
        )
        assert clip.areas is not None
        keypoints, boxes = _reduced(clip.keypoints, clip.boxes, self.scenes.size)
        rows = np.full(self.shape[1:], UNKNOWN, np.float32)
        rows[: len(scene.people)] = np.concatenate(
            [
                boxes,
                keypoints.reshape(*boxes.shape[:2], 3 * NUM_KEYPOINTS),
                clip.areas[..., None] / OVERSAMPLING**2,
                clip.frame_activities[..., None],
            ],
            axis=-1,
        ).transpose(1, 0, 2)
        return rows

    @staticmethod
    def unpack(rows: NDArray[np.float32]) -> Truth:
        """Return the truth that one sample's rows hold."""
        known = rows[rows[:, -1, -1] != UNKNOWN]
        boxes, keypoints, areas, activities = np.split(known, [4, _TRUTHS - 2, _TRUTHS - 1], -1)
        joints = keypoints.reshape(*boxes.shape[:2], NUM_KEYPOINTS, 3)
        return Truth(boxes, joints, areas[..., 0], activities[..., 0])


def _history(num_frames: int, seconds: float) -> str:
    return '' if num_frames == 1 else f'-{num_frames}x{seconds}s'


def _reduced(
    keypoints: NDArray[np.float32], boxes: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Follow the reduction of images: (0, 0) stays the centre of the first pixel."""
    last = np.array([size[1] - 1, size[0] - 1], np.float32)
    at = (keypoints[..., :2] + 0.5) / OVERSAMPLING - 0.5
    # The outermost half pixel of a large image lies beyond the centres of the small one.
    inside = ((at >= 0) & (at <= last)).all(-1, keepdims=True)
    keypoints = np.concatenate([at, keypoints[..., 2:] * inside], axis=-1)
    smaller = np.clip((boxes + 0.5) / OVERSAMPLING - 0.5, 0, np.tile(last, 2))
    return keypoints, np.where(boxes.any(-1, keepdims=True), smaller, 0).astype(np.float32)


def check_history(num_frames: int, history_seconds: float) -> None:
    """Refuse a history that a scene does not have."""
    if num_frames < 1:
        raise ValueError(f'history must be positive, got {num_frames}.')
    if not 0 < history_seconds <= EARLIEST_SEC:
        raise ValueError(f'history_seconds must be in (0, {EARLIEST_SEC}], got {history_seconds}.')
