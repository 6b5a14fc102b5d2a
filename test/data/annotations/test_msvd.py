"""MSVD, from folders as the archives and the copies of others have them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.captions import Captions
from mtl_training.data.annotations.msvd import CSV, MAPPING, read_msvd, SPLIT_NUMBERS, TEXT
from mtl_training.data.annotations.msvd_captions import (
    ClipName,
    parse_clip_name,
    parse_corpus_row,
    parse_description,
    parse_id,
    parse_mapping,
    parse_sentence,
    read_corpus,
    read_descriptions,
    read_sentences,
)
import pytest

# Two of the training split, not in order, one of val and two of test; the last is not on disk.
CLIPS = {
    'a_b_c-_D_0_9': 'vid1200',
    '-4wsuPCjDBc_5_15': 'vid1',
    'mv89psg6zh4_33_46': 'vid1201',
    'klteYv1Uv9A_27_33': 'vid1970',
    'UNpFPxbcyoo_1_2': 'vid1301',
}
ROWS = """VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description
-4wsuPCjDBc,5,15,882,clean,30,English,a squirrel is eating a peanut in it's shell
-4wsuPCjDBc,5,15,883,unverified,31,German,"ein Eichhörnchen, das frisst"
-4wsuPCjDBc,5,15,884,unverified,32,English,"A squirrel
  eats, quickly."
-4wsuPCjDBc,5,15,884,clean,32,English,
a_b_c-_D,0,9,12,clean,40,English,a man
mv89psg6zh4,33,46,12,clean,40,English,a bird in a sink
UNpFPxbcyoo,1,2,12,clean,40,English,nobody has this clip
never_mapped,1,2,12,clean,40,English,one of 119 clips of the table alone
"""
DESCRIPTIONS = """#
# The English descriptions
#
# <clip> <description>
#
#

