"""What training sees is what the robot's preprocessor makes of the same frame."""

from collections.abc import Callable, Iterator
from pathlib import Path
import pickle

import av
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.decoding import upright_rgb
from mtl_training.data.synthetic import render, Scene
from mtl_training.data.videos.scaling import FrameScaler, placements
import numpy as np
import pytest
import torch

SHARED = Path(__file__).parents[4] / 'shared' / 'data'
VIDEOS = [
    'intel_asl_gestures/again.mkv',
    'intel_people/one-by-one-person-detection.mp4',
    'ntu_mmaction2/S001C001P001R001A001_rgb.avi',
    'ucf101_c3d/v_ApplyEyeMakeup_g01_c01.avi',
    'ucf101_c3d/v_BaseballPitch_g01_c01.avi',
]
SIZES = [((112, 112), 'crop'), ((128, 171), 'crop'), ((112, 112), 'pad'), ((96, 128), 'stretch')]


def some_frames(path: Path, count: int = 3) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i % 10 == 0:
                yield frame
            if i >= 10 * (count - 1):
                return


def assert_seen_alike(frame: av.VideoFrame, size: tuple[int, int], fit: str) -> None:
    preprocessor = FramePreprocessor(PreprocessingConfig(resize=size, fit=fit))
    robot = preprocessor.resize(torch.from_numpy(upright_rgb(frame))[None])[0].permute(1, 2, 0)
    difference = np.abs(FrameScaler(size, fit)(frame).astype(int) - robot.numpy())
    assert difference.shape == (*size, 3)
    assert difference.mean() < 2


@pytest.mark.skipif(not SHARED.is_dir(), reason=f'real clips are not at {SHARED}')
@pytest.mark.parametrize(('size', 'fit'), SIZES)
@pytest.mark.parametrize('name', VIDEOS)
def test_real_videos_look_as_on_the_robot(name: str, size: tuple[int, int], fit: str) -> None:
    for frame in some_frames(SHARED / name):
        assert_seen_alike(frame, size, fit)


@pytest.mark.parametrize('codec', ['mpeg4', 'h264'])
def test_rendered_videos_look_as_on_the_robot(
    tmp_path: Path, write_video: Callable[..., Path], codec: str
) -> None:
    pictures = render(Scene.sample(3, task='action'), np.linspace(0, 1, 3), (180, 240)).frames
    path = write_video(tmp_path / 'a.mp4', 3, codec=codec, pictures=pictures)
    for size, fit in [*SIZES, ((300, 400), 'crop')]:
        for frame in some_frames(path, 1):
            assert_seen_alike(frame, size, fit)


@pytest.mark.parametrize(('size', 'fit'), [*SIZES, ((33, 57), 'crop'), ((57, 33), 'pad')])
@pytest.mark.parametrize('image', [(240, 320), (101, 57), (57, 101), (7, 400)])
def test_what_is_kept_of_an_image_lies_where_the_preprocessor_puts_it(
    image: tuple[int, int], size: tuple[int, int], fit: str
) -> None:
    preprocessor = FramePreprocessor(PreprocessingConfig(resize=size, fit=fit))
    matrix = preprocessor.transform(image)
    for axis, place in enumerate(placements(preprocessor, image)):
        scale, offset = matrix[1 - axis, 1 - axis], matrix[1 - axis, 2]
        assert scale == pytest.approx(place.inner / place.window)
        # The left edge of what is kept becomes that of the picture between the bars.
        assert scale * (place.start - 0.5) + offset == pytest.approx(place.bar - 0.5)
        assert 0 <= place.start <= place.start + place.window <= image[axis]
        assert 0 <= place.bar <= place.bar + place.inner <= size[axis]


def test_a_scaler_travels_to_other_processes(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    scaler = FrameScaler((20, 20), 'crop')
    (frame,) = some_frames(write_video(tmp_path / 'a.mp4', 1), 1)
    first = scaler(frame)
    assert (pickle.loads(pickle.dumps(scaler))(frame) == first).all()


def test_frames_of_many_sizes_are_scaled_one_after_the_other() -> None:
    scaler = FrameScaler((16, 16), 'crop')
    for side in (*range(20, 60, 2), 20):
        picture = np.full((side, side, 3), side, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format='rgb24').reformat(format='yuv444p')
        assert np.abs(scaler(frame).astype(int) - side).max() <= 2
