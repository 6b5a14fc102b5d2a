"""The configuration of the one network: shared by training, the checkpoint and the robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, MISSING, replace
from difflib import get_close_matches
from math import isfinite
import types
from typing import Any, get_args, get_origin, get_type_hints, TypeVar, Union

from mtl_perception.network.names import check_labels, check_name
from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_perception.network.temporal_graph.config import (
    GRAPH_KINDS,
    GraphConfig,
    GROUPED_KINDS,
    STATE_CHANGES,
)

T = TypeVar('T')

# Channel statistics of Kinetics-400, the ones torchvision's video weights were trained with.
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)
FITS = ('crop', 'pad', 'stretch')
# What each kind of backbone looks at.
INPUTS = {
    'resnet3d': 'clip',
    'resnet3d_pooled': 'clip',
    'resnet3d_zero_pad': 'clip',
    'c3d': 'clip',
    'vgg': 'clip',
    'resnet_image': 'clip',
    'resnet2d': 'frame',
    'temporal_graph': 'features',
}
BACKBONES = tuple(INPUTS)
NORMS = ('batch', 'group', 'none')
# Depth and norm, as published; ResNets have the others.
PUBLISHED = {'c3d': (11, 'none'), 'vgg': (16, 'none')}
# The branch of single frames: boxes and joints from its trunk, then whose joints they are, and
# what each person does.
FRAME_KINDS = ('detection', 'keypoints', 'association', 'activity')
# What looks at whole clips: which label they show, and which sentences tell what is to be seen.
CLIP_KINDS = ('classification', 'caption')
TASK_KINDS = (*CLIP_KINDS, *FRAME_KINDS, *GRAPH_KINDS)
# Labels that no data set needs to tell.
FIXED_LABELS: dict[str, tuple[str, ...]] = {
    'detection': ('person',),
    'keypoints': KEYPOINTS,
    'association': KEYPOINTS,
    'caption': (),
    'recognition': (),
    'anticipation': (),
    'state_change': STATE_CHANGES,
    'point_of_no_return': (),
}
# Kinds of which a network has one task at most.
UNIQUE_KINDS = ('caption', *FRAME_KINDS, 'anticipation', 'state_change', 'point_of_no_return')
FRAME_MULTIPLE = 32  # pixels: the stride of the deepest layer
# Far beyond any use; a damaged or hostile config must not ask for all memory.
MAX_SIDE = 8192
MAX_WIDTH = 1024
MAX_FRAMES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessingConfig:
    """How a camera image becomes a network input; training and robot share it."""

    resize: tuple[int, int] = (128, 171)  # (height, width) in pixels
    crop: tuple[int, int] | None = None  # centre crop (height, width) after the resize
    fit: str = 'crop'  # how an image of another aspect ratio meets `resize`
    mean: tuple[float, float, float] = KINETICS_MEAN
    std: tuple[float, float, float] = KINETICS_STD

    def __post_init__(self) -> None:
        if not all(1 <= side <= MAX_SIDE for side in self.resize):
            raise ValueError(f'resize must be two sizes from 1 to {MAX_SIDE}, got {self.resize}.')
        if self.crop is not None and not all(1 <= c <= r for c, r in zip(self.crop, self.resize)):
            raise ValueError(f'crop must lie within resize {self.resize}, got {self.crop}.')
        if self.fit not in FITS:
            raise ValueError(f'fit must be one of {FITS}, got {self.fit!r}.')
        if not all(isfinite(value) for value in self.mean):
            raise ValueError(f'mean must be finite, got {self.mean}.')
        if not all(isfinite(value) and value > 0 for value in self.std):
            raise ValueError(f'std must be positive and finite, got {self.std}.')

    @property
    def size(self) -> tuple[int, int]:
        """Return the (height, width) of what the network sees."""
        return self.crop or self.resize


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkConfig:
    """One trunk: its backbone, its input, and how the tasks it feeds share it."""

    backbone: str = 'resnet3d'
    depth: int = 0  # 0 becomes 18 for a ResNet, 16 for VGG and 11 for C3D
    width: int = 64  # channels of the stem and of the first stage
    # 'group': each clip by itself, the same in training and evaluation; '' becomes what the
    # published network has: 'batch' for a ResNet, 'none' for VGG and C3D.
    norm: str = ''
    norm_eps: float = 1e-5  # of batch norms in a frame trunk
    sharing: str = 'hard'
    sharing_settings: dict[str, Any] = field(default_factory=dict)
    num_frames: int = 32
    clip_seconds: float = 2.0  # first to last frame of a clip; of one frame it means nothing
    subtract_mean: bool = False  # of each clip over time: what does not move becomes zero
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    # Of a trunk of features, and of no other: for it, what is above but `sharing` means nothing.
    graph: GraphConfig | None = None

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f'backbone must be one of {BACKBONES}, got {self.backbone!r}.')
        depth, norm = PUBLISHED.get(self.backbone, (18, 'batch'))
        object.__setattr__(self, 'depth', self.depth or depth)
        object.__setattr__(self, 'norm', self.norm or norm)
        if not 1 <= self.width <= MAX_WIDTH:
            raise ValueError(f'width must be from 1 to {MAX_WIDTH}, got {self.width}.')
        if self.norm not in NORMS:
            raise ValueError(f'norm must be one of {NORMS}, got {self.norm!r}.')
        if not 1 <= self.num_frames <= MAX_FRAMES:
            raise ValueError(f'num_frames must be from 1 to {MAX_FRAMES}, got {self.num_frames}.')
        # Written so that NaN is refused too.
        if not 0 < self.clip_seconds < float('inf'):
            raise ValueError(f'clip_seconds must be positive, got {self.clip_seconds}.')
        if self.subtract_mean and self.num_frames == 1:
            raise ValueError('subtract_mean must not be set for num_frames 1: nothing is left.')
        if not 0 <= self.norm_eps < 1:
            raise ValueError(f'norm_eps must lie in [0, 1), got {self.norm_eps}.')
        if (self.graph is not None) != (self.input == 'features'):
            raise ValueError(
                'graph must be given for the backbone temporal_graph and for no other, got '
                f'{"none" if self.graph is None else "one"} for {self.backbone}.'
            )
        if self.input == 'features' and self.subtract_mean:
            raise ValueError('subtract_mean must not be set for a trunk of features.')
        if self.input == 'frame':
            self._check_frame_trunk()

    @property
    def input(self) -> str:
        """Return what the trunk looks at: 'clip', 'frame' or 'features'."""
        return INPUTS[self.backbone]

    def _check_frame_trunk(self) -> None:
        if self.sharing != 'hard' or self.sharing_settings:
            raise ValueError(
                "sharing must be 'hard' without settings for a frame trunk: its tasks share one "
                f'backbone and have pyramids of their own, got {self.sharing!r}.'
            )
        if self.norm != 'batch':
            raise ValueError(f"norm must be 'batch' for a frame trunk, got {self.norm!r}.")
        if self.subtract_mean:
            raise ValueError('subtract_mean must not be set for a frame trunk: it needs a clip.')
        if any(side % FRAME_MULTIPLE for side in self.preprocessing.size):
            raise ValueError(
                f'preprocessing must give sizes that are multiples of {FRAME_MULTIPLE} for a '
                f'frame trunk, got {self.preprocessing.size}.'
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """One task: which trunk feeds it and what its outputs are called."""

    labels: tuple[str, ...] = ()  # may stay empty in a training config: the dataset knows them
    kind: str = 'classification'
    trunk: str = 'clip'
    relevance: bool = False  # whether it knows clips that are none of its own
    settings: dict[str, Any] = field(default_factory=dict)  # of the head, by its kind
    # Of recognition and anticipation: several sets of labels, such as verb and noun, of each of
    # which one holds. They may stay empty in a training config, too.
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in TASK_KINDS:
            raise ValueError(f'kind must be one of {TASK_KINDS}, got {self.kind!r}.')
        if self.kind in FIXED_LABELS:
            if self.labels not in ((), FIXED_LABELS[self.kind]):
                raise ValueError(
                    f'labels of a task of kind {self.kind} are fixed, got {list(self.labels)}.'
                )
            object.__setattr__(self, 'labels', FIXED_LABELS[self.kind])
        if self.kind != 'classification' and self.relevance:
            raise ValueError(f'relevance is for tasks of labels, the kind is {self.kind!r}.')
        if self.kind == 'classification' and self.settings:
            raise ValueError(
                f'settings must be empty, got {self.settings} for a task of kind classification.'
            )
        check_labels('labels', self.labels)
        if self.groups and self.kind not in GROUPED_KINDS:
            raise ValueError(
                f'groups are for tasks of kinds {GROUPED_KINDS}, the kind is {self.kind!r}.'
            )
        for name, labels in self.groups.items():
            check_name('group', name)
            if not labels:
                raise ValueError(f"groups must have labels, got none for '{name}'.")
            check_labels(f'groups.{name}', labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """The whole network; trunks, tasks and heads are joined by their names."""

    trunks: dict[str, TrunkConfig]
    tasks: dict[str, TaskConfig]

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError('tasks must name at least one task, got none.')
        for kind, names in (('trunk', self.trunks), ('task', self.tasks)):
            for name in names:
                check_name(kind, name)
        for name, task in self.tasks.items():
            if task.trunk not in self.trunks:
                raise ValueError(
                    f"task '{name}' is fed by trunk '{task.trunk}', "
                    f'known trunks: {sorted(self.trunks)}.'
                )
            if name == 'activities' and task.kind in ('classification', 'recognition'):
                raise ValueError(
                    "a clip task must not be called 'activities': what each person does is "
                    'published as recognized_activities.'
                )
            wanted = _input_of(task.kind)
            if (found := self.trunks[task.trunk].input) != wanted:
                raise ValueError(
                    f"task '{name}' of kind {task.kind} needs a trunk of {_plural(wanted)}, "
                    f"'{task.trunk}' looks at {_plural(found)}."
                )
        self._check_topics()
        for name, trunk in self.trunks.items():
            if trunk.graph is not None:
                self._check_graph(name, trunk.graph)
        for kind in UNIQUE_KINDS:
            if len(same := [n for n, task in self.tasks.items() if task.kind == kind]) > 1:
                raise ValueError(f'there must be one task of kind {kind} at most, got {same}.')
        if len(frames := {t.trunk for t in self.tasks.values() if t.kind in FRAME_KINDS}) > 1:
            raise ValueError(f'all frame tasks must share one trunk, got {sorted(frames)}.')

    def _check_topics(self) -> None:
        # The robot publishes several groups of a task apart, by the names of both.
        owners: dict[str, str] = {}
        for name, task in self.tasks.items():
            if task.kind not in ('classification', 'recognition'):
                continue
            several = len(task.groups) > 1
            for topic in [f'{name}_{group}' for group in task.groups] if several else [name]:
                if (other := owners.setdefault(topic, name)) != name:
                    raise ValueError(
                        f"the tasks '{other}' and '{name}' would both be published as "
                        f'recognized_{topic}: give one another name.'
                    )

    def _check_graph(self, trunk: str, graph: GraphConfig) -> None:
        source = self.tasks.get(graph.source)
        if graph.source and (source is None or source.kind not in CLIP_KINDS):
            raise ValueError(
                f"trunk '{trunk}': graph.source must be a task of clips, got '{graph.source}'."
            )
        if strange := sorted({*graph.known} - {*self.tasks_of(trunk)}):
            raise ValueError(
                f"trunk '{trunk}': graph.known must be tasks that it feeds, "
                f'{self.tasks_of(trunk)}, got {strange}.'
            )

    def task_of_kind(self, kind: str) -> str | None:
        """Return the task of one of the :data:`UNIQUE_KINDS`, if any."""
        return next((name for name, task in self.tasks.items() if task.kind == kind), None)

    def trunks_of(self, input: str) -> dict[str, TrunkConfig]:
        """Return the trunks that feed tasks and look at 'clip', 'frame' or 'features'."""
        return {
            name: trunk
            for name, trunk in self.trunks.items()
            if trunk.input == input and self.tasks_of(name)
        }

    def tasks_of(self, trunk: str) -> list[str]:
        """Return the names of the tasks that a trunk feeds, in the order of the config."""
        return [name for name, task in self.tasks.items() if task.trunk == trunk]

    def with_labels(self, labels: Mapping[str, tuple[str, ...]]) -> NetworkConfig:
        """
        Return a copy whose tasks carry the given labels; other tasks keep theirs.

        :raises ValueError: If a task is unknown.
        """
        unknown = sorted(labels.keys() - self.tasks.keys())
        if unknown:
            raise ValueError(f'labels given for unknown tasks {unknown}, known: {[*self.tasks]}.')
        tasks = {
            name: replace(task, labels=tuple(labels.get(name, task.labels)))
            for name, task in self.tasks.items()
        }
        return replace(self, tasks=tasks)

    def with_groups(self, groups: Mapping[str, Mapping[str, tuple[str, ...]]]) -> NetworkConfig:
        """
        Return a copy whose tasks carry the given groups of labels; other tasks keep theirs.

        :raises ValueError: If a task is unknown or of a kind without groups.
        """
        unknown = sorted(groups.keys() - self.tasks.keys())
        if unknown:
            raise ValueError(f'groups given for unknown tasks {unknown}, known: {[*self.tasks]}.')
        tasks = {
            name: replace(
                task,
                groups={
                    group: tuple(labels) for group, labels in groups.get(name, task.groups).items()
                },
            )
            for name, task in self.tasks.items()
        }
        return replace(self, tasks=tasks)


def _input_of(kind: str) -> str:
    if kind in GRAPH_KINDS:
        return 'features'
    return 'frame' if kind in FRAME_KINDS else 'clip'


def _plural(input: str) -> str:
    return input if input == 'features' else f'{input}s'


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain values, ready for JSON or YAML."""
    return _plain(asdict(config))


