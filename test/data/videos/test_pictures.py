"""Clips that are folders of numbered pictures."""

from collections.abc import Callable
from pathlib import Path

from mtl_training.data.decoding import VideoError
from mtl_training.data.videos.pictures import (
    is_still,
    list_pictures,
    probe_pictures,
    read_pictures,
    shows_pictures,
)
import numpy as np
import pytest


def read(folder: Path, indices: list[int], within: range, told: list[str]) -> list[np.ndarray]:
    return read_pictures(folder, indices, lambda picture: picture, told.append, within=within)


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ['img_10.png', 'img_2.jpg', 'img_1.JPEG', 'notes.txt', '._img_1.jpg', 'img_03.png']
    for name in names:
        (tmp_path / name).write_bytes(b'')
    listed = [path.name for path in list_pictures(tmp_path)]
    assert listed == ['img_1.JPEG', 'img_2.jpg', 'img_03.png', 'img_10.png']


def test_a_range_has_the_times_of_its_first_and_last_picture(
    tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    folder = write_pictures(tmp_path / 'a', 12)
    assert probe_pictures(folder, None, 10) == (0.0, 1.1, 12, '')
    assert probe_pictures(folder, (3, 7), 10) == (0.3, 0.6, 4, '')
    assert probe_pictures(folder, (3, 20), 10).problem == 'its frames from 3 to 20 end at 12'
    with pytest.raises(VideoError, match='holds 12 pictures, and none of those from 12 to 20'):
        probe_pictures(folder, (12, 20), 10)


def test_the_last_good_picture_stands_for_a_damaged_one(
    tmp_path: Path, write_pictures: Callable[..., Path], shown: Callable[..., list[int]]
) -> None:
    folder = write_pictures(tmp_path / 'a', 8, pattern='{}.png')
    for number in (1, 4, 5):
        (folder / f'{number}.png').write_bytes(b'\x89PNG cut off')
    told: list[str] = []
    frames = read(folder, [0, 2, 3, 4, 6], range(8), told)
    # Picture 0 is damaged and has none before it.
    assert shown(frames) == [1, 2, 2, 2, 6]
    assert len(told) == 1
    assert "such as '1.png'" in told[0]
    # Nothing before the range is used.
    assert shown(read(folder, [3, 4], range(3, 8), told)) == [5, 5]
    with pytest.raises(VideoError, match='no picture that can be decoded'):
        read(folder, [3, 4], range(3, 5), told)


def test_a_picture_that_is_needed_twice_is_read_once(
    tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    folder = write_pictures(tmp_path / 'a', 3)
    converted: list[int] = []
    read_pictures(folder, [0, 1, 1, 1, 2], lambda p: converted.append(1) or p, within=range(3))
    assert len(converted) == 3


def test_one_picture_is_a_clip_that_stands_still(
    tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    picture = list_pictures(write_pictures(tmp_path / 'a', 3))[1]
    assert is_still(picture)
    assert shows_pictures(picture)
    assert list_pictures(picture) == [picture]
    assert probe_pictures(picture, None, 10) == (0.0, 0.0, 1, '')
    frames = read(picture, [0, 0], range(1), [])
    assert [round(float(frame.mean()) / 4) for frame in frames] == [1, 1]
    picture.write_bytes(b'')
    with pytest.raises(VideoError, match='holds no picture that can be decoded'):
        probe_pictures(picture, None, 10)
    # A folder is one whatever its name, and a video is no picture.
    assert not is_still(write_pictures(tmp_path / 'b.jpg', 2))
    assert len(list_pictures(tmp_path / 'b.jpg')) == 2
    assert not shows_pictures(tmp_path / 'c.avi')


def test_a_folder_without_pictures_that_decode_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone' can't be listed"):
        list_pictures(tmp_path / 'gone')
    with pytest.raises(VideoError, match=f'{tmp_path.name}.* holds 0 pictures'):
        probe_pictures(tmp_path, None, 10)
    (tmp_path / '1.jpg').write_bytes(b'')
    with pytest.raises(VideoError, match='no picture that can be decoded'):
        probe_pictures(tmp_path, None, 10)
