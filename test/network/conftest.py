"""Small networks for the tests of the room."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
import pytest
import torch
from torch import nn, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.retinanet import RetinaNet

BUILDERS = {'v1': retinanet_resnet50_fpn, 'v2': retinanet_resnet50_fpn_v2}
HEIGHT, WIDTH = 96, 128
# Far beyond the number of anchors: torchvision ranks those of all classes together.
ALL = 10**7
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


class Counting(TorchDispatchMode):
    """Counts the calls whose result has a size that only counting tells: a GPU waits for them."""

    num_calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        by_mask = func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)
        places = args[1] if by_mask else ()
        is_mask = any(x is not None and x.dtype == torch.bool for x in places)
        self.num_calls += is_mask or func is torch.ops.aten.nonzero.default
        return func(*args, **(kwargs or {}))


@pytest.fixture
def counting() -> Counting:
    """Return a context that counts, in ``num_calls``, how often things are counted."""
    return Counting()


@pytest.fixture(scope='session')
def images() -> Tensor:
    """Return two images for :func:`retinanet`, ``[2, 3, HEIGHT, WIDTH]`` in [0, 1]."""
    return torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='session')
def retinanet(images: Tensor) -> Callable[[str], RetinaNet]:
    """Return torchvision's RetinaNet, 'v1' or 'v2', as :func:`_build_retinanet` makes it."""
    return cache(partial(_build_retinanet, images))


def _build_retinanet(images: Tensor, version: str) -> RetinaNet:
    """
    Build a RetinaNet with random weights; nothing is downloaded.

    Its scores and boxes spread, and its norms look trained: those of v1 without an epsilon, as
    torchvision has it when it loads its own weights.
    """
    torch.manual_seed(0)
    network = BUILDERS[version](
        weights=None,
        weights_backbone=None,
        min_size=HEIGHT,
        max_size=WIDTH,
        topk_candidates=ALL,
        detections_per_img=ALL,
    ).eval()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.constant_(module.weight, 0.2 if name.endswith('bn3') else 1.0)
            module.eps = 0.0 if version == 'v1' else module.eps
        elif isinstance(module, nn.Conv2d) and '.conv.' in name:
            nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():
        _spread(
            network, images, network.head.classification_head.cls_logits, 'cls_logits', 1.0, -3.0
        )
        _spread(
            network, images, network.head.regression_head.bbox_reg, 'bbox_regression', 0.2, 0.0
        )
    return network


def _spread(
    network: RetinaNet, images: Tensor, layer: nn.Conv2d, output: str, std: float, mean: float
) -> None:
    features = network.backbone(network.transform(list(images))[0].tensors)
    values = network.head(list(features.values()))[output]
    layer.weight.mul_(std / values.std())
    layer.bias.fill_(mean)
