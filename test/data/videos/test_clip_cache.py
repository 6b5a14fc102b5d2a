"""Decoded clips on disk: whole or absent, whoever writes and whoever is killed."""

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from mtl_training.data.videos.clip_cache import cache_key, CacheFullError, ClipCache
import numpy as np
import pytest

WRITE = """
import sys, time
from pathlib import Path
import numpy as np
from mtl_training.data.videos.clip_cache import ClipCache
folder, first, step, pause = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
cache = ClipCache(folder, 10**9)
for number in range(first, first + 20 * step, step):
    def frames():
        for i in range(8):
            yield i / 10, np.full((16, 16, 3), (number + i) % 256, np.uint8)
            print(number, flush=True)
            time.sleep(float(pause))
    cache.store(f'{number:04d}', frames(), size_hint=0, damage=lambda: '')
"""


def clip(number: int, count: int = 8) -> Iterator[tuple[float, np.ndarray]]:
    for i in range(count):
        yield i / 10, np.full((16, 16, 3), (number + i) % 256, np.uint8)


def store(cache: ClipCache, key: str, number: int = 0, count: int = 8) -> None:
    cache.store(key, clip(number, count), size_hint=768 * count, damage=lambda: '')


def assert_holds(cache: ClipCache, key: str, number: int) -> None:
    found = cache.load(key)
    assert found is not None
    assert found.frames[:, 0, 0, 0].tolist() == [(number + i) % 256 for i in range(8)]
    assert found.frames.shape == (8, 16, 16, 3)
    assert found.times_sec.tolist() == [i / 10 for i in range(8)]


def writer(folder: Path, first: int, step: int, pause: float = 0.0) -> 'subprocess.Popen[str]':
    arguments = [str(folder), str(first), str(step), str(pause)]
    return subprocess.Popen(
        [sys.executable, '-c', WRITE, *arguments], stdout=subprocess.PIPE, text=True
    )


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob('*') if path.is_file()}


def test_what_is_stored_is_read_as_it_was(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path, 10**9)
    assert cache.load('ab') is None
    cache.store('ab', clip(5), size_hint=0, damage=lambda: 'torn')
    assert_holds(cache, 'ab', 5)
    assert cache.load('ab').damage == 'torn'
    assert not cache.load('ab').frames.flags.writeable


def test_names_differ_by_all_that_frames_depend_on() -> None:
    parts = {'content': 'a', 'range': [0, 1], 'size': (2, 3), 'fit': 'crop', 'version': 1}
    others = [
        {**parts, name: other}
        for name, other in [('content', 'b'), ('range', [0, 2]), ('size', (3, 2)), ('fit', 'pad')]
    ]
    assert len({cache_key(**each) for each in [parts, *others]}) == 5


@pytest.mark.parametrize('damage', [b'', b'short', 'cut', 'longer'])
def test_a_file_that_is_not_whole_is_made_anew(tmp_path: Path, damage: bytes | str) -> None:
    cache = ClipCache(tmp_path, 10**9)
    store(cache, 'ab', 1)
    (path,) = tmp_path.glob('??/*.clip')
    whole = path.read_bytes()
    changed = {'cut': whole[:100] + whole[200:], 'longer': b'x' + whole}
    path.write_bytes(changed[damage] if isinstance(damage, str) else damage)
    assert cache.load('ab') is None
    assert not path.exists()
    store(cache, 'ab', 1)
    assert_holds(cache, 'ab', 1)


def test_a_full_cache_takes_no_more_and_counts_what_it_holds(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path, 20_000)
    for number in range(3):
        store(cache, f'{number:04d}', number)
    with pytest.raises(CacheFullError, match='it holds'):
        store(cache, 'more')
    # The hint was too small: what is too large is not kept either.
    with pytest.raises(CacheFullError):
        cache.store('long', clip(0, 30), size_hint=0, damage=lambda: '')
    assert files(tmp_path) == {'0000.clip', '0001.clip', '0002.clip', 'size'}
    # Counted anew at the next start, whatever was written down.
    (tmp_path / 'size').write_bytes(b'nonsense')
    with pytest.raises(CacheFullError):
        store(ClipCache(tmp_path, 20_000), 'more')
    store(ClipCache(tmp_path, 40_000), 'more')


def test_a_clip_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[float, np.ndarray]]:
        yield from clip(0, 3)
        raise ValueError('damaged')

    cache = ClipCache(tmp_path, 10**9)
    with pytest.raises(ValueError, match='damaged'):
        cache.store('ab', broken(), size_hint=0, damage=lambda: '')
    assert files(tmp_path) == {'size'}


def test_two_writers_of_the_same_clips_and_of_others_get_along(tmp_path: Path) -> None:
    same = [writer(tmp_path, 0, 1), writer(tmp_path, 0, 1), writer(tmp_path, 1000, 1)]
    assert [(process.communicate(), process.returncode)[1] for process in same] == [0, 0, 0]
    cache = ClipCache(tmp_path, 10**9)
    for number in (*range(20), *range(1000, 1020)):
        assert_holds(cache, f'{number:04d}', number)
    assert len(files(tmp_path)) == 41
    sizes = [path.stat().st_size for path in tmp_path.glob('??/*.clip')]
    assert int((tmp_path / 'size').read_text()) == sum(sizes)


def test_a_writer_that_is_killed_leaves_whole_clips_or_none(tmp_path: Path) -> None:
    with writer(tmp_path, 0, 1, 0.01) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()  # in the middle of the third clip
        os.kill(process.pid, signal.SIGKILL)
    assert any(name.endswith('.partial') for name in files(tmp_path))
    cache = ClipCache(tmp_path, 10**9)
    assert not any(name.endswith('.partial') for name in files(tmp_path))
    assert_holds(cache, '0000', 0)
    assert_holds(cache, '0001', 1)
    assert cache.load('0003') is None
    store(cache, '0003', 3)
    assert_holds(cache, '0003', 3)


def test_a_start_does_not_disturb_a_writer(tmp_path: Path) -> None:
    with writer(tmp_path, 0, 1, 0.005) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            cache = ClipCache(tmp_path, 10**9)
            time.sleep(0.02)
        process.stdout.read()
    assert process.returncode == 0
    for number in range(20):
        assert_holds(cache, f'{number:04d}', number)
