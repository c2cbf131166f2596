"""Tables of published results: networks that others trained, by the choices that make them.

Such a table holds every network of a small space with its top-1, so that what a strategy finds compares with
the best that there is. Estimator ``table:FILE,space=NAME`` answers from it for the members of a space.

A CSV has a column for each choice and one or more of top-1; a JSON file maps keys to results, each character
of a key being a choice. One column whose cells are keys will do in a CSV, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_json, refusing
from hvnas._names import listed, shown
from hvnas._numbers import LARGEST, number
from hvnas._records import read_csv
from hvnas.accuracy.estimator import AccuracyEstimator, Array, Estimate, read_options
from hvnas.accuracy.loading import Located
from hvnas.arch import Arch
from hvnas.blocks.limits import MOST_VALUES
from hvnas.ops import Program

if TYPE_CHECKING:
    from hvnas.space import Space

NAME = "table"
_JSON = ".json"
# Columns of top-1 unless another one is named: one training each, "acc1", "acc2", or their mean, "top1".
_TRAININGS = re.compile(r"(top1|acc|accuracy|test_acc)_?\d*", re.IGNORECASE)
# Counts that a table may hold beside top-1, and what they are called here.
_COUNTS = {"params": "params", "flops": "macs", "macs": "macs"}
MOST_NETWORKS = 250_000

Rows = NDArray[np.int16]


@dataclass(frozen=True)
class TableGene:
    """A choice: its name, and the ordered list that its index points into."""

    name: str
    values: tuple[int | float | str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class PublishedTable:
    """n networks with their top-1.

    `rows` int16 [n, genes] are indices into the lists of `genes`, all different; `trainings` [n, k] is top-1
    in points of k trainings each; `counts` holds ``params`` and ``macs`` [n] where they are published.
    """

    path: Path
    genes: tuple[TableGene, ...]
    rows: Rows
    trainings: Array
    counts: Mapping[str, Array]

    def __repr__(self) -> str:
        return f"PublishedTable({self.path.name}: {len(self)} networks of {len(self.genes)} genes)"

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def top1(self) -> Array:
        """Mean over the trainings, in points. Shape [n]."""
        mean: Array = self.trainings.mean(axis=1)
        return mean

    @cached_property
    def sd(self) -> float:
        """Standard deviation of `top1` over trainings, pooled over all networks; 0 of one training."""
        k = self.trainings.shape[1]
        return float(np.sqrt(self.trainings.var(axis=1, ddof=1).mean() / k)) if k > 1 else 0.0

    @cached_property
    def cardinalities(self) -> NDArray[np.int64]:
        """Values of each gene. Shape [genes]."""
        return np.array([len(gene.values) for gene in self.genes])

    @property
    def complete(self) -> bool:
        """Whether every combination of values is there."""
        return len(self) == math.prod(self.cardinalities.tolist())

    def places(self, rows: Rows) -> NDArray[np.intp]:
        """Return where in the table networks stand, -1 for those that it lacks. `rows` is [m, genes]."""
        keys = np.ravel_multi_index(tuple(rows.T.astype(np.int64)), tuple(self.cardinalities))
        order, known = self._sorted_keys
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[at] == keys, order[at], -1)

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        keys = np.ravel_multi_index(tuple(self.rows.T.astype(np.int64)), tuple(self.cardinalities))
        order = np.argsort(keys)
        return order, keys[order]


def read_table(path: str | Path, *, value: str | None = None) -> PublishedTable:
    """Read a table: JSON by the ending of its name, else CSV.

    `value` names the column, or the field of JSON entries, that holds top-1; by default that is every one
    named ``top1``, ``acc``, ``accuracy`` or ``test_acc``, or so with a number, one training each. Columns
    ``params`` and ``flops`` or ``macs`` are counts, and all others are genes, in their order. A list of
    numbers is sorted; words keep the order in which they appear.

    Raises ValueError, one line, naming the file, the row or key, and what to change.
    """
    path = Path(path)
    with refusing(path):
        if path.suffix == _JSON:
            keys, results = _from_json(read_json(path), value)
            names, cells = _characters(keys, "key")
        else:
            names, cells, results = _from_csv(path, value)
        genes = tuple(_gene(name, column) for name, column in zip(names, cells, strict=True))
        rows = np.stack([_indices(g, column) for g, column in zip(genes, cells, strict=True)], axis=1)
        if math.prod(len(gene.values) for gene in genes) > 2**62:
            raise ValueError(f"{len(genes)} genes are too many; leave out the columns that are no choices")
        _check_distinct(rows, genes)
        trainings = np.array(results.pop(""), dtype=np.float64)
        counts = {name: np.array(column, dtype=np.float64) for name, column in results.items()}
        return PublishedTable(path, genes, rows, trainings, counts)


# The top-1 of each training of each network under "", and counts by name.
_Results = dict[str, list[Any]]


def _from_csv(path: Path, value: str | None) -> tuple[list[str], list[list[str]], _Results]:
    """Names and cells of the columns that are choices, and the results."""
    read = list(read_csv(path, () if value is None else (value,), optional=None))
    header = tuple(read[0].cells)
    trainings = [value] if value is not None else [name for name in header if _TRAININGS.fullmatch(name)]
    if not trainings:
        raise ValueError("row 1: no column of top-1; call it top1, or name it: --value COLUMN")
    counts = {name: _COUNTS[name.lower()] for name in header if name.lower() in _COUNTS}
    taken = (*trainings, *counts, *(name for name in header if _TRAININGS.fullmatch(name)))
    names = [name for name in header if name not in taken]
    if not names:
        raise ValueError("row 1: no column of choices beside those of top-1; add one for each choice")
    results: _Results = {"": [[row.number_of(c, least=0, most=100) for c in trainings] for row in read]}
    for column, name in counts.items():
        results[name] = [row.number_of(column, least=0) for row in read]
    cells = [[row.text(name) for row in read] for name in names]
    if len(names) == 1 and len(set(cells[0])) == len(read) > MOST_VALUES:
        names, cells = _characters(cells[0], names[0])
    return names, cells, results


def _from_json(data: Any, value: str | None) -> tuple[list[str], _Results]:
    """Keys and results of ``{key: {"test_acc": [top-1, …], "params": …, "flops": …}}``."""
    if not isinstance(data, dict) or not data:
        raise ValueError('must map keys of networks to results, such as {"0121": {"test_acc": [91.2]}}')
    if len(data) > MOST_NETWORKS:
        raise ValueError(f"holds {len(data):,} networks; the most are {MOST_NETWORKS:,}")
    first = next(iter(data.values()))
    there = list(first) if isinstance(first, dict) else []
    trainings = [value] if value is not None else [f for f in there if _TRAININGS.fullmatch(f)]
    counts = {field: _COUNTS[field] for field in there if field in _COUNTS}
    results: _Results = {"": [], **{name: [] for name in counts.values()}}
    for key, entry in data.items():
        at = shown(key)
        top1 = [one for field in trainings or ["test_acc"] for one in _numbers(entry, field, at, most=100)]
        results[""].append(top1)
        if len(top1) != len(results[""][0]) or not top1:
            raise ValueError(f"{at}: all networks need one number of trainings, at least 1, got {len(top1)}")
        for field, name in counts.items():
            results[name] += _numbers(entry, field, at)
    return list(data), results


def _numbers(entry: Any, field: str, at: str, *, most: float = LARGEST) -> list[float]:
    """The number, or the list of them, in a field of the results of a network."""
    if not isinstance(entry, dict) or field not in entry:
        raise ValueError(f"{at}: {field}: missing; each network has one, or name another field")
    several = entry[field] if isinstance(entry[field], list) else [entry[field]]
    return [_number(one, f"{at}: {field}", most=most) for one in several]


def _number(data: Any, at: str, *, most: float = LARGEST) -> float:
    if isinstance(data, bool) or not isinstance(data, (int, float)):
        raise ValueError(f"{at}: must be a number, got {shown(data)}")
    try:
        return number(str(data), least=0, most=most)
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from None


def _characters(keys: Sequence[str], what: str) -> tuple[list[str], list[list[str]]]:
    """Each character of equally long keys as a gene."""
    length = len(keys[0])
    for key in keys:
        if len(key) != length or not length:
            raise ValueError(
                f"{what}: {shown(key)} has {len(key)} characters where {shown(keys[0])} has {length}; each "
                "character is a choice, so write equally long keys, or a column for each choice"
            )
    return [f"{what}.{i}" for i in range(length)], [list(column) for column in zip(*keys, strict=True)]


def _gene(name: str, cells: Sequence[str]) -> TableGene:
    values = list(dict.fromkeys(cells))
    if len(values) > MOST_VALUES:
        raise ValueError(
            f"{name}: holds {len(values):,} different values, and a choice has at most {MOST_VALUES}; "
            "leave the column out if it is none"
        )
    numbers = [_as_number(value) for value in values]
    if any(each is None for each in numbers) or len(set(numbers)) < len(values):
        return TableGene(name, tuple(values))
    return TableGene(name, tuple(sorted(each for each in numbers if each is not None)))


def _as_number(cell: str) -> int | float | None:
    try:
        value = number(cell)
    except ValueError:
        return None
    return int(value) if value == int(value) else value


def _indices(gene: TableGene, cells: Sequence[str]) -> Rows:
    place = {value: i for i, value in enumerate(gene.values)}
    known = {cell: place[cell] if cell in place else place[_as_number(cell)] for cell in set(cells)}  # type: ignore[index]
    return np.array([known[cell] for cell in cells], dtype=np.int16)


def _check_distinct(rows: Rows, genes: Sequence[TableGene]) -> None:
    _, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = rows[first[np.argmax(counts > 1)]]
        network = ", ".join(f"{g.name}={g.values[i]}" for g, i in zip(genes, row, strict=True))
        raise ValueError(f"lists a network twice: {network}; list it once")


@dataclass(frozen=True)
class Members:
    """Where the members of a space stand in a table.

    The genes of the table are those of the space that have several values, in the same order. `genes` are
    their places in the space's encoding, `indices` for each the table's index by the space's, -1 where the
    table has none.
    """

    table: PublishedTable
    genes: tuple[int, ...]
    indices: tuple[NDArray[np.int16], ...]

    @classmethod
    def of(cls, table: PublishedTable, space: Space) -> Members:
        """The members of `space`. Raises ValueError naming the gene at which the two differ."""
        varying = [i for i, gene in enumerate(space.genes) if len(gene.values) > 1]
        if len(varying) != len(table.genes):
            raise ValueError(
                f"{table.path}: has {len(table.genes)} genes where the space {space.name} has "
                f"{len(varying)}; name the space whose networks the table holds"
            )
        genes = zip(varying, table.genes, strict=True)
        return cls(table, tuple(varying), tuple(_matched(table, own, space, i) for i, own in genes))

    def places(self, rows: Rows) -> NDArray[np.intp]:
        """Return where canonical rows [n, genes] of the space stand in the table, -1 where it lacks them."""
        own = np.stack([index[rows[:, g]] for g, index in zip(self.genes, self.indices, strict=True)], axis=1)
        known = (own >= 0).all(axis=1)
        return np.where(known, self.table.places(np.maximum(own, 0)), -1)


def _matched(table: PublishedTable, own: TableGene, space: Space, at: int) -> NDArray[np.int16]:
    """The table's index by the space's: of the same words, or in order where the table has numbers."""
    gene = space.genes[at]
    words, known = [str(value) for value in gene.values], [str(value) for value in own.values]
    if set(known) <= set(words):
        return np.array([known.index(word) if word in known else -1 for word in words], dtype=np.int16)
    if len(own.values) == len(words) and not any(isinstance(value, str) for value in own.values):
        return np.arange(len(words), dtype=np.int16)
    raise ValueError(
        f"{table.path}: {own.name}: holds {listed(known)} where {gene.name} of {space.name} is one of "
        f"{listed(words)}; write those, or their numbers in that order"
    )


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What stands behind ``table:``. `space` is a space by name or file, `value` as in `read_table`."""

    file: str
    space: str
    value: str | None = None


