"""Sizes against listing every row; the hash; what rows of a listed space are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hvnas.arch import Arch
from hvnas.space import Space, list_spaces, load_space

RowsOf = Callable[[Space], np.ndarray]
Decoded = Callable[[Space, np.ndarray], list[Arch]]


@pytest.mark.parametrize(
    "rules", [[], ["4d_before_3d"], ["growing_widths"], ["4d_before_3d", "growing_widths"]], ids=str
)
def test_size_is_the_number_of_canonical_rows(
    tiny: Callable[..., Space], rules: list[str], canonical_rows: RowsOf, decoded: Decoded
) -> None:
    space = tiny(rules=rules)
    rows = canonical_rows(space)
    assert len(rows) == space.size > 1000
    archs = set(decoded(space, rows))
    assert len(archs) == len(rows)
    for arch in archs:
        arch.lower()


def test_rules_hold_in_every_row(
    tiny: Callable[..., Space], canonical_rows: RowsOf, decoded: Decoded
) -> None:
    free = tiny()
    plain = set(decoded(free, canonical_rows(free)))
    ruled = tiny(rules=["4d_before_3d", "growing_widths"])
    archs = set(decoded(ruled, canonical_rows(ruled)))
    for arch in archs:
        widths = [run.width for stage in arch.stages for _, run in stage.runs]
        assert widths == sorted(widths)
        types = [run.block.type for stage in arch.stages for _, run in stage.runs]
        assert "mb3d" not in types[:-1]
    assert archs < plain


@pytest.mark.parametrize(
    "fields",
    [
        {"resolution": [24, 32, 48]},
        {"tokens": [None]},
        {"stem_width": ["same"]},
        {"stem_width": [8, 12]},
        {"counts": [2]},
        {"genes": {"expand": [1]}},
        {"genes": {"expand": [[2, 4], [4, 2], 2]}},
    ],
    ids=str,
)
def test_size_of_variants(
    tiny: Callable[..., Space],
    tiny_data: dict[str, Any],
    fields: dict[str, Any],
    canonical_rows: RowsOf,
) -> None:
    # One stage of the tiny space less to choose from keeps every variant below a few hundred thousand rows.
    narrow = {"width": [16], "local_depth": [0, 2]}
    stages = [tiny_data["stages"][0] | {"width": [16]}, narrow]
    space = tiny(**(fields | {"stages": stages}))
    assert len(canonical_rows(space)) == space.size


def test_size_grows_with_every_list(tiny: Callable[..., Space]) -> None:
    size = tiny().size
    assert tiny(resolution=[32, 48]).size == 2 * size
    assert tiny(counts=[2]).size + tiny(counts=[1]).size == size
    assert tiny(genes={"expand": [2, 4]}).size < size


@pytest.mark.parametrize("name", list_spaces())
def test_shipped_spaces_have_exact_sizes(name: str) -> None:
    space = load_space(name)
    assert isinstance(space.size, int)
    assert 1 < space.size <= np.prod(space.cardinalities.astype(object))


def test_hash_changes_with_genes_and_not_with_names(tiny: Callable[..., Space]) -> None:
    hash_ = tiny().hash
    assert len(hash_) == 12
    assert tiny(name="other", description="of the same").hash == hash_
    changed = [
        {"resolution": [32, 48]},
        {"counts": [2]},
        {"tokens": [None]},
        {"stem_width": [8, "same"]},
        {"genes": {"expand": [2, 4]}},
        {"genes": {"expand": [4, 2, [2, 4]]}},
        {"rules": ["4d_before_3d"]},
        {"limits": {"params": 1e6}},
        {"stems": {"conv": {"type": "conv_stem", "act": "gelu"}}},
    ]
    assert len({hash_, *(tiny(**fields).hash for fields in changed)}) == 1 + len(changed)


def test_whole_numbers_hash_the_same_either_way(tiny: Callable[..., Space]) -> None:
    heads = [
        {
            "former": {"type": "mobileformer_head", "hidden": 32, "expand": expand},
            "ln": {"type": "classifier"},
        }
        for expand in (6, 6.0)
    ]
    assert tiny(heads=heads[0]).hash == tiny(heads=heads[1]).hash


def test_shipped_spaces_differ_in_hash() -> None:
    assert len({load_space(name).hash for name in list_spaces()}) == len(list_spaces())
