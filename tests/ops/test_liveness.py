"""What is alive while ops run, and the column of peak memory that follows from it."""

from __future__ import annotations

import pytest

import hvnas
from hvnas.ops import MAP, PEAK_MEMORY, TOKENS, Column, Op, Reader, Segment, evaluate_columns
from hvnas.ops.program import alive


def op(size: int, *inputs: int) -> Op:
    return Op("act", (size, 1), (size, 1), inputs)


def test_a_value_lives_until_its_last_reader() -> None:
    ops = [op(10, MAP), op(1, 0), op(2, 0, 1), op(5, 2)]
    assert alive(ops, {MAP: 100}) == [110, 11, 13, 7]


def test_what_is_kept_lives_to_the_end() -> None:
    ops = [op(10, MAP), op(1, 0), op(2, 1)]
    assert alive(ops, {MAP: 100}, kept=[0]) == [110, 11, 13]
    assert alive(ops, {MAP: 100, TOKENS: 7}, kept=[2, TOKENS]) == [117, 18, 10]


def test_what_nobody_reads_is_not_there() -> None:
    assert alive([op(10, MAP), op(1), op(2, 0)], {MAP: 100, TOKENS: 7}) == [110, 11, 12]
    assert alive([], {MAP: 100}) == []


@pytest.mark.parametrize("name", ["efficientformer_l1", "mobileformer_52m", "vit_p_1gf", "mobilevit_xxs"])
def test_the_column_is_the_peak_of_the_program(name: str) -> None:
    program = hvnas.load_arch(name).lower()
    plain = Column("plain", "max", lambda elements: 4.0 * elements, alive=True)  # type: ignore[operator]
    found = evaluate_columns([PEAK_MEMORY, plain], program)
    assert found.tolist() == [program.fused().peak_bytes, program.peak_bytes]


def test_contributions_are_in_bytes() -> None:
    segment = Segment((op(10, MAP), op(1, 0)), {MAP: 100})
    assert Reader([PEAK_MEMORY]).contributions(0, segment) == [440.0, 44.0]
