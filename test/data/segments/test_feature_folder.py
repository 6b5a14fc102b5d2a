"""Windows of one's own videos: tables, classes, and what is wrong with them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.segments.annotation_tables import read_action_rows, read_change_rows
from mtl_training.data.segments.feature_folder import feature_folder
from mtl_training.data.videos.index import NoSplitError
import numpy as np
import pytest

GRAPH = GraphConfig(feature_dim=2)
NODES = SimpleNamespace(num_nodes=3, num_inputs=1, num_futures=1)
ACTIONS = """video,start_sec,end_sec,verb,noun,split
kitchen/monday.mp4,8,16,put,cup,train
kitchen/monday.mp4,0,8,take,cup,train
kitchen/tuesday,1.6,3.2,open,jar,val
"""
CHANGES = """video,start_sec,end_sec,state_change,pnr_sec
kitchen/monday,0,8,true,2.5
kitchen/monday,8,16,false,
kitchen/tuesday,0,8,1,
"""


def write(root: Path, *videos: str, num_rows: int = 40, **facts: Any) -> Path:
    known = {'rate_hz': 30.0, 'window': 32, 'stride': 16, 'dim': 2, **facts}
    (root / 'features.json').write_text(json.dumps(known))
    for video in videos:
        path = root / f'{video}.npy'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.arange(num_rows, dtype=np.float16)[:, None] + np.zeros(2, np.float16))
    return root


def build(root: Path, kind: str, split: str = 'train', table: str = '', **own: Any) -> Any:
    if table:
        (root / 'table.csv').write_text(table)
        own['annotations'] = str(root / 'table.csv')
    return feature_folder(
        't', kind, split, settings=NODES, graph=GRAPH, root=str(root), augment=False, **own
    )


def test_a_table_of_actions_gives_windows_and_labels_of_all_splits(tmp_path: Path) -> None:
    write(tmp_path, 'kitchen/monday', 'kitchen/tuesday')
    train = build(tmp_path, 'recognition', table=ACTIONS)
    assert train.groups == {'verb': ('open', 'put', 'take'), 'noun': ('cup', 'jar')}
    assert train.concepts == ('put cup', 'take cup')
    assert train[0].features[..., 0].tolist() == [[0, 7, 14], [0, 7, 14], [15, 22, 29]]
    val = build(tmp_path, 'recognition', 'val', ACTIONS)
    assert val[0].features[1, :, 0].tolist() == [3, 4, 5]
    assert val[0].target.tolist() == [0, 1]
    assert build(tmp_path, 'anticipation', table=ACTIONS)[0].target.tolist() == [[1, 0]]
    with pytest.raises(NoSplitError, match=r"table\.csv' has no row of split 'test'"):
        build(tmp_path, 'recognition', 'test', ACTIONS)


def test_a_table_of_changes_gives_both_kinds_and_holds_out_whole_videos(tmp_path: Path) -> None:
    write(tmp_path, 'kitchen/monday', 'kitchen/tuesday')
    assert build(tmp_path, 'state_change', table=CHANGES, val_share=0.0).counts() == [1, 2]
    moments = build(tmp_path, 'point_of_no_return', table=CHANGES, val_share=0.0)
    assert [sample.seconds.tolist() for sample in [moments[0]]] == [[8.0, 2.5]]
    assert len(moments) == 1
    with pytest.raises(NoSplitError, match='no column split'):
        build(tmp_path, 'state_change', 'test', CHANGES)


def test_folders_of_classes_are_one_action_a_video(tmp_path: Path) -> None:
    write(tmp_path, 'train/wave/a', 'train/clap/b.1', 'val/wave/c', num_rows=9)
    train, val = (build(tmp_path, 'recognition', split) for split in ('train', 'val'))
    assert train.groups == val.groups == {'action': ('clap', 'wave')}
    assert [train[i].target.tolist() for i in range(2)] == [[0], [1]]
    assert len(val) == 1
    assert val[0].features[1, :, 0].tolist() == [0, 4, 8]
    with pytest.raises(ValueError, match='annotations must name a table'):
        build(tmp_path, 'state_change')


def test_what_is_missing_or_of_another_form_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r"features\.json' is not a file that exists"):
        build(tmp_path, 'recognition')
    write(tmp_path, 'kitchen/monday', rate_hz=25)
    with pytest.raises(ValueError, match=r'rate_hz must be 30, got 25\.0'):
        build(tmp_path, 'recognition')
    write(tmp_path, 'kitchen/monday')
    build(tmp_path, 'state_change', table=CHANGES, val_share=0.0)
    assert any('1 videos' in m and "'kitchen/tuesday'" in m for m in caplog.messages)
    with pytest.raises(ValueError, match=r"features of none of the 1 videos of split 'val'"):
        build(tmp_path, 'recognition', 'val', ACTIONS)
    np.save(tmp_path / 'kitchen' / 'monday.npy', np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"monday\.npy' must have the shape \(N, 2\)"):
        build(tmp_path, 'recognition', table=ACTIONS)


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('v,2,1,take,cup,train', 'line 2: expected start_sec and a later end_sec'),
        ('v,nan,1,take,cup,train', 'line 2: expected start_sec'),
        ('v,0,1,,cup,train', 'line 2: expected a name in each'),
        ('v,0,1,take,cup,dev', 'line 2: expected split to be one of train, val, test'),
        (',0,1,take,cup,val', 'line 2: expected the name of a video'),
    ],
)
def test_bad_rows_of_actions_are_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / 'a.csv'
    path.write_text(f'{ACTIONS.splitlines()[0]}\n{row}\n')
    with pytest.raises(ValueError, match=message):
        read_action_rows(path)


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('v,0,1,maybe,', 'state_change true or false'),
        ('v,0,1,true,1.5', 'pnr_sec from start_sec to end_sec'),
        ('v,0,1,true,soon', 'pnr_sec from start_sec to end_sec'),
        ('v,0,1,false,0.5', 'no pnr_sec where state_change is false'),
    ],
)
def test_bad_rows_of_changes_are_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / 'a.csv'
    path.write_text(f'{CHANGES.splitlines()[0]}\n{row}\n')
    with pytest.raises(ValueError, match=message):
        read_change_rows(path)


@settings(deadline=None)
@given(text=st.text(st.sampled_from('ab01.,\n"-e naftrue'), max_size=60))
def test_any_text_is_read_or_refused_by_its_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / 'any.csv'
    for read, header in ((read_action_rows, ACTIONS), (read_change_rows, CHANGES)):
        path.write_text(f'{header.splitlines()[0]}\n{text}')
        try:
            rows = read(path)
        except ValueError as error:
            assert 'line ' in str(error)  # noqa: PT017
        else:
            assert all(0 <= row.start_sec < row.end_sec for row in rows)
