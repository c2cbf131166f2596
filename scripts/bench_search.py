"""How good and how fast the search is, on a clock of its own, beside pymoo's and Optuna's.

All contenders of a section run on this machine, in turn, on the same problem through the same evaluation; a
rate counts distinct canonical architectures per second of wall time, proposals, repairs and bookkeeping
included. A line that begins with PASS or short has a bar; all figures are printed.

    python scripts/bench_search.py                  # everything, a quarter of an hour
    python scripts/bench_search.py --only optimum   # one section
    python scripts/bench_search.py --quick          # whether it runs; the figures mean nothing
    python scripts/bench_search.py --only scale --large   # up to ten million evaluations
    python scripts/bench_search.py --against 44a3fc0      # this checkout beside another commit
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace

import _bench_against
import _bench_optimum
import _bench_rates
import _bench_samplers
import _bench_scale
from _bench_common import Report, Settings


def bench_ray(settings: Settings, report: Report) -> None:
    """What scripts/bench_ray.py measures: needs two idle cores."""
    from bench_ray import LEAST_RATIO, MOST_OVERHEAD_MS, overhead, scaling

    scale = scaling(evals=settings.ray_evals, seconds=settings.ray_seconds)
    for workers, speed in ((1, scale.one), (2, scale.two)):
        report.line(f"{workers} worker(s): {speed.rate:.3f} networks/s, {speed.whole:.1f} s with Ray's start")
    report.at_least(LEAST_RATIO, scale.ratio, "2 workers over 1, ratio of rates")
    cost = overhead(evals=settings.ray_cheap)
    report.at_most(MOST_OVERHEAD_MS, cost.batched, "overhead of a cheap evaluation in batches, ms", digits=4)
    report.at_most(MOST_OVERHEAD_MS, cost.single, "overhead of a cheap evaluation, one a call, ms", digits=4)


SECTIONS: dict[str, tuple[str, Callable[[Settings, Report], None]]] = {
    "rates": ("Architectures per second", _bench_rates.run),
    "samplers": ("Hypervolume at equal wall time, tables empty at the start", _bench_samplers.run),
    "optimum": ("Against the truth of a space that can be listed", _bench_optimum.run),
    "scale": ("Time and memory over evaluations", _bench_scale.run),
    "ray": ("Ray", bench_ray),
}


def settings_of(arguments: argparse.Namespace) -> Settings:
    """How much to do."""
    settings = Settings().quick if arguments.quick else Settings()
    if arguments.large:
        settings = replace(settings, scales=(*settings.scales, _bench_scale.LARGE))
    for name in ("space", "device", "budget_ms", "rounds", "evals", "peer_evals"):
        if getattr(arguments, name) is not None:
            settings = replace(settings, **{name: getattr(arguments, name)})
    return settings


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a short form of everything")
    parser.add_argument("--large", action="store_true", help="ten million evaluations in `scale` too")
    parser.add_argument("--space", help="for all but `optimum`; hybrid-mobile if not given")
    parser.add_argument("--device", help="iphone12 if not given")
    parser.add_argument("--budget-ms", type=float, help="2 if not given")
    parser.add_argument("--rounds", type=int, help="of `rates`: runs of each contender, taking turns")
    parser.add_argument("--against", metavar="COMMIT", help="only this: times beside those of another commit")
    parser.add_argument("--quality", action="store_true", help="with --against: the defaults' results too")
    parser.add_argument("--evals", type=int, help="of evolution in `rates`")
    parser.add_argument("--peer-evals", type=int, help="of Optuna in `rates`; pymoo gets four times as many")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> Report:
    """Run the sections that are asked for, one line per figure."""
    arguments = parse(argv)
    settings = settings_of(arguments)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    report = Report()
    if arguments.against:
        _bench_against.compare(arguments.against, report, rounds=settings.rounds, quality=arguments.quality)
    for name in () if arguments.against else arguments.only or SECTIONS:
        title, run = SECTIONS[name]
        report.section(title)
        run(settings, report)
    print(f"\n{report.short} short" if report.short else "\nevery bar passed", flush=True)
    return report


if __name__ == "__main__":
    main()
