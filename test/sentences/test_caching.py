"""Embeddings on disk: each sentence once, by many processes, whatever happens to the file."""

from collections.abc import Sequence
import logging
from pathlib import Path
import sqlite3
import subprocess
import sys

from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences import build_encoder, encode_cached
from mtl_perception.sentences.encoder import OnProgress
from mtl_perception.sentences.hashed import HashedEncoder
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
WORDS = [f'word{i} here' for i in range(60)]


class CountingEncoder(HashedEncoder):
    """Remembers what it was asked for."""

    def __init__(self, seed: int = 0, dim: int = 16) -> None:
        super().__init__(EncoderConfig(name='hashed', seed=seed), dim)
        self.asked: list[str] = []

    def encode(
        self, sentences: Sequence[str], on_progress: OnProgress | None = None
    ) -> np.ndarray:
        self.asked += sentences
        return super().encode(sentences, on_progress)


def expected(sentences: Sequence[str], **settings: int) -> np.ndarray:
    return CountingEncoder(**settings).encode(sentences)


def only_file(folder: Path) -> Path:
    (path,) = folder.glob('*.sqlite')
    return path


def test_each_sentence_is_embedded_once(tmp_path: Path) -> None:
    first, second = CountingEncoder(), CountingEncoder()
    told: list[tuple[int, int]] = []
    sentences = ['b b', 'a', 'b b', 'c']
    rows = encode_cached(first, sentences, tmp_path / 'new' / 'folder', lambda *n: told.append(n))
    np.testing.assert_array_equal(rows, expected(sentences))
    assert sorted(first.asked) == ['a', 'b b', 'c']
    assert told == [(3, 3)]
    rows = encode_cached(second, ['d', 'c', 'a'], tmp_path / 'new' / 'folder')
    np.testing.assert_array_equal(rows, expected(['d', 'c', 'a']))
    assert second.asked == ['d']


def test_without_a_folder_nothing_is_kept_and_nothing_asked_twice() -> None:
    encoder = CountingEncoder()
    np.testing.assert_array_equal(encode_cached(encoder, ['a', 'a'], None), expected(['a', 'a']))
    assert encoder.asked == ['a']
    assert encode_cached(encoder, [], None).shape == (0, 16)


def test_encoders_and_sizes_do_not_mix(tmp_path: Path) -> None:
    for settings in ({'seed': 0}, {'seed': 1}, {'dim': 8}):
        for _ in range(2):
            rows = encode_cached(CountingEncoder(**settings), ['a b'], tmp_path)
            np.testing.assert_array_equal(rows, expected(['a b'], **settings))
    assert len(list(tmp_path.glob('*.sqlite'))) == 3


def test_large_lists_are_kept_and_told_group_by_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mtl_perception.sentences.caching._GROUP', 25)
    told: list[tuple[int, int]] = []
    rows = encode_cached(CountingEncoder(), WORDS, tmp_path, lambda *n: told.append(n))
    np.testing.assert_array_equal(rows, expected(WORDS))
    assert told == [(25, 60), (50, 60), (60, 60)]


def test_a_file_of_embeddings_is_not_kept_again(tmp_path: Path) -> None:
    np.save(tmp_path / 'e.npy', np.eye(2))
    (tmp_path / 'e.txt').write_text('a\nb\n')
    encoder = build_encoder(EncoderConfig(name='files', model=str(tmp_path / 'e.npy')), 2)
    np.testing.assert_array_equal(encode_cached(encoder, ['b', 'b'], tmp_path), [[0, 1], [0, 1]])
    assert not list(tmp_path.glob('*.sqlite'))


def test_many_processes_share_a_cache(tmp_path: Path) -> None:
    program = (
        'import sys\n'
        'import numpy as np\n'
        'from mtl_perception.network.captions import EncoderConfig\n'
        'from mtl_perception.sentences import build_encoder, encode_cached\n'
        'encoder = build_encoder(EncoderConfig(name="hashed"), 16)\n'
        'words = [f"word{i} here" for i in range(60)]\n'
        'words = np.random.default_rng(int(sys.argv[2])).permutation(words).tolist()\n'
        'for i in range(0, 60, 5):\n'
        '    rows = encode_cached(encoder, words[i : i + 5], sys.argv[1])\n'
        '    assert np.array_equal(rows, encoder.encode(words[i : i + 5]))\n'
    )
    command = [sys.executable, '-W', 'error', '-c', program, str(tmp_path)]
    running = [
        subprocess.Popen([*command, str(seed)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    for process in running:
        _, shown = process.communicate()
        assert process.returncode == 0, shown
        assert not shown
    encoder = CountingEncoder()
    np.testing.assert_array_equal(encode_cached(encoder, WORDS, tmp_path), expected(WORDS))
    assert encoder.asked == []


@pytest.mark.parametrize('share', [0.01, 0.3, 0.6, 0.99])
def test_a_truncated_cache_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    encode_cached(CountingEncoder(), WORDS * 9, tmp_path)
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    np.testing.assert_array_equal(
        encode_cached(CountingEncoder(), WORDS, tmp_path), expected(WORDS)
    )
    assert len(caplog.records) == 1
    assert 'is damaged' in caplog.text
    encoder = CountingEncoder()
    encode_cached(encoder, WORDS, tmp_path)
    assert encoder.asked == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    'content', [b'no database at all, ' * 99, b'SQLite format 3\0' + b'\xff' * 5000]
)
def test_what_is_no_cache_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    encode_cached(CountingEncoder(), ['a'], tmp_path)
    only_file(tmp_path).write_bytes(content)
    np.testing.assert_array_equal(
        encode_cached(CountingEncoder(), ['a'], tmp_path), expected(['a'])
    )
    assert len(caplog.records) == 1


@pytest.mark.parametrize('vector', [b'', b'abc', 'text', None, 7, b'\0' * 64, b'\xff' * 64])
def test_a_damaged_embedding_is_never_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, vector: object
) -> None:
    encode_cached(CountingEncoder(), ['a', 'b'], tmp_path)
    database = sqlite3.connect(only_file(tmp_path))
    with database:
        database.execute("UPDATE embeddings SET vector = ? WHERE sentence = 'a'", (vector,))
    database.close()
    np.testing.assert_array_equal(
        encode_cached(CountingEncoder(), ['a', 'b'], tmp_path), expected(['a', 'b'])
    )
    assert len(caplog.records) == 1


@pytest.mark.parametrize('is_folder', [True, False], ids=['database', 'folder'])
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_folder: bool
) -> None:
    folder = tmp_path / 'cache'
    if is_folder:
        # A folder where the database should be: root, too, can't write that.
        encode_cached(CountingEncoder(), ['a'], folder)
        path = only_file(folder)
        path.unlink()
        path.mkdir()
    else:
        folder.write_text('a file')
    caplog.set_level(logging.WARNING)
    np.testing.assert_array_equal(encode_cached(CountingEncoder(), WORDS, folder), expected(WORDS))
    assert len(caplog.records) == 1
    assert "can't be used, sentences are not kept" in caplog.text


def test_a_cache_that_may_only_be_read_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_cached(CountingEncoder(), ['a'], tmp_path)
    uri = f'file:{only_file(tmp_path)}?mode=ro'
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, 'connect', lambda path, timeout: connect(uri, timeout, uri=True))
    encoder = CountingEncoder()
    np.testing.assert_array_equal(
        encode_cached(encoder, ['a', 'b'], tmp_path), expected(['a', 'b'])
    )
    assert encoder.asked == ['b']
    assert len(caplog.records) == 1
