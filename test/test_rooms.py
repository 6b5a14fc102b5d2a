"""The rooms of the house stay closed: who may import whom."""

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob('mtl_perception/**/*.py'), *ROOT.glob('mtl_training/**/*.py')])
# What each room may import of ours; every room may import itself.
ALLOWED = {
    'mtl_perception.network': set(),
    'mtl_perception.atomic_file': set(),
    'mtl_perception.sentences': {'mtl_perception.network', 'mtl_perception.atomic_file'},
    'mtl_perception.checkpoint': {'mtl_perception.network', 'mtl_perception.atomic_file'},
    'mtl_perception.runtime': {
        'mtl_perception.network',
        'mtl_perception.checkpoint',
        'mtl_perception.sentences',
    },
    'mtl_perception.ros': {
        'mtl_perception.network',
        'mtl_perception.checkpoint',
        'mtl_perception.runtime',
        'mtl_perception.sentences',
        'mtl_perception.msg',
    },
    'mtl_training': {
        'mtl_perception.network',
        'mtl_perception.checkpoint',
        'mtl_perception.atomic_file',
        'mtl_perception.sentences',
    },
}
ROS = {'rclpy', 'ament_index_python', 'launch', 'launch_ros', 'rosidl_runtime_py'}


def imports_of(path: Path) -> set[str]:
    """Return the absolute dotted names that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute here'
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def room_of(name: str) -> str | None:
    """Return the room that a dotted name of ours lies in."""
    parts = name.split('.')
    if parts[0] == 'mtl_training':
        return 'mtl_training'
    if parts[0] == 'mtl_perception' and len(parts) > 1:
        return '.'.join(parts[:2])
    return None


def module_of(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


@pytest.mark.parametrize('path', FILES, ids=module_of)
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(module_of(path))
    if room == 'mtl_perception.__init__':
        assert not {n for n in imports_of(path) if room_of(n)}
        return
    assert room in ALLOWED, f'{path} lies in no known room'
    for name in imports_of(path):
        other = room_of(name)
        assert other in {None, room, *ALLOWED[room]}, f'{room} must not import {name}'


@pytest.mark.parametrize('path', FILES, ids=module_of)
def test_only_the_ros_room_imports_ros(path: Path) -> None:
    found = {name.split('.')[0] for name in imports_of(path)}
    found -= {'mtl_perception', 'mtl_training'}
    is_ros = {n for n in found if n in ROS or re.fullmatch(r'\w+_(msgs|interfaces|srvs)', n)}
    assert not is_ros or room_of(module_of(path)) == 'mtl_perception.ros'


@pytest.mark.parametrize('path', FILES, ids=module_of)
def test_nothing_unpickles_or_reads_unsafe_yaml(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        call = ast.unparse(node)
        if node.func.attr == 'load' and ast.unparse(node.func.value) == 'torch':
            assert 'weights_only=True' in call, call
        if node.func.attr in ('load', 'load_all', 'unsafe_load', 'full_load'):
            assert ast.unparse(node.func.value) != 'yaml' or 'Safe' in call, call
        assert ast.unparse(node.func.value) not in ('pickle', 'marshal', 'shelve'), call
