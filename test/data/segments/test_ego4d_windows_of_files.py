"""Windows of Ego4D, from files made up in its format."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.annotations.ego4d_rows import FEATURE_SETS, FeatureSet
from mtl_training.data.segments.ego4d import ego4d
from mtl_training.data.videos.index import NoSplitError
import pytest
import torch

GRAPH = GraphConfig(feature_dim=4)
NODES = SimpleNamespace(num_nodes=3, num_inputs=1, num_futures=1)


def entry(video: str, place: int, start: int, end: int) -> dict[str, Any]:
    return {
        'video_uid': video,
        'clip_uid': f'clip of {video}',
        'clip_parent_start_frame': 160,
        'action_clip_start_frame': start,
        'action_clip_end_frame': end,
        'action_idx': place,
        'verb_label': place % 2,
        'noun_label': 0,
    }


def interval(video: str, start: int, moment: int | None, state_change: bool) -> dict[str, Any]:
    return {
        'clip_uid': None,
        'unique_id': f'{video}-{start}',
        'video_uid': video,
        'parent_start_frame': start,
        'parent_end_frame': start + 216,
        'state_change': state_change,
        'parent_pnr_frame': moment,
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(FEATURE_SETS, 'tiny', FeatureSet('tiny', 32, 16, 4))
    folder = tmp_path / 'v1' / 'annotations'
    folder.mkdir(parents=True)
    actions = [entry('a', 1, 80, 160), entry('a', 0, 0, 80), entry('b', 0, 0, 800)]
    files = {
        'fho_lta_taxonomy': {'verbs': ['take', 'put'], 'nouns': ['dough']},
        'fho_lta_train': {'clips': [*actions, entry('lost', 0, 0, 90)]},
        'fho_oscc-pnr_train': {
            'clips': [
                interval('a', 0, 100, True),
                interval('a', 200, None, False),
                interval('b', 0, None, False),
            ]
        },
    }
    for name, content in files.items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    features = tmp_path / 'v1' / 'tiny'
    features.mkdir()
    torch.save(torch.arange(40.0)[:, None].expand(40, 4).clone(), features / 'a.pt')
    torch.save(torch.arange(15.0)[:, None].expand(15, 4).half(), features / 'b.pt')
    return tmp_path


def build(root: Path, kind: str, split: str = 'train', **own: Any) -> Any:
    own = {'feature_set': 'tiny', 'cache_dir': str(root / 'cache'), 'augment': False, **own}
    return ego4d('t', kind, split, settings=NODES, graph=GRAPH, root=str(root), **own)


def test_actions_count_from_the_start_of_the_video_in_the_order_of_their_index(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = build(root, 'recognition')
    # 'a' has its actions in rows 10 to 14 and 15 to 19.
    assert dataset[0].features[..., 0].tolist() == [[10, 12, 14], [15, 17, 19], [15, 17, 19]]
    # 'b' in half precision is shorter than its action.
    assert dataset[2].features[1, :, 0].tolist() == [10, 12, 14]
    assert dataset[2].features.dtype == torch.float32
    assert dataset.groups == {'verb': ('take', 'put'), 'noun': ('dough',)}
    assert any('1 videos' in m and "such as 'lost'" in m for m in caplog.messages)
    assert build(root, 'anticipation')[0].target.tolist() == [[1, 0]]


def test_changes_are_found_without_a_clip_and_overlaps_can_be_left_out(root: Path) -> None:
    assert build(root, 'state_change').counts() == [2, 1]
    assert build(root, 'state_change', drop_overlapping=True).counts() == [1, 0]
    moments = build(root, 'point_of_no_return')
    assert len(moments) == 1
    assert moments[0].seconds.tolist() == pytest.approx([7.2, 100 / 30])


def test_the_published_files_are_not_needed_once_they_are_arrays(root: Path) -> None:
    before = build(root, 'recognition')[0].features
    for file in (root / 'v1' / 'tiny').iterdir():
        file.unlink()
    torch.testing.assert_close(build(root, 'recognition')[0].features, before)


def test_what_is_not_there_is_told(root: Path) -> None:
    with pytest.raises(NoSplitError, match='split test are not public'):
        build(root, 'recognition', 'test')
    (root / 'v1' / 'omnivore_video_swinl').mkdir()
    torch.save(torch.zeros(40, 1536), root / 'v1' / 'omnivore_video_swinl' / 'a.pt')
    with pytest.raises(ValueError, match=r'feature_dim .* 1536 of omnivore_video_swinl, got 4'):
        build(root, 'recognition', feature_set='omnivore_video_swinl')
    with pytest.raises(ValueError, match=r"Unknown feature_set 'tinny'\. Did you mean 'tiny'"):
        build(root, 'recognition', feature_set='tinny')
    with pytest.raises(ValueError, match='holds no features'):
        build(root, 'recognition', feature_set='omnivore_image_swinl')
