"""Captions of images in the format of COCO (Chen et al., 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mtl_training.data.annotations.captions import Captions, gather, join_captions, sentence
from mtl_training.data.annotations.tables import count_of, load_entries, text_of
from mtl_training.data.video_sets.lists import find_file, find_folder, names_in, official_split
from mtl_training.data.videos.index import check_split, is_held_out, NoSplitError

LAYOUT = '<root>/annotations/captions_<train|val>2017.json and <root>/<train|val>2017/*.jpg'


class CocoCaptions(NamedTuple):
    """What a file of captions holds."""

    names: dict[int, str]  # of the files of all images, by image id
    captions: dict[int, tuple[str, ...]]  # by image id, in the order of the file
    dropped: int  # captions that are empty


def read_coco_captions(path: Path) -> CocoCaptions:
    """
    Read the captions of every image.

    :param path: A file such as captions_val2017.json.
    :raises ValueError: If the file is not of this format; the message names the entry.
    """
    names: dict[int, str] = {}
    for i, entry in enumerate(load_entries(path, 'images')):
        where = f"'{path}': images[{i}]"
        names[count_of(where, entry, 'id')] = text_of(where, entry, 'file_name')
    pairs = []
    for i, entry in enumerate(load_entries(path, 'annotations')):
        where = f"'{path}': annotations[{i}]"
        image_id, caption = parse_caption(where, entry)
        if image_id not in names:
            raise ValueError(f'{where}: image_id must be of a listed image, got {image_id}.')
        pairs.append((str(image_id), caption))
    table = gather(pairs)
    captions = {int(image_id): said for image_id, said in table.captions.items()}
    return CocoCaptions(names, captions, table.dropped)


def read_coco_split(
    split: str, *, root: str, year: str = '2017', val_share: float = 0.0
) -> Captions:
    """
    COCO captions: the photos of a split that are on disk, and about five captions each.

    The captions of the official test list are not public: with a share, val is held out of train
    and the official list of val is test.

    :param split: train, val or test.
    :param root: The folder of the data set.
    :param year: In the names of files and folders.
    :param val_share: Of the photos of the train list that are held out for val.
    :raises NoSplitError: If the split is test, and there is no share.
    :raises ValueError: If something of the layout is missing or an entry does not parse.
    """
    check_split(split)
    official = official_split(split, val_share)
    if official == 'test':
        raise NoSplitError(
            "split 'test': the captions of COCO's test list are not public. With val_share above "
            '0, 0.1 say, val is held out of train and test is the official validation list.'
        )
    path = find_file(root, f'annotations/captions_{official}{year}.json', layout=LAYOUT)
    folder = find_folder(root, f'{official}{year}', layout=LAYOUT)
    found = read_coco_captions(path)
    table = gather(
        ((found.names[i], caption) for i, said in found.captions.items() for caption in said),
        found.dropped,
    )
    paths = {name: folder / name for name in names_in(folder)}
    names = [found.names[image_id] for image_id in sorted(found.names)]
    if official == 'train' and val_share:
        names = [name for name in names if is_held_out(name, val_share) == (split == 'val')]
    return join_captions(names, paths, table, LAYOUT)


def parse_caption(where: str, entry: Any) -> tuple[int, str]:
    """
    Return the image and the caption, which may be empty, of an annotation.

    :param where: The file and the place of the annotation in it, for messages.
    :raises ValueError: If it is not of this format.
    """
    image_id = count_of(where, entry, 'image_id')
    caption = entry.get('caption')
    if not isinstance(caption, str):
        raise ValueError(f'{where}: caption must be a text, got {str(caption)[:80]!r}.')
    return image_id, sentence(caption)
