"""What a search found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hvnas._numbers import optional, took
from hvnas._records import html_of
from hvnas.arch import Arch
from hvnas.search.evaluations import STEP, Archive, Evaluations, best_place, guesses, shown_places
from hvnas.search.limits import Limit, find_limit
from hvnas.search.pareto import thin
from hvnas.search.problem import Problem
from hvnas.search.reach import Reach, known_rows
from hvnas.search.rows import Floats, Rows, SpaceLike, row_keys
from hvnas.search.runs.session import Moment

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from hvnas.search.timed import TimedFront

T = TypeVar("T")

# A cross-fitted top-1 and its standard deviation, in files and in JSON.
CROSS_FITTED = ("top1_cross_fitted", "top1_cross_fitted_sd")
# Decimals in files and in JSON: a tenth of a microsecond, a thousandth of a point.
MS_DECIMALS, POINT_DECIMALS, CHANCE_DECIMALS = 4, 3, 4


@dataclass(frozen=True, kw_only=True)
class Found:
    """An architecture with its predicted numbers.

    Latency in ms with its 5-95 % interval and the chance of meeting the budget, `inside` the device's gate,
    `top1` and `top1_sd` in points (a score and 0 where `unit` is ``score``, nan where it was not estimated).
    `cross_fitted` with `cross_fitted_sd` is top-1 by fits that each lack a part of the estimator's evidence,
    which flatters a network less for being chosen, nan without such fits. `params` and `macs` as counts,
    `more` the further metrics by name; `row` is its canonical encoding in `space`, `file` where it was
    written. `measured_ms` is its latency where it was timed on the device, nan elsewhere: then `latency_ms`
    is the same, and interval and chance are those of timing it again.
    """

    name: str
    space: SpaceLike = field(repr=False)
    row: Rows = field(repr=False)
    latency_ms: float
    latency_low: float
    latency_high: float
    p_within_budget: float
    inside: bool
    top1: float
    top1_sd: float
    params: int
    macs: int
    unit: str = "points"
    more: Mapping[str, float] = field(default_factory=dict)
    file: Path | None = None
    cross_fitted: float = math.nan
    cross_fitted_sd: float = math.nan
    measured_ms: float = math.nan

    @cached_property
    def arch(self) -> Arch:
        """The architecture itself, under its name."""
        from hvnas.space import Space

        decode = self.space.decode_canonical if isinstance(self.space, Space) else self.space.decode
        return replace(decode(self.row), name=self.name)

    @property
    def is_measured(self) -> bool:
        """Whether it was timed on the device."""
        return math.isfinite(self.measured_ms)

    @property
    def objective(self) -> float:
        """Top-1 minus one standard deviation, in points."""
        return self.top1 - self.top1_sd

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to the decimals of the files."""
        return {
            "file": None if self.file is None else str(self.file),
            "name": self.name,
            "latency_ms": round(self.latency_ms, MS_DECIMALS),
            "latency_low": round(self.latency_low, MS_DECIMALS),
            "latency_high": round(self.latency_high, MS_DECIMALS),
            "p_within_budget": round(self.p_within_budget, CHANCE_DECIMALS),
            **({"measured_ms": round(self.measured_ms, MS_DECIMALS)} if self.is_measured else {}),
            "inside": self.inside,
            **self.accuracy_json(),
            **self.cross_fitted_json(),
            "params": self.params,
            "macs": self.macs,
            **{name: round(value, MS_DECIMALS) for name, value in self.more.items()},
        }

    def accuracy_json(self) -> dict[str, float | None]:
        """Top-1 and its standard deviation, or the score; None where it was not estimated."""
        if self.unit == "score":
            return {"score": _rounded(self.top1)}
        return {"top1": _rounded(self.top1), "top1_sd": _rounded(self.top1_sd)}

    def cross_fitted_json(self) -> dict[str, float | None]:
        """The cross-fitted top-1 and its standard deviation; nothing without them."""
        return cross_fitted_json(self.cross_fitted, self.cross_fitted_sd)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """A fixed point, and how it stands to the best.

    `distance` is the number of genes in which they differ, `feasible` whether it meets budget, gate and
    constraints as well, `chance` that of the best being better, trained alike: nan where that is not known.
    """

    distance: int
    found: Found
    feasible: bool = False
    chance: float = math.nan

    @property
    def published(self) -> Mapping[str, Any]:
        """What the paper says, ``top1`` and ``recipe``: of its own resolution and classes only."""
        from hvnas.arch import list_models, load_arch

        name = self.found.name
        model = load_arch(name) if name in list_models() else None
        return (model.published or {}) if model == self.found.arch else {}

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to the decimals of the files."""
        return {
            "model": self.found.name,
            "genes_apart": self.distance,
            "latency_ms": round(self.found.latency_ms, MS_DECIMALS),
            **self.found.accuracy_json(),
            **self.found.cross_fitted_json(),
            "published_top1": self.published.get("top1"),
            "published_recipe": self.published.get("recipe"),
            "p_better": round(self.chance, CHANCE_DECIMALS),
        }


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    `archive` holds the exact front; `front` is its readable part, the first objective rising, where no two
    members are closer than 1 % of the front's extent in every objective. `evaluated` counts distinct
    canonical architectures; `out` is the run folder if there is one. `history` is how the hypervolume grew,
    in `parts` where the run was cut and resumed; `stopped` says that it was asked to stop before its end.

    `fixed_points` are those in the space, nearest to the best first, scored by the same device and estimator.
    They need not meet the budget nor lie inside the gate. An estimator that takes seconds a network is not
    asked about them.

    `timed` is what was timed of the networks found, None where nothing was: then `problem` and `archive` are
    those by measured latencies, and by predicted ones that these correct.
    """

    problem: Problem
    strategy: str
    seed: int
    reach: Reach
    archive: Archive
    front: tuple[Found, ...]
    fixed_points: tuple[Nearest, ...] = field(repr=False)
    history: tuple[Moment, ...]
    parts: int = 1
    stopped: bool = False
    out: Path | None = None
    timed: TimedFront | None = field(default=None, repr=False)

    @staticmethod
    def of(
        problem: Problem,
        archive: Archive,
        *,
        strategy: str,
        seed: int,
        reach: Reach,
        history: Sequence[Moment],
        parts: int = 1,
        stopped: bool = False,
        timed: TimedFront | None = None,
    ) -> SearchResult:
        """Return the result that `archive`, not empty, holds; by what was `timed` where there is any."""
        if timed is not None:
            problem, archive = replace(problem, device=timed.device), timed.front()
            factor = timed.factor
            reach = replace(reach, min_ms=factor * reach.min_ms, max_ms=factor * reach.max_ms)
        best = best_place(archive.evaluations.sd)
        always = [best, *([] if timed is None else timed.places(archive.rows))]
        kept = thin(archive.evaluations.costs, share=STEP, always=always)
        found = describe(problem, archive.rows[kept], archive.evaluations.take(kept), timed=timed)
        front = _cross_fitted(problem, found)
        return SearchResult(
            problem=problem,
            strategy=strategy,
            seed=seed,
            reach=reach,
            archive=archive,
            front=front,
            fixed_points=_nearest(problem, front[best_place(np.array([each.top1_sd for each in front]))]),
            history=tuple(history),
            parts=parts,
            stopped=stopped,
            timed=timed,
        )

    def __repr__(self) -> str:
        return (
            f"SearchResult({self.problem!r},\n"
            f"  {self.strategy}, seed {self.seed}: {len(self.archive)} on the front of {self.evaluated:,} "
            f"evaluated in {took(self.seconds, parts=self.parts)},\n"
            f"  best={self.best!r})"
        )

    def _repr_html_(self) -> str:
        """The networks that tables show, for notebooks."""
        caption = (
            f"{self.problem.space.name}, {self.problem.budget_ms:g} ms on {self.problem.device.name}: "
            f"{len(self.archive)} on the front of {self.evaluated:,} evaluated; best {self.best.name}"
        )
        return html_of([found.to_json() for found in self.shown], caption=caption)

    def to_pandas(self) -> DataFrame:
        """Return the readable front as a pandas DataFrame: a row each, as ``hvnas search --json`` has it.

        Raises ValueError where pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise ValueError("pandas is not installed; pip install pandas brings it") from None
        return DataFrame([found.to_json() for found in self.front])

    def plot(self) -> Figure:
        """Draw the front with its uncertainty, and the papers' models within the budget, with matplotlib.

        A notebook shows the figure; ``figure.savefig("front.svg")`` writes it. Raises ValueError where
        matplotlib is not installed.
        """
        from hvnas.latency.plots import draw_front

        return draw_front(
            [(each.latency_ms, each.top1, each.top1_sd) for each in self.front],
            [(near.found.latency_ms, near.found.top1) for near in self.fixed_points if near.feasible],
            budget_ms=self.problem.budget_ms,
            labels=(f"ms on {self.problem.device.name}", self.problem.unit),
        )

    @property
    def evaluated(self) -> int:
        """Distinct canonical architectures."""
        return self.archive.evaluated

    @property
    def best(self) -> Found:
        """The best by the first objective: by default the highest top-1 minus one standard deviation.

        One whose accuracy is a guess is the best only where there is no other; see
        `hvnas.search.evaluations`.
        """
        return self.front[best_place(self._sd)]

    @property
    def seconds(self) -> float:
        """Wall time from the call to the front, all parts of a run that was cut together."""
        return self.history[-1].seconds

    @property
    def shown(self) -> tuple[Found, ...]:
        """The networks of the front that tables show, at most 12: evenly spaced, and no guesses."""
        written = np.ones(len(self.front), dtype=np.bool_)
        return tuple(self.front[place] for place in shown_places(self._sd, written))

    @cached_property
    def limit(self) -> Limit:
        """What keeps the search from better networks: budget, sizes, a constraint, the device's floor."""
        best = best_place(self.archive.evaluations.sd)
        return find_limit(self.problem, self.reach, self.archive, best=best)

    @property
    def _sd(self) -> Floats:
        return np.array([found.top1_sd for found in self.front])

    @property
    def rivals(self) -> tuple[Nearest, ...]:
        """Of the fixed points that meet the budget the nearest to the best, then the highest in top-1.

        One where both are the same; none where none meets it, or its chance is not known.
        """
        within = [near for near in self.fixed_points if near.feasible and math.isfinite(near.chance)]
        return nearest_and_highest(within, top1=lambda near: near.found.top1)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``hvnas search --json`` prints.

        ``pareto`` are the networks that are written as files, ``front`` those that the table shows.
        """
        best = self.best.to_json()
        if self.out is not None:
            best = best | {"file": str(self.out / "best.yaml")}
        return {
            "best": best,
            **_rivals_json(self.rivals),
            "pareto": [found.to_json() for found in self.front],
            "front": [found.to_json() for found in self.shown],
            "counts": {
                "front": len(self.archive),
                "files": 0 if self.out is None else len(self.front),
                "guesses": int(guesses(self.archive.evaluations.sd).sum()),
            },
            **({} if self.timed is None else {"measured": self.timed.to_json()}),
            "limit": self.limit.to_json(),
            "evaluated": self.evaluated,
            "seconds": self.seconds,
            "parts": self.parts,
            "space": self.problem.space.name,
            "device": self.problem.device.name,
            "devices": [device.name for device in self.problem.devices],
            "objectives": [str(objective) for objective in self.problem.objectives],
            "constraints": [str(constraint) for constraint in self.problem.constraints],
            "strategy": self.strategy,
            "recipe": self.problem.recipe,
            **_size_json(self.problem, self.best.arch),
            "seed": self.seed,
            "stopped": self.stopped,
            "out": None if self.out is None else str(self.out),
        }


def describe(
    problem: Problem,
    rows: Rows,
    evaluations: Evaluations,
    *,
    names: Sequence[str] | None = None,
    timed: TimedFront | None = None,
) -> tuple[Found, ...]:
    """Evaluated rows under their names; those found are called by device, latency and a hash of the row.

    Those that were `timed` have their measured latency; their names keep the one that was predicted first.
    """
    if names is None:
        marks = [f"{key:016x}"[:6] for key in row_keys(rows).tolist()]
        times = (evaluations.ms if timed is None else timed.predicted(rows)).tolist()
        names = [f"{problem.device.name}-{ms:.3f}ms-{mark}" for ms, mark in zip(times, marks, strict=True)]
    chances = problem.device.p_within_of(
        evaluations.ms, problem.budget_ms, inside=evaluations.inside, macs=evaluations.macs
    )
    measured = np.full(len(rows), math.nan)
    if timed is not None:
        measured = timed.measured(rows)
        again = timed.repeat.chance(problem.budget_ms / evaluations.ms)
        chances = np.where(np.isnan(measured), chances, again)
    return tuple(
        Found(
            name=names[i],
            space=problem.space,
            row=rows[i],
            latency_ms=float(evaluations.ms[i]),
            latency_low=float(evaluations.low[i]),
            latency_high=float(evaluations.high[i]),
            p_within_budget=float(chances[i]),
            inside=bool(evaluations.inside[i]),
            top1=float(evaluations.top1[i]),
            top1_sd=float(evaluations.sd[i]),
            params=int(evaluations.params[i]),
            macs=int(evaluations.macs[i]),
            unit=problem.unit,
            more=dict(zip(problem.more, evaluations.more[i].tolist(), strict=True)),
            measured_ms=float(measured[i]),
        )
        for i in range(len(rows))
    )


def _cross_fitted(problem: Problem, found: tuple[Found, ...]) -> tuple[Found, ...]:
    """Networks with their cross-fitted top-1, where there is one."""
    numbers = problem.cross_fitted(np.stack([each.row for each in found])) if found else None
    if numbers is None:
        return found
    told = zip(found, *(each.tolist() for each in numbers), strict=True)
    return tuple(replace(each, cross_fitted=top1, cross_fitted_sd=sd) for each, top1, sd in told)


def _nearest(problem: Problem, best: Found) -> tuple[Nearest, ...]:
    """The fixed points of the space: see `SearchResult`."""
    names = tuple(problem.space.fixed_points())
    if not names:
        return ()
    rows = known_rows(problem.space)
    evaluations = problem.evaluate(rows, accuracy=problem.cheap)
    found = _cross_fitted(problem, describe(problem, rows, evaluations, names=names))
    chances = problem.chances_of_better(np.concatenate([best.row[None], rows]))
    told = [math.nan] * len(rows) if chances is None else chances.tolist()
    near = [
        Nearest(distance=distance, found=each, feasible=feasible, chance=chance)
        for distance, each, feasible, chance in zip(
            (rows != best.row).sum(axis=1).tolist(), found, evaluations.feasible.tolist(), told, strict=True
        )
    ]
    return tuple(sorted(near, key=lambda n: (n.distance, abs(n.found.latency_ms - best.latency_ms))))


def nearest_and_highest(near: Sequence[T], *, top1: Callable[[T], float]) -> tuple[T, ...]:
    """The first of `near`, then that with the highest `top1`; one where both are the same."""
    if not near:
        return ()
    highest = max(near, key=top1)
    return (near[0],) if highest is near[0] else (near[0], highest)


def told_of_model(estimated: str | None, cross_fitted: str | None, published: Mapping[str, Any]) -> str:
    """What is known of a paper's model: ``estimated 77.9 ± 0.7, published 77.2 as modern300``."""
    told = [f"estimated {estimated}"]
    if cross_fitted is not None:
        told.append(f"cross-fitted {cross_fitted}")
    if (top1 := optional(published.get("top1"))) is not None:
        told.append(f"published {top1} as {published.get('recipe')}")
    return ", ".join(told)


