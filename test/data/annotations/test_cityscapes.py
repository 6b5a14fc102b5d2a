"""The frames of Cityscapes, from folders in its layout."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.cityscapes import (
    FILES,
    FrameName,
    list_frames,
    parse_frame_name,
)
import pytest


def write(
    root: Path, frame: str, split: str = 'train', kinds: tuple[str, ...] = tuple(FILES)
) -> None:
    """Write the empty files of a frame."""
    city = frame.split('_')[0]
    places = [('leftImg8bit', '_leftImg8bit.png'), *(FILES[kind] for kind in kinds)]
    for folder, ending in places:
        path = root / folder / split / city / f'{frame}{ending}'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_frames_are_sorted_by_city_and_number(tmp_path: Path) -> None:
    for frame in ('ulm_000001_000019', 'aachen_000010_000019', 'aachen_000002_000019'):
        write(tmp_path, frame)
    (tmp_path / 'leftImg8bit/train/aachen/.hidden_leftImg8bit.png').touch()
    (tmp_path / 'leftImg8bit/train/README').touch()
    found = list_frames('train', root=str(tmp_path))
    assert [frame.name for frame in found.frames] == [
        FrameName('aachen', 2, 19),
        FrameName('aachen', 10, 19),
        FrameName('ulm', 1, 19),
    ]
    assert found.missing == ()
    first = found.frames[0]
    assert all(first.annotation(kind).is_file() for kind in FILES)
    assert first.annotation('labels') == (
        tmp_path / 'gtFine/train/aachen/aachen_000002_000019_gtFine_labelIds.png'
    )
    assert first.annotation('camera') == (
        tmp_path / 'camera/train/aachen/aachen_000002_000019_camera.json'
    )


def test_frames_that_lack_a_file_are_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path, 'aachen_000000_000019', kinds=('labels', 'camera'))
    write(tmp_path, 'aachen_000001_000019')
    write(tmp_path, 'bonn_000001_000019', kinds=())
    found = list_frames('train', root=str(tmp_path))
    assert [frame.name.sequence for frame in found.frames] == [1]
    assert [path.name for path in found.missing] == [
        'aachen_000000_000019_disparity.png',
        'bonn_000001_000019_gtFine_labelIds.png',
        'bonn_000001_000019_disparity.png',
        'bonn_000001_000019_camera.json',
    ]
    assert len(list_frames('train', root=str(tmp_path), needs=()).frames) == 3


def test_labels_of_the_test_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 'berlin_000000_000019', 'test')
    with pytest.raises(ValueError, match="needs must not have labels in split 'test', they are"):
        list_frames('test', root=str(tmp_path))
    assert len(list_frames('test', root=str(tmp_path), needs=('disparity',)).frames) == 1


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has no folder 'leftImg8bit/train'; the layout is <root>"
    ):
        list_frames('train', root=str(tmp_path))
    write(tmp_path, 'aachen_000000_000019', kinds=())
    with pytest.raises(ValueError, match=r'holds no frame that has .*; 3 files are missing; the'):
        list_frames('train', root=str(tmp_path))
    with pytest.raises(ValueError, match=r"needs must be of .*, got \['depth'\]"):
        list_frames('train', root=str(tmp_path), needs=('depth',))
    (tmp_path / 'leftImg8bit/train/aachen/aachen_1_leftImg8bit.png').touch()
    with pytest.raises(ValueError, match=r"aachen_1_leftImg8bit.png': the name must be <city>_<6"):
        list_frames('train', root=str(tmp_path))


@given(
    city=st.from_regex(r'[a-z]+(-[a-z]+)?', fullmatch=True),
    sequence=st.integers(0, 999_999),
    frame=st.integers(0, 999_999),
)
def test_any_name_of_the_format_is_read(city: str, sequence: int, frame: int) -> None:
    path = Path(f'{city}_{sequence:06d}_{frame:06d}_leftImg8bit.png')
    assert parse_frame_name(path) == FrameName(city, sequence, frame)


@given(
    name=st.text(min_size=1).filter(lambda name: '/' not in name and '\0' not in name),
    ending=st.sampled_from(['', '_leftImg8bit.png', '_000000_leftImg8bit.png']),
)
def test_any_name_gives_a_value_or_an_error_that_names_it(name: str, ending: str) -> None:
    path = Path('train') / f'{name}{ending}'
    try:
        assert parse_frame_name(path).city
    except ValueError as error:
        assert str(error).startswith(f"'{path}': the name must be ")  # noqa: PT017
