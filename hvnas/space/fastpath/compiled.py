"""Templates kept in files: what blocks contribute to columns, worked out beforehand or in an earlier run.

A template's values are whole numbers but for rounding (`hvnas.space.fastpath.fastpath.exact`), so that it
makes no difference to any result whether one comes from a file.

What ships holds the templates of the default space for the columns of the shipped devices and of the
surrogate, and serves every restriction of that space too: a template is found by its block, its state and
the code that lowers it, not by the space that it was made for. Which template a part of a network of the
default space has is in the file too, by the numbers that the fast path gives to parts and states.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvnas._cache import (
    Arrays,
    code_hash,
    digest_of,
    keep,
    read_cached,
    read_shipped,
    ship,
    text_array,
    text_of,
)
from hvnas.blocks import Block
from hvnas.ops import Column, State
from hvnas.ops.program import IDENTITY
from hvnas.space.fastpath.parts import SparseRows, ranges
from hvnas.space.fastpath.templates import (
    MONOMIALS,
    Pair,
    StateClass,
    Stepped,
    Stored,
    Template,
    monomials,
)

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
SHIPPED = "templates"
# What decides a template's values, beside the columns'.
_CODE = (
    "ops",
    "blocks",
    "space/fastpath",
    "space/layout.py",
    "latency/columns.py",
    "accuracy/surrogate/features.py",
)
_VERSION = 2  # of what is in a file
# Where columns are declared once and for all: those of a device of one's own may differ under one name.
_DECLARED = frozenset({"hvnas.latency.columns", "hvnas.ops.program", "hvnas.accuracy.surrogate.features"})
_BLOCKS = "hvnas.blocks."
_FULL = 1 << 22  # coefficients in a file; it is begun anew beyond
_WIDEST = 1 << 16  # above every width
_TEMPLATES = 256  # whose polynomials are spread out at a time


def column_text(column: Column) -> str:
    """All that tells a declared column from others; empty for a column that a file cannot know again."""
    if column.value.__module__ not in _DECLARED:
        return ""
    where = None if column.where is None else (column.where[0].__qualname__, column.where[1])
    kinds = None if column.kinds is None else sorted(column.kinds)
    value = f"{column.value.__module__}.{column.value.__qualname__}"
    return repr((column.name, column.reducer, value, column.fused, kinds, column.above, where, column.alive))


def template_key(block: Block, state: StateClass, *, equal: bool, fixed: bool) -> int | None:
    """A number for a block of any width, or of this one where that is `fixed`, on states of a class.

    None for the block of another package, whose code may change.
    """
    kind: Any = type(block)
    if not kind.__module__.startswith(_BLOCKS):
        return None
    fields = [(f.name, getattr(block, f.name)) for f in dataclasses.fields(kind) if f.name != "out"]
    width = block.out if fixed else None
    text = repr((kind.__module__, kind.__qualname__, width, fields, state.state, equal))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Compiled:
    """The templates of one file, for the columns of one fast path."""

    def __init__(self, arrays: Arrays, columns: Sequence[Column], texts: Sequence[str]) -> None:
        known = {text: k for k, text in enumerate(text_of(arrays["columns"]).split("\n"))}
        self.columns = tuple(columns)
        self.place = np.array([known[text] for text in texts], dtype=np.int64)
        self.widths = frozenset(arrays["widths"].tolist())
        self.index = {key: k for k, key in enumerate(arrays["keys"].tolist())}
        self._arrays, self._width = arrays, len(known)
        self._coefficients, self._known = (
            SparseRows.of(arrays, "coefficients"),
            SparseRows.of(arrays, "known"),
        )
        self._steps = SparseRows.of(arrays, "steps")
        reducers = text_of(arrays["reducers"]).split("\n")
        self._usual = np.array([IDENTITY[reducer] for reducer in reducers])  # type: ignore[index]
        self._constant = np.zeros((MONOMIALS, self._width))
        self._constant[0] = self._usual
        self._exact = arrays["exact"].astype(bool)
        pairs = arrays["known.pair"].astype(np.int64)
        self._pairs = _pair_numbers(arrays["known.owner"].astype(np.int64), pairs)
        # Where a column of the file is among those of the path: -1 for one that is not.
        self._mine = np.full(len(known), -1)
        self._mine[self.place[::-1]] = np.arange(len(self.place))[::-1]
        self._again = [(p, int(self._mine[c])) for p, c in enumerate(self.place) if self._mine[c] != p]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def keys(self) -> Keys:
        """Those of the templates, rising."""
        return self._arrays["keys"]  # type: ignore[return-value]

    def parts(self, space_hash: str) -> PartTables | None:
        """What the file knows of the parts of a space, None where that is nothing."""
        return PartTables.of(self._arrays, space_hash)

    def out_state(self, k: int) -> StateClass:
        """The state that template k leaves."""
        return StateClass(_state(self._arrays["out"][k].tolist()))

    def knows(self, templates: Ints, pairs: Ints) -> NDArray[np.bool_]:
        """Whether `values` can tell. Shapes [n], [n, 2]; [n]."""
        rows = self._known_rows(templates, pairs)
        return np.asarray(self._exact[templates] | (rows >= 0))

    def values(self, templates: Ints, pairs: Ints) -> Array:
        """Column values of templates at pairs of channels that it `knows`. Shape [n, columns]."""
        found = np.empty((len(templates), len(self.place)))
        exact = self._exact[templates]
        if exact.any():
            found[exact] = self._by_polynomial(templates[exact], pairs[exact])
        if not exact.all():
            rows = self._known_rows(templates[~exact], pairs[~exact])
            found[~exact] = self._known.spread(rows, self._usual)[:, self.place]
        return found

    def _known_rows(self, templates: Ints, pairs: Ints) -> Ints:
        """Where pairs that were lowered stand, -1 for others. Shape [n]."""
        if len(self._pairs) == 0:
            return np.full(len(templates), -1)
        wanted = _pair_numbers(templates, pairs)
        place = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
        return np.where(self._pairs[place] == wanted, place, -1)

    def _by_polynomial(self, templates: Ints, pairs: Ints) -> Array:
        basis = monomials(pairs)
        found = np.empty((len(templates), len(self.place)))
        order = np.argsort(templates, kind="stable")
        distinct, first = np.unique(templates[order], return_index=True)
        bounds = np.append(first, len(order))
        for start in range(0, len(distinct), _TEMPLATES):
            some = distinct[start : start + _TEMPLATES]
            whole = self._coefficients.spread(some, self._constant.ravel())
            coefficients = whole.reshape(-1, MONOMIALS, self._width)[:, :, self.place]
            here = order[bounds[start] : bounds[start + len(some)]]
            each = coefficients[np.searchsorted(some, templates[here])]
            found[here] = np.matmul(basis[here][:, None, :], each)[:, 0]
        self._put_steps(templates, basis, found)
        for copy, column in self._again:
            found[:, copy] = found[:, column]
        return found

    def _put_steps(self, templates: Ints, basis: Array, found: Array) -> None:
        """Put the columns that are steps into `found`; see `Stepped`."""
        owners = self._arrays["steps.owner"]
        entry, step = ranges(np.searchsorted(owners, templates), np.searchsorted(owners, templates + 1))
        column = self._mine[self._arrays["steps.column"][step]]
        ops = self._arrays["steps.ops"][step].astype(np.int64)
        told = (column >= 0) & (ops > 0)
        entry, step, column, ops = entry[told], step[told], column[told], ops[told]
        if len(entry) == 0:
            return
        first = np.cumsum(ops) - ops
        owner, place, values = self._steps.numbers(step)
        monomial, op = np.divmod(place, ops[owner])
        weights = values * basis[entry[owner], monomial]
        each = np.bincount(first[owner] + op, weights=weights, minlength=int(ops.sum()))
        aboves = np.array([-np.inf if c.above is None else c.above for c in self.columns])[column]
        passing = np.where(each > np.repeat(aboves, ops), each, 0.0)
        sums, most = np.add.reduceat(passing, first), np.maximum.reduceat(each, first)
        is_sum = np.array([c.above is not None for c in self.columns])[column]
        found[entry, column] = np.where(is_sum, sums, most)

    def stored(self, k: int) -> Stored:
        """All that is known of template k."""
        exact = bool(self._exact[k])
        coefficients = np.empty((MONOMIALS, 0))
        if exact:
            whole = self._coefficients.row(k, self._constant.ravel().copy())
            coefficients = whole.reshape(MONOMIALS, self._width)[:, self.place]
        return Stored(
            self.out_state(k),
            exact,
            bool(self._arrays["fitted"][k]),
            coefficients,
            self._steps_of(k),
            self._known_of(k),
        )

    def all(self) -> dict[int, Stored]:
        """Everything, by key."""
        return {key: self.stored(k) for key, k in self.index.items()}

    def _steps_of(self, k: int) -> list[Stepped]:
        found = []
        owners, places = self._arrays["steps.owner"], self._arrays["steps.column"]
        for s in range(*np.searchsorted(owners, [k, k + 1]).tolist()):
            mine = np.flatnonzero(self.place == places[s])
            length = int(self._arrays["steps.ops"][s])
            coefficients = self._steps.row(s, np.zeros(MONOMIALS * length)).reshape(MONOMIALS, length)
            found += [Stepped(int(p), self.columns[p].above, coefficients) for p in mine]
        return found

    def _known_of(self, k: int) -> dict[Pair, Array]:
        owners = self._arrays["known.owner"]
        rows = range(*np.searchsorted(owners, [k, k + 1]).tolist())
        pairs = self._arrays["known.pair"]
        return {
            (int(pairs[r, 0]), int(pairs[r, 1])): self._known.row(r, self._usual.copy())[self.place]
            for r in rows
        }


def _state(numbers: Sequence[int]) -> State:
    # Behind each flag the numbers of what it says is there.
    has_map, height, width, has_tokens, count, size, has_grid, rows, columns = numbers
    return State(
        (0, height, width) if has_map else None,
        (count, size) if has_tokens else None,
        (rows, columns) if has_grid else None,
    )


def _numbers(state: State) -> list[int]:
    map_, tokens, grid = state.map or (0, 0, 0), state.tokens or (0, 0), state.grid or (0, 0)
    return [
        *(int(state.map is not None), *map_[1:]),
        *(int(state.tokens is not None), *tokens),
        *(int(state.grid is not None), *grid),
    ]


def _pair_numbers(templates: Ints, pairs: Ints) -> Ints:
    return np.asarray((templates * _WIDEST + pairs[:, 0]) * _WIDEST + pairs[:, 1])


class PartTables(NamedTuple):
    """Which template each part of a chain has, by the numbers of a `FastPath`, all parts one after the other.

    `classes` are states by number; the keys of part p are numbered in the order of `keys`, up to
    `key_end[p]`. Its templates, up to ``end[p]``, each have a `place` (twice the number of the key, and one
    more for as many channels in as out), the `state` that they are given and that which they leave (`out`),
    and where among `names`, the keys of templates, theirs stands.
    """

    classes: NDArray[np.integer]
    keys: NDArray[np.integer]
    key_end: NDArray[np.integer]
    place: NDArray[np.integer]
    state: NDArray[np.integer]
    out: NDArray[np.integer]
    name: NDArray[np.integer]
    end: NDArray[np.integer]
    names: NDArray[np.integer]

    @classmethod
    def of(cls, arrays: Arrays, space_hash: str) -> PartTables | None:
        """Those of a file, None where it has none of this space."""
        if "parts.space" not in arrays or text_of(arrays["parts.space"]) != space_hash:
            return None
        return cls(*(arrays[f"parts.{field}"] for field in cls._fields))  # type: ignore[arg-type]

    def stored(self, space_hash: str) -> Arrays:
        """The reverse of `of`."""
        named = {f"parts.{field}": np.asarray(getattr(self, field)) for field in self._fields}
        return {"parts.space": text_array(space_hash), **named}

    @staticmethod
    def numbers(classes: Sequence[StateClass]) -> NDArray[np.int32]:
        """`classes` as they are stored. Shape [n, 9]."""
        return np.array([_numbers(each.state) for each in classes], dtype=np.int32).reshape(-1, 9)

    def states(self) -> list[StateClass]:
        """The reverse of `numbers`, of its own."""
        return [StateClass(_state(row)) for row in self.classes.tolist()]


class Library:
    """The templates of several files, numbered through; of those that stand in several the first counts."""

    def __init__(self, files: Sequence[Compiled], widths: Sequence[int]) -> None:
        # What was not checked at all of the widths may not hold there.
        self.files = tuple(file for file in files if file.widths.issuperset(widths))
        self._ends = np.cumsum([0, *map(len, self.files)])

    def place(self, key: int | None) -> int:
        """The number of the template with a key, -1 where there is none."""
        for start, file in zip(self._ends.tolist(), self.files, strict=False):
            k = file.index.get(key) if key is not None else None
            if k is not None:
                return int(start + k)
        return -1

    def places(self, keys: Keys) -> Ints:
        """As `place`, of many. Shape [n]."""
        found = np.full(len(keys), -1)
        for start, file in reversed(list(zip(self._ends.tolist(), self.files, strict=False))):
            k = np.minimum(np.searchsorted(file.keys, keys), len(file) - 1)
            found = np.where(file.keys[k] == keys, start + k, found) if len(file) else found
        return found

    def file_of(self, place: int) -> tuple[Compiled, int]:
        """The file that holds a template, and its number there."""
        number = int(np.searchsorted(self._ends, place, side="right")) - 1
        return self.files[number], place - int(self._ends[number])

    def parts(self, space_hash: str) -> PartTables | None:
        """What the first file that knows the space says of its parts."""
        tables = (file.parts(space_hash) for file in self.files)
        return next((each for each in tables if each is not None), None)

    def knows(self, places: Ints, pairs: Ints) -> NDArray[np.bool_]:
        """Whether `values` can tell; -1 is no place. Shapes [n], [n, 2]; [n]."""
        found = np.zeros(len(places), dtype=np.bool_)
        for file, start, here in self._by_file(places):
            found[here] = file.knows(places[here] - start, pairs[here])
        return found

    def values(self, places: Ints, pairs: Ints) -> Array:
        """Column values of templates at pairs of channels that it `knows`. Shape [n, columns]."""
        found = np.empty((len(places), len(self.files[0].columns)))
        for file, start, here in self._by_file(places):
            found[here] = file.values(places[here] - start, pairs[here])
        return found

    def _by_file(self, places: Ints) -> Iterator[tuple[Compiled, int, NDArray[np.bool_]]]:
        for file, start, end in zip(
            self.files, self._ends[:-1].tolist(), self._ends[1:].tolist(), strict=True
        ):
            here = (places >= start) & (places < end)
            if here.any():
                yield file, start, here


def pack(
    templates: Mapping[int, Template | Stored],
    columns: Sequence[Column],
    texts: Sequence[str],
    widths: Sequence[int],
) -> Arrays:
    """What `Compiled` reads, of templates by their keys."""
    keys = sorted(templates)
    found = [templates[key] for key in keys]
    usual = np.array([IDENTITY[c.reducer] for c in columns])
    constant = np.zeros((MONOMIALS, len(columns)))
    constant[0] = usual
    steps = [(k, step) for k, t in enumerate(found) if t.exact for step in t.steps]
    known = [(k, pair, t.known[pair]) for k, t in enumerate(found) if not t.exact for pair in sorted(t.known)]
    coefficients = [t.coefficients.ravel() if t.exact else constant.ravel() for t in found]
    return {
        "columns": text_array("\n".join(texts)),
        "reducers": text_array("\n".join(c.reducer for c in columns)),
        "widths": np.array(sorted(widths), dtype=np.int32),
        "keys": np.array(keys, dtype=np.uint64),
        "exact": np.array([t.exact for t in found], dtype=np.uint8),
        "fitted": np.array([t.fitted for t in found], dtype=np.uint8),
        "out": np.array([_numbers(t.out_state.state) for t in found], dtype=np.int32).reshape(-1, 9),
        **SparseRows.packed(coefficients, constant.ravel()).stored("coefficients"),
        **_packed_steps([step for _, step in steps]).stored("steps"),
        "steps.owner": np.array([k for k, _ in steps], dtype=np.int32),
        "steps.column": np.array([step.place for _, step in steps], dtype=np.int32),
        "steps.ops": np.array([step.coefficients.shape[1] for _, step in steps], dtype=np.int32),
        **SparseRows.packed([row for _, _, row in known], usual).stored("known"),
        "known.owner": np.array([k for k, _, _ in known], dtype=np.int32),
        "known.pair": np.array([pair for _, pair, _ in known], dtype=np.int32).reshape(-1, 2),
    }


def _packed_steps(steps: Sequence[Stepped]) -> SparseRows:
    most = max((step.coefficients.size for step in steps), default=0)
    # Rows of one length, zeros behind: zeros are left out anyway.
    rows = [np.pad(s.coefficients.ravel(), (0, most - s.coefficients.size)) for s in steps]
    return SparseRows.packed(rows, np.zeros(most))


@lru_cache(maxsize=16)
def open_compiled(space_hash: str, columns: tuple[Column, ...]) -> tuple[Compiled, ...]:
    """The files for a fast path over `columns`, in the order to be asked: what earlier runs of the space
    left, which knows more of a block than what ships, and what ships."""
    texts = tuple(map(column_text, columns))
    if not all(texts):
        return ()
    found = []
    own = read_cached(*_own(space_hash, texts))
    if own is not None:
        found.append(Compiled(own, columns, texts))
    shipped = read_shipped(SHIPPED, _key())
    if shipped is not None and set(texts) <= set(text_of(shipped["columns"]).split("\n")):
        found.append(Compiled(shipped, columns, texts))
    return tuple(found)


def _key() -> str:
    return f"{_VERSION} {code_hash(*_CODE)}"


def _own(space_hash: str, texts: Sequence[str]) -> tuple[str, str]:
    """Name and key of the cached file for a space and columns."""
    return f"templates-{space_hash}-{digest_of(texts)}", _key()


def keep_templates(
    space_hash: str,
    columns: Sequence[Column],
    templates: Mapping[int, Template],
    widths: Sequence[int],
    parts: PartTables,
) -> bool:
    """Keep templates, by their keys, for later runs over the same space and columns; whether that worked."""
    texts = tuple(map(column_text, columns))
    if not all(texts):
        return False
    name, key = _own(space_hash, texts)
    before = read_cached(name, key)
    earlier = {} if before is None else Compiled(before, columns, texts).all()
    arrays = pack({**earlier, **templates}, columns, texts, widths) | parts.stored(space_hash)
    return len(arrays["coefficients.code"]) + len(arrays["known.code"]) <= _FULL and keep(name, key, arrays)


def ship_templates(
    space_hash: str,
    columns: Sequence[Column],
    templates: Mapping[int, Template],
    widths: Sequence[int],
    parts: PartTables,
) -> Path:
    """Write the file of templates, by their keys, that ships; returns its path."""
    arrays = pack(templates, columns, tuple(map(column_text, columns)), widths)
    return ship(SHIPPED, _key(), arrays | parts.stored(space_hash))
