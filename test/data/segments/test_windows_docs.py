"""What docs/datasets.md says of windows against what there is."""

from inspect import Parameter, signature
from pathlib import Path
import re

from mtl_training.config import build_config
from mtl_training.data.loading import build_datasets
from mtl_training.data.segments.registry import GRAPH_DATASETS
import yaml

DOCS = Path(__file__).parents[3].joinpath('docs', 'datasets.md').read_text()
SECTION = re.split(r'^## ', DOCS.partition('## Windows of features\n')[2], flags=re.MULTILINE)[0]


def test_every_data_set_of_windows_and_its_settings_are_documented() -> None:
    rows = re.findall(r'^\| `(\w+)` \| .* \| (.*) \|$', SECTION, re.MULTILINE)
    assert {name for name, _ in rows} - {'dataset'} == set(GRAPH_DATASETS)
    for name, text in rows:
        if name != 'dataset':
            given = ('settings', 'graph')
            own = [
                p.name
                for p in signature(GRAPH_DATASETS[name]).parameters.values()
                if p.kind is Parameter.KEYWORD_ONLY and p.name not in given
            ]
            assert re.findall(r'`(\w+)`', text) == own


def test_the_example_gives_samples() -> None:
    (block,) = re.findall(r'```yaml\n(.*?)```', SECTION, re.DOTALL)
    config = build_config({**yaml.safe_load(block), 'iterations': 1})
    for data in config.data.values():
        data.settings['num_videos'] = 2
    datasets = build_datasets(config, 'train')
    assert datasets['next'][0].target.shape == (6, 2)  # type: ignore[union-attr]
    assert datasets['moment'][0].features.shape == (16, 3, 64)  # type: ignore[union-attr]
