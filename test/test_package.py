"""The package as a whole: what is declared, what is installed, and the road without ROS."""

import ast
import os
from pathlib import Path
import re
import subprocess
import sys
from xml.etree import ElementTree

import mtl_perception
import pytest
import yaml

ROOT = Path(__file__).parents[1]
MESSAGES = sorted(ROOT.glob('msg/*.msg'))
YAML_FILES = sorted(ROOT.glob('config/**/*.yaml'))
# What an import is called in package.xml, where the two names differ.
KEYS = {
    'cv2': 'python3-opencv',
    'numpy': 'python3-numpy',
    'scipy': 'python3-scipy',
    'torch': 'python3-pytorch-pip',
    'torchvision': 'python3-torchvision-pip',
    'yaml': 'python3-yaml',
}
# No rosdep key exists for these: the files in requirements/ bring them.
BY_PIP = {
    'av',
    'huggingface_hub',
    'safetensors',
    'sentence_transformers',
    'supervision',
    'trackers',
    'transformers',
}


def requirement_names(name: str) -> set[str]:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    names = {re.split(r'[\[<>=!; ]', line)[0] for line in lines if line and line[0] != '#'}
    return {name.lower().replace('_', '-') for name in names}


def test_the_version_is_the_same_everywhere() -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert manifest.findtext('version') == mtl_perception.__version__


def test_package_xml_declares_what_the_robot_imports() -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {element.text for element in manifest if element.tag.endswith('depend')}
    imported: set[str] = set()
    for path in ROOT.glob('mtl_perception/**/*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or '').split('.')[0])
    ours = {'mtl_perception', '__future__'}
    outside = imported - set(sys.stdlib_module_names) - ours
    assert {KEYS.get(name, name) for name in outside - BY_PIP} <= declared


@pytest.mark.parametrize('name', ['runtime', 'tracking', 'training', 'captions', 'dev', 'ros'])
def test_every_requirement_is_pinned_in_the_one_place(name: str) -> None:
    assert requirement_names(name) <= requirement_names('constraints')


@pytest.mark.parametrize('path', MESSAGES, ids=lambda path: path.stem)
def test_every_field_of_a_message_is_documented(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith('# ')
    fields = [line for line in lines if line and not line.startswith('#') and '=' not in line]
    assert fields
    assert not [line for line in fields if '#' not in line]


@pytest.mark.parametrize('path', YAML_FILES, ids=lambda path: path.stem)
def test_every_yaml_file_is_plain_data(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def test_pip_install_needs_no_ros_and_then_nothing_imports_it(tmp_path: Path) -> None:
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet']
    target = tmp_path / 'site'
    # A copy, because setuptools writes build/ beside setup.py and colcon's build/ lies there.
    source = tmp_path / 'source'
    kept = ('mtl_perception', 'mtl_training', 'requirements')
    source.mkdir()
    for name in (*kept, 'setup.py', 'pyproject.toml', 'package.xml', 'README.md', 'MANIFEST.in'):
        subprocess.run(['cp', '-r', str(ROOT / name), str(source)], check=True)
    subprocess.run(
        [*pip, '--no-deps', '--no-build-isolation', '--target', str(target), str(source)],
        check=True,
    )
    program = (
        'import importlib, pathlib, sys\n'
        'class NoRos:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        "        if name.split('.')[0] in ('rclpy', 'std_msgs', 'sensor_msgs', 'launch'):\n"
        "            raise ImportError(f'{name} is ROS')\n"
        'sys.meta_path.insert(0, NoRos())\n'
        f'root = pathlib.Path({str(target)!r})\n'
        'sys.path.insert(0, str(root))\n'
        'count = 0\n'
        "for path in sorted(root.glob('mtl_*/**/*.py')):\n"
        '    parts = path.relative_to(root).with_suffix("").parts\n'
        "    if parts[:2] == ('mtl_perception', 'ros') or parts[-1] == '__main__':\n"
        '        continue\n'
        "    name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)\n"
        '    module = importlib.import_module(name)\n'
        '    assert str(root) in module.__file__, module.__file__\n'
        '    count += 1\n'
        'from mtl_training.data.video_sets.ntu_partition import read_partition\n'
        'assert len(read_partition()) == 120\n'
        'print(count)\n'
    )
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        [sys.executable, '-c', program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
