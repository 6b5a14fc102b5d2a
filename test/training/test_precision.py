"""Gradients of 3D convolutions in bfloat16 on the CPU."""

import copy

from mtl_training.precision import make_depth_safe
import pytest
import torch
from torch import nn


def results_of(convolution, clips) -> list[torch.Tensor]:
    clips = clips.clone().requires_grad_()
    output = convolution(clips)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    output.backward(direction.to(output.dtype))
    return [output.detach(), clips.grad, *(p.grad for p in convolution.parameters())]


@pytest.mark.parametrize('depth', [1, 2, 3, 4, 5], ids='depth={}'.format)
@pytest.mark.parametrize('kernel', [1, 3, 5], ids='kernel={}'.format)
@pytest.mark.parametrize('stride', [1, 2], ids='stride={}'.format)
def test_the_safe_convolution_is_the_same_function(depth, kernel, stride) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(3, 4, (kernel, 3, 3), stride, (kernel // 2, 1, 1))
    safe = copy.deepcopy(plain)
    make_depth_safe(safe)
    clips = torch.randn(2, 3, depth, 6, 7)
    for expected, got in zip(results_of(plain, clips), results_of(safe, clips)):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('channels', [32, 64, 128])
def test_its_weight_gradient_in_bfloat16_is_right_where_the_plain_one_may_not_be(channels) -> None:
    torch.manual_seed(0)
    exact = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
    safe = copy.deepcopy(exact).bfloat16()
    exact.weight.data = safe.weight.data.float()
    make_depth_safe(safe)
    clips = torch.randn(8, channels, 2, 4, 6).bfloat16()
    for expected, got in zip(results_of(exact, clips.float()), results_of(safe, clips)):
        closeness = torch.cosine_similarity(expected.flatten(), got.float().flatten(), dim=0)
        assert closeness > 0.999
