"""The sentences that captions are chosen from, as fresh as the file they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
import queue
import threading
import traceback

from mtl_perception.network.captions import CaptionConfig
from mtl_perception.sentences import (
    build_encoder,
    check_sentence_list,
    read_sentence_list,
    SentenceEncoder,
    SentenceList,
)
from mtl_perception.sentences.user_files import user_path
import torch

# How often the file is looked at. A change counts once it is seen twice: whoever writes is done.
CHECK_SEC = 0.5
# How long whoever asks for another list waits for it; images are not taken in meanwhile.
PATIENCE_SEC = 0.5
# How long whoever closes waits for what is being embedded to be given up.
CLOSE_SEC = 1.0

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
    state: FileState = ()


class SentenceKeeper:
    """
    Holds a list of sentences; reads it anew when its file changes, or another one is asked for.

    A thread of its own looks at the file, reads and embeds it; then the new list takes the place
    of the old one at once. What can't be used is said and changes nothing. So with the first list:
    until it is embedded there is none.

    :param config: The space of the captions, and what embeds sentences in it.
    :param path: As for :func:`~mtl_perception.sentences.read_sentence_list`; empty for no list.
    :param tell: Is called with each change, in one sentence, on the thread.
    :param warn: Is called with what is wrong, once for each content of the file, on the thread.
    :param cache_dir: Folder where embeddings are kept, so that each sentence is embedded once;
        ``None`` keeps none.
    :raises ValueError: If there is a path and no list to be had from it, with the reason; what
        only embedding tells is warned of later.
    """

    def __init__(
        self,
        config: CaptionConfig,
        path: str,
        *,
        tell: Callable[[str], object],
        warn: Callable[[str], object],
        cache_dir: Path | None = None,
    ) -> None:
        self._config, self._tell, self._warn = config, tell, warn
        self._cache_dir = cache_dir
        self._is_closed = False
        self._path, self._awaited, self._state = path, path, _state_of(path)
        self._doubtful: FileState | None = None  # a change that was seen once
        self._listed: SentenceList | None = None
        self._trouble = ''
        # In turn: one that nobody awaits any more has been accepted, and must not be lost.
        self._requests = queue.SimpleQueue[_Request | None]()
        if path:
            self._check(path)
            self._requests.put(_Request(path, is_awaited=False))
        self._lock = threading.Lock()
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

    @property
    def awaited(self) -> str:
        """Return the list that has been asked for and is not there yet; empty if none is."""
        return self._awaited

    def change(self, path: str, *, patience_sec: float = PATIENCE_SEC) -> None:
        """
        Take another list, or the same one anew; an empty path drops it.

        Embedding may take longer than anybody can wait: then the list changes when it is done.

        :raises ValueError: If there is no list to be had; the old one stays.
        """
        if path:
            self._check(path)
        request = _Request(path)
        with self._lock:
            self._awaited = path
            self._requests.put(request)
        request.done.wait(patience_sec)
        with self._lock:
            request.is_awaited = False
            if request.error is not None:
                raise request.error

    def close(self) -> None:
        """Stop to look at the file."""
        self._is_closed = True
        self._requests.put(None)
        # Not for long: the loading of a model can't be given up. The thread ends after it without
        # a word, or with the process, which a daemon does not keep.
        self._thread.join(CLOSE_SEC)

    def _run(self) -> None:
        # Recognising goes first. torch gives a thread the number that was last set on any when it
        # first computes, and from then on each has its own: those that begin later set theirs.
        torch.set_num_threads(1)
        while not self._is_closed:
            try:
                request = self._requests.get(timeout=CHECK_SEC)
            except queue.Empty:
                request = None
            try:
                if request is None:
                    self._look()
                else:
                    self._serve(request)
            except _ClosedError:
                return
            # Whatever a model or a file comes up with, the next list deserves its try.
            except Exception as error:
                self._fail(request, error)

    def _serve(self, request: _Request) -> None:
        request.state = _state_of(request.path)
        listed = self._read(request.path)
        self._path, self._state = request.path, request.state
        self._take(listed)
        self._answer(request)

    def _look(self) -> None:
        state = _state_of(self._path)
        if state == self._state:
            self._doubtful = None
            return
        if state != self._doubtful:
            self._doubtful = state
            return
        # Also if nothing comes of it: a content is tried once.
        self._state = state
        self._take(self._read(self._path))

    def _fail(self, request: _Request | None, error: Exception) -> None:
        """Answer a request, or complain where nobody waits for the answer."""
        path = self._path if request is None else request.path
        wrong = _as_value_error(path, error)
        if request is not None:
            if self._answer(request, wrong):
                return
            # It has been accepted: from now on this file counts, when it is mended.
            self._path, self._state = path, request.state
        self._complain(wrong)

    def _answer(self, request: _Request, error: ValueError | None = None) -> bool:
        """Say what has come of a request; return whether somebody waits for that."""
        with self._lock:
            request.error = error
            request.done.set()
            if self._requests.empty():
                self._awaited = ''
            return request.is_awaited

    def _take(self, listed: SentenceList | None) -> None:
        self._go_on()
        self._listed, self._trouble = listed, ''
        if listed is None:
            self._tell('There are no sentences to choose captions from any more')
        else:
            count = len(listed.sentences)
            self._tell(f"Captions are chosen from {count} sentences of '{self._path}' now")

    def _complain(self, error: ValueError) -> None:
        if self._listed is None:
            rest = 'There are no sentences to choose captions from.'
        else:
            rest = f'The {len(self._listed.sentences)} sentences of before stay.'
        self._trouble = f'{error} {rest}'
        if not self._is_closed:
            self._warn(self._trouble)

    def _check(self, path: str) -> None:
        try:
            check_sentence_list(path, self._encoder())
        except (LookupError, MemoryError, OSError, RuntimeError, TypeError) as error:
            raise _as_value_error(path, error) from error

    def _read(self, path: str) -> SentenceList | None:
        if not path:
            return None
        return read_sentence_list(path, self._encoder(), self._cache_dir, on_progress=self._go_on)

    def _encoder(self) -> SentenceEncoder:
        # Made anew: what a model takes of the memory is needed only while sentences are embedded.
        return build_encoder(self._config.encoder, self._config.dim)

    def _go_on(self, *_: int) -> None:
        if self._is_closed:
            raise _ClosedError


def _as_value_error(path: str, error: Exception) -> ValueError:
    """Return what is wrong with a list; of what nobody has foreseen also what and where it is."""
    if isinstance(error, ValueError):
        return error
    calls = traceback.extract_tb(error.__traceback__)
    where = f' ({calls[-1].filename}:{calls[-1].lineno})' if calls else ''
    return ValueError(
        f"Sentence list '{path}' cannot be used: {type(error).__name__}: {error}{where}."
    )


def _state_of(path: str) -> FileState:
    """Return the state of a list and of what lies beside it; what is not there has none."""
    if not path:
        return ()
    try:
        file = user_path(path)
    except ValueError:
        return ()
    files = [file, file.with_suffix('.txt')] if file.suffix == '.npy' else [file]
    states = []
    for each in files:
        try:
            status = each.stat()
        except (OSError, ValueError):
            continue
        states.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(states)
