"""Tests of :mod:`mtl_perception.network.temporal_graph.config` and of its place in a network."""

from dataclasses import replace
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network import from_mapping, NetworkConfig, to_mapping
from mtl_perception.network.config import FIXED_LABELS, INPUTS
from mtl_perception.network.heads import settings_of
from mtl_perception.network.temporal_graph.config import (
    AnticipationConfig,
    BackpackConfig,
    GRAPH_KINDS,
    GraphConfig,
    PointOfNoReturnConfig,
    RecognitionConfig,
    StateChangeConfig,
)
import pytest

CONFIG: dict[str, Any] = {
    'trunks': {
        'clip': {},
        'memory': {
            'backbone': 'temporal_graph',
            'graph': {'feature_dim': 512, 'source': 'gesture', 'concepts': ['take knife']},
        },
    },
    'tasks': {
        'gesture': {'labels': ['wave', 'stop']},
        'action': {
            'kind': 'recognition',
            'trunk': 'memory',
            'groups': {'verb': ['take', 'cut'], 'noun': ['knife']},
        },
        'next': {'kind': 'anticipation', 'trunk': 'memory'},
        'change': {'kind': 'state_change', 'trunk': 'memory'},
        'moment': {
            'kind': 'point_of_no_return',
            'trunk': 'memory',
            'settings': {'backpack': {'tasks': ['action', 'change'], 'k': 1}},
        },
    },
}


def config_with(path: str, value: Any) -> dict[str, Any]:
    block: dict[str, Any] = json.loads(json.dumps(CONFIG))
    *parents, last = path.split('.')
    inner = block
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value
    return block


def test_a_config_of_segments_survives_json() -> None:
    config = from_mapping(NetworkConfig, CONFIG)
    assert from_mapping(NetworkConfig, json.loads(json.dumps(to_mapping(config)))) == config
    assert config.tasks['action'].groups == {'verb': ('take', 'cut'), 'noun': ('knife',)}


def test_numbers_that_are_not_given_are_the_published_ones() -> None:
    assert INPUTS['temporal_graph'] == 'features'
    graph = GraphConfig(feature_dim=1536)
    assert (graph.num_features, graph.width, graph.num_layers, graph.dropout) == (3, 1024, 3, 0.5)
    kinds = (
        RecognitionConfig,
        AnticipationConfig,
        StateChangeConfig,
        PointOfNoReturnConfig,
    )
    assert [kind().num_nodes for kind in kinds] == [9, 22, 4, 16]
    backpack = BackpackConfig(tasks=('action',))
    assert (backpack.k, backpack.depth, backpack.aggregation) == (4, 3, 'max')
    assert (backpack.detach, backpack.votes, backpack.num_layers) == (True, 'sum', 3)


def test_without_neighbours_there_are_no_interactions() -> None:
    assert BackpackConfig(tasks=('action',), k=0).num_layers == 0


def test_tasks_of_segments_have_the_labels_of_their_kind() -> None:
    tasks = from_mapping(NetworkConfig, CONFIG).tasks
    assert tasks['change'].labels == ('no_change', 'change')
    assert all(FIXED_LABELS[kind] == () for kind in GRAPH_KINDS if kind != 'state_change')


def test_settings_of_a_task_are_those_of_its_kind() -> None:
    tasks = from_mapping(NetworkConfig, CONFIG).tasks
    found = settings_of('moment', tasks['moment'])
    assert found == PointOfNoReturnConfig(backpack=BackpackConfig(tasks=('action', 'change'), k=1))


def test_groups_are_given_to_the_tasks_that_are_named() -> None:
    config = from_mapping(NetworkConfig, CONFIG)
    given = config.with_groups({'next': {'verb': ('cut',)}})
    assert given.tasks['next'].groups == {'verb': ('cut',)}
    assert given.tasks['action'] == config.tasks['action']
    assert replace(given, tasks=config.tasks) == config


