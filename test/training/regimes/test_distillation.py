"""What a recorded output asks a later one to be."""

import math

from mtl_training.criteria.caption import caption_losses
from mtl_training.regimes.distillation import distillation, embedding_distance, softened
import pytest
import torch
from torch.nn.functional import normalize


def test_distillation_at_temperature_2_is_what_it_is_by_hand() -> None:
    recorded, logits = torch.tensor([[0.64, 0.36]]), torch.tensor([[2.0, 0.0]])
    # Square roots 0.8 and 0.6 over 1.4; softmax of (1, 0).
    first, second = 0.8 / 1.4, 0.6 / 1.4
    q = math.e / (math.e + 1)
    by_hand = -(first * math.log(q) + second * math.log(1 - q))
    assert distillation(logits, recorded).item() == pytest.approx(by_hand, abs=1e-6)
    squared = distillation(logits, recorded, scale_by_square=True).item()
    assert squared == pytest.approx(4 * by_hand, abs=1e-5)


@pytest.mark.parametrize(('distance', 'by_hand'), [('l1', 2 * 0.38), ('l2', 2 * 0.38**2)])
def test_other_distances_are_between_probabilities(distance: str, by_hand: float) -> None:
    logits = torch.tensor([[math.log(0.98), math.log(0.02)]])
    found = distillation(logits, torch.tensor([[0.6, 0.4]]), distance=distance)
    assert found.item() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize('distance', ['kd', 'l2'])
def test_what_has_not_moved_is_not_pulled(distance: str, temperature: float) -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    recorded = logits.detach().softmax(1)
    settings = {'distance': distance, 'temperature': temperature}
    distillation(logits, recorded, **settings).sum().backward()  # type: ignore[arg-type]
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6
    moved = distillation(logits.detach() + torch.eye(5, 7), recorded, **settings)  # type: ignore[arg-type]
    assert (moved > distillation(logits.detach(), recorded, **settings)).all()  # type: ignore[arg-type]


def test_a_certain_record_stays_finite() -> None:
    assert softened(torch.tensor([[1.0, 0.0]]), 2.0)[0].tolist() == pytest.approx([1.0, 0.0])
    assert distillation(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).isfinite().all()


def test_the_gradient_of_an_embedding_is_tangential_to_the_sphere() -> None:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(4, 6, generator=generator).requires_grad_()
    target = normalize(torch.randn(4, 6, generator=generator), dim=1)
    embedding_distance(normalize(raw, dim=1), target).sum().backward()
    assert raw.grad is not None
    assert (raw.grad * raw).sum(1).abs().max() < 1e-6
    assert raw.grad.norm() > 0.1


def test_captions_lose_their_negative_cosine_in_every_sample_of_a_structure() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = normalize(torch.randn(6, 5, generator=generator), dim=1)
    targets = normalize(torch.randn(3, 5, generator=generator), dim=1)
    losses = caption_losses(vectors, targets)
    assert losses.shape == (2, 3)
    for sample in range(2):
        for clip in range(3):
            cosine = float(vectors[3 * sample + clip] @ targets[clip])
            assert losses[sample, clip] == pytest.approx(-cosine, abs=1e-6)
