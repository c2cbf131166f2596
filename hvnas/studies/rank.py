"""How well a supernet orders the members of its space, held against training each by itself.

A supernet is trusted to tell the better of two networks of one size: that small networks lose to large ones
needs no supernet. So members are drawn in bins of about equal MACs, each is trained by itself with several
seeds, and Kendall's tau is taken within the bins too, pooled over them. Beside it stand scores that cost next
to nothing, and the tau between two seeds of the training itself: no score can be expected to do better.

How well scores order networks: overall, among networks of one size, and at the top.

Shapes: n networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas._files import write_atomic
from hvnas._names import MOST_SEED, check_whole
from hvnas._runs import locked
from hvnas.accuracy import Inherited, InheritedEstimator, load_estimator
from hvnas.accuracy.proxies.registry import PROBED
from hvnas.accuracy.ranks import settled
from hvnas.arch import Arch
from hvnas.studies.alone import (
    HIGH,
    LOCK,
    LOW,
    RECIPE,
    Alone,
    Array,
    Interval,
    Standalone,
    draws,
    in_bins,
    quantile_centres,
)

if TYPE_CHECKING:
    from hvnas.supernet.checkpoint import SupernetRun


RIVALS = ("params", "macs", "free", "surrogate", *PROBED)
REPORT = "rank.json"


OnStep = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class RankOptions:
    """What is ranked, and against what.

    `archs` members fall into bins: within `spread` of each of `centres` in MACs, or, where those are None, of
    the middles of `bins` equal parts of random members. Each is trained with `seeds` seeds. `top` is how many
    a score would choose, for its regret. `rivals` are estimators by name. Sizes and recipe are those of the
    training of one network by itself; what is None is as the supernet had it, or the recipe's own.
    """

    archs: int = 30
    bins: int = 3
    centres: tuple[float, ...] | None = None
    spread: float = 0.2
    seeds: int = 2
    seed: int = 0
    top: int = 3
    rivals: tuple[str, ...] = RIVALS
    recipe: str = RECIPE
    epochs: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("bins", 1), ("seeds", 2), ("seed", 0), ("top", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be >= {least}, got {getattr(self, name)}")
        check_whole("seed", self.seed, least=0, most=MOST_SEED)
        if self.each < 2:
            raise ValueError(f"archs: must be >= 2 for each of {self.count} bins, got {self.archs}")
        if not 0 < self.spread < 1:
            raise ValueError(f"spread: must be between 0 and 1, got {self.spread}")
        if any(centre <= 0 for centre in self.centres or ()):
            raise ValueError(f"centres: must be MACs above 0, got {self.centres}")

    @property
    def count(self) -> int:
        """The number of bins."""
        return len(self.centres) if self.centres else self.bins

    @property
    def each(self) -> int:
        """Members of each bin."""
        return self.archs // self.count


@dataclass(frozen=True)
class TrainedMembers:
    """The members and what their own training came to. `truth` is top-1 in points, ``[n, seeds]``."""

    members: tuple[Arch, ...]
    centres: tuple[float, ...]
    bins: Bins
    truth: Array

    @property
    def mean(self) -> Array:
        """Top-1 over the seeds. Shape [n]."""
        mean: Array = self.truth.mean(1)
        return mean


@dataclass(frozen=True)
class Ranked:
    """How one score orders the members; `within` is of pairs of one bin. Regret is in points of top-1."""

    name: str
    tau: Interval
    tau_within: Interval
    rho: Interval
    rho_within: Interval
    regret: float


@dataclass(frozen=True)
class RankReport:
    """What `rank` found. `ceiling` is the tau between two seeds; the supernets come first in `ranked`."""

    subject: TrainedMembers
    scores: dict[str, Array]
    ceiling: Interval
    ceiling_within: Interval
    ranked: tuple[Ranked, ...]
    supernets: tuple[str, ...]
    top: int

    def holds(self, name: str) -> bool:
        """Whether a score orders members of one size: surely not by chance, and half as well as a seed."""
        of = next(entry for entry in self.ranked if entry.name == name).tau_within
        return of.low > 0 and of.value >= self.ceiling_within.value / 2


def rank(
    folders: Sequence[str | Path],
    *,
    out: str | Path,
    options: RankOptions | None = None,
    progress: OnStep | None = None,
    stop: Callable[[], bool] | None = None,
) -> RankReport | None:
    """Rank members by supernets of one space on the same data, and by rivals; None where `stop` interrupted.

    Results of trainings are kept in ``standalone.csv`` of the folder `out`, where the report is written to as
    ``rank.json``; called again, it goes on. Raises ValueError where the supernets differ in space or data,
    or another process is at work in `out`.
    """
    options, progress = options or RankOptions(), progress or (lambda *_: None)
    supernets = _supernets(folders)
    folder = Path(out)
    with locked(folder / LOCK):
        subject = standalone(
            next(iter(supernets.values())).folder.config, folder, options, progress=progress, stop=stop
        )
        if subject is None:
            return None
        estimators = {**supernets, **{name: load_estimator(name) for name in options.rivals}}
        scores = {}
        for done, (name, estimator) in enumerate(estimators.items()):
            progress(done, len(estimators), f"scores of {name}")
            scores[name] = settled(estimator.estimate(subject.members).mean)
        report = ranked(subject, scores, supernets=tuple(supernets), top=options.top)
        write_atomic(folder / REPORT, json.dumps(facts(report), indent=1) + "\n")
        return report


def _supernets(folders: Sequence[str | Path]) -> dict[str, InheritedEstimator]:
    """Estimators by scheme and folder. Raises ValueError where they do not belong together."""
    if not folders:
        raise ValueError("rank: names no supernet; give one or more folders of hvnas supernet train")
    found: dict[str, InheritedEstimator] = {}
    for path in folders:
        estimator = InheritedEstimator(Inherited(folder=str(path)))
        run = estimator.folder.config
        found[f"{run.scheme} ({Path(path).name})"] = estimator
        first = next(iter(found.values())).folder.config
        for field in ("space_hash", "data", "resolution", "classes"):
            if getattr(run, field) != getattr(first, field):
                raise ValueError(
                    f"{path}: {field} is {getattr(run, field)}, and {getattr(first, field)} in {folders[0]}; "
                    "rank supernets of one space on the same data"
                )
    if len(found) < len(folders):
        raise ValueError("rank: two supernets of one scheme have folders of one name; rename one")
    return found


def standalone(
    run: SupernetRun,
    out: Path,
    options: RankOptions,
    *,
    progress: OnStep | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainedMembers | None:
    """Draw the members and train each by itself where that is not known; None where `stop` interrupted."""
    results = trainings(run, out, options)
    members, centres = drawn(run, options)
    bins = np.repeat(np.arange(len(members)), [len(group) for group in members])
    flat = [arch for group in members for arch in group]
    truth = np.zeros((len(flat), options.seeds))
    for seed in range(options.seeds):
        for i, arch in enumerate(flat):
            if progress is not None:
                progress(seed * len(flat) + i, truth.size, f"network {i + 1} from seed {seed}")
            top1 = results.top1(arch, seed=seed, stop=stop)
            if top1 is None:
                return None
            truth[i, seed] = top1
    return TrainedMembers(tuple(flat), centres, bins, truth)


def trainings(run: SupernetRun, out: Path, options: RankOptions) -> Standalone:
    """Trainings of single networks on the data of a supernet, kept in `out`."""
    return Standalone(
        out,
        Alone(
            data=run.data,
            resolution=run.resolution,
            train_size=options.train_size or run.train_size,
            test_size=options.test_size or run.test_size,
            recipe=options.recipe,
            epochs=options.epochs,
            device=options.device,
        ),
    )


def drawn(run: SupernetRun, options: RankOptions) -> tuple[list[list[Arch]], tuple[float, ...]]:
    """Members by bin, and the bins' centres in MACs at the resolution of the supernet."""
    from hvnas.space import load_space

    space = load_space(run.space)

    def fit(arch: Arch) -> Arch:
        return arch.with_(classes=run.classes, resolution=run.resolution)

    def macs(arch: Arch) -> float:
        return float(arch.lower().macs)

    centres = options.centres or quantile_centres(
        draws(space, rng=np.random.default_rng([options.seed, 1]), fit=fit), options.bins, size=macs
    )
    archs = draws(space, rng=np.random.default_rng(options.seed), fit=fit)
    return in_bins(archs, centres, size=macs, share=options.spread, each=options.each), centres


