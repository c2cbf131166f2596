"""Networks trained by themselves, and compared by what that comes to; members of a space drawn at random."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from hvnas._files import write_atomic
from hvnas._records import Cell, csv_text, read_records
from hvnas._runs import locked
from hvnas.arch import Arch
from hvnas.space import Space
from hvnas.train.data import Data, load_data
from hvnas.train.recipes import Recipe, load_recipe, training_of

FILE = "standalone.csv"
RECIPE = "brief"
LOCK = ".lock"

Array = NDArray[np.float64]
LOW, HIGH = 0.05, 0.95  # quantiles of an interval
REDRAWN = 10_000


@dataclass(frozen=True, kw_only=True)
class Alone:
    """How networks are trained by themselves. What is None is left to the data set or the recipe.

    `data_seed` chooses the images: with another seed than a supernet's they are none that it has seen.
    """

    data: str
    resolution: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    recipe: str = RECIPE
    epochs: int | None = None
    data_seed: int = 0
    device: str | None = None


@dataclass(frozen=True)
class Outcome:
    """One training: top-1 on the test split in points, chance where the loss stopped being finite.

    The weights are those of the epoch that was best on the validation images.
    """

    network: str  # the hash of the architecture as it was trained
    seed: Annotated[int, Cell(least=0, most=10**9)]
    data: str
    training: str
    top1: Annotated[float, Cell(least=0, most=100)]
    seconds: Annotated[float, Cell(least=0)]


class Standalone:
    """Top-1 of networks trained by themselves, kept in ``standalone.csv`` of a folder.

    A row is written when its training ends, so that a killed study goes on, and several studies share it.
    """

    def __init__(self, folder: str | Path, how: Alone) -> None:
        self.path, self.how = Path(folder) / FILE, how
        self.recipe: Recipe = load_recipe(how.recipe)
        self.epochs = int(self.recipe.epochs) if how.epochs is None else how.epochs
        if self.epochs < 1:
            raise ValueError(f"epochs: must be >= 1, got {self.epochs}")
        self._training = json.dumps(_chosen(training_of(self.recipe)), sort_keys=True)

    @cached_property
    def data(self) -> Data:
        """The data set, loaded on first use."""
        how = self.how
        return load_data(
            how.data,
            resolution=how.resolution,
            train_size=how.train_size,
            test_size=how.test_size,
            seed=how.data_seed,
        )

    def top1(self, arch: Arch, *, seed: int, stop: Callable[[], bool] | None = None) -> float | None:
        """Top-1 of `arch` trained from `seed`, read where it is known; None where `stop` interrupted.

        Raises ValueError where `arch` does not fit the data, or the file cannot be read.
        """
        from hvnas.train.fitting import fit_arch

        fitted = fit_arch(arch, self.data)
        known = self._known(fitted, seed)
        if known is not None:
            return known.top1
        started = time.process_time()
        top1 = self._train(fitted, seed, stop)
        if top1 is not None:
            spent = round(time.process_time() - started, 1)
            self._keep(replace(self._unknown(fitted, seed), top1=top1, seconds=spent))
        return top1

    def knows(self, arch: Arch, *, seed: int) -> bool:
        """Whether `top1` would have nothing to train."""
        from hvnas.train.fitting import fit_arch

        return self._known(fit_arch(arch, self.data), seed) is not None

    def _train(self, arch: Arch, seed: int, stop: Callable[[], bool] | None) -> float | None:
        from hvnas.train.trainer import DivergedError, Trainer, network_for

        trainer = Trainer(
            network_for(arch, self.data, recipe=self.recipe, seed=seed),
            self.data,
            recipe=self.recipe,
            epochs=self.epochs,
            seed=seed,
            device=self.how.device,
            stop=stop,
        )
        try:
            result = trainer.run()
        except DivergedError:
            return 100.0 / self.data.classes
        return trainer.test() if result.finished else None

    def _unknown(self, arch: Arch, seed: int) -> Outcome:
        return Outcome(arch.hash, seed, self.data.key, f"{self.epochs} epochs {self._training}", 0.0, 0.0)

    def _known(self, arch: Arch, seed: int) -> Outcome | None:
        wanted = self._unknown(arch, seed)
        return next(
            (found for found in self.outcomes() if replace(found, top1=0.0, seconds=0.0) == wanted), None
        )

    def outcomes(self) -> list[Outcome]:
        """All that is kept. Raises ValueError naming file and line."""
        return read_records(self.path, Outcome) if self.path.exists() else []

    def _keep(self, outcome: Outcome) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, csv_text(map(asdict, [*self.outcomes(), outcome])))


def _chosen(settings: Any) -> dict[str, Any]:
    """What differs from the defaults: a setting that recipes gain later leaves known results known."""
    found = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if value != default:
            found[field.name] = _chosen(value) if is_dataclass(value) else value
    return found


@dataclass(frozen=True)
class Interval:
    """A figure, and the 5 and 95 % quantiles of it with networks, or trainings, drawn again."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Networks trained alike with the same seeds; `top1` on the test images in points, ``[n, seeds]``.

    What other seeds would have come to is drawn from how far trainings lie from their network's mean, all
    networks together, since a few seeds alone say little of a spread; the test images stay as they are.
    """

    networks: Mapping[str, Arch]  # as they were trained
    top1: Array
    how: Alone
    epochs: int

    @property
    def mean(self) -> Array:
        """Top-1 over the seeds. Shape [n]."""
        mean: Array = self.top1.mean(axis=1)
        return mean

    @cached_property
    def drawn(self) -> Array:
        """Means over as many trainings, drawn again. Shape [draws, n]."""
        n, seeds = self.top1.shape
        # of a mean over few trainings, which they lie too near to
        apart = (self.top1 - self.mean[:, None]) * np.sqrt(seeds / (seeds - 1))
        rng = np.random.default_rng(0)
        drawn: Array = self.mean + rng.choice(apart.ravel(), size=(REDRAWN, n, seeds)).mean(axis=2)
        return drawn

    @cached_property
    def chances(self) -> dict[str, float]:
        """The chance of each network to have the highest mean."""
        first = np.bincount(self.drawn.argmax(axis=1), minlength=len(self.networks)) / REDRAWN
        return dict(zip(self.networks, first.tolist(), strict=True))

    @property
    def order(self) -> tuple[str, ...]:
        """The networks, the best first."""
        names = tuple(self.networks)
        return tuple(names[i] for i in np.argsort(-self.mean, kind="stable"))

    def difference(self, network: str, other: str) -> Interval:
        """Top-1 of `network` less that of `other`, with its 5-95 % interval."""
        names = tuple(self.networks)
        a, b = names.index(network), names.index(other)
        low, high = np.quantile(self.drawn[:, a] - self.drawn[:, b], [LOW, HIGH])
        return Interval(float(self.mean[a] - self.mean[b]), float(low), float(high))

    def rows(self) -> list[dict[str, Any]]:
        """One row per network, the best first."""
        means, spreads = self.mean, self.top1.std(axis=1, ddof=1)
        places = {name: i for i, name in enumerate(self.networks)}
        found = []
        for name in self.order:
            program, i = self.networks[name].lower(), places[name]
            found.append(
                {
                    "network": name,
                    "params": program.params,
                    "macs": program.macs,
                    "top1": float(means[i]),
                    "sd": float(spreads[i]),
                    "p_first": self.chances[name],
                    **{f"seed{k}": float(value) for k, value in enumerate(self.top1[i])},
                }
            )
        return found

    def facts(self) -> dict[str, Any]:
        """Plain data: how was trained, and the rows of both tables."""
        how = {**asdict(self.how), "epochs": self.epochs, "seeds": self.top1.shape[1]}
        return {**how, "networks": self.rows(), "differences": self.differences()}

    def differences(self) -> list[dict[str, Any]]:
        """One row per pair, the better of the two first."""
        return [
            {"network": a, "other": b, **asdict(self.difference(a, b))}
            for a, b in combinations(self.order, 2)
        ]


def compare(
    networks: Mapping[str, Arch],
    training: Standalone,
    *,
    seeds: int,
    progress: Callable[[int, int, str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Comparison | None:
    """Train every network with as many seeds, all from one before the next; None where `stop` interrupted.

    `progress` is told how many trainings are done, of how many, and which is next.
    Raises ValueError for fewer than two seeds or networks, before any training for a network that does not
    fit the data, and where another process is at work in the same folder.
    """
    from hvnas.train.fitting import fit_arch

    if seeds < 2:
        raise ValueError(f"trainings: must be >= 2 of each network, got {seeds}; one shows no spread")
    if len(networks) < 2:
        raise ValueError(f"networks: {len(networks)} to compare; give two or more")
    fitted = {name: fit_arch(arch, training.data) for name, arch in networks.items()}
    top1 = np.zeros((len(fitted), seeds))
    with locked(training.path.parent / LOCK):
        for seed in range(seeds):
            for i, (name, arch) in enumerate(fitted.items()):
                if progress and not training.knows(arch, seed=seed):
                    progress(seed * len(fitted) + i, top1.size, f"{name} from seed {seed}")
                found = training.top1(arch, seed=seed, stop=stop)
                if found is None:
                    return None
                top1[i, seed] = found
    return Comparison(fitted, top1, training.how, training.epochs)


Size = Callable[[Arch], float]


AT_ONCE = 64
MOST = 20_000


def draws(space: Space, *, rng: np.random.Generator, fit: Callable[[Arch], Arch]) -> Iterator[Arch]:
    """Different members, their genes drawn uniformly, each as `fit` makes it; at most 20,000 draws."""
    seen: set[str] = set()
    for _ in range(MOST // AT_ONCE):
        for row in space.sample(AT_ONCE, rng=rng):
            arch = fit(space.decode(row))
            if arch.hash not in seen:
                seen.add(arch.hash)
                yield arch


def in_bins(
    archs: Iterator[Arch],
    centres: tuple[float, ...],
    *,
    size: Size,
    share: float,
    each: int,
) -> list[list[Arch]]:
    """The first `each` networks whose `size` is within `share` of each centre.

    Raises ValueError where the draws do not hold as many.
    """
    found: list[list[Arch]] = [[] for _ in centres]
    for arch in archs:
        value = size(arch)
        for members, centre in zip(found, centres, strict=True):
            if len(members) < each and abs(value / centre - 1) <= share:
                members.append(arch)
                break
        if all(len(members) == each for members in found):
            return found
    counts = ", ".join(f"{len(m)} at {c:g}" for m, c in zip(found, centres, strict=True))
    raise ValueError(
        f"random members are too rare: {counts} found of {each} each; move the centres or ask for fewer"
    )


def quantile_centres(archs: Iterator[Arch], count: int, *, size: Size) -> tuple[float, ...]:
    """Sizes that split random members into `count` equal parts, the middle of each part; of 256 draws."""
    sizes = [size(arch) for _, arch in zip(range(256), archs, strict=False)]
    return tuple(float(q) for q in np.quantile(sizes, (np.arange(count) + 0.5) / count))
