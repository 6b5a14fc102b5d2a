"""Small networks for the tests of the room."""

from collections.abc import Callable, Iterator

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
import pytest
import torch
from torch import nn

LABELS = {'action': ('walk', 'jump', 'sit'), 'gesture': ('wave', 'stop')}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Build and run networks in double precision, where formulas agree to many digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Give every batch norm the statistics and weights of a trained network."""

    def apply(module: nn.Module) -> nn.Module:
        for norm in module.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(norm.running_mean, 0, 0.3)
                nn.init.uniform_(norm.running_var, 0.3, 2)
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, 0, 0.3)
        return module

    return apply


@pytest.fixture
def make_network(
    randomise: Callable[[nn.Module], nn.Module],
) -> Callable[..., MultiTaskNetwork]:
    """Build a small network as it would be after training, in evaluation mode."""

    def make(sharing: str = 'hard', width: int = 4) -> MultiTaskNetwork:
        config = NetworkConfig(
            trunks={'clip': TrunkConfig(width=width, sharing=sharing)},
            tasks={name: TaskConfig(labels=labels) for name, labels in LABELS.items()},
        )
        network = MultiTaskNetwork(config)
        randomise(network)
        return network.eval()

    return make
