"""The README's table of parameters against the node's."""

from dataclasses import fields
from pathlib import Path
import re

from mtl_perception.ros.parameters import PerceptionParameters, When

README = Path(__file__).parents[2] / 'README.md'
WHEN = {
    When.LIVE: 'live',
    When.INACTIVE: 'while not active',
    When.UNCONFIGURED: 'while unconfigured',
    When.START: 'at start only',
}


def shown(value: object) -> str:
    return repr(value) if value == '' else str(value).lower()


def test_the_readme_lists_every_parameter_as_it_is() -> None:
    table = README.read_text().partition('### Parameters')[2].partition('###')[0]
    rows = re.findall(r'^\| `(\w+)` \| `([^`]*)` \| ([\w ]+) \|', table, re.MULTILINE)
    expected = [
        (item.name, shown(item.default), WHEN[item.metadata['when']])
        for item in fields(PerceptionParameters)
    ]
    assert rows == expected
