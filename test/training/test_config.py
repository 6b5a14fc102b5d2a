"""Configs: what loads, what is refused and how the refusal reads."""

from datetime import date
from pathlib import Path

from mtl_training.arguments import split_overrides
from mtl_training.comparison.config import is_comparison, load_comparison
from mtl_training.comparison.plan import planned_runs
from mtl_training.config import (
    build_config,
    differences,
    dump_config,
    load_config,
    parse_value,
    read_yaml,
)
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIGS = [
    path
    for path in sorted((ROOT / 'config' / 'training').rglob('*.yaml'))
    if path.parent.name != 'mappings'  # of classes, for the data set merged
]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path, tmp_path) -> None:
    if is_comparison(read_yaml(path)):
        # Pretrained weights are not shipped: without them, nothing may be frozen.
        free = [('trainable_stages', None), ('freeze_batch_norm', False)]
        assert len(planned_runs(load_comparison(path, free), tmp_path)) > 1
    else:
        assert load_config(path).iterations > 0


def test_configs_of_coco_do_not_test_on_the_images_that_chose_the_network() -> None:
    of_coco = [
        config
        for path in CONFIGS
        if not is_comparison(read_yaml(path))
        for config in [load_config(path)]
        if any(data.dataset == 'coco' for data in config.data.values())
    ]
    assert of_coco
    assert not any(config.evaluation.test for config in of_coco)


def test_the_sources_comparison_asks_for_its_pretrained_weights(tmp_path) -> None:
    path = ROOT / 'config' / 'training' / 'compare_paper.yaml'
    with pytest.raises(ValueError, match=r'without init_weights they are random: give a file'):
        planned_runs(load_comparison(path), tmp_path)


def test_a_config_survives_its_dump(toy_block) -> None:
    config = build_config(toy_block)
    assert build_config(yaml.safe_load(dump_config(config))) == config


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('iterationz', 3, "config has no entry 'iterationz'. Did you mean 'iterations'"),
        ('network.trunks.clp.width', 3, "no task reads the trunk 'clp'; those that tasks read"),
        ('optimiser.lrr', 1, r"config.optimiser has no entry 'lrr'. Did you mean 'lr'"),
        ('optimiser.lr', 'fast', "config.optimiser.lr must be of type float, got 'fast'"),
        ('optimiser.lr', float('nan'), 'lr must be positive, got nan'),
        ('optimiser.final_lr', 1.0, r'final_lr must lie in \[0, lr\], got 1.0'),
        ('optimiser.name', 'sgdd', "name must be one of .*, got 'sgdd'"),
        ('optimiser.clip_norm', 0.0, 'clip_norm must be positive and finite, got 0.0'),
        ('optimiser.clip_norm', float('inf'), 'clip_norm must be positive and finite, got inf'),
        (
            'data.action.settings',
            {'day': date(2026, 1, 2)},
            'settings.day must be a .* JSON knows',
        ),
        (
            'data.action.settings',
            {'x': float('nan')},
            'settings.x must be a .* JSON knows, got nan',
        ),
        ('optimiser.weight_decay', -1.0, 'weight_decay must not be negative, got -1.0'),
        ('iterations', 0, 'iterations must be at least 1, got 0'),
        ('workers', -1, 'workers must be at least 0, got -1'),
        ('save_every', 0, 'save_every must be at least 1, got 0'),
        ('batch_size', 2.5, 'batch_size must be of type int, got 2.5'),
        ('precision', 'int8', "precision must be one of .*, got 'int8'"),
        ('ema_decay', 1.0, 'ema_decay must lie between 0 and 1, got 1.0'),
        ('evaluation.selection', 'best', "selection must be one of .*, got 'best'"),
        ('network.trunks.clip.widht', 3, "network.trunks.clip has no entry 'widht'. .*'width'"),
        ('data.pose', {'dataset': 'toy'}, r"data must name .*\['action', 'gesture'\], got"),
        ('data.action.datset', 'toy', "data.action has no entry 'datset'. .*'dataset'"),
        ('seed.sub', 1, "'seed.sub': 'seed' is a value, not a section"),
    ],
)
def test_a_wrong_entry_is_named_with_its_rule(toy_block, name, value, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_config(toy_block, [(name, value)])


def test_an_override_wins_over_the_file(toy_config) -> None:
    overrides = [('network.trunks.clip.width', 6), ('data.action.val.num_clips', 5)]
    config = load_config(toy_config, overrides)
    assert config.network.trunks['clip'].width == 6
    assert config.data['action'].of_split('val') == {'num_clips': 5}
    assert config.data['gesture'].of_split('val') == {'num_clips': 12}


def test_an_unknown_split_is_refused(toy_block) -> None:
    with pytest.raises(ValueError, match=r"split must be one of .*, got 'tset'"):
        build_config(toy_block).data['action'].of_split('tset')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[1, 2]', 'must be a mapping, got list'),
        ('a: [', 'is not plain YAML'),
        ('a: !!python/object/apply:os.getcwd []', 'is not plain YAML'),
        ('\0', 'is not plain YAML'),
    ],
)
def test_a_file_that_is_no_plain_mapping_is_refused(tmp_path, content, message) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_yaml(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=r'nowhere.yaml'):
        read_yaml(tmp_path / 'nowhere.yaml')


def test_numbers_may_be_written_as_people_write_them(toy_block) -> None:
    assert parse_value('1e-4') == 1e-4
    assert build_config(toy_block, [('iterations', parse_value('1e3'))]).iterations == 1000
    assert parse_value('[a, 2]') == ['a', 2]
    toy_block['optimiser'] = yaml.safe_load('lr: 1e-4')
    assert build_config(toy_block).optimiser.lr == 1e-4


def test_overrides_below_mappings_are_separated_from_the_options() -> None:
    rest, overrides = split_overrides(
        [
            '--data.a.train.num_clips',
            '5',
            '--batch-size=3',
            '--num-clips',
            '3',
            '--network.trunks={}',
        ]
    )
    assert rest == ['--batch_size=3', '--num-clips', '3']
    assert overrides == [('data.a.train.num_clips', 5), ('network.trunks', {})]
    with pytest.raises(ValueError, match=r"'--data.x' needs a value"):
        split_overrides(['--data.x'])


def test_only_what_changes_the_result_counts_as_a_difference(toy_block) -> None:
    config = build_config(toy_block)
    other = build_config(toy_block, [('workers', 7), ('optimiser.lr', 0.5), ('seed', 9)])
    assert differences(config, other) == ['optimiser.lr', 'seed']
