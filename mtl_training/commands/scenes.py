"""The command ``scenes``: stream, film or show rendered scenes."""

from __future__ import annotations

# Not jsonargparse: its parsers apply the types of these arguments twice.
from argparse import ArgumentParser
from collections.abc import Sequence
import sys
from typing import NoReturn

from mtl_training.data.synthetic.command import add_scenes_arguments, run_scenes

DESCRIPTION = 'Render synthetic scenes of people with their truth.'


class _OneLineParser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f'error: {message}', file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = _OneLineParser(prog='python -m mtl_training scenes', description=DESCRIPTION)
    add_scenes_arguments(parser)
    return run_scenes(parser.parse_args(arguments))
