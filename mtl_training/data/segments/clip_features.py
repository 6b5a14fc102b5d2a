"""Clips of any data set of classes as windows of features: what a trained trunk sees of them."""

from __future__ import annotations

from hashlib import sha256
import json
from pathlib import Path
from typing import Any

from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.clip_sets import build_clip_set, MULTI_LABEL_SETS
from mtl_training.data.fingerprint import fingerprint
from mtl_training.data.graph_sample import GraphSample
from mtl_training.data.sample import ClipDataset, describe
from mtl_training.data.synthetic.cache import load_or_render
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import check_split
from mtl_training.data.videos.probing import user_cache
from mtl_training.features.models import FeatureModel, model_of_checkpoint
import numpy as np
from numpy.typing import NDArray
import torch
from torch.utils.data import Dataset

_DIGITS = 16
_NO_SECONDS = torch.zeros(2)


class ClipFeatures(Dataset[GraphSample]):
    """
    Recognise clips from one feature each, which is all S features of all N nodes.

    :param clips: The data set; its clips must be the same whenever they are asked for.
    :param features: ``[len(clips), D]``.
    :param labels: Of each clip.
    :param num_nodes: N.
    :param num_features: S.
    """

    labels: tuple[str, ...] = ()
    varies = False

    def __init__(
        self,
        task: str,
        clips: ClipDataset,
        features: NDArray[np.float32],
        labels: list[int],
        *,
        num_nodes: int = 1,
        num_features: int = 3,
    ) -> None:
        self.task, self.groups = task, {clips.task: tuple(clips.labels)}
        self._clips, self._features = clips, features
        self._shape = (num_nodes, num_features, features.shape[1])
        self._targets = torch.tensor(labels)[:, None]
        self.concepts = tuple(sorted({clips.labels[label] for label in labels}))
        self._concepts = [self.concepts.index(clips.labels[label]) for label in labels]

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._features)

    def __getitem__(self, index: int) -> GraphSample:
        """Return one clip as a window."""
        values = torch.from_numpy(np.array(self._features[index])).expand(self._shape)
        return GraphSample(values, self._targets[index], _NO_SECONDS, index)

    def concept_of(self, index: int) -> int:
        """Return the place of the label of a clip among the concepts."""
        return self._concepts[index]

    def describe(self, index: int) -> str:
        """Return where the clip came from, and what it shows."""
        return f'{describe(self._clips, index)}: {self.concepts[self.concept_of(index)]}'


class _Extraction:
    """
    What :func:`load_or_render` needs: a feature of each clip, and its label.

    The label, which data sets tell with a clip, is the last number of a row, exact in float32.
    """

    def __init__(self, model: FeatureModel, clips: ClipDataset, dim: int) -> None:
        self._model, self._clips = model, clips
        self._preprocessor = FramePreprocessor(model.preprocessing)
        self.shape: tuple[int, ...] = (len(clips), dim + 1)

    def render(self, index: int) -> NDArray[np.float32]:
        """Return the feature and the label of a clip, ``[D + 1]``."""
        sample = self._clips[index]
        feature = self._model(sample.frames[None], self._preprocessor)[0]
        return np.append(feature.numpy(), np.float32(sample.label))


def clip_features(
    task: str,
    kind: str,
    split: str,
    /,
    *,
    settings: Any,
    graph: GraphConfig,
    checkpoint: str,
    dataset: str,
    features_of: str | None = None,
    features_dir: str | None = None,
    **own: Any,
) -> ClipFeatures:
    """
    Clips of a data set of classes, seen by the frozen clip trunk of a checkpoint.

    :param settings: Of the task.
    :param graph: Of its trunk.
    :param checkpoint: A file of weights with a trunk of clips.
    :param dataset: Of clips of one class each, such as synthetic or folder.
    :param features_of: The clip task whose features; default: the setting ``task`` of the data
        set, or the only one that there is.
    :param features_dir: Where the features are kept; ``None``: in the user's cache.
    :param own: Settings of the data set.
    :raises ValueError: If the checkpoint or the data set can't be read, or they do not fit.
    """
    check_split(split)
    if kind != 'recognition':
        raise ValueError(f'clip_features is for tasks of kind recognition, got {kind}.')
    if dataset in MULTI_LABEL_SETS:
        raise ValueError(f'clip_features is for clips of one class each, got {dataset}.')
    # Prototypes are recorded with augment false: the same features, which are made once.
    if own.pop('augment', False):
        raise ValueError('augment must be false for clip_features: each clip is seen once.')
    model = model_of_checkpoint(checkpoint, features_of or own.get('task'), torch.device('cpu'))
    given = {
        'num_frames': model.num_frames,
        'clip_seconds': model.window_frames / 30,
        'size': tuple(model.preprocessing.resize),
        **own,
    }
    where = f"data set '{dataset}' of task '{task}'"
    clips = build_clip_set(dataset, model.name, split, given, model.preprocessing, where)
    folder = user_cache() / 'clip_features' if features_dir is None else Path(features_dir)
    name = f'{model.name}-{split}-{_identity(model, dataset, split, given, clips)}'
    extraction = _Extraction(model, clips, graph.feature_dim)
    _check_dim(extraction, model, graph, task)
    rows = load_or_render(folder.expanduser(), name, extraction, 0, np.float32)
    return ClipFeatures(
        task,
        clips,
        rows[:, :-1],
        rows[:, -1].astype(int).tolist(),
        num_nodes=settings.num_nodes,
        num_features=graph.num_features,
    )


def _check_dim(
    extraction: _Extraction,
    model: FeatureModel,
    graph: GraphConfig,
    task: str,
) -> None:
    found = len(extraction.render(0)) - 1
    if found != graph.feature_dim:
        raise ValueError(
            f"graph.feature_dim of the trunk of task '{task}' must be that of its features, "
            f"{found} of '{model.name}' in the checkpoint, got {graph.feature_dim}."
        )


def _identity(
    model: FeatureModel, dataset: str, split: str, given: dict[str, Any], clips: ClipDataset
) -> str:
    """Return a hash of all that the features depend on."""
    files = []
    if isinstance(clips, VideoClips):
        for path in dict.fromkeys(entry.path for entry in clips.entries):
            status = path.stat()
            files.append((str(path), status.st_size, status.st_mtime_ns))
    rendered = clips.name() if hasattr(clips, 'name') else ''
    facts = [model.digest, model.name, dataset, split, given, clips.labels, rendered]
    text = json.dumps([*facts, fingerprint(clips), files], default=str, sort_keys=True)
    return sha256(text.encode(errors='surrogateescape')).hexdigest()[:_DIGITS]
