"""Tests of ``python -m mtl_training datasets describe``."""

from collections.abc import Callable
from contextlib import suppress
import json
from pathlib import Path
from typing import Any

from mtl_training import cli
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.data.videos.registry import VIDEO_SETS
from mtl_training.dataset_tools.description_report import draw
from mtl_training.dataset_tools.descriptions import SplitDescription
from PIL import Image
import pytest
import yaml

Write = Callable[..., str]


@pytest.fixture
def write_config(tmp_path: Path) -> Write:
    """Write the config of clip tasks whose data sections are given."""

    def write(**data: dict[str, Any]) -> str:
        trunk = {'width': 2, 'num_frames': 4, 'preprocessing': {'resize': [16, 16]}}
        block = {
            'network': {'trunks': {'clip': trunk}, 'tasks': {task: {} for task in data}},
            'data': data,
            'iterations': 1,
        }
        path = tmp_path / 'config.yaml'
        path.write_text(yaml.safe_dump(block), encoding='utf-8')
        return str(path)

    return write


def make(root: Path, *names: str) -> dict[str, Any]:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return {'dataset': 'folder', 'settings': {'root': str(root)}}


@pytest.fixture
def own_videos(tmp_path: Path) -> dict[str, Any]:
    """Make videos of three classes; describing opens none, so empty files will do."""
    train = ['train/walk/a.mp4', 'train/walk/b.avi', 'train/walk/c.mkv', 'train/sit/d.mp4']
    return make(tmp_path / 'own', *train, 'val/walk/e.mp4', 'val/[fly]/f.mp4', 'test/sit/g.mp4')


