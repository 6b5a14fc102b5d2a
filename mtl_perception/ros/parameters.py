"""Parameters of a node: one dataclass, declared, checked and changed in loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, Field, field, fields, replace
from enum import Enum
import math
from typing import Any, TypeVar

from mtl_perception.runtime.engine import PRECISIONS
from mtl_perception.runtime.results import LEAST_BOX_SCORE, RecognitionSettings
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.parameter import Parameter

T = TypeVar('T')
TRANSPORTS = ('raw', 'compressed')


class When(Enum):
    """When a parameter can change, and what a refusal says."""

    LIVE = 'at any time'
    INACTIVE = 'while the node is not active: deactivate it first'
    UNCONFIGURED = 'while the node is unconfigured: deactivate it and clean it up first'
    START = 'at start only: restart the node'


def parameter(
    default: Any,
    description: str,
    when: When,
    *,
    limits: tuple[float, float] | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Return the dataclass field of a parameter, with what its descriptor says."""
    metadata = {'description': description, 'when': when, 'limits': limits, 'choices': choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PerceptionParameters:
    """What an integrator may change about the perception node."""

    autostart: bool = parameter(
        True,
        'Configure and activate as soon as the executable runs; false leaves it to a manager.',
        When.START,
    )
    checkpoint: str = parameter(
        '',
        'Path of the checkpoint; empty stands for the demo checkpoint that comes along.',
        When.UNCONFIGURED,
    )
    device: str = parameter(
        'auto',
        "Where the network runs: 'auto' (a GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.",
        When.UNCONFIGURED,
    )
    precision: str = parameter(
        'auto',
        "Arithmetic of the network; 'auto' measures float32 against the device's half precision.",
        When.UNCONFIGURED,
        choices=('auto', *PRECISIONS),
    )
    num_threads: int = parameter(
        0,
        'CPU threads of the network; 0 leaves the number to torch.',
        When.UNCONFIGURED,
        limits=(0, 256),
    )
    image_transport: str = parameter(
        'raw',
        "'raw' subscribes to image, 'compressed' to image/compressed.",
        When.INACTIVE,
        choices=TRANSPORTS,
    )
    qos_depth: int = parameter(
        5, 'Queue of the image subscription, in frames.', When.INACTIVE, limits=(1, 1000)
    )
    max_gap_sec: float = parameter(
        1.0,
        'Frames further apart than this, by their stamps, do not belong to one clip.',
        When.INACTIVE,
        limits=(0.001, 3600.0),
    )
    input_timeout_sec: float = parameter(
        2.0,
        'After so long without a usable frame the node says why.',
        When.LIVE,
        limits=(0.1, 3600.0),
    )
    max_rate_hz: float = parameter(
        0.0,
        'Most recognitions per second; 0 for as many as the network manages.',
        When.LIVE,
        limits=(0.0, 1000.0),
    )
    clip_every: int = parameter(
        1,
        'Clips are recognised at every such frame of those that are processed.',
        When.LIVE,
        limits=(1, 1000),
    )
    frame_every: int = parameter(
        1,
        'People are looked for in every such frame of those that are processed.',
        When.LIVE,
        limits=(1, 1000),
    )
    min_score: float = parameter(
        0.2,
        'The label is empty while its probability is below this.',
        When.LIVE,
        limits=(0.0, 1.0),
    )
    min_relevance: float = parameter(
        0.5,
        'The label is empty while it is less probable than this that any of the labels is true.',
        When.LIVE,
        limits=(0.0, 1.0),
    )
    sentences: str = parameter(
        '',
        'Path of the sentences that captions are chosen from: a text file with one sentence a '
        'line, or a .safetensors file of embed-sentences; read again when it changes. Empty: no '
        'captions.',
        When.LIVE,
    )
    min_caption_score: float = parameter(
        0.0,
        'The sentence of a caption is empty while its cosine with the clip is below this.',
        When.LIVE,
        limits=(-1.0, 1.0),
    )
    smoothing_sec: float = parameter(
        0.3,
        'Time constant of the smoothing of what is said of clips and people; 0 for none.',
        When.LIVE,
        limits=(0.0, 60.0),
    )
    top_k: int = parameter(
        3,
        'How many classes top_k lists, and sentences a caption, best first.',
        When.LIVE,
        limits=(1, 1000),
    )
    min_person_score: float = parameter(
        0.5,
        'People whose boxes score less are not published.',
        When.LIVE,
        limits=(LEAST_BOX_SCORE, 1.0),
    )
    min_keypoint_score: float = parameter(
        0.2,
        'Joints that score less are published as not found.',
        When.LIVE,
        limits=(0.0, 1.0),
    )
    max_track_age_sec: float = parameter(
        1.0,
        'A person who leaves and returns within this time keeps the track_id; or within 2.5 times '
        'the time between the last two frames looked at, where that is longer.',
        When.LIVE,
        limits=(0.05, 60.0),
    )

    def __post_init__(self) -> None:
        check_parameters(self)

    @property
    def recognition(self) -> RecognitionSettings:
        """Return what of this the recognizer takes."""
        names = [item.name for item in fields(RecognitionSettings)]
        return RecognitionSettings(**{name: getattr(self, name) for name in names})

    @property
    def min_period_sec(self) -> float:
        """Return how long after a recognition the next may begin."""
        return 1 / self.max_rate_hz if self.max_rate_hz > 0 else 0.0


def check_parameters(parameters: Any) -> None:
    """
    Hold every value of a dataclass of parameters against its rule.

    :raises ValueError: Naming the parameter, the rule and the value found.
    """
    for item in fields(parameters):
        _check(item, getattr(parameters, item.name))


def _check(item: Field[Any], value: Any) -> None:
    limits, choices = item.metadata['limits'], item.metadata['choices']
    if choices is not None and value not in choices:
        raise ValueError(f'{item.name} must be one of {", ".join(choices)}, got {value!r}.')
    # Written so that NaN is refused too.
    if limits is not None and not (limits[0] <= value <= limits[1] and math.isfinite(value)):
        raise ValueError(f'{item.name} must be within {limits[0]} and {limits[1]}, got {value}.')


def descriptor_of(item: Field[Any]) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows of a parameter."""
    when, limits, choices = (item.metadata[key] for key in ('when', 'limits', 'choices'))
    constraints = f'Can change {when.value}.'
    if choices is not None:
        constraints = f'One of: {", ".join(choices)}. {constraints}'
    descriptor = ParameterDescriptor(
        name=item.name,
        description=item.metadata['description'],
        additional_constraints=constraints,
        read_only=when is When.START,
    )
    if limits is not None and isinstance(item.default, int):
        low, high = (int(limit) for limit in limits)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    elif limits is not None:
        low, high = limits
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor


def declare_parameters(node: Node, kind: type[T]) -> T:
    """
    Declare all parameters on a node and return their values.

    :param kind: The dataclass that lists them, each a field made by :func:`parameter`.
    :raises ValueError: If a value that the node was started with breaks its rule.
    """
    values = {
        item.name: _declare(node, item).value
        for item in fields(kind)  # type: ignore[arg-type]
    }
    return kind(**values)


def _declare(node: Node, item: Field[Any]) -> Parameter:
    descriptor = descriptor_of(item)
    try:
        return node.declare_parameter(item.name, item.default, descriptor)
    except InvalidParameterTypeException:
        if not isinstance(item.default, float):
            raise
        # The command line and YAML take 1 for an integer: declared as whatever it is, to read it.
        loose = ParameterDescriptor(dynamic_typing=True)
        value: Any = node.declare_parameter(item.name, item.default, loose).value
        node.undeclare_parameter(item.name)
        if type(value) is not int:
            raise
        return node.declare_parameter(item.name, float(value), descriptor, ignore_override=True)


def whole_numbers_as_floats(kind: type[Any], changes: Sequence[Parameter]) -> list[Parameter]:
    """
    Return changes of parameters in which a float may have been given as a whole number.

    :param kind: The dataclass that lists the parameters.
    """
    floats = {item.name for item in fields(kind) if isinstance(item.default, float)}
    return [
        Parameter(change.name, value=float(change.value))
        if change.name in floats and type(change.value) is int
        else change
        for change in changes
    ]


def changed_parameters(
    current: PerceptionParameters, changes: Sequence[Parameter], state: str
) -> PerceptionParameters:
    """
    Return the parameters with changes made to them.

    :param changes: Parameters that are not ours are passed over.
    :param state: Of the node: 'unconfigured', 'inactive' or 'active'.
    :raises ValueError: If one can't change in this state, or a value breaks its rule.
    """
    known = {item.name: item for item in fields(current)}
    values = {change.name: change.value for change in changes if change.name in known}
    allowed = {
        When.LIVE: True,
        When.INACTIVE: state in ('unconfigured', 'inactive'),
        When.UNCONFIGURED: state == 'unconfigured',
        When.START: False,
    }
    for name, value in values.items():
        when = known[name].metadata['when']
        if value != getattr(current, name) and not allowed[when]:
            raise ValueError(f'{name} can change {when.value}; the node is {state}.')
    return replace(current, **values)
