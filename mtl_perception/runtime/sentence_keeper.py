"""The sentences that captions are chosen from, as fresh as the file they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
import threading

from mtl_perception.network.captions import CaptionConfig
from mtl_perception.sentences import (
    build_encoder,
    check_sentence_list,
    read_sentence_list,
    SentenceEncoder,
    SentenceList,
)
import torch

# How often the file is looked at. A change counts once it is seen twice: whoever writes is done.
CHECK_SEC = 0.5
# How long whoever asks for another list waits for it; images are not taken in meanwhile.
PATIENCE_SEC = 0.5

# What tells one content of the files from another, as far as the file system knows.
FileState = tuple[tuple[int, int, int], ...]


class _ClosedError(Exception):
    """Embedding has been given up."""


@dataclass
class _Request:
    """Another list that somebody asks for."""

    path: str
    done: threading.Event = field(default_factory=threading.Event)
    error: ValueError | None = None
    is_awaited: bool = True  # whether who asked still waits for the answer


class SentenceKeeper:
    """
    Holds a list of sentences; reads it anew when its file changes, or another one is asked for.

    A thread of its own looks at the file, reads and embeds it; then the new list takes the place
    of the old one at once. What can't be used is said and changes nothing.

    :param config: The space of the captions, and what embeds sentences in it.
    :param path: As for :func:`~mtl_perception.sentences.read_sentence_list`; empty for no list.
    :param tell: Is called with each change, in one sentence, on the thread.
    :param warn: Is called with what is wrong, once for each content of the file, on the thread.
    :raises ValueError: If there is a path and no list to be had from it, with the reason.
    """

    def __init__(
        self,
        config: CaptionConfig,
        path: str,
        *,
        tell: Callable[[str], object],
        warn: Callable[[str], object],
    ) -> None:
        self._config, self._tell, self._warn = config, tell, warn
        self._is_closed = False
        self._path, self._state = path, _state_of(path)
        self._doubtful: FileState | None = None  # a change that was seen once
        self._listed = self._read(path)
        self._trouble = ''
        self._request: _Request | None = None
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name='sentences', daemon=True)
        self._thread.start()

    @property
    def listed(self) -> SentenceList | None:
        """Return the list as it is now; None if there is none."""
        return self._listed

    @property
    def path(self) -> str:
        """Return the file that is looked at; empty if there is none."""
        return self._path

    @property
    def trouble(self) -> str:
        """Return why the list is not what its file holds now; empty if it is."""
        return self._trouble

    def change(self, path: str, *, patience_sec: float = PATIENCE_SEC) -> None:
        """
        Take another list, or the same one anew; an empty path drops it.

        Embedding may take longer than anybody can wait: then the list changes when it is done.

        :raises ValueError: If there is no list to be had; the old one stays.
        """
        if path:
            check_sentence_list(path, self._encoder())
        request = _Request(path)
        with self._lock:
            self._request = request
        self._news.set()
        request.done.wait(patience_sec)
        with self._lock:
            request.is_awaited = False
            if request.error is not None:
                raise request.error

    def close(self) -> None:
        """Stop to look at the file."""
        self._is_closed = True
        self._news.set()
        self._thread.join()

    def _run(self) -> None:
        # torch keeps this number per thread: recognising goes first.
        torch.set_num_threads(1)
        while not self._is_closed:
            self._news.wait(CHECK_SEC)
            self._news.clear()
            with self._lock:
                request, self._request = self._request, None
            try:
                if request is None:
                    self._look()
                else:
                    self._serve(request)
            except _ClosedError:
                return

    def _serve(self, request: _Request) -> None:
        path, state = request.path, _state_of(request.path)
        try:
            listed = self._read(path)
        except ValueError as error:
            with self._lock:
                request.error = error
                request.done.set()
                if request.is_awaited:
                    return
            # It has been accepted: from now on this file counts, when it is mended.
            self._path, self._state = path, state
            self._complain(error)
            return
        self._path = path
        self._take(listed, state)
        request.done.set()

    def _look(self) -> None:
        state = _state_of(self._path)
        if state == self._state:
            self._doubtful = None
            return
        if state != self._doubtful:
            self._doubtful = state
            return
        try:
            listed = self._read(self._path)
        except ValueError as error:
            self._state = state
            self._complain(error)
            return
        self._take(listed, state)

    def _take(self, listed: SentenceList | None, state: FileState) -> None:
        self._listed, self._state, self._trouble = listed, state, ''
        if listed is None:
            self._tell('There are no sentences to choose captions from any more')
        else:
            count = len(listed.sentences)
            self._tell(f"Captions are chosen from {count} sentences of '{self._path}' now")

    def _complain(self, error: ValueError) -> None:
        kept = 0 if self._listed is None else len(self._listed.sentences)
        self._trouble = f'{error} The {kept} sentences of before stay.'
        self._warn(self._trouble)

    def _read(self, path: str) -> SentenceList | None:
        if not path:
            return None
        try:
            return read_sentence_list(path, self._encoder(), on_progress=self._go_on)
        except (MemoryError, OSError, RuntimeError) as error:
            raise ValueError(f"Sentence list '{path}' cannot be embedded: {error}.") from error

    def _encoder(self) -> SentenceEncoder:
        # Made anew: what a model takes of the memory is needed only while sentences are embedded.
        return build_encoder(self._config.encoder, self._config.dim)

    def _go_on(self, *_: int) -> None:
        if self._is_closed:
            raise _ClosedError


def _state_of(path: str) -> FileState:
    """Return the state of a list and of what lies beside it; what is not there has none."""
    if not path:
        return ()
    file = Path(path).expanduser()
    files = [file, file.with_suffix('.txt')] if file.suffix == '.npy' else [file]
    states = []
    for each in files:
        try:
            status = each.stat()
        except (OSError, ValueError):
            continue
        states.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(states)
