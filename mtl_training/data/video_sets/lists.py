"""What the data sets of videos share: their text lists, and what of these lists is on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import os
from pathlib import Path

from mtl_training.data.videos.index import ClipEntry


def numbered_lines(path: Path, expected: str) -> list[tuple[int, str]]:
    """
    Return the lines of a text list that are not blank, stripped, with their numbers from 1.

    Lines may end as on any system, and bytes that are not UTF-8 are replaced.

    :param path: The list.
    :param expected: What such a file holds, or where it belongs, for messages.
    :raises ValueError: If there is no such file, or nothing in it.
    """
    if not path.is_file():
        raise ValueError(f"'{path}' is not a file that exists; expected {expected}.")
    with path.open(encoding='utf-8-sig', errors='replace') as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, start=1)]
    found = [(number, line) for number, line in lines if line]
    if not found:
        raise ValueError(f"'{path}' is empty; expected {expected}.")
    return found


def line_error(path: Path, number: int, line: str, expected: str) -> ValueError:
    """
    Return the error of a line that does not parse, to be raised.

    :param number: Of the line, from 1.
    :param expected: What the line should hold.
    """
    return ValueError(f"'{path}', line {number}: expected {expected}, got {line!r}.")


def find_folder(root: str | Path, *candidates: str, layout: str) -> Path:
    """
    Return the first of some folders that exists.

    :param root: The folder of the data set; ``~`` is the user's own.
    :param candidates: Folders below the root, '.' being the root itself.
    :param layout: What the data set looks like, for messages.
    :raises ValueError: If the root or all of the candidates are missing.
    """
    return _find(root, candidates, Path.is_dir, f'no folder {_either(candidates)}', layout)


def find_file(root: str | Path, *candidates: str, layout: str) -> Path:
    """
    Return the first of some files that exists; all else is as with :func:`find_folder`.

    :raises ValueError: If the root or all of the candidates are missing.
    """
    return _find(root, candidates, Path.is_file, f'no file {_either(candidates)}', layout)


def names_in(folder: str | Path) -> set[str]:
    """Return the names of what a folder holds; none if there is no such folder."""
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as found:
        return {entry.name for entry in found}


def part_missing(entries: Iterable[ClipEntry], layout: str) -> tuple[list[ClipEntry], list[str]]:
    """
    Part the clips that are on disk from those that are not.

    Each folder is listed once and names are looked up in that listing, whatever characters they
    have; to ask the disk for each of 240,000 clips takes minutes.

    :param entries: What the lists of a data set name.
    :param layout: What the data set looks like, for messages.
    :return: The clips that are there, in their order, and the paths of the others.
    :raises ValueError: If none of them is there.
    """
    listings: dict[str, set[str]] = {}
    found, missing = [], []
    for entry in entries:
        path = str(entry.path)
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = names_in(folder)
        if name in listings[folder]:
            found.append(entry)
        else:
            missing.append(path)
    if not found:
        first = f" ('{missing[0]}' is the first)" if missing else ''
        raise ValueError(
            f'None of the {len(missing)} clips of the lists is on disk{first}; '
            f'the layout is {layout}.'
        )
    return found, missing


def check_fold(fold: int) -> None:
    """
    Check the number of one of three official divisions into train and test.

    :raises ValueError: If it is none of 1, 2 and 3.
    """
    if fold not in (1, 2, 3):
        raise ValueError(f'fold must be 1, 2 or 3, got {fold!r}.')


def official_split(split: str, val_share: float) -> str:
    """
    Return the official list of a split, where the labels of the official test list are withheld.

    Without a share each split is the list of its name. With one, val is that share of the official
    train list, so that the official val list, never used to choose anything, serves as test.

    :param split: train, val or test.
    :param val_share: Of the groups of the train list that are held out for val.
    :raises ValueError: If there is no such share.
    """
    if not 0 <= val_share < 1:
        raise ValueError(f'val_share must be at least 0 and less than 1, got {val_share}.')
    return {'train': 'train', 'val': 'train', 'test': 'val'}[split] if val_share else split


def _find(
    root: str | Path,
    candidates: Sequence[str],
    exists: Callable[[Path], bool],
    problem: str,
    layout: str,
) -> Path:
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ValueError(
            f"'{folder}' is not a folder that exists, seen from '{Path.cwd()}'; "
            f'the layout is {layout}.'
        )
    for candidate in candidates:
        if exists(folder / candidate):
            return folder / candidate
    raise ValueError(f"'{folder}' has {problem}; the layout is {layout}.")


def _either(names: Sequence[str]) -> str:
    return ' or '.join(f"'{name}'" for name in names)
