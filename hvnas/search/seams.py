"""What a search needs of a space, a device and an estimator, and what it offers to those who watch it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import Arch
from hvnas.ops import Column

if TYPE_CHECKING:
    from hvnas.search.archive import Archive
    from hvnas.search.problem import Problem
    from hvnas.search.reach import Reach
    from hvnas.search.state import Checkpoint

Rows = NDArray[np.int16]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]
Features = Callable[[Rows], Floats]


class GeneLike(Protocol):
    """A gene: its name and the ordered list that it indexes."""

    @property
    def name(self) -> str: ...
    @property
    def values(self) -> Sequence[Any]: ...


class SpaceLike(Protocol):
    """The part of `hvnas.space.Space` that strategies use. Rows are canonical encodings, int16 [n, genes]."""

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def genes(self) -> Sequence[GeneLike]: ...
    @property
    def cardinalities(self) -> NDArray[Any]: ...
    @property
    def limits(self) -> Mapping[str, float]: ...
    def sample(
        self, n: int, *, rng: np.random.Generator, macs: tuple[float, float] | None = None
    ) -> Rows: ...
    def mutate(self, rows: Rows, *, rng: np.random.Generator, rate: float) -> Rows: ...
    def crossover(self, a: Rows, b: Rows, *, rng: np.random.Generator, canonical: bool = True) -> Rows: ...
    def canonicalise(self, rows: Rows) -> Rows: ...
    def encode(self, arch: Arch) -> Rows: ...
    def decode(self, row: Rows) -> Arch: ...
    def fixed_points(self) -> Sequence[str]: ...


class LatenciesLike(Protocol):
    """Latencies of n networks: ms with its 5-95 % interval, and what lies outside the device's gate."""

    @property
    def ms(self) -> Floats: ...
    @property
    def low(self) -> Floats: ...
    @property
    def high(self) -> Floats: ...
    @property
    def inside(self) -> Bools: ...
    @property
    def excluded_by(self) -> Mapping[str, Bools]: ...


class DeviceLike(Protocol):
    """The part of `hvnas.latency.Device` that a search uses."""

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def columns(self) -> Sequence[Column]: ...
    def latency_columns(self, values: Floats) -> LatenciesLike: ...
    def p_within(self, ms: Floats, budget: float, *, inside: bool | Bools = True) -> Floats: ...
    def default_margin(self, budget: float | None = None) -> float: ...


class EstimateLike(Protocol):
    """Top-1 in points and its standard deviation, one per network."""

    @property
    def mean(self) -> Floats: ...
    @property
    def sd(self) -> Floats: ...


class EstimatorLike(Protocol):
    """The part of `hvnas.accuracy.ColumnEstimator` that a search uses.

    Estimators without columns are taken too: they are given the networks, see `Problem.cheap`.
    """

    @property
    def columns(self) -> Sequence[Column]: ...
    def estimate_columns(self, values: Floats, *, recipe: str, scenario: str) -> EstimateLike: ...


class Progress(Protocol):
    """Told how a search goes; for a bar on a terminal. The search itself prints nothing."""

    def chosen(self, strategy: str, reason: str) -> None:
        """The search is left to `strategy`, for `reason`; told where the user named none."""

    def reachable(self, reach: Reach) -> None:
        """The latencies that the space reaches on the device are known; the search starts next."""

    def failed(self, row: Rows, reason: str) -> None:
        """The network of canonical `row` could not be evaluated, for `reason`."""

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """`archive.evaluated` of `evals` architectures are evaluated; `archive.best` is the best so far."""


class Silent:
    """Progress that nobody watches."""

    def chosen(self, strategy: str, reason: str) -> None:
        """Nothing."""

    def reachable(self, reach: Reach) -> None:
        """Nothing."""

    def failed(self, row: Rows, reason: str) -> None:
        """Nothing."""

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """Nothing."""


class Strategy:
    """A way to spend a number of evaluations: one of your own derives from this and has a `run`."""

    def check(self, problem: Problem) -> None:
        """Raise ValueError where it cannot search `problem`; asked before anything is written."""

    def on_storage(self, storage: str) -> Strategy | None:
        """The same on a study that several searches share; None where it keeps none."""
        return None

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """Evaluate at most `evals` distinct architectures of `problem` and return the front found.

        The same seed gives the same archive, whether or not the run was cut and continued from
        `checkpoint`.
        """
        raise NotImplementedError
