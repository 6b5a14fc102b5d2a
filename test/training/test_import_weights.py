"""Tests of the command ``import-weights`` and of runs that start from files of weights."""

from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path
import re
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

from mtl_perception.checkpoint import (
    load_checkpoint,
    load_network,
    read_state_dict,
    save_checkpoint,
)
from mtl_perception.network import (
    MultiTaskNetwork,
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_training import cli
from mtl_training.config import DataConfig, EvaluationConfig, TrainingConfig
from mtl_training.initial_weights import initialise
from mtl_training.weights_download import MODELS
import pytest
import torch
from torch import Tensor
from torchvision.models import get_model_weights, resnet18
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

SCALES = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))


@pytest.fixture(scope='module')
def retinanet() -> RetinaNet:
    """Build torchvision's RetinaNet on a ResNet-18, with random weights."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name='resnet18',
        weights=None,
        norm_layer=torch.nn.BatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    anchors = AnchorGenerator(SCALES, ((0.5, 1.0, 2.0),) * 5)
    return RetinaNet(backbone, 91, anchor_generator=anchors).eval()


@pytest.fixture(scope='module')
def weights(retinanet: RetinaNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'retinanet.pth'
    torch.save(retinanet.state_dict(), path)
    return path


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    path = tmp_path / 'resnet18.pth'
    torch.save(resnet18().state_dict(), path)
    return path


def run(*arguments: object) -> int:
    return cli.main(['import-weights', *map(str, arguments)])


def network_config(*inputs: str, **tasks: TaskConfig) -> NetworkConfig:
    trunks = {
        'frame': TrunkConfig(
            backbone='resnet2d', preprocessing=PreprocessingConfig(resize=(64, 64))
        ),
        'clip': TrunkConfig(width=2),
        'second': TrunkConfig(width=2),
    }
    known = {
        'frame': TaskConfig(
            kind='keypoints', trunk='frame', settings={'channels': 4, 'pyramid_channels': 4}
        ),
        'clip': TaskConfig(labels=('wave', 'stop')),
        'second': TaskConfig(labels=('run', 'sit'), trunk='second'),
    }
    return NetworkConfig(
        trunks={name: trunks[name] for name in inputs},
        tasks={f'{name}_task': known[name] for name in inputs} | tasks,
    )


def saved(path: Path, config: NetworkConfig, **training: Any) -> MultiTaskNetwork:
    network = MultiTaskNetwork(config).eval()
    save_checkpoint(path, network, metrics={'test': {'accuracy': 0.5}}, training=training)
    return network


@torch.no_grad()
def test_a_retinanet_becomes_a_checkpoint_that_finds_the_same(
    retinanet: RetinaNet, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'new' / 'person.safetensors'
    arguments = ('--weights', weights, '--out', out, '--size', 64, 96, '--norm-eps', 1e-5)
    assert run(*arguments, '--json') == 0
    assert json.loads(capsys.readouterr().out) == {
        'out': str(out),
        'weights': str(weights),
        'kind': 'RetinaNet',
        'trunk': 'frame',
        'tasks': {'person': 'detection'},
        'head': 'person',
    }
    network, checkpoint = load_network(out)
    frames = torch.randn(1, 3, 64, 96)
    expected = retinanet.head(list(retinanet.backbone(frames).values()))
    output = network({'frame': frames})['person']
    torch.testing.assert_close(output.logits, expected['cls_logits'][..., 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(output.deltas, expected['bbox_regression'], atol=1e-4, rtol=0)
    assert checkpoint.metrics == {}
    assert [source['file'] for source in checkpoint.training['imported']] == ['retinanet.pth']
    preprocessing = checkpoint.config.trunks['frame'].preprocessing
    assert (preprocessing.size, preprocessing.fit) == ((64, 96), 'pad')
    transform = retinanet.transform
    assert list(preprocessing.mean) == transform.image_mean
    assert list(preprocessing.std) == transform.image_std
    people = network.people(frames)
    assert people.keypoints[..., :2].isnan().all(), 'boxes alone'


def test_a_head_of_a_checkpoint_that_takes_their_weights_counts_as_they_do(
    weights: Path, tmp_path: Path
) -> None:
    person = TaskConfig(kind='detection', trunk='frame', settings={'p6_from': 'p5'})
    before = saved(tmp_path / 'mine.safetensors', network_config('frame', 'clip', person=person))
    out = tmp_path / 'out.safetensors'
    arguments = ('--weights', weights, '--checkpoint', tmp_path / 'mine.safetensors')
    assert run(*arguments, '--out', out) == 0
    tasks = load_network(out)[0].config.tasks
    assert tasks['person'].settings == {'p6_from': 'p5', 'origin': 'corner'}
    others = {name: task for name, task in tasks.items() if name != 'person'}
    assert others == {name: before.config.tasks[name] for name in others}
    assert len(others) == 2


def test_without_options_it_takes_the_size_of_a_camera_and_the_norms_of_coco(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'person.safetensors'
    assert run('--weights', weights, '--out', out) == 0
    assert "weights of a RetinaNet in trunk 'frame'" in capsys.readouterr().out
    trunk = load_checkpoint(out).config.trunks['frame']
    assert trunk.preprocessing.size == (480, 640)
    assert (trunk.depth, trunk.norm_eps) == (18, 0.0)


def test_a_resnet_goes_into_the_network_of_a_checkpoint(resnet: Path, tmp_path: Path) -> None:
    before = saved(tmp_path / 'mine.safetensors', network_config('frame', 'clip'), seed=3)
    out = tmp_path / 'started.safetensors'
    assert (
        run('--weights', resnet, '--checkpoint', tmp_path / 'mine.safetensors', '--out', out) == 0
    )
    loaded = load_checkpoint(out)
    theirs = torch.load(resnet, weights_only=True)
    for name, value in loaded.state_dict.items():
        is_body = name.startswith('trunks.frame.body.')
        expected = theirs[name.removeprefix('trunks.frame.body.')] if is_body else None
        assert torch.equal(value, before.state_dict()[name] if expected is None else expected)
    assert loaded.metrics == {}, 'they are true no longer'
    assert loaded.training['seed'] == 3
    assert loaded.training['imported'][0]['trunk'] == 'frame'


def test_a_file_that_is_there_is_kept_unless_told(weights: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'person.safetensors'
    out.write_bytes(b'precious')
    assert run('--weights', weights, '--out', out) == 2
    assert 'exists: name another file, or say --overwrite' in capsys.readouterr().err
    assert out.read_bytes() == b'precious'
    assert run('--weights', weights, '--out', out, '--overwrite', '--size', 32, 32) == 0
    assert load_checkpoint(out).config.trunks['frame'].preprocessing.size == (32, 32)


def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    weights: Path, resnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mine = tmp_path / 'out.safetensors', tmp_path / 'mine.safetensors'
    saved(mine, network_config('clip', 'second'))
    broken = tmp_path / 'broken.pth'
    torch.save({k: v for k, v in read_state_dict(weights).items() if 'p6' not in k}, broken)
    video = tmp_path / 'video.pth'
    torch.save({'stem.0.weight': torch.zeros(1)}, video)
    for arguments, message in [
        (('--weights', resnet), 'are of a ResNet, a backbone without a task: .* --init_weights'),
        (('--weights', tmp_path / 'none.pth'), 'does not exist'),
        (('--weights', mine), 'none of the known kinds'),
        (('--weights', broken), r"must have a convolution 'fpn\.extra_blocks\.p6\.weight'"),
        (('--weights', weights, '--size', 480, 500), 'multiples of 32 .* got .480, 500'),
        (('--weights', weights, '--trunk', 'frame'), '--trunk names a part of --checkpoint'),
        (('--weights', weights, '--checkpoint', mine), r'has \[\] of the backbone resnet2d\.'),
        (
            ('--weights', video, '--checkpoint', mine),
            r"has \['clip', 'second'\] of the backbone resnet3d or",
        ),
        (('--weights', resnet, '--checkpoint', mine, '--size', 32, 32), 'are for a new network'),
        (('--weights', video, '--checkpoint', mine, '--trunk', 'arm'), "Unknown trunk 'arm'"),
    ]:
        assert run(*arguments, '--out', out) == 2, arguments
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert re.search(message, error), (message, error)
        assert not out.exists()


def test_pickled_code_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / 'evil'),)

    torch.save({'conv1.weight': Evil()}, tmp_path / 'evil.pth')
    assert run('--weights', tmp_path / 'evil.pth', '--out', tmp_path / 'out.safetensors') == 2
    assert 'not a file of plain tensors' in capsys.readouterr().err
    assert not (tmp_path / 'evil').exists()


def test_it_explains_itself_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run('--help')
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert text.count('python -m mtl_training import-weights') >= 3
    assert '--init_weights' in text


def training_config(network: NetworkConfig, **entries: Any) -> TrainingConfig:
    return TrainingConfig(
        network=network,
        data={name: DataConfig(dataset='synthetic') for name in network.tasks},
        iterations=1,
        evaluation=EvaluationConfig(selection='score'),
        **entries,
    )


def started(config: TrainingConfig) -> tuple[MultiTaskNetwork, dict[str, Tensor]]:
    network = MultiTaskNetwork(config.network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialise(network, config)
    return network, before


def test_a_run_loads_a_file_into_the_trunks_that_it_fits(resnet: Path) -> None:
    config = training_config(network_config('frame', 'clip'), init_weights=str(resnet))
    network, before = started(config)
    theirs = torch.load(resnet, weights_only=True)
    for name, value in network.state_dict().items():
        key = name.removeprefix('trunks.frame.body.')
        assert torch.equal(value, before[name] if key == name else theirs[key]), name


def test_stages_are_frozen_only_where_weights_were_loaded(resnet: Path) -> None:
    config = training_config(
        network_config('frame', 'clip'), init_weights=str(resnet), trainable_stages=('layer4',)
    )
    network, _ = started(config)
    for name, parameter in network.trunks['frame'].named_parameters():
        assert parameter.requires_grad == ('layer4' in name), name
    assert all(p.requires_grad for p in network.trunks['clip'].parameters())


def test_a_stage_that_the_trunk_lacks_is_named(resnet: Path) -> None:
    config = training_config(
        network_config('frame'), init_weights=str(resnet), trainable_stages=('stem',)
    )
    with pytest.raises(ValueError, match="no stage 'stem'"):
        started(config)


def test_weights_for_which_there_is_no_trunk_are_refused(resnet: Path) -> None:
    config = training_config(network_config('clip'), init_weights=str(resnet))
    message = 'are of a ResNet, for the backbone resnet2d or resnet_image; no trunk'
    with pytest.raises(ValueError, match=message):
        started(config)


def test_norms_of_a_trunk_that_got_no_weights_are_not_frozen(resnet: Path) -> None:
    config = training_config(
        network_config('frame', 'clip'), init_weights=str(resnet), freeze_batch_norm=True
    )
    with pytest.raises(ValueError, match=r"freeze_batch_norm keeps parts of trunk \['clip'\]"):
        started(config)


def test_norms_of_a_trunk_that_a_checkpoint_lacks_are_not_frozen(tmp_path: Path) -> None:
    path = tmp_path / 'stage1.safetensors'
    saved(path, network_config('frame'))
    config = training_config(
        network_config('frame', 'clip'), init_checkpoint=str(path), freeze_batch_norm=True
    )
    with pytest.raises(ValueError, match=r"freeze_batch_norm keeps parts of trunk \['clip'\]"):
        started(config)
    config = replace(config, freeze_batch_norm=False, trainable_stages=())
    network, _ = started(config)
    assert not any(p.requires_grad for p in network.trunks['frame'].parameters())
    assert all(p.requires_grad for p in network.trunks['clip'].parameters())


def test_stages_are_frozen_that_a_checkpoint_brings(tmp_path: Path) -> None:
    path = tmp_path / 'stage1.safetensors'
    saved(path, network_config('frame'))
    config = training_config(
        network_config('frame'),
        init_checkpoint=str(path),
        trainable_stages=(),
        freeze_batch_norm=True,
    )
    network, _ = started(config)
    assert not any(p.requires_grad for p in network.trunks['frame'].parameters())
    assert all(p.requires_grad for p in network.heads.parameters())


@pytest.fixture
def published(resnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Publish a file of weights by a ``file://`` address, as torchvision's resnet18."""
    digest = hashlib.sha256(resnet.read_bytes()).hexdigest()
    path = resnet.rename(tmp_path / f'resnet18-{digest[:8]}.pth')
    address = SimpleNamespace(DEFAULT=SimpleNamespace(url=path.as_uri()))
    monkeypatch.setattr('mtl_training.weights_download.get_model_weights', lambda name: address)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return path


