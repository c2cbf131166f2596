"""Heads: every norm, on a map, on tokens, before the mean and after it."""

from __future__ import annotations

import pytest
import torch

from hvnas.blocks.head import Classifier
from hvnas.nn.base import build_block
from hvnas.nn.folding import deploy
from hvnas.ops import State

MAP = State(map=(16, 4, 4))
TOKENS = State(map=None, tokens=(16, 16), grid=(4, 4))


@pytest.mark.parametrize("state", [MAP, TOKENS], ids=["map", "tokens"])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("norm", ["bn", "ln", "gn", "none"])
def test_a_head_builds_and_deploys_with_every_norm(norm: str, norm_first: bool, state: State) -> None:
    if norm == "gn" and not norm_first:
        pytest.skip("one group over a vector is a norm of the channels: ln")
    head = build_block(Classifier(out=5, norm=norm, norm_first=norm_first), state).double()
    for module in head.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.weight)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 16, 4, 4).double() if state.map else torch.randn(2, 16, 16).double()
    expected = head.eval()(x)
    assert expected.shape == (2, 5)
    torch.testing.assert_close(deploy(head)(x), expected, rtol=1e-10, atol=1e-10)
