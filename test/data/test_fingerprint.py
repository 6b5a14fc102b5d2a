"""Fingerprints of training samples: of the list, in its order, quickly, from no file."""

from pathlib import Path

from mtl_training.data.fingerprint import check_same_samples, fingerprint
from mtl_training.data.label_noise import NoisyLabels
from mtl_training.data.synthetic import SyntheticClips
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import ClipEntry
import pytest

NOWHERE = Path('/nowhere')
ENTRIES = [ClipEntry(NOWHERE / f'{i}.mp4', i % 2, (i, i + 9)) for i in range(4)]


class Photos:
    """Samples that tell where they came from."""

    def __init__(self, names: str) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def describe(self, index: int) -> str:
        return self._names[index]


def clips(entries: list[ClipEntry]) -> VideoClips:
    """Return clips of a list alone: a file that is opened is not there."""
    dataset = object.__new__(VideoClips)
    dataset.task, dataset.labels, dataset.entries = 'action', ('dark', 'light'), entries
    return dataset


@pytest.mark.parametrize(
    'entries',
    [
        ENTRIES[1:],
        ENTRIES[::-1],
        [*ENTRIES[:3], ENTRIES[3]._replace(path=NOWHERE / 'other.mp4')],
        [*ENTRIES[:3], ENTRIES[3]._replace(label=0)],
        [*ENTRIES[:3], ENTRIES[3]._replace(frames=None)],
    ],
    ids=['fewer', 'order', 'path', 'label', 'frames'],
)
def test_other_clips_have_another_fingerprint_under_label_noise_too(entries) -> None:
    before, after = clips(ENTRIES), clips(entries)
    assert fingerprint(before) == fingerprint(clips(list(ENTRIES)))
    assert fingerprint(after) != fingerprint(before)
    assert fingerprint(NoisyLabels(after, 0.5)) != fingerprint(NoisyLabels(before, 0.5))


def test_what_samples_say_of_themselves_is_in_the_fingerprint() -> None:
    assert fingerprint(Photos('abc')) == fingerprint(Photos('abc'))
    assert fingerprint(Photos('abc')) != fingerprint(Photos('abd'))


def test_rendered_samples_are_counted_and_not_described(monkeypatch) -> None:
    monkeypatch.setattr(SyntheticClips, 'describe', None)
    few, many = (SyntheticClips('action', num_clips=count) for count in (3, 4))
    assert fingerprint(few)['count'] == 3
    assert fingerprint(few) != fingerprint(many)


def test_as_many_samples_that_are_others_are_refused() -> None:
    then, now = ({'action': fingerprint(Photos(names))} for names in ('abc', 'abd'))
    check_same_samples(then, then, Path('run'))
    message = "'run' .*training samples of task 'action': 3 then, 3 others now. Restore the files"
    with pytest.raises(ValueError, match=message):
        check_same_samples(then, now, Path('run'))
