"""Residual branches add nothing before they are trained."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from hvnas.supernet import Supernet
from hvnas.supernet.trainer import ends_residual, quieten
from hvnas.supernet.weights.variants import inner_of

NEAR_NOTHING = 1e-3  # layer scales start at 1e-5
# a map and tokens come out, or what replaces the input and no shortcut passes by
WITHOUT_SHORTCUT = ("mobilevit", "mobileformer")


def test_blocks_behind_others_leave_their_input_as_it_is(tiny_at_32: Supernet) -> None:
    net = copy.deepcopy(tiny_at_32).train()
    quieten(net)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(16):
        net.set(net.sample(rng=rng))
        for part, (_, _, state) in zip(net.active, net.arch.states(), strict=True):
            place, _, branch = part.name.rpartition(".")
            behind = (".local." in place or ".global." in place) and not place.endswith(".0")
            if not behind or branch in WITHOUT_SHORTCUT or state.map is None:
                continue
            x = torch.randn(2, *state.map)
            with torch.no_grad(), part.plugged() as module:
                y = inner_of(module)(x)
            y = y.transpose(1, 2).reshape(x.shape) if y.ndim == 3 else y
            assert (y - x).abs().max() < NEAR_NOTHING, part.name
            seen.add(branch)
    assert len(seen) >= 6


def test_blocks_of_ones_own_say_what_they_end_with() -> None:
    from hvnas.supernet import trainer

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(2, 2)

    try:
        ends_residual(Own, "last.weight")
        assert list(trainer._ends_of(nn.Sequential(nn.Identity(), Own()))) == ["1.last.weight"]
    finally:
        trainer._ENDS.pop(Own, None)
