"""Gradients in low precision."""

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.backbones.convolution import Conv3d
import pytest
import torch
from torch import nn, Tensor


def gradients(module: nn.Module, x: Tensor, *, is_bfloat16: bool) -> dict[str, Tensor]:
    module.zero_grad()
    with torch.autocast('cpu', torch.bfloat16, enabled=is_bfloat16):
        y = module(x)
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    (y.float() * weights).sum().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def relative_error(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm())


@pytest.mark.parametrize('num_frames', [1, 2, 3, 4, 8])
@pytest.mark.parametrize('kernel', [3, (3, 1, 1), 1])
def test_bfloat16_gradients_are_right_on_a_cpu(num_frames: int, kernel: int) -> None:
    torch.manual_seed(0)
    convolution = Conv3d(32, 32, kernel, padding='same')
    x = torch.randn(4, 32, num_frames, 4, 6)
    reference = gradients(convolution, x, is_bfloat16=False)
    for name, value in gradients(convolution, x, is_bfloat16=True).items():
        assert relative_error(value, reference[name]) < 0.02, name


@pytest.mark.parametrize('num_frames', [4, 8, 16, 32])
def test_a_whole_trunk_has_right_bfloat16_gradients(num_frames: int) -> None:
    torch.manual_seed(0)
    # Batch norms with fixed statistics: live ones amplify the rounding of a batch of two.
    trunk = ResNet3d(width=8).eval()
    x = torch.randn(2, 3, num_frames, 32, 48)
    reference = gradients(trunk, x, is_bfloat16=False)
    for name, value in gradients(trunk, x, is_bfloat16=True).items():
        # Rounding moves some ReLUs across zero; uninitialised memory points anywhere.
        similarity = torch.cosine_similarity(value.flatten(), reference[name].flatten(), dim=0)
        assert similarity > 0.9, name


def test_the_output_is_that_of_torch_in_every_precision() -> None:
    torch.manual_seed(0)
    ours = Conv3d(8, 8, 3, padding=1)
    theirs = nn.Conv3d(8, 8, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 2, 5, 5)
    assert torch.equal(ours(x), theirs(x))
    half, x_half = ours.bfloat16(), x.bfloat16()
    assert half(x_half).dtype == torch.bfloat16
    torch.testing.assert_close(half(x_half), theirs.bfloat16()(x_half), rtol=0.02, atol=0.02)
