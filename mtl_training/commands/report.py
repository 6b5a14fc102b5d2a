"""The command ``report``: tables and pictures from the folders of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtl_training.arguments import OneLineParser
from mtl_training.reporting.write import write_report

DESCRIPTION = """Compare runs: write report.md, report.html and results.csv.

All is read from the folders of the runs, so it works at any time, also while they go on, and on
runs of 'train' as well as on those of 'compare'.

Examples:
  python -m mtl_training report --runs out/compare/compare_paper
  python -m mtl_training report --runs out/compare/compare_paper --out docs/comparison"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(prog='python -m mtl_training report', description=DESCRIPTION)
    parser.add_argument('--runs', type=str, required=True, help='folder that holds the runs')
    parser.add_argument('--out', type=str, help='folder for the report (<runs>/report)')
    parsed = parser.parse_args(list(arguments))
    runs = Path(parsed.runs)
    print(write_report(runs, Path(parsed.out) if parsed.out else runs / 'report'))
    return 0
