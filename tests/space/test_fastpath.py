"""The fast path equals lowering every architecture, column by column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.ops import MACS, PARAMS, PEAK_MEMORY, Column, Op, evaluate_columns
from hvnas.space import FastPath, Space


def _conv_bytes(op: Op) -> float:
    return float(op.act_bytes())


def _tall(op: Op) -> float | None:
    return float(op.shape_in[-2]) if op.kind == "matmul" else None


# Every reducer; plain and fused; with kinds and without; polynomials in the widths and none; thresholds.
COLUMNS = (
    Column("macs", "sum", lambda op: float(op.macs)),
    Column("params", "sum", lambda op: float(op.params)),
    Column("count", "sum", lambda op: 1.0),
    Column("fused count", "sum", lambda op: 1.0, fused=True),
    Column("fused activations", "sum", lambda op: float(bool(op.act)), fused=True),
    Column("conv bytes", "sum", _conv_bytes, kinds=frozenset({"conv"}), fused=True),
    Column("large", "sum", lambda op: float(op.weight_bytes()), above=100_000.0),
    Column("large fused", "sum", _conv_bytes, kinds=frozenset({"conv", "linear"}), fused=True, above=2e6),
    Column("rounded", "sum", lambda op: float(-(-op.channels // 48)), kinds=frozenset({"conv"})),
    Column("root", "sum", lambda op: op.out_count**0.5),
    Column("widest", "max", lambda op: float(op.channels)),
    Column("largest map", "max", lambda op: float(op.out_count), fused=True),
    Column("narrowest", "min", lambda op: float(op.channels), kinds=frozenset({"conv", "linear"})),
    Column("last linear", "last", lambda op: float(op.shape_in[-1]), kinds=frozenset({"linear"})),
    Column("positions", "max", _tall),
    Column("last softmax", "last", lambda op: float(op.shape_in[-1]), kinds=frozenset({"softmax"})),
    Column("least embed", "min", lambda op: float(op.weights), kinds=frozenset({"embed"})),
    Column("never", "sum", lambda op: None),
    PEAK_MEMORY,
    Column("alive", "max", lambda elements: float(elements), alive=True),  # type: ignore[arg-type]
)


def draw(space: Space, n: int, seed: int = 0) -> np.ndarray:
    """Canonical rows, every gene drawn by itself. Shape [n, genes]."""
    draws = np.random.default_rng(seed).random((n, len(space.genes)))
    return space.canonicalise((draws * space.cardinalities).astype(np.int64))


def check(space: Space, rows: np.ndarray) -> None:
    fast = FastPath(space, COLUMNS)(rows)
    slow = np.stack([evaluate_columns(COLUMNS, space.decode(row).lower()) for row in rows])
    assert fast.shape == (len(rows), len(COLUMNS))
    for k, column in enumerate(COLUMNS):
        np.testing.assert_allclose(fast[:, k], slow[:, k], rtol=1e-9, atol=0, err_msg=column.name)


def test_equals_lowering(mobile: Space) -> None:
    check(mobile, draw(mobile, 300))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["hybrid", "mobile"])
def test_equals_lowering_on_a_thousand(which: str, request: pytest.FixtureRequest) -> None:
    space = request.getfixturevalue(which)
    check(space, draw(space, 1000, seed=1))


def test_fixed_points(hybrid: Space) -> None:
    names = hybrid.fixed_points()[::4]
    check(hybrid, np.stack([hybrid.encode(load_arch(name)) for name in names]))


def test_batches_do_not_matter(mobile: Space) -> None:
    rows = draw(mobile, 60, seed=2)
    path = FastPath(mobile, COLUMNS[:3])
    whole = path(rows)
    apart = np.concatenate([FastPath(mobile, COLUMNS[:3])(part) for part in np.array_split(rows, 3)])
    np.testing.assert_allclose(apart, whole, rtol=1e-9)
    assert np.array_equal(path(rows[::-1]), whole[::-1])


@pytest.mark.parametrize("which", ["hybrid", "mobile"])
def test_peak_memory_is_that_of_the_program(which: str, request: pytest.FixtureRequest) -> None:
    space = request.getfixturevalue(which)
    rows = draw(space, 60, seed=3)
    peaks = [space.decode(row).lower().fused().peak_bytes for row in rows]
    assert FastPath(space, [PEAK_MEMORY])(rows)[:, 0].tolist() == peaks


def test_a_full_table_begins_anew(tiny: Callable[..., Space], monkeypatch: pytest.MonkeyPatch) -> None:
    space = tiny()
    rows = draw(space, 400, seed=4)
    whole = FastPath(space, COLUMNS)(rows)
    monkeypatch.setattr("hvnas.space.fastpath.fastpath.MAX_ENTRIES", 8)
    monkeypatch.setattr("hvnas.space.fastpath.fastpath.CHUNK", 16)
    monkeypatch.setattr("hvnas.space.fastpath.fastpath.DENSE", 0)
    path = FastPath(space, COLUMNS)
    np.testing.assert_allclose(path(rows), whole, rtol=1e-9)
    assert len(path.entries) < 200


def test_sampling_reads_sizes_off_a_path_that_has_them(tiny: Callable[..., Space]) -> None:
    plain, sharing = tiny(), tiny()
    path = FastPath(sharing, [COLUMNS[2], PARAMS, MACS])
    sharing.read_sizes_from(path)
    sharing.read_sizes_from(FastPath(sharing, [MACS]))
    drawn = [s.sample(50, rng=np.random.default_rng(0), macs=(1e4, 1e9)) for s in (plain, sharing)]
    np.testing.assert_array_equal(*drawn)
    assert len(path.entries) > 1


def test_no_rows(mobile: Space) -> None:
    path = FastPath(mobile, COLUMNS)
    assert path(np.zeros((0, len(mobile.genes)), dtype=np.int16)).shape == (0, len(COLUMNS))
