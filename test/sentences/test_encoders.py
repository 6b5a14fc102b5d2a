"""Encoders of sentences: unit vectors, the same everywhere, from this machine alone."""

from importlib.util import find_spec
import json
from pathlib import Path
import shutil
import subprocess
import sys

from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences import (
    build_encoder,
    EncoderError,
    model_folder,
    read_sentence_file,
    SentenceEncoder,
    SentenceList,
    write_sentence_file,
)
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ('sentence_transformers', model_folder.PACKAGE)
MISSING = [name for name in PACKAGES if find_spec(name) is None]
needs_model = pytest.mark.skipif(
    bool(MISSING), reason=f'{MISSING} not installed: {model_folder.INSTALL}'
)
SENTENCES = ['a man walks', 'somebody is walking', 'a cat sleeps']


@pytest.fixture(scope='module')
def minilm() -> SentenceEncoder:
    return build_encoder(EncoderConfig(), 384)


def hashed(dim: int = 64, seed: int = 0) -> SentenceEncoder:
    return build_encoder(EncoderConfig(name='hashed', seed=seed), dim)


def is_unit(rows: np.ndarray) -> bool:
    return rows.dtype == np.float32 and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@needs_model
def test_sentences_that_mean_the_same_lie_near_each_other(minilm: SentenceEncoder) -> None:
    told: list[tuple[int, int]] = []
    rows = minilm.encode(SENTENCES, on_progress=lambda done, total: told.append((done, total)))
    assert rows.shape == (3, 384)
    assert is_unit(rows)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
    assert told == [(3, 3)]


@needs_model
def test_sentences_come_out_in_the_order_in_which_they_went_in(minilm: SentenceEncoder) -> None:
    mixed = ['a cat sleeps on the warm roof of a house', *SENTENCES, 'run']
    mixed += [f'{"very " * (i % 7)}tall people number {i}' for i in range(80)]  # two batches
    together = minilm.encode(mixed)
    for row in (0, 1, 4, 5, 84):
        alone = minilm.encode([mixed[row]])[0]
        np.testing.assert_allclose(together[row], alone, atol=1e-5)


@needs_model
def test_the_real_encoder_never_asks_the_network_and_prints_nothing() -> None:
    program = (
        'import socket\n'
        'def refuse(*args, **kwargs): raise AssertionError("the network was asked")\n'
        'socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n'
        'from mtl_perception.network.captions import EncoderConfig\n'
        'from mtl_perception.sentences import build_encoder\n'
        'assert build_encoder(EncoderConfig(), 384).encode(["a man"]).shape == (1, 384)\n'
        'try: build_encoder(EncoderConfig(model="no/model"), 384).encode(["a man"])\n'
        'except ValueError as error: assert "no/model" in str(error)\n'
        'else: raise AssertionError("not refused")\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == done.stdout == ''


@needs_model
def test_a_model_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r'dim must be 384, .*, got 512'):
        build_encoder(EncoderConfig(), 512).encode(['a man'])


@needs_model
def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    folder = copy_of_the_model(tmp_path)
    weights = folder / 'model.safetensors'
    content = weights.read_bytes()
    weights.unlink()  # a link, not to be written through
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError, match='does not load, copy it again'):
        build_encoder(EncoderConfig(model=str(folder)), 384).encode(['a man'])


@needs_model
def test_a_model_is_known_by_its_content_wherever_it_lies(
    tmp_path: Path, minilm: SentenceEncoder
) -> None:
    folder = copy_of_the_model(tmp_path)
    assert build_encoder(EncoderConfig(model=str(folder)), 384).identity == minilm.identity
    settings = folder / 'config.json'
    text = settings.read_text()
    settings.unlink()
    settings.write_text(text + ' ')
    assert build_encoder(EncoderConfig(model=str(folder)), 384).identity != minilm.identity


def copy_of_the_model(tmp_path: Path) -> Path:
    """Return a folder of links to the packaged model."""
    folder = tmp_path / 'model'
    source = model_folder.find_model('')
    for path in source.rglob('*'):
        if path.is_file():
            link = folder / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return folder


@pytest.mark.parametrize('name', PACKAGES)
def test_a_missing_package_is_told_with_how_to_install_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, 'sentence_transformers', None)
    monkeypatch.setattr(model_folder, 'find_spec', lambda name: None)
    model = str(model_of(tmp_path)) if name == 'sentence_transformers' else ''
    encoder = build_encoder(EncoderConfig(model=model), 384)
    with pytest.raises(EncoderError, match=r"pip install '\.\[captions\]'"):
        encoder.encode(['a man'])


