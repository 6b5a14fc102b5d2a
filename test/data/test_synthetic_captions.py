"""The sentences of rendered clips."""

from pathlib import Path

from mtl_training.data.synthetic.clips import SyntheticClips
from mtl_training.data.synthetic.scene_captions import captions_of, synthetic_captions
import pytest


def test_sentences_are_about_what_is_asked_for_and_kept_apart(tmp_path: Path) -> None:
    clips = SyntheticClips('action', 'val', 6)
    whole, motion = (captions_of(clips, tmp_path, about) for about in ('everything', 'motion'))
    assert all(len(short) < len(long) for short, long in zip(motion, whole))
    assert whole == captions_of(clips) == captions_of(clips, tmp_path)
    assert motion == captions_of(clips, about='motion') == captions_of(clips, tmp_path, 'motion')
    assert motion == [clips.scene(i).motion_caption for i in range(6)]


def test_sentences_about_nothing_known_are_refused() -> None:
    with pytest.raises(ValueError, match="about must be one of everything, motion, got 'looks'"):
        synthetic_captions('caption', 'val', lambda texts: None, num_clips=2, about='looks')
