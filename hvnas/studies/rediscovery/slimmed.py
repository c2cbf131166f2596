"""Rediscovery by latency-driven slimming: of the paper's own space by the estimate, and of a supernet.

**The paper's own space by the paper's own algorithm** (arXiv 2206.01191, section 4.2), a network's top-1
being estimated by a surrogate that never saw the family. A block is MB4D or nothing in stages 1 and 2, MB4D,
MB3D or nothing in stages 3 and 4, MB3D blocks being the last ones; widths are multiples of 16. From the
largest network on, one thing at a time is taken away: a block, the first MB3D, which becomes an MB4D, or 16
channels of a stage; always what loses least estimated top-1 per millisecond saved, a rise counting as no
loss and, of moves that lose equally much per millisecond, the one that saves most being made. The paper takes
its candidates by an importance that it learns, the least important block and the least important stage; here
that loss per millisecond is the importance, so that every block and every stage is a candidate. How large the
paper's supernet was is not known; this one has the widths and depths of PoolFormer-M48, the largest published
network of the kind, and begins with MB3D alone in stages 3 and 4, or in as many of the last blocks as the
gate admits.

**A supernet.** Slimming, and searches by the supernet and by it and the surrogate together. The supernet is
that of `hvnas.studies.rediscovery.slimmed`, or another one of ``hvnas supernet train``. The
budgets are shares of the milliseconds between its fastest network and the one that slimming starts from, on
the device that never saw the family; the gate is off, so that only costs are at work. Slimming starts from
local blocks with attention behind them, as the paper's does, and only takes away: the order of blocks that it
comes to is its own, not a finding. The searches start from nothing. What the patterns cost the supernet is
told by the best of the random members that have them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hvnas.accuracy.combine import RankMean
from hvnas.accuracy.trained.inherited import Inherited, InheritedEstimator
from hvnas.arch import Arch, load_arch
from hvnas.search import SearchResult, search
from hvnas.search.making import make_problem
from hvnas.search.problem import Problem
from hvnas.search.reach import UNBOUNDED_MS, find_reach
from hvnas.search.rows import Floats, Rows
from hvnas.space import Space, load_space
from hvnas.studies.rediscovery.leave_out import Gate, Setting
from hvnas.studies.rediscovery.members import COUNTED, NetworkSummary, Weights
from hvnas.studies.rediscovery.patterns import PATTERNS, LayoutOf, patterns_of
from hvnas.studies.rediscovery.patterns import shares as shares_of
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import resume, start
from hvnas.supernet.slimming import CHANNELS, Moves
from hvnas.train.data import load_data

# The network whose widths and depths slimming of the paper's own space starts from.
LARGEST = "poolformer_m48"

SHARES = (0.25, 0.5, 0.75)
# An estimate of the study's own supernet takes seconds: half of the test images, and few estimates.
EVALS, IMAGES = 60, 1024
REFERENCES = 32
SLIMMING, ALONE, BOTH, FOUR = "slimming", "supernet", "both", "all four"
DRAWN = 5000  # random members, of which those within a budget tell what chance has to offer


@dataclass(frozen=True)
class Slimmed:
    """What one way of searching found within a budget; `top1` is a score for `BOTH`."""

    way: str
    share: float
    budget_ms: float
    arch: Arch
    ms: float
    top1: float
    evaluated: int

    @property
    def layout(self) -> LayoutOf:
        """Its stem and its stages."""
        return LayoutOf.of(self.arch)

    @property
    def held(self) -> dict[str, bool]:
        """Which of the patterns it has."""
        return patterns_of(self.layout)


@dataclass(frozen=True)
class Chance:
    """What chance has to offer: the share of random members within a budget that have each pattern.

    As among the peers of a paper's model, a run of blocks is empty or not with equal weight. None where no
    member drawn is within the budget.
    """

    share: float
    budget_ms: float
    members: int
    held: dict[str, float | None]


@dataclass(frozen=True)
class WithSupernet:
    """The supernet's part of a rediscovery: `meaning` says what its top-1 is that of."""

    folder: str
    space: str
    meaning: str
    found: tuple[Slimmed, ...]
    chances: tuple[Chance, ...]