def described(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    cli.main(['datasets', 'describe', '--json', *arguments])
    found = json.loads(capsys.readouterr().out)['datasets']
    return {f'{one["task"]} {one["split"]}': one for one in found}


def test_classes_and_clips_are_counted_per_split(
    own_videos: dict[str, Any], write_config: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    found = described(capsys, '--config', write_config(action=own_videos))
    train = found['action train']
    assert train['per_class'] == {'[fly]': 0, 'sit': 1, 'walk': 3}
    assert (train['min'], train['median'], train['max']) == (0, 1, 3)
    assert train['fewest'][0] == ['[fly]', 0]
    assert (train['num_classes'], train['num_samples'], train['unit']) == (3, 4, 'clips')
    assert found['action val']['per_class'] == {'[fly]': 1, 'sit': 0, 'walk': 1}
    assert found['action test']['num_samples'] == 1


def test_people_get_a_table_notes_and_a_picture(
    own_videos: dict[str, Any],
    write_config: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, out = write_config(action=own_videos), tmp_path / 'new' / 'pictures'
    assert cli.main(['datasets', 'describe', '--config', config, '--out', str(out)]) == 0
    text = capsys.readouterr().out
    for words in ('action', 'folder', '4 clips', '0 / 1 / 3', "such as ['[fly]']", "'sit' (1)"):
        assert words in text
    with Image.open(out / 'classes_action.png') as picture:
        assert picture.format == 'PNG'


def test_a_data_set_that_is_not_there_is_told_and_the_others_are_described(
    own_videos: dict[str, Any],
    write_config: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = {'dataset': 'folder', 'settings': {'root': str(tmp_path / 'nowhere')}}
    config = write_config(action=own_videos, gesture=lost)
    found = described(capsys, '--config', config)
    assert found['action train']['num_samples'] == 4
    assert 'nowhere' in found['gesture train']['error']
    assert 'the layout is' in found['gesture train']['error']
    assert cli.main(['datasets', 'describe', '--config', config]) == 2
    assert 'gesture, train: not described:' in capsys.readouterr().out
    assert cli.main(['datasets', 'describe', '--config', config, '--task', 'action']) == 0


def test_entries_of_the_data_section_are_set_on_the_command_line(
    own_videos: dict[str, Any], write_config: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(action={'dataset': 'folder', 'settings': {'root': 'nowhere'}})
    root = own_videos['settings']['root']
    found = described(capsys, '--config', config, '--data.action.settings.root', root)
    assert found['action train']['num_samples'] == 4


def test_clips_that_are_missing_and_groups_in_two_splits_are_told(
    write_config: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(split: str, *, root: str) -> ClipIndex:
        """Clips of persons."""
        groups = {'train': ('ann', 'bob'), 'val': ('bob', 'eve'), 'test': ('joe',)}[split]
        entries = [ClipEntry(Path(root, split, group), 0, group=group) for group in groups]
        return ClipIndex(('wave',), entries, missing=[f'{split}/lost_{i}.avi' for i in range(5)])

    monkeypatch.setitem(VIDEO_SETS, 'persons', listed)
    # How clips are read is nothing to the list.
    data = {'dataset': 'persons', 'settings': {'root': 'x', 'augment': True}}
    found = described(capsys, '--config', write_config(gesture=data))
    assert found['gesture train']['num_groups'] == 2
    assert found['gesture train']['missing'] == 5
    assert found['gesture train']['missing_examples'][0] == 'train/lost_0.avi'
    assert "1 of its groups are in train too, such as 'bob'" in found['gesture val']['notes']
    assert found['gesture test']['notes'] == []


def test_of_merged_data_sets_it_is_told_what_each_class_is_made_of(
    write_config: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = ('train', 'val', 'test')
    make(tmp_path / 'one', *(f'{s}/hand waving/{i}.mp4' for s in splits for i in range(2)))
    make(tmp_path / 'one', *(f'{s}/nod/a.mp4' for s in splits))
    make(tmp_path / 'two', *(f'{s}/wave/{i}.mp4' for s in splits for i in range(3)))
    mapping = tmp_path / 'mapping.yaml'
    mapping.write_text("waving: ['one/hand waving', 'two/wave']\n")
    parts = {name: {'dataset': 'folder', 'root': str(tmp_path / name)} for name in ('one', 'two')}
    settings = {'parts': parts, 'mapping': str(mapping)}
    config = write_config(gesture={'dataset': 'merged', 'settings': settings})
    train = described(capsys, '--config', config)['gesture train']
    assert train['per_class'] == {'waving': 5, 'nod': 1}
    assert train['merged'] == {'waving': ['one/hand waving', 'two/wave']}
    assert train['origins'] == {'waving': {'one': 2, 'two': 3}, 'nod': {'one': 1}}
    assert cli.main(['datasets', 'describe', '--config', config]) == 0
    assert 'one: 2, two: 3' in capsys.readouterr().out


def test_rendered_clips_are_counted_and_not_rendered(
    write_config: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr('mtl_training.data.synthetic.clips.render', None)
    settings = {'num_clips': 20, 'cache_dir': str(tmp_path / 'cache')}
    config = write_config(action={'dataset': 'synthetic', 'settings': settings})
    train = described(capsys, '--config', config)['action train']
    assert (train['num_samples'], sum(train['per_class'].values())) == (20, 20)
    assert not (tmp_path / 'cache').exists()


def test_data_sets_that_do_not_tell_their_labels_are_described_without(
    toy_config_of: Callable[[dict[str, Any]], str],
    toy_block: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = described(capsys, '--config', toy_config_of(toy_block))['action train']
    assert (train['num_samples'], train['per_class']) == (24, None)


@pytest.fixture
def toy_config_of(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    def write(block: dict[str, Any]) -> str:
        (tmp_path / 'toy.yaml').write_text(yaml.safe_dump(block))
        return str(tmp_path / 'toy.yaml')

    return write


def test_images_and_the_people_in_them_are_counted(
    toy_config_of: Callable[[dict[str, Any]], str],
    frames_block: dict[str, Any],
    toy_module: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = described(capsys, '--config', toy_config_of(frames_block))
    tasks = {one['task']: one for one in found.values() if one['split'] == 'train'}
    assert set(tasks) == set(frames_block['network']['tasks'])
    frames = toy_module.ToyFrames('detection', 'train', num_images=8, size=(64, 64))
    people = sum(int((~frames[i].is_crowd).sum()) for i in range(8))
    for one in tasks.values():
        assert (one['unit'], one['num_samples'], one['missing']) == ('images', 8, 0)
    assert tasks['person']['people']['people'] == people
    assert tasks['person']['per_class'] == {'person': people}
    joints = tasks['keypoints']
    assert sum(joints['per_class'].values()) == joints['people']['joints'] > 0


@pytest.mark.parametrize('num_classes', [1, 2, 60, 249])
def test_every_class_has_a_bar_and_names_may_be_anything(num_classes: int, tmp_path: Path) -> None:
    odd = ['$x_1$', 'x' * 300, '握手', 'a\udcffb']
    labels = tuple([*odd, *(f'class {i}' for i in range(num_classes))][:num_classes])
    splits = [
        SplitDescription(
            't', s, 'd', labels=labels, counts=[k * (i + 1) for i in range(num_classes)]
        )
        for s, k in (('train', 9), ('val', 0))
    ]
    paths = draw(splits, tmp_path)
    with Image.open(paths[0]) as picture:
        assert picture.height > 10 * min(num_classes, 50)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('fly',), "datasets has no command 'fly'"),
        (('descibe',), "Did you mean 'describe'?"),
        (('describe',), 'required: config'),
        (('describe', '--config', 'nowhere.yaml'), "config 'nowhere.yaml' does not exist"),
        (('describe', '--config', '{config}', '--task', 'actoin'), "Did you mean 'action'?"),
        (('describe', '--config', '{config}', '--split', 'dev'), "got 'dev'"),
        (('describe', '--config', '{config}', '--jsn'), "Did you mean '--json'?"),
        (('check', '--config', '{config}', '--jobs', '0'), '--jobs must be positive, got 0'),
        (('prepare', '--config', '{config}'), 'out'),
        (('prepare', '--config', '{config}', '--out', 'x', '--fps', '0'), '--fps must be pos'),
        (('prepare', '--config', '{config}', '--out', 'x', '--size', '1'), 'at least 2 pixels'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: tuple[str, ...],
    message: str,
    own_videos: dict[str, Any],
    write_config: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(action=own_videos)
    try:
        code = cli.main(['datasets', *(text.format(config=config) for text in arguments)])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert (code, len(error.splitlines())) == (2, 1)
    assert message in error


@pytest.mark.parametrize('command', ['', 'describe', 'check', 'prepare'])
def test_each_command_explains_itself_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Parsers leave by themselves.
    with suppress(SystemExit):
        assert cli.main(['datasets', *command.split(), '--help']) == 0
    assert capsys.readouterr().out.count('python -m mtl_training datasets') >= 3


@pytest.mark.parametrize('command', ['describe', 'check'])
def test_a_setting_that_there_is_not_is_refused_before_a_long_training(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'videos' / 'train' / 'a').mkdir(parents=True)
    (tmp_path / 'videos' / 'train' / 'a' / '1.mp4').write_bytes(b'never opened')
    root = ('--data.action.settings.root', str(tmp_path / 'videos'))
    config = str(Path(__file__).parents[2] / 'config' / 'training' / 'folder.yaml')
    wrong = ('--data.action.settings.augmnt', 'true')
    code = cli.main(['datasets', command, '--config', config, *root, *wrong, '--json'])
    said = capsys.readouterr()
    assert code != 0
    assert "has no setting 'augmnt'. Did you mean 'augment'?" in ' '.join(
        (said.out + said.err).split()
    )
