"""Tests of the help that the options of a training config show."""

from jsonargparse import ArgumentParser
from mtl_training.arguments import add_config_arguments
import pytest


@pytest.mark.parametrize(
    'sentence',
    [
        'the mean score of all tasks, which those of boxes',  # on the second line
        'False makes live batch norms see the same under every weighting.',  # on the third
        'with this decay; not in stages.',
        'Largest norm of the whole gradient.',
    ],
)
def test_sentences_of_several_lines_are_shown_to_their_end(sentence: str) -> None:
    parser = ArgumentParser()
    add_config_arguments(parser)
    assert sentence in ' '.join(parser.format_help().split())