def test_groups_of_an_unknown_task_are_refused() -> None:
    with pytest.raises(ValueError, match=r"groups given for unknown tasks \['other'\]"):
        from_mapping(NetworkConfig, CONFIG).with_groups({'other': {'verb': ('cut',)}})


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('trunks.memory.graph', None, r'graph must be given .* got none for temporal_graph'),
        ('trunks.clip.graph', {'feature_dim': 4}, 'graph must be given .* got one for resnet3d'),
        ('trunks.memory.subtract_mean', True, 'subtract_mean must not be set for a trunk of feat'),
        ('trunks.memory.graph.feature_dim', 10**9, 'feature_dim must be from 1 to 65536'),
        ('trunks.memory.graph.num_features', 10**9, 'num_features must be from 1 to 256'),
        ('trunks.memory.graph.width', 10**9, 'width must be from 1 to 8192'),
        ('trunks.memory.graph.num_layers', -1, 'num_layers must be from 0 to 64, got -1'),
        ('trunks.memory.graph.dropout', 1.0, r'dropout must lie in \[0, 1\)'),
        ('trunks.memory.graph.stride_seconds', 0.0, 'stride_seconds must be positive'),
        ('trunks.memory.graph.stride_seconds', 1e300, 'stride_seconds must be .* at most 86400'),
        ('trunks.memory.graph.source', 'change', "source must be a task of clips, got 'change'"),
        ('trunks.memory.graph.source', 'other', "source must be a task of clips, got 'other'"),
        ('trunks.memory.graph.known', ['gesture'], r'known must be tasks that it feeds, .*gest'),
        ('trunks.memory.graph.concepts', ['a', 'a'], 'concepts must be distinct'),
        ('tasks.action.trunk', 'clip', "needs a trunk of features, 'clip' looks at clips"),
        ('tasks.gesture.trunk', 'memory', "needs a trunk of clips, 'memory' looks at features"),
        ('tasks.gesture.groups', {'verb': ['cut']}, 'groups are for tasks of kinds .*classif'),
        ('tasks.action.groups', {'a b': ['cut']}, 'a group name must be an ASCII identifier'),
        ('tasks.action.groups', {'keys': ['cut']}, "a group must not be called 'keys'"),
        ('tasks.action.groups', {'verb': []}, "groups must have labels, got none for 'verb'"),
        ('tasks.action.groups', {'verb': ['a', 'a']}, r"groups.verb must be distinct, got \['a'"),
        ('tasks.change.labels', ['yes', 'no'], 'labels of a task of kind state_change are fixed'),
        ('tasks.other', CONFIG['tasks']['change'], 'one task of kind state_change at most'),
        (
            'tasks.action_verb',
            {'labels': ['a', 'b']},
            "tasks 'action' and 'action_verb' would both be published as recognized_action_verb",
        ),
        ('tasks.activities', CONFIG['tasks']['action'], "must not be called 'activities'"),
    ],
)
def test_a_wrong_entry_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(NetworkConfig, config_with(path, value))


@pytest.mark.parametrize(
    ('task', 'given_settings', 'message'),
    [
        ('action', {'num_nodes': 4}, 'num_nodes must be odd, .* got 4'),
        ('action', {'num_nodes': 10**9 + 1}, 'num_nodes must be from 1 to 1024'),
        ('action', {'dropout': 1.0}, r'dropout must lie in \[0, 1\), got 1.0'),
        ('action', {'seconds': -1.0}, 'seconds must be positive and at most 86400, got -1.0'),
        ('action', {'seconds': 1e300}, r'seconds must be positive and at most 86400, got 1e\+300'),
        ('action', {'seconds': float('nan')}, 'seconds must be positive and .* got nan'),
        ('next', {'num_inputs': 0}, 'num_inputs must be from 1 to 1024, got 0'),
        ('next', {'num_futures': 10**9}, 'num_futures must be from 1 to 1024'),
        ('next', {'num_nodes': 22}, "has no entry 'num_nodes'"),
        ('change', {'num_nodes': 0}, 'num_nodes must be from 1 to 1024, got 0'),
        ('moment', {'backpack': {}}, r"backpack lacks \['tasks'\]"),
        ('moment', {'backpack': {'tasks': []}}, 'tasks must name at least one task'),
        ('moment', {'backpack': {'tasks': ['a'], 'k': -1}}, 'k must be from 0 to 65536, got -1'),
        ('moment', {'backpack': {'tasks': ['a'], 'depth': 10**9}}, 'depth must be from 0 to 64'),
        ('moment', {'backpack': {'tasks': ['a'], 'votes': 'or'}}, "votes must be one of .*'or'"),
        (
            'moment',
            {'backpack': {'tasks': ['a'], 'aggregation': 'sum'}},
            "aggregation must be one of .* got 'sum'",
        ),
    ],
)
def test_a_wrong_setting_is_refused(task: str, given_settings: Any, message: str) -> None:
    tasks = from_mapping(NetworkConfig, CONFIG).tasks
    with pytest.raises(ValueError, match=rf'tasks.{task}.settings.*{message}'):
        settings_of(task, replace(tasks[task], settings=given_settings))


@settings(deadline=None)
@given(
    task=st.sampled_from(['action', 'next', 'change', 'moment']),
    given_settings=st.dictionaries(
        st.sampled_from(['num_nodes', 'num_inputs', 'dropout', 'seconds', 'backpack']),
        st.none()
        | st.integers()
        | st.floats()
        | st.text()
        | st.dictionaries(st.text(), st.text()),
    ),
)
def test_any_settings_are_read_or_refused_by_a_value_error(task: str, given_settings: Any) -> None:
    tasks = from_mapping(NetworkConfig, CONFIG).tasks
    try:
        read = settings_of(task, replace(tasks[task], settings=given_settings))
    except ValueError:
        return
    assert 1 <= read.num_nodes <= 2048
