"""What docs/frames.md says against what there is."""

from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
import re
import shlex
from typing import Any, NoReturn

from mtl_perception.network.config import FRAME_KINDS, TrunkConfig
from mtl_perception.network.heads import SETTINGS
from mtl_training import cli
from mtl_training.commands import train
from mtl_training.config import TrainingConfig
from mtl_training.criteria.activity import ActivityCriterion
from mtl_training.criteria.detection import DetectionCriterion
from mtl_training.criteria.keypoints import KeypointCriterion
from mtl_training.data.loading import FRAME_DATASETS
from mtl_training.regimes.staged import StageConfig, StagedRegime
import pytest
import yaml

DOCS = (Path(__file__).parents[2] / 'docs' / 'frames.md').read_text()
SECTIONS = dict(
    zip(
        ('Detection', 'Keypoints', 'Pose Residual Network', 'Activity'),
        (SETTINGS[kind] for kind in FRAME_KINDS),
    )
)
LOSSES = {
    'detection': DetectionCriterion,
    'keypoints': KeypointCriterion,
    'activity': ActivityCriterion,
}


def section(title: str) -> str:
    """Return what stands under a title."""
    text = DOCS.partition(f'### {title}\n')[2]
    assert text, f'docs/frames.md has no section {title}'
    return re.split(r'^#', text, flags=re.MULTILINE)[0]


def rows_of(title: str) -> dict[str, str]:
    """Return the keys of the table under a title, and their defaults as text."""
    rows = re.findall(r'^\| `(\w+)` \| ?([^|]*) \|', section(title), re.MULTILINE)
    return {name: default.strip() for name, default in rows}


def defaults_of(settings: Callable[..., Any]) -> dict[str, Any]:
    """Return the settings of a class that have defaults; None stands for those without."""
    return {
        name: None if parameter.default is Parameter.empty else parameter.default
        for name, parameter in signature(settings).parameters.items()
    }


def as_value(text: str) -> Any:
    """Return what the default in a table means; a factory of nothing is an empty list."""
    numerator, slash, denominator = text.partition('/')
    if slash:
        return float(numerator) / float(denominator)
    value = yaml.safe_load(text)
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize('title', SECTIONS)
def test_every_setting_of_a_head_is_documented_with_its_default(title: str) -> None:
    written = {name: as_value(default) for name, default in rows_of(title).items()}
    assert written == defaults_of(SECTIONS[title])


def test_every_entry_of_a_stage_is_documented_with_its_default() -> None:
    written = {
        name: as_value(default) for name, default in rows_of('In stages, as the source').items()
    }
    assert written == defaults_of(StageConfig)


def test_the_settings_of_a_trunk_exist_with_their_defaults() -> None:
    trunk, written = TrunkConfig(), rows_of('Trunk')
    assert written.pop('preprocessing')
    assert written
    assert {name: float(default) for name, default in written.items()} == {
        name: getattr(trunk, name) for name in written
    }


@pytest.mark.parametrize('kind', LOSSES)
def test_every_setting_of_a_loss_is_documented_with_its_default(kind: str) -> None:
    rows = re.findall(rf'^\| {kind} \| `(\w+)` \| ([^|]*) \|', section('Losses'), re.MULTILINE)
    assert {name: as_value(value.strip()) for name, value in rows} == defaults_of(LOSSES[kind])


def test_every_data_set_is_documented_and_no_other() -> None:
    rows = re.findall(r'^\| `(\w+)` \|.*$', section('Data sets'), re.MULTILINE)
    heading, *names = rows
    assert heading == 'dataset'
    # These tests have one of their own.
    assert set(names) == set(FRAME_DATASETS) - {'toy'}


@pytest.mark.parametrize(
    'name', ['rotation_deg', 'scale', 'flip', 'centre_shift', 'crop', 'single_person', 'augment']
)
def test_the_settings_of_data_sets_that_it_names_exist(name: str) -> None:
    assert f'`{name}' in section('Data sets')
    assert any(name in signature(factory).parameters for factory in FRAME_DATASETS.values())


def test_every_config_and_page_that_it_names_exists() -> None:
    root = Path(__file__).parents[2]
    named = set(re.findall(r'`(?:config/training/)?(\w+\.yaml)`', DOCS))
    assert named
    assert all((root / 'config' / 'training' / name).exists() for name in named)
    assert all((root / 'docs' / page).exists() for page in re.findall(r'\]\((\w+\.md)\)', DOCS))


def test_its_commands_train_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[TrainingConfig] = []

    def record(config: TrainingConfig, *_: Any) -> NoReturn:
        configs.append(config)
        raise ValueError('enough is known')

    monkeypatch.setattr(train, 'Trainer', record)
    monkeypatch.chdir(Path(__file__).parents[2])
    commands = re.findall(r'^python -m mtl_training (train(?:.*\\\n)*.*)$', DOCS, re.MULTILINE)
    assert [cli.main(shlex.split(c.replace('\\\n', ''))) for c in commands] == [2, 2]
    tasks = [
        [(stage.tasks, stage.predicted_poses) for stage in staged.stages(config.iterations)]
        for config in configs
        for staged in [StagedRegime(list(config.network.tasks), **config.regime.settings)]
    ]
    assert tasks[0][-1] == (('activity',), True)
    assert tasks[1] == [(('person', 'keypoints', 'pose', 'activity'), True)]
