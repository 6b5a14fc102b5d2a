"""Videos are opened once, and not again until they change."""

from collections.abc import Callable
import os
from pathlib import Path
import signal
import subprocess
import sys

from mtl_training.data.decoding import VideoError
from mtl_training.data.videos import probing
from mtl_training.data.videos.index import ClipEntry
from mtl_training.data.videos.probing import default_index, ProbeIndex, Prober
import pytest

WRITE = """
import sys
from pathlib import Path
from mtl_training.data.videos.probing import ProbeIndex
index = ProbeIndex(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    index.write({f'{sys.argv[2]} {number} {i}': [i, 'x' * 200] for i in range(20)})
    print(number, flush=True)
"""


class Opened:
    """Count how often videos are opened to be probed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[Path] = []
        probe = probing.probe

        def counted(path: Path, frames: object) -> object:
            self.paths.append(path)
            return probe(path, frames)

        monkeypatch.setattr(probing, 'probe', counted)


def test_a_second_start_does_not_open_the_videos_again(
    tmp_path: Path, write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(monkeypatch)
    paths = [write_video(tmp_path / f'{i}.mp4', 5 + i) for i in range(3)]
    (tmp_path / 'bad.mp4').write_bytes(b'nothing')
    entries = [ClipEntry(path, 0) for path in (*paths, tmp_path / 'bad.mp4')]
    first = Prober(30).facts(entries)
    assert [facts.num_frames for facts in first[:3]] == [5, 6, 7]
    assert isinstance(first[3], VideoError)
    assert len(opened.paths) == 4
    again = Prober(30).facts(entries)
    assert again[:3] == first[:3]
    assert str(again[3]) == str(first[3])
    # What could not be decoded may be so by now.
    assert opened.paths[4:] == [tmp_path / 'bad.mp4']
    # Another range, or another content, is another matter.
    Prober(30).facts([entries[0]._replace(frames=(0, 2))])
    write_video(paths[1], 9)
    assert Prober(30).facts(entries)[1].num_frames == 9
    # Several threads open them: in which order is theirs.
    assert opened.paths[5] == paths[0]
    assert sorted(opened.paths[6:]) == sorted([paths[1], tmp_path / 'bad.mp4'])


def test_a_name_may_hold_any_bytes(
    tmp_path: Path, write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(monkeypatch)
    names = [os.fsdecode(name) for name in (b'caf\xe9.mp4', b'caf\xe8.mp4')]
    entries = []
    for number, name in enumerate(names):
        plain = write_video(tmp_path / 'plain.mp4', 5 + number)
        entries.append(ClipEntry(plain.rename(tmp_path / name), 0))
    for _ in range(2):
        assert [facts.num_frames for facts in Prober(30).facts(entries)] == [5, 6]
    assert len(opened.paths) == 2


def test_a_file_that_is_gone_is_an_error_and_is_not_remembered(tmp_path: Path) -> None:
    (facts,) = Prober(30).facts([ClipEntry(tmp_path / 'gone.mp4', 0)])
    assert isinstance(facts, VideoError)
    assert 'not there' in str(facts)


@pytest.mark.parametrize(
    'content', [b'', b'not a database', b'SQLite format 3\x00' + b'\x07' * 5000]
)
def test_a_damaged_index_is_made_anew(
    tmp_path: Path, write_video: Callable[..., Path], content: bytes
) -> None:
    entries = [ClipEntry(write_video(tmp_path / 'a.mp4', 5), 0)]
    before = Prober(30).facts(entries)
    default_index().write_bytes(content)
    assert Prober(30).facts(entries) == before
    assert ProbeIndex(default_index()).read(['nothing']) == {}


def test_an_index_of_which_the_end_is_missing_is_made_anew(tmp_path: Path) -> None:
    index = ProbeIndex(tmp_path / 'a.sqlite')
    index.write({f'{i}': 'x' * 500 for i in range(100)})
    path = tmp_path / 'a.sqlite'
    path.write_bytes(path.read_bytes()[:8192])
    index.read([f'{i}' for i in range(100)])
    index.write({'new': 1})
    assert index.read(['new']) == {'new': 1}


def test_an_index_that_cannot_be_written_is_done_without(
    tmp_path: Path, write_video: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'file').write_text('')
    index = ProbeIndex(tmp_path / 'file' / 'a.sqlite')
    entries = [ClipEntry(write_video(tmp_path / 'a.mp4', 5), 0)]
    assert Prober(30, index).facts(entries)[0].num_frames == 5
    assert [record.message.partition(':')[0] for record in caplog.records] == ['Not kept']


def test_two_writers_keep_all_of_what_both_know(tmp_path: Path) -> None:
    path = tmp_path / 'a.sqlite'
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', WRITE, str(path), name, '10'], stdout=subprocess.DEVNULL
        )
        for name in 'ab'
    ]
    assert [process.wait() for process in processes] == [0, 0]
    keys = [f'{name} {number} {i}' for name in 'ab' for number in range(10) for i in range(20)]
    assert len(ProbeIndex(path).read(keys)) == 400


def test_a_writer_that_is_killed_leaves_whole_facts(tmp_path: Path) -> None:
    path = tmp_path / 'a.sqlite'
    command = [sys.executable, '-c', WRITE, str(path), 'a', '100000']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        last = 4 + len(process.stdout.read().split())
    index = ProbeIndex(path)
    for number in range(last + 2):
        # All of a block or nothing; what was told to be written is.
        count = len(index.read([f'a {number} {i}' for i in range(20)]))
        assert count == 20 if number <= last else count in (0, 20)
    index.write({'more': 1})
    assert index.read(['more']) == {'more': 1}


def test_contents_are_hashed_once(
    tmp_path: Path, write_pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'a').write_bytes(b'one')
    (tmp_path / 'b').write_bytes(b'one')
    (tmp_path / 'c').write_bytes(b'two')
    pictures = [write_pictures(tmp_path / name, 3) for name in ('d', 'e')]
    pictures.append(write_pictures(tmp_path / 'f', 4))
    paths = [tmp_path / name for name in 'abc'] + pictures
    hashes = [Prober(30).content_hash(path) for path in paths]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[3] == hashes[4] != hashes[5]
    monkeypatch.setattr(probing, '_hash', lambda path: pytest.fail('hashed again'))
    assert [Prober(30).content_hash(path) for path in paths] == hashes
