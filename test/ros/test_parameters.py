"""The parameters: their rules, their descriptors, when they change, and their YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mtl_perception.ros.parameters import (
    changed_parameters,
    declare_parameters,
    descriptor_of,
    PerceptionParameters,
    When,
    whole_numbers_as_floats,
)
from mtl_perception.ros.video_parameters import VideoParameters
import pytest
import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.parameter import Parameter
import yaml

YAML = Path(__file__).parents[2] / 'config' / 'perception.yaml'
ITEMS = fields(PerceptionParameters)
FLOATS = [item for item in ITEMS if isinstance(item.default, float)]
LIMITED = [item for item in ITEMS if item.metadata['limits'] is not None]


def test_the_yaml_file_holds_all_parameters_with_their_defaults() -> None:
    values = yaml.safe_load(YAML.read_text())['/**']['ros__parameters']
    assert list(values) == [item.name for item in ITEMS]
    assert PerceptionParameters(**values) == PerceptionParameters()
    assert all(type(values[item.name]) is type(item.default) for item in ITEMS)


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_every_parameter_says_what_it_is_and_when_it_can_change(item: Any) -> None:
    descriptor = descriptor_of(item)
    assert descriptor.description.endswith('.')
    assert item.metadata['when'].value in descriptor.additional_constraints
    assert descriptor.read_only == (item.metadata['when'] is When.START)


@pytest.mark.parametrize('item', LIMITED, ids=lambda item: item.name)
def test_a_value_outside_its_limits_is_refused(item: Any) -> None:
    low, high = item.metadata['limits']
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f'{item.name} must be within'):
            PerceptionParameters(**{item.name: type(item.default)(value)})
    for value in (low, high):
        PerceptionParameters(**{item.name: type(item.default)(value)})


def test_not_a_number_is_no_value() -> None:
    with pytest.raises(ValueError, match=r'min_score must be within 0\.0 and 1\.0, got nan'):
        PerceptionParameters(min_score=float('nan'))


@pytest.mark.parametrize('name', ['precision', 'image_transport'])
def test_a_choice_is_one_of_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'other'"):
        PerceptionParameters(**{name: 'other'})


@pytest.mark.parametrize(
    ('name', 'value', 'states'),
    [
        ('min_score', 0.5, {'unconfigured', 'inactive', 'active'}),
        ('image_transport', 'compressed', {'unconfigured', 'inactive'}),
        ('checkpoint', '/other.safetensors', {'unconfigured'}),
        ('autostart', False, set()),
    ],
)
@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'active'])
def test_a_parameter_changes_only_when_it_can(
    name: str, value: Any, states: set[str], state: str
) -> None:
    current = PerceptionParameters()
    change = [Parameter(name, value=value)]
    if state in states:
        assert getattr(changed_parameters(current, change, state), name) == value
    else:
        with pytest.raises(ValueError, match=f'{name} can change .*; the node is {state}'):
            changed_parameters(current, change, state)
    # Setting what is set already changes nothing, so it is never refused.
    same = [Parameter(name, value=getattr(current, name))]
    assert changed_parameters(current, same, state) == current


def test_changes_come_all_together_or_not_at_all() -> None:
    changes = [Parameter('top_k', value=7), Parameter('min_score', value=2.0)]
    with pytest.raises(ValueError, match='min_score must be within'):
        changed_parameters(PerceptionParameters(), changes, 'active')


def test_parameters_of_others_are_passed_over() -> None:
    changes = [Parameter('use_sim_time', value=True)]
    assert changed_parameters(PerceptionParameters(), changes, 'active') == PerceptionParameters()


def test_a_node_declares_them_all(ros_node: Any) -> None:
    assert declare_parameters(ros_node, PerceptionParameters) == PerceptionParameters()
    for item in ITEMS:
        assert ros_node.get_parameter(item.name).value == item.default
    with pytest.raises(InvalidParameterValueException):
        ros_node.declare_parameter('another', -1, descriptor_of(LIMITED[0]))


@pytest.fixture
def started_with(ros_node: Any) -> Iterator[Callable[..., Any]]:
    """Make nodes that are started with parameters, as ``-p name:=value`` does."""
    nodes = []

    def start(**values: Any) -> Any:
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(
            rclpy.create_node('started', context=ros_node.context, parameter_overrides=overrides)
        )
        return nodes[-1]

    yield start
    for node in nodes:
        node.destroy_node()


@pytest.mark.parametrize('item', FLOATS, ids=lambda item: item.name)
def test_a_float_may_be_given_as_a_whole_number(
    started_with: Callable[..., Any], item: Any
) -> None:
    node = started_with(**{item.name: 1})
    assert getattr(declare_parameters(node, PerceptionParameters), item.name) == 1.0
    assert node.get_parameter(item.name).type_ == Parameter.Type.DOUBLE
    descriptor = node.describe_parameter(item.name)
    assert descriptor.type == Parameter.Type.DOUBLE.value
    assert not descriptor.dynamic_typing
    assert descriptor.floating_point_range == descriptor_of(item).floating_point_range


def test_a_whole_number_keeps_the_rules_of_its_parameter(
    started_with: Callable[..., Any],
) -> None:
    with pytest.raises(InvalidParameterValueException, match='min_score'):
        declare_parameters(started_with(min_score=2), PerceptionParameters)
    node = started_with(rate_hz=10)
    assert declare_parameters(node, VideoParameters).rate_hz == 10.0
    assert node.describe_parameter('rate_hz').read_only


@pytest.mark.parametrize(
    ('name', 'value'), [('min_score', 'high'), ('min_score', True), ('top_k', 1.0)]
)
def test_a_value_of_another_type_is_refused(
    started_with: Callable[..., Any], name: str, value: Any
) -> None:
    with pytest.raises(InvalidParameterTypeException, match=name):
        declare_parameters(started_with(**{name: value}), PerceptionParameters)


def test_only_whole_numbers_of_float_parameters_become_floats() -> None:
    changes = [
        Parameter('min_score', value=1),
        Parameter('smoothing_sec', value='long'),
        Parameter('top_k', value=2),
        Parameter('use_sim_time', value=True),
    ]
    after = whole_numbers_as_floats(PerceptionParameters, changes)
    assert [type(change.value) for change in after] == [float, str, int, bool]
    assert after[0].value == 1.0
    assert after[1:] == changes[1:]