def supernet_in(folder: str | Path) -> InheritedEstimator:
    """The supernet in `folder`. Raises ValueError where there is none, or one without a choice to attend."""
    supernet = InheritedEstimator(Inherited(folder=str(folder), images=IMAGES))
    space = supernet.folder.space()
    if not any(0 in s.global_depth and max(s.global_depth) > 0 for s in space.spec.stages):
        raise ValueError(f"{folder}: its space leaves no stage the choice to attend; train another supernet")
    return supernet


def with_supernet(
    setting: Setting,
    supernet: InheritedEstimator,
    *,
    shares: Sequence[float] = SHARES,
    evals: int = EVALS,
    on_step: Callable[[str], None] | None = None,
) -> WithSupernet:
    """Slim `supernet`, and search by it, alone and with the surrogate, at each share of its latencies.

    And take the best, by the supernet, of at most `evals` random members with all four patterns, if any.
    """
    space, device = supernet.folder.space().at(*supernet.image_size), setting.device.device
    problem = make_problem(space, device, supernet, budget_ms=UNBOUNDED_MS, margin=0.0, outside="allow")
    rows = space.sample(DRAWN, rng=np.random.default_rng(0))
    least, most = find_reach(problem).min_ms, float(_ms(problem, Moves(space, {}).start()[None])[0])
    budgets = [least + share * (most - least) for share in shares]
    within = rows[_ms(problem, rows) <= max(budgets)]
    references = [space.decode(row) for row in (within if len(within) else rows)[:REFERENCES]]
    both = RankMean("surrogate+supernet", (setting.surrogate, supernet)).against(references)
    ways = ((SLIMMING, supernet, "slimming"), (ALONE, supernet, "predictor"), (BOTH, both, "predictor"))
    found = []
    for share, budget in zip(shares, budgets, strict=True):
        for way, estimator, strategy in ways:
            if on_step:
                on_step(f"{way}, {budget:.3f} ms")
            result = search(
                space,
                device,
                budget_ms=budget,
                strategy=strategy,
                recipe=setting.recipe,
                estimator=estimator,
                evals=evals,
                margin=0.0,
                outside="allow",
                fixed_points=False,
            )
            found.append(_slimmed(way, share, budget, result))
        found += _with_all_four(supernet, problem, rows, share, budget, at_most=evals)
    chances = (_chance(problem, rows, share, ms) for share, ms in zip(shares, budgets, strict=True))
    return WithSupernet(str(supernet.folder.path), space.name, supernet.meaning, tuple(found), tuple(chances))


def _ms(problem: Problem, rows: Rows) -> Floats:
    return problem.screen(rows).latency.ms


def _slimmed(way: str, share: float, budget_ms: float, result: SearchResult) -> Slimmed:
    best = result.best
    return Slimmed(way, share, budget_ms, best.arch, best.latency_ms, best.top1, result.evaluated)


def _with_all_four(
    supernet: InheritedEstimator,
    problem: Problem,
    rows: Rows,
    share: float,
    budget_ms: float,
    *,
    at_most: int,
) -> list[Slimmed]:
    """The best of the first `at_most` of `rows` that keep the budget and have all patterns; none, or one."""
    ms = _ms(problem, rows)
    drawn = ((problem.space.decode(rows[i]), float(ms[i])) for i in np.flatnonzero(ms <= budget_ms))
    having = {arch.hash: (arch, at) for arch, at in drawn if all(patterns_of(LayoutOf.of(arch)).values())}
    tried = list(having.values())[:at_most]
    if not tried:
        return []
    top1 = supernet.estimate([arch for arch, _ in tried]).mean
    arch, at = tried[int(np.argmax(top1))]
    return [Slimmed(FOUR, share, budget_ms, arch, at, float(np.max(top1)), len(tried))]


