"""Tasks of captions: unit vectors of the sentence space from the one network."""

from pathlib import Path
from typing import Any

from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.captions import CaptionConfig, EmbeddingHead, EncoderConfig
from mtl_perception.network.config import PreprocessingConfig
import pytest
import torch


def network_config(sharing: str = 'hard', **caption: Any) -> NetworkConfig:
    trunk = TrunkConfig(
        width=4,
        num_frames=4,
        sharing=sharing,
        preprocessing=PreprocessingConfig(resize=(16, 16)),
    )
    settings = {'dim': 12, 'encoder': {'name': 'hashed'}, **caption}
    return NetworkConfig(
        trunks={'clip': trunk},
        tasks={
            'action': TaskConfig(labels=('walk', 'sit')),
            'caption': TaskConfig(kind='caption', settings=settings),
        },
    )


def network(sharing: str = 'hard') -> MultiTaskNetwork:
    torch.manual_seed(0)
    built = MultiTaskNetwork(network_config(sharing))
    for head in built.heads.values():
        torch.nn.init.normal_(head.bias)  # type: ignore[arg-type]
    return built


def clips(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('sharing', ['hard', 'cross_stitch', 'learned_weight_sharing', 'mmoe'])
def test_captions_are_unit_vectors_whatever_shares_the_trunk(sharing: str) -> None:
    outputs = network(sharing).eval()({'clip': clips()})
    assert outputs['caption'].shape == (3, 12)
    assert torch.allclose(outputs['caption'].norm(dim=1), torch.ones(3))
    assert outputs['action'].shape == (3, 2)


def test_unit_vectors_are_so_in_low_precision_too() -> None:
    head = EmbeddingHead(64, 384).to(torch.bfloat16)
    torch.nn.init.normal_(head.weight)
    vectors = head(torch.randn(5, 64).to(torch.bfloat16))
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(5), atol=1e-6)


def test_scores_of_captions_are_their_unit_vectors_and_of_labels_probabilities() -> None:
    built = network().eval()
    scores, outputs = built.scores({'clip': clips()}), built({'clip': clips()})
    assert torch.equal(scores['caption'], outputs['caption'])
    assert torch.allclose(scores['action'].sum(1), torch.ones(3))


def test_what_is_deployed_and_stored_says_the_same(tmp_path: Path) -> None:
    built = network().eval()
    save_checkpoint(tmp_path / 'hri.safetensors', built, metrics={}, training={})
    loaded, checkpoint = load_network(tmp_path / 'hri.safetensors')
    assert checkpoint.config == built.config
    expected = built({'clip': clips()})['caption']
    assert torch.allclose(loaded.deploy()({'clip': clips()})['caption'], expected, atol=1e-5)


def test_captions_have_no_labels() -> None:
    with pytest.raises(ValueError, match=r'labels of a task of kind caption are fixed'):
        TaskConfig(kind='caption', labels=('walk',))


def test_there_is_one_task_of_captions_at_most() -> None:
    caption = TaskConfig(kind='caption')
    with pytest.raises(ValueError, match='one task of kind caption at most'):
        NetworkConfig(trunks={'clip': TrunkConfig()}, tasks={'one': caption, 'two': caption})


def test_a_wrong_setting_is_named_with_its_task() -> None:
    with pytest.raises(ValueError, match=r"tasks\.caption\.settings has no entry 'dims'"):
        MultiTaskNetwork(network_config(dims=3))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'name': 'gru'}, 'name must be one of'),
        ({'name': 'files'}, 'model must name the file'),
        ({'seed': -1}, 'seed must be at least 0'),
    ],
)
def test_encoders_that_can_not_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderConfig(**settings)


def test_a_sentence_space_has_a_size() -> None:
    with pytest.raises(ValueError, match='dim must be from 1'):
        CaptionConfig(dim=0)
