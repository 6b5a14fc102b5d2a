"""The command ``datasets``: describe, check and copy the data sets of a config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import sys

from mtl_training.arguments import OneLineParser
from mtl_training.commands import datasets_check, datasets_describe, datasets_prepare
from mtl_training.commands.dataset_arguments import PROG
from mtl_training.tables import nearest

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    'describe': datasets_describe.main,
    'check': datasets_check.main,
    'prepare': datasets_prepare.main,
}
DESCRIPTION = """Look at the data sets of a training config before they train.

Entries of the config below data are set as for train: --data.action.settings.root videos

Commands:
  describe  classes, clips per class, what is missing, and a picture of it
  check     decode every file: what is missing, damaged, twice there or mislabelled
  prepare   make a compact copy that decodes fast

Examples:
  python -m mtl_training datasets describe --config config/training/set1.yaml --out out/set1
  python -m mtl_training datasets check --config config/training/folder.yaml --out check.json \\
      --data.action.settings.root videos
  python -m mtl_training datasets prepare --config config/training/set1.yaml --out data/small

Each command explains itself: 'python -m mtl_training datasets check --help'."""


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code: 0, 1 for what was found, 2 for wrong input."""
    if not arguments or arguments[0] in ('-h', '--help'):
        parser = OneLineParser(prog=PROG, description=DESCRIPTION, usage=f'{PROG} <command> ...')
        parser.print_help(sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        raise ValueError(
            f"datasets has no command '{arguments[0]}'. {nearest(arguments[0], [*COMMANDS])}"
        )
    return COMMANDS[arguments[0]](arguments[1:])