class TableEstimator(AccuracyEstimator):
    """Answers for the members of a space with what others published of them.

    `mean` is that over the trainings of a network, `sd` the table's (`PublishedTable.sd`).
    """

    def __init__(self, table: PublishedTable, space: Space) -> None:
        self.table, self.space = table, space
        self.members = Members.of(table, space)

    @property
    def meaning(self) -> str:
        """What its top-1 is that of, in a line."""
        k = self.table.trainings.shape[1]
        trained = "one training" if k == 1 else f"the mean of {k} trainings"
        return f"as published in {self.table.path.name}, {trained} of each network"

    def label(self) -> str:
        """Return ``table:`` and the file's name."""
        return f"{NAME}:{self.table.path.name}"

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """Top-1 and sd of each network. `recipe` and `scenario` have no say: they are trained already.

        Raises ValueError, one line, for bare Programs and for networks that the table does not hold.
        """
        found = np.array([self._place(network) for network in archs_or_programs], dtype=np.intp)
        return Estimate(self.table.top1[found], np.full(len(found), self.table.sd))

    def _place(self, network: Arch | Program) -> int:
        if not isinstance(network, Arch):
            raise ValueError(
                f"estimator {NAME!r}: a bare Program has no place in a table; give the architecture, "
                "or use an estimator that reads Programs, such as surrogate"
            )
        try:
            place = int(self.members.places(self.space.encode(network)[None])[0])
        except ValueError as error:
            raise ValueError(f"{network.name}: {self.table.path} does not hold it: {error}") from None
        if place < 0:
            raise ValueError(f"{network.name}: {self.table.path} does not hold it, only others of its space")
        return place


def locate(text: str) -> Located:
    """The file of the table behind ``table:``."""
    file, comma, options = text.partition(",")
    path = Path(file).expanduser().resolve()
    return Located(f"{path}{comma}{options}", (path,))


def from_options(text: str) -> TableEstimator:
    """The estimator of ``table:FILE,space=NAME``, given what stands behind the colon."""
    from hvnas.space import load_space

    file, _, options = text.partition(",")
    if "space=" not in options:
        raise ValueError(
            f"estimator {NAME!r}: name the space whose networks the table holds, such as "
            f"table:{file or 'FILE'},space=nas-bench-macro"
        )
    wanted = read_options(options, TableOptions, family=NAME, file=file)
    table = read_table(Path(wanted.file).expanduser(), value=wanted.value)
    return TableEstimator(table, load_space(wanted.space))
