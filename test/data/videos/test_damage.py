"""Files that are not what they seem: whatever is wrong with one, it is said of this file."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
import random

import av
from mtl_training.data.decoding import probe, read_frames, VideoError
from mtl_training.data.video_sets.folder import folder
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.problems import problem_log
from mtl_training.dataset_tools.inspection import inspect_file
import numpy as np
import pytest

WriteVideo = Callable[..., Path]


def test_a_title_may_be_in_any_encoding(tmp_path: Path, write_video: WriteVideo) -> None:
    path = tmp_path / 'titled.avi'
    picture = np.zeros((48, 64, 3), np.uint8)
    with av.open(str(path), 'w', options={}) as container:
        container.metadata['title'] = 'PLACEHOLDER'
        stream = container.add_stream('mpeg4', rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert b'PLACEHOLDER' in content
    path.write_bytes(
        content.replace(b'PLACEHOLDER', 'caf\xe9 \xfc\xf6\xe4\xdf!!'.encode('latin-1'))
    )
    assert probe(path, None).num_frames == 4
    assert len(read_frames(path, [0.0, 0.2], np.asarray)) == 2


def test_a_codec_that_nobody_knows_is_an_error_of_the_file(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    path = write_video(tmp_path / 'strange.avi', 4)
    path.write_bytes(path.read_bytes().replace(b'FMP4', b'ZZZZ'))
    with pytest.raises(VideoError, match=r"strange\.avi' .*(codec|decoded)"):
        probe(path, None)


@pytest.mark.parametrize('suffix', ['avi', 'mkv', 'mp4'])
def test_no_damage_is_more_than_an_error_of_the_file(
    suffix: str, tmp_path: Path, write_video: WriteVideo
) -> None:
    good = write_video(tmp_path / f'good.{suffix}', 8).read_bytes()
    generator, path = random.Random(0), tmp_path / f'bad.{suffix}'
    for _ in range(60):
        content = bytearray(good)
        for _ in range(generator.choice([1, 4, 30])):
            # Most of what a parser may trip over is at the beginning.
            place = generator.randrange(min(len(content), generator.choice([600, len(content)])))
            content[place] = generator.randrange(256)
        path.write_bytes(content)
        with suppress(VideoError):
            probe(path, None)
        with suppress(VideoError):
            read_frames(path, [0.0, 0.3], np.asarray)
        with suppress(VideoError):
            inspect_file(path)


def test_what_lies_among_the_clips_and_is_none_is_told(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    write_video(tmp_path / 'train' / 'a' / 'good.mpg', 4, codec='mpeg1video', rate=25)
    (tmp_path / 'train' / 'a' / 'notes.txt').write_text('nothing')
    (tmp_path / 'train' / 'a' / 'sub').mkdir()
    index = folder('train', root=str(tmp_path))
    assert [entry.path.name for entry in index.entries] == ['good.mpg']
    assert index.unused == ['train/a/notes.txt', 'train/a/sub']
    VideoClips('action', 'train', index, num_frames=2, clip_seconds=0.1, size=(16, 16))
    (told,) = [p for p in problem_log().problems() if p.action == 'not used']
    assert '2 files or folders are no clips: train/a/notes.txt, train/a/sub' in told.reason


def test_an_error_that_passes_is_not_remembered(
    tmp_path: Path, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / 'train' / 'a' / 'good.mp4', 4)
    write_video(tmp_path / 'train' / 'a' / 'other.mp4', 4)
    index = folder('train', root=str(tmp_path))
    settings = {'num_frames': 2, 'clip_seconds': 0.1, 'size': (16, 16)}
    open_file = av.open

    def fails(name: str, *arguments: object, **named: object) -> object:
        if name.endswith('good.mp4'):
            raise OSError(24, 'Too many open files')
        return open_file(name, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(av, 'open', fails)
        assert len(VideoClips('action', 'train', index, **settings)) == 1
    assert len(VideoClips('action', 'train', index, **settings)) == 2