def _chance(problem: Problem, rows: Rows, share: float, budget_ms: float) -> Chance:
    within = rows[_ms(problem, rows) <= budget_ms]
    if not len(within):
        return Chance(share, budget_ms, 0, dict.fromkeys(PATTERNS))
    weights = np.exp(Weights(problem.space)(within))
    drawn = np.random.default_rng(0).choice(len(within), size=COUNTED, p=weights / weights.sum())
    layouts = [LayoutOf.of(problem.space.decode(within[i])) for i in drawn]
    return Chance(share, budget_ms, len(within), dict(shares_of(layouts)))


@dataclass(frozen=True)
class SlimmedTo:
    """The first network of a path that keeps the budget of one of the paper's models, after `steps` moves."""

    model: str
    budget_ms: float
    steps: int
    found: NetworkSummary


@dataclass(frozen=True)
class SlimmingPath:
    """Slimming of the paper's own space by the estimate, with the gate counting as `gate` says.

    `start` is the network that it begins with; `stops` are in the order in which they are reached, and lack
    the budgets that no move led to.
    """

    gate: Gate
    start: NetworkSummary
    stops: tuple[SlimmedTo, ...]


def paper_space() -> Space:
    """EfficientFormer's own space, as large as `LARGEST` in every width and depth."""
    spec, largest = load_space("efficientformer").spec, LayoutOf.of(load_arch(LARGEST))
    stages = tuple(
        replace(
            stage,
            width=tuple(range(CHANNELS, width + 1, CHANNELS)),
            local_depth=tuple(range(depth + 1)),
            global_depth=tuple(range(depth + 1)) if max(stage.global_depth) else (0,),
        )
        for stage, width, depth in zip(spec.stages, largest.widths, largest.depths, strict=True)
    )
    return Space(replace(spec, name="efficientformer-slimming", stages=stages))


def slim_by_estimate(setting: Setting, budgets: Mapping[str, float], gate: Gate) -> SlimmingPath:
    """Slim the paper's own space down to `budgets`, milliseconds by model."""
    problem = replace(setting, space=paper_space()).problem(UNBOUNDED_MS, gate)
    start, stops = slim(problem, budgets)
    return SlimmingPath(gate, start, stops)


def slim(problem: Problem, budgets: Mapping[str, float]) -> tuple[NetworkSummary, tuple[SlimmedTo, ...]]:
    """The largest network of `problem`'s space, and what one path from it comes to at each of `budgets`.

    The largest budget comes first; those that no move leads to are left out.
    """
    space = problem.space
    assert isinstance(space, Space), "the moves need a space's layout"
    moves, steps = Moves(space, {}), 0
    row = _largest(problem, moves)
    start = NetworkSummary.of(problem, space.decode(row))
    stops: list[SlimmedTo] = []
    for model, budget in sorted(budgets.items(), key=lambda item: -item[1]):
        while float(_ms(problem, row[None])[0]) > budget:
            smaller = _smaller(problem, moves, row)
            if smaller is None:
                return start, tuple(stops)
            row, steps = smaller, steps + 1
        stops.append(SlimmedTo(model, budget, steps, NetworkSummary.of(problem, space.decode(row))))
    return start, tuple(stops)


def _largest(problem: Problem, moves: Moves) -> Rows:
    """The largest member of the problem's space with as many MB3D as the gate admits. Shape [genes]."""
    space = problem.space
    row: Rows = np.zeros(len(space.genes), dtype=np.int16)
    for i, stage in enumerate(moves.layout.spec.stages):
        attends = max(stage.global_depth) > 0
        row[moves.column[f"stages.{i}.width"]] = np.argmax(stage.width)
        row[moves.column[f"stages.{i}.local.depth"]] = (
            stage.local_depth.index(0) if attends else np.argmax(stage.local_depth)
        )
        row[moves.column[f"stages.{i}.global.depth"]] = np.argmax(stage.global_depth)
    row = space.canonicalise(row[None])[0]
    while not problem.allowed(row[None])[0] and (move := moves.convert(row)) is not None:
        row = move.row
    return row


