"""Reading many columns off many runs of ops: each distinct op is asked once, the rest is arithmetic.

The blocks of a search are made of few distinct ops, so what an op contributes to every column is a row of
a table, and a run of ops is a reduction over rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from hvnas.ops.op import KINDS, Op
from hvnas.ops.program import IDENTITY, Column, Program, Reducer, alive, fuse, fuse_segment
from hvnas.ops.tape import MAP, TOKENS, Lowered, State

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
ORDER: tuple[Reducer, ...] = ("sum", "max", "min", "last")
# Distinct ops that a table holds before it begins anew; a search of a million networks meets 65,000.
MAX_OPS = 100_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of ops of one network: a block, or all of it.

    `given` are the elements of the values that it starts from, by the index that ops read them under;
    `kept` the indices of the values that live on behind it.
    """

    ops: tuple[Op, ...]
    given: Mapping[int, int] = field(default_factory=dict)
    kept: tuple[int, ...] = ()

    @classmethod
    def of_program(cls, program: Program) -> Segment:
        """Return a whole network."""
        return cls(program.ops, {MAP: 3 * program.resolution**2})

    @classmethod
    def of_block(cls, lowered: Lowered, state: State) -> Segment:
        """Return a block lowered on `state`."""
        shapes = ((MAP, state.map), (TOKENS, state.tokens))
        after = lowered.state
        kept = ((after.map, lowered.map_index), (after.tokens, lowered.tokens_index))
        return cls(
            lowered.ops,
            {index: prod(shape) for index, shape in shapes if shape is not None},
            tuple(index for shape, index in kept if shape is not None),
        )

    def alive(self, *, fused: bool) -> list[int]:
        """Elements alive while each op, plain or of the deployed form, runs."""
        if not fused:
            return alive(self.ops, self.given, kept=self.kept)
        ops, stands_for = fuse_segment(self.ops)
        return alive(ops, self.given, kept=[stands_for.get(index, index) for index in self.kept])