def from_mapping(cls: type[T], block: Any, where: str = '') -> T:
    """
    Build a config dataclass from plain values, refusing unknown, missing and ill-typed entries.

    :param cls: A dataclass whose fields are numbers, strings, tuples, mappings or dataclasses.
    :param block: A mapping as read from JSON or YAML.
    :param where: Dotted path of ``block``, used in messages.
    :raises ValueError: Naming the entry, the rule and what was found.
    """
    where = where or cls.__name__
    if not isinstance(block, Mapping):
        raise ValueError(f'{where} must be a mapping, got {type(block).__name__}.')
    hints = get_type_hints(cls)
    entries = fields(cls)  # type: ignore[arg-type]
    names = [f.name for f in entries]
    required = [f.name for f in entries if f.default is f.default_factory is MISSING]
    for key in block:
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else f' Known entries: {names}.'
            raise ValueError(f"{where} has no entry '{key}'.{hint}")
    if missing := [name for name in required if name not in block]:
        raise ValueError(f'{where} lacks {missing}.')
    values = {key: _convert(hints[key], value, f'{where}.{key}') for key, value in block.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        (inner,) = [arg for arg in args if arg is not type(None)]
        return _convert(inner, value, where)
    if is_dataclass(hint):
        return from_mapping(hint, value, where)  # type: ignore[arg-type]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f'{where} must be a mapping, got {type(value).__name__}.')
        return {str(k): _convert(args[1], v, f'{where}.{k}') for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f'{where} must be a list, got {type(value).__name__}.')
        if args[-1] is Ellipsis:
            args = (args[0],) * len(value)
        if len(args) != len(value):
            raise ValueError(f'{where} must have {len(args)} entries, got {len(value)}.')
        pairs = enumerate(zip(args, value))
        return tuple(_convert(arg, item, f'{where}[{i}]') for i, (arg, item) in pairs)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f'{where} is too large for a number.') from error
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f'{where} must be of type {hint.__name__}, got {value!r}.')
    return value
