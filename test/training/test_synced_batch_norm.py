"""The batch norm over several processes, here with every process holding the same batch."""

from mtl_training import synced_batch_norm
from mtl_training.synced_batch_norm import (
    sync_batch_norms,
    SyncedBatchNorm1d,
    SyncedBatchNorm3d,
)
import pytest
import torch
from torch import nn


class _Twice(torch.autograd.Function):
    """The sum over two processes with equal batches."""

    @staticmethod
    def forward(ctx, values):
        return 2 * values

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


@pytest.fixture
def two_processes(monkeypatch) -> None:
    monkeypatch.setattr(synced_batch_norm, 'world_size', lambda: 2)
    monkeypatch.setattr(synced_batch_norm, '_Sum', _Twice)


def norms(mean: float) -> tuple[nn.BatchNorm3d, SyncedBatchNorm3d, torch.Tensor]:
    torch.manual_seed(0)
    plain, synced = nn.BatchNorm3d(3), nn.Sequential(nn.BatchNorm3d(3))
    for norm in (plain, synced[0]):
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
        nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(2))
    sync_batch_norms(synced)
    return plain, synced[0], mean + torch.randn(4, 3, 2, 5, 5)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('mean', [0.0, 20.0])
def test_it_is_the_norm_of_the_whole_batch(dtype, mean, two_processes) -> None:
    plain, synced, batch = norms(mean)
    x = batch.to(dtype)
    whole = torch.cat([x, x]).float() if dtype == torch.bfloat16 else torch.cat([x, x])
    expected = plain.to(whole.dtype)(whole)[: len(x)]
    got = synced.to(whole.dtype)(x)
    assert got.dtype == dtype
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(got.to(whole.dtype), expected, rtol=tolerance, atol=tolerance)
    for name in ('running_mean', 'running_var', 'num_batches_tracked'):
        torch.testing.assert_close(
            getattr(synced, name), getattr(plain, name), rtol=1e-4, atol=1e-4
        )


def test_its_gradients_are_those_of_the_whole_batch(two_processes) -> None:
    plain, synced, batch = norms(1.0)
    one, two = (batch.double().requires_grad_() for _ in range(2))
    weights = torch.randn_like(one)
    (plain.double()(torch.cat([one, one])) * torch.cat([weights, weights])).sum().backward()
    (synced.double()(two) * weights).sum().backward()
    # Each half of the batch has half of the gradient.
    torch.testing.assert_close(2 * two.grad, one.grad)
    torch.testing.assert_close(2 * synced.weight.grad, plain.weight.grad)


def test_in_evaluation_it_is_an_ordinary_norm(two_processes) -> None:
    plain, synced, batch = norms(1.0)
    torch.testing.assert_close(synced.eval()(batch), plain.eval()(batch), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('norm', 'shape'),
    [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm2d, (4, 3, 5, 5)), (nn.BatchNorm3d, (2, 3, 4, 5, 5))],
    ids=['1d', '2d', '3d'],
)
def test_norms_of_all_dimensions_see_the_whole_batch(norm, shape, two_processes) -> None:
    plain, synced = norm(3).double(), nn.Sequential(norm(3)).double()
    sync_batch_norms(synced)
    one = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    two = one.detach().clone().requires_grad_()
    weights = torch.randn_like(one)
    expected = plain(torch.cat([one, one]))
    got = synced(two)
    torch.testing.assert_close(got, expected[: len(one)])
    (expected * torch.cat([weights, weights])).sum().backward()
    (got * weights).sum().backward()
    torch.testing.assert_close(2 * two.grad, one.grad)
    torch.testing.assert_close(synced[0].running_var, plain.running_var)


@pytest.mark.parametrize('count', [0, 1])
def test_a_batch_of_too_few_people_is_normalised_as_in_evaluation(count) -> None:
    norms_1d = nn.Sequential(nn.BatchNorm1d(3))
    sync_batch_norms(norms_1d)
    assert isinstance(norms_1d[0], SyncedBatchNorm1d)
    norms_1d(torch.randn(5, 3))
    before = norms_1d[0].running_mean.clone()
    x = torch.randn(count, 3)
    got = norms_1d(x)
    assert torch.equal(norms_1d[0].running_mean, before)
    torch.testing.assert_close(got, norms_1d.eval()(x))