def model_of(folder: Path, **modules: str) -> Path:
    """Return a folder that looks like a model, with modules by their names."""
    types = modules or {'0': 'sentence_transformers.models.Transformer'}
    rows = [{'idx': i, 'name': n, 'path': '', 'type': t} for i, (n, t) in enumerate(types.items())]
    (folder / 'modules.json').write_text(json.dumps(rows))
    (folder / 'model.safetensors').write_bytes(b'')
    return folder


def test_a_model_that_is_not_there_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    encoder = build_encoder(EncoderConfig(model=str(tmp_path / 'gone')), 8)
    match = rf"there is no folder '{tmp_path}/gone'.*copy the folder"
    with pytest.raises(EncoderError, match=match):
        encoder.encode(['a man'])
    with pytest.raises(EncoderError, match=match):
        _ = encoder.identity


@needs_model
def test_a_model_that_was_downloaded_by_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('SENTENCE_TRANSFORMERS_HOME', str(tmp_path))
    stored = tmp_path / 'models--sentence-transformers--tiny'
    snapshot = stored / 'snapshots' / 'abc'
    for folder in (snapshot, stored / 'refs'):
        folder.mkdir(parents=True)
    (stored / 'refs' / 'main').write_text('abc')
    model_of(snapshot)
    assert model_folder.find_model('tiny') == snapshot
    with pytest.raises(EncoderError, match=rf"no model 'sentence-.*/other' in '{tmp_path}'"):
        model_folder.find_model('other')


def test_weights_that_would_be_unpickled_are_refused(tmp_path: Path) -> None:
    folder = model_of(tmp_path)
    (folder / 'pytorch_model.bin').write_bytes(b'never read')
    assert model_folder.find_model(str(folder)) == folder  # the safe ones are beside it
    (folder / 'model.safetensors').unlink()
    with pytest.raises(EncoderError, match=r"pickled weights, 'pytorch_model\.bin'.*never loaded"):
        build_encoder(EncoderConfig(model=str(folder)), 8).encode(['a man'])


def test_code_that_comes_with_a_model_is_refused(tmp_path: Path) -> None:
    model_of(tmp_path, a='sentence_transformers.models.Transformer', b='custom.Module')
    with pytest.raises(EncoderError, match=r"\['custom\.Module'\], which is never run"):
        build_encoder(EncoderConfig(model=str(tmp_path)), 8).encode(['a man'])


@pytest.mark.parametrize(
    'content, match',
    [('', 'damaged'), ('[{}]', 'damaged'), ('[1]', 'damaged'), ('{', 'damaged')],
)
def test_damaged_modules_are_refused(tmp_path: Path, content: str, match: str) -> None:
    (model_of(tmp_path) / 'modules.json').write_text(content)
    with pytest.raises(EncoderError, match=match):
        model_folder.find_model(str(tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r'holds no \.safetensors'):
        model_folder.find_model(str(tmp_path))
    (tmp_path / 'model.safetensors').write_bytes(b'')
    with pytest.raises(EncoderError, match=r'holds no modules\.json'):
        model_folder.find_model(str(tmp_path))


@pytest.mark.parametrize('device', ['nowhere', 'cuda:99'])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=f'device must be .*{device}'):
        build_encoder(EncoderConfig(), 8, device=device)


def test_a_space_without_size_is_refused() -> None:
    with pytest.raises(ValueError, match='dim must be positive, got 0'):
        hashed(dim=0)


def test_words_count_and_not_their_order() -> None:
    rows = hashed(1024).encode(
        ['A man walks', 'walks, a MAN!', 'a man walks walks', 'birds over mountains']
    )
    assert is_unit(rows)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert rows[0] @ rows[2] < 0.99
    assert abs(rows[0] @ rows[3]) < 0.15


def test_shared_words_bring_sentences_nearer() -> None:
    rows = hashed(4096).encode(['red green blue', 'red green tall', 'red old tall'])
    assert rows[0] @ rows[1] == pytest.approx(2 / 3, abs=0.06)
    assert rows[0] @ rows[2] == pytest.approx(1 / 3, abs=0.06)


def test_hashed_vectors_are_those_of_any_process_and_version() -> None:
    # Worked out apart: the bits of PCG64, seeded by the hash of the seed and the word.
    program = (
        'from hashlib import blake2b\n'
        'from numpy.random import PCG64\n'
        'key = int.from_bytes(blake2b(b"7 walk", digest_size=16).digest(), "little")\n'
        'odd = [2 * (int(b) >> 32) + 1 - 2**32 for b in PCG64(key).random_raw(5)]\n'
        'length = sum(v * v for v in odd) ** 0.5\n'
        'print([v / length for v in odd])\n'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, check=True)
    expected = json.loads(done.stdout)
    np.testing.assert_allclose(hashed(5, seed=7).encode(['Walk'])[0], expected, rtol=1e-6)
    assert not np.allclose(hashed(5, seed=8).encode(['walk'])[0], expected)


