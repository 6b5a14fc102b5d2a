"""A folder of features: whole at every moment, of one model and one way to cut videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import fcntl
import io
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from mtl_perception.atomic_file import write_atomically
from mtl_training.features.sources import Source
import numpy as np
from numpy.typing import NDArray

FACTS = 'features.json'
MANIFEST = 'manifest.csv'
_TEXT = {'encoding': 'utf-8', 'errors': 'surrogateescape'}  # names may hold any bytes


class Row(NamedTuple):
    """A line of the manifest: one video whose features are there."""

    video: str  # name of the features, <video>.npy
    source: str  # the file
    frames: str  # at the rate of features.json
    windows: str  # rows of the array
    version: str  # of the file, see Source.version
    problem: str  # what was damaged, and repaired


class FeatureFolder:
    """
    Write features, one file a video, and know which are there.

    A process that is killed leaves each file whole or not there at all. Two at once are refused.

    :param path: Made where missing.
    :param facts: What the features are of, for ``features.json``.
    :raises ValueError: If the folder holds features of something else, or another process writes.
    """

    def __init__(self, path: str | Path, facts: Mapping[str, Any]) -> None:
        self.path = Path(path).expanduser()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check(json.loads(json.dumps(facts)))
        except BlockingIOError as error:
            os.close(self._lock)
            raise ValueError(f"--out '{path}': another process writes features there.") from error
        except BaseException:
            os.close(self._lock)
            raise
        for partial in self.path.rglob('.*.npy.*.tmp'):  # of a process that was killed
            partial.unlink()
        self._rows = {row.video: row for row in self._read_rows()}

    def __enter__(self) -> FeatureFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Sort the manifest, and let others write."""
        try:
            rows = [self._rows[name] for name in sorted(self._rows)]
            write_atomically(self.path / MANIFEST, _lines([Row._fields, *rows]))
        finally:
            os.close(self._lock)

    def has(self, source: Source) -> bool:
        """Tell whether the features of a video are there, and the video has not changed since."""
        row = self._rows.get(source.name)
        try:
            is_same = row is not None and row.version == source.version
        except OSError:
            return False
        return is_same and self._file(source.name).is_file()

    def store(
        self, source: Source, features: NDArray[np.floating], *, num_frames: int, problem: str
    ) -> None:
        """Write the features of a video, ``[N, D]``, then its line of the manifest."""
        path, content = self._file(source.name), io.BytesIO()
        np.save(content, features, allow_pickle=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
        row = Row(
            source.name,
            str(source.entry.path),
            str(num_frames),
            str(len(features)),
            source.version,
            problem,
        )
        self._rows[source.name] = row
        with (self.path / MANIFEST).open('ab') as file:
            # In one piece: one line at most is lost with the process.
            file.write(_lines([row] if file.tell() else [Row._fields, row]))

    def _file(self, name: str) -> Path:
        # Not with_suffix(): a name may hold dots.
        return self.path / f'{name}.npy'

    def _check(self, facts: Mapping[str, Any]) -> None:
        path = self.path / FACTS
        if not path.exists():
            if any(self.path.rglob('*.npy')):
                raise ValueError(f"--out '{self.path}' holds arrays and no {FACTS}: not features.")
            write_atomically(path, json.dumps(facts, indent=2).encode())
            return
        try:
            known = dict(json.loads(path.read_text(encoding='utf-8')))
        except (TypeError, ValueError) as error:
            raise ValueError(f"'{path}' is damaged ({error}): delete the folder.") from error
        different = [name for name in facts if known.get(name) != facts[name]]
        if different:
            name = different[0]
            raise ValueError(
                f"--out '{self.path}' holds features of another {name}: {known.get(name)!r}, not "
                f'{facts[name]!r}. Name another folder, or delete this one.'
            )

    def _read_rows(self) -> list[Row]:
        path = self.path / MANIFEST
        if not path.exists():
            return []
        whole = path.read_bytes().rpartition(b'\n')[0]  # a killed process may leave a part
        lines = list(csv.reader(io.StringIO(whole.decode(**_TEXT), newline='')))
        if not lines or tuple(lines[0]) != Row._fields:
            raise ValueError(f"'{path}' must begin with {','.join(Row._fields)}.")
        rows = [Row(*line) for line in lines[1:] if len(line) == len(Row._fields)]
        write_atomically(path, _lines([Row._fields, *rows]))
        return rows


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline='')
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue().encode(**_TEXT)
