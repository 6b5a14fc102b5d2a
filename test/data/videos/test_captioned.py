"""Clips with captions, whatever they come from."""

from collections.abc import Callable, Sequence
import json
from pathlib import Path
from typing import Any

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network.captions import EncoderConfig
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.sentences import build_encoder, EncoderError
from mtl_training.config import DataConfig
from mtl_training.data.annotations.captions import gather, join_captions
from mtl_training.data.caption_sets import build_captioned, index_of
from mtl_training.data.captioned import CaptionedClips, names_a_side
from mtl_training.data.decoding import VideoError
from mtl_training.data.fingerprint import fingerprint
from mtl_training.data.loading import build_dataset, with_labels
from mtl_training.data.multitask import FixedDataset, MultiTaskDataset, SampleKey
from mtl_training.data.synthetic import Scene, SyntheticClips
from mtl_training.data.videos.index import NoSplitError
from mtl_training.data.videos.problems import problem_log
import numpy as np
from numpy.typing import NDArray
import pytest
import torch

COCO = Path(__file__).parents[4] / 'shared' / 'data' / 'coco_tiny'
SENTENCES = st.lists(
    st.lists(st.sampled_from('abcdef'), min_size=1, max_size=6), min_size=1, max_size=6
)


def embed(sentences: Sequence[str]) -> NDArray[np.float32]:
    """Return unit vectors that tell sentences apart."""
    angles = np.array([sum(map(ord, text)) for text in sentences], float)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


class Clips:
    """Clips of one grey each, that is their number; varied ones are mirrored where they may be."""

    def __init__(self, count: int, split: str = 'train') -> None:
        self.split, self._count = split, count

    def __len__(self) -> int:
        return self._count

    def plain(self, index: int) -> tuple[Any, int]:
        return np.full((1, 2, 2, 3), index, np.uint8), index

    def varied(self, frames: Any, *, may_mirror: bool) -> tuple[Any, bool]:
        return (255 - frames, True) if may_mirror else (frames, False)


def built(dataset: str, split: str = 'train', **settings: Any) -> CaptionedClips:
    where = f"data set '{dataset}'"
    fit = {} if dataset == 'synthetic' else {'fit': 'crop'}
    seconds = 2.0 if dataset == 'synthetic' else 0.5
    given = {'num_frames': 2, 'clip_seconds': seconds, 'size': (24, 32), **fit, **settings}
    return build_captioned(dataset, 'caption', split, given, embed, where)


@settings(deadline=None, max_examples=60)
@given(said=SENTENCES, seed=st.integers(0, 99))
def test_a_drawn_sentence_is_always_a_true_one(said: list[list[str]], seed: int) -> None:
    torch.manual_seed(seed)
    data = CaptionedClips('caption', Clips(len(said)), said, embed)
    for index, sentences in enumerate(said):
        sample = data[index]
        assert data.sentences[sample.label] in sentences
        assert sample.label in data.truths(index)
        assert {data.sentences[row] for row in data.truths(index)} == set(sentences)
        assert sample.index == index
    # A sentence is one row, whoever says it.
    assert sorted(data.sentences) == sorted({text for some in said for text in some})
    torch.testing.assert_close(data.targets, torch.from_numpy(embed(data.sentences)))
    assert data.targets.dtype == torch.float32
    assert data.labels == ()


def test_every_sentence_is_drawn_about_as_often_as_the_others() -> None:
    torch.manual_seed(0)
    data = CaptionedClips('caption', Clips(1), [('x', 'y', 'z', 'x')], embed)
    counts = np.bincount([data[0].label for _ in range(600)], minlength=3)
    assert counts.min() > 150


