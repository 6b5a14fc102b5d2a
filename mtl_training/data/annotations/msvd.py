"""Captions of clips: MSVD, also called YouTube2Text (Chen and Dolan, ACL 2011)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mtl_training.data.annotations.captions import Captions, CaptionTable, join_captions
from mtl_training.data.annotations.msvd_captions import (
    read_corpus,
    read_descriptions,
    read_ids,
    read_mapping,
    read_sentences,
)
from mtl_training.data.video_sets.lists import find_folder, names_in
from mtl_training.data.videos.index import check_split

CSV, TEXT, MAPPING = (
    'MSR Video Description Corpus.csv',
    'AllVideoDescriptions.txt',
    'youtube_mapping.txt',
)
LAYOUT = (
    f'<root>/YouTubeClips/<VideoID>_<start>_<end>.avi, captions in <root>/{CSV}, <root>/{TEXT} or '
    f'<root>/sents_<split>_lc_nopunc.txt, and <root>/{MAPPING}'
)
# The numbers of the clips vid1 to vid1970 that each split has: 1,200, 100 and 670.
SPLIT_NUMBERS = {
    'train': range(1, 1201),
    'val': range(1201, 1301),
    'test': range(1301, 1971),
}
SUFFIXES = ('.avi', '.mkv', '.mp4', '.webm')


def read_msvd(
    split: str,
    *,
    root: str,
    captions: str | None = None,
    ids: str | None = None,
    clips_dir: str = 'YouTubeClips',
    language: str = 'English',
    sources: tuple[str, ...] | None = None,
) -> Captions:
    """
    MSVD, also called YouTube2Text: the clips of a split that are on disk, and their captions.

    Clips have the ids of YouTube or, as in some copies, are named vid1 to vid1970. All captions of
    a clip are in its one split. The split is the common one of 1,200, 100 and 670 clips by their
    numbers unless ``ids`` lists another, several of which are about.

    :param split: train, val or test.
    :param root: The folder of the data set.
    :param captions: The file of captions, below the root; the first that is there of the three
        kinds of :data:`LAYOUT` if ``None``.
    :param ids: A file below the root that lists the clips of the split, one id a line.
    :param clips_dir: The folder of the clips, below the root.
    :param language: Of the captions; only the CSV holds others than English.
    :param sources: Of the captions of the CSV, of clean and unverified; all if ``None``.
    :raises ValueError: If something of the layout is missing or a line does not parse.
    """
    check_split(split)
    folder = find_folder(root, clips_dir, layout=LAYOUT)
    base = Path(root).expanduser()
    numbers = read_mapping(base / MAPPING) if (base / MAPPING).is_file() else {}
    path = base / captions if captions else _first_captions(base, split)
    table = _read_table(path, language, sources)
    if ids is not None:
        names = read_ids(base / ids)
    elif numbers:
        names = standard_split(split, numbers)
    else:
        # Copies whose clips are called vid1 to vid1970 need no mapping.
        names = [f'vid{number}' for number in SPLIT_NUMBERS[split]]
    listed, canonical = set(names), dict[str, str]()
    for clip, vid in numbers.items():
        canonical[clip] = canonical[vid] = vid if vid in listed else clip
    paths = {
        canonical.get(stem, stem): folder / name
        for name in sorted(names_in(folder))
        for stem, dot, suffix in [name.rpartition('.')]
        if dot + suffix.lower() in SUFFIXES
    }
    renamed = {canonical.get(name, name): said for name, said in table.captions.items()}
    return join_captions(names, paths, CaptionTable(renamed, table.dropped), LAYOUT)


def standard_split(split: str, numbers: Mapping[str, str]) -> list[str]:
    """
    Return the ids of the clips of a split, in the order of their numbers.

    :param numbers: ``vid<number>`` of every id, as :func:`read_mapping` gives it.
    """
    chosen = {
        number: clip
        for clip, vid in numbers.items()
        if (number := int(vid[3:])) in SPLIT_NUMBERS[split]
    }
    return [chosen[number] for number in sorted(chosen)]


def _first_captions(base: Path, split: str) -> Path:
    candidates = (CSV, TEXT, f'sents_{split}_lc_nopunc.txt')
    for candidate in candidates:
        if (base / candidate).is_file():
            return base / candidate
    raise ValueError(f"'{base}' has none of the files {candidates}; the layout is {LAYOUT}.")


def _read_table(path: Path, language: str, sources: tuple[str, ...] | None) -> CaptionTable:
    if path.suffix.lower() == '.csv':
        return read_corpus(path, language, sources)
    if language != 'English' or sources is not None:
        raise ValueError(
            f"'{path}' tells neither language nor source; only the CSV does, got language "
            f'{language!r} and sources {sources!r}.'
        )
    return read_sentences(path) if path.name.startswith('sents_') else read_descriptions(path)
