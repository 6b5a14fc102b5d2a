"""Problems with videos: told once each, by whichever process, and listed at the end."""

import json
import logging
from pathlib import Path
import subprocess
import sys

from mtl_training.data.videos.problems import (
    forget_problems,
    list_problems,
    Problem,
    problem_log,
    ProblemLog,
)
import pytest

TELL = """
import sys
from pathlib import Path
from mtl_training.data.videos.problems import ProblemLog
log = ProblemLog(Path(sys.argv[1]))
for number in range(40):
    log.tell(f'video {number}', 'repaired', 'damaged')
"""


def test_each_problem_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logs = [ProblemLog(tmp_path / 'a.jsonl'), ProblemLog(tmp_path / 'a.jsonl')]
    for log in logs * 2:
        log.tell('x.mp4', 'repaired', 'damaged')
        log.tell('x.mp4', 'replaced', 'gone')
    assert [record.message for record in caplog.records] == [
        "Repaired: 'x.mp4': damaged.",
        "Replaced: 'x.mp4': gone.",
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_processes_at_once_tell_each_problem_once(tmp_path: Path) -> None:
    path = tmp_path / 'a.jsonl'
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', TELL, str(path)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    warnings = [line for p in processes for line in p.communicate()[1].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    expected = {f'video {number}' for number in range(40)}
    assert sorted(warnings) == sorted(f"Repaired: '{name}': damaged." for name in expected)
    assert {problem.path for problem in ProblemLog(path).problems()} == expected
    assert len(ProblemLog(path).problems()) == 40


def test_a_line_that_was_cut_off_costs_nothing_else(tmp_path: Path) -> None:
    log = ProblemLog(tmp_path / 'a.jsonl')
    log.tell('a', 'repaired', 'b')
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole[: len(whole) // 2])
    log.tell('c', 'repaired', 'd')
    assert log.problems() == [Problem('a', 'repaired', 'b'), Problem('c', 'repaired', 'd')]


def test_problems_are_listed_at_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    assert list_problems(said.append) == 0
    assert said == []
    for number in range(25):
        problem_log().tell(f'{number}.mp4', 'left out', 'damaged')
    assert list_problems(said.append) == 25
    assert said[0].startswith('25 problems')
    assert '0.mp4' in said[1]
    assert said[-1].startswith('  and 5 more')


def test_what_a_run_kept_before_it_was_interrupted_stays(tmp_path: Path) -> None:
    keep = tmp_path / 'problems.jsonl'
    said: list[str] = []
    for name in ('a', 'b', 'a'):
        problem_log().tell(name, 'left out', 'damaged')
        list_problems(said.append, keep)
        forget_problems()
    assert [json.loads(line)[0] for line in keep.read_text().splitlines()] == ['a', 'b']
    assert said[-1] == f'2 problems with videos, listed in {keep}'
