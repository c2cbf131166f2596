"""EfficientFormer's layouts, searched for by a surrogate and a device that never saw the family.

At the latency that the device gives each of the paper's models, the space is searched for the highest top-1;
what is found, and what lies on the front, is held against four patterns of the paper's layouts
(`hvnas.studies.rediscovery.patterns`), and so is everything that the evidence does not tell from it
(`hvnas.studies.rediscovery.members`). The paper's own algorithm is followed in the paper's own space beside
(`hvnas.studies.rediscovery.slimmed`). The gate counts as it ships (``on``); not at all, so that only costs
are at work (``off``); or without the rules whose evidence is the family's own papers (``others``: on an
iPhone 12 those that are left admit the same networks of MB4D and MB3D, so that it is left out unless asked
for).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvnas.accuracy import Surrogate, load_estimator
from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.search.problem import Problem
from hvnas.search.rows import Floats, Rows
from hvnas.space import load_space
from hvnas.studies.ablation.estimates import UNDECIDED, Estimating
from hvnas.studies.rediscovery.leave_out import (
    EVALS,
    Gate,
    Setting,
    device_without,
    surrogate_without,
)
from hvnas.studies.rediscovery.members import (
    COUNTED,
    NearOptimal,
    NetworkSummary,
    near_optimal,
    percentile,
    random_peers,
)
from hvnas.studies.rediscovery.patterns import (
    Distance,
    LayoutOf,
    distance,
    forced,
    patterns_of,
    shares,
)
from hvnas.studies.rediscovery.slimmed import SlimmingPath, slim_by_estimate

FAMILIES = ("efficientformer", "efficientformerv2")
CITED = ("EfficientFormer",)
MODELS = ("efficientformer_l1", "efficientformer_l3", "efficientformer_l7")
GATES: tuple[Gate, ...] = ("on", "off")
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class RandomMembers:
    """Random members of equal latency: their predicted top-1 and ms, and the share with each pattern.

    `top1_percentile` is where the paper's model stands among them by predicted top-1, `objective_percentile`
    by top-1 less its standard deviation, which is what a search maximises. `better_depths` and
    `better_widths` are the means, by stage, of members whose top-1 is above that of the paper's model; nan
    where there are none.
    """

    top1: Floats
    ms: Floats
    shares: dict[str, float]
    top1_percentile: float
    objective_percentile: float
    better_depths: tuple[float, ...]
    better_widths: tuple[float, ...]


@dataclass(frozen=True)
class RefitWithFamily:
    """Searches with one estimator, or both, fitted with the family again.

    `layout` is of the first seed's best network, `held` the share of seeds whose best has each pattern.
    """

    surrogate: bool
    latency: bool
    layout: LayoutOf
    held: dict[str, float]


@dataclass(frozen=True)
class PatternCost:
    """What the four patterns cost: the best network found that has all, beside the best one found.

    `points` of top-1 more than it has the best one, give or take `sd`, in which what the estimates share has
    cancelled; `chance` is that of this being more than nothing.
    """

    held: NetworkSummary
    points: float
    sd: float
    chance: float

    @property
    def is_told(self) -> bool:
        """Whether the evidence tells the two apart."""
        return not UNDECIDED[0] < self.chance < UNDECIDED[1]


@dataclass(frozen=True)
class Finding:
    """What a search at one model's latency came to, with the gate counting as `gate` says.

    `found` is the best of the searches with different seeds, `seeds` the patterns that each seed's best has.
    `front_shares` is the share of the front with each pattern. `near` are the members that may be the best,
    reached from the fronts of all seeds and from `peers`.
    """

    gate: Gate
    found: NetworkSummary
    held: dict[str, bool]
    distance: Distance
    front: int
    front_shares: dict[str, float]
    front_top1: Floats
    front_ms: Floats
    peers: RandomMembers | None
    near: NearOptimal | None = None
    blame: tuple[RefitWithFamily, ...] = ()
    price: PatternCost | None = None
    seeds: tuple[dict[str, bool], ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Patterns that the found network lacks."""
        return tuple(name for name, has in self.held.items() if not has)


@dataclass(frozen=True)
class ModelResult:
    """One of the paper's models, and what was found at its latency."""

    name: str
    paper: NetworkSummary
    held: dict[str, bool]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Rediscovery:
    """The whole study; `paths` are slimming of the paper's own space, one for each gate but ``others``."""

    setting: Setting
    models: tuple[ModelResult, ...]
    paths: tuple[SlimmingPath, ...] = ()