def cross_fitted_json(mean: float, sd: float) -> dict[str, float | None]:
    """A cross-fitted top-1 and its standard deviation, rounded; nothing where the mean is nan."""
    if not math.isfinite(mean):
        return {}
    return dict(zip(CROSS_FITTED, map(_rounded, (mean, sd)), strict=True))


def _rivals_json(rivals: Sequence[Nearest]) -> dict[str, Any]:
    return {"better_than": [rival.to_json() for rival in rivals]} if rivals else {}


def _size_json(problem: Problem, arch: Arch) -> dict[str, Any]:
    """The size that networks were put to, and what the estimator takes for granted there."""
    size = problem.image_size
    if size is None:
        return {}
    assumed = list(problem.estimator.assumptions([arch]))
    given = {"resolution": size.resolution, "classes": size.classes, "assumed": assumed}
    return {name: value for name, value in given.items() if value}


def _rounded(value: float) -> float | None:
    return round(value, POINT_DECIMALS) if math.isfinite(value) else None


def with_origin(
    network: Found,
    problem: Problem,
    *,
    seed: int,
    rivals: Sequence[Nearest] = (),
    timed: TimedFront | None = None,
) -> Arch:
    """The architecture with ``found:``, how it was found and what was predicted of it."""
    from hvnas._version import __version__

    space, numbers = problem.space, network.to_json()
    meaning = problem.estimator.meaning
    assumed = list(problem.estimator.assumptions([network.arch])) if problem.image_size else []
    choices = {gene.name: gene.values[int(i)] for gene, i in zip(space.genes, network.row, strict=True)}
    origin = {
        "space": space.name,
        "space_hash": space.hash,
        "choices": choices,
        "device": problem.device.name,
        "device_hash": problem.device.hash,
        **{key: numbers[key] for key in ("latency_ms", "latency_low", "latency_high", "inside")},
        "budget_ms": problem.budget_ms,
        "p_within_budget": numbers["p_within_budget"],
        **({} if timed is None else timed.origin(network.row)),
        **network.accuracy_json(),
        **network.cross_fitted_json(),
        **_rivals_json(rivals),
        **({"accuracy": meaning} if meaning else {}),
        **({"assumed": assumed} if assumed else {}),
        **{name: numbers[name] for name in network.more},
        "recipe": problem.recipe,
        "scenario": problem.scenario,
        "seed": seed,
        "version": __version__,
    }
    return replace(network.arch, found=origin)
