"""What study_supernet_table.py orders and how well: a published table as members of a space, and statistics.

Shapes: n networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from hvnas._files import append_line
from hvnas._records import csv_line, field_names, read_csv
from hvnas.accuracy.ranks import settled
from hvnas.accuracy.table import Members, PublishedTable
from hvnas.arch import Arch
from hvnas.search.strategies.predicted import Encoder, Regressor, Scaling
from hvnas.space import Space
from hvnas.studies.alone import Interval
from hvnas.studies.bench import TableProblem
from hvnas.studies.rank import bootstrap, rho, tau

Array = NDArray[np.float64]
Places = NDArray[np.intp]

TOP = 10
# Draws of networks, with replacement, behind an interval.
DRAWS = 100


@dataclass(frozen=True)
class Score:
    """A line of scores.csv: what `score` says of a network (its indices as text), and the seconds it took."""

    network: str
    score: str
    value: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Subject:
    """The published table as members of a space, and those of them that are ordered.

    `sample` are places in the table. `bins` has the bin of FLOPs of each network of the table.
    """

    table: PublishedTable
    space: Space
    sample: Places
    bins: NDArray[np.int64]

    @classmethod
    def of(cls, table: PublishedTable, space: Space, *, networks: int, bins: int, seed: int) -> Subject:
        """Draw `networks` of the table; bins of FLOPs hold equally many of all networks."""
        sample = np.random.default_rng(seed).permutation(len(table))[:networks]
        macs = table.counts["macs"]
        edges = np.quantile(macs, np.linspace(0, 1, bins + 1)[1:-1])
        return cls(table, space, sample, np.searchsorted(edges, macs, side="right"))

    @cached_property
    def rows(self) -> NDArray[np.int16]:
        """The networks of the table as the space encodes them. Shape [n, genes]."""
        members = Members.of(self.table, self.space)
        rows = np.zeros((len(self.table), len(self.space.genes)), dtype=np.int16)
        for column, (gene, index) in enumerate(zip(members.genes, members.indices, strict=True)):
            own = {int(theirs): ours for ours, theirs in enumerate(index)}
            rows[:, gene] = [own[int(theirs)] for theirs in self.table.rows[:, column]]
        return rows

    @cached_property
    def equals(self) -> NDArray[np.intp]:
        """A number for each network of the table, the same for those that compute the same. Shape [n].

        What is left out of a stage can be left out in several places.
        """
        known: dict[str, int] = {}
        programs = (repr(self.arch(place).lower().ops) for place in range(len(self.table)))
        return np.array([known.setdefault(program, len(known)) for program in programs])

    @property
    def with_equals(self) -> Places:
        """The sample, then the networks that equal one of it."""
        alike = np.flatnonzero(np.isin(self.equals, self.equals[self.sample]))
        return np.concatenate([self.sample, np.setdiff1d(alike, self.sample)])

    def key(self, place: int) -> str:
        """The network's name in scores.csv."""
        return "-".join(map(str, self.table.rows[place]))

    def arch(self, place: int) -> Arch:
        """The network."""
        return self.space.decode(self.rows[place])