def test_draws_are_seeded_by_their_place_and_others_differ() -> None:
    data = CaptionedClips('caption', Clips(3), [[*'abcdef']] * 3, embed)
    seeded = MultiTaskDataset({'caption': data}, seed=3)

    def labels(positions: range) -> list[Any]:
        keys = [SampleKey('caption', p % 3, p) for p in positions]
        return [seeded[key][1].label for key in keys]

    assert labels(range(60)) == labels(range(60))
    assert len(set(labels(range(60)))) == 6
    assert labels(range(60)) != labels(range(60, 120))


def test_outside_training_the_first_sentence_is_the_label() -> None:
    said = [('b', 'a'), ('a', 'b', 'c')]
    data = CaptionedClips('caption', Clips(2, 'val'), said, embed)
    assert [data.sentences[data[i].label] for i in (0, 1, 0)] == ['b', 'a', 'b']


def test_clips_whose_sentence_names_a_side_are_not_mirrored() -> None:
    said = [('a man points to the LEFT', 'a man')]
    data = CaptionedClips('caption', Clips(1), said, embed)
    torch.manual_seed(0)
    samples = [data[0] for _ in range(20)]
    assert {(data.sentences[s.label], int(s.frames[0, 0, 0, 0])) for s in samples} == {
        ('a man points to the LEFT', 0),
        ('a man', 255),
    }
    unknown = CaptionedClips('caption', Clips(1), [('ein Mann',)], embed, may_mirror=False)
    assert int(unknown[0].frames[0, 0, 0, 0]) == 0


@pytest.mark.parametrize(
    ('sentence', 'expected'),
    [
        ('Someone swipes a hand to the right.', True),
        ('the leftmost dog', True),
        ('it turns counter-clockwise', True),
        ('it turns anticlockwise', True),
        ('a bright cleft', False),
        ('a clock', False),
    ],
)
def test_sides_are_known_by_their_words(sentence: str, expected: bool) -> None:
    assert names_a_side(sentence) is expected


@pytest.mark.parametrize('said', [[('a',), ()], [('a',)]])
def test_clips_without_a_sentence_are_refused(said: list[Sequence[str]]) -> None:
    with pytest.raises(ValueError, match=r'each of the 2 clips needs a caption, got .* of 1'):
        CaptionedClips('caption', Clips(2), said, embed)


# -- Rendered scenes -------------------------------------------------------------------------


@pytest.mark.parametrize('scenes', ['action', 'gesture', 'nothing'])
def test_rendered_clips_have_the_sentence_of_their_scene(scenes: str, tmp_path: Path) -> None:
    kept = {'cache_dir': str(tmp_path), 'num_clips': 5, 'scenes': scenes}
    for data in (built('synthetic', num_clips=5, scenes=scenes), built('synthetic', **kept)):
        same = SyntheticClips(scenes, 'train', 5, seed=1, size=(24, 32), num_frames=2)
        for index in range(5):
            scene = same.scene(index)
            assert data.sentences[data[index].label] == scene.caption
            assert data.describe(index) == same.describe(index)
            torch.testing.assert_close(data[index].frames, same[index].frames)
    assert len(list(tmp_path.glob('*captions*.npy'))) == 1


def test_kept_sentences_are_read_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = built('synthetic', num_clips=4, cache_dir=str(tmp_path)).sentences
    monkeypatch.setattr(Scene, 'sample', None)
    assert built('synthetic', num_clips=4, cache_dir=str(tmp_path)).sentences == before


def test_scenes_of_captions_are_others_than_those_of_classes() -> None:
    data = built('synthetic', num_clips=4)
    labelled = SyntheticClips('action', 'train', 4)
    assert not {data.describe(i) for i in range(4)} & {labelled.describe(i) for i in range(4)}
    assert len({data.video_of(i) for i in range(4)}) == 4


def test_rendered_swipes_keep_their_side_when_varied() -> None:
    data = built('synthetic', num_clips=9, scenes='gesture', augment=True)
    index = next(i for i in range(9) if names_a_side(data.sentences[data.truths(i)[0]]))
    torch.manual_seed(0)
    plain = data.clips.plain(index)[0].astype(float)
    for _ in range(8):
        varied = data[index].frames.numpy().astype(float)
        assert alike(varied, plain) > alike(varied, plain[:, :, ::-1])


