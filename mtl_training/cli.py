"""The command line: ``python -m mtl_training <command>``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
import sys

from mtl_training.tables import nearest

# Command -> (its module, what it does).
COMMANDS = {
    'train': ('mtl_training.commands.train', 'train a network'),
    'evaluate': ('mtl_training.commands.evaluate', 'evaluate a checkpoint as the robot runs it'),
    'calibrate': ('mtl_training.commands.calibrate', "teach a checkpoint to say 'nothing'"),
    'cross-predict': (
        'mtl_training.commands.cross_predict',
        "show what tasks say of each other's clips",
    ),
    'inspect-backpack': (
        'mtl_training.commands.inspect_backpack',
        'show what a task draws from the tasks that it knows',
    ),
    'audit': ('mtl_training.commands.audit', 'find training clips with wrong labels'),
    'compare': ('mtl_training.commands.compare', 'train a grid of methods and compare them'),
    'report': ('mtl_training.commands.report', 'compare runs that are there'),
    'join': ('mtl_training.commands.join', 'make one checkpoint of several'),
    'crossvalidate': (
        'mtl_training.commands.crossvalidate',
        'cross-validate the classifier of activities',
    ),
    'import-weights': (
        'mtl_training.commands.import_weights',
        'make a checkpoint from published weights',
    ),
    'embed-sentences': (
        'mtl_training.commands.embed_sentences',
        'embed a list of sentences for a robot without an encoder',
    ),
    'extract-features': (
        'mtl_training.commands.extract_features',
        'make features of videos, for tasks that look back',
    ),
    'build-backpack': (
        'mtl_training.commands.build_backpack',
        'record what known tasks see of each of their labels',
    ),
    'learn-task': (
        'mtl_training.commands.learn_task',
        'teach a checkpoint a task of your own from a few clips',
    ),
    'datasets': (
        'mtl_training.commands.datasets',
        'describe, check or copy the data sets of a config',
    ),
    'scenes': ('mtl_training.commands.scenes', 'render synthetic scenes with their truth'),
    'list': ('mtl_training.commands.listing', 'name every method and data set'),
}
STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :return: The exit code: 0, 1 for a comparison with failed runs or data sets with problems,
        2 for wrong input, 130 for what was stopped early.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ('-h', '--help'):
        print(_help(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise ValueError(f"unknown command '{name}'. {nearest(name, list(COMMANDS))}")
        return int(import_module(COMMANDS[name][0]).main(rest))
    except (ValueError, OSError) as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return STOPPED


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f'  {name:{width}}{text}' for name, (_, text) in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: python -m mtl_training <command> [options]',
            '',
            'Train and evaluate the network of mtl_perception.',
            '',
            *lines,
            '',
            "Each command explains itself, with examples: 'python -m mtl_training train --help'.",
        ]
    )
