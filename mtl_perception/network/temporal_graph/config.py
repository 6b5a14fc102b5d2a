"""Settings of the temporal graph, of its tasks by their kinds, and of the backpack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# What looks at windows of features: which action the centre shows, which ones follow, whether an
# object changes its state, and when.
GROUPED_KINDS = ('recognition', 'anticipation')
GRAPH_KINDS = (*GROUPED_KINDS, 'state_change', 'point_of_no_return')
STATE_CHANGES = ('no_change', 'change')
AGGREGATIONS = ('max', 'mean')
VOTES = ('sum', 'mean')
# Far beyond any use; a damaged or hostile config must not ask for all memory.
MAX_FEATURE_DIM = 65536
MAX_FEATURES = 256
MAX_WIDTH = 8192
MAX_LAYERS = 64
MAX_NODES = 1024
MAX_NEIGHBOURS = 65536
MAX_INTERACTIONS = 1024  # of all tasks of a trunk
MAX_SECONDS = 86400.0  # the robot counts in nanoseconds


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphConfig:
    """
    A trunk of windows of features.

    :param feature_dim: Of one feature, D.
    :param num_features: Of a node, S.
    :param width: Of the hidden layers and of what the heads see, H.
    :param num_layers: Of the graph network; 0 leaves the pooling alone, without neighbours.
    :param dropout: In the pooling.
    :param source: A clip task of the same network: the robot remembers the features that feed its
        head. Empty: the features come from elsewhere and the robot leaves the trunk out.
    :param stride_seconds: From one feature to the next.
    :param known: Tasks with prototypes.
    :param concepts: Names of the prototypes, such as 'take knife'.
    """

    feature_dim: int
    num_features: int = 3
    width: int = 1024
    num_layers: int = 3
    dropout: float = 0.5
    source: str = ''
    stride_seconds: float = 16 / 30
    known: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_range('feature_dim', self.feature_dim, 1, MAX_FEATURE_DIM)
        _check_range('num_features', self.num_features, 1, MAX_FEATURES)
        _check_range('width', self.width, 1, MAX_WIDTH)
        _check_range('num_layers', self.num_layers, 0, MAX_LAYERS)
        _check_dropout('dropout', self.dropout)
        _check_seconds('stride_seconds', self.stride_seconds)
        _check_names('known', self.known)
        _check_names('concepts', self.concepts)


@dataclass(frozen=True, kw_only=True, slots=True)
class BackpackConfig:
    """
    How a task asks the others (EgoPack, Peirone et al., 2024, section 3.3).

    :param tasks: Whose perspectives it takes.
    :param k: Prototypes that a node is matched with; 0 leaves them out.
    :param depth: Interaction layers of each perspective; 0 is voting without prototypes.
    :param aggregation: Of the matched prototypes: max or mean.
    :param detach: Whether no gradient flows from a perspective into the head it is taken from,
        nor through it into the trunk.
    :param votes: Of all perspectives: their logits' sum or mean.
    """

    tasks: tuple[str, ...]
    k: int = 4
    depth: int = 3
    aggregation: str = 'max'
    detach: bool = True
    votes: str = 'sum'

    def __post_init__(self) -> None:
        _check_names('tasks', self.tasks)
        if not self.tasks:
            raise ValueError('tasks must name at least one task, got none.')
        _check_range('k', self.k, 0, MAX_NEIGHBOURS)
        _check_range('depth', self.depth, 0, MAX_LAYERS)
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f'aggregation must be one of {AGGREGATIONS}, got {self.aggregation!r}.'
            )
        if self.votes not in VOTES:
            raise ValueError(f'votes must be one of {VOTES}, got {self.votes!r}.')

    @property
    def num_layers(self) -> int:
        """Return how often prototypes are matched."""
        return self.depth if self.k else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentConfig:
    """
    What the settings of all kinds of tasks on windows have in common.

    :param dropout: Before the projection into the features of the task.
    :param classifier_dropout: Before its classifiers.
    :param seconds: Length of a window on the robot.
    :param backpack: How it asks other tasks; None if it does not.
    """

    dropout: float = 0.0
    classifier_dropout: float = 0.0
    seconds: float = 8.0
    backpack: BackpackConfig | None = None

    def __post_init__(self) -> None:
        _check_dropout('dropout', self.dropout)
        _check_dropout('classifier_dropout', self.classifier_dropout)
        _check_seconds('seconds', self.seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognitionConfig(SegmentConfig):
    """
    Settings of a task of recognition: what the node in the centre shows.

    :param num_nodes: Of a window, odd.
    """

    num_nodes: int = 9

    def __post_init__(self) -> None:
        SegmentConfig.__post_init__(self)
        _check_range('num_nodes', self.num_nodes, 1, MAX_NODES)
        if self.num_nodes % 2 == 0:
            raise ValueError(
                f'num_nodes must be odd, for there to be a centre, got {self.num_nodes}.'
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AnticipationConfig(SegmentConfig):
    """
    Settings of a task of anticipation: what follows.

    :param num_inputs: Nodes that have been seen.
    :param num_futures: Nodes that follow.
    """

    num_inputs: int = 2
    num_futures: int = 20

    def __post_init__(self) -> None:
        SegmentConfig.__post_init__(self)
        _check_range('num_inputs', self.num_inputs, 1, MAX_NODES)
        _check_range('num_futures', self.num_futures, 1, MAX_NODES)

    @property
    def num_nodes(self) -> int:
        """Return the nodes of a graph, those of the future included."""
        return self.num_inputs + self.num_futures


@dataclass(frozen=True, kw_only=True, slots=True)
class StateChangeConfig(SegmentConfig):
    """
    Settings of the task of state changes: whether an object changes within the window.

    :param num_nodes: Of a window.
    """

    num_nodes: int = 4

    def __post_init__(self) -> None:
        SegmentConfig.__post_init__(self)
        _check_range('num_nodes', self.num_nodes, 1, MAX_NODES)


@dataclass(frozen=True, kw_only=True, slots=True)
class PointOfNoReturnConfig(SegmentConfig):
    """
    Settings of the task of points of no return: in which node an object's state changes.

    :param num_nodes: Of a window.
    """

    num_nodes: int = 16

    def __post_init__(self) -> None:
        SegmentConfig.__post_init__(self)
        _check_range('num_nodes', self.num_nodes, 1, MAX_NODES)


GraphSettings = RecognitionConfig | AnticipationConfig | StateChangeConfig | PointOfNoReturnConfig


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f'{name} must be from {least} to {most}, got {value}.')


def _check_dropout(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f'{name} must lie in [0, 1), got {value}.')


def _check_seconds(name: str, value: float) -> None:
    # Written so that NaN is refused too.
    if not 0 < value <= MAX_SECONDS:
        raise ValueError(f'{name} must be positive and at most {MAX_SECONDS:g}, got {value}.')


def _check_names(name: str, values: Sequence[str]) -> None:
    if '' in values or len(set(values)) != len(values):
        raise ValueError(f'{name} must be distinct and not empty, got {list(values)}.')