def alike(frames: Any, others: Any) -> float:
    return float(np.corrcoef(frames.ravel(), others.ravel())[0, 1])


# -- Files -----------------------------------------------------------------------------------


def write_photo(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((40, 60, 3), level, np.uint8))


@pytest.fixture
def flickr(tmp_path: Path) -> Path:
    """Return three photos of 60, 120 and 180, of which the second is damaged."""
    root = tmp_path / 'flickr8k'
    names = ['a.jpg', 'b.jpg', 'c.jpg']
    for i, name in enumerate(names):
        write_photo(root / 'Flicker8k_Dataset' / name, 60 * (i + 1))
    (root / 'Flicker8k_Dataset' / 'b.jpg').write_bytes(b'\xff\xd8 no photo')
    texts = root / 'Flickr8k_text'
    texts.mkdir()
    for split in ('train', 'dev', 'test'):
        (texts / f'Flickr_8k.{split}Images.txt').write_text('\n'.join([*names, 'gone.jpg']))
    lines = [f'{name}#{i}\tA photo {name[0]}{i} .' for name in names for i in range(5)]
    (texts / 'Flickr8k.token.txt').write_text('\n'.join([*lines, 'a.jpg#5\tA photo c0 .']))
    return root


def test_a_photo_stands_still_for_all_frames_of_its_clip(flickr: Path) -> None:
    data = built('flickr8k', 'val', root=str(flickr), num_frames=3)
    assert len(data) == 2
    assert [data[i].frames.shape for i in range(2)] == [(3, 24, 32, 3)] * 2
    assert [round(float(data[i].frames.float().mean())) for i in range(2)] == [60, 180]
    # Those of the photo that is damaged are not there to be found.
    assert set(data.sentences) == {f'A photo {c}{i} .' for c in 'ac' for i in range(5)}
    assert [len(data.truths(i)) for i in range(2)] == [6, 5]
    assert data.truths(1)[0] in data.truths(0)
    told = {(Path(p.path).name, p.action) for p in problem_log().problems()}
    assert told == {('b.jpg', 'left out'), ('caption val', 'missing')}


def test_photos_are_varied_at_the_size_of_the_trunk(flickr: Path, tmp_path: Path) -> None:
    settings = {'augment': True, 'cache_dir': str(tmp_path / 'cache'), 'crop': [16, 16]}
    data = built('flickr8k', root=str(flickr), **settings)
    fixed = FixedDataset(data)
    torch.testing.assert_close(fixed[0].frames, fixed[0].frames)
    means = {round(float(data[0].frames.float().mean())) for _ in range(10)}
    assert len(means) > 3
    assert list((tmp_path / 'cache').glob('??/*.clip'))


def test_another_photo_with_its_own_sentence_stands_in_for_one_that_is_gone(flickr: Path) -> None:
    data = built('flickr8k', root=str(flickr))
    (flickr / 'Flicker8k_Dataset' / 'a.jpg').write_bytes(b'')
    sample = data[0]
    assert sample.index == 0
    assert round(float(sample.frames.float().mean())) == 180
    assert sample.label in data.truths(1)
    assert [p.action for p in problem_log().problems()].count('replaced') == 1
    (flickr / 'Flicker8k_Dataset' / 'c.jpg').unlink()
    with pytest.raises(VideoError, match="none of the videos of task 'caption' can be decoded"):
        data[0]


