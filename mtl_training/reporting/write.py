"""Writing a report: its blocks, pictures, Markdown, HTML and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
import re

from mtl_perception.checkpoint import write_atomically
from mtl_training.reporting import figures, margins, notes, tables
from mtl_training.reporting.disjoint import disjoint_blocks
from mtl_training.reporting.document import (
    Block,
    Bullets,
    Details,
    Heading,
    Paragraph,
    Table,
    to_markdown,
)
from mtl_training.reporting.drawing import Pictures
from mtl_training.reporting.html import to_html
from mtl_training.reporting.people import people_blocks
from mtl_training.reporting.results import load_results
from mtl_training.reporting.run_result import RunResult
from mtl_training.reporting.segments import segment_blocks
from mtl_training.reporting.spreadsheet import merged_csv, to_csv
from mtl_training.reporting.tables import Method

TITLE = 'Comparison of methods'


PICTURES = 'figures'


def write_report(runs: Path, out: Path) -> Path:
    """
    Write report.md with its pictures in figures/, report.html and results.csv.

    Where there are tasks on windows of features, segments.csv has the figures of methods.

    :param runs: Folder that holds the folders of the runs, at any depth.
    :param out: Made where missing; pictures that only an earlier report shows are removed from it.
    :return: The path of report.html.
    :raises ValueError: If there are no runs.
    """
    results = load_results(runs)
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    before = _pictures_of(out / 'report.md')
    blocks = _blocks(results, out / PICTURES)
    write_atomically(out / 'report.md', to_markdown(blocks).encode())
    write_atomically(out / 'report.html', to_html(blocks, TITLE).encode())
    write_atomically(out / 'results.csv', to_csv(results).encode())
    if merged := merged_csv(results):
        write_atomically(out / 'segments.csv', merged.encode())
    for name in before - _pictures_of(out / 'report.md'):
        (out / PICTURES / name).unlink(missing_ok=True)
    return out / 'report.html'


def _pictures_of(report: Path) -> set[str]:
    """Return the file names of the pictures that a report shows; none if there is no report."""
    text = report.read_text(encoding='utf-8') if report.exists() else ''
    return set(re.findall(rf'\]\({PICTURES}/(figure_\d+_\d+\.png)\)', text))


def _blocks(results: Sequence[RunResult], out: Path) -> list[Block]:
    finished = sum(result.status == 'finished' for result in results)
    facts = [f'{finished} of {len(results)} runs are finished.']
    facts += [f'Command: {text}' for text in _distinct(r.command for r in results)]
    facts += [f'Source: git {text}' for text in _distinct(r.git_revision for r in results)]
    if superseded := sum(result.status == 'superseded' for result in results):
        facts.append(
            f'{superseded} finished runs have a newer one of the same config and seed, which '
            'counts in their place.'
        )
    blocks: list[Block] = [Heading(1, TITLE), Bullets(facts)]
    for number, data in enumerate(dict.fromkeys(result.data for result in results)):
        of_data = [result for result in results if result.data == data]
        blocks += _data_blocks(data, of_data, Pictures(out, f'figure_{number}'))
    return blocks + _missing_blocks(results)


def _data_blocks(data: str, results: Sequence[RunResult], pictures: Pictures) -> list[Block]:
    methods = tables.methods_of(results)
    blocks: list[Block] = [Heading(2, f'Data set: {data}')]
    if not methods:
        return [*blocks, Paragraph('No run is finished.')]
    splits = ' and '.join(_distinct(run.split for m in methods for run in m.runs))
    blocks += [
        Paragraph(
            f'{_figures(methods)} on the {splits} split in %, mean ± standard deviation over n '
            f'runs, of {_judged_networks(methods)}. {_over_all_tasks(methods)} The best of each '
            'column is bold. ms/step: median time of a training step.'
        ),
        *disjoint_blocks(methods, pictures),
        *segment_blocks(methods, pictures),
        *people_blocks(methods),
        *_margin_blocks(methods, pictures),
        Heading(3, 'Sharing by weighting'),
        tables.overview_table(methods),
        Heading(3, 'What this can tell'),
        notes.notes(methods),
        Heading(3, 'All methods'),
        Paragraph(
            'Here n is the number of seeds. Parameters: in training, and deployed on the robot.'
        ),
        tables.method_table(methods),
    ]
    curves = pictures.draw(
        lambda path: figures.draw_learning_curves(methods, path),
        f'{_name(methods)} of validation over the iterations; bands: one standard deviation.',
    )
    blocks += _under(Heading(3, 'Learning curves'), curves)
    weights = pictures.draw(
        lambda path: figures.draw_weights(methods, path),
        'Weights of the tasks; thin: per sharing method, thick: mean over all runs.',
    )
    blocks += _under(Heading(3, 'Weights of the tasks'), weights)
    return blocks + _sharing_blocks(methods, pictures)


def _judged_networks(methods: Sequence[Method]) -> str:
    chosen, last = 'the network that validation chose', 'the network at the end'
    configs = [run.config for method in methods for run in method.runs if run.config]
    kinds = [last if config.evaluation.selection == 'last' else chosen for config in configs]
    return ' or '.join(_distinct(kinds)) or chosen


def _margin_blocks(methods: Sequence[Method], pictures: Pictures) -> list[Block]:
    blocks: list[Block] = [
        Paragraph(
            'The averages over all that a sharing method, or a weighting, was combined with tell '
            'more than single combinations, of which each has few seeds. Differences are means '
            'over pairs of runs that have all else in common, ± one standard error: below about '
            'two of them a difference is not shown to be more than chance. Time: that of a step, '
            'relative to the same reference.'
        )
    ]
    for kind, title in (
        ('sharing', 'Sharing methods, over all weightings and seeds'),
        ('weighting', 'Weightings, over all sharing methods and seeds'),
        ('regime', 'Regimes, over all sharing methods, weightings and seeds'),
    ):
        if len({getattr(method, kind) for method in methods}) > 1:
            blocks += [Heading(3, title), margins.margin_table(methods, kind)]
    drawn = pictures.draw(
        lambda path: figures.draw_margins(methods, path),
        f'{_name(methods)} of every run, by what differs; bars: means.',
    )
    return [*blocks, *drawn] if len(blocks) > 1 else []


def _name(methods: Sequence[Method]) -> str:
    return {'cumulative': 'Cumulative accuracy'}.get(
        name := tables.overall_name(methods), name.capitalize()
    )


def _figures(methods: Sequence[Method]) -> str:
    return 'Accuracy' if tables.overall_name(methods) == 'cumulative' else 'Scores'


def _over_all_tasks(methods: Sequence[Method]) -> str:
    if tables.overall_name(methods) == 'cumulative':
        return 'Cumulative: the share of right predictions over the samples of all tasks.'
    return (
        'The score of a task is its accuracy, mean average precision, mean of R@1, R@5 and R@10, '
        'COCO average precision, or one minus its edit distance or error in seconds (one at '
        'most); the mean score is over the tasks of a run.'
    )


def _sharing_blocks(methods: Sequence[Method], pictures: Pictures) -> list[Block]:
    structures: list[Block] = []
    confusions: list[Block] = []
    for sharing in dict.fromkeys(method.sharing for method in methods):
        group = [method for method in methods if method.sharing == sharing]
        drawn = pictures.draw(
            lambda path, group=group: figures.draw_structure(group, path),  # type: ignore[misc]
            f'{sharing}: what each task takes in each layer.',
        )
        if drawn:
            seed = group[0].runs[0].seed
            title = f'{sharing}: shares of each task per layer (seed {seed})'
            structures.append(Details(title, drawn))
        if best := tables.best_of(group):
            drawn = pictures.draw(
                lambda path, best=best: figures.draw_confusions(best, path),  # type: ignore[misc]
                f'{best.name}: confusion matrices.',
            )
            if drawn:
                confusions.append(Details(f'{best.name}, all seeds together', drawn))
    return [
        *_under(Heading(3, 'What is shared'), structures),
        *_under(Heading(3, "Confusions of each sharing method's best weighting"), confusions),
    ]


def _under(heading: Heading, blocks: Sequence[Block]) -> list[Block]:
    return [heading, *blocks] if blocks else []


def _missing_blocks(results: Sequence[RunResult]) -> list[Block]:
    missing = [result for result in results if result.status != 'finished']
    heading = Heading(2, 'Runs that are not counted')
    if not missing:
        return [heading, Paragraph('None.')]
    header = ['data', 'sharing', 'weighting', 'seed', 'status', 'reason']
    if any(result.regime for result in results):
        header.insert(3, 'regime')
    rows = [[str(getattr(run, name)) for name in header] for run in missing]
    return [heading, Table(header, rows, num_names=len(header))]


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
