"""Files of features, made into arrays once, whoever else does so too."""

from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
from threading import Barrier
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.data.annotations import ego4d_features
from mtl_training.data.annotations.ego4d_features import (
    find_features,
    load_features,
    open_features,
    read_manifest,
)
from mtl_training.data.annotations.ego4d_rows import FEATURE_SETS
import numpy as np
import pytest
import torch

OMNIVORE = FEATURE_SETS['omnivore_video_swinl']


def features(dtype: torch.dtype = torch.float32, num_rows: int = 5) -> torch.Tensor:
    return torch.randn(num_rows, 8, generator=torch.manual_seed(num_rows)).to(dtype)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_features_become_an_array_on_disk_of_the_same_values(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    source = write(tmp_path / 'a.pt', features(dtype))
    array = open_features(source, tmp_path / 'cache', 8)
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array.dtype == features(dtype).numpy().dtype
    np.testing.assert_array_equal(array, features(dtype).numpy())
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == ['a.npy']


def test_the_published_file_is_read_once_and_then_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / 'a.pt', features())
    os.utime(source, (1_600_000_000.7, 1_600_000_000.7))  # published long ago
    open_features(source, tmp_path / 'cache', 8)
    monkeypatch.setattr(ego4d_features, 'load_features', lambda path, dim: pytest.fail('again'))
    open_features(source, tmp_path / 'cache', 8)
    source.unlink()
    np.testing.assert_array_equal(open_features(source, tmp_path / 'cache', 8), features().numpy())


@pytest.mark.parametrize('age', [-1000, 1000], ids=['older', 'newer'])
def test_features_that_were_extracted_anew_replace_the_array(tmp_path: Path, age: int) -> None:
    source = write(tmp_path / 'a.pt', features())
    before = open_features(source, tmp_path / 'cache', 8)
    modified = source.stat().st_mtime + age
    write(source, features(num_rows=7))
    os.utime(source, (modified, modified))
    assert open_features(source, tmp_path / 'cache', 8).shape == (7, 8)
    # Who reads the one before is not disturbed.
    np.testing.assert_array_equal(before, features().numpy())


def test_many_writers_at_once_leave_one_whole_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / 'a.pt', features(num_rows=500))
    meet = Barrier(4, timeout=30)
    # Each of them has written all of its array before the first one puts it in its place.
    monkeypatch.setattr(os, 'fsync', lambda descriptor: meet.wait())
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(open_features, source, tmp_path / 'cache', 8) for _ in range(4)]
        for job in jobs:
            np.testing.assert_array_equal(job.result(), features(num_rows=500).numpy())
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == ['a.npy']


def test_a_writer_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError('no space left')

    source = write(tmp_path / 'a.pt', features())
    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='no space left'):
        open_features(source, tmp_path / 'cache', 8)
    assert list((tmp_path / 'cache').iterdir()) == []


def test_what_a_killed_writer_left_is_not_taken_for_an_array(tmp_path: Path) -> None:
    source = write(tmp_path / 'a.pt', features())
    (tmp_path / 'cache').mkdir()
    (tmp_path / 'cache' / '.a.npy.0123.tmp').write_bytes(b'half')
    np.testing.assert_array_equal(open_features(source, tmp_path / 'cache', 8), features().numpy())


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'features': torch.zeros(2, 8)}, r"a.pt' must hold a tensor, got dict"),
        (torch.zeros(2, 9), r'must hold float16 or float32 of \(N, 8\), .* got .* of \(2, 9\)'),
        (torch.zeros(0, 8), r'N at least 1, got .* of \(0, 8\)'),
        (torch.zeros(8), r'got torch.float32 of \(8,\)'),
        (torch.zeros(2, 8, dtype=torch.int64), r'got torch.int64'),
        (Path('x'), r"a.pt' is not a file of features"),
    ],
    ids=['dict', 'dim', 'empty', 'flat', 'whole', 'object'],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_features(write(tmp_path / 'a.pt', content), tmp_path / 'cache', 8)
    assert not (tmp_path / 'cache').exists()


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')  # where the damage is its number
@pytest.mark.parametrize('zipped', [True, False])
@settings(max_examples=100)
@given(
    content=st.binary(max_size=20),
    place=st.floats(0, 1, exclude_max=True),
    damage=st.integers(1, 255) | st.none(),
)
def test_damaged_files_are_refused_or_read(
    zipped: bool,
    content: bytes,
    place: float,
    damage: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / 'damaged.pt'
    if not content:
        torch.save(features(), path, _use_new_zipfile_serialization=zipped)
        whole = bytearray(path.read_bytes())
        at = int(place * len(whole))
        # Cut off, or one byte is another.
        content = bytes(whole[:at])
        if damage is not None:
            content += bytes([whole[at] ^ damage]) + bytes(whole[at + 1 :])
    path.write_bytes(content)
    try:
        assert load_features(path, 8).ndim == 2
    except ValueError as error:
        assert "damaged.pt'" in str(error)  # noqa: PT017


def test_missing_and_damaged_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.pt' is not a file that exists; the layout is <root>"):
        open_features(tmp_path / 'a.pt', tmp_path, 8)
    (tmp_path / 'a.npy').write_bytes(b'half')
    with pytest.raises(ValueError, match=r"a.npy' is damaged, delete it"):
        open_features(tmp_path / 'a.pt', tmp_path, 8)
    np.save(tmp_path / 'a.npy', np.zeros((2, 9), np.float32))
    with pytest.raises(ValueError, match=r"a.npy' must have the shape \(N, 8\), got \(2, 9\)"):
        open_features(tmp_path / 'a.pt', tmp_path, 8)


@pytest.mark.parametrize('place', ['v1', '.'])
def test_features_and_their_manifest_are_found(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place / OMNIVORE.name
    write(folder / 'uid-2.pt', 0)
    write(folder / 'uid-1.pt', 0)
    (folder / 'manifest.csv').write_text('video_uid,s3_path\nuid-1,"a,b"\nuid-2,c\n')
    assert list(find_features(str(tmp_path), OMNIVORE)) == ['uid-1', 'uid-2']
    assert read_manifest(str(tmp_path), OMNIVORE)['uid-1'] == {
        'video_uid': 'uid-1',
        's3_path': 'a,b',
    }


def test_missing_features_and_manifests_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no features 'omnivore_video_swinl'; the layout"):
        find_features(str(tmp_path), OMNIVORE)
    with pytest.raises(ValueError, match=r"manifest.csv'.*; the layout is <root>/v1"):
        read_manifest(str(tmp_path), OMNIVORE)
