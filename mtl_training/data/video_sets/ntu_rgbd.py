"""NTU RGB+D: everyday actions and gestures of 106 people, filmed by three cameras."""

from __future__ import annotations

from pathlib import Path
import re
from typing import NamedTuple

from mtl_training.data.video_sets.lists import find_folder, names_in
from mtl_training.data.video_sets.ntu_partition import mirrored_names, PARTITIONS, read_partition
from mtl_training.data.videos.index import check_split, ClipEntry, ClipIndex, held_out

LAYOUT = '<root>/nturgb+d_rgb/S001C001P001R001A001_rgb.avi, or these files in <root> itself'
FOLDER = 'nturgb+d_rgb'
PROTOCOLS = {60: ('cross_subject', 'cross_view'), 120: ('cross_subject', 'cross_setup')}
# fmt: off
# Performers of the training split, as published with the data set.
SUBJECTS_60 = frozenset((
    1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38,
))
SUBJECTS_120 = SUBJECTS_60 | frozenset((
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89,
    91, 92, 93, 94, 95, 97, 98, 100, 103,
))
# fmt: on
LAST_SETUP_60 = 17
LAST_ACTION_60 = 60
_NAME = re.compile(
    'S([0-9]{3})C([0-9]{3})P([0-9]{3})R([0-9]{3})A([0-9]{3})(?:_rgb)?(?:[.](?i:avi|mkv|mp4))?'
)
_LAST = (32, 3, 106, 2, 120)
_SUFFIXES = ('.avi', '.mkv', '.mp4')


class NtuName(NamedTuple):
    """What the name of a clip says; all from 1."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int


def parse_name(name: str) -> NtuName:
    """
    Parse the name of a clip, such as S001C002P003R002A013_rgb.avi.

    :raises ValueError: If it is none, or a number is out of the range that the data set has.
    """
    match = _NAME.fullmatch(name)
    numbers = NtuName(*map(int, match.groups())) if match else None
    if not numbers or not all(1 <= n <= last for n, last in zip(numbers, _LAST, strict=True)):
        raise ValueError(
            f'expected a name such as S001C002P003R002A013_rgb.avi, with setups to {_LAST[0]}, '
            f'cameras to {_LAST[1]}, performers to {_LAST[2]}, replications to {_LAST[3]} and '
            f'actions to {_LAST[4]}, got {name!r}.'
        )
    return numbers


def is_training(name: NtuName, version: int, protocol: str) -> bool:
    """Tell whether a protocol trains on a clip; it tests on all others."""
    if protocol == 'cross_view':
        return name.camera in (2, 3)
    if protocol == 'cross_setup':
        return name.setup % 2 == 0
    return name.performer in (SUBJECTS_60 if version == 60 else SUBJECTS_120)


def ntu_rgbd(
    split: str,
    *,
    root: str,
    version: int = 120,
    protocol: str = 'cross_subject',
    partition: str = 'all',
    partition_file: str | None = None,
    val_share: float = 0.1,
) -> ClipIndex:
    """
    NTU RGB+D (Shahroudy et al., 2016; Liu et al., 2019): 60 or 120 classes, 114,480 clips.

    The test split is the one of the protocol. There is no official validation split: whole
    performers are held out of the training clips, and whole setups under cross_setup. (Under
    cross_view, too, they are performers: of the two cameras that train, none can be spared, and
    one of two views of the same take would give the other away.) Clips may be mirrored: no class
    names a side.

    :param split: train, val or test.
    :param root: The folder that holds nturgb+d_rgb, or the videos themselves.
    :param version: 60, the first half, or 120, all.
    :param protocol: cross_subject, cross_view (of 60) or cross_setup (of 120).
    :param partition: action or gesture, the classes that the table calls so; all: both. Labels
        are counted within it, in the order of the numbers of the classes.
    :param partition_file: A table in place of this package's ntu120_partition.csv.
    :param val_share: Share of the performers, or setups, of the training split that validate.
    :raises ValueError: If a setting or the table is wrong, or the split has no clip.
    """
    check_split(split)
    _check_settings(version, protocol, partition)
    classes = [
        one
        for one in read_partition(partition_file)
        if partition in ('all', one.partition) and (version == 120 or one.number <= LAST_ACTION_60)
    ]
    if not classes:
        raise ValueError(f"'{partition_file}' has no class of the partition '{partition}'.")
    folder = find_folder(root, FOLDER, '.', layout=LAYOUT)
    clips, strangers = _clips(folder, version)
    labels = {one.number: label for label, one in enumerate(classes)}
    entries = [
        ClipEntry(
            folder / file,
            labels[name.action],
            group=f'S{name.setup:03d}' if protocol == 'cross_setup' else f'P{name.performer:03d}',
        )
        for file, name in clips
        if name.action in labels and is_training(name, version, protocol) == (split != 'test')
    ]
    if not entries:
        raise ValueError(
            f"'{folder}' holds no clip of the split '{split}' of {protocol}, version {version}, "
            f"partition '{partition}'; the layout is {LAYOUT}."
        )
    if split != 'test':
        entries = held_out(entries, split, val_share)
    names = tuple(one.name for one in classes)
    return ClipIndex(names, entries, strangers, mirrored_names(names))


def _check_settings(version: int, protocol: str, partition: str) -> None:
    if version not in PROTOCOLS:
        raise ValueError(f'version must be 60 or 120, got {version}.')
    if protocol not in PROTOCOLS[version]:
        raise ValueError(
            f'protocol must be one of {PROTOCOLS[version]} of NTU RGB+D {version}, '
            f'got {protocol!r}.'
        )
    if partition not in ('all', *PARTITIONS):
        raise ValueError(f'partition must be one of {("all", *PARTITIONS)}, got {partition!r}.')


def _clips(folder: Path, version: int) -> tuple[list[tuple[str, NtuName]], list[str]]:
    # There are no lists: what is on disk is the data set. A video of another name belongs to no
    # split; it is reported, for it may be a clip that somebody has renamed.
    clips, strangers = [], []
    for file in sorted(names_in(folder)):
        if file.startswith('.') or not file.lower().endswith(_SUFFIXES):
            continue
        try:
            name = parse_name(file)
        except ValueError as error:
            strangers.append(f'{folder / file}: {error}')
            continue
        if version == 120 or name.setup <= LAST_SETUP_60:
            clips.append((file, name))
    return clips, strangers
