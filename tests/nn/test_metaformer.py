"""PoolFormer's mixers compute what their definitions say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hvnas.blocks.metaformer import MIXERS, NORMS, PoolFormer
from hvnas.blocks.stem import ConvDown
from hvnas.nn import build_block
from hvnas.ops import State

STATE = State(map=(64, 6, 5))


def module_of(**fields: object) -> nn.Module:
    torch.manual_seed(0)
    module = build_block(PoolFormer(out=64, **fields), STATE)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 8)
    return module.double().eval()


def image(batch: int = 2) -> Tensor:
    return torch.randn(batch, 64, 6, 5, dtype=torch.float64)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_trains(mixer: str, norm: str) -> None:
    module = build_block(PoolFormer(out=64, mixer=mixer, norm=norm), STATE, drop_path=0.1)
    y = module(torch.randn(2, 64, 6, 5))
    assert y.shape == (2, 64, 6, 5)
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_pool_is_the_mean_of_the_neighbours_minus_the_position() -> None:
    x = image()
    y = module_of(pool=5).mixer(x)
    torch.testing.assert_close(y[:, :, 3, 2], x[:, :, 1:6, 0:5].mean((2, 3)) - x[:, :, 3, 2])
    torch.testing.assert_close(y[:, :, 0, 0], x[:, :, :3, :3].mean((2, 3)) - x[:, :, 0, 0])


def test_random_matrix_is_frozen_and_averages() -> None:
    module = module_of(mixer="random")
    matrix = module.mixer.matrix_NN
    torch.testing.assert_close(matrix.sum(1), torch.ones(30, dtype=torch.float64), atol=1e-6, rtol=0)
    assert not [name for name, _ in module.named_parameters() if name.startswith("mixer")]
    assert "mixer.matrix_NN" in module.state_dict()
    x = image()
    torch.testing.assert_close(module.mixer(x), torch.einsum("mn,bcn->bmc", matrix, x.flatten(2)))


def test_spatial_fc_mixes_every_channel_alike() -> None:
    module = module_of(mixer="spatial_fc")
    x = image()
    wanted = torch.einsum("mn,bcn->bmc", module.mixer.fc.weight, x.flatten(2))
    torch.testing.assert_close(module.mixer(x), wanted)


def test_attention_is_softmax_of_scaled_products() -> None:
    module = module_of(mixer="attention")
    x = image(1)
    q, k, v = module.mixer.qkv(x.flatten(2).transpose(1, 2))[0].view(30, 3, 2, 32).permute(1, 2, 0, 3)
    heads = [(q[h] @ k[h].T / 32**0.5).softmax(1) @ v[h] for h in range(2)]
    wanted = module.mixer.proj(torch.cat(heads, dim=1))
    torch.testing.assert_close(module.mixer(x)[0], wanted)


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_position_map_is_added_last_and_starts_at_zero(norm: str) -> None:
    odd = State(map=(64, 7, 5))
    with_position, without = (
        build_block(ConvDown(out=96, norm=norm, position=position), odd).eval() for position in (True, False)
    )
    position = with_position.position
    assert position.shape == (96, 4, 3) and not position.any()
    with torch.no_grad():
        position.normal_()
    state = with_position.state_dict()
    without.load_state_dict({key: tensor for key, tensor in state.items() if key != "position"})
    x = torch.randn(2, 64, 7, 5)
    torch.testing.assert_close(with_position(x), without(x) + position)


def test_position_map_over_tokens_that_become_a_map() -> None:
    module = build_block(ConvDown(out=96, position=True), State(tokens=(30, 64), grid=(6, 5)))
    y = module(torch.randn(2, 30, 64))
    y.square().mean().backward()
    assert y.shape == (2, 96, 3, 3)
    assert module.position.grad.any()