def ranked(
    subject: TrainedMembers, scores: dict[str, Array], *, supernets: tuple[str, ...] = (), top: int = 3
) -> RankReport:
    """The report on `scores` ``[n]`` by name, the higher the better."""
    return RankReport(
        subject,
        scores,
        _ceiling(subject, None),
        _ceiling(subject, subject.bins),
        tuple(_of(name, values, subject, top) for name, values in scores.items()),
        supernets,
        top,
    )


def _of(name: str, scores: Array, subject: TrainedMembers, top: int) -> Ranked:
    truth, bins = subject.mean, subject.bins

    def spread(statistic: Callable[..., float], within: bool) -> Interval:
        return bootstrap(lambda i: statistic(scores[i], truth[i], bins[i] if within else None), bins)

    return Ranked(
        name,
        spread(tau, False),
        spread(tau, True),
        spread(rho, False),
        spread(rho, True),
        regret(scores, truth, bins, k=top),
    )


def _ceiling(subject: TrainedMembers, bins: Bins | None) -> Interval:
    """Tau between two seeds of the training, the mean of all pairs of seeds."""
    pairs = list(combinations(range(subject.truth.shape[1]), 2))

    def between(i: Any) -> float:
        taus = [
            tau(subject.truth[i, a], subject.truth[i, b], None if bins is None else bins[i]) for a, b in pairs
        ]
        return float(np.mean(taus))

    return bootstrap(between, subject.bins)


