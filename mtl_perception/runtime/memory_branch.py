"""What looks further back than a clip: memories of features, and what is told from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mtl_perception.runtime.clip_buffer import Clip
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.outputs import Outputs
from mtl_perception.runtime.results import (
    Anticipation,
    MemoryResults,
    ObjectChange,
    Recognition,
    RecognitionSettings,
)
from mtl_perception.runtime.segment_outputs import SegmentKey
from mtl_perception.runtime.smoothing import Smoother, top_labels
from mtl_perception.runtime.window_memory import MemoryState, WindowMemory
import numpy as np
from torch import Tensor


class MemoryBranch:
    """
    The tasks of an engine that look at windows of features; without any, all this does nothing.

    Each clip that is recognised leaves its feature; nothing is told of a task before they span its
    window. A new stream begins with empty memories.
    """

    def __init__(self, engine: Engine) -> None:
        self._config = engine.config
        self._trunks = {
            name: WindowMemory(engine, name, graph) for name, graph in engine.memory_trunks.items()
        }
        self._smoothers: dict[SegmentKey, Smoother] = {}

    @property
    def is_empty(self) -> bool:
        """Return whether there are no such tasks."""
        return not self._trunks

    @property
    def state(self) -> MemoryState | None:
        """Return how much is remembered; None without such tasks. For any thread."""
        states = [trunk.state for trunk in self._trunks.values()]
        return max(states, key=lambda state: state.needed_sec - state.span_sec, default=None)

    def remember(
        self, features: Mapping[str, Tensor], clips: Mapping[str, Clip]
    ) -> dict[str, Tensor]:
        """
        Take in the features of the newest clips and return the windows that are filled.

        :param features: ``[1, D]`` per clip task.
        :param clips: Per clip trunk.
        :return: ``[1, N, S, D]`` per task.
        """
        windows: dict[str, Tensor] = {}
        for trunk in self._trunks.values():
            clip = clips[self._config.tasks[trunk.source].trunk]
            windows |= trunk.remember(features[trunk.source][0], clip)
        return windows

    def describe(
        self, outputs: Outputs, clips: Mapping[str, Clip], settings: RecognitionSettings
    ) -> MemoryResults:
        """
        Return what all tasks say whose windows are filled.

        :raises ValueError: If features are not finite, which are then forgotten, or probabilities;
            what was smoothed before is kept.
        """
        if not outputs.are_features_finite:
            for trunk in self._trunks.values():
                trunk.memory.undo()
            raise ValueError(
                'the features of a clip must be finite to be remembered, got NaN or infinity.'
            )
        said: dict[str, dict[str, np.ndarray]] = {}
        for (task, group), values in outputs.segments.items():
            smoothed = self._smoothed((task, group), values, clips, settings.smoothing_sec)
            said.setdefault(task, {})[group] = smoothed
        results = MemoryResults()
        for task, groups in said.items():
            kind = self._config.tasks[task].kind
            if kind == 'recognition':
                for group, values in groups.items():
                    found = self._recognition(task, group, values, clips, settings)
                    results.recognitions.append(found)
            elif kind == 'anticipation':
                results.anticipation = self._anticipation(task, groups, clips)
        results.change = self._change(said, clips)
        return results

    def _smoothed(
        self,
        key: SegmentKey,
        values: np.ndarray,
        clips: Mapping[str, Clip],
        smoothing_sec: float,
    ) -> np.ndarray:
        clip = self._clip_of(key[0], clips)
        # The nodes of the next window stand for other moments.
        is_moments = self._config.tasks[key[0]].kind == 'point_of_no_return'
        return self._smoothers.setdefault(key, Smoother()).update(
            values,
            int(clip.stamps_ns[-1]),
            time_constant_sec=0.0 if is_moments else smoothing_sec,
            generation=clip.generation,
        )

    def _recognition(
        self,
        task: str,
        group: str,
        probabilities: np.ndarray,
        clips: Mapping[str, Clip],
        settings: RecognitionSettings,
    ) -> Recognition:
        clip, groups = self._clip_of(task, clips), self._config.tasks[task].groups
        ranked = top_labels(probabilities, groups[group], settings.top_k)
        label, score = ranked[0]
        return Recognition(
            task=task,
            group=group if len(groups) > 1 else '',
            label=label if score >= settings.min_score else '',
            score=score,
            top_k=ranked,
            stamp_ns=int(clip.stamps_ns[-1]),
            clip_start_ns=self._trunk_of(task).start_ns(task),
            frame_id=clip.source[0],
            received_sec=clip.received_sec,
            num_distinct=clip.num_distinct,
        )

    def _anticipation(
        self, task: str, said: Mapping[str, np.ndarray], clips: Mapping[str, Clip]
    ) -> Anticipation:
        clip, groups = self._clip_of(task, clips), self._config.tasks[task].groups
        # [F, G]
        best = zip(
            *(
                [top_labels(row, labels, 1)[0] for row in said[group]]
                for group, labels in groups.items()
            )
        )
        return Anticipation(
            groups=tuple(groups),
            actions=[list(labels) for labels in best],
            stamp_ns=int(clip.stamps_ns[-1]),
            memory_start_ns=self._trunk_of(task).start_ns(task),
            frame_id=clip.source[0],
        )

    def _change(
        self, said: Mapping[str, Mapping[str, np.ndarray]], clips: Mapping[str, Clip]
    ) -> ObjectChange | None:
        """Return whether and when an object changes; None while the first of both is unknown."""
        tasks = self._config.tasks
        task_of = {tasks[t].kind: t for trunk in self._trunks.values() for t in trunk.windows}
        change, moment = task_of.get('state_change'), task_of.get('point_of_no_return')
        first = change or moment
        if first is None or first not in said:
            return None
        clip, start_ns = self._clip_of(first, clips), self._trunk_of(first).start_ns(first)
        score = None if change is None else float(said[change][''][1])
        found = ObjectChange(
            change_score=score,
            stamp_ns=int(clip.stamps_ns[-1]),
            memory_start_ns=start_ns,
            frame_id=clip.source[0],
        )
        # Networks learn moments from changes only: where there is none, they say nothing.
        if moment is None or moment not in said or not (score is None or found.is_change):
            return found
        trunk, probabilities = self._trunk_of(moment), said[moment]['']
        node = int(np.argmax(probabilities))
        return replace(
            found,
            point_ns=trunk.moment_ns(moment, node),
            point_score=float(probabilities[node]),
            memory_start_ns=min(start_ns, trunk.start_ns(moment)),
        )

    def _trunk_of(self, task: str) -> WindowMemory:
        return self._trunks[self._config.tasks[task].trunk]

    def _clip_of(self, task: str, clips: Mapping[str, Clip]) -> Clip:
        return clips[self._config.tasks[self._trunk_of(task).source].trunk]
