"""What is known of the videos on this machine, kept so that they are opened once and not again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
import hashlib
import json
import os
from pathlib import Path
import sqlite3
import stat
import sys
from typing import Any, TypeVar

from mtl_training.data.decoding import probe, VideoError, VideoFacts
from mtl_training.data.videos.index import ClipEntry
from mtl_training.data.videos.pictures import list_pictures, probe_pictures, shows_pictures
from mtl_training.data.videos.problems import problem_log
from rich.console import Console
from rich.progress import track

T = TypeVar('T')
# Of what is stored; facts of another version are found out anew.
_VERSION = 1
_WAIT_SEC = 60.0
_AT_ONCE = 256


def user_cache() -> Path:
    """Return the folder that the user has for what can be found out again."""
    folder = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(folder).expanduser() / 'mtl_training'


def default_index() -> Path:
    """Return where what is known is kept."""
    return user_cache() / f'videos_{_VERSION}.sqlite'


class ProbeIndex:
    """
    Facts by file, size and time of the last change, in one database.

    Any number of processes may read and write it. One that is damaged, or that can't be written,
    is as good as none: it is made anew, or done without.

    :param path: Of the database; made when there is something to keep.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return what is known of some keys."""

        def select(database: sqlite3.Connection) -> dict[str, Any]:
            query = 'SELECT value FROM facts WHERE key = ?'
            rows = ((key, database.execute(query, (key,)).fetchone()) for key in keys)
            return {key: json.loads(row[0]) for key, row in rows if row}

        return self._run(select) or {}

    def write(self, values: Mapping[str, Any]) -> None:
        """Keep facts; all of them or, if this process is killed, none."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]

        def replace(database: sqlite3.Connection) -> None:
            with database:
                database.executemany('REPLACE INTO facts VALUES (?, ?)', rows)

        self._run(replace)

    def _run(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._once(action)
            except sqlite3.OperationalError:
                raise
            except (sqlite3.DatabaseError, ValueError):
                # Not a database, or a damaged one: what it knew can be found out again.
                for suffix in ('', '-journal'):
                    Path(f'{self._path}{suffix}').unlink(missing_ok=True)
                return self._once(action)
        except (OSError, sqlite3.Error) as error:
            problem_log().tell(self._path, 'not kept', f'{error}; videos are opened at each start')
            return None

    def _once(self, action: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self._path, timeout=_WAIT_SEC)) as database:
            database.execute('CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT)')
            return action(database)


class Prober:
    """
    Find out what decodes of the clips of a data set, and keep it.

    :param rate_hz: Frames a second of folders of pictures.
    :param index: Where facts are kept.
    """

    def __init__(self, rate_hz: float, index: ProbeIndex | None = None) -> None:
        self._rate_hz = rate_hz
        self._index = index or ProbeIndex(default_index())
        self._hashes: dict[str, str] = {}

    def facts(self, entries: Sequence[ClipEntry]) -> list[VideoFacts | VideoError]:
        """
        Return what decodes of each clip, or why nothing does.

        Files that decode, are known, and have not changed since, are not opened.
        """
        with ThreadPoolExecutor() as pool:
            keys = list(pool.map(self._key, entries, chunksize=_AT_ONCE))
            known = self._index.read([key for key in keys if key])
            new = [i for i, key in enumerate(keys) if key not in known]
            groups = [new[i : i + _AT_ONCE] for i in range(0, len(new), _AT_ONCE)]
            console = Console(file=sys.stderr)
            for group in track(groups, 'Opening videos', console=console, transient=True):
                results = list(pool.map(self._probe, (entries[i] for i in group)))
                found = {keys[i]: result for i, result in zip(group, results) if keys[i]}
                # Errors may pass: of rights, of the disk, of a codec that is yet to be installed.
                good = {key: facts for key, facts in found.items() if not _is_error(facts)}
                self._index.write(good)
                known |= found
        missing = {'error': 'is not there'}
        return [_facts(known.get(key, missing), entry.path) for key, entry in zip(keys, entries)]

    def content_hash(self, path: Path) -> str:
        """
        Return the hash of a file's content, or of the names and contents of all pictures.

        :raises OSError: If it is gone.
        """
        # A folder does not change when the content of one of its files does.
        files = list_pictures(path) if path.is_dir() else []
        key = ' '.join(['hash of', *map(_identity, [path, *files])])
        if key not in self._hashes:
            known = self._index.read([key])
            if key not in known:
                known = {key: _hash(path)}
                self._index.write(known)
            self._hashes[key] = str(known[key])
        return self._hashes[key]

    def _key(self, entry: ClipEntry) -> str:
        """Return the key of an entry, empty if its file is gone."""
        try:
            identity = _identity(entry.path)
        except OSError:
            return ''
        frames = '' if entry.frames is None else f'{entry.frames[0]}:{entry.frames[1]}'
        return f'{frames}@{self._rate_hz} of {identity}'

    def _probe(self, entry: ClipEntry) -> Any:
        try:
            if shows_pictures(entry.path):
                return probe_pictures(entry.path, entry.frames, self._rate_hz)
            return probe(entry.path, entry.frames)
        except VideoError as error:
            return {'error': str(error)}


def _is_error(value: Any) -> bool:
    return isinstance(value, dict)


def _facts(value: Any, path: Path) -> VideoFacts | VideoError:
    if _is_error(value):
        return VideoError(value['error'].removeprefix(f"'{path}' "))
    return VideoFacts(*value)


def _identity(path: Path) -> str:
    status = path.stat()
    kind = 'folder' if stat.S_ISDIR(status.st_mode) else 'file'
    # Names may hold bytes that are no UTF-8, which the database would refuse.
    name = os.fsencode(path.absolute()).decode(errors='backslashreplace')
    return f'{kind} {name} {status.st_size} {status.st_mtime_ns}'


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    files = list_pictures(path) if path.is_dir() else [path]
    for file in files:
        if file is not path:
            digest.update(f'{file.name} {file.stat().st_size} '.encode())
        with file.open('rb') as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