def facts(report: RankReport) -> dict[str, Any]:
    """The report as plain data: figures, members, truth and scores."""
    subject = report.subject
    return {
        "networks": len(subject.members),
        "centres": list(subject.centres),
        "top": report.top,
        "ceiling": _figures(report.ceiling),
        "ceiling_within": _figures(report.ceiling_within),
        "ranked": [_facts(entry, report) for entry in report.ranked],
        "members": [
            {
                "network": arch.hash,
                "bin": int(bin_),
                "macs": arch.lower().macs,
                "top1": truth.tolist(),
                "scores": {name: _finite(float(values[i])) for name, values in report.scores.items()},
            }
            for i, (arch, bin_, truth) in enumerate(
                zip(subject.members, subject.bins, subject.truth, strict=True)
            )
        ],
    }


def _facts(entry: Ranked, report: RankReport) -> dict[str, Any]:
    found = {
        name: _figures(value) if isinstance(value, Interval) else value for name, value in vars(entry).items()
    }
    return found | ({"holds": report.holds(entry.name)} if entry.name in report.supernets else {})


def _figures(interval: Interval) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in vars(interval).items()}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


Bins = NDArray[np.int64]


DRAWS = 1000


def tau(a: Array, b: Array, bins: Bins | None = None) -> float:
    """Kendall's tau-b of all pairs of networks, or of those within one bin only, pooled.

    Concordant minus discordant pairs, over the geometric mean of the pairs that `a` and that `b` tell apart
    (Kendall 1945); nan where either tells none apart.
    """
    of = told = known = 0.0
    for group in _groups(len(a), bins):
        x, y = _signs(a[group]), _signs(b[group])
        of, told, known = of + (x * y).sum(), told + np.abs(x).sum(), known + np.abs(y).sum()
    return _share(of, told * known)


def rho(a: Array, b: Array, bins: Bins | None = None) -> float:
    """Spearman's correlation of ranks; with `bins` of ranks within each bin, pooled. nan as `tau`."""
    of = told = known = 0.0
    for group in _groups(len(a), bins):
        # a rank less the mean rank is half the sum of the signs of the differences to all others
        x, y = _signs(a[group]).sum(1), _signs(b[group]).sum(1)
        of, told, known = of + (x * y).sum(), told + (x * x).sum(), known + (y * y).sum()
    return _share(of, told * known)


def _groups(count: int, bins: Bins | None) -> list[NDArray[np.intp]]:
    """The networks of each bin, or all."""
    return (
        [np.arange(count)] if bins is None else [np.flatnonzero(bins == group) for group in np.unique(bins)]
    )


def _signs(values: Array) -> Array:
    """Which of two networks is above the other. Shape [n, n]."""
    above = values[:, None] > values
    signs: Array = above.astype(np.float64) - above.T
    return signs


def _share(of: float, square: float) -> float:
    return float(of / np.sqrt(square)) if square else float("nan")


def regret(scores: Array, truth: Array, bins: Bins, *, k: int) -> float:
    """What is lost in each bin by training only the `k` that `scores` puts first, in points, on average.

    The best of the bin less the best of those `k`.
    """
    lost = []
    for group in np.unique(bins):
        here = bins == group
        first = np.argsort(-scores[here], kind="stable")[:k]
        lost.append(truth[here].max() - truth[here][first].max())
    return float(np.mean(lost))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], bins: Bins, *, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """`statistic` of indices of networks: of all, and its spread for as many drawn from each bin."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(bins == group) for group in np.unique(bins)]
    values = np.array(
        [statistic(np.concatenate([rng.choice(g, size=len(g)) for g in groups])) for _ in range(draws)]
    )
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [LOW, HIGH]) if len(values) else (np.nan, np.nan)
    return Interval(statistic(np.arange(len(bins))), float(low), float(high))
