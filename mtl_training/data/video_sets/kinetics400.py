"""Kinetics-400: its lists and clips, in whichever layout a copy has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path

from mtl_training.data.video_sets.kinetics_lists import Row, rows, spelling
from mtl_training.data.video_sets.lists import (
    find_file,
    find_folder,
    line_error,
    names_in,
    official_split,
)
from mtl_training.data.videos.index import check_split, ClipEntry, ClipIndex, held_out

LAYOUT = (
    '<root>/annotations/<train|val|test>.csv and <root>/<train|val|test>/[<class>/]'
    '<youtube_id>_<start>_<end>.mp4, these in seconds of 6 digits; '
    'or the files and folders of the settings lists and videos'
)
SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
_SPELLINGS = {
    'train': ('train',),
    'val': ('val', 'validate', 'validation'),
    'test': ('test',),
}


def kinetics400(
    split: str,
    *,
    root: str,
    lists: Mapping[str, str] | None = None,
    videos: Mapping[str, str | Sequence[str]] | None = None,
    val_share: float = 0.0,
) -> ClipIndex:
    """
    Kinetics-400 (Kay et al., 2017): 400 actions, 306,245 clips, some of them no longer published.

    Classes are in the order of their names in the train list. Most copies of the test list have
    no labels: with ``val_share`` above 0, that part of the train list is held out for val and the
    official val list is the test. The clips may be mirrored.

    :param split: train, val or test.
    :param root: The folder that holds the lists and the clips.
    :param lists: The list of each official split, below the root; of those not given, where
        published copies have it (``annotations/val.csv``, ``kinetics_val.csv`` ...).
    :param videos: Folders of the clips of each official split, below the root, flat or of a folder
        per class; what several of them have is taken from the first (of replacements, say). Of
        those not given, ``val`` or ``videos_val``.
    :param val_share: Of the videos of the train list that are held out for val; 0: val is the
        official val list.
    :raises ValueError: If a setting is none of these, or the folder not laid out like this.
    """
    check_split(split)
    official = official_split(split, val_share)
    train, path = (_list(root, name, lists or {}) for name in ('train', official))
    train_rows = rows(train)
    labels = _labels(train_rows)
    folders = _folders(root, official, videos or {})
    # That of train is long: it is read once.
    listed = train_rows if path == train else rows(path)
    entries = _entries(path, listed, folders[0], labels)
    if val_share and official == 'train':
        entries = held_out(entries, split, val_share)
    entries, missing = _located(entries, folders, labels)
    return ClipIndex(labels, entries, missing, mirrored={})


def _labels(train_rows: Sequence[tuple[int, Row]]) -> tuple[str, ...]:
    spelt: dict[str, str] = {}
    for label in sorted({row.label for _, row in train_rows}):
        spelt.setdefault(spelling(label), label)
    return tuple(spelt.values())


def _entries(
    path: Path, listed: Sequence[tuple[int, Row]], folder: Path, labels: tuple[str, ...]
) -> list[ClipEntry]:
    label_of = {spelling(name): label for label, name in enumerate(labels)}
    inner = [folder / name for name in labels]
    entries = []
    for number, row in listed:
        label = label_of.get(spelling(row.label))
        if label is None:
            raise line_error(path, number, row.label, 'a label of the train list')
        entries.append(ClipEntry(inner[label] / f'{row.stem}.mp4', label, group=row.youtube_id))
    return entries


def _located(
    entries: Sequence[ClipEntry], folders: Sequence[Path], labels: tuple[str, ...]
) -> tuple[list[ClipEntry], list[str]]:
    files = [_files(folder) for folder in folders]
    spelt = [spelling(label) for label in labels]
    found, missing = [], []
    for entry in entries:
        stem = entry.path.stem
        keys = ((spelt[entry.label], stem), ('', stem))
        place = next((here[key] for here in files for key in keys if key in here), None)
        if place:
            found.append(entry._replace(path=place[0] / place[1]))
        else:
            missing.append(str(entry.path))
    if not found:
        raise ValueError(
            f"'{folders[0]}' holds none of the {len(missing)} clips of its list; "
            f'the layout is {LAYOUT}.'
        )
    return found, missing


def _files(folder: Path) -> dict[tuple[str, str], tuple[Path, str]]:
    # Folder and name by class ('' where the folder is flat) and name without suffix.
    with os.scandir(folder) as found:
        content = sorted((entry.name, entry.is_dir()) for entry in found)
    places = [('', folder, [name for name, is_folder in content if not is_folder])]
    for inner in (folder / name for name, is_folder in content if is_folder):
        places.append((spelling(inner.name), inner, sorted(names_in(inner))))
    files: dict[tuple[str, str], tuple[Path, str]] = {}
    for label, place, names in places:
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES:
                files.setdefault((label, stem), (place, name))
    return files


def _list(root: str, split: str, lists: Mapping[str, str]) -> Path:
    _check_splits('lists', lists)
    if split in lists:
        return find_file(root, lists[split], layout=LAYOUT)
    names = [f'{prefix}{name}.csv' for name in _SPELLINGS[split] for prefix in ('', 'kinetics_')]
    places = ('annotations/', '', 'kinetics400/')
    return find_file(root, *(place + name for place in places for name in names), layout=LAYOUT)


def _folders(root: str, split: str, videos: Mapping[str, str | Sequence[str]]) -> list[Path]:
    _check_splits('videos', videos)
    if split in videos:
        chosen = videos[split]
        names = [chosen] if isinstance(chosen, str) else chosen
        return [find_folder(root, name, layout=LAYOUT) for name in names]
    names = [f'{prefix}{name}' for name in _SPELLINGS[split] for prefix in ('', 'videos_')]
    return [find_folder(root, *names, layout=LAYOUT)]


def _check_splits(setting: str, chosen: Mapping[str, object]) -> None:
    if (
        not isinstance(chosen, Mapping)
        or set(chosen) - set(_SPELLINGS)
        or not all(chosen.values())
    ):
        raise ValueError(
            f'{setting} must be by official split, of {tuple(_SPELLINGS)}, and none empty, '
            f'got {chosen!r}.'
        )
