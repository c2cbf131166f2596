"""The processes that train one network together, each on its share of every batch.

What makes them is not looked at here: torch.distributed has been told of them before. After every step all of
them hold the same weights, statistics and optimiser, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn


class ProcessGroup:
    """This process alone; what is agreed on is what it says."""

    rank = 0
    count = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and evaluates."""
        return self.rank == 0

    def average(self, model: nn.Module, loss: float) -> float:
        """Put the mean over the processes into gradients and float buffers; that of the loss."""
        return loss

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag

    def from_first(self, value: Callable[[], float]) -> float:
        """What the first process works out; the others wait."""
        return value()

    def gather(self, state: Tensor) -> list[Tensor]:
        """A tensor of every process, in their order; shapes and kinds are the same."""
        return [state]


class DistributedGroup(ProcessGroup):
    """The processes of torch.distributed's default group."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._device = device

    def average(self, model: nn.Module, loss: float) -> float:
        """As `ProcessGroup.average`: one message for all."""
        tensors = [p.grad for p in model.parameters() if p.grad is not None]
        tensors += [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        flat = torch.cat([t.detach().reshape(-1).float() for t in tensors] + [self._tensor(loss)])
        dist.all_reduce(flat)
        flat /= self.count
        at = 0
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(flat[at : at + tensor.numel()].view(tensor.shape))
                at += tensor.numel()
        return float(flat[-1])

    def any(self, flag: bool) -> bool:
        """As `ProcessGroup.any`."""
        votes = self._tensor(float(flag))
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return bool(votes.item())

    def from_first(self, value: Callable[[], float]) -> float:
        """As `ProcessGroup.from_first`."""
        told = torch.tensor([value() if self.first else 0.0], dtype=torch.float64, device=self._device)
        dist.broadcast(told, src=0)
        return float(told)

    def gather(self, state: Tensor) -> list[Tensor]:
        """As `ProcessGroup.gather`."""
        own = state.to(self._device)
        states = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(states, own)
        return [entry.to(state.device) for entry in states]

    def _tensor(self, value: float) -> Tensor:
        return torch.tensor([value], dtype=torch.float32, device=self._device)