class Scores:
    """The scores that are known, on file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[tuple[str, str], Score] = {}
        if path.exists():
            for row in read_csv(path, field_names(Score), growing=True):
                line = row.record(Score)
                self.lines[line.score, line.network] = line
        else:
            append_line(path, csv_line(field_names(Score)).rstrip("\n"))

    def add(self, line: Score) -> None:
        """Keep one more."""
        append_line(self.path, csv_line(vars(line).values()).rstrip("\n"))
        self.lines[line.score, line.network] = line

    def missing(self, score: str, places: Iterable[int], subject: Subject) -> list[int]:
        """The networks that lack a score."""
        return [int(place) for place in places if (score, subject.key(place)) not in self.lines]

    def values(self, score: str, places: Iterable[int], subject: Subject) -> Array:
        """Scores of networks, the worst there is where one could not be computed."""
        found = [self.lines[score, subject.key(place)].value for place in places]
        return settled(np.array(found, dtype=np.float64))

    def seconds(self, score: str, count: int) -> float:
        """What `count` networks take."""
        spent = [line.seconds for (name, _), line in self.lines.items() if name == score]
        return float(np.mean(spent)) * count


@dataclass(frozen=True)
class Ordered:
    """How well a score orders networks, and seconds of processor that scoring all of the sample takes.

    `networks` are those it is known of; `known` of them had to be trained before. `regret` is how many points
    the best of the `TOP` put first is below the best of the whole table.
    """

    name: str
    networks: int
    known: int
    tau: Interval
    tau_within: Interval
    rho: Interval
    rho_within: Interval
    regret: Interval
    seconds: float


def ordered(
    name: str, scores: Array, places: Places, subject: Subject, *, seconds: float, known: int = 0
) -> Ordered:
    """How well scores [n] order networks, with intervals over draws of networks."""
    truth, bins = subject.table.top1[places], subject.bins[places]
    best = float(subject.table.top1.max())

    def spread(statistic: Callable[[NDArray[np.int64]], float]) -> Interval:
        return bootstrap(statistic, bins, draws=DRAWS)

    return Ordered(
        name,
        len(places),
        known,
        spread(lambda i: tau_of_all(scores[i], truth[i])),
        spread(lambda i: tau(scores[i], truth[i], bins[i])),
        spread(lambda i: float(spearmanr(scores[i], truth[i])[0])),
        spread(lambda i: rho(scores[i], truth[i], bins[i])),
        spread(lambda i: best - float(truth[i][first(scores[i])].max())),
        seconds,
    )


def tau_of_all(a: Array, b: Array) -> float:
    """As `tau` without bins, in a time that a thousand networks can be drawn many times in."""
    return float(kendalltau(a, b)[0])


def first(scores: Array) -> Places:
    """Where the `TOP` highest scores are."""
    found: Places = np.argsort(-scores, kind="stable")[:TOP]
    return found


def ahead(scores: Array, others: Array, places: Places, subject: Subject, *, within: bool) -> Interval:
    """By how much the tau of scores [n] exceeds that of others [n], over draws of the same networks."""
    truth, bins = subject.table.top1[places], subject.bins[places]

    def difference(i: NDArray[np.int64]) -> float:
        if not within:
            return tau_of_all(scores[i], truth[i]) - tau_of_all(others[i], truth[i])
        return tau(scores[i], truth[i], bins[i]) - tau(others[i], truth[i], bins[i])

    return bootstrap(difference, bins, draws=DRAWS)


@dataclass(frozen=True)
class Predicted:
    """What a predictor that knows `known` networks makes of the others: one value a draw of those known."""

    known: int
    tau: Array
    tau_within: Array
    rho: Array
    regret: Array


def predicted(
    subject: Subject, inherited: Array | None, *, known: int, draws: int, places: Places
) -> Predicted:
    """Fit the predictor of the search to `known` of the networks at `places`, and order the others.

    `inherited` [n, scores] are features beside those that the search has, where there are any.
    """
    encoder = Encoder(TableProblem.of(subject.table, subject.space))
    rows = subject.rows[places]
    features, free = encoder(rows), len(encoder.columns)
    if inherited is not None:
        features, free = np.hstack([inherited, features]), free + inherited.shape[1]
    scaling = Scaling.of(features, free=free)
    truth, bins = subject.table.top1[places], subject.bins[places]
    best = float(subject.table.top1.max())
    found = []
    for draw in range(draws):
        order = np.random.default_rng([known, draw]).permutation(len(places))
        ours, others = order[:known], order[known:]
        regressor = Regressor.fit(features[ours], truth[ours], scaling)
        mean = regressor.predict(features[others]).mean
        own = truth[others]
        regret = best - float(own[first(mean)].max())
        found.append((tau_of_all(mean, own), tau(mean, own, bins[others]), rho(mean, own), regret))
    return Predicted(known, *np.array(found).T)


def over_draws(values: Array) -> Interval:
    """The mean over draws of the known networks, with its 5 and 95 % quantiles if they were drawn anew."""
    return bootstrap(lambda i: float(values[i].mean()), np.zeros(len(values), dtype=np.int64))