-4wsuPCjDBc_5_15 a squirrel is eating a peanut in it's shell
-4wsuPCjDBc_5_15 a chipmunk is eating
a_b_c-_D_0_9 a man
mv89psg6zh4_33_46 a bird in a sink
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a data set without captions."""
    folder = tmp_path / 'YouTubeClips'
    folder.mkdir()
    for clip in list(CLIPS)[:-1]:
        (folder / f'{clip}.avi').touch()
    (folder / 'notes.txt').touch()
    (tmp_path / MAPPING).write_bytes(
        ''.join(f'{clip} {vid}\r\n' for clip, vid in CLIPS.items()).encode().rstrip()
    )
    return tmp_path


def said(captions: Captions) -> dict[str, tuple[str, ...]]:
    return {file.name: file.captions for file in captions.files}


def test_captions_come_from_the_table(root: Path) -> None:
    (root / CSV).write_text(ROWS, encoding='utf-8')
    captions = read_msvd('train', root=str(root))
    assert said(captions) == {
        '-4wsuPCjDBc_5_15': (
            "a squirrel is eating a peanut in it's shell",
            'A squirrel eats, quickly.',
        ),
        'a_b_c-_D_0_9': ('a man',),
    }
    assert [file.path.name for file in captions.files] == [
        '-4wsuPCjDBc_5_15.avi',
        'a_b_c-_D_0_9.avi',
    ]
    assert captions.num_captions() == 3
    assert captions.dropped == 2  # a German one and an empty one
    assert captions.missing == captions.uncaptioned == ()


def test_clips_that_the_disk_lacks_or_nobody_described_are_told(root: Path) -> None:
    (root / CSV).write_text(ROWS, encoding='utf-8')
    (root / 'YouTubeClips' / 'klteYv1Uv9A_27_33.avi').rename(root / 'YouTubeClips' / 'other.avi')
    (root / 'YouTubeClips' / 'UNpFPxbcyoo_1_2.mp4').touch()
    captions = read_msvd('test', root=str(root))
    assert said(captions) == {'UNpFPxbcyoo_1_2': ('nobody has this clip',)}
    assert captions.missing == ('klteYv1Uv9A_27_33',)
    (root / 'YouTubeClips' / 'other.avi').rename(root / 'YouTubeClips' / 'klteYv1Uv9A_27_33.avi')
    assert read_msvd('test', root=str(root)).uncaptioned == ('klteYv1Uv9A_27_33',)


def test_languages_and_sources_can_be_chosen(root: Path) -> None:
    (root / CSV).write_text(ROWS, encoding='utf-8')
    german = read_msvd('train', root=str(root), language='German')
    assert said(german) == {'-4wsuPCjDBc_5_15': ('ein Eichhörnchen, das frisst',)}
    clean = read_corpus(root / CSV, sources=('clean',))
    assert clean.captions['-4wsuPCjDBc_5_15'] == ("a squirrel is eating a peanut in it's shell",)
    with pytest.raises(ValueError, match=r"no caption in 'Greek' .* are \['English', 'German'\]"):
        read_corpus(root / CSV, 'Greek')


def test_captions_come_from_the_text(root: Path) -> None:
    (root / TEXT).write_text(DESCRIPTIONS)
    captions = read_msvd('train', root=str(root))
    assert said(captions)['-4wsuPCjDBc_5_15'][1] == 'a chipmunk is eating'
    assert captions.num_captions() == 3
    assert said(read_msvd('val', root=str(root))) == {'mv89psg6zh4_33_46': ('a bird in a sink',)}


def test_the_text_may_begin_with_any_seven_lines(tmp_path: Path) -> None:
    path = tmp_path / TEXT
    path.write_text('header\n' * 7 + 'x_1_2 said\n')
    assert read_descriptions(path).captions == {'x_1_2': ('said',)}
    path.write_text('header\n' * 8 + 'x_1_2 said\n')
    with pytest.raises(ValueError, match=r"AllVideo.*', line 8: expected a clip .* got 'header'"):
        read_descriptions(path)
    path.write_text('x_1_2 said\nheader\n')
    with pytest.raises(ValueError, match=r'line 2: expected a clip'):
        read_descriptions(path)


@pytest.mark.parametrize('renamed', [False, True])
def test_captions_come_from_sentences_of_numbered_clips(root: Path, renamed: bool) -> None:
    (root / 'sents_train_lc_nopunc.txt').write_text('vid1\ta squirrel\nvid1200\ta man\nvid1\tit\n')
    names = ['-4wsuPCjDBc_5_15', 'a_b_c-_D_0_9']
    if renamed:
        (root / MAPPING).unlink()
        for clip, vid in list(CLIPS.items())[:-1]:
            (root / f'YouTubeClips/{clip}.avi').rename(root / f'YouTubeClips/{vid}.avi')
        names = ['vid1', 'vid1200']
    captions = read_msvd('train', root=str(root))
    assert said(captions) == {names[0]: ('a squirrel', 'it'), names[1]: ('a man',)}
    assert len(captions.missing) == (1198 if renamed else 0)


@pytest.mark.parametrize(
    ('ids', 'names'),
    [
        ('klteYv1Uv9A_27_33\n-4wsuPCjDBc_5_15 \r\n', ('-4wsuPCjDBc_5_15',)),
        ('vid1970\nvid1', ('vid1',)),
    ],
)
def test_a_file_may_list_the_split(root: Path, ids: str, names: tuple[str, ...]) -> None:
    (root / TEXT).write_text(DESCRIPTIONS)
    (root / 'val_list.txt').write_text(ids)
    captions = read_msvd('val', root=str(root), ids='val_list.txt')
    assert tuple(said(captions)) == names
    assert captions.files[0].path.name == '-4wsuPCjDBc_5_15.avi'
    assert len(captions.uncaptioned) == 1


def test_the_splits_are_1200_100_and_670_clips() -> None:
    numbers = [number for split in SPLIT_NUMBERS.values() for number in split]
    assert numbers == list(range(1, 1971))
    assert [len(split) for split in SPLIT_NUMBERS.values()] == [1200, 100, 670]


@pytest.mark.parametrize(
    ('change', 'settings', 'message'),
    [
        ('YouTubeClips', {}, r"has no folder 'YouTubeClips'; the layout is <root>/YouTubeClips"),
        (None, {}, 'has none of the files .*AllVideoDescriptions.*; the layout is'),
        (TEXT, {'language': 'German'}, 'tells neither language nor source; .* got .*German'),
        (MAPPING, {'captions': TEXT}, r"Of the 1200 files of the split, as 'vid1', 0 are on disk"),
    ],
)
def test_what_is_missing_is_named(
    root: Path, change: str | None, settings: dict[str, Any], message: str
) -> None:
    if change == 'YouTubeClips':
        (root / change).rename(root / 'elsewhere')
    if change in (TEXT, MAPPING):
        (root / TEXT).write_text(DESCRIPTIONS)
    if change == MAPPING:
        (root / change).unlink()
    with pytest.raises(ValueError, match=message):
        read_msvd('train', root=str(root), **settings)


def test_a_sentence_of_no_clip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'sents_val_lc_nopunc.txt'
    path.write_text('vid1\ta\nvideo2\tb')
    with pytest.raises(ValueError, match=r"sents_val.*', line 2: expected vid<number>, a tab"):
        read_sentences(path)


@given(
    video=st.from_regex(r'[-_A-Za-z0-9]{11}', fullmatch=True),
    seconds=st.tuples(st.integers(0, 9999), st.integers(0, 9999)),
)
def test_any_video_id_is_found_in_the_id_of_its_clip(video: str, seconds: tuple[int, int]) -> None:
    clip = f'{video}_{seconds[0]}_{seconds[1]}'
    assert parse_clip_name(Path('x.txt'), 7, clip) == ClipName(video, *seconds)
    assert parse_description(Path('x.txt'), 7, f'{clip}  a  man') == (clip, 'a man')
    assert parse_mapping(Path('x.txt'), 7, f'{clip}\tvid12') == (clip, 'vid12')
    assert parse_id(Path('x.txt'), 7, f'{clip} ') == clip


PARSERS = [parse_clip_name, parse_description, parse_id, parse_mapping, parse_sentence]


@pytest.mark.parametrize('parse', PARSERS, ids=lambda parse: parse.__name__)
@given(line=st.text() | st.from_regex(r'\s?(\S+_\S+_\S+|vid\S*)?\s?(vid\S*)?'))
def test_any_line_gives_a_value_or_an_error_that_names_it(
    parse: Callable[..., Any], line: str
) -> None:
    try:
        assert parse(Path('x.txt'), 7, line)
    except ValueError as error:
        assert str(error).startswith("'x.txt', line 7: expected ")  # noqa: PT017


@given(values=st.lists(st.text(), min_size=4, max_size=4))
def test_any_row_gives_a_value_or_an_error_that_names_it(values: list[str]) -> None:
    row = dict(zip(('VideoID', 'Start', 'End', 'Description'), values))
    try:
        clip, caption = parse_corpus_row(Path('x.csv'), 7, row)
        assert clip.count('_') >= 2
        assert '\n' not in caption
    except ValueError as error:
        assert str(error).startswith("'x.csv', line 7: expected ")  # noqa: PT017
