"""Sampling, mutation and crossover: canonical rows, as asked, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from hvnas.ops import evaluate_columns
from hvnas.space import FastPath, Space, load_space
from hvnas.space.sampling import SIZE_COLUMNS


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def population(space: Space, n: int, *, seed: int = 0) -> np.ndarray:
    """Canonical rows, every gene drawn by itself. Shape [n, genes]."""
    return space.canonicalise((rng(seed).random((n, len(space.genes))) * space.cardinalities).astype(int))


def is_canonical(space: Space, rows: np.ndarray) -> bool:
    return rows.dtype == np.int16 and np.array_equal(space.canonicalise(rows), rows)


def test_mutation(hybrid: Space) -> None:
    rows = population(hybrid, 500)
    children = hybrid.mutate(rows, rng=rng(1), rate=0.1)
    assert children.shape == rows.shape
    assert is_canonical(hybrid, children)
    changed = (children != rows).any(1).mean()
    assert 0.5 < changed <= 1.0
    # Most genes stay: a mutant is near its parent.
    assert (children != rows).mean() < 0.3


def test_mutation_at_rate_0_changes_nothing(hybrid: Space) -> None:
    rows = population(hybrid, 100)
    assert np.array_equal(hybrid.mutate(rows, rng=rng(), rate=0.0), rows)


def test_mutation_reaches_every_row(tiny: Callable[..., Space]) -> None:
    space = tiny(tokens=[None], stem_width=["same"], counts=[1])
    rows = population(space, 1)
    seen = {tuple(rows[0])}
    for seed in range(60):
        rows = space.mutate(np.repeat(rows, 40, axis=0)[:400], rng=rng(seed), rate=0.4)
        seen |= set(map(tuple, rows.tolist()))
    assert len(seen) == space.size


def test_crossover(hybrid: Space) -> None:
    a, b = population(hybrid, 500, seed=1), population(hybrid, 500, seed=2)
    children = hybrid.crossover(a, b, rng=rng())
    assert children.shape == a.shape
    assert is_canonical(hybrid, children)
    differ = a != b
    from_parent = ((children == a) | (children == b))[differ].mean()
    assert from_parent > 0.7  # the rest was repaired
    both = [(children == parent)[differ].mean() for parent in (a, b)]
    assert min(both) > 0.2


def test_crossover_of_twins_is_the_twin(hybrid: Space) -> None:
    rows = population(hybrid, 100)
    assert np.array_equal(hybrid.crossover(rows, rows, rng=rng()), rows)


def test_seed_decides(hybrid: Space) -> None:
    a, b = population(hybrid, 50, seed=1), population(hybrid, 50, seed=2)
    for draw in (
        lambda seed: hybrid.mutate(a, rng=rng(seed), rate=0.2),
        lambda seed: hybrid.crossover(a, b, rng=rng(seed)),
    ):
        assert np.array_equal(draw(3), draw(3))
        assert not np.array_equal(draw(3), draw(4))


def test_samples_are_canonical_and_the_same_for_the_same_seed() -> None:
    space = load_space("efficientformer")
    rows = space.sample(200, rng=rng(5))
    assert rows.shape == (200, len(space.genes))
    assert is_canonical(space, rows)
    assert np.array_equal(space.sample(200, rng=rng(5)), rows)
    assert not np.array_equal(space.sample(200, rng=rng(6)), rows)
    assert len(np.unique(rows, axis=0)) == 200


def test_samples_keep_the_limits(tiny: Callable[..., Space]) -> None:
    free = tiny()
    sizes = FastPath(free, SIZE_COLUMNS)
    bound = float(np.median(sizes(free.sample(200, rng=rng()))[:, 1]))
    space = tiny(limits={"params": bound})
    rows = space.sample(200, rng=rng())
    assert sizes(rows)[:, 1].max() <= bound
    assert all(space.decode(row) in space for row in rows[:20])


def test_samples_are_log_uniform_in_macs() -> None:
    space = load_space("efficientformer")
    low, high = 0.2e9, 5e9
    rows = space.sample(960, rng=rng(), macs=(low, high))
    assert is_canonical(space, rows)
    macs = FastPath(space, SIZE_COLUMNS)(rows)[:, 0]
    assert low <= macs.min() <= macs.max() <= high
    position = np.log(macs / low) / np.log(high / low)
    assert stats.kstest(position, "uniform").statistic < 0.05
    # The order says nothing about the size.
    assert abs(stats.spearmanr(np.arange(len(macs)), macs).statistic) < 0.1
    exact = [evaluate_columns(SIZE_COLUMNS, space.decode(row).lower())[0] for row in rows[:20]]
    np.testing.assert_allclose(macs[:20], exact, rtol=1e-9)


@pytest.mark.slow
def test_samples_of_the_mobile_space_are_log_uniform_in_macs(mobile: Space) -> None:
    low, high = 0.1e9, 5e9
    rows = mobile.sample(2400, rng=rng(), macs=(low, high))
    sizes = FastPath(mobile, SIZE_COLUMNS)(rows)
    position = np.log(sizes[:, 0] / low) / np.log(high / low)
    assert stats.kstest(position, "uniform").statistic < 0.03
    assert sizes[:, 1].max() <= mobile.limits["params"]


def test_what_no_network_has_is_refused(tiny: Callable[..., Space]) -> None:
    with pytest.raises(ValueError, match=r"space tiny yields too few networks between 1e.12 and 2e.12 MACs"):
        tiny().sample(3, rng=rng(), macs=(1e12, 2e12))
    with pytest.raises(ValueError, match="n: must be >= 0, got -1"):
        tiny().sample(-1, rng=rng())
    assert tiny().sample(0, rng=rng()).shape == (0, len(tiny().genes))
