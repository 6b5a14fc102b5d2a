"""Every sharing method with every backbone of clips that is no ResNet-3D."""

from collections.abc import Callable
from pathlib import Path
import re

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.backbones import BACKBONES
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.sharing import SHARING
import pytest
import torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm

WHOLE = ('hard', 'single_task')  # they do not cut the backbone
STAGES = {'c3d': ('conv5', 'fc6', 'fc7'), 'vgg': ('conv5', 'fc6', 'fc7')}
SIZES = {'c3d': (16, 24, 16), 'vgg': (2, 32, 48), 'resnet_image': (1, 32, 48)}
TASKS = {'action': 3, 'gesture': 1}

all_methods = pytest.mark.parametrize('method', SHARING)
all_backbones = pytest.mark.parametrize('backbone', SIZES)


def build(
    method: str, backbone: str, norm: str, stages: tuple[str, ...] | None = None
) -> MultiTaskNetwork:
    frames, *size = SIZES[backbone]
    stages = STAGES.get(backbone, ('layer3', 'layer4')) if stages is None else stages
    settings = {} if method in WHOLE else {'private_stages': list(stages)}
    if method == 'cross_stitch':
        settings['stitch_after'] = list(stages)
    trunk = TrunkConfig(
        backbone=backbone,
        width=1,
        norm=norm,
        sharing=method,
        sharing_settings=settings,
        num_frames=frames,
        preprocessing=PreprocessingConfig(resize=(size[0], size[1])),
    )
    tasks = {name: TaskConfig(labels=('one', 'two')) for name in TASKS}
    return MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))


def clips(backbone: str, batch: int) -> Tensor:
    return torch.randn(batch, 3, *SIZES[backbone])


@all_methods
@all_backbones
@torch.no_grad()
def test_a_deployed_network_says_the_same(
    method: str, backbone: str, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    network = build(method, backbone, 'batch').eval()
    randomise(network)
    deployed = network.deploy()
    assert not any(isinstance(m, _BatchNorm) for m in deployed.modules())
    batch = clips(backbone, 2)
    expected = network({'clip': batch})
    torch.testing.assert_close(deployed({'clip': batch}), expected)
    alone = {task: network.forward_tasks({task: batch})[task] for task in TASKS}
    torch.testing.assert_close(alone, expected)


@all_methods
@all_backbones
def test_all_that_a_method_trains_gets_a_gradient(method: str, backbone: str) -> None:
    network = build(method, backbone, 'group').train()
    batches = {task: clips(backbone, size) for task, size in TASKS.items()}
    outputs = network.forward_tasks(batches)
    assert {task: x.shape[1] for task, x in outputs.items()} == dict.fromkeys(TASKS, 2)
    torch.stack([x.square().sum() for x in outputs.values()]).sum().backward()
    gradients = {id(p): p.grad for p in network.parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    of_backbone = {id(p) for _, m in network.sharing('clip').copies() for p in m.parameters()}
    drawn = method == 'learned_weight_sharing'  # not every copy is drawn
    assert drawn or of_backbone <= gradients.keys()


@pytest.mark.parametrize('method', sorted(set(SHARING) - {*WHOLE}))
@pytest.mark.parametrize('backbone', STAGES)
def test_stages_that_the_backbone_lacks_are_named(method: str, backbone: str) -> None:
    message = r"trunk 'clip': .* of (the stages )?\['conv1', .*'fc7'\]"
    with pytest.raises(ValueError, match=message):
        build(method, backbone, 'group', ('layer3', 'layer4'))


@all_backbones
@torch.no_grad()
def test_a_task_can_attend_to_all_stages(backbone: str) -> None:
    frames, *size = SIZES[backbone]
    trunk = TrunkConfig(
        backbone=backbone,
        width=1,
        sharing='mtan',
        sharing_settings={'private_stages': None},
        num_frames=frames + 3,  # of which poolings leave a rest
        preprocessing=PreprocessingConfig(resize=(size[0] + 5, size[1] + 7)),
    )
    tasks = {name: TaskConfig(labels=('one', 'two')) for name in TASKS}
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks)).eval()
    outputs = network({'clip': torch.randn(2, 3, frames + 3, size[0] + 5, size[1] + 7)})
    assert all(logits.isfinite().all() for logits in outputs.values())


def test_every_backbone_of_clips_is_documented_with_its_first_depth_and_norm() -> None:
    docs = (Path(__file__).parents[2] / 'docs' / 'sharing.md').read_text()
    section = docs.partition('## The backbones\n')[2].partition('\n## ')[0]
    documented = set()
    for names, depth, norm in re.findall(
        r'^\| (`\w+`.*?) \|.*\| (\d+)[^|]*\| `(\w+)`[^|]*\|$', section, re.MULTILINE
    ):
        for name in re.findall(r'`(\w+)`', names):
            trunk = TrunkConfig(backbone=name)
            assert (trunk.depth, trunk.norm) == (int(depth), norm), name
            documented.add(name)
    assert documented == set(BACKBONES)
