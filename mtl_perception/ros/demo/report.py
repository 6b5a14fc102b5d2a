"""What the demo prints: one line per scene or label, and a table at the end."""

from __future__ import annotations

from collections.abc import Mapping
import sys
from typing import Any, TextIO

from mtl_perception.ros.demo.people_scoring import PeopleScore, shortfalls
from mtl_perception.ros.demo.scoring import (
    ACTIVITY,
    HeardResult,
    REQUIRED_ACCURACY,
    RULE,
    Scene,
)

_GREEN, _RED, _YELLOW, _DIM, _BOLD = '32', '31', '33', '2', '1'


class Report:
    """Writes to the terminal; plain text where there is none."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._has_colours = self._stream.isatty()
        can_draw = 'utf' in (getattr(self._stream, 'encoding', None) or '').lower()
        self._marks = ('✓', '✗') if can_draw else ('ok', 'no')

    def line(self, text: str = '', style: str = '') -> None:
        """Print a line at once."""
        if style and self._has_colours:
            text = f'\x1b[{style}m{text}\x1b[0m'
        print(text, file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Print something that happens beside."""
        self.line(text, _DIM)

    def warning(self, text: str) -> None:
        """Print something that should not happen."""
        self.line(f'  warning: {text}', _YELLOW)

    def scenes_header(self) -> None:
        """Print the heads of the columns of :meth:`scene`."""
        self.line(
            f'{"scene":>5}  {"task":<8} {"truth":<16} {"recognized":<16} {"score":>5}  '
            f'{"":<4}{"latency":>9} {"frames in":>10}',
            _BOLD,
        )

    def scene(self, scene: Scene) -> None:
        """Print the line of a scene that is over."""
        if scene.task == ACTIVITY:
            self._scene_of_activities(scene)
            return
        label, score = scene.recognised()
        is_hit = scene.is_hit()
        latency = scene.as_dict()['latency_ms']['p50']
        shown = '-' if latency is None else f'{latency:.0f} ms'
        self.line(
            f'{scene.number:>5}  {scene.task:<8} {scene.truth:<16} {label or "(nothing)":<16} '
            f'{score:>5.2f}  {self._marks[0 if is_hit else 1]:<4}{shown:>9} '
            f'{scene.rate_hz():>6.1f} fps',
            _GREEN if is_hit else _RED,
        )

    def _scene_of_activities(self, scene: Scene) -> None:
        is_hit, score = scene.is_hit(), scene.people or PeopleScore()
        what = (
            f'found {_percent(score.found_share)}, OKS {_number(score.mean_oks)}, '
            f'activity {_percent(score.activity_accuracy)}'
        )
        self.line(
            f'{scene.number:>5}  {scene.task:<8} {scene.truth:<36} {what}  '
            f'{self._marks[0 if is_hit else 1]}',
            _GREEN if is_hit else _RED,
        )

    def label(self, result: HeardResult, time_sec: float) -> None:
        """Print the line of a new label."""
        score = max(result.scores.values(), default=0.0)
        self.line(
            f'{time_sec:>8.1f} s  {result.task:<8} {result.label or "(unsure)":<18} {score:>5.2f} '
            f'{result.latency_ms:>7.0f} ms'
        )

    def timeline(self, timeline: Mapping[str, list[dict[str, Any]]]) -> None:
        """Print when which label held."""
        for task, runs in timeline.items():
            self.line()
            self.line(f'Timeline of {task}', _BOLD)
            for run in runs:
                self.line(
                    f'  {run["start_sec"]:>7.1f} - {run["end_sec"]:>7.1f} s  '
                    f'{run["label"] or "(unsure)":<18} {run["score"]:>5.2f}'
                )

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Print the table at the end."""
        latency = summary['latency_ms']
        rows = []
        for task in ('action', 'gesture'):
            rate = summary[f'{task}_accuracy']
            if rate is not None:
                counts = summary['per_class'][task].values()
                hits, total = (sum(row[key] for row in counts) for key in ('hits', 'scenes'))
                rows.append((f'{task} hit rate', f'{rate:.0%} ({hits} of {total} scenes)'))
        for task, row in sorted(summary['false_alarms'].items()):
            share, total = row['labels'] / row['results'], row['results']
            shown = f'{share:.1%} of {total} results in scenes of no {task}'
            rows.append((f'{task} false alarms', shown))
        rows += _people_rows(summary)
        if latency['p50'] is not None:
            rows.append(('latency p50 / p95', f'{latency["p50"]:.0f} / {latency["p95"]:.0f} ms'))
        rows += [
            ('frames in', f'{summary["frames_in"]} of {summary["frames_published"]} published'),
            ('frames dropped', str(summary['frames_dropped'])),
            ('frame rate', f'{summary["rate_hz"]:.1f} fps'),
            ('results heard', str(summary['predictions'])),
            ('film', str(summary['film'])),
        ]
        self.line()
        self.line('Summary (as heard over DDS)', _BOLD)
        for name, value in rows:
            self.line(f'  {name:<22}{value}')
        if summary['scenes']:
            self.note(f'  {RULE}')
        if summary.get('people'):
            self.note(f'  {summary["people_rule"]}')

    def verdict(self, problems: list[str]) -> None:
        """Print whether the demo went well, and why not."""
        for problem in problems:
            self.line(f'FAILED: {problem}', _RED)
        if not problems:
            self.line('OK', _GREEN)


def problems_of(summary: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a demo on scenes of known truth."""
    problems = []
    for task in ('action', 'gesture'):
        rate = summary[f'{task}_accuracy']
        if rate is None:
            if task in summary['tasks_asked']:
                problems.append(f'no {task} scene was shown.')
        elif rate < REQUIRED_ACCURACY:
            problems.append(f'{task} hit rate {rate:.0%} is below {REQUIRED_ACCURACY:.0%}.')
    if asked := summary.get('people_asked'):
        if summary['people'] is None:
            problems.append('no truth about people was heard.')
        else:
            problems += shortfalls(summary['people'], asked)
    if num_heard(summary) == 0:
        problems.insert(0, 'no result was heard.')
    return problems


def num_heard(summary: Mapping[str, Any]) -> int:
    """Return how many messages of results were heard, of clips and of people."""
    return int(summary['predictions'] + summary.get('people_messages', 0))


def _people_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    latency = summary.get('people_latency_ms', {'p50': None})
    rows = []
    if people := summary.get('people'):
        judged = f'of {people["activities"]} in scenes of activities'
        rows = [
            ('people found', f'{_percent(people["found_share"])} of {people["people"]}'),
            ('false people', f'{_number(people["false_per_frame"])} per frame'),
            ('mean OKS', _number(people['mean_oks'])),
            ('activities right', f'{_percent(people["activity_accuracy"])} {judged}'),
            ('switched ids', f'{_number(people["switches_per_minute"])} per minute of a person'),
            ('frames with people', f'{people["frames_heard"]} of {people["frames"]} answered'),
        ]
    if latency['p50'] is not None:
        shown = f'{latency["p50"]:.0f} / {latency["p95"]:.0f} ms'
        rows.append(('people p50 / p95', shown))
    return rows


def _percent(share: float | None) -> str:
    return '-' if share is None else f'{share:.1%}'


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
