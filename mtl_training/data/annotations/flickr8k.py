"""Captions of images: Flickr8k (Hodosh et al., JAIR 2013)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import re

from mtl_training.data.annotations.captions import (
    Captions,
    CaptionTable,
    gather,
    join_captions,
    sentence,
)
from mtl_training.data.annotations.tables import table_rows
from mtl_training.data.video_sets.lists import (
    find_file,
    find_folder,
    line_error,
    names_in,
    numbered_lines,
)
from mtl_training.data.videos.index import check_split

# Spelt so in the archive; in other copies also as it should be, or as on Kaggle.
FOLDERS = ('Flicker8k_Dataset', 'Flickr8k_Dataset', 'Images')
LISTS = {
    'train': 'Flickr_8k.trainImages.txt',
    'val': 'Flickr_8k.devImages.txt',
    'test': 'Flickr_8k.testImages.txt',
}
TEXTS = ('Flickr8k.token.txt', 'captions.txt')
LAYOUT = (
    '<root>/Flicker8k_Dataset/<id>.jpg, captions in <root>/Flickr8k_text/Flickr8k.token.txt (or '
    'captions.txt of Kaggle), lists in <root>/Flickr8k_text/Flickr_8k.<train|dev|test>Images.txt'
)
COLUMNS = ('image', 'caption')
_TOKENS = re.compile(r'(\S+)#([0-9]{1,9})\t\s*(\S.*)', re.DOTALL)


def read_flickr8k(
    split: str,
    *,
    root: str,
    images_dir: str | None = None,
    captions: str | None = None,
    ids: str | None = None,
) -> Captions:
    """
    Flickr8k: the images of a split that are on disk, and their five captions each.

    Captions are as in the file: words apart by blanks, and mostly a full stop at the end.

    :param split: train, val or test: 6,000, 1,000 and 1,000 images; 91 are in none of them.
    :param root: The folder of the data set.
    :param images_dir: The folder of the images, below the root; found if ``None``.
    :param captions: The file of captions, below the root; found if ``None``.
    :param ids: The list of the split, below the root; found if ``None``.
    :raises ValueError: If something of the layout is missing or a line does not parse.
    """
    check_split(split)
    folders = FOLDERS if images_dir is None else (images_dir,)
    folder = find_folder(root, *folders, layout=LAYOUT)
    text = find_file(root, *_places(captions, *TEXTS), layout=LAYOUT)
    names = read_names(find_file(root, *_places(ids, LISTS[split]), layout=LAYOUT))
    paths = {name: folder / name for name in names_in(folder)}
    return join_captions(names, paths, read_captions(text), LAYOUT)


def read_captions(path: Path) -> CaptionTable:
    """
    Read the captions of Flickr8k.token.txt, or of captions.txt as Kaggle has it.

    Captions of what is not the name of an image are dropped: those of 2258277193_586949ec62.jpg.1,
    which does not exist.

    :raises ValueError: If a line does not parse.
    """
    if path.suffix.lower() == '.csv' or path.name == 'captions.txt':
        rows = table_rows(path, COLUMNS)
        pairs = [parse_row(path, number, row) for number, row in rows]
    else:
        lines = numbered_lines(path, 'lines of <image>#<number>, a tab and a caption')
        pairs = [parse_tokens(path, number, line) for number, line in lines]
    kept = [pair for pair in pairs if pair[0].lower().endswith('.jpg')]
    return gather(kept, len(pairs) - len(kept))


def read_names(path: Path) -> list[str]:
    """
    Read the list of a split, the name of an image a line.

    :raises ValueError: If a line does not parse.
    """
    return [parse_name(path, n, line) for n, line in numbered_lines(path, 'names of images')]


def parse_tokens(path: Path, number: int, line: str) -> tuple[str, str]:
    """
    Return the image and the caption of a line; one copy has a line with two tabs.

    :param path: The file that has the line, for messages.
    :param number: Of the line, for messages.
    :raises ValueError: If it is not of this format.
    """
    match = _TOKENS.fullmatch(line.strip())
    if match is None:
        raise line_error(path, number, line, '<image>#<number>, a tab and a caption')
    return match[1], sentence(match[3])


def parse_row(path: Path, number: int, row: Mapping[str, str]) -> tuple[str, str]:
    """
    Return the image and the caption, which may be empty, of a row of Kaggle's copy.

    :raises ValueError: If the row names no image.
    """
    name = row['image'].strip()
    if len(name.split()) != 1:
        raise line_error(path, number, name, 'the name of an image and a caption')
    return name, sentence(row['caption'])


def parse_name(path: Path, number: int, line: str) -> str:
    """
    Return the name of an image that a line is.

    :raises ValueError: If it is none.
    """
    name = line.strip()
    if len(name.split()) != 1 or not name.lower().endswith('.jpg'):
        raise line_error(path, number, line, 'the name of a .jpg image')
    return name


def _places(chosen: str | None, *names: str) -> tuple[str, ...]:
    if chosen is not None:
        return (chosen,)
    return tuple(f'{folder}{name}' for name in names for folder in ('Flickr8k_text/', ''))
