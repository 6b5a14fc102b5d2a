"""Flickr8k, from folders as the archives and Kaggle have them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.flickr8k import (
    parse_name,
    parse_row,
    parse_tokens,
    read_captions,
    read_flickr8k,
)
import pytest

FIRST, SECOND, ABSENT = '1000268201_693b08cb0e.jpg', '1001773457_577c3a7d70.jpg', '17_x.jpg'
TOKENS = (
    f'{FIRST}#0\tA child in a pink dress is climbing up a set of stairs in an entry way .\r\n'
    f'{FIRST}#1\t\tA girl going into a wooden building .\r\n'
    f'{SECOND}#0\tTwo dogs , one of them spotted .\r\n'
    '2258277193_586949ec62.jpg.1#0\tSome people .\r\n'
    f'{ABSENT}#0\tNobody has this image .'
)
KAGGLE = f'image,caption\n{FIRST},A child .\n{SECOND},"Two dogs , one of them spotted ."\n'


def write(root: Path, images: str = 'Flicker8k_Dataset', texts: str = 'Flickr8k_text') -> Path:
    """Write a data set without captions."""
    (root / images).mkdir()
    (root / texts).mkdir(exist_ok=True)
    for name in (FIRST, SECOND, '2258277193_586949ec62.jpg'):
        (root / images / name).touch()
    (root / texts / 'Flickr_8k.trainImages.txt').write_text(f'{SECOND}\n{FIRST}\n{ABSENT}')
    (root / texts / 'Flickr_8k.devImages.txt').write_text(f'{ABSENT}\n')
    (root / texts / 'Flickr_8k.testImages.txt').write_text('2258277193_586949ec62.jpg\r\n')
    return root / texts


def test_images_have_the_captions_of_the_token_file(tmp_path: Path) -> None:
    (write(tmp_path) / 'Flickr8k.token.txt').write_bytes(TOKENS.encode())
    captions = read_flickr8k('train', root=str(tmp_path))
    assert [(file.name, file.captions) for file in captions.files] == [
        (SECOND, ('Two dogs , one of them spotted .',)),
        (
            FIRST,
            (
                'A child in a pink dress is climbing up a set of stairs in an entry way .',
                'A girl going into a wooden building .',
            ),
        ),
    ]
    assert captions.files[1].path == tmp_path / 'Flicker8k_Dataset' / FIRST
    assert captions.missing == (ABSENT,)
    assert captions.dropped == 1  # of the image .jpg.1


def test_captions_of_an_image_that_does_not_exist_are_those_of_no_other(tmp_path: Path) -> None:
    (write(tmp_path) / 'Flickr8k.token.txt').write_text(TOKENS)
    with pytest.raises(ValueError, match=r"1 files .*2258277193_586949ec62\.jpg', 1 are on disk"):
        read_flickr8k('test', root=str(tmp_path))


def test_images_have_the_captions_of_kaggle(tmp_path: Path) -> None:
    write(tmp_path, images='Images', texts='.')
    (tmp_path / 'captions.txt').write_text(KAGGLE)
    captions = read_flickr8k('train', root=str(tmp_path))
    assert captions.files[0].captions == ('Two dogs , one of them spotted .',)
    assert captions.files[0].path.parent.name == 'Images'


def test_the_folder_may_be_spelt_right_and_files_named(tmp_path: Path) -> None:
    write(tmp_path, images='Flickr8k_Dataset', texts='.')
    (tmp_path / 'lemmas.txt').write_text(f'{FIRST}#0\ta child climb\n')
    (tmp_path / 'mine.txt').write_text(FIRST)
    captions = read_flickr8k('val', root=str(tmp_path), captions='lemmas.txt', ids='mine.txt')
    assert [file.captions for file in captions.files] == [('a child climb',)]


@pytest.mark.parametrize('lacks', ['images', 'captions', 'lists'])
def test_what_is_missing_is_named(tmp_path: Path, lacks: str) -> None:
    texts = write(tmp_path)
    if lacks != 'captions':
        (texts / 'Flickr8k.token.txt').write_text(TOKENS)
    if lacks == 'images':
        (tmp_path / 'Flicker8k_Dataset').rename(tmp_path / 'elsewhere')
    if lacks == 'lists':
        (texts / 'Flickr_8k.trainImages.txt').unlink()
    name = {
        'images': 'Flicker8k_Dataset',
        'captions': 'Flickr8k_text/Flickr8k.token.txt',
        'lists': 'Flickr8k_text/Flickr_8k.trainImages.txt',
    }[lacks]
    with pytest.raises(ValueError, match=f"has no (folder|file) '{name}'.*; the layout is <root>"):
        read_flickr8k('train', root=str(tmp_path))


def test_a_line_without_a_caption_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'Flickr8k.token.txt'
    path.write_text(f'{FIRST}#0\tA child .\n{FIRST}#1\n')
    with pytest.raises(ValueError, match=r"token\.txt', line 2: expected <image>#<number>, a tab"):
        read_captions(path)


@given(
    name=st.from_regex(r'[0-9]{3}_[0-9a-f]{10}\.jpg(\.1)?', fullmatch=True),
    number=st.integers(0, 4),
    words=st.lists(st.from_regex(r'[^\s]+', fullmatch=True), min_size=1),
)
def test_any_line_of_the_format_is_read(name: str, number: int, words: list[str]) -> None:
    line = f'{name}#{number}\t{" ".join(words)}\n'
    assert parse_tokens(Path('x.txt'), 7, line) == (name, ' '.join(words))


@pytest.mark.parametrize('parse', [parse_tokens, parse_name], ids=lambda parse: parse.__name__)
@given(line=st.text() | st.from_regex(r'\S*(#\S)?\t?.?'))
def test_any_line_gives_a_value_or_an_error_that_names_it(
    parse: Callable[..., Any], line: str
) -> None:
    try:
        assert parse(Path('x.txt'), 7, line)
    except ValueError as error:
        assert str(error).startswith("'x.txt', line 7: expected ")  # noqa: PT017


@given(image=st.text(), caption=st.text())
def test_any_row_gives_a_value_or_an_error_that_names_it(image: str, caption: str) -> None:
    try:
        name, _ = parse_row(Path('x.csv'), 7, {'image': image, 'caption': caption})
        assert name
    except ValueError as error:
        assert str(error).startswith("'x.csv', line 7: expected ")  # noqa: PT017
