"""`exclude` and `multiple_of` of a space file leave out what they name, everywhere, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvnas.arch import Arch
from hvnas.space import Space, load_space

Write = Callable[..., Path]
Restrict = Callable[..., Space]


@pytest.fixture
def mobile(write: Write) -> Restrict:
    """``mobile(exclude=...)``: a restriction of hybrid-mobile."""

    def make(**fields: Any) -> Space:
        data = {"schema": "hvnas.space/1", "name": "child", "parent": "hybrid-mobile"}
        return load_space(write(data | fields, "child"))

    return make


def members(space: Space, n: int = 40) -> Iterator[Arch]:
    for row in space.sample(n, rng=np.random.default_rng(0)):
        yield space.decode(row)


def test_an_activation_is_left_out_wherever_a_block_has_one(mobile: Restrict) -> None:
    space = mobile(exclude={"act": "silu"})
    variants = {op.variant for arch in members(space) for op in arch.lower().ops if op.kind == "act"}
    assert variants and "silu" not in variants
    # CoAtNet's block says gelu; the SiLU is in its squeeze-and-excitation.
    assert all("coat_mbconv" not in stage.local for stage in space.spec.stages)


def test_squeeze_and_excitation_of_any_ratio_is_left_out(mobile: Restrict) -> None:
    space = mobile(exclude={"se": True})
    assert all(not block.get("se") for arch in members(space) for _, block in arch.parts())
    assert "coat_mbconv" not in space.spec.stages[0].local and "mb4d" in space.spec.stages[0].local


def test_a_kind_of_op_is_left_out(mobile: Restrict) -> None:
    space = mobile(exclude={"op": ["matmul", "softmax"]}, tokens=[None])
    assert not {op.kind for arch in members(space) for op in arch.lower().ops} & {"matmul", "softmax"}
    assert {stage.global_depth for stage in space.spec.stages} == {(0,)}


def test_norms_are_read_off_the_block(mobile: Restrict) -> None:
    space = mobile(exclude={"norm": ["ln", "gn"]}, tokens=[None])
    assert {op.variant for arch in members(space) for op in arch.lower().ops if op.kind == "norm"} == {"bn"}


def test_values_of_a_gene_go_with_the_profiles_that_hold_one(mobile: Restrict) -> None:
    space = mobile(exclude={"expand": [1, 2, 4]})
    assert set(space.spec.genes["expand"]) == {3, 6, (6, 3)}
    # A downsample that expands by 4 by itself goes too; one by 16 stays.
    assert "mbconv4" not in space.spec.stages[1].downsample and "fused16" in space.spec.stages[1].downsample


def test_what_a_gene_fills_in_is_not_the_blocks_own(mobile: Restrict) -> None:
    assert "mb4d" in mobile(exclude={"expand": 4}).spec.stages[0].local


def test_widths_are_multiples(mobile: Restrict) -> None:
    space = mobile(multiple_of=32)
    for arch in members(space):
        assert all(run.width % 32 == 0 for stage in arch.stages for _, run in stage.runs)
        assert arch.stem.out % 32 == 0
    assert "same" in space.spec.stem_width


def test_what_excludes_nothing_is_the_parent(mobile: Restrict) -> None:
    assert mobile(exclude={}, multiple_of=1).hash == mobile().hash == load_space("hybrid-mobile").hash


def test_a_space_without_a_parent_takes_both(tiny: Restrict) -> None:
    space = tiny(exclude={"type": "mbconv"}, multiple_of=16)
    assert space.spec.stages[0].local == ("mb4d",)
    assert {stage.width for stage in space.spec.stages} == {(16,)}


WRONG = {
    "field": ({"exclude": {"akt": "silu"}}, r"exclude\.akt: unknown field 'akt'; nearest of \d+: act,"),
    "value": ({"exclude": {"act": "silo"}}, r"exclude\.act: no block here has 'silo'; there are: .*silu"),
    "list": ({"exclude": ["act"]}, r"exclude: must be a mapping of fields to values, got \['act'\]"),
    "nested": ({"exclude": {"act": {"a": 1}}}, r"exclude\.act: must hold plain values"),
    "no stem": (
        {"stems": ["conv3_silu"], "exclude": {"act": "silu"}},
        r"exclude: leaves nothing of stems; exclude fewer",
    ),
    "no gene": (
        {"genes": {"expand": [4]}, "exclude": {"expand": 4}},
        r"exclude: leaves genes\.expand no value",
    ),
    "no block": (
        {"stage": {"local": ["mb4d"], "local_depth": [1, 2]}, "exclude": {"type": "mb4d"}},
        r"exclude: leaves stages\.0\.local no block, and its depths have no 0",
    ),
    "no width": ({"multiple_of": 1000}, r"multiple_of: no width of stages\.0\.width is a multiple of 1000"),
    "no number": ({"multiple_of": 0}, r"multiple_of: must be a whole number from 1 to 65536, got 0"),
    "no whole number": ({"multiple_of": True}, r"multiple_of: must be a whole number .* got True"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_line_names_field_and_line(case: str, mobile: Restrict) -> None:
    fields, expected = WRONG[case]
    with pytest.raises(ValueError, match=expected) as refused:
        mobile(**fields)
    assert "\n" not in str(refused.value)
    assert "child.yaml, line " in str(refused.value)


def test_the_line_is_that_of_the_field(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "schema: hvnas.space/1\nparent: hybrid-mobile  # a comment\n\n"
        "stages:\n  - {}\n  - width: [16]\n    local: [mb5d]\n"
    )
    with pytest.raises(ValueError, match=r"stages\.1\.local: 'mb5d' is not in .*own\.yaml, line 7\)"):
        load_space(path)
