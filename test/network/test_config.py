"""Tests of :mod:`mtl_perception.network.config`."""

import contextlib
from dataclasses import dataclass
import json
import keyword
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network import (
    from_mapping,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    to_mapping,
    TrunkConfig,
)
from mtl_perception.network.backbones import BACKBONES
from mtl_perception.network.config import BACKBONES as BACKBONE_NAMES
from mtl_perception.network.config import FITS, TASK_KINDS
from mtl_perception.network.heads import SETTINGS
from mtl_perception.network.names import RESERVED_NAMES
import pytest

names = st.from_regex(r'[a-z_][a-z0-9_]{0,11}', fullmatch=True).filter(
    lambda name: name not in RESERVED_NAMES and not keyword.iskeyword(name)
)
channels = st.tuples(*[st.floats(0, 1)] * 3)
positive = st.floats(1e-3, 10)


@st.composite
def preprocessings(draw: st.DrawFn) -> PreprocessingConfig:
    resize = draw(st.tuples(st.integers(1, 600), st.integers(1, 600)))
    crop = st.tuples(st.integers(1, resize[0]), st.integers(1, resize[1]))
    return PreprocessingConfig(
        resize=resize,
        crop=draw(st.none() | crop),
        fit=draw(st.sampled_from(FITS)),
        mean=draw(channels),
        std=draw(st.tuples(positive, positive, positive)),
    )


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
trunks = st.builds(
    TrunkConfig,
    depth=st.sampled_from([18, 34]),
    width=st.integers(1, 128),
    sharing=st.sampled_from(['hard', 'single_task']),
    sharing_settings=st.dictionaries(st.text(), plain, max_size=3),
    num_frames=st.integers(1, 64),
    clip_seconds=st.floats(0.01, 100),
    preprocessing=preprocessings(),
)


@st.composite
def networks(draw: st.DrawFn) -> NetworkConfig:
    blocks = draw(st.dictionaries(names, trunks, min_size=1, max_size=3))
    labels = st.lists(st.text(min_size=1), unique=True, max_size=4).map(tuple)
    tasks = st.builds(TaskConfig, labels=labels, trunk=st.sampled_from(sorted(blocks)))
    return NetworkConfig(
        trunks=blocks, tasks=draw(st.dictionaries(names, tasks, min_size=1, max_size=4))
    )


@pytest.mark.parametrize(
    'backbone, depth, norm',
    [
        ('resnet3d', 18, 'batch'),
        ('resnet_image', 18, 'batch'),
        ('c3d', 11, 'none'),
        ('vgg', 16, 'none'),
    ],
)
def test_depth_and_norm_that_are_not_given_are_the_published_ones(
    backbone: str, depth: int, norm: str
) -> None:
    trunk = TrunkConfig(backbone=backbone)
    assert (trunk.depth, trunk.norm) == (depth, norm)
    assert from_mapping(TrunkConfig, to_mapping(trunk)) == trunk
    given = TrunkConfig(backbone=backbone, depth=34, norm='group')
    assert (given.depth, given.norm) == (34, 'group')


def test_the_mean_of_one_frame_is_not_subtracted_from_it() -> None:
    with pytest.raises(ValueError, match='subtract_mean must not be set for num_frames 1'):
        TrunkConfig(num_frames=1, subtract_mean=True)


def mapping(**changes: Any) -> dict[str, Any]:
    """Return a small valid network as plain values; dotted names change deep entries."""
    config = to_mapping(
        NetworkConfig(
            trunks={'clip': TrunkConfig()}, tasks={'action': TaskConfig(labels=('walk', 'run'))}
        )
    )
    for path, value in changes.items():
        *parents, last = path.split('__')
        block = config
        for parent in parents:
            block = block[parent]
        block[last] = value
    return config


@settings(deadline=None, max_examples=50)
@given(config=networks())
def test_a_config_survives_json(config: NetworkConfig) -> None:
    text = json.dumps(to_mapping(config), allow_nan=False)
    assert from_mapping(NetworkConfig, json.loads(text)) == config


@settings(deadline=None)
@given(block=plain)
def test_any_plain_value_is_read_or_refused_by_a_value_error(block: Any) -> None:
    for wrapped in (block, mapping(trunks=block), mapping(trunks__clip__preprocessing=block)):
        with contextlib.suppress(ValueError):
            from_mapping(NetworkConfig, wrapped)


def test_names_in_the_config_are_those_of_the_tables() -> None:
    assert set(BACKBONE_NAMES) == {*BACKBONES, 'resnet2d', 'temporal_graph'}
    assert set(TASK_KINDS) == {'classification', *SETTINGS}


NAN, INF = float('nan'), float('inf')
PRE = 'trunks__clip__preprocessing'


