"""What docs/datasets.md says against what there is."""

from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
import re

from mtl_training.config import build_config
from mtl_training.data.caption_sets import CAPTION_DATASETS, CAPTIONED_FILES
from mtl_training.data.captioned import CaptionedClips
from mtl_training.data.clip_sets import DATASETS, MULTI_LABEL_SETS
from mtl_training.data.loading import build_datasets
from mtl_training.data.synthetic.scene_captions import synthetic_captions
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.registry import VIDEO_SETS
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs' / 'datasets.md').read_text()


def rows_under(title: str) -> list[list[str]]:
    """Return the cells of the tables under a title."""
    text = re.split(r'^##* ', DOCS.partition(f'## {title}\n')[2], flags=re.MULTILINE)[0]
    lines = re.findall(r'^\| (`.*) \|$', text, re.MULTILINE)
    assert lines, f'docs/datasets.md has no table under {title}'
    return [re.split(r' (?<!\\)\| ', line) for line in lines]


def test_every_data_set_of_clips_is_documented_and_no_other() -> None:
    documented = {row[0].strip('`') for row in rows_under('Clips')} - {'dataset'}
    assert documented == {*VIDEO_SETS, 'synthetic'} <= set(DATASETS)
    photos = {row[0].strip('`') for row in rows_under('Photos of several classes')}
    assert photos - {'dataset'} == set(MULTI_LABEL_SETS) <= set(DATASETS)
    captions = {row[0].strip('`') for row in rows_under('Captions')}
    assert captions - {'dataset'} == set(CAPTION_DATASETS)


@pytest.mark.parametrize(
    ('title', 'name', 'function'),
    [
        *(('Photos of several classes', *item) for item in MULTI_LABEL_SETS.items()),
        *(('Captions', *item) for item in CAPTIONED_FILES.items()),
    ],
)
def test_the_settings_of_photos_and_captions_are_documented(
    title: str, name: str, function: Callable[..., object]
) -> None:
    (row,) = [row for row in rows_under(title) if row[0] == f'`{name}`']
    assert re.findall(r'`(\w+)`', row[2]) == list(signature(function).parameters)[1:]


def test_the_settings_of_rendered_captions_are_documented() -> None:
    (row,) = [row for row in rows_under('Captions') if row[0] == '`synthetic`']
    own = [*signature(synthetic_captions).parameters][3:]
    of_trunk = ('num_frames', 'clip_seconds', 'size')
    assert re.findall(r'`(\w+)`', row[2]) == [name for name in own if name not in of_trunk]


def test_the_examples_of_captions_are_configs_and_the_rendered_one_gives_samples() -> None:
    text = re.split(r'^## ', DOCS.partition('## Captions\n')[2], flags=re.MULTILINE)[0]
    blocks = [yaml.safe_load(block) for block in re.findall(r'```yaml\n(.*?)```', text, re.DOTALL)]
    assert len(blocks) == 2
    configs = [build_config({**block, 'iterations': 1}) for block in blocks]
    assert configs[0].data['caption'].dataset == 'msvd'
    for data in configs[1].data.values():
        data.settings['num_clips'] = 3
    datasets = build_datasets(configs[1], 'train')
    captions, actions = datasets['caption'], datasets['action']
    assert isinstance(captions, CaptionedClips)
    assert captions.targets.shape == (3, 64)
    assert captions[0].frames.shape == actions[0].frames.shape == (16, 64, 86, 3)


@pytest.mark.parametrize('name', VIDEO_SETS)
def test_the_settings_of_a_data_set_are_documented(name: str) -> None:
    (row,) = [row for row in rows_under('Clips') if row[0] == f'`{name}`']
    assert re.findall(r'`(\w+)`', row[2]) == list(signature(VIDEO_SETS[name]).parameters)[1:]


def test_the_settings_of_the_pipeline_and_their_defaults_are_documented() -> None:
    parameters = signature(VideoClips).parameters.values()
    # The trunk says how long and how large a clip is, and what of it the network sees.
    of_trunk = ('num_frames', 'clip_seconds', 'size', 'crop')
    expected = {
        p.name: p.default
        for p in parameters
        if p.kind is Parameter.KEYWORD_ONLY and p.name not in of_trunk
    }
    documented: dict[str, str] = {}
    for row in rows_under('From file to network'):
        names = re.findall(r'`(\w+)`', row[0])
        values = row[1].split(', ') if len(names) > 1 else [row[1]]
        documented |= dict(zip(names, values, strict=True))
    assert documented.pop('fit') == "the trunk's"
    expected.pop('fit')
    shown = {
        name: {None: 'null', True: 'true', False: 'false'}.get(value)
        if value is None or isinstance(value, bool)
        else str(list(value) if isinstance(value, tuple) else value)
        for name, value in expected.items()
    }
    assert documented == shown


def test_the_sets_that_are_documented_are_there() -> None:
    sets = re.findall(r'^\| `(set\d\.yaml)`', DOCS, re.MULTILINE)
    folder = ROOT / 'config' / 'training'
    assert sorted(sets) == sorted(path.name for path in folder.glob('set*.yaml'))
