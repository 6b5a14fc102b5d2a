"""Videos that were left out or repaired: told once each, and listed at the end."""

from __future__ import annotations

import atexit
from collections.abc import Callable
import fcntl
import json
import logging
import os
from pathlib import Path
import tempfile
from typing import BinaryIO, NamedTuple

_LOGGER = logging.getLogger(__name__)
_MAX_LISTED = 20


class Problem(NamedTuple):
    """What became of a file, and why."""

    path: str
    action: str  # left out, repaired, replaced, missing, not cached, noted
    reason: str


class ProblemLog:
    """
    A file of problems that any process may add to.

    Each is a line of JSON, so that a process that is killed costs its last line at most.

    :param path: The file; made when there is a problem.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told: set[tuple[str, str]] = set()
        self._known: set[tuple[str, str]] = set()  # of all processes, in the file
        self._read = 0  # bytes of it

    def tell(self, path: str | Path, action: str, reason: str) -> None:
        """Warn of a problem, unless a process has told of the same file and action before."""
        problem = Problem(str(path), action, reason)
        if problem[:2] in self._told:
            return
        self._told.add(problem[:2])
        if self._add(problem):
            _LOGGER.warning("%s: '%s': %s.", action.capitalize(), path, reason.rstrip('.'))

    def problems(self) -> list[Problem]:
        """Return all problems of all processes so far; lines that are not whole are left out."""
        if not self.path.exists():
            return []
        return _problems_in(self.path.read_bytes())

    def _add(self, problem: Problem) -> bool:
        """Append a problem if it is new; the lock is released with the file."""
        with self.path.open('a+b') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            ended = self._catch_up(file)
            if problem[:2] in self._known:
                return False
            file.write(('' if ended else '\n').encode() + json.dumps(problem).encode() + b'\n')
        return True

    def _catch_up(self, file: BinaryIO) -> bool:
        """Read what has come since, and tell whether the last line is whole."""
        if file.seek(0, os.SEEK_END) < self._read:
            self._known, self._read = set(), 0  # begun anew
        file.seek(self._read)
        added = file.read()
        whole = added[: added.rfind(b'\n') + 1]
        self._known |= {known[:2] for known in _problems_in(whole)}
        self._read += len(whole)
        return len(whole) == len(added)


def _problems_in(content: bytes) -> list[Problem]:
    found = []
    for line in content.decode('utf-8', errors='replace').splitlines():
        try:
            found.append(Problem(*json.loads(line)))
        except (TypeError, ValueError):
            continue
    return found


class _Current:
    """The log of this process and of the workers that it starts."""

    log: ProblemLog | None = None


def problem_log() -> ProblemLog:
    """Return the log that this process collects problems in; a temporary file by default."""
    if _Current.log is None:
        handle, name = tempfile.mkstemp(prefix='mtl_training_problems_', suffix='.jsonl')
        os.close(handle)
        _Current.log = ProblemLog(Path(name))
        atexit.register(_remove, Path(name), os.getpid())
    return _Current.log


def list_problems(say: Callable[[str], object], keep: Path | None = None) -> int:
    """
    Tell how many videos had problems, and which.

    :param say: Takes a line for people.
    :param keep: File that the problems are added to, with those of an interrupted run; ``None``:
        they are only told.
    :return: How many there are, with those of ``keep``.
    """
    problems = problem_log().problems() if _Current.log else []
    if keep is not None:
        kept = ProblemLog(keep)
        for problem in problems:
            kept._add(problem)
        problems = kept.problems()
    if not problems:
        return 0
    where = f', listed in {keep}' if keep is not None else ':'
    say(f'{len(problems)} problems with videos{where}')
    for problem in problems[: _MAX_LISTED if keep is None else 0]:
        say(f"  {problem.action}: '{problem.path}': {problem.reason}")
    if keep is None and len(problems) > _MAX_LISTED:
        say(f'  and {len(problems) - _MAX_LISTED} more; the warnings above name them all')
    return len(problems)


def forget_problems() -> None:
    """Begin anew, as the next run in this process does."""
    if _Current.log is not None:
        _Current.log.path.unlink(missing_ok=True)
        _Current.log._told.clear()
        _Current.log._known.clear()
        _Current.log._read = 0


def _remove(path: Path, owner: int) -> None:
    # Workers inherit what is to be done at the end, but it is not theirs to do.
    if os.getpid() == owner:
        path.unlink(missing_ok=True)
