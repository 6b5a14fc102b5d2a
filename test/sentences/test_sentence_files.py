"""Files of embedded sentences: whatever is in them, they are read or refused, at once."""

from __future__ import annotations

from io import BytesIO
import json
import os
from pathlib import Path
import threading
from typing import Any
import zipfile

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences import (
    build_encoder,
    check_sentence_list,
    read_sentence_file,
    read_sentence_list,
    sentence_file,
    SentenceList,
    write_sentence_file,
)
from mtl_perception.sentences.user_files import user_cache
import numpy as np
import pytest
from safetensors.numpy import save
import torch

ENCODER = build_encoder(EncoderConfig(name='hashed'), 2)
SUFFIXES = ('.txt', '.npy', '.safetensors')


def write(path: Path, sentences: list[Any], identity: str = '') -> Path:
    metadata = {'sentences': json.dumps(sentences), 'encoder': identity}
    embeddings = np.ones((len(sentences), 2), np.float32)
    path.write_bytes(save({'embeddings': embeddings}, metadata))
    return path


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_pipe_keeps_nobody_waiting(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'list{suffix}'
    os.mkfifo(path)
    refused = threading.Event()

    def check() -> None:
        for call in (check_sentence_list, read_sentence_list):
            with pytest.raises(ValueError, match=rf"list\{suffix}'.* must be a regular file"):
                call(path, ENCODER)
        refused.set()

    thread = threading.Thread(target=check, daemon=True)
    thread.start()
    assert refused.wait(30)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'list{suffix}'
    with path.open('wb') as file:
        file.truncate(2_001_000_000)  # takes no room
    with pytest.raises(ValueError, match=r'must have \d+ megabytes at most, got 2001'):
        check_sentence_list(path, ENCODER)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_home_that_is_not_there_is_no_file(suffix: str) -> None:
    path = f'~nobody-of-this-name/list{suffix}'
    for call in (check_sentence_list, read_sentence_list):
        with pytest.raises(ValueError, match=f"'{path}' cannot be found: there is no such home"):
            call(path, ENCODER)


@pytest.mark.parametrize('identity', ['', ' ', '\t \n'])
def test_nobody_knows_who_embedded_a_list_whose_encoder_is_blank(
    tmp_path: Path, identity: str
) -> None:
    path = write(tmp_path / 'list.safetensors', ['a man'], identity)
    assert read_sentence_list(path, ENCODER).sentences == ('a man',)


@pytest.mark.parametrize(
    ('sentence', 'reason'),
    [
        ('x' * 1001, 'must have 1000 characters at most, got 1001'),
        ('a\0man', r"must not have NUL, got 'a\\x00man'"),
        ('a \ud800 man', r"must be text that UTF-8 can hold, got 'a \\ud800 man'"),
        ('\x1f ', 'must not be blank'),
        ([[1]], r'must not be blank, got \[\[1\]\]'),
    ],
    ids=['long', 'NUL', 'surrogate', 'blank', 'no text'],
)
def test_embedded_sentences_are_those_that_a_text_may_hold(
    tmp_path: Path, sentence: Any, reason: str
) -> None:
    path = write(tmp_path / 'list.safetensors', ['a man', sentence])
    with pytest.raises(ValueError, match=rf"list\.safetensors': sentence 2 {reason}"):
        check_sentence_list(path, ENCODER)


def test_a_long_line_beside_an_array_is_refused_with_its_number(tmp_path: Path) -> None:
    np.save(tmp_path / 'list.npy', np.ones((2, 2), np.float32))
    (tmp_path / 'list.txt').write_text('a man\n' + 'x' * 1001)
    with pytest.raises(ValueError, match=r"list\.npy': sentence 2 must have 1000 characters"):
        read_sentence_file(tmp_path / 'list.npy')


@given(st.lists(st.text(st.characters(codec=None), min_size=1), min_size=1, max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_sentence_that_is_read_can_be_sent(tmp_path: Path, sentences: list[str]) -> None:
    path = write(tmp_path / 'list.safetensors', sentences)
    try:
        listed = read_sentence_file(path)
    except ValueError:
        return
    for sentence in listed.sentences:
        assert b'\0' not in sentence.encode()
        assert 0 < len(sentence) <= 1000


@pytest.mark.parametrize('suffix', ['.npy', '.safetensors'])
def test_a_file_that_is_shortened_while_it_is_read_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f'list{suffix}'
    rows = np.eye(64, dtype=np.float32)
    sentences = tuple(map(str, range(64)))
    if suffix == '.npy':
        np.save(path, rows)
        path.with_suffix('.txt').write_text('\n'.join(sentences))
    else:
        write_sentence_file(path, SentenceList(sentences, rows))
    check = sentence_file._check

    def shorten(*args: Any) -> None:
        check(*args)
        os.truncate(path, 0)  # whoever reads a mapped file further on is killed

    monkeypatch.setattr(sentence_file, '_check', shorten)
    np.testing.assert_array_equal(read_sentence_file(path).embeddings, rows)
    assert not path.read_bytes()


def npy(header: str) -> bytes:
    text = header.encode('latin-1')
    return b'\x93NUMPY\x01\0' + len(text).to_bytes(2, 'little') + text


def archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        file.writestr('a.npy', 'x')
    return buffer.getvalue()


@pytest.mark.parametrize(
    'content',
    [
        archive(),
        b'PK\3\4 no archive',
        b'\x80\4.',
        npy('((((((' * 900),
        npy('{"a": (1,\n'),
        npy('"""'),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 100000)}\n"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-5, 2)}\n"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2.5)}\n"),
        npy("{'descr': [1], 'fortran_order': False, 'shape': (1, 2)}\n"),
        npy("{'descr': '|S0', 'fortran_order': False, 'shape': (1, 2)}\n"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'list.npy'
    path.write_bytes(content)
    path.with_suffix('.txt').write_text('a man')
    with pytest.raises(ValueError, match=r"list\.npy': "):
        read_sentence_file(path)


@given(st.text('{}()[]\'"\n\\#:,<f4 1L0', max_size=60), st.binary(max_size=20))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_header_ends_in_anything_but_a_reason(tmp_path: Path, header: str, rest: bytes) -> None:
    path = tmp_path / 'list.npy'
    path.write_bytes(npy(header) + rest)
    with pytest.raises(ValueError, match=r"list\.npy': "):
        read_sentence_file(path)


@pytest.mark.parametrize('kind', ['F64', 'F16', 'BF16', 'I32', 'C64', 'F4', 'F8_E8M0', 'BOOL'])
def test_numbers_of_any_type_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    size = {'F64': 8, 'C64': 8, 'F16': 2, 'BF16': 2, 'I32': 4}.get(kind, 1)
    values = torch.ones(1, 4, dtype=torch.bfloat16 if kind == 'BF16' else torch.float16)
    data = values.view(torch.uint8).numpy().tobytes() if size == 2 else bytes(4 * size)
    if kind == 'F64':
        data = np.ones((1, 4)).tobytes()
    if kind == 'F4':
        data = data[:2]
    header = {
        '__metadata__': {'sentences': '["a"]'},
        'embeddings': {'dtype': kind, 'shape': [1, 4], 'data_offsets': [0, len(data)]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / 'list.safetensors'
    path.write_bytes(len(text).to_bytes(8, 'little') + text + data)
    if kind in ('F64', 'F16', 'BF16'):
        np.testing.assert_array_equal(read_sentence_file(path).embeddings, [[0.5] * 4])
    else:
        with pytest.raises(ValueError, match=r'cannot be read|must be real numbers|not zero'):
            read_sentence_file(path)


def test_the_cache_lies_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert user_cache() == Path('/somewhere/mtl_perception')
    monkeypatch.setenv('XDG_CACHE_HOME', '')
    monkeypatch.setenv('HOME', '/home/of/mine')
    assert user_cache() == Path('/home/of/mine/.cache/mtl_perception')
    monkeypatch.setenv('XDG_CACHE_HOME', '~nobody-of-this-name')
    assert user_cache() is None
