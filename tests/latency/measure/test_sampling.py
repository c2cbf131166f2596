"""Interleaved rounds, and what becomes of rows that do not agree with themselves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hvnas.latency.measure.backends import Sampler
from hvnas.latency.measure.run import FEW_RUNS, MOST_RUNS, RUNS, WHILE_MS, network_times
from hvnas.latency.measure.sampling import Sampled, sample_interleaved, time_ops
from hvnas.ops import Op
from hvnas.testing.latency import FormulaBackend, formula_ms

OPS = [Op("act", (4, n, n), (4, n, n), variant="relu") for n in (8, 16, 32)]


class Scripted(FormulaBackend):
    """Gives, for the second of `OPS`, the times of a script: a number for each round."""

    def __init__(self, script: Sequence[float]) -> None:
        super().__init__()
        self.script, self.calls = list(script), 0

    def op(self, op: Op) -> Sampler:
        steady = super().op(op)

        def sample(n: int) -> list[float]:
            self.calls += 1
            return [9.0] * (n - 1) + [self.script.pop(0)]  # the fastest run is what counts

        return sample if op == OPS[1] else steady


def test_median_and_range_of_the_fastest_runs() -> None:
    rounds = iter([[5.0, 1.0, 7.0], [2.0, 3.0, 9.0], [4.0, 8.0, 8.0]])
    (sampled,) = sample_interleaved([lambda n: next(rounds)], rounds=3, runs=3)
    assert sampled == Sampled(2.0, 3.0, 9)


def test_a_round_goes_through_all_before_the_next() -> None:
    order: list[str] = []

    def sampler(name: str) -> Sampler:
        return lambda n: [float(len(order)) for _ in range(n) if order.append(name) is None]  # type: ignore[func-returns-value]

    sample_interleaved([sampler("a"), sampler("b")], rounds=2, runs=2)
    assert "".join(order) == "aabbaabb"


@pytest.mark.parametrize(
    ("script", "calls", "ms", "noisy"),
    [
        ([1.0, 1.1, 1.05], 3, 1.05, False),  # calm at once
        ([1.0, 2.0, 1.5, 1.0, 1.02, 1.01], 6, 1.01, False),  # calm when measured again
        ([1.0, 2.0, 1.5, 1.0, 1.4, 1.2, 1.0, 3.0, 2.0], 9, 1.2, True),  # never; the calmest counts
    ],
)
def test_noisy_rows_are_measured_again_then_marked(
    script: list[float], calls: int, ms: float, noisy: bool
) -> None:
    backend = Scripted(script)
    first, second, third = time_ops(backend, OPS)
    assert (second.ms, second.noisy, backend.calls) == (pytest.approx(ms), noisy, calls)
    assert (first.ms, third.ms) == (formula_ms(OPS[0]), formula_ms(OPS[2]))
    assert not first.noisy and not third.noisy and backend.timed[OPS[0].key] == 1


def test_the_bound_is_what_one_asks_for() -> None:
    (_, row, _) = time_ops(Scripted([1.0, 1.1, 1.05] * 3), OPS, bound=0.05)
    assert row.noisy and row.spread == pytest.approx(0.1)


def test_clocks_disagree_by_some_microseconds_about_anything() -> None:
    assert not Sampled(0.001, 0.0029, 9).is_noisy(0.25)
    assert Sampled(0.001, 0.0031, 9).is_noisy(0.25)


def test_a_clock_that_sees_nothing() -> None:
    (_, row, _) = time_ops(Scripted([0.0, 0.0, 0.01] * 3), OPS)
    assert row.ms == 1e-4 and row.noisy


def test_networks_take_the_calmest_of_a_few_tries() -> None:
    asked: list[int] = []
    levels = iter([[30.0, 90.0, 30.0], [30.0] * 6 + [60.0] * 6, [40.0] * 3, [40.0] * 12])

    def sampler(n: int) -> list[float]:
        asked.append(n)
        return next(levels)

    assert network_times(sampler) == [40.0] * RUNS
    assert asked == [3, RUNS - 3] * 2


@pytest.mark.parametrize(
    ("ms", "runs"), [(300.0, FEW_RUNS), (50.0, RUNS), (2.0, WHILE_MS / 2), (0.0, MOST_RUNS)]
)
def test_short_networks_run_more_often_than_long_ones(ms: float, runs: int) -> None:
    assert network_times(lambda n: [ms or 1e-6] * n) == [ms or 1e-6] * int(runs)
