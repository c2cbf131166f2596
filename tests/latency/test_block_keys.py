"""Block keys: everything that members emit is there, counted; a few stand for all; stacks run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from hvnas.arch import load_arch
from hvnas.latency.tables.block_keys import (
    BlockKey,
    block_keys,
    collect,
    cover,
    keys_of,
    load_block_key,
    save_block_key,
)
from hvnas.nn.folding import deploy
from hvnas.nn.network import stack
from hvnas.ops import State
from hvnas.space import Space, load_space


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("efficientformer")


@pytest.fixture(scope="module")
def keys(space: Space) -> tuple[BlockKey, ...]:
    return block_keys(space, 60, np.random.default_rng(0))


def test_the_same_generator_gives_the_same_keys(space: Space, keys: tuple[BlockKey, ...]) -> None:
    again = block_keys(space, 60, np.random.default_rng(0))
    assert [(key.name, key.uses) for key in again] == [(key.name, key.uses) for key in keys]
    assert len({key.name for key in keys}) == len(set(keys)) == len(keys)


def test_members_and_fixed_points_are_counted(space: Space, keys: tuple[BlockKey, ...]) -> None:
    rows = space.sample(60, rng=np.random.default_rng(0), macs=(0.1e9, 5e9))
    archs = [space.decode(row) for row in rows] + [load_arch(name) for name in space.fixed_points()]
    expected = Counter(key for arch in archs for key in keys_of(arch))
    assert {key: key.uses for key in keys} == dict(expected)
    assert {key.block.type for key in keys} == {"conv_stem", "mb4d", "mb3d", "conv_down", "classifier"}


@pytest.mark.parametrize(
    "name", ["efficientformer_l1", "coatnet_0", "mobilevit_s", "vit_c_1gf", "mobileformer_96m"]
)
def test_keys_add_up_to_the_network(name: str) -> None:
    arch = load_arch(name)
    found = collect([arch])
    assert sum(key.program.macs * key.uses for key in found) == arch.lower().macs
    assert sum(key.program.params * key.uses for key in found) <= arch.lower().params


def test_tokens_that_pass_a_block_are_no_part_of_its_key() -> None:
    found = {key.block.type: key for key in keys_of(load_arch("mobileformer_96m"))}
    assert "global_tokens" not in found
    assert found["mobileformer"].state.tokens is not None
    assert all(key.state.tokens is None for key in found.values() if not key.block.two_branch)


# the cover


def test_a_cover_holds_every_type_and_the_ends_of_every_number(keys: tuple[BlockKey, ...]) -> None:
    chosen = cover(keys, 60)
    assert not chosen.missing
    assert len(set(chosen.keys)) == len(chosen.keys) == 60
    for kind in {key.block.type for key in keys}:
        ours = [key.fields() for key in chosen.keys if key.block.type == kind]
        theirs = [key.fields() for key in keys if key.block.type == kind]
        for name in {name for fields in theirs for name in fields}:
            values = {fields[name] for fields in theirs if name in fields}
            picked = {fields[name] for fields in ours if name in fields}
            numbers = {value for value in values if isinstance(value, (int, float))}
            assert values - numbers <= picked
            assert not numbers or {min(numbers), max(numbers)} <= picked


def test_a_larger_cover_begins_with_the_smaller(keys: tuple[BlockKey, ...]) -> None:
    few, more = cover(keys, 12), cover(keys, 40)
    assert more.keys[:12] == few.keys
    assert len(few.missing) > len(more.missing)
    assert all(":" in what for what in few.missing)
    assert cover(keys, 12) == few
    assert set(cover(keys, 10**6).keys) == set(keys)


def test_the_order_of_keys_says_nothing(keys: tuple[BlockKey, ...]) -> None:
    used = Counter[str]()
    for key in keys:
        used[key.block.type] += key.uses
    first = cover(keys, len(used)).keys
    assert [key.block.type for key in first] == [kind for kind, _ in used.most_common()]


def test_what_is_added_is_far_from_what_is_there() -> None:
    """Of blocks at widths 16, 17, ..., 64 with the ends taken, the next is the logarithmic middle."""
    block = load_arch("efficientformer_l1").stages[0].runs[0][1].block
    found = collect([])
    widths = [BlockKey(block=block.with_(out=w), state=State(map=(w, 14, 14))) for w in range(16, 65)]
    chosen = cover((*found, *widths), 3).keys
    assert {chosen[0].block.out, chosen[1].block.out} == {16, 64}
    assert 28 <= chosen[2].block.out <= 36


def test_too_few_blocks_are_refused(keys: tuple[BlockKey, ...]) -> None:
    with pytest.raises(ValueError, match="2 blocks cannot stand for 5 block types; ask for 5 or more"):
        cover(keys, 2)


# files


def test_round_trip(keys: tuple[BlockKey, ...], tmp_path: Path) -> None:
    for key in cover(keys, 12).keys:
        save_block_key(key, tmp_path / "key.yaml")
        again = load_block_key(tmp_path / "key.yaml")
        assert (again, again.name, again.uses) == (key, key.name, key.uses)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("type: mb4d", "type: mb4", "block.type: unknown block 'mb4'; did you mean 'mb4d'"),
        ("map: [", "map: [0, ", "given.map: must be 3 integers from 1 to 65536"),
        ("given:", "taken:", "taken: unknown field"),
        ("uses: 1", "uses: none", "uses: must be an integer from 1 to 1000000000"),
        ("width: ", "width: 1", "block: cannot take what it is given"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    key = next(key for key in keys_of(load_arch("efficientformer_l1")) if key.block.type == "mb4d")
    path = tmp_path / "key.yaml"
    save_block_key(key, path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError) as error:
        load_block_key(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value) and "key.yaml" in str(error.value)


# stacks


SHRUNK = "efficientformer_l1 coatnet_0 mobilevit_xxs mobileformer_26m vit_c_1gf efficientvit_b0".split()


@pytest.mark.parametrize("name", SHRUNK)
def test_stacks_of_every_block_run(name: str) -> None:
    for key in collect([load_arch(name).shrunk()]):
        low, high = key.depths(3)
        assert (low, high) == ((1, 3) if key.is_stackable else (0, 1))
        params = []
        for depth in (low, high):
            module = deploy(stack(key.block, key.state, depth=depth))
            with torch.no_grad():
                module(*(torch.randn(shape) for shape in module.inputs.values()))
            params.append(sum(p.numel() for p in stack(key.block, key.state, depth=depth).parameters()))
        # what the larger has more is the block, once for each step in depth
        assert params[1] - params[0] == (high - low) * key.program.params


def test_depths_that_a_block_cannot_have() -> None:
    found = {key.block.type: key for key in keys_of(load_arch("efficientformer_l1"))}
    stem, body = found["conv_stem"], found["mb4d"]
    with pytest.raises(ValueError, match="must be 0 or 1, for it does not leave the state"):
        stack(stem.block, stem.state, depth=2)
    with pytest.raises(ValueError, match="must be >= 1, got 0"):
        stack(body.block, body.state, depth=0)
