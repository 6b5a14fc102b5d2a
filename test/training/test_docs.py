"""What docs/weighting.md says against what there is."""

from inspect import signature
from pathlib import Path
import re

from mtl_training.weighting import WEIGHTINGS
import pytest

DOCS = (Path(__file__).parents[2] / 'docs' / 'weighting.md').read_text()


@pytest.mark.parametrize('name', WEIGHTINGS)
def test_every_weighting_and_its_settings_are_documented(name: str) -> None:
    (row,) = re.findall(rf'^\| `{name}` \|.*$', DOCS, re.MULTILINE)
    settings = list(signature(WEIGHTINGS[name]).parameters)[1:]
    assert re.findall(r'`(\w+)`', row)[1:] == settings


def test_no_other_weighting_is_documented() -> None:
    assert set(re.findall(r'^\| `(\w+)`', DOCS, re.MULTILINE)) == set(WEIGHTINGS)
