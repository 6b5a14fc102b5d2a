"""What a network said before a round, for it not to forget while it learns from other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import copy
from typing import Any, cast

from mtl_training.data.sample import Batch
from mtl_training.regimes.contract import ForwardHeads, Recorder
import torch
from torch import nn, Tensor

MEMORIES = ('auto', 'records', 'snapshot')


class Memory(nn.Module):
    """
    The outputs of a network at the beginning of a round, on the data of the round.

    Either as records, one row per sample, or, where samples are others whenever they are asked for
    (augmentation), as a copy of the network that looks at the same batches. For samples that do
    not vary both say the same. Survives a resume: its tensors are its state.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('round', torch.tensor(-1))
        self.held_round = -1  # the same; asking a device would wait for it
        self._network: list[nn.Module] = []  # a list, for it to be no submodule

    @property
    def names(self) -> list[str]:
        """Return the names of what is held besides the round."""
        return [name for name in self._buffers if name != 'round']

    def hold(self, number: int, kind: str, tensors: Mapping[str, Tensor]) -> None:
        """
        Replace what is held.

        :param number: Of the round.
        :param kind: records or snapshot.
        :param tensors: Rows per task, or the network's own by their names.
        """
        self.forget()
        for name, tensor in tensors.items():
            # Names of buffers have no dots.
            self.register_buffer(f'{kind}/{name.replace(".", "/")}', tensor.detach())
        self._set_round(number)

    def forget(self) -> None:
        """Hold nothing."""
        for name in self.names:
            del self._buffers[name]
        self._network.clear()
        self._set_round(-1)

    def _set_round(self, number: int) -> None:
        cast('Tensor', self.round).fill_(number)
        self.held_round = number

    def record(self, number: int, task: str, heads: Sequence[str], recorder: Recorder) -> None:
        """Record what other tasks say of all training samples of a task."""
        rows = {
            head: values.to(cast('Tensor', self.round).device)
            for head, values in recorder.outputs(task, heads).items()
        }
        self.hold(number, 'records', rows)

    def take_snapshot(self, number: int, recorder: Recorder) -> None:
        """Keep a copy of the network as it is."""
        state = {
            name: value.detach().clone() for name, value in recorder.network.state_dict().items()
        }
        self.hold(number, 'snapshot', state)

    @torch.no_grad()
    def outputs(
        self,
        task: str,
        batch: Batch,
        heads: Sequence[str],
        forward: ForwardHeads,
        network: nn.Module,
    ) -> dict[str, Tensor]:
        """
        Return what the tasks said of the samples of a batch, ``[B, D]`` each, without gradients.

        :param network: The one in training, whose structure a copy has.
        """
        prefix = 'records/'
        if any(name.startswith(prefix) for name in self.names):
            return {h: cast('Tensor', self._buffers[f'{prefix}{h}'])[batch.indices] for h in heads}
        if not self._network:
            self._network.append(self._restored(network))
        return {
            head: recordable(values, head, self._network[0])
            for head, values in forward.of_heads(task, batch, heads, self._network[0]).items()
        }

    def _restored(self, network: nn.Module) -> nn.Module:
        teacher = copy.deepcopy(network).eval().requires_grad_(False)
        prefix = 'snapshot/'
        state = {n.removeprefix(prefix).replace('/', '.'): self._buffers[n] for n in self.names}
        # Not copied: the tensors are held already.
        teacher.load_state_dict(cast('Mapping[str, Any]', state), assign=True)
        return teacher

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        # How much there is depends on the round: what is stored decides, not what is held now.
        self.forget()
        device = cast('Tensor', self.round).device
        for key, value in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name != 'round':
                self.register_buffer(name, value.to(device))
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)
        self.held_round = int(cast('Tensor', self.round))


def recordable(values: Tensor, head: str, network: Any) -> Tensor:
    """Return probabilities of a task of labels, unit vectors as they are; float32."""
    is_caption = network.config.tasks[head].kind == 'caption'
    return values.float() if is_caption else values.float().softmax(1)