@pytest.mark.parametrize(
    'path, value, message',
    [
        ('tasks', {}, 'NetworkConfig: tasks must name at least one task'),
        ('tasks', {'1st': {}}, "a task name must be an ASCII identifier, got '1st'"),
        ('tasks', {'grüße': {}}, "a task name must be an ASCII identifier, got 'grüße'"),
        ('tasks', {'type': {}}, "a task must not be called 'type', a reserved name"),
        ('trunks', {'a b': {}}, "a trunk name must be an ASCII identifier, got 'a b'"),
        ('tasks', {'activities': {}}, "a clip task must not be called 'activities': what each"),
        ('tasks', {'action': {'trunk': 'frame'}}, r"trunk 'frame', known trunks: \['clip'\]"),
        ('tasks', [], r'NetworkConfig\.tasks must be a mapping, got list'),
        ('taks', {}, r"NetworkConfig has no entry 'taks'\. Did you mean 'tasks'\?"),
        ('zzz', 1, r"has no entry 'zzz'\. Known entries: \['trunks', 'tasks'\]"),
        ('trunks__clip__backbone', 'vit', r"clip: backbone must be one of .*, got 'vit'"),
        ('trunks__clip__width', 0, 'width must be from 1 to 1024, got 0'),
        ('trunks__clip__width', 10**9, 'width must be from 1 to 1024'),
        ('trunks__clip__width', 1.5, r'clip\.width must be of type int, got 1\.5'),
        ('trunks__clip__width', True, r'clip\.width must be of type int, got True'),
        ('trunks__clip__num_frames', 0, 'num_frames must be from 1 to 4096, got 0'),
        ('trunks__clip__num_frames', 10**12, 'num_frames must be from 1 to 4096'),
        ('trunks__clip__clip_seconds', NAN, 'clip_seconds must be positive, got nan'),
        ('trunks__clip__clip_seconds', INF, 'clip_seconds must be positive, got inf'),
        ('trunks__clip__clip_seconds', 10**400, r'clip_seconds is too large for a number'),
        ('trunks__clip__clip_seconds', '2', r"clip_seconds must be of type float, got '2'"),
        ('trunks__clip__sharing_settings', [1], r'sharing_settings must be a mapping, got list'),
        (f'{PRE}__resize', [0, 4], r'resize must be two sizes from 1 to 8192, got \(0, 4\)'),
        (f'{PRE}__resize', [4, 10**9], 'resize must be two sizes from 1 to 8192'),
        (f'{PRE}__resize', [4], r'resize must have 2 entries, got 1'),
        (f'{PRE}__resize', '12', r'resize must be a list, got str'),
        (f'{PRE}__resize', [4, 'x'], r"resize\[1\] must be of type int, got 'x'"),
        (f'{PRE}__crop', [129, 1], r'crop must lie within resize \(128, 171\)'),
        (f'{PRE}__fit', 'zoom', r"fit must be one of .*, got 'zoom'"),
        (f'{PRE}__mean', [0, NAN, 0], 'mean must be finite'),
        (f'{PRE}__std', [1, 0, 1], 'std must be positive and finite'),
        (f'{PRE}__std', [1, NAN, 1], 'std must be positive and finite'),
        ('tasks__action__kind', 'poetry', r"action: kind must be one of .*, got 'poetry'"),
        ('tasks__action__labels', ['a', 'b', 'a'], r"distinct, got \['a'\] more than once"),
        ('tasks__action__labels', ['a', ''], 'labels must not be empty strings'),
        ('tasks__action__labels', ['a', 3], r'labels\[1\] must be of type str, got 3'),
        ('tasks__action__labels', 'walk', r'labels must be a list, got str'),
    ],
)
def test_a_wrong_entry_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(NetworkConfig, mapping(**{path: value}))


def test_missing_entries_are_named() -> None:
    with pytest.raises(ValueError, match=r"config lacks \['trunks', 'tasks'\]"):
        from_mapping(NetworkConfig, {}, 'config')


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(ValueError, match='NetworkConfig must be a mapping, got NoneType'):
        from_mapping(NetworkConfig, None)


def test_integers_are_read_as_floats_where_floats_are_meant() -> None:
    config = from_mapping(TrunkConfig, {'clip_seconds': 3})
    assert isinstance(config.clip_seconds, float)
    assert config.clip_seconds == 3.0


def test_a_boolean_field_takes_booleans_only() -> None:
    @dataclass(frozen=True)
    class Settings:
        fast: bool = False

    # Annotations of this module are real types, as those of a settings class elsewhere may be.
    assert from_mapping(Settings, {'fast': True}).fast is True
    with pytest.raises(ValueError, match='fast must be of type bool, got 1'):
        from_mapping(Settings, {'fast': 1})


def test_the_size_is_the_crop_or_the_resize() -> None:
    assert PreprocessingConfig(resize=(4, 6)).size == (4, 6)
    assert PreprocessingConfig(resize=(4, 6), crop=(2, 3)).size == (2, 3)


def test_with_labels_changes_only_the_tasks_it_names() -> None:
    tasks = {'action': TaskConfig(), 'gesture': TaskConfig(labels=('wave',))}
    config = NetworkConfig(trunks={'clip': TrunkConfig()}, tasks=tasks)
    labelled = config.with_labels({'action': ('walk', 'run')})
    assert labelled.tasks['action'].labels == ('walk', 'run')
    assert labelled.tasks['gesture'] == tasks['gesture']
    assert config.tasks['action'].labels == ()


def test_with_labels_refuses_an_unknown_task() -> None:
    with pytest.raises(ValueError, match=r"labels given for unknown tasks \['actoin'\]"):
        from_mapping(NetworkConfig, mapping()).with_labels({'actoin': ('walk',)})


def test_tasks_of_a_trunk_keep_the_order_of_the_config() -> None:
    tasks = {'z': TaskConfig(), 'a': TaskConfig(), 'm': TaskConfig(trunk='frame')}
    config = NetworkConfig(trunks={'clip': TrunkConfig(), 'frame': TrunkConfig()}, tasks=tasks)
    assert config.tasks_of('clip') == ['z', 'a']
    assert config.tasks_of('frame') == ['m']