def test_weights_are_downloaded_once(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / 'mine.safetensors', network_config('frame'))
    arguments = ('--download', 'resnet18', '--checkpoint', tmp_path / 'mine.safetensors')
    assert run(*arguments, '--out', tmp_path / 'one.safetensors') == 0, capsys.readouterr().err
    theirs = torch.load(published, weights_only=True)
    published.unlink()
    assert run(*arguments, '--out', tmp_path / 'two.safetensors', '--json') == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])['kind'] == 'ResNet'
    for name in ('one', 'two'):
        loaded = load_checkpoint(tmp_path / f'{name}.safetensors')
        assert torch.equal(loaded.state_dict['trunks.frame.body.bn1.bias'], theirs['bn1.bias'])
        assert loaded.training['imported'][0]['file'] == published.name


def test_a_download_that_is_not_what_was_published_is_refused_and_not_kept(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = published.read_bytes()
    published.write_bytes(b'something else')
    saved(tmp_path / 'mine.safetensors', network_config('frame'))
    arguments = ('--download', 'resnet18', '--checkpoint', tmp_path / 'mine.safetensors')
    assert run(*arguments, '--out', tmp_path / 'out.safetensors') == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert 'could not be downloaded (invalid hash value' in error
    kept = tmp_path / 'hub' / 'checkpoints' / published.name
    assert not kept.exists()
    kept.write_bytes(good[:-1])
    assert run(*arguments, '--out', tmp_path / 'out.safetensors') == 2
    assert f"'{kept}' is damaged" in capsys.readouterr().err


def test_without_a_network_a_download_fails_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError('Name or service not known')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', no_network)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    out = tmp_path / 'out.safetensors'
    assert run('--download', 'retinanet_resnet50_fpn_v2', '--out', out) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert 'retinanet_resnet50_fpn_v2_coco-5905b1c5.pth' in error
    assert 'Name or service not known' in error
    assert 'name it with --weights' in error
    assert not out.exists()


@pytest.mark.parametrize('model', MODELS)
def test_whatever_can_be_downloaded_names_its_digest(model: str) -> None:
    url = get_model_weights(model).DEFAULT.url
    assert re.fullmatch(r'https://.*-[0-9a-f]{8}\.pth', url)


def test_it_must_be_told_which_weights(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in [
        ((), 'got none of them'),
        (('--weights', weights, '--download', 'r3d_18'), 'got both of them'),
        (('--download', 'r3d_81'), "knows no model 'r3d_81'. Did you mean 'r3d_18'?"),
    ]:
        assert run(*arguments, '--out', tmp_path / 'out.safetensors') == 2
        assert message in capsys.readouterr().err


def test_a_run_starts_from_a_file_of_3d_resnets(tmp_path: Path) -> None:
    network = MultiTaskNetwork(
        NetworkConfig(
            trunks={'clip': TrunkConfig(backbone='resnet3d_pooled', width=2)},
            tasks={'clip_task': TaskConfig(labels=('wave', 'stop'))},
        )
    )
    body = network.sharing('clip').copies()
    theirs = {
        f'module.{published_name(f"{path}.{name}")}': torch.rand_like(value)
        for path, module in body
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    torch.save({'epoch': 200, 'state_dict': theirs}, tmp_path / 'r3d18_K_200ep.pth')
    config = training_config(network.config, init_weights=str(tmp_path / 'r3d18_K_200ep.pth'))
    initialise(network, config)
    for path, module in network.sharing('clip').copies():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                assert torch.equal(value, theirs[f'module.{published_name(f"{path}.{name}")}'])


def published_name(name: str) -> str:
    name = name.replace('stem.0', 'conv1').replace('stem.1', 'bn1')
    for i in (1, 2):
        name = name.replace(f'conv{i}.0', f'conv{i}').replace(f'conv{i}.1', f'bn{i}')
    return name
