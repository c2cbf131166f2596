"""Restrictions narrow their parent and nothing else; bad space files name file and field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvnas.space import Space, list_spaces, load_space

Write = Callable[..., Path]


@pytest.fixture
def restrict(tiny_data: dict[str, Any], write: Write) -> Callable[..., Space]:
    """``restrict(width=[16])``: a restriction of the tiny space."""
    write(tiny_data, "parent")

    def make(**fields: Any) -> Space:
        data = {"schema": "hvnas.space/1", "name": "child", "parent": "parent.yaml"}
        return load_space(write(data | fields, "child"))

    return make


def test_nothing_narrower_is_the_parent(restrict: Callable[..., Space], tiny: Callable[..., Space]) -> None:
    child = restrict()
    assert child.spec.parent == "tiny"
    assert (child.hash, child.size, child.name) == (tiny().hash, tiny().size, "child")


@pytest.mark.parametrize("field", ["counts", "stem_width", "resolution"])
def test_a_whole_number_written_with_a_point_is_the_parents_own(
    restrict: Callable[..., Space], tiny: Callable[..., Space], field: str
) -> None:
    values = [value for value in getattr(tiny().spec, field) if isinstance(value, int)][:1]
    child = restrict(**{field: [float(value) for value in values]})
    assert child.hash == restrict(**{field: values}).hash
    assert all(type(value) is int for value in getattr(child.spec, field))
    assert child.unused() is not None and child.sample(3, rng=np.random.default_rng(0)).shape[0] == 3


def test_true_is_no_number_of_the_parent(restrict: Callable[..., Space]) -> None:
    with pytest.raises(ValueError, match="counts: True is not in the parent space"):
        restrict(counts=[True])


def test_members_of_the_restriction_are_members_of_the_parent(
    restrict: Callable[..., Space], tiny: Callable[..., Space]
) -> None:
    child = restrict(
        tokens=[None], heads=["ln"], genes={"expand": [4]}, stage={"width": [16], "local": ["mb4d"]}
    )
    parent = tiny()
    assert child.size < parent.size
    rows = child.canonicalise(np.random.default_rng(0).integers(0, 3, (200, len(child.genes))))
    for row in rows:
        arch = child.decode(row)
        assert arch in parent
        assert {run.width for stage in arch.stages for _, run in stage.runs} <= {16, 24}


# Spaces of their own: the whole one, and the one of a published table.
WHOLE = {"hybrid", "nas-bench-macro"}


@pytest.mark.parametrize("name", sorted({*list_spaces()} - WHOLE))
def test_shipped_restrictions_lie_in_hybrid(name: str, hybrid: Space) -> None:
    space = load_space(name)
    assert space.spec.parent is not None
    assert space.size < hybrid.size
    assert set(space.fixed_points()) <= set(hybrid.fixed_points())
    draws = np.random.default_rng(0).random((40, len(space.genes)))
    for row in space.canonicalise((draws * space.cardinalities).astype(np.int64)):
        hybrid.encode(space.decode(row))


WIDER = {
    "resolution": ({"resolution": [32, 64]}, r"resolution: 64 is not in the parent space"),
    "counts": ({"counts": [3]}, r"counts: 3 is not in the parent space"),
    "tokens": ({"tokens": [[4, 16]]}, r"tokens: \(4, 16\) is not in the parent space"),
    "stem": ({"stems": ["patch"]}, r"stems: 'patch' is not in the parent space"),
    "stem width": ({"stem_width": [12]}, r"stem_width: 12 is not in the parent space"),
    "head": ({"heads": ["gn"]}, r"heads: 'gn' is not in the parent space"),
    "gene": ({"genes": {"expand": [3]}}, r"genes\.expand: 3 is not in the parent space"),
    "new gene": ({"genes": {"kernel": [3]}}, r"genes\.kernel: unknown field; the fields here are expand"),
    "width of a stage": (
        {"stages": [{}, {"width": [16, 32]}]},
        r"stages\.1\.width: 32 is not in the parent space; a restriction narrows lists",
    ),
    "type of a stage": ({"stages": [{"global": ["mb3d"]}, {}]}, r"stages\.0\.global: 'mb3d' is not in"),
    "width of no stage": (
        {"stage": {"width": [16, 32]}},
        r"stage\.width: 32 is in no stage of the parent space; a restriction narrows lists",
    ),
    "no type left": (
        {"stage": {"global": ["mb3d"]}},
        r"stages\.0\.global: must be a list with at least one value",
    ),
    "blocks": ({"blocks": {"mb4d": {"type": "mb4d"}}}, r"blocks\.mb4d: the parent space has a block of"),
    "parent": ({"parent": 3}, r"parent: must be a name or a path, got 3"),
    "unknown parent": ({"parent": "hybird"}, r"unknown space 'hybird'; did you mean 'hybrid"),
}


@pytest.mark.parametrize("case", WIDER)
def test_restrictions_must_narrow(case: str, restrict: Callable[..., Space]) -> None:
    fields, expected = WIDER[case]
    with pytest.raises(ValueError) as caught:
        restrict(**fields)
    message = str(caught.value)
    assert re.search(expected, message), message
    assert "\n" not in message


WRONG = {
    "unknown field": ({"stem": {}}, r"stem: unknown field"),
    "no values": ({"resolution": []}, r"resolution: must be a list with at least one value"),
    "value twice": ({"counts": [1, 1]}, r"counts: a value appears twice"),
    "not whole": ({"resolution": [32.5]}, r"resolution: must be a whole number from 1 to 4096, got 32\.5"),
    "unknown block": (
        {"blocks": {"mb4d": {"type": "mb4e"}}},
        r"blocks\.mb4d\.type: unknown block 'mb4e'; did you mean 'mb4d'",
    ),
    "unknown block field": ({"heads": {"ln": {"type": "classifier", "nrm": 1}}}, r"heads\.ln\.nrm: unknown"),
    "reads": (
        {"blocks": {"mb4d": {"type": "mb4d", "reads": ["dim"]}}},
        r"blocks\.mb4d\.reads: must list genes",
    ),
    "preset": ({"blocks": {"mb4d": {"type": "mb4d"}}}, r"stages\.0: unknown block preset 'mbconv'"),
    "downsample": (
        {"downsamples": {"none": None, "inner": "inner"}},
        r"stages\.1\.downsample: unknown down.*'conv'",
    ),
    "rule": ({"rules": ["3d_first"]}, r"rules: unknown rule '3d_first'"),
    "limit": ({"limits": {"ms": 3}}, r"limits\.ms: unknown limit; there are: params, macs"),
    "limit nan": ({"limits": {"macs": float("nan")}}, r"limits\.macs: must be a finite number > 0, got nan"),
    "stages": ({"stages": [{} for _ in range(9)]}, r"stages: must be a list of 1 to 8 mappings"),
    "stage": ({"stages": [{}, 4]}, r"stages\.1: must be a mapping, got 4"),
    "no stems": ({"stems": {}}, r"stems: must be a mapping of 1 to 256 names to blocks"),
    "schema": ({"schema": "hvnas.arch/1"}, r"schema: must be hvnas\.space/1, got 'hvnas\.arch/1'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_name_file_and_field(case: str, tiny: Callable[..., Space]) -> None:
    fields, expected = WRONG[case]
    with pytest.raises(ValueError) as caught:
        tiny(**fields)
    message = str(caught.value)
    assert re.search(expected, message), message
    assert "space.yaml" in message
    assert "\n" not in message


def test_unknown_space_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown space 'hybird'; did you mean 'hybrid.*path to a \.yaml"):
        load_space("hybird")
