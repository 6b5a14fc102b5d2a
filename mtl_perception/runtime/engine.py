"""The network on its device: what every task says, from one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
import time
from typing import Any

from mtl_perception.checkpoint import load_network
from mtl_perception.network.captions import CaptionConfig
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.activity import ActivityConfig
from mtl_perception.network.pose.association import AssociationConfig, INPUT_SIGMA, joint_maps
from mtl_perception.network.pose.detection import DetectionOutput
from mtl_perception.network.pose.keypoints import KeypointOutput
from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_perception.network.temporal_graph.window import window_of
from mtl_perception.runtime.outputs import found_people, Outputs
from mtl_perception.runtime.segment_outputs import segment_logits, segment_scores, SegmentKey
from mtl_perception.runtime.stopwatch import Stopwatch
import numpy as np
import torch
from torch import Tensor

PRECISIONS: dict[str, torch.dtype] = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
}
# 'auto' leaves float32 only for a gain worth the lost digits.
WORTHWHILE_SPEEDUP = 1.25
# Of the logits and of the scores, relative. Rounding costs a few per cent; a kernel that is wrong
# for some shape, as there have been (pytorch/pytorch#169688, #163539), costs far more.
MAX_HALF_ERROR = 0.1

# From the features of the clip tasks, [1, D] each, to windows of features, [1, N, S, D] per task.
Remember = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


class Engine:
    """
    A checkpoint's network, deployed on a device in a precision, warmed up with real shapes.

    Weights and inputs are cast once, instead of at every call as autocast would: a deployed
    network has no gradients, and autocast keeps no casts of such weights.

    :param checkpoint: Path of the checkpoint.
    :param device: ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda``,
        ``cuda:N``.
    :param precision: ``float32``, ``bfloat16``, ``float16`` or ``auto``: whichever of float32 and
        the device's half precision (float16 on CUDA, bfloat16 on a CPU) is measured to be faster
        at warm-up; the half must win clearly and give the same logits and scores.
    :raises CheckpointError: If the file is no usable checkpoint.
    :raises ValueError: If the device or the precision cannot be had, or no task says anything.
    """

    def __init__(
        self, checkpoint: str | Path, *, device: str = 'auto', precision: str = 'auto'
    ) -> None:
        if precision != 'auto' and precision not in PRECISIONS:
            known = ['auto', *PRECISIONS]
            raise ValueError(f'precision must be one of {known}, got {precision!r}.')
        self.device = find_device(device)
        network, self.checkpoint = load_network(checkpoint)
        self._network: MultiTaskNetwork = network.deploy()
        self.config: NetworkConfig = self.checkpoint.config
        if not self.config.trunks_of('clip') and self.frame_trunk is None:
            raise ValueError(
                'the checkpoint must have a clip task or one of detection, it has '
                f'{list(self.config.tasks)}.'
            )
        self.forward_sec: dict[str, float] = {}
        self.precision = self._warm_up(precision)
        self.dtype = PRECISIONS[self.precision]
        self._is_loaded = True

    @property
    def num_parameters(self) -> int:
        """Return how many numbers the deployed network holds."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    @property
    def frame_trunk(self) -> str | None:
        """Return the trunk in whose frames people are found, or None."""
        task = self.config.task_of_kind('detection')
        return None if task is None else self.config.tasks[task].trunk

    @property
    def activity_settings(self) -> ActivityConfig | None:
        """Return the settings of the task that says what people do, or None."""
        task = self.config.task_of_kind('activity')
        if task is None or self.frame_trunk is None:
            return None
        settings: ActivityConfig = settings_of(task, self.config.tasks[task])
        return settings

    @property
    def caption_settings(self) -> CaptionConfig | None:
        """Return the settings of the task that places clips among sentences, or None."""
        task = self.config.task_of_kind('caption')
        if task is None:
            return None
        settings: CaptionConfig = settings_of(task, self.config.tasks[task])
        return settings

    @property
    def memory_trunks(self) -> dict[str, GraphConfig]:
        """Return the trunks of windows whose features are those of a clip task."""
        return {name: graph for name, graph in self._graphs().items() if graph.source}

    @property
    def sourceless_trunks(self) -> list[str]:
        """Return the trunks of windows whose features come from elsewhere: they stay unused."""
        return [name for name, graph in self._graphs().items() if not graph.source]

    @property
    def finds_joints(self) -> bool:
        """Return whether people have joints: it takes tasks of keypoints and of association."""
        return None not in map(self.config.task_of_kind, ('keypoints', 'association'))

    def infer(self, inputs: Mapping[str, Tensor], remember: Remember | None = None) -> Outputs:
        """
        Return what all tasks say of the inputs of their trunks.

        :param inputs: Per trunk, on the engine's device: ``[1, 3, T, H, W]`` for one of clips,
            ``[1, 3, H, W]`` for that of frames; trunks may be absent.
        :param remember: Returns the windows of features that tasks look at, given the features
            that have just been found in the clips.
        """
        clips = {name: x for name, x in inputs.items() if name != self.frame_trunk}
        watch = Stopwatch(self.device)
        with torch.inference_mode():
            features = self._network.features(clips)
            scores = {task: self._network.scores_of(task, x) for task, x in features.items()}
            watch.lap('clip' if clips else '')
            parts = [values[0] for values in scores.values()]
            segments: dict[SegmentKey, Tensor] = {}
            if features and remember is not None:
                segments = self._segment_scores(remember(features))
                # What can't be compared must not be remembered; all that is asked at once.
                are_finite = torch.stack([x.isfinite().all() for x in features.values()]).all()
                parts += [*segments.values(), are_finite.float()]
                watch.lap('memory')
            of_clips = len(parts)
            if len(clips) < len(inputs):
                parts += self._people(inputs)
                watch.lap('frame')
            # One transfer for all tasks together. Only finding people waits for the device before:
            # how many boxes and joints there are is known once they have been counted.
            flat = torch.cat([part.flatten() for part in parts]).cpu().numpy()
        ends = np.cumsum([part.numel() for part in parts])[:-1]
        arrays = np.split(flat, ends)
        said, rest = arrays[: len(scores)], arrays[len(scores) : of_clips]
        return Outputs(
            scores=dict(zip(scores, said)),
            segments={
                key: values.reshape(segments[key].shape) for key, values in zip(segments, rest)
            },
            are_features_finite=bool(rest[-1][0]) if rest else True,
            people=found_people(*arrays[of_clips:]) if len(arrays) > of_clips else None,
            branch_sec=watch.laps(),
        )

    def activities(
        self, keypoints: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int]
    ) -> np.ndarray:
        """
        Return the probabilities ``[N, C]`` of what people do.

        It takes the earlier poses of each track, hence a call of its own, and a small one.

        :param keypoints: ``[N, T, 17, 3]``, oldest first; missing joints are NaN.
        :param boxes: The newest of each person, ``[N, 4]``, in the same pixels.
        :param image_size: (height, width) of that image.
        """
        with torch.inference_mode():
            poses, newest = (torch.from_numpy(x).to(self.device) for x in (keypoints, boxes))
            found = self._network.activities(poses, newest, torch.tensor(image_size))
            return found.cpu().numpy()

    def _graphs(self) -> dict[str, GraphConfig]:
        trunks = self.config.trunks_of('features')
        return {name: trunk.graph for name, trunk in trunks.items() if trunk.graph is not None}

    def _segment_scores(self, windows: Mapping[str, Tensor]) -> dict[SegmentKey, Tensor]:
        return segment_scores(self.config, self._network.forward_tasks(windows))

    def _people(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the people in a frame, and last whether what they were found in is finite."""
        assert self.frame_trunk is not None
        frames = inputs[self.frame_trunk]
        outputs = self._network({self.frame_trunk: frames})
        people = self._network.people_of(outputs, (frames.shape[2], frames.shape[3]))
        # What is not a number is less than every threshold: it would look like an empty room.
        said = (*_maps_of(outputs.values()), people.pose_scores)
        # Both ends are finite where all is, and what is not a number is an end.
        ends = [end.float() for values in said for end in values.aminmax()]
        is_finite = torch.stack(ends).isfinite().all()
        return [*(values[0].float() for values in people), is_finite.float()]

    def load(self) -> None:
        """Bring the network back to its device after :meth:`unload`."""
        if not self._is_loaded:
            self._network.to(self.device)
            self._is_loaded = True

    def unload(self) -> None:
        """Give the device's memory back, keeping the network in the computer's."""
        self._network.to('cpu')
        self._is_loaded = False
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Drop the network."""
        self.unload()
        del self._network

    def memory_bytes(self) -> int | None:
        """Return how much of the GPU's memory this process holds, or None on a CPU."""
        return torch.cuda.memory_reserved(self.device) if self.device.type == 'cuda' else None

    def _warm_up(self, precision: str) -> str:
        half = 'float16' if self.device.type == 'cuda' else 'bfloat16'
        candidates = ['float32', half] if precision == 'auto' else [precision]
        original = self._network
        outputs: dict[str, list[Tensor]] = {}
        for name in candidates:
            self._network = original.deploy().to(self.device, PRECISIONS[name])
            inputs, person = self._noise(PRECISIONS[name]), self._person(PRECISIONS[name])
            self.forward_sec[name] = self._time_forward(inputs, person)
            outputs[name] = self._outputs(inputs, person)
        best = candidates[-1]
        if precision == 'auto':
            speedup = self.forward_sec['float32'] / self.forward_sec[half]
            pairs = zip(outputs[half], outputs['float32'])
            is_equal = all(relative_error(*pair) <= MAX_HALF_ERROR for pair in pairs)
            best = half if is_equal and speedup >= WORTHWHILE_SPEEDUP else 'float32'
        if best != candidates[-1]:
            self._network = original.deploy().to(self.device, PRECISIONS[best])
        return best

    def _outputs(self, inputs: Mapping[str, Tensor], person: Mapping[str, Tensor]) -> list[Tensor]:
        """Return what all tasks say: logits, maps and scores, which say whether there is any."""
        clips = {name: x for name, x in inputs.items() if name != self.frame_trunk}
        with torch.inference_mode():
            outputs, scores = self._network(inputs), self._network.scores(clips)
            found = [*self._network.forward_tasks(person).values()]
            windows = self._still_windows(self._network.features(clips))
            segments = self._network.forward_tasks(windows)
        logits = [outputs.pop(task).float() for task in scores]
        found += _maps_of(outputs.values())
        if scores:
            found += [torch.cat(logits, 1), torch.cat([*scores.values()], 1)]
        found += [values for _, values in segment_logits(segments)]
        found += segment_scores(self.config, segments).values()
        return [values.float() for values in found]

    def _still_windows(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return windows of the size that tasks look at, in which one clip fills every place."""
        windows = {}
        for trunk, graph in self.memory_trunks.items():
            for task in self.config.tasks_of(trunk):
                num_nodes = window_of(settings_of(task, self.config.tasks[task])).num_inputs
                shape = (1, num_nodes, graph.num_features, graph.feature_dim)
                windows[task] = features[graph.source].expand(shape)
        return windows

    def _noise(self, dtype: torch.dtype) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        shapes: dict[str, tuple[int, ...]] = {
            name: (1, 3, trunk.num_frames, *trunk.preprocessing.size)
            for name, trunk in self.config.trunks_of('clip').items()
        }
        if self.frame_trunk is not None:
            size = self.config.trunks[self.frame_trunk].preprocessing.size
            shapes[self.frame_trunk] = (1, 3, *size)
        return {
            name: torch.randn(shape, generator=generator).to(self.device, dtype)
            for name, shape in shapes.items()
        }

    def _person(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return what the tasks that look at a person take, of one made up: noise shows nobody."""
        generator = torch.Generator().manual_seed(0)
        inputs = {}
        if (task := self.config.task_of_kind('association')) is not None:
            config: AssociationConfig = settings_of(task, self.config.tasks[task])
            num_cells, shape = config.height * config.width, (1, NUM_KEYPOINTS, 1)
            cells = torch.randint(num_cells, shape, generator=generator)
            inputs[task] = joint_maps(cells, torch.ones(shape), config, INPUT_SIGMA)
        if (task := self.config.task_of_kind('activity')) is not None:
            history = settings_of(task, self.config.tasks[task]).history
            inputs[task] = torch.rand(1, 2 * NUM_KEYPOINTS * history, generator=generator)
        return {name: values.to(self.device, dtype) for name, values in inputs.items()}

    def _time_forward(self, inputs: Mapping[str, Tensor], person: Mapping[str, Tensor]) -> float:
        # The first calls choose kernels and grow memory; the fastest of the rest is the truth.
        durations = []
        for _ in range(5):
            start = time.perf_counter()
            with torch.inference_mode():
                self._network.forward_tasks(person)
            self.infer(inputs, self._still_windows)
            durations.append(time.perf_counter() - start)
        return min(durations[2:])


def _maps_of(outputs: Iterable[Any]) -> Iterator[Tensor]:
    """Return what people are found in: logits and deltas of the boxes, heatmaps."""
    for output in outputs:
        if isinstance(output, DetectionOutput):
            yield from (output.logits, output.deltas)
        elif isinstance(output, KeypointOutput):
            yield output.heatmaps


def relative_error(values: Tensor, reference: Tensor) -> float:
    """Return the norm of the difference over that of the reference; NaN counts as infinite."""
    error = float((values - reference).norm() / reference.norm().clamp_min(1e-12))
    return error if error == error else float('inf')


def find_device(name: str) -> torch.device:
    """
    Return the device that a name stands for.

    :raises ValueError: If there is no such device; another never takes its place.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    kind, _, index = name.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not index.isdecimal()):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {name!r}.")
    if kind == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise ValueError(
                f"device '{name}' is not there: this machine has {count} usable CUDA device(s). "
                "Use device 'cpu', or 'auto' to take a GPU only where there is one."
            )
    return torch.device(name)
