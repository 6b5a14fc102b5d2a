"""Lists of sentences: what is read, what is refused and why, and what lies nearest."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences import (
    build_encoder,
    EncoderError,
    nearest_rows,
    parse_sentences,
    read_sentence_list,
    SentenceEncoder,
    SentenceList,
    text_file,
    write_sentence_file,
)
import numpy as np
import pytest
import torch


def hashed(dim: int = 32, seed: int = 0) -> SentenceEncoder:
    return build_encoder(EncoderConfig(name='hashed', seed=seed), dim)


def test_a_text_file_is_read_with_what_people_write_in_it(tmp_path: Path) -> None:
    path = tmp_path / 'list.txt'
    text = '\ufeff# people\r\n\r\n  a man  walks \r\nein Mädchen läuft\n# a man runs\na man walks'
    path.write_text(text, encoding='utf-8', newline='')
    listed = read_sentence_list(path, hashed())
    assert listed.sentences == ('a man walks', 'ein Mädchen läuft')
    np.testing.assert_array_equal(listed.embeddings, hashed().encode(listed.sentences))
    assert listed.identity == hashed().identity


def lines_by_hand(text: str) -> list[str]:
    """Return the sentences of a text, one character after the other."""
    found: list[str] = []
    line = ''
    for letter in text.replace('\r\n', '\n') + '\n':
        if letter not in '\r\n':
            line += letter
            continue
        sentence = ' '.join(line.split())
        if sentence and sentence[0] != '#' and sentence not in found:
            found.append(sentence)
        line = ''
    return found


@given(st.text(alphabet=st.sampled_from('ab# \t\r\n\x0b\x85é')) | st.text())
@settings(deadline=None)
def test_any_text_gives_its_lines_or_says_that_it_has_none(text: str) -> None:
    expected = lines_by_hand(text)
    if expected:
        assert list(parse_sentences(text)) == expected
    else:
        with pytest.raises(ValueError, match='holds no sentence: '):
            parse_sentences(text)


@given(st.lists(st.text('abc', min_size=1), min_size=1))
@settings(deadline=None)
def test_sentences_survive_being_written_and_read(sentences: list[str]) -> None:
    assert parse_sentences('\n'.join(sentences)) == tuple(dict.fromkeys(sentences))


@pytest.mark.parametrize(
    'content, match',
    [
        (b'', 'holds no sentence: it is empty'),
        (b'\n# one\n \n', 'holds no sentence: all of its 3 lines are blank or comments'),
        (b'a man\0walks', 'is a binary file'),
        ('a man\nein Mädchen'.encode('latin-1'), 'no text in UTF-8, see line 2'),
        (b'a man\n' + b'x' * 1001, 'line 2 must have 1000 characters at most, got 1001'),
        (b'a man\n...\n', r"a word each, got '\.\.\.'"),
    ],
)
def test_a_file_that_is_no_list_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, match: str
) -> None:
    path = tmp_path / 'list.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"Sentence list '{path}' .*{match}"):
        read_sentence_list(path, hashed())


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.txt' cannot be read: No such file"):
        read_sentence_list(tmp_path / 'gone.txt', hashed())
    with pytest.raises(ValueError, match='must be a regular file'):
        read_sentence_list(tmp_path, hashed())


def test_lists_that_are_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match='100000 sentences at most'):
        parse_sentences('\n'.join(map(str, range(100_001))))
    assert len(parse_sentences('\n'.join(map(str, range(100_000))))) == 100_000
    path = tmp_path / 'list.txt'
    with path.open('wb') as file:
        file.truncate(101_000_000)  # takes no room
    with pytest.raises(ValueError, match='must have 100 megabytes at most, got 101'):
        text_file.read_text(path)


def test_a_list_that_was_embedded_needs_no_encoder(tmp_path: Path) -> None:
    path = tmp_path / 'list.safetensors'
    rows = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    write_sentence_file(path, SentenceList(('a', 'b "c"'), rows, 'sentence_transformers 1f2e'))
    absent = build_encoder(EncoderConfig(model=str(tmp_path / 'gone')), 8)
    listed = read_sentence_list(path, absent)
    assert listed.sentences == ('a', 'b "c"')
    np.testing.assert_allclose(listed.embeddings, rows, atol=1e-7)
    (tmp_path / 'list.txt').write_text('a\n')
    with pytest.raises(EncoderError, match='gone'):
        read_sentence_list(tmp_path / 'list.txt', absent)


@pytest.mark.parametrize(
    'encoder, match',
    [
        (hashed(16), 'has embeddings of 32 numbers, the captions have 16; embed it again'),
        (hashed(seed=1), 'was embedded by another hashed encoder than the captions'),
        (
            build_encoder(EncoderConfig(), 32),
            "by the encoder 'hashed', the captions need 'sentence_transformers'",
        ),
    ],
)
def test_a_list_of_another_space_is_refused(
    tmp_path: Path, encoder: SentenceEncoder, match: str
) -> None:
    path = tmp_path / 'list.safetensors'
    write_sentence_file(path, SentenceList(('a',), hashed().encode(['a']), hashed().identity))
    assert read_sentence_list(path, hashed()).sentences == ('a',)
    with pytest.raises(ValueError, match=rf"list\.safetensors' .*{match}"):
        read_sentence_list(path, encoder)


def test_an_embedded_list_may_be_as_long_as_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'list.safetensors'
    write_sentence_file(path, SentenceList(('a', 'b'), np.eye(2)))
    monkeypatch.setattr('mtl_perception.sentences.reading.MAX_SENTENCES', 1)
    with pytest.raises(ValueError, match='must have 1 sentences at most, got 2'):
        read_sentence_list(path, hashed(2))


def slow_nearest(embedding: np.ndarray, pool: np.ndarray, k: int) -> list[int]:
    """Return the nearest rows, by plain sums in double precision rounded to single."""
    cosines = [
        float(np.float32(sum(float(a) * float(b) for a, b in zip(embedding, row)))) for row in pool
    ]
    return sorted(range(len(pool)), key=lambda row: (-cosines[row], row))[:k]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 50))
@settings(deadline=None, max_examples=40)
def test_the_nearest_are_those_of_a_slow_search_with_ties_in_order(
    seed: int, size: int, k: int
) -> None:
    generator = np.random.default_rng(seed)
    distinct = generator.normal(size=(max(1, size // 2), 19)).astype(np.float32)
    distinct /= np.linalg.norm(distinct, axis=1, keepdims=True)
    pool = distinct[generator.integers(len(distinct), size=size)]  # with equal rows
    queries = generator.normal(size=(3, 19)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    cosines, rows = nearest_rows(torch.from_numpy(queries), torch.from_numpy(pool), k)
    listed = SentenceList(tuple(map(str, range(size))), pool)
    for i, query in enumerate(queries):
        expected = slow_nearest(query, pool, k)
        assert rows[i].tolist() == expected
        found = listed.nearest(query, k)
        assert [sentence for sentence, _ in found] == [str(row) for row in expected]
        assert [cosine for _, cosine in found] == cosines[i].tolist()
        np.testing.assert_allclose(cosines[i], pool[expected] @ query, atol=1e-6)


def test_equal_sentences_keep_the_order_of_a_long_list() -> None:
    pool = torch.nn.functional.normalize(torch.ones(1, 33), dim=1).expand(1007, 33)
    query = torch.nn.functional.normalize(torch.randn(5, 33), dim=1)
    _, rows = nearest_rows(query, pool, 9)
    assert rows.tolist() == [list(range(9))] * 5


def test_no_query_has_no_answer() -> None:
    cosines, rows = nearest_rows(torch.empty(0, 4), torch.eye(4), 3)
    assert cosines.shape == rows.shape == (0, 3)


@pytest.mark.parametrize(
    'queries, pool, k, match',
    [
        (torch.eye(3), torch.eye(4), 1, r'embeddings must be \[B, 4\], got \(3, 3\)'),
        (torch.eye(3), torch.empty(0, 3), 1, 'N positive'),
        (torch.eye(3), torch.eye(3), 0, 'k must be positive, got 0'),
        (torch.full((1, 3), float('nan')), torch.eye(3), 1, 'finite'),
    ],
)
def test_what_does_not_fit_is_refused(
    queries: torch.Tensor, pool: torch.Tensor, k: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        nearest_rows(queries, pool, k)


def test_a_list_has_a_sentence_and_an_embedding_for_each() -> None:
    with pytest.raises(ValueError, match='one at least, got none'):
        SentenceList((), np.empty((0, 2)))
    with pytest.raises(ValueError, match=r'must be \[1, E\], got \(2, 2\)'):
        SentenceList(('a',), np.eye(2))
    with pytest.raises(ValueError, match=r'must be \[2\], got \(3,\)'):
        SentenceList(('a', 'b'), np.eye(2)).nearest(np.ones(3), 1)
    frozen = np.eye(2)
    frozen.flags.writeable = False
    assert SentenceList(('a', 'b'), frozen).nearest(frozen[1], 5) == [('b', 1.0), ('a', 0.0)]
    assert SentenceList(('a', 'b'), frozen).tensor().shape == (2, 2)
