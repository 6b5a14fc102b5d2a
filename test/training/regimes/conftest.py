"""What the tests of regimes on windows of features share."""

from typing import Any

import pytest

KINDS = {
    'ar': ('recognition', {'num_nodes': 3}),
    'lta': ('anticipation', {'num_inputs': 2, 'num_futures': 3}),
    'oscc': ('state_change', {'num_nodes': 4}),
    'pnr': ('point_of_no_return', {'num_nodes': 4}),
}


@pytest.fixture
def windows_block() -> dict[str, Any]:
    """Return a whole config of all tasks on windows, of made-up activities, as plain values."""
    graph = {'feature_dim': 8, 'width': 8, 'num_layers': 1, 'dropout': 0.2}
    data = {'dataset': 'activity_grammar', 'settings': {'num_videos': 3, 'num_actions': 8}}
    return {
        'network': {
            'trunks': {'memory': {'backbone': 'temporal_graph', 'graph': graph}},
            'tasks': {
                task: {'kind': kind, 'trunk': 'memory', 'settings': dict(settings)}
                for task, (kind, settings) in KINDS.items()
            },
        },
        'data': {task: dict(data) for task in KINDS},
        'iterations': 5,
        'batch_size': 4,
        'seed': 3,
        'optimiser': {'name': 'adam', 'lr': 1e-2, 'warmup': 1, 'schedule': 'cosine'},
        'evaluation': {'every': 100, 'batch_size': 7, 'selection': 'score', 'test': False},
        'accelerator': 'cpu',
        'log_every': 1,
        'workers': 0,
        'threads': 1,
    }
