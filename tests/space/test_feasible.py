"""What cannot be built is no member, and a space without members is refused by file, field and remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvnas.arch import Arch
from hvnas.nn import build
from hvnas.space import Space, load_space
from hvnas.space.canonical.enumerate import Enumeration
from hvnas.space.encode import encode_arch

Write = Callable[..., Path]
RowsOf = Callable[[Space], np.ndarray]
Decoded = Callable[[Space, np.ndarray], list[Arch]]


def changed(
    data: dict[str, Any], *, stages: tuple[dict[str, Any], ...] = ({}, {}), **top: Any
) -> dict[str, Any]:
    """`data` with other lists for single stages and at the top."""
    data = copy.deepcopy(data) | top
    data["stages"] = [own | more for own, more in zip(data["stages"], stages, strict=True)]
    return data


NO_STRIDE_FIRST = {"downsample": ["none"], "local": ["mb4d"], "local_depth": [1]}

NO_STRIDE_LAST = {"downsample": ["none", "conv"], "local": ["mb4d"], "global": ["mb3d"]}


@pytest.mark.parametrize("rules", [[], ["growing_widths"]], ids=str)
@pytest.mark.parametrize(
    "fields",
    [
        {"stem_width": [8, 16]},
        {"stem_width": [24]},
        {"stem_width": [16, "same"]},
        {"stages": ({}, {"global_width": [24]})},
        {"stages": ({}, {"global_width": [24, "same"]})},
        {"stages": ({}, {"global_width": [16, 32], "global": ["mb3d"]})},
        {"stages": ({"global_width": [24], "local_depth": [1]}, {})},
        {"stem_width": [24], "stages": ({"width": [16, 24, 32]}, {"global_width": [24, 32]})},
        {"tokens": [[3, 16], None], "stages": ({"global_depth": [0]}, {"global": ["mb3d"]})},
        {"resolution": [8, 12, 32], "stages": ({"downsample": ["inner"]}, {})},
    ],
    ids=str,
)
def test_every_row_can_be_built_and_is_counted(
    tiny_data: dict[str, Any],
    write: Write,
    fields: dict[str, Any],
    rules: list[str],
    canonical_rows: RowsOf,
    decoded: Decoded,
) -> None:
    space = load_space(write(changed(tiny_data, rules=rules, **fields)))
    rows = canonical_rows(space)
    archs = decoded(space, rows)
    assert len(rows) == len(set(archs)) == space.size > 0
    for arch in archs:
        arch.lower()
    # What `in` asks of each, asked of all at once.
    again = np.stack([encode_arch(space.layout, arch) for arch in archs])
    assert np.array_equal(space.canonicalise(again), rows)
    assert all(arch in space for arch in archs[::20])
    listed = Enumeration(space)
    assert len(listed) == len(rows)
    assert {row.tobytes() for row in listed.rows(np.arange(len(listed)))} == {r.tobytes() for r in rows}


def test_a_member_of_each_kind_runs(tiny_data: dict[str, Any], write: Write, canonical_rows: RowsOf) -> None:
    import torch

    stages = ({"width": [16, 24]}, {"global_width": [24]})
    space = load_space(write(changed(tiny_data, stem_width=[16], stages=stages)))
    rows = canonical_rows(space)
    for row in rows[np.random.default_rng(0).integers(len(rows), size=4)]:
        assert build(space.decode(row)).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"tokens": [[3, 16]], "stages": ({"global_depth": [0]}, {"global": ["mb3d"]})},
            "tokens: no stage offers a block that reads global tokens.*write tokens: \\[null\\]",
        ),
        (
            {"stem_width": [8], "stages": (NO_STRIDE_FIRST, {})},
            "stages.0.width: .*stem_width offers none of 16, 24; add one of these, or 'same', to stem_width",
        ),
        (
            {"stages": ({}, {"local_depth": [0], "global_depth": [0]}), "counts": [2]},
            "stages.1.local_depth, stages.1.global_depth: hold 0 only",
        ),
        (
            {"stages": ({}, {"downsample": ["inner"], "local": ["mb4d"], "global": ["mb3d"]}), "counts": [2]},
            "stages.1.downsample: none of inner fits",
        ),
        ({"heads": {"former": {"type": "mobileformer_head", "hidden": 32}}, "tokens": [None]}, "heads: none"),
        ({"stages": ({"global": ["mb3d"]}, {"local": ["mb4d"], "local_depth": [1]}), "counts": [2]}, ""),
    ],
    ids=str,
)
def test_a_space_without_members_names_field_and_remedy(
    tiny_data: dict[str, Any], write: Write, fields: dict[str, Any], message: str
) -> None:
    path = write(changed(tiny_data, **fields))
    if not message:
        assert load_space(path).size > 0
        return
    with pytest.raises(ValueError, match=message) as caught:
        load_space(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_no_network_has_is_listed(tiny_data: dict[str, Any], write: Write) -> None:
    space = load_space(write(changed(tiny_data, stages=({}, NO_STRIDE_LAST), counts=[2])))
    assert space.unused()["stages.1.downsample"] == ("none",)
    tokens = changed(tiny_data, stages=({"global_depth": [0]}, {"global": ["mb3d"]}))
    assert load_space(write(tokens)).unused()["tokens"] == ("(3, 16)",)
    for name in ("hybrid", "hybrid-tiny"):
        assert load_space(name).unused() == {}


@pytest.mark.parametrize(
    "fields", [{}, {"counts": [2]}, {"stages": ({}, NO_STRIDE_LAST), "counts": [2]}], ids=str
)
def test_what_is_listed_is_in_no_network(
    tiny_data: dict[str, Any], write: Write, canonical_rows: RowsOf, fields: dict[str, Any]
) -> None:
    space = load_space(write(changed(tiny_data, **fields)))
    seen: dict[str, set[str]] = {}
    for row in canonical_rows(space):
        for i, stage in enumerate(space.decode(row).stages):
            seen.setdefault(f"stages.{i}.width", set()).add(str(stage.width))
    listed = space.unused()
    for i, stage in enumerate(space.spec.stages):
        never = set(map(str, stage.width)) - seen.get(f"stages.{i}.width", set())
        assert set(listed.get(f"stages.{i}.width", ())) == never


def restriction(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """A restriction with a random half of the values of five to thirty lists of `space`."""
    spec = space.spec
    lists: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
        (("resolution",), spec.resolution),
        (("stem_width",), spec.stem_width),
        (("tokens",), spec.tokens),
        (("stems",), tuple(p.name for p in spec.stems)),
        (("heads",), tuple(p.name for p in spec.heads)),
        *((("genes", name), values) for name, values in spec.genes.items()),
    ]
    for i, stage in enumerate(spec.stages):
        lists += [(("stages", i, key.rstrip("_")), values) for key, values in vars(stage).items()]
    lists = [(key, values) for key, values in lists if len(values) > 1]
    data: dict[str, Any] = {"schema": "hvnas.space/1", "parent": space.name}
    stages: list[dict[str, Any]] = [{} for _ in spec.stages]
    for place in rng.choice(len(lists), int(rng.integers(5, 31)), replace=False):
        key, values = lists[place]
        half = sorted(rng.choice(len(values), len(values) // 2, replace=False))
        kept = [list(values[k]) if isinstance(values[k], tuple) else values[k] for k in half]
        if key[0] == "stages":
            stages[key[1]][key[2]] = kept
        elif key[0] == "genes":
            data.setdefault("genes", {})[key[1]] = kept
        else:
            data[key[0]] = kept
    return data | {"stages": stages}


@pytest.mark.parametrize("seed", range(12))
def test_members_of_random_restrictions_lower(hybrid: Space, write: Write, seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = load_space(write(restriction(hybrid, rng)))
    rows = space.canonicalise(rng.integers(space.cardinalities, size=(12, len(space.genes))))
    assert np.array_equal(space.canonicalise(rows), rows)
    for row in rows:
        space.decode(row).lower()
