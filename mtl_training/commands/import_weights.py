"""The command ``import-weights``: a checkpoint from published weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import hashlib
import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from mtl_perception.checkpoint import load_network, read_state_dict, save_checkpoint
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.torchvision_retinanet import counting_from_corner, retinanet_config
from mtl_perception.network.torchvision_weights import (
    backbones_for,
    kind_of,
    KINDS,
    load_torchvision_weights,
)
from mtl_training.arguments import OneLineParser
from mtl_training.commands.output import check_output
from mtl_training.weights_download import download, MODELS
from torch import Tensor

DESCRIPTION = """Make a checkpoint from published weights: of torchvision, the 3D-ResNets or C3D.

RetinaNet (retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2) makes a network that finds people, as
boxes: the robot runs it as it is, and training may start from it. Of its classes only the person
stays. All others are backbones without a task, and need no checkpoint: a training run takes them
with --init_weights FILE.

With --checkpoint the weights go into the network of a checkpoint: those of a RetinaNet into a
trunk of frames and its task of detection; those of a ResNet into a trunk of frames; those of a
Keypoint R-CNN (keypointrcnn_resnet50_fpn, whose batch norms have norm_eps 0) too, and into the
pyramid of its task of keypoints if that has the same size; those of a video ResNet (r3d_18), a
3D-ResNet, a VGG or C3D into a trunk of clips; those of a ResNet also into a trunk of clips with
the backbone resnet_image. What its config says stays; its figures are true no longer and are left
out.

3D-ResNets (Hara et al., 2018) have 18 or 34 layers here: r3d18_K_200ep.pth, r3d34_K_200ep.pth and
their like need the backbone resnet3d_pooled, resnet-34-kinetics.pth and its like
resnet3d_zero_pad. They saw RGB in [0, 1] less the mean [0.4345, 0.4051, 0.3775], over
[0.2768, 0.2713, 0.2737]: say so in the preprocessing of the trunk.

A VGG or ResNet of torchvision saw RGB in [0, 1] less the mean [0.485, 0.456, 0.406], over
[0.229, 0.224, 0.225]. A VGG needs the depth and the norm of the file: batch for vgg*_bn, or else
none. C3D (Tran et al., 2015) is taken by the names conv1, conv2, conv3a to conv5b, fc6, fc7 and
fc8; it needs norm none and clips of 16 frames of 112x112. Such files saw pixels of 0 to 255 less
a mean, some of them as BGR; what the preprocessing calls mean and std is theirs over 255.

With --download the file comes from torchvision, and is checked against its published digest.

Files hold tensors alone, .pth or .safetensors; nothing else in them is unpickled.