def _smaller(problem: Problem, moves: Moves, row: Rows) -> Rows | None:
    """The network that loses least top-1 per millisecond saved; None where none is faster and allowed."""
    rows = np.stack([row, *(move.row for move in moves.frontier(row))])
    found = problem.evaluate(rows)
    saved, lost = found.ms[0] - found.ms, np.maximum(found.top1[0] - found.top1, 0.0)
    faster = np.flatnonzero((saved > 0) & problem.allowed(rows))
    if not len(faster):
        return None
    order = np.lexsort((-saved[faster], lost[faster] / saved[faster]))
    best: Rows = rows[faster[order[0]]]
    return best


def slimmed_json(slimmed: WithSupernet) -> dict[str, Any]:
    """Plain data of the supernet's part."""
    return {
        "folder": slimmed.folder,
        "space": slimmed.space,
        "top1_of": slimmed.meaning,
        "found": [
            {
                "way": each.way,
                "share": each.share,
                "budget_ms": each.budget_ms,
                "latency_ms": each.ms,
                "score" if each.way == BOTH else "top1": each.top1,
                "stages": each.layout.stage_texts,
                "patterns": each.held,
                "evaluated": each.evaluated,
            }
            for each in slimmed.found
        ],
        "by_chance": [
            {
                "share": each.share,
                "budget_ms": each.budget_ms,
                "networks": each.members,
                "shares": each.held,
            }
            for each in slimmed.chances
        ],
    }


def slimmed_rows(slimmed: WithSupernet) -> list[dict[str, Any]]:
    """One row per network, and one for chance at each budget."""
    return [
        {
            "share": each.share,
            "budget_ms": each.budget_ms,
            "way": each.way,
            "file": f"{file_name(each)}.yaml",
            "latency_ms": each.ms,
            "score" if each.way == BOTH else "top1": each.top1,
            "stem": each.layout.stem,
            **{f"stage{i + 1}": text for i, text in enumerate(each.layout.stage_texts)},
            **each.held,
        }
        for each in slimmed.found
    ] + [
        {
            "share": each.share,
            "budget_ms": each.budget_ms,
            "way": f"{each.members} random",
            **each.held,
        }
        for each in slimmed.chances
    ]


def file_name(each: Slimmed) -> str:
    """The name, without suffix, of the file of its network."""
    return f"{100 * each.share:.0f}-{each.way.replace(' ', '-')}"


def to_compare(slimmed: WithSupernet) -> dict[str, Arch]:
    """The networks at the largest budget by what found them; a network that several found has their names."""
    largest = max(each.share for each in slimmed.found)
    finders: dict[str, list[str]] = {}
    archs: dict[str, Arch] = {}
    for each in slimmed.found:
        if each.share == largest:
            finders.setdefault(each.arch.hash, []).append(each.way)
            archs[each.arch.hash] = each.arch
    return {" and ".join(ways): archs[key] for key, ways in finders.items()}


# At 64 px the third stage has as many positions a side as the images have cells, which attention must relate.
REQUEST = SupernetRequest(space="metaformer-tiny", data="shapes", resolution=64, epochs=24, importance=True)
SHOWN = 24 * 8192  # images that the study's supernet is shown in all, of whatever data


def request_on(
    data: str, *, resolution: int | None = None, train_size: int | None = None, test_size: int | None = None
) -> SupernetRequest:
    """The training of the study's own supernet on `data`, with as many epochs as show it `SHOWN` images."""
    return SupernetRequest(
        space=REQUEST.space,
        data=data,
        resolution=resolution or REQUEST.resolution,
        train_size=train_size,
        test_size=test_size,
        epochs=REQUEST.epochs if data == REQUEST.data else None,
        importance=REQUEST.importance,
    )


def to_train(folder: str | Path, request: SupernetRequest = REQUEST) -> SupernetFolder:
    """The folder of the study's own supernet, begun if need be.

    Epochs that `request` leaves open follow from `SHOWN`. Raises ValueError where the folder holds another
    supernet, or the data cannot be used.
    """
    if SupernetFolder(folder).holds_run:
        return resume(request, folder)
    if request.epochs is None:
        assert request.data is not None, "the study has data"
        data = load_data(
            request.data,
            resolution=request.resolution,
            train_size=request.train_size,
            test_size=request.test_size,
        )
        request = replace(request, epochs=max(1, round(SHOWN / len(data.train))))
    return start(request, folder)
