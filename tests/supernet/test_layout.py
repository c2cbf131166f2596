"""Slices: which entries of a larger tensor a smaller one is."""

from __future__ import annotations

import pytest
import torch

from hvnas.blocks.mobileformer import BneckLite
from hvnas.blocks.vit import TokenEmbed, ViTBlock
from hvnas.nn import build_block
from hvnas.nn.coatnet import RelativeBias
from hvnas.nn.metaformer import RandomMixer
from hvnas.ops import State
from hvnas.supernet.weights.composite import Dim, Layout, Selection, axes, describe, joined


def select(tensor: torch.Tensor, largest: Dim, wanted: Dim) -> torch.Tensor:
    return Selection(Layout((largest,)), Layout((wanted,)))(tensor)


def test_plain_dimensions_give_a_view_of_the_leading_corner() -> None:
    weight = torch.arange(24.0).view(4, 6)
    selection = Selection(Layout((axes(4), axes(6))), Layout((axes(2), axes(3))))
    assert torch.equal(selection(weight), weight[:2, :3])
    assert selection.is_view
    selection(weight).zero_()
    assert weight[:2, :3].eq(0).all() and weight[2:].ne(0).all()


def test_the_whole_is_the_tensor_itself() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    assert select(weight, axes(4), axes(4)) is weight


def test_centred_dimensions_give_the_middle() -> None:
    assert select(torch.arange(7), axes(7, centred=True), axes(3, centred=True)).tolist() == [2, 3, 4]


def test_products_give_the_leading_entries_of_every_axis() -> None:
    rows = select(torch.arange(3 * 4), axes(3, 4), axes(3, 2))
    assert rows.tolist() == [0, 1, 4, 5, 8, 9]


def test_concatenations_give_the_leading_entries_of_every_part() -> None:
    assert select(torch.arange(7), joined(4, 3), joined(2, 1)).tolist() == [0, 1, 4]


def test_a_part_may_be_empty() -> None:
    assert select(torch.arange(7), joined(4, 3), joined(2, 0)).tolist() == [0, 1]


def test_what_is_put_is_what_is_selected() -> None:
    tensor = torch.zeros(12)
    selection = Selection(Layout((axes(3, 4),)), Layout((axes(3, 2),)))
    selection.put(tensor, torch.arange(1.0, 7.0))
    assert selection(tensor).tolist() == [1, 2, 3, 4, 5, 6]
    assert tensor.count_nonzero() == 6


def test_what_does_not_lie_inside_is_refused() -> None:
    with pytest.raises(AssertionError, match="largest module of the slot"):
        Selection(Layout((axes(4),)), Layout((axes(5),)))


def test_gradients_are_zero_outside() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    Selection(Layout((axes(4), axes(2, 2))), Layout((axes(3), axes(2, 1))))(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1, 0, 1, 0]] * 3 + [[0] * 4]


def test_queries_stay_queries_in_a_narrower_transformer() -> None:
    state = State(tokens=(5, 128))
    large = build_block(ViTBlock(out=128), state)
    small = build_block(ViTBlock(out=64), State(tokens=(5, 64)))
    layouts = [describe(module)["attn.qkv.weight"].layout for module in (large, small)]
    rows = Selection(*layouts)(torch.arange(384)[:, None].expand(384, 128).contiguous())[:, 0]
    assert rows.tolist() == [*range(64), *range(128, 192), *range(256, 320)]


def test_a_depthwise_filter_stays_with_its_channel() -> None:
    large = build_block(BneckLite(out=8, expand=3), State(map=(8, 4, 4)))
    small = build_block(BneckLite(out=4, expand=2), State(map=(4, 4, 4)))
    layouts = [describe(module)["body.depthwise.norm.running_mean"].layout for module in (large, small)]
    assert Selection(*layouts)(torch.arange(24)).tolist() == [0, 1, 3, 4, 6, 7, 9, 10]


def test_positions_stay_where_they_are_in_the_image() -> None:
    large = build_block(TokenEmbed(out=8), State(map=(8, 4, 4)))
    small = build_block(TokenEmbed(out=8), State(map=(8, 2, 2)))
    layouts = [describe(module)["positions"].layout for module in (large, small)]
    grid = torch.arange(17)[None, :, None].expand(1, 17, 8).contiguous()
    assert Selection(*layouts)(grid)[0, :, 0].tolist() == [0, 1, 2, 5, 6]


def test_relative_offsets_keep_their_meaning() -> None:
    large, small = RelativeBias(1, (4, 4)), RelativeBias(1, (2, 2))
    with torch.no_grad():  # the offset itself, as a number
        large.table.copy_((torch.arange(7)[:, None] * 10 + torch.arange(7)).view(1, -1) - 33)
    selection = Selection(*(describe(module)["table"].layout for module in (large, small)))
    assert selection(large.table).view(3, 3).tolist() == [[-11, -10, -9], [-1, 0, 1], [9, 10, 11]]


def test_rows_of_a_random_mixer_still_sum_to_one() -> None:
    large, small = RandomMixer(16), RandomMixer(4)
    layouts = [describe(module)["matrix_NN"].layout for module in (large, small)]
    finish = describe(small)["matrix_NN"].finish
    assert finish is not None
    matrix = finish(Selection(*layouts)(large.matrix_NN))
    assert torch.allclose(matrix.sum(-1), torch.ones(4))