def msvd_root(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    root = tmp_path / 'msvd'
    for name, frames in (('-4wsuPCjDBc_5_15', 46), ('a_b_c-_D_0_9', 12)):
        write_video(root / 'YouTubeClips' / f'{name}.avi', frames)
    (root / 'youtube_mapping.txt').write_text('-4wsuPCjDBc_5_15 vid1\na_b_c-_D_0_9 vid2\n')
    header = 'VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n'
    rows = ''.join(
        f'{video},{start},{end},1,clean,30,{language},{text}\n'
        for video, start, end in (('-4wsuPCjDBc', 5, 15), ('a_b_c-_D', 0, 9))
        for language, text in (('English', f'it is {video}'), ('German', f'links ist {video}'),
                               ('English', 'it is new'))
    )  # fmt: skip
    (root / 'MSR Video Description Corpus.csv').write_text(header + rows, encoding='utf-8')
    return root


def test_clips_of_one_video_have_its_sentences(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    root = str(msvd_root(tmp_path, write_video))
    data = built('msvd', root=root, clip_every=20)
    assert [Path(data.video_of(i)).stem for i in range(len(data))] == [
        *['-4wsuPCjDBc_5_15'] * 3,
        'a_b_c-_D_0_9',
    ]
    assert data.sentences == ('it is -4wsuPCjDBc', 'it is new', 'it is a_b_c-_D')
    assert [tuple(data.truths(i)) for i in range(4)] == [(0, 1)] * 3 + [(2, 1)]
    assert data.describe(1).endswith(', clip 2 of 3')
    german = built('msvd', root=root, language='German', augment=True, mirror=1.0)
    assert german._may_mirror == [False, False]


def test_other_sentences_have_another_fingerprint(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    root = str(msvd_root(tmp_path, write_video))
    prints = [
        fingerprint(built('msvd', root=root, **settings))
        for settings in ({}, {'language': 'German'}, {'clip_every': 20}, {})
    ]
    assert prints[0] == prints[3]
    assert len({str(p) for p in prints}) == 3
    rendered = fingerprint(built('synthetic', num_clips=3))
    assert rendered == {'count': 3, 'hash': fingerprint(SyntheticClips('action'))['hash']}


@pytest.mark.skipif(not COCO.is_dir(), reason='needs the COCO sample')
def test_real_photos_have_their_captions() -> None:
    data = built('coco_captions', 'val', root=str(COCO), num_frames=1)
    listed = json.loads((COCO / 'annotations' / 'captions_val2017.json').read_text())
    expected: dict[str, set[str]] = {}
    names = {image['id']: image['file_name'] for image in listed['images']}
    for entry in listed['annotations']:
        text = ' '.join(entry['caption'].split())
        expected.setdefault(names[entry['image_id']], set()).add(text)
    assert len(data) == len(list((COCO / 'val2017').glob('*.jpg')))
    for index in range(len(data)):
        said = {data.sentences[row] for row in data.truths(index)}
        assert said == expected[Path(data.video_of(index)).name]
    assert data[0].frames.shape == (1, 24, 32, 3)


@pytest.mark.skipif(not COCO.is_dir(), reason='needs the COCO sample')
def test_with_a_share_val_is_held_out_of_train_and_test_is_the_official_val() -> None:
    with pytest.raises(NoSplitError, match=r'the captions of COCO.s test list are not public'):
        built('coco_captions', 'test', root=str(COCO))
    names = {}
    for split in ('train', 'val', 'test'):
        data = built('coco_captions', split, root=str(COCO), val_share=0.3)
        names[split] = {data.video_of(i) for i in range(len(data))}
    whole = built('coco_captions', 'train', root=str(COCO))
    assert names['train'] | names['val'] == {whole.video_of(i) for i in range(len(whole))}
    assert not names['train'] & names['val']
    official = built('coco_captions', 'val', root=str(COCO))
    assert names['test'] == {official.video_of(i) for i in range(len(official))}


# -- From a config ---------------------------------------------------------------------------


def network_of(**encoder: Any) -> NetworkConfig:
    trunk = TrunkConfig(
        num_frames=3, preprocessing=PreprocessingConfig(resize=(24, 32), crop=(16, 16), fit='pad')
    )
    task = TaskConfig(kind='caption', settings={'dim': 16, 'encoder': encoder})
    return NetworkConfig(trunks={'clip': trunk}, tasks={'caption': task})


def test_a_config_gives_clips_as_its_trunk_takes_them_and_embedded_sentences(
    flickr: Path, tmp_path: Path
) -> None:
    network = network_of(name='hashed', seed=4)
    settings = {'root': str(flickr), 'cache_dir': str(tmp_path / 'cache')}
    data = DataConfig(dataset='flickr8k', settings=settings)
    dataset = build_dataset('caption', data, 'val', network)
    assert isinstance(dataset, CaptionedClips)
    encoder = build_encoder(EncoderConfig(name='hashed', seed=4), 16)
    expected = torch.from_numpy(encoder.encode(dataset.sentences))
    torch.testing.assert_close(dataset.targets, expected)
    frames = dataset[0].frames
    assert frames.shape == (3, 24, 32, 3)
    # Padded, as the trunk is: the bars at the sides of a wide photo are none of its grey.
    assert round(float(frames[0, 0].float().mean())) != 60
    assert list((tmp_path / 'cache' / 'sentences').iterdir())
    assert with_labels(network, {'caption': dataset}).tasks['caption'].labels == ()


def test_sentences_are_kept_in_the_users_cache_unless_the_config_names_another(
    flickr: Path, own_index: Path
) -> None:
    data = DataConfig(dataset='flickr8k', settings={'root': str(flickr)})
    build_dataset('caption', data, 'val', network_of(name='hashed'))
    assert list((own_index / 'mtl_training' / 'sentences').iterdir())


def test_rendered_captions_are_built_from_a_config() -> None:
    data = DataConfig(dataset='synthetic', settings={'num_clips': 3, 'scenes': 'gesture'})
    dataset = build_dataset('caption', data, 'train', network_of(name='hashed'))
    assert isinstance(dataset, CaptionedClips)
    assert dataset.targets.shape == (3, 16)


def test_what_a_config_can_not_have_is_refused(flickr: Path, tmp_path: Path) -> None:
    network, settings = network_of(name='hashed'), {'root': str(flickr)}
    noisy = DataConfig(dataset='flickr8k', settings=settings, label_noise=0.1)
    with pytest.raises(ValueError, match='label_noise is for clips of one class each'):
        build_dataset('caption', noisy, 'train', network)
    wrong = DataConfig(dataset='flickr8k', settings={**settings, 'cache_dir': 3})
    with pytest.raises(ValueError, match=r'cache_dir must be .*, got 3'):
        build_dataset('caption', wrong, 'train', network)
    lost = network_of(name='files', model=str(tmp_path / 'no.npz'))
    data = DataConfig(dataset='flickr8k', settings=settings)
    with pytest.raises((ValueError, EncoderError), match=r'no\.npz'):
        build_dataset('caption', data, 'train', lost)


def test_unknown_data_sets_and_settings_are_refused(flickr: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown dataset of captions 'msvdd'\. Did you mean"):
        built('msvdd')
    with pytest.raises(ValueError, match=r"has no setting 'rooot'\. Did you mean 'root'"):
        built('flickr8k', rooot=str(flickr))
    with pytest.raises(ValueError, match=r"task must be one of .* got 'dance'"):
        built('synthetic', scenes='dance')


def test_files_are_numbered_in_their_order(tmp_path: Path) -> None:
    table = gather([('a', 'x'), ('b', 'y')])
    captions = join_captions(
        ['b', 'a', 'c'], {'a': tmp_path / 'a', 'b': tmp_path / 'b'}, table, ''
    )
    index = index_of(captions)
    assert [(entry.path.name, entry.label) for entry in index.entries] == [('b', 0), ('a', 1)]
    assert index.labels == ()
    assert index.missing == ['c']
