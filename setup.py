"""The road without ROS: ``pip install .[training]`` on a training server."""

from pathlib import Path
import re

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Return the lines of ``requirements/<name>.txt`` that name a package."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def version() -> str:
    """Return the version that package.xml states: the one place where it is written for ROS."""
    match = re.search(r'<version>(.+)</version>', (ROOT / 'package.xml').read_text())
    assert match, 'package.xml states no version'
    return match[1]


setup(
    name='mtl_perception',
    version=version(),
    description='Perception of people for human-robot interaction: one multi-task network, '
    'and the package that trains it',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mtl_perception*', 'mtl_training*']),
    package_data={'mtl_training': ['data/video_sets/*.csv']},
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require={name: requirements(name) for name in ('training', 'captions', 'dev')},
    entry_points={'console_scripts': ['mtl_training = mtl_training.cli:main']},
)
