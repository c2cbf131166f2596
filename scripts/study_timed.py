"""Searches that time networks on this host, over several seeds: does the best one keep the budget once more?

    hvnas latency measure --space hybrid-tiny --out tiny
    python scripts/study_timed.py --device tiny.yaml --space hybrid-tiny --budget-ms 4
    python scripts/study_timed.py --device tiny.yaml --space hybrid-tiny --budget-ms 3 4 6 --front 20

For each seed: how many networks were timed, the factor by which the table is corrected, the mean error and
the bias of the table on the networks that were timed (negative where it takes them for faster than they are),
the measured latency of the best network, and its latency when it is built and timed again afterwards.

With --front, the search times nothing; the best networks of its front are timed afterwards, in turn with
random networks that the table has not seen, and the table's error and bias on both are printed. How fast the
machine is by then is in both; what a search makes of the table's errors is in the first alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from hvnas._records import Table
from hvnas.cli._screen import Screen
from hvnas.latency import load_device
from hvnas.latency.calibration.validation import device_file, held_out, known_hashes
from hvnas.latency.measure.backends import Backend, make_backend
from hvnas.latency.measure.run import time_network
from hvnas.search import search
from hvnas.search.timed import check_host
from hvnas.space import load_space

TIMED = (
    *(">budget ms", ">seed", ">timed", ">factor", ">table's error %"),
    *(">bias %", ">best ms", ">again ms", ">once more"),
)
FRONT = (
    *(">budget ms", ">seed", ">timed", ">table's error %", ">bias %", ">within 10 %"),
    *(">random: error %", ">bias %", ">within 10 %"),
)


def main(arguments: list[str] | None = None) -> None:
    """Search, time networks, print."""
    parser = argparse.ArgumentParser(description="Searches that time networks, over several seeds.")
    parser.add_argument("--device", required=True, help="a table of this host")
    parser.add_argument("--space", default="hybrid-mobile")
    parser.add_argument("--budget-ms", type=float, nargs="+", required=True)
    parser.add_argument("--measure", type=int, default=20)
    parser.add_argument("--front", type=int, help="time so many of the best after a search that times none")
    parser.add_argument("--evals", type=int, default=2500)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args(arguments)
    device = load_device(options.device)
    backend = make_backend(check_host(device), threads=device.info.threads or 1)
    study = study_front if options.front else study_timed
    study(options, backend)


def study_timed(options: argparse.Namespace, backend: Backend) -> None:
    """Searches that time networks, and the best of each timed twice more."""
    rows, counts = [], np.zeros(3, int)
    for budget_ms, seed in _searches(options):
        result = search(
            options.space,
            options.device,
            budget_ms=budget_ms,
            measure=options.measure,
            evals=options.evals,
            seed=seed,
        )
        assert result.timed is not None
        timed, best = result.timed, result.best
        again = [time_network(best.arch, backend).ms for _ in range(2)]
        kept = best.is_measured and best.latency_ms <= budget_ms
        counts += [kept, *(ms <= budget_ms for ms in again)]
        error, bias, _ = _missed(timed.table.ms[timed.timed], timed.ms[timed.timed])
        numbers = (timed.factor, error, bias, best.latency_ms, *again)
        rows.append((f"{budget_ms:g}", seed, len(timed.timings), *(f"{value:.3f}" for value in numbers)))
    screen = Screen()
    screen.show(Table(TIMED, tuple(rows)))
    kept, again, more = counts.tolist()
    screen.line(
        f"{kept} of {len(rows)} keep the budget by measurement, {again} when timed again, {more} once more."
    )


def study_front(options: argparse.Namespace, backend: Backend) -> None:
    """What the table says of the best networks of searches that time none, against their times."""
    device, space = load_device(options.device), load_space(options.space)
    known = known_hashes(device_file(options.device))
    rows, pairs = [], []
    for budget_ms, seed in _searches(options):
        result = search(options.space, device, budget_ms=budget_ms, evals=options.evals, seed=seed)
        best = sorted(result.front, key=lambda found: -found.objective)[: options.front]
        others = held_out(space, len(best), seed=seed, known=known)
        here = []
        for found, other in zip(best, others, strict=True):
            predicted = (found.latency_ms, device.latency(other.lower()).ms)
            here.append((*predicted, *(time_network(arch, backend).ms for arch in (found.arch, other))))
        rows.append((f"{budget_ms:g}", seed, len(here), *(f"{value:.2f}" for value in _both(here))))
        pairs += here
    screen = Screen()
    rows.append(("all", "", len(pairs), *(f"{value:.2f}" for value in _both(pairs))))
    screen.show(Table(FRONT, tuple(rows)))


def _both(timed: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """`_missed` of networks found and of random ones: [n] of what is predicted of the two, and measured."""
    found, other, found_ms, other_ms = zip(*timed, strict=True)
    return *_missed(found, found_ms), *_missed(other, other_ms)


def _searches(options: argparse.Namespace) -> list[tuple[float, int]]:
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    return [(budget_ms, seed) for budget_ms in options.budget_ms for seed in seeds]


def _missed(predicted: Sequence[float], measured: Sequence[float]) -> tuple[float, float, float]:
    """Mean error, bias, and how many lie within 10 %, in percent."""
    e = 100 * (np.asarray(predicted) / np.asarray(measured) - 1)
    return float(np.abs(e).mean()), float(e.mean()), float(100 * (np.abs(e) <= 10).mean())


if __name__ == "__main__":
    main()
