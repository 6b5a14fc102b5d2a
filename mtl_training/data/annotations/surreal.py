"""Rendered people: SURREAL (Varol et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
from typing import NamedTuple

from mtl_training.data.video_sets.lists import find_folder, names_in
from mtl_training.data.videos.index import check_split

LAYOUT = (
    '<root>/cmu/<train|val|test>/run<0|1|2>/<sequence>/<sequence>_c<number>.mp4 with _info.mat, '
    '_depth.mat, _segm.mat and _gtflow.mat'
)
_CLIP = re.compile(r'(ung_)?([0-9]{1,4})_([0-9]{1,4})_c([0-9]{4})')
_ENDINGS = ('.mp4', '_info.mat')  # a clip that has one of them should have both
# The authors' note: their clips are not as they should be.
_BAD_SUBJECTS, _BAD_SEQUENCES = (18, 19), ((143, 21),)


class ClipName(NamedTuple):
    """What the name of a clip says."""

    is_ungendered: bool
    subject: int  # of the motion capture
    sequence: int
    clip: int

    def is_malformed(self) -> bool:
        """Tell whether the authors advise against the clip."""
        is_bad_sequence = (self.subject, self.sequence) in _BAD_SEQUENCES
        return self.subject in _BAD_SUBJECTS or is_bad_sequence


class SurrealClip(NamedTuple):
    """The files of a clip; what was not asked for need not exist."""

    name: ClipName
    video: Path

    def annotation(self, kind: str) -> Path:
        """Return the file of info, depth, segm or gtflow."""
        return self.video.with_name(f'{self.video.stem}_{kind}.mat')


class SurrealClips(NamedTuple):
    """The clips of a split."""

    clips: tuple[SurrealClip, ...]
    missing: tuple[Path, ...]  # files that clips lack, which are left out
    malformed: tuple[Path, ...]  # videos that the authors advise against, or of another name


def list_surreal(
    split: str,
    *,
    root: str,
    runs: tuple[int, ...] = (0, 1, 2),
    needs: tuple[str, ...] = ('info', 'segm', 'depth'),
    keep_malformed: bool = False,
) -> SurrealClips:
    """
    List the clips of a split. The official val is a part of test.

    :param split: train, val or test: about 54,500 clips, 507 and 12,528.
    :param root: The folder that holds cmu, SURREAL/data/cmu or data/cmu.
    :param runs: Overlap of the clips of one motion in time: 30, 50 and 70 % in runs 0, 1 and 2.
    :param needs: The annotations that a clip must have.
    :param keep_malformed: Whether clips that the authors advise against are listed.
    :raises ValueError: If no clip with these annotations is there.
    """
    check_split(split)
    places = ('cmu', 'data/cmu', 'SURREAL/data/cmu')
    folder = find_folder(root, *(f'{place}/{split}' for place in places), layout=LAYOUT)
    clips, missing, malformed = [], [], []
    for sequence in _sequences(folder, runs):
        present = names_in(sequence)
        for stem in _stems(present):
            video = sequence / f'{stem}.mp4'
            try:
                clip = SurrealClip(parse_clip_name(video), video)
            except ValueError:
                malformed.append(video)
                continue
            if clip.name.is_malformed() and not keep_malformed:
                malformed.append(video)
                continue
            wanted = [video, *(clip.annotation(kind) for kind in needs)]
            absent = [path for path in wanted if path.name not in present]
            missing += absent
            if not absent:
                clips.append(clip)
    if not clips:
        raise ValueError(
            f"'{folder}' holds no clip of runs {runs} with {needs}; {len(missing)} files are "
            f'missing; the layout is {LAYOUT}.'
        )
    return SurrealClips(tuple(clips), tuple(missing), tuple(malformed))


def parse_clip_name(path: Path) -> ClipName:
    """
    Return what the name of a clip says, as ``ung_01_01_c0001.mp4``.

    :raises ValueError: If it is not of this format.
    """
    match = _CLIP.fullmatch(path.stem)
    if match is None:
        raise ValueError(
            f"'{path}': the name must be <subject>_<sequence>_c<4 digits>, ung_ before it or not."
        )
    return ClipName(match[1] is not None, int(match[2]), int(match[3]), int(match[4]))


def _stems(names: set[str]) -> list[str]:
    found = {name.removesuffix(e) for e in _ENDINGS for name in names if name.endswith(e)}
    return sorted(found)


def _sequences(folder: Path, runs: tuple[int, ...]) -> Iterator[Path]:
    for run in runs:
        for name in sorted(names_in(folder / f'run{run}')):
            yield folder / f'run{run}' / name
