"""What the tests of training share: a config of toy clips that trains in a second."""

import importlib.util
from pathlib import Path
import sys

import pytest
import torch
import yaml

TOY = Path(__file__).with_name('toy_run.py')
TOY_WEIGHTING = Path(__file__).parent / 'weighting' / 'toy.py'


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session', autouse=True)
def toy_module():
    """Load the toy data set, which registers itself."""
    return _load('toy_run', TOY)


@pytest.fixture(scope='session')
def toy():
    """Return the module of the toy problem that every weighting is tested on."""
    return _load('toy_weighting', TOY_WEIGHTING)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def toy_block() -> dict:
    """Return a whole config as plain values."""
    data = {'dataset': 'toy', 'train': {'num_clips': 24}, 'val': {'num_clips': 12}}
    return {
        'network': {
            'trunks': {
                'clip': {
                    'width': 4,
                    'sharing': 'hard',
                    'num_frames': 4,
                    'preprocessing': {'resize': [16, 16]},
                }
            },
            'tasks': {'action': {}, 'gesture': {}},
        },
        'data': {'action': dict(data), 'gesture': dict(data)},
        'iterations': 12,
        'batch_size': 4,
        'seed': 3,
        'optimiser': {'lr': 3e-3, 'schedule': 'cosine', 'warmup': 2},
        'evaluation': {'every': 6, 'batch_size': 12},
        'accelerator': 'cpu',
        'log_every': 1,
        'workers': 0,
        'threads': 1,
    }


@pytest.fixture
def frames_block() -> dict:
    """Return a whole config of the frame tasks as plain values."""
    data = {'dataset': 'toy', 'train': {'num_images': 8}, 'val': {'num_images': 4}}
    small = {'height': 14, 'width': 9, 'hidden': 16, 'window': 5, 'dropout': 0.0}
    settings = {
        'person': {'channels': 8, 'num_convs': 1, 'anchor_scale': 0.5, 'max_candidates': 50},
        'keypoints': {'pyramid_channels': 8, 'channels': 4},
        'pose': small,
        'activity': {'hidden': [16, 8], 'dropout': 0.0, 'history': 2, 'history_seconds': 0.5},
    }
    kinds = dict(zip(settings, ('detection', 'keypoints', 'association', 'activity')))
    trunk = {'backbone': 'resnet2d', 'width': 4}
    return {
        'network': {
            'trunks': {'frame': {**trunk, 'preprocessing': {'resize': [64, 96], 'fit': 'pad'}}},
            'tasks': {
                name: {'kind': kinds[name], 'trunk': 'frame', 'settings': own}
                for name, own in settings.items()
            },
        },
        'data': dict.fromkeys(settings, data),
        'iterations': 2,
        'batch_size': 4,
        'seed': 3,
        'optimiser': {'name': 'adam', 'lr': 1e-3},
        'evaluation': {'every': 100, 'batch_size': 4, 'selection': 'score', 'test': False},
        'accelerator': 'cpu',
        'log_every': 1,
        'workers': 0,
        'threads': 1,
    }


@pytest.fixture
def toy_config(toy_block, tmp_path) -> Path:
    """Return the path of the config as a file."""
    path = tmp_path / 'toy.yaml'
    path.write_text(yaml.safe_dump(toy_block))
    return path
