"""Options of blocks that ablations switch: traced as lowered, and invisible to hashes until used."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hvnas.arch import Arch, load_arch, to_dict
from hvnas.arch.edits import edited
from hvnas.nn import build, build_on_meta
from hvnas.nn.folding import deploy
from hvnas.ops.trace import trace

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ln": ("coatnet_0", {"@coat_mbconv.norm": "ln"}),
    "softmax": ("efficientvit_b0", {"stages.*.global.attention": "softmax"}),
    "softmax single": (
        "efficientvit_b0",
        {"@efficientvit.scales": [], "stages.*.global.attention": "softmax"},
    ),
    "no depthwise": ("efficientvit_b0", {"@efficientvit.depthwise": False}),
    "no mlp": ("poolformer_s12", {"@poolformer.expand": 0}),
    "no residual": (
        "poolformer_s12_ppaa",
        {"stages.*.local.residual": False, "stages.*.global.residual": False},
    ),
}


@pytest.fixture(scope="module", params=CASES)
def network(request: pytest.FixtureRequest) -> Arch:
    name, edits = CASES[request.param]
    return edited(load_arch(name), edits, where=request.param)


def test_traced_as_lowered(network: Arch) -> None:
    program = network.lower()
    assert trace(build_on_meta(network), resolution=network.resolution).difference(program) == ({}, {})


def test_runs_trains_and_deploys(network: Arch) -> None:
    small = network.shrunk().with_(resolution=64)
    torch.manual_seed(0)
    model = build(small)
    x = torch.randn(2, 3, 64, 64)
    model(x).square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        wanted = model(x)
        torch.testing.assert_close(deploy(model)(x), wanted, atol=1e-4, rtol=1e-4)


def test_an_option_is_written_only_where_it_is_used() -> None:
    name, edits = CASES["ln"]
    arch = load_arch(name)
    other = edited(arch, edits, where="ln")
    assert "norm" not in to_dict(arch)["stages"][0]["local"]
    assert to_dict(other)["stages"][0]["local"]["norm"] == "ln"
    assert arch.hash != other.hash


def test_softmax_attends_to_all_positions() -> None:
    from hvnas.nn.efficientvit import softmax_attention

    torch.manual_seed(0)
    qkv = torch.randn(1, 2 * 3 * 4, 3, 5)
    heads = qkv.view(2, 12, 15)
    q, k, v = (part.transpose(1, 2) for part in heads.split(4, dim=1))
    wanted = ((q @ k.transpose(1, 2)) / 2).softmax(-1) @ v
    torch.testing.assert_close(softmax_attention(qkv, 4)[0], wanted.transpose(1, 2).reshape(8, 3, 5))
