"""Mobile-Former's modules against the equations, written out head by head."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.arch import Arch, Run, Stage, load_arch
from hvnas.blocks.metaformer import MB4D
from hvnas.blocks.mobileformer import MobileFormer, MobileFormerHead
from hvnas.blocks.stem import ConvStem
from hvnas.nn import build, build_block
from hvnas.nn.mobileformer import DepthPoint, DynamicReLU, FromFormer, ToFormer
from hvnas.ops import State

HEADS = 2


def attend(q_NC: Tensor, k_MC: Tensor, v_MC: Tensor, heads: int) -> Tensor:
    """``softmax(q k / sqrt(d)) v``, one image, one head at a time."""
    d = q_NC.shape[1] // heads
    parts = []
    for h in range(heads):
        cut = slice(h * d, (h + 1) * d)
        scores = q_NC[:, cut] @ k_MC[:, cut].T / math.sqrt(d)
        parts.append(torch.softmax(scores, 1) @ v_MC[:, cut])
    return torch.cat(parts, 1)


def hard_sigmoid(x: Tensor) -> Tensor:
    return F.relu6(x + 3) / 6


def to_former(m: ToFormer, x_CHW: Tensor, z_MD: Tensor) -> Tensor:
    x_NC = x_CHW.flatten(1).T
    read = attend(m.q(z_MD), x_NC, x_NC, HEADS)
    if m.gate is not None:
        read = read * 2 * hard_sigmoid(m.gate(z_MD))
    return m.norm(z_MD + m.proj(read))


def from_former(m: FromFormer, x_CHW: Tensor, z_MD: Tensor) -> Tensor:
    read_NC = attend(x_CHW.flatten(1).T, m.k(z_MD), m.v(z_MD), HEADS)
    return x_CHW + read_NC.T.reshape(x_CHW.shape)


def former(m: nn.Module, z_MD: Tensor) -> Tensor:
    z = m.norm1(z_MD + m.proj(attend(m.q(z_MD), m.k(z_MD), m.v(z_MD), m.heads)))
    return m.norm2(z + m.mlp.fc2(F.gelu(m.mlp.fc1(z))))


def dynamic_relu(m: DynamicReLU, x_CHW: Tensor, z_MD: Tensor) -> Tensor:
    theta = hard_sigmoid(m.fc2(torch.relu(m.fc1(z_MD[0]))))
    a1 = (theta[: m.channels] - 0.5) * 2 + 1
    a2 = (theta[m.channels :] - 0.5) * 2
    return torch.maximum(a1[:, None, None] * x_CHW, a2[:, None, None] * x_CHW)


def shuffle(x_CHW: Tensor, groups: int) -> Tensor:
    return x_CHW.unflatten(0, (groups, -1)).transpose(0, 1).flatten(0, 1)


def once(m: nn.Module, x_CHW: Tensor) -> Tensor:
    return m(x_CHW[None])[0]


def depth_point(m: DepthPoint, x_CHW: Tensor, z_MD: Tensor, groups: int) -> Tensor:
    y = once(m.depthwise, x_CHW)
    if groups > 1 and y.shape[0] > x_CHW.shape[0]:
        y = shuffle(y, x_CHW.shape[0])
    return once(m.project, dynamic_relu(m.act, y, z_MD))


def mobile(m: nn.Module, x_CHW: Tensor, z_MD: Tensor, *, groups: int, stride: int) -> Tensor:
    if stride == 2:
        inner = depth_point(m.down, x_CHW, z_MD, groups)
        return inner + depth_point(m.body, inner, z_MD, groups)
    y = dynamic_relu(m.act, shuffle(once(m.expand, x_CHW), groups), z_MD)
    y = shuffle(depth_point(m.body, y, z_MD, groups), groups)
    return x_CHW + y if x_CHW.shape == y.shape else y


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(std=0.3)
    return module.double().eval()


@pytest.mark.parametrize(
    "block",
    [
        MobileFormer(out=24),
        MobileFormer(out=40, expand=6),
        MobileFormer(out=24, groups=4, expand=3),
        MobileFormer(out=40, stride=2, expand=6),
        MobileFormer(out=40, stride=2, expand=6, groups=4),
        MobileFormer(out=24, shared_kv=False, gate=False),
    ],
    ids=lambda block: f"out{block.out}-stride{block.stride}-groups{block.groups}-kv{block.shared_kv}",
)
def test_block_computes_the_equations(block: MobileFormer) -> None:
    module = randomised(build_block(block, State(map=(24, 9, 9), tokens=(3, 32))))
    x_BCHW = torch.randn(2, 24, 9, 9, dtype=torch.float64)
    z_BMD = torch.randn(2, 3, 32, dtype=torch.float64)
    with torch.no_grad():
        got_x, got_z = module((x_BCHW, z_BMD))
        for i in range(2):
            z = former(module.former, to_former(module.to_former, x_BCHW[i], z_BMD[i]))
            y = mobile(module.mobile, x_BCHW[i], z, groups=block.groups, stride=block.stride)
            y = from_former(module.from_former, y, z)
            torch.testing.assert_close(got_z[i], z, rtol=0, atol=1e-10)
            torch.testing.assert_close(got_x[i], y, rtol=0, atol=1e-10 * float(y.abs().max()))


def test_head_computes_the_equations() -> None:
    block = MobileFormerHead(out=7, hidden=20, groups=4)
    module = randomised(build_block(block, State(map=(24, 5, 5), tokens=(3, 32))))
    x_BCHW = torch.randn(2, 24, 5, 5, dtype=torch.float64)
    z_BMD = torch.randn(2, 3, 32, dtype=torch.float64)

    def h_swish(x: Tensor) -> Tensor:
        return x * hard_sigmoid(x)

    with torch.no_grad():
        got = module((x_BCHW, z_BMD))
        for i in range(2):
            token = to_former(module.to_former, x_BCHW[i], z_BMD[i])[0]
            y = module.expand.norm(module.expand.conv(shuffle(x_BCHW[i], 4)[None]))
            y = h_swish(F.relu6(y).mean((2, 3)))
            y = h_swish(module.norm(module.hidden(torch.cat((y, token[None]), 1))))
            torch.testing.assert_close(got[i : i + 1], module.fc(y))


def small(tokens: tuple[int, int] = (3, 32)) -> Arch:
    return Arch(
        resolution=32,
        tokens=tokens,
        stem=ConvStem(out=8, ratios=(1.0,), kernels=(3,), strides=(2,), bias=False),
        stages=(
            Stage(local=Run(block=MB4D(out=8), depth=1), global_=Run(block=MobileFormer(out=8), depth=1)),
        ),
        head=MobileFormerHead(out=5, hidden=16),
    )


def test_trains_every_weight() -> None:
    model = build(small()).train()
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert model.tokens.weight.grad.abs().sum() > 0


def test_every_image_of_a_batch_starts_from_the_same_tokens() -> None:
    model = build(small()).eval()
    image = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        together, alone = model(image), torch.cat([model(x[None]) for x in image])
    assert together.shape == (3, 5)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_features_are_the_map_and_the_tokens() -> None:
    model = build(small()).eval()
    x, z = model.forward_features(torch.randn(2, 3, 32, 32))
    assert x.shape == (2, 8, 16, 16)
    assert z.shape == (2, 3, 32)


@pytest.mark.parametrize("name", ["mobileformer_26m", "mobileformer_96m"])
def test_forward_of_a_fixed_point_at_another_resolution(name: str) -> None:
    arch = load_arch(name)
    model = build(replace(arch, resolution=96)).eval()
    assert sum(p.numel() for p in model.parameters()) == (arch.published or {})["params"]
    with torch.no_grad():
        logits = model(torch.randn(2, 3, 96, 96))
    assert logits.shape == (2, 1000)
    assert logits.isfinite().all()
