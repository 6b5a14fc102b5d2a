from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
from xml.etree import ElementTree

from mtl_perception.ros import transport
from mtl_perception.ros.transport import (
    profile_variable,
    PROFILE_VARIABLES,
    shipped_file,
    use_shipped_transport_profile,
)
import pytest

CONFIG = Path(__file__).parents[2] / 'config'
PROFILES = sorted(CONFIG.glob('fastdds*.xml'))
MIB = 1 << 20


class Status:
    """What statvfs says of a file system with so much room."""

    def __init__(self, free_bytes: int) -> None:
        self.f_frsize = 4096
        self.f_bavail = free_bytes // 4096


def set_shared_memory(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(transport.os, 'statvfs', lambda path: Status(free_bytes))


@pytest.fixture
def large_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    set_shared_memory(monkeypatch, 1 << 34)


@pytest.mark.usefixtures('large_shared_memory')
def test_the_shipped_profile_is_used_where_the_user_has_none() -> None:
    environ: dict[str, str] = {}
    path = use_shipped_transport_profile(environ)
    assert path is not None
    assert path.name == 'fastdds.xml'
    assert environ == {profile_variable(): str(path)}


@pytest.mark.usefixtures('large_shared_memory')
@pytest.mark.parametrize(
    'environ',
    [
        *({name: '/etc/mine.xml'} for name in PROFILE_VARIABLES),
        {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'},
        {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'},
        {'RMW_IMPLEMENTATION': 'rmw_zenoh_cpp'},
    ],
    ids=str,
)
def test_a_choice_of_the_user_is_left_alone(environ: dict[str, str]) -> None:
    before = dict(environ)
    assert use_shipped_transport_profile(environ) is None
    assert environ == before


@pytest.mark.usefixtures('large_shared_memory')
def test_a_profile_in_the_working_directory_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'DEFAULT_FASTDDS_PROFILES.xml').write_text('<dds/>')
    assert use_shipped_transport_profile({}) is None


@pytest.mark.usefixtures('large_shared_memory')
@pytest.mark.parametrize('rmw', ['rmw_fastrtps_cpp', 'rmw_fastrtps_dynamic_cpp'])
def test_both_fast_dds_middlewares_get_the_profile(rmw: str) -> None:
    assert use_shipped_transport_profile({'RMW_IMPLEMENTATION': rmw}) is not None


def test_a_container_gets_smaller_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    set_shared_memory(monkeypatch, 64 * MIB)
    path = use_shipped_transport_profile({})
    assert path is not None
    assert path.name == 'fastdds_small.xml'


def test_too_little_shared_memory_is_said_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    set_shared_memory(monkeypatch, 8 * MIB)
    environ: dict[str, str] = {}
    with pytest.warns(RuntimeWarning, match=r'/dev/shm has too little room'):
        assert use_shipped_transport_profile(environ) is None
    assert environ == {}


def test_the_variable_follows_the_generation_of_fast_dds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    assert profile_variable() == 'FASTDDS_DEFAULT_PROFILES_FILE'
    (tmp_path / 'share' / 'fastrtps').mkdir(parents=True)
    assert profile_variable() == 'FASTRTPS_DEFAULT_PROFILES_FILE'
    monkeypatch.delenv('AMENT_PREFIX_PATH')
    assert profile_variable() == 'FASTDDS_DEFAULT_PROFILES_FILE'


def test_the_source_tree_stands_in_for_the_share_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    assert shipped_file(Path('config/fastdds.xml')) == CONFIG / 'fastdds.xml'
    with pytest.raises(FileNotFoundError, match=r'none\.xml is in none of'):
        shipped_file(Path('config/none.xml'))


@pytest.mark.parametrize('path', PROFILES, ids=lambda path: path.stem)
def test_a_profile_keeps_udp_beside_the_shared_memory(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    space = root.tag[: -len('dds')]
    kinds = {
        item.findtext(f'{space}transport_id'): item.findtext(f'{space}type')
        for item in root.iter(f'{space}transport_descriptor')
    }
    used = [item.text for item in root.iter(f'{space}userTransports') for item in item]
    assert {kinds[name] for name in used} == {'SHM', 'UDPv4'}
    segment = next(root.iter(f'{space}segment_size')).text
    assert segment is not None
    # At least two images of 1280x720.
    assert int(segment) > 2 * 1280 * 720 * 3


@pytest.mark.parametrize('path', PROFILES, ids=lambda path: path.stem)
def test_fast_dds_accepts_a_profile(path: Path) -> None:
    if not Path('/dev/shm').is_dir():
        pytest.skip('there is no /dev/shm on this machine')
    program = """
import os, rclpy
# What other processes left there is mapped, too, as soon as they are discovered.
before = set(os.listdir('/dev/shm'))
rclpy.init()
node = rclpy.create_node('profile_test')
maps = [line.split() for line in open('/proc/self/maps') if '/dev/shm/' in line]
own = [row[0].split('-') for row in maps if os.path.basename(row[5]) not in before]
print(max(int(end, 16) - int(start, 16) for start, end in own))
"""
    variable = profile_variable()
    environ = {k: v for k, v in os.environ.items() if k not in PROFILE_VARIABLES}
    result = subprocess.run(
        [sys.executable, '-c', program],
        # A domain that no other test uses.
        env={**environ, variable: str(path), 'ROS_DOMAIN_ID': '101'},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert 'Error' not in result.stderr
    expected = 32 * MIB if path.stem == 'fastdds' else 8 * MIB
    # The default would be half a megabyte.
    assert expected <= int(result.stdout) < 1.5 * expected