def test_a_sentence_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a word each, got '\?!'"):
        hashed().encode(['a man', '?!'])


@pytest.mark.parametrize(
    'sentence, match', [(' ', 'blank'), (3, 'a text'), ('a \ud800', 'UTF-8 can hold')]
)
def test_what_is_no_sentence_is_refused(sentence: str, match: str) -> None:
    with pytest.raises(ValueError, match=rf'sentences\[1\] must .*{match}'):
        hashed().encode(['a man', sentence])


@pytest.mark.parametrize('suffix', ['.safetensors', '.npy'])
def test_sentences_are_looked_up_in_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'gru{suffix}'
    embeddings = np.random.default_rng(0).normal(size=(3, 1024)).astype(np.float32)
    if suffix == '.npy':
        np.save(path, embeddings)
        path.with_suffix('.txt').write_text('\n'.join(SENTENCES))
    else:
        write_sentence_file(path, SentenceList(tuple(SENTENCES), embeddings))
    encoder = build_encoder(EncoderConfig(name='files', model=str(path)), 1024)
    rows = encoder.encode(['a cat  sleeps ', 'a man walks'])
    expected = embeddings[[2, 0]] / np.linalg.norm(embeddings[[2, 0]], axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"1 of 2 sentences are not in '.*gru.*'a dog barks'"):
        encoder.encode(['a man walks', 'a dog barks'])
    with pytest.raises(ValueError, match=r'dim must be 1024, .*, got 300'):
        build_encoder(encoder.config, 300).encode(['a man walks'])


def test_a_file_that_is_not_there_is_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    encoder = build_encoder(EncoderConfig(name='files', model=str(tmp_path / 'gone.npy')), 4)
    with pytest.raises(EncoderError, match=r'gone\.npy. is not there: copy'):
        encoder.encode(['a man'])


def test_the_room_needs_no_network_library_to_be_imported() -> None:
    program = (
        'import sys, mtl_perception.sentences\n'
        'print([n for n in ("torchvision", "transformers", "sentence_transformers", '
        '"huggingface_hub", "cv2") if n in sys.modules])\n'
    )
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_of_a_sentence_that_is_there_twice_the_first_counts(tmp_path: Path) -> None:
    np.save(tmp_path / 'e.npy', np.array([[1, 0], [0, 2], [3, 4]], np.float16))
    (tmp_path / 'e.txt').write_text('a man\nb\na  man\n')
    listed = read_sentence_file(tmp_path / 'e.npy')
    assert listed.sentences == ('a man', 'b')
    np.testing.assert_array_equal(listed.embeddings, [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    'rows, text, match',
    [
        ([[1.0, 0.0]], 'a\nb\n', 'got 1 rows for 2 sentences'),
        ([[0.0, 0.0]], 'a', 'finite and not zero, row 0'),
        ([[1.0, float('nan')]], 'a', 'finite and not zero, row 0'),
        ([1.0], 'a', r'must be \[n, E\], got \(1,\)'),
        ([[1.0], [1.0]], 'a\n\n', 'sentence 2 must not be blank'),
        (np.array([[object()]]), 'a', 'cannot be read as numbers'),
        (np.array([['x']]), 'a', 'one array of real numbers'),
        ([[1.0]], None, r"'e\.txt' beside it cannot be read"),
        (np.zeros((0, 2)), '', 'holds no sentence|cannot be read'),
    ],
)
def test_a_wrong_array_is_refused(tmp_path: Path, rows: object, text: str, match: str) -> None:
    np.save(tmp_path / 'e.npy', np.asarray(rows), allow_pickle=True)
    if text is not None:
        (tmp_path / 'e.txt').write_text(text)
    with pytest.raises(ValueError, match=rf"Sentence file '.*e\.npy': .*({match})"):
        read_sentence_file(tmp_path / 'e.npy')


@pytest.mark.parametrize('suffix', ['.safetensors', '.npy'])
def test_every_damage_of_a_file_is_told_with_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'e{suffix}'
    write_sentence_file(tmp_path / 'e.safetensors', SentenceList(('a', 'b'), np.eye(2)))
    np.save(tmp_path / 'e.npy', np.eye(2, dtype=np.float32))
    (tmp_path / 'e.txt').write_text('a\nb\n')
    content = path.read_bytes()
    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r'Sentence file .*e'):
            read_sentence_file(path)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='must end in one of'):
        read_sentence_file(tmp_path / 'list.csv')
    shutil.copy(ROOT / 'README.md', tmp_path / 'list.safetensors')
    with pytest.raises(ValueError, match=r'list\.safetensors'):
        read_sentence_file(tmp_path / 'list.safetensors')
