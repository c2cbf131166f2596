"""Searches that time networks on this host, over several seeds: does the best one keep the budget once more?

    hvnas latency measure --space hybrid-tiny --out tiny
    python scripts/study_timed.py --device tiny.yaml --space hybrid-tiny --budget-ms 4

For each seed: how many networks were timed, the factor by which the table is corrected, the mean error and
the bias of the table on the networks that were timed (negative where it takes them for faster than they are),
the measured latency of the best network, and its latency when it is built and timed again afterwards.
"""

from __future__ import annotations

import argparse

import numpy as np

from hvnas._records import Table
from hvnas.cli._screen import Screen
from hvnas.latency import load_device
from hvnas.latency.measure.backends import make_backend
from hvnas.latency.measure.run import time_network
from hvnas.search import search
from hvnas.search.timed import check_host

NAMES = (">seed", ">timed", ">factor", ">table's error %", ">bias %", ">best ms", ">again ms")


def main(arguments: list[str] | None = None) -> None:
    """Search, time the best networks again, print."""
    parser = argparse.ArgumentParser(description="Searches that time networks, over several seeds.")
    parser.add_argument("--device", required=True, help="a table of this host")
    parser.add_argument("--space", default="hybrid-mobile")
    parser.add_argument("--budget-ms", type=float, required=True)
    parser.add_argument("--measure", type=int, default=20)
    parser.add_argument("--evals", type=int, default=2500)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args(arguments)
    device = load_device(options.device)
    backend = make_backend(check_host(device), threads=device.info.threads or 1)
    rows, kept, again = [], 0, 0
    for seed in range(options.seeds):
        result = search(
            options.space,
            device,
            budget_ms=options.budget_ms,
            measure=options.measure,
            evals=options.evals,
            seed=seed,
        )
        assert result.timed is not None
        timed, best = result.timed, result.best
        e = 100 * (timed.table.ms[timed.timed] / timed.ms[timed.timed] - 1)
        ms = time_network(best.arch, backend).ms
        kept += best.is_measured and best.latency_ms <= options.budget_ms
        again += ms <= options.budget_ms
        numbers = (timed.factor, np.abs(e).mean(), e.mean(), best.latency_ms, ms)
        rows.append((seed, len(timed.timings), *(f"{value:.3f}" for value in numbers)))
    screen = Screen()
    screen.show(Table(NAMES, tuple(rows)))
    screen.line(
        f"{kept} of {options.seeds} keep {options.budget_ms:g} ms by measurement, {again} when timed again."
    )


if __name__ == "__main__":
    main()
