"""Strategies, and pymoo's NSGA-II, on tables of published results: how far from the best after n evaluations?

Each strategy is told what it would be told of an estimator that takes minutes: one network at a time. Prints
the median regret over seeds (the table's best top-1 less that of the best network found, in points) after 25,
50, 100 and 200 evaluations, and how many evaluations bring it to the target. `evolution`, which plans by how
many evaluations it has, runs once for each of these counts, the others once for the largest; `auto` is the
strategy that it chooses.

    python scripts/bench_strategies.py TABLE [TABLE …] --out bench [--seeds 20] [--evals 25,50,100,200]
        [--strategies auto,random,evolution,tpe,nsga2,predictor,gp,pymoo] [--target 0.3]

Tables: nas-bench-macro_cifar10.json of github.com/xiusu/NAS-Bench-Macro, or any that `hvnas bench` reads. It
goes on after a kill: what is in the folder is not run again. A run ends where it has found the best network.
Writes runs.csv, a line a run with its regret after each evaluation, and medians.csv, what it prints. pymoo is
an extra: pip install "hvnas[dev]".
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from _bench_contenders import pymoo_nsga2

from hvnas._files import append_line
from hvnas._records import Cell, csv_line, csv_text, field_names, read_csv
from hvnas.accuracy.table import PublishedTable, read_table
from hvnas.search.strategies.registry import resolve_strategy
from hvnas.studies.bench import (
    AUTO,
    TARGET,
    BestFound,
    Curve,
    Outcome,
    TableProblem,
    outcome,
    random_needed,
    run_curve,
)

STRATEGIES = "auto,random,evolution,tpe,nsga2,predictor,gp,pymoo"
PYMOO = "pymoo"
# Up to 200 evaluations their next network does not depend on how many are to follow: Optuna's samplers begin
# with 10 random ones and breed populations of 10, the predictor begins with 8 and proposes 4 at a time.
ANYTIME = ("random", "tpe", "nsga2", "gp", "predictor", PYMOO)
# The best of 10, 20 and 40 on the tables of Channel-Bench-Macro.
POPULATION = 10


@dataclass(frozen=True)
class Record:
    """A run as a line of runs.csv; `regret` after each evaluation, in points."""

    table: str
    strategy: str
    evals: Annotated[int, Cell(least=1)]
    seed: Annotated[int, Cell(least=0)]
    seconds: float
    regret: tuple[str, ...]

    @property
    def best_found(self) -> bool:
        """Whether the best of the table was found: whatever follows changes nothing."""
        return float(self.regret[-1]) == 0

    def curve(self, strategy: str, evals: int) -> Curve:
        """The first `evals` evaluations of the run, as that of `strategy`."""
        regret = np.array([float(each) for each in self.regret])
        longer = np.concatenate([regret, np.full(max(0, evals - len(regret)), regret[-1])])
        return Curve(strategy, self.seed, longer[:evals], self.seconds)

    def serves(self, table: PublishedTable, strategy: str, evals: int) -> bool:
        """Whether it tells what the strategy does on a table with so many evaluations."""
        if (self.table, self.strategy) != (table.path.stem, strategy):
            return False
        return self.evals == evals or (strategy in ANYTIME and (self.evals > evals or self.best_found))


def pymoo_curve(table: PublishedTable, *, evals: int, seed: int) -> Curve:
    """One run of pymoo's NSGA-II; of its last generation what is beyond `evals` is left out."""
    problem = TableProblem.of(table, ends=True)
    started = time.perf_counter()
    with suppress(BestFound):
        pymoo_nsga2(evals, seed, population=POPULATION)(problem)
    return Curve(PYMOO, seed, problem.regret(evals), time.perf_counter() - started)