class Reader:
    """``Reader(columns).values(segments)``: one value per column for each segment. Shape [n, columns]."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._identity = np.array([IDENTITY[column.reducer] for column in self.columns])
        self._alive = [k for k, column in enumerate(self.columns) if column.alive]
        self._forms = [
            (fused, _Table(self.columns, places))
            for fused in (False, True)
            if (places := [k for k, c in enumerate(self.columns) if c.fused == fused and not c.alive])
        ]

    @property
    def reads_alive(self) -> bool:
        """Whether some column counts what is alive, and so depends on what lies beside a segment."""
        return bool(self._alive)

    def values(self, segments: Sequence[Segment]) -> Array:
        """Return one value per column for each segment. Shape [segments, columns]."""
        found = np.tile(self._identity, (len(segments), 1))
        for fused, table in self._forms if segments else ():
            runs = [table.rows(_fused(s.ops) if fused else s.ops) for s in segments]
            table.reduce(runs, found)
        for k in self._alive:
            for i, segment in enumerate(segments):
                found[i, k] = max(self.contributions(k, segment), default=-np.inf)
        return found

    def contributions(self, k: int, segment: Segment) -> list[float]:
        """Return what each op that has a say contributes to column `k`, before its threshold."""
        column = self.columns[k]
        if column.alive:
            values = [column.value(n) for n in segment.alive(fused=column.fused)]  # type: ignore[arg-type]
        else:
            ops = _fused(segment.ops) if column.fused else segment.ops
            values = [column.value(op) for op in ops if column.kinds is None or op.kind in column.kinds]
        return [value for value in values if value is not None]


def column_values(columns: Sequence[Column], ops: tuple[Op, ...]) -> Array:
    """Return one value per column for a run of ops, a segment of a network. Shape [columns].

    What is alive beside it is not known; for `alive` columns describe the segment to `Reader.values`.
    """
    return _reader(tuple(columns)).values([Segment(ops)])[0]


def evaluate_columns(columns: Sequence[Column], program: Program) -> Array:
    """Return one value per column for a whole Program. Shape [columns]."""
    return _reader(tuple(columns)).values([Segment.of_program(program)])[0]


@lru_cache(maxsize=16)
def _reader(columns: tuple[Column, ...]) -> Reader:
    return Reader(columns)


# Of each kept op its index, and what it absorbed: bias, variant and activation; None where nothing changes.
Plan = list[tuple[int, tuple[bool, str, str] | None]]
_PLANS: dict[object, Plan] = {}
MAX_PLANS = 10_000
_STRUCTURE = itemgetter(*map(Op._fields.index, ("kind", "inputs", "bias", "variant", "act")))


def _fused(ops: tuple[Op, ...]) -> list[Op]:
    """The ops of the deployed form, as `fuse` gives them but for their edges.

    What is folded into what depends on few of the properties of ops: runs that share them share the plan.
    """
    structure = _structure(ops)
    plan = _PLANS.get(structure)
    if plan is None:
        if len(_PLANS) >= MAX_PLANS:
            _PLANS.clear()
        plan = _PLANS[structure] = _plan(ops)
    return [ops[index] if absorbed is None else _absorbing(ops[index], *absorbed) for index, absorbed in plan]


def _structure(ops: tuple[Op, ...]) -> object:
    """All that `fuse` looks at: of shapes only which of those of products are equal, and which are square."""
    products = [op for op in ops if op.kind == "matmul"]
    number: dict[tuple[int, ...], int] = {}
    shapes = [
        (number.setdefault(op.shape_in, len(number)), number.setdefault(op.shape_out, len(number)))
        for op in products
    ]
    square = [op.shape_out[-1] == op.shape_out[-2] for op in products]
    return tuple(map(_STRUCTURE, ops)), tuple(shapes), tuple(square)


def _plan(ops: tuple[Op, ...]) -> Plan:
    after = [(index, (op.bias, op.variant, op.act)) for op, index in fuse(ops)]
    before = [(op.bias, op.variant, op.act) for op in ops]
    return [(index, None if new == before[index] else new) for index, new in after]


def _absorbing(op: Op, bias: bool, variant: str, act: str) -> Op:
    return Op(*op[:7], bias, variant, op.weights, act)


Entry = tuple[int, Callable[[Op], float | None], float | None]
AskedColumns = tuple[list[Entry], list[tuple[Callable[[Op], object], dict[object, list[Entry]]]]]


class _Table:
    """What each distinct op contributes to columns of one form. Row 0 contributes nothing."""

    def __init__(self, columns: Sequence[Column], places: Sequence[int]) -> None:
        self.places = np.array(sorted(places, key=lambda k: ORDER.index(columns[k].reducer)))
        self.columns = [columns[k] for k in self.places]
        bounds = np.searchsorted([ORDER.index(c.reducer) for c in self.columns], range(5))
        self.slices = {r: slice(bounds[k], bounds[k + 1]) for k, r in enumerate(ORDER)}
        self.identity = [IDENTITY[c.reducer] for c in self.columns]
        self.asked = {kind: self._asked(kind) for kind in KINDS}
        self._clear()

    def _clear(self) -> None:
        self.row_of: dict[tuple[object, ...], int] = {}
        self.values = np.tile(self.identity, (256, 1))

    def _asked(self, kind: str) -> AskedColumns:
        """The columns that ops of a kind can have a say in: asked always, and asked by key."""
        always: list[Entry] = []
        keyed: dict[Callable[[Op], object], dict[object, list[Entry]]] = {}
        for k, column in enumerate(self.columns):
            if column.kinds is not None and kind not in column.kinds:
                continue
            entry = (k, column.value, column.above)
            if column.where is None:
                always.append(entry)
            else:
                function, key = column.where
                keyed.setdefault(function, {}).setdefault(key, []).append(entry)
        return always, list(keyed.items())

    def rows(self, ops: Sequence[Op]) -> list[int]:
        """Rows of the ops, behind row 0. The rows of several runs are valid until `reduce`."""
        found, known = [0], self.row_of
        for op in ops:
            key = op[:3] + op[4:]  # without the edges
            row = known.get(key)
            found.append(self._enter(key, op) if row is None else row)
        return found

    def _enter(self, key: tuple[object, ...], op: Op) -> int:
        row = len(self.row_of) + 1
        if row == len(self.values):
            self.values = np.concatenate([self.values, np.tile(self.identity, (row, 1))])
        self.values[row] = self._contributions(op)
        self.row_of[key] = row
        return row

    def _contributions(self, op: Op) -> list[float]:
        found = self.identity.copy()
        always, keyed = self.asked[op.kind]
        for entries in (always, *[table.get(function(op), ()) for function, table in keyed]):
            for k, value_of, above in entries:
                value = value_of(op)
                if value is not None and (above is None or value > above):
                    found[k] = value
        return found

    def reduce(self, runs: Sequence[list[int]], out: Array) -> None:
        """Write the columns of runs of rows into `out`. Shape [runs, all columns]."""
        ends = np.cumsum([len(run) for run in runs])
        starts = ends - [len(run) for run in runs]
        taken = self.values[np.concatenate(runs) if len(runs) > 1 else runs[0]]
        found = np.empty((len(runs), len(self.places)))
        reduce_runs(taken, starts, self.slices, out=found)
        out[:, self.places] = found
        if len(self.row_of) > MAX_OPS:
            self._clear()


_REDUCE: dict[Reducer, np.ufunc] = {"sum": np.add, "max": np.maximum, "min": np.minimum}


def reduce_runs(values: Array, starts: Ints, slices: Mapping[Reducer, slice], *, out: Array) -> None:
    """Reduce runs of rows of `values` [n, k], which begin at `starts` [runs], none empty.

    `slices` are the columns of each reducer. Shape of `out`: [runs, k].
    """
    for reducer, s in slices.items():
        if s.start < s.stop:
            reduce = _REDUCE.get(reducer)
            out[:, s] = (
                _last(values[:, s], starts) if reduce is None else reduce.reduceat(values[:, s], starts)
            )


def _last(values: Array, starts: Ints) -> Array:
    """The last value of each run that is a number, nan where none is."""
    place = np.where(np.isnan(values), -1, np.arange(len(values))[:, None])
    # The first of a run without a number is nan too.
    last = np.maximum(np.maximum.reduceat(place, starts, axis=0), starts[:, None])
    return np.take_along_axis(values, last, axis=0)
