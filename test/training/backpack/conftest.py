"""What the tests of new tasks share."""

import importlib.util
from pathlib import Path
import sys
from types import ModuleType

import pytest


@pytest.fixture(scope='session')
def made() -> ModuleType:
    """Return the module that makes checkpoints and clips."""
    path = Path(__file__).with_name('memory_checkpoint.py')
    spec = importlib.util.spec_from_file_location('memory_checkpoint', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules['memory_checkpoint'] = module
    spec.loader.exec_module(module)
    return module
