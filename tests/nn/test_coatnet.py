"""CoAtNet's modules: relative bias, its resizing, windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hvnas.arch import Arch, Run, Stage, load_arch
from hvnas.blocks.coatnet import CoatTransformer
from hvnas.nn import build, build_block
from hvnas.nn.coatnet import RelativeBias, resize_bias
from hvnas.ops import State


def small(resolution: int) -> Arch:
    """CoAtNet-0's blocks, one a stage and narrow."""
    arch = load_arch("coatnet_0")
    stages = []
    for stage in arch.stages:
        runs = {
            f"{name}_" if name == "global" else name: Run(block=run.block.with_(out=32), depth=1)
            for name, run in stage.runs
        }
        stages.append(Stage(downsample=stage.downsample, **runs))
    stem, head = arch.stem.with_(out=16), arch.head.with_(out=5)
    return replace(arch, stem=stem, stages=tuple(stages), head=head, resolution=resolution)


def test_bias_depends_on_the_offset_only() -> None:
    bias = RelativeBias(1, (3, 4))
    with torch.no_grad():
        bias.table.copy_(torch.arange(5 * 7.0)[None])
    w_NN = bias()[0].detach()
    position = {(y, x): y * 4 + x for y in range(3) for x in range(4)}
    for (y, x), i in position.items():
        for (v, u), j in position.items():
            assert w_NN[i, j] == (y - v + 2) * 7 + (x - u + 3)


def test_resize_is_bilinear() -> None:
    """Against numpy: output row r reads input row (r + 1/2) rows / new_rows - 1/2, the edge held."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((2, 5 * 7))
    got = resize_bias(torch.from_numpy(table), (3, 4), (5, 6)).numpy().reshape(2, 9, 11)

    def axis(old: int, new: int) -> np.ndarray:
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)[None]))

    wanted = np.einsum("rp,cq,hpq->hrc", axis(5, 9), axis(7, 11), table.reshape(2, 5, 7))
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_resize_to_the_same_grid_changes_nothing() -> None:
    table = torch.randn(4, 13 * 13)
    assert torch.equal(resize_bias(table, (7, 7), (7, 7)), table)


def test_resize_keeps_the_centre_and_the_symmetry() -> None:
    table = torch.randn(1, 13, 13)
    table = (table + table.flip(1, 2)).flatten(1)
    resized = resize_bias(table, (7, 7), (12, 12)).view(23, 23)
    torch.testing.assert_close(resized, resized.flip(0, 1))
    assert resized[11, 11] == pytest.approx(table.view(13, 13)[6, 6].item(), rel=1e-6)


def test_resize_refuses_a_table_of_another_grid() -> None:
    with pytest.raises(ValueError, match="169 entries a head"):
        resize_bias(torch.zeros(2, 100), (7, 7), (14, 14))


def test_weights_load_at_another_resolution(tmp_path: Path) -> None:
    trained = build(small(64))
    with torch.no_grad():
        for module in trained.modules():
            if isinstance(module, RelativeBias):
                module.table.normal_()
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    larger = build(small(96), weights=tmp_path / "w.safetensors")
    old = trained.stages[2].global_[0].attn.bias
    new = larger.stages[2].global_[0].attn.bias
    assert (old.grid, new.grid) == ((4, 4), (6, 6))
    assert torch.equal(new.table, resize_bias(old.table, (4, 4), (6, 6)))
    assert torch.equal(larger.head.fc.weight, trained.head.fc.weight)
    assert larger(torch.zeros(1, 3, 96, 96)).shape == (1, 5)


def test_tables_of_other_heads_are_refused(tmp_path: Path) -> None:
    state = build(small(64)).state_dict()
    key = next(key for key in state if key.endswith("bias.table"))
    save_file(state | {key: torch.zeros(3, 49)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="1 mis-shaped"):
        build(small(64), weights=tmp_path / "w.safetensors")


def block_module(**fields: object) -> nn.Module:
    torch.manual_seed(0)
    module = build_block(CoatTransformer(out=64, **fields), State(map=(64, 8, 8))).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 8)
    return module


def relative_attention(module: nn.Module, x: Tensor, relative: str) -> Tensor:
    """Equation 3 of the paper, written out: exp, sums, one head after the other."""
    attn = module.attn
    y = module.norm1(x)
    qkv = attn.qkv(y).view(1, 2, 96, 64)
    heads = []
    for head in range(2):
        q, k, v = qkv[0, head].split(32)
        scores = q.T @ k / 32**0.5
        w = attn.bias()[head]
        e = torch.exp(scores + w if relative == "pre" else scores)
        weights = e / e.sum(1, keepdim=True) + (w if relative == "post" else 0)
        heads.append((weights @ v.T).T)
    return attn.proj(torch.cat(heads).view(1, 64, 8, 8))


@pytest.mark.parametrize("relative", ["pre", "post"])
def test_relative_attention_is_equation_3(relative: str) -> None:
    module = block_module(relative=relative)
    x = torch.randn(1, 64, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(
        module.attn(module.norm1(x)), relative_attention(module, x, relative), rtol=1e-9, atol=1e-9
    )


def test_without_relative_bias_positions_do_not_matter() -> None:
    module = block_module(relative="none")
    x = torch.randn(1, 64, 8, 8, dtype=torch.float64)
    order = torch.randperm(64)
    shuffled = x.flatten(2)[..., order].view_as(x)
    torch.testing.assert_close(module(shuffled), module(x).flatten(2)[..., order].view_as(x))


def test_windows_do_not_see_each_other() -> None:
    module = block_module(window=4)
    x = torch.randn(2, 64, 8, 8, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, :4, 4:] += 1
    before, after = module(x), module(changed)
    same = torch.ones(8, 8, dtype=torch.bool)
    same[:4, 4:] = False
    torch.testing.assert_close(after[..., same], before[..., same])
    assert not torch.allclose(after[..., ~same], before[..., ~same])


def test_one_window_over_the_map_is_global_attention() -> None:
    windowed, whole = block_module(window=8), block_module()
    state = {
        key: tensor[..., None, None] if key in ("attn.qkv.weight", "attn.proj.weight") else tensor
        for key, tensor in windowed.state_dict().items()
    }
    whole.load_state_dict(state)
    x = torch.randn(2, 64, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(windowed(x), whole(x))
