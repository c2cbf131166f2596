"""What the sections of bench_search.py share: how much they do, and how they print it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvnas.search import Archive, Problem, make_problem
from hvnas.search.pareto import hypervolume
from hvnas.search.rows import Floats
from hvnas.search.strategies.optuna_samplers import KINDS

# Hypervolumes are measured above this top-1 minus one standard deviation, in points, if not said otherwise.
FLOOR = 60.0


@dataclass(frozen=True)
class Settings:
    """How much the sections do.

    `evals` of evolution and `peer_evals` of Optuna (pymoo: four times as many) in each of `rounds`;
    `seconds` for each of `samplers` with each of `seeds`; `small` is the space that is listed, searched with
    `optimum_seeds` seeds for each of `shares` of its size; `scales` are evaluations, rising tenfold. On Ray
    there are `ray_evals` networks of `ray_seconds` each, and `ray_cheap` cheap ones.
    """

    space: str | Path = "hybrid-mobile"
    device: str = "iphone12"
    budget_ms: float = 2.0
    rounds: int = 3
    evals: int = 200_000
    peer_evals: int = 2_000
    samplers: tuple[str, ...] = tuple(KINDS)
    seconds: float = 10.0
    seeds: int = 5
    sampler_evals: int = 100_000
    small: str | Path = "hybrid-small"
    optimum_seeds: int = 100
    shares: tuple[float, ...] = (0.01, 0.05)
    scales: tuple[int, ...] = (100_000, 1_000_000)
    ray_evals: int = 24
    ray_seconds: float = 1.0
    ray_cheap: int = 10_000

    def problem(self, *, space: str | Path | None = None, margin: float | None = 0.0) -> Problem:
        """The problem that is searched; `margin` None is the device's own."""
        return make_problem(
            space or self.space, self.device, "surrogate", budget_ms=self.budget_ms, margin=margin
        )

    @property
    def quick(self) -> Settings:
        """Everything once and small: for a look at whether it runs, no figure means anything."""
        corner = Path(__file__).parent / "data" / "hybrid_quick.yaml"
        return replace(
            self,
            space=corner,
            rounds=1,
            evals=600,
            peer_evals=40,
            samplers=("nsga2", "random"),
            seconds=0.2,
            seeds=1,
            sampler_evals=400,
            small=corner,
            optimum_seeds=3,
            shares=(0.05,),
            scales=(200, 2_000),
            ray_evals=6,
            ray_seconds=0.1,
            ray_cheap=200,
        )


@dataclass
class Report:
    """Prints lines as they come and counts the bars that were missed."""

    short: int = 0

    def section(self, title: str) -> None:
        """A heading."""
        print(f"\n{title}", flush=True)

    def line(self, text: str) -> None:
        """A line without a bar."""
        print(f"       {text}", flush=True)

    def at_least(self, bound: float, figure: float, what: str, *, digits: int = 2) -> None:
        """A line with a bar that `figure` must reach."""
        self._mark(figure >= bound, f"{what}: {figure:,.{digits}f}  (bar: >= {bound:,g})")

    def at_most(self, bound: float, figure: float, what: str, *, digits: int = 2) -> None:
        """A line with a bar that `figure` must not exceed."""
        self._mark(figure <= bound, f"{what}: {figure:,.{digits}f}  (bar: <= {bound:,g})")

    def _mark(self, met: bool, text: str) -> None:
        self.short += not met
        print(f"{'PASS' if met else 'short':6s} {text}", flush=True)


def volume(costs: Floats, *, ms: float, floor: float = FLOOR) -> float:
    """Hypervolume above `floor` points and below `ms`, in ms x points. `costs` [n, 2]: minus points, ms."""
    return hypervolume(costs, np.array([-floor, ms]))


def volume_of(archive: Archive, *, ms: float, floor: float = FLOOR) -> float:
    """Of its front, 0 where that is empty."""
    return volume(archive.evaluations.costs, ms=ms, floor=floor) if len(archive) else 0.0