def check_counts(**counts: int) -> None:
    """Raise ValueError, one line, for a count below one."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}: must be >= 1, got {value}")


def rediscover_efficientformer(
    *,
    space: str = "metaformer",
    device: str = "iphone12",
    recipe: str = "distilled300",
    models: Sequence[str] = MODELS,
    gates: Sequence[Gate] = GATES,
    evals: int = EVALS,
    peers: int = 10_000,
    seeds: int = 1,
    on_step: OnStep | None = None,
) -> Rediscovery:
    """Search at the latency of each of `models`; see the module.

    `peers` random members of equal latency are drawn for every gate but ``others``. Raises ValueError for
    what is unknown, for a device that no family can be left out of, and for a space that lacks a model.
    """
    check_counts(evals=evals, peers=peers, seeds=seeds)
    seen_device, seen = load_device(device), load_estimator("surrogate")
    assert isinstance(seen, Surrogate)
    setting = Setting(
        space=load_space(space),
        device=device_without(seen_device, FAMILIES, cited=CITED),
        surrogate=surrogate_without(seen, FAMILIES),
        seen_device=seen_device,
        seen_surrogate=seen,
        recipe=recipe,
        evals=evals,
        peers=peers,
        seeds=seeds,
        gates=tuple(gates),
    )
    found = tuple(_model(setting, name, on_step) for name in models)
    budgets = {model.name: model.paper.ms for model in found}
    paths = []
    for gate in (gate for gate in setting.gates if gate != "others"):
        if on_step:
            on_step(f"slimming of the paper's own space, gate {gate}")
        paths.append(slim_by_estimate(setting, budgets, gate))
    return Rediscovery(setting, found, tuple(paths))


def _model(setting: Setting, name: str, on_step: OnStep | None) -> ModelResult:
    arch = load_arch(name)
    ms = setting.device.device.latency(arch.lower()).ms
    paper = NetworkSummary.of(setting.problem(ms, "off"), arch)
    findings = []
    for gate in setting.gates:
        if on_step:
            on_step(f"{name}, {ms:.3f} ms, gate {gate}")
        findings.append(_finding(setting, paper, gate))
    return ModelResult(name, paper, patterns_of(paper.layout), tuple(findings))


def _finding(setting: Setting, paper: NetworkSummary, gate: Gate) -> Finding:
    results = [setting.search(paper.ms, gate, seed=seed) for seed in range(setting.seeds)]
    result = max(results, key=lambda r: r.best.objective)
    problem = result.problem
    found = NetworkSummary.of(problem, result.best.arch)
    front = [LayoutOf.of(setting.space.decode(row)) for row in result.archive.rows]
    peers, near = None, None
    if gate != "others":
        rows = random_peers(problem, ms=paper.ms, n=setting.peers, seed=0)
        peers = _peers(problem, rows, paper)
        near = near_optimal(problem, np.concatenate([rows, *(r.archive.rows for r in results)]))
    finding = Finding(
        gate=gate,
        found=found,
        held=patterns_of(found.layout),
        distance=distance(paper.layout, found.layout),
        front=len(front),
        front_shares=shares(front),
        front_top1=result.archive.evaluations.top1,
        front_ms=result.archive.evaluations.ms,
        peers=peers,
        near=near,
        seeds=tuple(patterns_of(LayoutOf.of(r.best.arch)) for r in results),
    )
    # Both gates that count admit the same networks: one of them tells whom to blame.
    if finding.missing and gate != "others":
        return replace(finding, blame=_blame(setting, paper, gate), price=_price(setting, paper, gate, found))
    return finding


def _peers(problem: Problem, rows: Rows, paper: NetworkSummary) -> RandomMembers:
    found, decode = problem.evaluate(rows), problem.space.decode
    layouts = [LayoutOf.of(decode(row)) for row in rows[:COUNTED]]
    better = [LayoutOf.of(decode(row)) for row in rows[found.top1 > paper.top1][:COUNTED]]
    return RandomMembers(
        top1=found.top1,
        ms=found.ms,
        shares=shares(layouts),
        top1_percentile=percentile(paper.top1, found.top1),
        objective_percentile=percentile(paper.top1 - paper.sd, found.objective),
        better_depths=_means([layout.depths for layout in better]),
        better_widths=_means([layout.widths for layout in better]),
    )


def _means(rows: Sequence[tuple[int, ...]]) -> tuple[float, ...]:
    return tuple(np.mean(rows, axis=0).tolist()) if rows else (float("nan"),) * 4


def _blame(setting: Setting, paper: NetworkSummary, gate: Gate) -> tuple[RefitWithFamily, ...]:
    """The same search with the family given back to the surrogate, to the device, and to both."""
    found = []
    for surrogate, latency in ((True, False), (False, True), (True, True)):
        device = setting.seen_device if latency else setting.device.device
        ms = device.latency(paper.arch.lower()).ms
        layouts = [
            LayoutOf.of(setting.search(ms, gate, seed=seed, device=device, seen=surrogate).best.arch)
            for seed in range(setting.seeds)
        ]
        found.append(RefitWithFamily(surrogate, latency, layouts[0], shares(layouts)))
    return tuple(found)


def _price(setting: Setting, paper: NetworkSummary, gate: Gate, best: NetworkSummary) -> PatternCost:
    """The same search among networks that have all four patterns."""
    within = replace(setting, space=forced(setting.space))
    found = [
        within.search(paper.ms, gate, seed=seed, device=setting.device.device)
        for seed in range(setting.seeds)
    ]
    result = max(found, key=lambda r: r.best.objective)
    held_ = NetworkSummary.of(result.problem, result.best.arch)
    judge = Estimating(setting.surrogate)
    beliefs = judge.beliefs([held_.arch, best.arch], recipe=setting.recipe, scenario="imagenet1k")
    own = beliefs.judge(base=0, equal=np.array([True, True]))[1]
    assert own.delta_sd is not None and own.p_better is not None, "the surrogate states its sd"
    return PatternCost(held_, own.delta, own.delta_sd, own.p_better)


def blamed(finding: Finding) -> dict[str, str]:
    """For every missing pattern, the estimator that lacks it for want of the family; no entries unsought."""
    said: dict[str, str] = {}
    if not finding.blame:
        return said
    for name in finding.missing:
        back = {(b.surrogate, b.latency): b.held[name] > 0.5 for b in finding.blame}
        alone = [
            what for key, what in (((True, False), "surrogate"), ((False, True), "latency")) if back[key]
        ]
        if len(alone) == 2:
            said[name] = "surrogate or latency: it comes back with the family in either"
        elif alone:
            said[name] = f"the {alone[0]}: it comes back with the family in it"
        elif back[True, True]:
            said[name] = "surrogate and latency: it comes back only with the family in both"
        else:
            said[name] = "not what was left out: it is missing with the family in both, too"
    return said