Examples:
  python -m mtl_training import-weights --weights retinanet_resnet50_fpn_v2_coco-5905b1c5.pth \\
      --out person.safetensors
  python -m mtl_training import-weights --download retinanet_resnet50_fpn_v2 \\
      --out person.safetensors
  python -m mtl_training import-weights --weights retinanet_resnet50_fpn_coco-eeacb38b.pth \\
      --out person.safetensors --size 384 512
  python -m mtl_training import-weights --weights resnet50-0676ba61.pth \\
      --checkpoint mine.safetensors --out started.safetensors
  python -m mtl_training import-weights --weights r3d34_K_200ep.pth \\
      --checkpoint mine.safetensors --out started.safetensors"""
SIZE = (480, 640)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parsed = _parser().parse_args(list(arguments))
    _check(parsed)
    if parsed.download is not None:
        parsed.weights = str(download(parsed.download))
    weights = read_state_dict(parsed.weights)
    kind = kind_of(weights)
    network, training = _network(parsed, kind, weights)
    trunk = parsed.trunk or _trunk_for(network, kind)
    head = load_torchvision_weights(network, weights, trunk=trunk, task=parsed.task)
    if kind == 'RetinaNet' and head is not None:
        network.config = counting_from_corner(network.config, head)
    check_output('--out', parsed.out, overwrite=parsed.overwrite)
    digest = hashlib.sha256(Path(parsed.weights).read_bytes()).hexdigest()
    source = {'file': Path(parsed.weights).name, 'sha256': digest, 'trunk': trunk}
    imported = [*training.get('imported', []), source]
    save_checkpoint(parsed.out, network, metrics={}, training={**training, 'imported': imported})
    _print(parsed, network, kind, trunk, head)
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training import-weights', description=DESCRIPTION)
    parser.add_argument('--weights', type=str, help='file of a state dict')
    parser.add_argument(
        '--download', type=str, metavar='MODEL', help=f'instead of --weights: {", ".join(MODELS)}'
    )
    parser.add_argument('--out', type=str, required=True, help='where to write the checkpoint')
    parser.add_argument(
        '--overwrite', action='store_true', help='write --out also where there is a file'
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='input of the new network, multiples of 32 pixels; images are fitted into it with '
        f'bars (default: {SIZE[0]} {SIZE[1]}; the weights saw short sides of 800)',
    )
    parser.add_argument(
        '--norm-eps',
        '--norm_eps',
        type=float,
        help='of batch norms of the new network; no file tells it (default: 0 for '
        'retinanet_resnet50_fpn, 1e-5 for _v2, as of their published weights)',
    )
    parser.add_argument('--checkpoint', type=str, help='whose network takes the weights')
    parser.add_argument(
        '--trunk', type=str, help='of --checkpoint (default: the one that fits the weights)'
    )
    parser.add_argument('--task', type=str, help='of --checkpoint, whose head takes theirs')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _check(parsed: Namespace) -> None:
    if (parsed.weights is None) == (parsed.download is None):
        raise ValueError(
            'either --weights or --download must say which weights, got '
            f'{"none" if parsed.weights is None else "both"} of them.'
        )
    if parsed.checkpoint is None:
        given = [name for name in ('trunk', 'task') if getattr(parsed, name) is not None]
        if given:
            raise ValueError(f'--{given[0]} names a part of --checkpoint, which is not given.')
    elif parsed.size is not None or parsed.norm_eps is not None:
        raise ValueError('--size and --norm-eps are for a new network, not for --checkpoint.')


def _network(
    parsed: Namespace, kind: str, weights: Mapping[str, Tensor]
) -> tuple[MultiTaskNetwork, dict[str, Any]]:
    """Return the network that takes the weights, and how it was trained."""
    if parsed.checkpoint is not None:
        network, checkpoint = load_network(parsed.checkpoint)
        return network, checkpoint.training
    if kind != 'RetinaNet':
        raise ValueError(
            f"--weights '{parsed.weights}' are of a {kind}, a backbone without a task: start a "
            'training run from them with --init_weights, or name a --checkpoint to put them into.'
        )
    size = SIZE if parsed.size is None else (parsed.size[0], parsed.size[1])
    config = retinanet_config(weights, size=size, norm_eps=parsed.norm_eps)
    return MultiTaskNetwork(config), {}


def _trunk_for(network: MultiTaskNetwork, kind: str) -> str:
    trunks = [n for n in network.trunks if network.config.trunks[n].backbone in KINDS[kind]]
    if len(trunks) != 1:
        raise ValueError(
            f'--trunk must name the trunk for weights of a {kind}, the network has {trunks} of '
            f'the backbone {backbones_for(kind)}.'
        )
    return trunks[0]


def _print(
    parsed: Namespace, network: MultiTaskNetwork, kind: str, trunk: str, head: str | None
) -> None:
    tasks = {name: task.kind for name, task in network.config.tasks.items()}
    if parsed.json:
        facts = {'weights': parsed.weights, 'kind': kind, 'trunk': trunk, 'tasks': tasks}
        facts['head'] = head
        print(json.dumps({'out': parsed.out, **facts}))
    else:
        taken = f" and in the head of task '{head}'" if head else ''
        print(f"{parsed.out}: weights of a {kind} in trunk '{trunk}'{taken}; tasks: {tasks}")
