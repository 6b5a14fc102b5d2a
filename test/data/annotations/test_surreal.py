"""The clips of SURREAL, from folders in its layout."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.surreal import ClipName, list_surreal, parse_clip_name
import pytest

ENDINGS = ('.mp4', '_info.mat', '_segm.mat', '_depth.mat')


def write(root: Path, clip: str, run: int = 0, endings: tuple[str, ...] = ENDINGS) -> Path:
    """Write the empty files of a clip; return its folder."""
    folder = root / 'cmu' / 'train' / f'run{run}' / clip.rsplit('_', 1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    for ending in endings:
        (folder / f'{clip}{ending}').touch()
    return folder


@pytest.mark.parametrize('place', ['.', 'data', 'SURREAL/data'])
def test_clips_are_listed_by_run_and_sequence(tmp_path: Path, place: str) -> None:
    root = tmp_path / place
    write(root, '02_01_c0002', run=1)
    write(root, 'ung_104_02_c0001')
    write(root, '02_01_c0001', run=1)
    write(root, '01_01_c0001')
    found = list_surreal('train', root=str(tmp_path))
    assert [clip.name for clip in found.clips] == [
        ClipName(False, 1, 1, 1),
        ClipName(True, 104, 2, 1),
        ClipName(False, 2, 1, 1),
        ClipName(False, 2, 1, 2),
    ]
    assert found.missing == found.malformed == ()
    assert found.clips[0].annotation('depth').name == '01_01_c0001_depth.mat'
    assert all(clip.annotation('segm').is_file() for clip in found.clips)
    (only,) = list_surreal('train', root=str(tmp_path), runs=(0,)).clips[:1]
    assert only.video == root / 'cmu/train/run0/01_01/01_01_c0001.mp4'


def test_clips_that_lack_a_file_are_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path, '01_01_c0001', endings=ENDINGS[:2])
    folder = write(tmp_path, '01_01_c0002', endings=ENDINGS[1:])
    write(tmp_path, '01_01_c0003')
    found = list_surreal('train', root=str(tmp_path))
    assert [clip.name.clip for clip in found.clips] == [3]
    assert [path.name for path in found.missing] == [
        '01_01_c0001_segm.mat',
        '01_01_c0001_depth.mat',
        '01_01_c0002.mp4',
    ]
    assert found.missing[0].parent == folder
    videos = list_surreal('train', root=str(tmp_path), needs=())
    assert [clip.name.clip for clip in videos.clips] == [1, 3]


def test_clips_that_the_authors_advise_against_are_left_out(tmp_path: Path) -> None:
    bad = ['18_01_c0001', '19_12_c0003', '143_21_c0001', 'ung_143_21_c0002', 'other']
    for clip in (*bad, '143_22_c0001', '118_01_c0001'):
        write(tmp_path, clip)
    found = list_surreal('train', root=str(tmp_path))
    assert [clip.name.subject for clip in found.clips] == [118, 143]
    assert {path.stem for path in found.malformed} == set(bad)
    everything = list_surreal('train', root=str(tmp_path), keep_malformed=True)
    assert len(everything.clips) == 6


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no folder 'cmu/train'.*; the layout is <root>/cmu"):
        list_surreal('train', root=str(tmp_path))
    write(tmp_path, '01_01_c0001', endings=('.mp4',))
    with pytest.raises(
        ValueError, match=r'holds no clip of runs .*; 3 files are missing; the layout'
    ):
        list_surreal('train', root=str(tmp_path))


@given(
    is_ungendered=st.booleans(),
    subject=st.integers(0, 999),
    sequence=st.integers(0, 99),
    clip=st.integers(0, 9999),
)
def test_any_name_of_the_format_is_read(
    is_ungendered: bool, subject: int, sequence: int, clip: int
) -> None:
    prefix = 'ung_' if is_ungendered else ''
    path = Path(f'{prefix}{subject:02d}_{sequence:02d}_c{clip:04d}.mp4')
    assert parse_clip_name(path) == ClipName(is_ungendered, subject, sequence, clip)


@given(name=st.text(min_size=1).filter(lambda name: '/' not in name and '\0' not in name))
def test_any_name_gives_a_value_or_an_error_that_names_it(name: str) -> None:
    path = Path('run0') / name
    try:
        assert parse_clip_name(path).clip >= 0
    except ValueError as error:
        assert str(error).startswith(f"'{path}': the name must be ")  # noqa: PT017
