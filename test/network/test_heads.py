from types import SimpleNamespace

from mtl_perception.network import TaskConfig
from mtl_perception.network.heads import build_head, SETTINGS
import pytest
import torch

CLIPS, FRAMES = SimpleNamespace(feature_dim=64), SimpleNamespace(channels=[8, 16, 32, 64])


def test_a_classification_head_is_a_linear_layer() -> None:
    head = build_head('action', TaskConfig(labels=('a', 'b', 'c', 'd', 'e')), CLIPS)
    features = torch.randn(3, 64)
    expected = features @ head.weight.T + head.bias
    torch.testing.assert_close(head(features), expected)
    assert head(features).shape == (3, 5)


@pytest.mark.parametrize('kind', SETTINGS)
def test_settings_that_a_head_does_not_know_are_refused(kind: str) -> None:
    labels = ('walking',) if kind == 'activity' else ()
    task = TaskConfig(kind=kind, trunk='frame', labels=labels, settings={'colour': 'red'})
    with pytest.raises(ValueError, match=r"tasks\.mine\.settings has no entry 'colour'"):
        build_head('mine', task, FRAMES)
