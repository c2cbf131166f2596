"""Templates kept in files: what blocks contribute to columns, worked out beforehand or in an earlier run.

A template's values are whole numbers but for rounding (`hvnas.space.fastpath.fastpath.exact`), so that it
makes no difference to any result whether one comes from a file.

What ships holds the templates of the default space for the columns of the shipped devices and of the
surrogate, and serves every restriction of that space too: a template is found by its block, its state and
the code that lowers it, not by the space that it was made for.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
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
from hvnas.space.fastpath.templates import MONOMIALS, Pair, StateClass, Stepped, Stored, Template

Array = NDArray[np.float64]
SHIPPED = "templates"
# What decides a template's values, beside the columns'.
_CODE = (
    "ops",
    "blocks",
    "space/fastpath/templates.py",
    "latency/columns.py",
    "accuracy/surrogate/features.py",
)
_VERSION = 1  # of what is in a file
# Where columns are declared once and for all: those of a device of one's own may differ under one name.
_DECLARED = frozenset({"hvnas.latency.columns", "hvnas.ops.program", "hvnas.accuracy.surrogate.features"})
_BLOCKS = "hvnas.blocks."
_FULL = 1 << 22  # coefficients in a file; it is begun anew beyond


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


class _Rows(NamedTuple):
    """Sparse rows of numbers: row k has ``values[code[start[k]:start[k + 1]]]`` at `place`, as indices."""

    start: NDArray[np.integer]
    place: NDArray[np.integer]
    code: NDArray[np.integer]
    values: Array

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> _Rows:
        return cls(*(arrays[f"{name}.{field}"] for field in cls._fields))  # type: ignore[arg-type]

    @classmethod
    def packed(cls, rows: Sequence[Array], usual: Array) -> _Rows:
        """Of dense rows, all that is not as in `usual`."""
        places, values = [], []
        for row in rows:
            place = np.flatnonzero((row != usual) & ~(np.isnan(row) & np.isnan(usual)))
            places.append(place.astype(np.uint16))
            values.append(row[place])
        start = np.cumsum([0, *map(len, places)]).astype(np.int32)
        joined = np.concatenate([np.empty(0), *values])
        distinct, code = np.unique(joined, return_inverse=True)
        place = np.concatenate([np.empty(0, dtype=np.uint16), *places])
        kind = np.uint16 if len(distinct) < 1 << 16 else np.uint32
        return cls(start, place, code.astype(kind), distinct)

    def stored(self, name: str) -> Arrays:
        return {f"{name}.{field}": np.asarray(getattr(self, field)) for field in self._fields}

    def row(self, k: int, into: Array) -> Array:
        """Row k put into `into`."""
        part = slice(int(self.start[k]), int(self.start[k + 1]))
        into[self.place[part]] = self.values[self.code[part]]
        return into


class Compiled:
    """The templates of one file, for the columns of one fast path."""

    def __init__(self, arrays: Arrays, columns: Sequence[Column], texts: Sequence[str]) -> None:
        known = {text: k for k, text in enumerate(text_of(arrays["columns"]).split("\n"))}
        self.columns = tuple(columns)
        self.place = np.array([known[text] for text in texts], dtype=np.int64)
        self.widths = frozenset(arrays["widths"].tolist())
        self.index = {key: k for k, key in enumerate(arrays["keys"].tolist())}
        self._arrays, self._width = arrays, len(known)
        self._coefficients, self._known = _Rows.of(arrays, "coefficients"), _Rows.of(arrays, "known")
        self._steps = _Rows.of(arrays, "steps")
        reducers = text_of(arrays["reducers"]).split("\n")
        self._usual = np.array([IDENTITY[reducer] for reducer in reducers])  # type: ignore[index]
        self._constant = np.zeros((MONOMIALS, self._width))
        self._constant[0] = self._usual

    def find(self, key: int | None, widths: Sequence[int]) -> Stored | None:
        """What is stored under the key, None where that is nothing, or was not checked at these widths."""
        k = self.index.get(key) if key is not None else None
        if k is None or not self.widths.issuperset(widths):
            return None
        exact = bool(self._arrays["exact"][k])
        coefficients = np.empty((MONOMIALS, 0))
        if exact:
            whole = self._coefficients.row(k, self._constant.ravel().copy())
            coefficients = whole.reshape(MONOMIALS, self._width)[:, self.place]
        return Stored(
            StateClass(_state(self._arrays["out"][k].tolist())),
            exact,
            bool(self._arrays["fitted"][k]),
            coefficients,
            self._steps_of(k),
            self._known_of(k),
        )

    def all(self) -> dict[int, Stored]:
        """Everything, by key."""
        found = {key: self.find(key, ()) for key in self.index}
        return {key: stored for key, stored in found.items() if stored is not None}

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
        **_Rows.packed(coefficients, constant.ravel()).stored("coefficients"),
        **_packed_steps([step for _, step in steps]).stored("steps"),
        "steps.owner": np.array([k for k, _ in steps], dtype=np.int32),
        "steps.column": np.array([step.place for _, step in steps], dtype=np.int32),
        "steps.ops": np.array([step.coefficients.shape[1] for _, step in steps], dtype=np.int32),
        **_Rows.packed([row for _, _, row in known], usual).stored("known"),
        "known.owner": np.array([k for k, _, _ in known], dtype=np.int32),
        "known.pair": np.array([pair for _, pair, _ in known], dtype=np.int32).reshape(-1, 2),
    }


def _packed_steps(steps: Sequence[Stepped]) -> _Rows:
    most = max((step.coefficients.size for step in steps), default=0)
    # Rows of one length, zeros behind: zeros are left out anyway.
    rows = [np.pad(s.coefficients.ravel(), (0, most - s.coefficients.size)) for s in steps]
    return _Rows.packed(rows, np.zeros(most))


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
    space_hash: str, columns: Sequence[Column], templates: Mapping[int, Template], widths: Sequence[int]
) -> bool:
    """Keep templates, by their keys, for later runs over the same space and columns; whether that worked."""
    texts = tuple(map(column_text, columns))
    if not all(texts):
        return False
    name, key = _own(space_hash, texts)
    before = read_cached(name, key)
    earlier = {} if before is None else Compiled(before, columns, texts).all()
    arrays = pack({**earlier, **templates}, columns, texts, widths)
    return len(arrays["coefficients.code"]) + len(arrays["known.code"]) <= _FULL and keep(name, key, arrays)


def ship_templates(
    templates: Mapping[int, Template], columns: Sequence[Column], widths: Sequence[int]
) -> Path:
    """Write the file of templates, by their keys, that ships; returns its path."""
    return ship(SHIPPED, _key(), pack(templates, columns, tuple(map(column_text, columns)), widths))
