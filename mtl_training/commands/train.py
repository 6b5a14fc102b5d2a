"""The command ``train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from mtl_training.arguments import (
    add_config_arguments,
    fixed_overrides,
    OneLineParser,
    split_overrides,
)
from mtl_training.config import load_config
from mtl_training.run_folder import RunFolder
from mtl_training.segment_evaluation import shown_figures
from mtl_training.trainer import Trainer
from rich.console import Console
from rich.table import Table

STOPPED = 130

DESCRIPTION = """Train a network.

Examples:
  python -m mtl_training train --config config/training/quick.yaml
  python -m mtl_training train --config config/training/quick.yaml --out out/runs/mine \\
      --optimiser.lr 3e-4 --network.trunks.clip.sharing hard
  python -m mtl_training train --resume --out out/runs/mine

The run's folder gets best.safetensors (for the robot), last.safetensors, state.safetensors (for
--resume), config.yaml, metrics.jsonl, TensorBoard events, summary.json and pictures."""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code: 0, or 130 if the run was stopped early."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    overrides = [*fixed_overrides(parsed.as_dict()), *overrides]
    if parsed.config is None and not (parsed.resume and parsed.out):
        raise ValueError('--config is missing; only --resume with --out works without.')
    config = load_config(parsed.config or RunFolder(parsed.out).config, overrides)
    out = parsed.out or Path('out', 'runs', Path(parsed.config).stem)
    # Before anything is rendered.
    RunFolder(out).check(config, resume=parsed.resume)
    trainer = Trainer(config, out, Console(stderr=True))
    figures = trainer.run(resume=parsed.resume)
    if not trainer.is_main_process:
        return 0
    if parsed.json:
        print(json.dumps(figures))
    else:
        _print_summary(figures)
    return 0 if figures['finished'] else STOPPED


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training train', description=DESCRIPTION)
    parser.add_argument('--config', type=str, help='YAML file; a resumed run has its own')
    parser.add_argument('--out', type=str, help="the run's folder (out/runs/<config>)")
    parser.add_argument('--resume', action='store_true', help='go on where the run stopped')
    parser.add_argument('--json', action='store_true', help='print the summary as JSON')
    add_config_arguments(parser)
    return parser


def _print_summary(figures: Mapping[str, Any]) -> None:
    table = Table(title=f'run {figures["out"]}', show_header=False)
    for key, value in figures.items():
        if key != 'out' and not isinstance(value, dict):
            table.add_row(key, f'{value:.3f}' if isinstance(value, float) else str(value))
    for split in ('val', 'test'):
        for task, accuracy in figures.get(split, {}).get('accuracy', {}).items():
            table.add_row(f'{split} {task}', f'{accuracy:.1%}')
        for task, row in figures.get(split, {}).get('captions', {}).items():
            recalls = ', '.join(f'R@{k} {row[f"r{k}"]:.1%}' for k in (1, 5, 10))
            table.add_row(f'{split} {task}', f'{recalls} of {row["pool"]} sentences')
        for task, row in figures.get(split, {}).get('multilabel', {}).items():
            table.add_row(
                f'{split} {task}', 'no mAP' if row['map'] is None else f'mAP {row["map"]:.1%}'
            )
        for task, row in figures.get(split, {}).get('segments', {}).items():
            table.add_row(f'{split} {task}', ', '.join(shown_figures(row)))
    Console().print(table)
