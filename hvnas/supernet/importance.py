"""Importance of the blocks of a supernet: Gumbel-softmax gates between each block and identity.

EfficientFormer's search (arXiv 2206.01191) gives every block position a choice of MB4D, MB3D or identity and
learns, while the supernet trains, how much each choice matters:
``x' = sum_n softmax_n((alpha_n + noise_n) / temperature) * choice_n(x)``.

Here a position is one of a run's (``stages.2.global.0``), and its choices are the block types that the space
has for the run, and identity. What is done otherwise, or what the paper leaves open:

* A position mixes the sampled member's block and identity, not all types: the softmax over those two. All
  types at once would take as many times the work, and outputs of some types cannot be added (maps, tokens).
  Types compare through identity, which every type of a position is weighed against.
* The noise is Gumbel's, ``-log(-log U)``; the text that could be read prints U itself.
* The temperature falls geometrically from `WARM` to `COLD` over the training; the schedule is not known.
* A block starts `HEAD_START` ahead of identity, so that the first steps train blocks, not their absence.
* Where identity does not fit (the block strides, or changes channels or form) the block stands ungated.
  Tokens of the map's own positions count as fitting: the paper flattens before its first MB3D.
* Gates are in every member of a step but the largest and the smallest of the space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.space import Space
from hvnas.supernet.scoring import statistics_kept
from hvnas.supernet.supernet import Supernet
from hvnas.supernet.weights.slots import place
from hvnas.train.data.registry import Data
from hvnas.train.evaluation import to_tensors
from hvnas.train.state import Randomness

WARM, COLD = 2.0, 0.2
HEAD_START = 2.0
# A logit is so many times its parameter: a recipe's learning rate is made for weights, which move less.
SCALE = 10.0
NAME = "importance"  # of the module in a supernet
STEPS, BATCH, LEARNING_RATE = 200, 32, 5e-3

Scores = Mapping[str, Mapping[str, float]]


class Importance(nn.Module):
    """Logits of every block type at every position of a space, and of identity there.

    The parameter of a position, as ``stages.2.global.0``, holds its types' logits over `SCALE` in the order
    of the space, identity's last. Shape [types + 1].
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.types = types_by_position(space)
        for position, types in self.types.items():
            start = torch.full((len(types) + 1,), HEAD_START / SCALE)
            start[-1] = 0.0
            place(self, position, nn.Parameter(start))

    def logits(self, position: str) -> Tensor:
        """Logits of a position's types and of identity. Shape [types + 1]."""
        prefix, _, leaf = position.rpartition(".")
        return SCALE * self.get_submodule(prefix).get_parameter(leaf)

    def gate(self, position: str, block: str, *, temperature: float) -> Tensor:
        """The share of `block` against identity, in (0, 1); the noise is torch's generator's."""
        logits = self.logits(position)
        pair = torch.stack([logits[self.types[position].index(block)], logits[-1]])
        uniform = torch.rand(2).clamp_(1e-6, 1 - 1e-6).to(pair.device)
        noise = -(-uniform.log()).log()
        return ((pair + noise) / temperature).softmax(0)[0]

    def scores(self) -> dict[str, dict[str, float]]:
        """Odds of each type against identity, ``exp(alpha_type - alpha_identity)``, by position."""
        found = {}
        for position, types in self.types.items():
            logits = self.logits(position).detach().double().cpu()
            odds = (logits[:-1] - logits[-1]).exp().tolist()
            found[position] = dict(zip(types, odds, strict=True))
        return found


def types_by_position(space: Space) -> dict[str, tuple[str, ...]]:
    """The block types that may stand at each position of the deepest runs."""
    return {
        f"stages.{i}.{slot}.{k}": tuple(preset.name for preset in run.types)
        for i, stage in enumerate(space.layout.stages)
        for slot, run in stage.slots.items()
        for k in range(max(run.depths))
    }


def attach(net: Supernet) -> Importance:
    """Give a supernet importances, to train and to be saved with it."""
    importance = Importance(net.space).to(net.device)
    net.add_module(NAME, importance)
    return importance


def importance_of(net: Supernet) -> Importance | None:
    """What `attach` gave the supernet, if it did."""
    found = net._modules.get(NAME)
    return found if isinstance(found, Importance) else None


def temperature_at(done: float) -> float:
    """The temperature after a part of the training, from 0 to 1."""
    return float(WARM * (COLD / WARM) ** done)


def gated(net: Supernet, importance: Importance, x_BCHW: Tensor, *, temperature: float) -> Tensor:
    """Logits ``[B, classes]`` of the active member, every block that identity fits for mixed with it."""
    x: Any = x_BCHW
    for part in net.active:
        position, _, block = part.name.rpartition(".")
        y: Any = part(x)
        if position in importance.types and fits(x, y):
            share = importance.gate(position, block, temperature=temperature)
            y = _mixed(x, y, share)
        x = y
    return x


def fits(x: Any, y: Any) -> bool:
    """Whether `x` can stand for `y`: the same shape, or a map whose positions are tokens in `y`."""
    if isinstance(x, tuple) or isinstance(y, tuple):
        pair = isinstance(x, tuple) and isinstance(y, tuple) and len(x) == len(y)
        return pair and all(map(fits, x, y))
    return x.shape == y.shape or _is_flattened(x, y)


def _is_flattened(x: Tensor, y: Tensor) -> bool:
    flat = x.ndim == 4 and y.ndim == 3
    return flat and (x.shape[1], x.shape[2] * x.shape[3]) == (y.shape[2], y.shape[1])


def _mixed(x: Any, y: Any, share: Tensor) -> Any:
    if isinstance(y, tuple):
        return tuple(_mixed(a, b, share) for a, b in zip(x, y, strict=True))
    return torch.lerp(x if x.shape == y.shape else x.flatten(2).transpose(1, 2), y, share.to(y.dtype))


def train_importance(
    net: Supernet,
    data: Data,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    seed: int = 0,
) -> Importance:
    """Importances of a trained supernet, whose weights and statistics stay as they are.

    Each of `steps` steps mixes one random member on one batch of training images, by Adam at a rate of
    `LEARNING_RATE`. The same seed gives the same importances; the active member is another one afterwards.
    """
    importance = Importance(net.space).to(net.device)
    optimizer = torch.optim.Adam(importance.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.999))
    rng = np.random.default_rng(seed)
    was_training = net.training
    with Randomness(net.device, seed=seed).own(), statistics_kept(net), _frozen(net):
        net.train()
        for step in range(steps):
            chosen = rng.choice(len(data.train), size=min(batch, len(data.train)), replace=False)
            x_BCHW, labels = to_tensors(data.train.batch(chosen), data, device=net.device)
            net.set(net.sample(rng=rng))
            output = gated(net, importance, x_BCHW, temperature=temperature_at(step / steps))
            if not output.requires_grad:
                continue  # identity fits nowhere in this member
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(output, labels).backward()
            optimizer.step()
    net.train(was_training)
    return importance


@contextmanager
def _frozen(net: Supernet) -> Iterator[None]:
    """Weights that want no gradients."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
