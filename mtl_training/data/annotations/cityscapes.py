"""Street scenes: Cityscapes (Cordts et al., CVPR 2016)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mtl_training.data.video_sets.lists import find_folder, names_in
from mtl_training.data.videos.index import check_split

# Of each kind: the folder, and the ending that takes the place of _leftImg8bit.png.
FILES = {
    'labels': ('gtFine', '_gtFine_labelIds.png'),
    'instances': ('gtFine', '_gtFine_instanceIds.png'),
    'disparity': ('disparity', '_disparity.png'),
    'camera': ('camera', '_camera.json'),
}
LAYOUT = (
    '<root>/leftImg8bit/<train|val|test>/<city>/<city>_<6 digits>_<6 digits>_leftImg8bit.png, and '
    'in the same way gtFine (_gtFine_labelIds.png), disparity (_disparity.png) and camera '
    '(_camera.json)'
)
_IMAGE = '_leftImg8bit.png'


class FrameName(NamedTuple):
    """What the name of a frame says; frames sort by it."""

    city: str
    sequence: int
    frame: int


class CityscapesFrame(NamedTuple):
    """The files of a frame; what was not asked for need not exist."""

    name: FrameName
    image: Path

    def annotation(self, kind: str) -> Path:
        """Return the file of labels, instances, disparity or camera."""
        folder, ending = FILES[kind]
        root, split = self.image.parents[3], self.image.parents[1].name
        name = self.image.name.removesuffix(_IMAGE) + ending
        return root / folder / split / self.image.parent.name / name


class CityscapesFrames(NamedTuple):
    """The frames of a split."""

    frames: tuple[CityscapesFrame, ...]  # by city and number, the same on every disk
    missing: tuple[Path, ...]  # files that frames lack, which are left out


def list_frames(
    split: str, *, root: str, needs: tuple[str, ...] = ('labels', 'disparity', 'camera')
) -> CityscapesFrames:
    """
    List the frames of a split.

    :param split: train, val or test: 2,975, 500 and 1,525 frames; test has no true labels.
    :param root: The folder that holds leftImg8bit.
    :param needs: What a frame must have, of :data:`FILES`.
    :raises ValueError: If no frame with all of that is there.
    """
    check_split(split)
    if unknown := set(needs) - set(FILES):
        raise ValueError(f'needs must be of {tuple(FILES)}, got {sorted(unknown)}.')
    if split == 'test' and {'labels', 'instances'} & set(needs):
        raise ValueError(
            f"needs must not have labels in split 'test', they are void; got {needs}."
        )
    folder = find_folder(root, f'leftImg8bit/{split}', layout=LAYOUT)
    frames, missing = [], []
    for city in sorted(names_in(folder)):
        names = [n for n in names_in(folder / city) if n.endswith(_IMAGE) and n[0] != '.']
        found = sorted(
            CityscapesFrame(parse_frame_name(folder / city / n), folder / city / n) for n in names
        )
        listings = {kind: names_in(found[0].annotation(kind).parent) for kind in needs if found}
        for frame in found:
            wanted = [(frame.annotation(kind), listings[kind]) for kind in needs]
            absent = [path for path, listing in wanted if path.name not in listing]
            missing += absent
            if not absent:
                frames.append(frame)
    if not frames:
        raise ValueError(
            f"'{folder}' holds no frame that has {needs}; {len(missing)} files are missing; "
            f'the layout is {LAYOUT}.'
        )
    return CityscapesFrames(tuple(frames), tuple(missing))


def parse_frame_name(path: Path) -> FrameName:
    """
    Return what the name of an image says, as ``aachen_000000_000019_leftImg8bit.png``.

    :raises ValueError: If it is not of this format.
    """
    parts = path.name.removesuffix(_IMAGE).rsplit('_', 2)
    is_number = [len(part) == 6 and part.isascii() and part.isdecimal() for part in parts[1:]]
    if not path.name.endswith(_IMAGE) or not parts[0] or is_number != [True, True]:
        raise ValueError(f"'{path}': the name must be <city>_<6 digits>_<6 digits>{_IMAGE}.")
    return FrameName(parts[0], int(parts[1]), int(parts[2]))
