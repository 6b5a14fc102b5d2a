"""Freed image memory is kept: seen by the page faults that do not happen."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from mtl_perception.ros.memory import keep_freed_memory
import pytest

PROGRAM = """
import resource, sys
from mtl_perception.ros.memory import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()
blocks = [bytearray(3_000_000) for _ in range(3)]
del blocks
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
start = faults()
for _ in range(50):
    blocks = [bytearray(3_000_000) for _ in range(3)]
    del blocks
print((faults() - start) / 50)
"""


def faults_per_round(how: str) -> float:
    environment = {k: v for k, v in os.environ.items() if not k.startswith('MALLOC_')}
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, how],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != 'linux', reason='only glibc can be told')
def test_images_cost_no_page_faults_once_memory_is_kept() -> None:
    assert faults_per_round('keep') < 0.05 * max(faults_per_round('leave'), 200)


@pytest.mark.parametrize(
    'environ', [{'MALLOC_ARENA_MAX': '2'}, {'GLIBC_TUNABLES': 'glibc.malloc.trim_threshold=1'}]
)
def test_the_choice_of_the_user_is_left_alone(environ: dict[str, str]) -> None:
    assert not keep_freed_memory(environ)