def planned(table: PublishedTable, options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Each strategy that runs, with the counts of evaluations that it runs for."""
    for name in dict.fromkeys(chosen(each, table, options) for each in options.strategies):
        for count in options.evals[-1:] if name in ANYTIME else options.evals:
            yield name, count


def chosen(strategy: str, table: PublishedTable, options: argparse.Namespace) -> str:
    """`strategy`, or what ``auto`` chooses for the most evaluations that are asked for."""
    if strategy != AUTO:
        return strategy
    return resolve_strategy(TableProblem.of(table), options.evals[-1]).name


def known(path: Path) -> list[Record]:
    """The runs in a file, if there is one."""
    if not path.exists():
        return []
    return [row.record(Record) for row in read_csv(path, field_names(Record), growing=True)]


def run_all(path: Path, tables: Sequence[PublishedTable], options: argparse.Namespace) -> None:
    """Make every run that is not in the file yet; seeds come first, so that all strategies grow alike."""
    written = path.read_bytes() if path.exists() else b""
    # A line that was cut off is of a run to be made again.
    kept = written[: written.rfind(b"\n") + 1] or csv_line(field_names(Record)).encode()
    if kept != written:
        path.write_bytes(kept)
    done = known(path)
    for seed in range(options.seeds):
        for table in tables:
            for name, evals in planned(table, options):
                if any(each.serves(table, name, evals) and each.seed == seed for each in done):
                    continue
                curve = (
                    pymoo_curve(table, evals=evals, seed=seed)
                    if name == PYMOO
                    else run_curve(table, name, evals=evals, seed=seed)
                )
                regret = ";".join(f"{value:.4f}" for value in curve.regret)
                cells = [table.path.stem, name, evals, seed, f"{curve.seconds:.3f}", regret]
                append_line(path, csv_line(cells).rstrip("\n"))


def medians(
    records: Sequence[Record], table: PublishedTable, options: argparse.Namespace
) -> Iterator[tuple[int, Outcome]]:
    """For each strategy and count of evaluations what its runs did, each seed once."""
    for name in options.strategies:
        ran = chosen(name, table, options)
        for count in options.evals:
            runs = {each.seed: each for each in records if each.serves(table, ran, count)}
            curves = [runs[seed].curve(name, count) for seed in sorted(runs) if seed < options.seeds]
            if curves:
                yield count, outcome(curves, steps=(count,), target=options.target)


def show(table: PublishedTable, found: Sequence[tuple[int, Outcome]], options: argparse.Namespace) -> None:
    """Median regret by strategy and evaluations, with quartiles, and what reaches the target."""
    print(f"\n{table.path.stem}: {len(table):,} networks, best {table.top1.max():.2f}; random networks that")
    print(f"reach {options.target:g} points of regret: {random_needed(table, options.target):.0f} (median)")
    print(f"{'strategy':>10} " + " ".join(f"{n:>18}" for n in options.evals) + f" {'to target':>10} runs")
    for name in options.strategies:
        own = {count: each for count, each in found if each.strategy == name}
        cells = [
            f"{own[n].regret[n]:.3f} ({own[n].low[n]:.2f}-{own[n].high[n]:.2f})" if n in own else "-"
            for n in options.evals
        ]
        needed = next((own[n].needed for n in options.evals if n in own and own[n].needed is not None), None)
        reached = f"> {max(options.evals)}" if needed is None else f"{needed:.0f}"
        runs = max((each.runs for each in own.values()), default=0)
        print(f"{name:>10} " + " ".join(f"{cell:>18}" for cell in cells) + f" {reached:>10} {runs:>4}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="files of published results")
    parser.add_argument("--strategies", default=STRATEGIES)
    parser.add_argument("--evals", default="25,50,100,200", help="counts of evaluations, by commas")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--target", type=float, default=TARGET, help="points of regret")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs.csv and medians.csv")
    options = parser.parse_args(arguments)
    options.strategies = options.strategies.split(",")
    options.evals = sorted(int(count) for count in options.evals.split(","))
    tables = [read_table(path) for path in options.tables]
    options.out.mkdir(parents=True, exist_ok=True)
    runs = options.out / "runs.csv"
    run_all(runs, tables, options)
    lines = []
    for table in tables:
        found = list(medians(known(runs), table, options))
        show(table, found, options)
        lines += [
            {
                "table": table.path.stem,
                "strategy": each.strategy,
                "evaluations": count,
                "runs": each.runs,
                "regret": f"{each.regret[count]:.4f}",
                "low": f"{each.low[count]:.4f}",
                "high": f"{each.high[count]:.4f}",
                "needed": "" if each.needed is None else f"{each.needed:g}",
                "seconds": f"{each.seconds:.3f}",
            }
            for count, each in found
        ]
    (options.out / "medians.csv").write_text(csv_text(lines), encoding="utf-8")
    print(f"\nwritten: {runs}, {options.out / 'medians.csv'}")


if __name__ == "__main__":
    main()
