"""Column values of a block as polynomials in its input and output channels.

Params, MACs, bytes and counts of a block of fixed type and map size are polynomials of degree two
in its channels. A template lowers the block at a handful of widths, fits the polynomial, and checks
it at other widths; where a column is none (a threshold, a rounding), the template says so and
every width is lowered. What they give is kept in entries, which networks are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvnas.blocks import Block, lower_block
from hvnas.ops import Column, Lowered, Reader, Segment, State
from hvnas.ops.program import Reducer
from hvnas.ops.reader import ORDER, reduce_runs

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
MakeBlock = Callable[[int], Block]
Pair = tuple[int, int]
SCALE = 256.0
TOLERANCE = 1e-11
LOWER_AT_MOST = 12  # widths that are lowered one by one before polynomials pay for themselves


@dataclass(frozen=True)
class StateClass:
    """A state with its channels left open: those of the map, or of tokens where there is no map."""

    state: State

    @staticmethod
    def split(state: State) -> tuple[StateClass, int]:
        """The class of a state, and its channels."""
        if state.map is not None:
            return StateClass(State((0, *state.map[1:]), state.tokens, state.grid)), state.map[0]
        assert state.tokens is not None
        return StateClass(State(None, (state.tokens[0], 0), state.grid)), state.tokens[1]

    def without_tokens(self) -> StateClass:
        """The same map without the tokens beside it; itself where there are no such tokens."""
        if self.state.map is None or self.state.tokens is None:
            return self
        return StateClass(State(self.state.map, None, self.state.grid))

    def with_tokens_of(self, other: StateClass) -> StateClass:
        """The same map with another state's tokens beside it."""
        return StateClass(State(self.state.map, other.state.tokens, self.state.grid))

    def join(self, channels: int) -> State:
        """The state of this class with so many channels."""
        state = self.state
        if state.map is not None:
            return State((channels, *state.map[1:]), state.tokens, state.grid)
        assert state.tokens is not None
        return State(None, (state.tokens[0], channels), state.grid)


def monomials(pairs: NDArray[np.int64]) -> Array:
    """1, i, o, i^2, i o, o^2 of scaled pairs of channels (i, o). Shape [n, 6]."""
    i, o = (pairs / SCALE).T
    return np.stack([np.ones_like(i), i, o, i * i, i * o, o * o], axis=1)


MONOMIALS = 6


@dataclass(frozen=True)
class Stepped:
    """A column that reduces polynomials, one per op: a sum of those above a threshold, or a maximum."""

    place: int
    above: float | None
    coefficients: Array  # [6, ops]

    def values(self, basis: Array) -> Array:
        """The column at rows of `basis`. Shape [n]."""
        each = basis @ self.coefficients
        if self.above is None:
            return np.asarray(each.max(axis=1, initial=-np.inf))
        return np.asarray(np.where(each > self.above, each, 0.0).sum(axis=1))


class Stored(NamedTuple):
    """What a file knows of a template: the state that it leaves, and its values as `Template` has them.

    `coefficients` are [6, columns] where the template is `exact`.
    """

    out_state: StateClass
    exact: bool
    fitted: bool
    coefficients: Array
    steps: list[Stepped]
    known: dict[Pair, Array]


class Template:
    """Column values of ``block(out)`` on states of one class, for many channels at once.

    `equal` templates are for as many channels in as out, the others for all else. `first` is a pair of
    channels that is wanted anyway. Without `polynomial` every pair is lowered. What is `stored` of it need
    not be worked out.
    """

    def __init__(
        self,
        reader: Reader,
        block: MakeBlock,
        state: StateClass,
        *,
        channels_in: Sequence[int],
        channels_out: Sequence[int],
        equal: bool,
        first: Pair,
        polynomial: bool,
        stored: Stored | None = None,
    ) -> None:
        self.reader, self.block, self.state = reader, block, state
        self.widths = channels_in, channels_out, equal
        self.known: dict[Pair, Array] = {}
        self.fitted, self.exact = not polynomial, False
        self.coefficients: Array = np.empty((MONOMIALS, 0))
        self.steps: list[Stepped] = []
        self._first: dict[Pair, Lowered] = {}
        # Whether it knows more than was stored.
        self.changed = stored is None
        if stored is not None:
            self.out_state, self.exact, self.steps = stored.out_state, stored.exact, stored.steps
            self.fitted, self.known = self.fitted or stored.fitted, stored.known
            self.coefficients = stored.coefficients
            return
        self._first = {first: self._lower(first)}
        self.out_state = StateClass.split(self._first[first].state)[0]

    def _lower(self, pair: Pair) -> Lowered:
        self.changed = True
        # Not remembered by `lower_block`: the values are, and ops take many times their memory.
        return lower_block.__wrapped__(self.block(pair[1]), self.state.join(pair[0]))

    def segment(self, pair: Pair) -> Segment:
        """The block's ops for a pair of channels."""
        lowered = self._first.pop(pair, None) or self._lower(pair)
        return Segment.of_block(lowered, self.state.join(pair[0]))

    def unknown(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those of `pairs` that have to be lowered, and put into `known`, before `values` can tell."""
        if self.exact:
            return []
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self.known]
        if not self.fitted and len(self.known) + len(new) > LOWER_AT_MOST:
            self.learn()
            return self.unknown(new)
        return new

    def know(self, pairs: Iterable[Pair]) -> None:
        """Lower those of `pairs` that are not known."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self.known]
        if new:
            values = self.reader.values([self.segment(pair) for pair in new])
            self.known.update(zip(new, values, strict=True))

    def learn(self) -> None:
        """Fit the polynomials and find out whether they hold."""
        self.fitted = True
        fit, check = _sample_pairs(*self.widths, known=self.known)
        segments = [self.segment(pair) for pair in fit + check]
        self.known.update(zip(fit + check, self.reader.values(segments), strict=True))
        # What was lowered before any fit is a check too.
        pairs = dict.fromkeys(fit + check) | dict.fromkeys(self.known)
        basis, values = monomials(np.array(list(pairs))), np.stack([self.known[pair] for pair in pairs])
        holds = self._fit(basis, values, len(fit))
        stepped = [k for k, c in enumerate(self.reader.columns) if c.above is not None or c.alive]
        steps = [self._step(k, basis, values[:, k], segments, len(fit)) for k in stepped]
        self.steps = [step for step in steps if step is not None]
        holds[stepped] = True
        self.exact = bool(holds.all()) and len(self.steps) == len(steps)
        if self.exact:
            self.known.clear()
            self._drop_idle_steps()

    def _fit(self, basis: Array, values: Array, fitted: int) -> NDArray[np.bool_]:
        """Polynomials through the first `fitted` rows; which columns they hold for at all rows."""
        finite = np.isfinite(values).all(0)
        constant = ((values == values[0]) | (np.isnan(values) & np.isnan(values[0]))).all(0)
        target = np.where(finite, values, 0.0)
        solved = np.linalg.lstsq(basis[:fitted], target[:fitted], rcond=1e-12)[0]
        self.coefficients = _clean(np.asarray(solved, dtype=np.float64))
        holds = _close(basis @ self.coefficients, target) & (finite | constant)
        self.coefficients[:, constant] = 0.0
        self.coefficients[0, constant] = values[0, constant]
        return np.asarray(holds)

    def _drop_idle_steps(self) -> None:
        """Make those stepped columns constants that have one value at all widths."""
        channels_in, channels_out, equal = self.widths
        pairs = [(i, o) for i in channels_in for o in channels_out if (i == o) == equal]
        basis = monomials(np.array(pairs, dtype=np.int64).reshape(-1, 2))
        left = []
        for step in self.steps:
            values = step.values(basis)
            if len(values) == 0 or values.min() < values.max():
                left.append(step)
            else:
                self.coefficients[:, step.place] = 0.0
                self.coefficients[0, step.place] = values[0]
        self.steps = left

    def _step(
        self, place: int, basis: Array, values: Array, segments: list[Segment], fitted: int
    ) -> Stepped | None:
        """The polynomials of a stepped column with these `values`, None where they do not hold."""
        rows = [self.reader.contributions(place, segment) for segment in segments]
        if len({len(row) for row in rows}) > 1:
            return None
        target, sampled = np.array(rows, dtype=np.float64).reshape(len(rows), -1), basis[: len(rows)]
        solved = np.linalg.lstsq(sampled[:fitted], target[:fitted], rcond=1e-12)[0]
        coefficients = _clean(np.asarray(solved, dtype=np.float64))
        step = Stepped(place, self.reader.columns[place].above, coefficients)
        holds = _close(sampled @ coefficients, target).all() and _close(step.values(basis), values).all()
        return step if holds else None


class Maker(NamedTuple):
    """A block as a function of its width, the widths that it can have, and one that stands for all."""

    make: MakeBlock
    widths: list[int]
    block: Block


@dataclass
class Link:
    """A template: its key in files, its place in the library, -1 for none, and itself once it is needed."""

    key: int | None
    place: int
    out_state: StateClass
    template: Template | None = None


def values_of(wanted: Sequence[tuple[Template, Pair]]) -> Array:
    """Column values of templates at pairs of channels that none calls `unknown`. Shape [n, columns]."""
    found = np.empty((len(wanted), len(wanted[0][0].reader.columns)))
    by_polynomial = []
    for n, (template, pair) in enumerate(wanted):
        if template.exact:
            by_polynomial.append(n)
        else:
            found[n] = template.known[pair]
    if not by_polynomial:
        return found
    templates = [wanted[n][0] for n in by_polynomial]
    basis = monomials(np.array([wanted[n][1] for n in by_polynomial]))
    place = {template: k for k, template in enumerate(dict.fromkeys(templates))}
    coefficients = np.stack([template.coefficients for template in place])
    each = coefficients[[place[template] for template in templates]]
    found[by_polynomial] = np.matmul(basis[:, None, :], each)[:, 0]
    for n, template, row in zip(by_polynomial, templates, basis, strict=True):
        for step in template.steps:
            found[n, step.place] = step.values(row[None])[0]
    return found


# What a block does counts in quarters of channels at the finest; its polynomials have such coefficients.
_FINEST = 64.0
_SCALES = np.array([1, SCALE, SCALE, SCALE**2, SCALE**2, SCALE**2])[:, None]


def _clean(coefficients: Array) -> Array:
    """Coefficients [6, n] without the noise of the fit, where they are next to a multiple of 1 / 64."""
    plain = coefficients / _SCALES
    nearest = np.rint(plain * _FINEST) / _FINEST
    close = np.abs(plain - nearest) <= 1e-8 * np.maximum(1.0, np.abs(nearest))
    return np.where(close, nearest * _SCALES, coefficients)


def _close(found: Array, target: Array) -> NDArray[np.bool_]:
    """For each column, whether all rows agree; a column without any number agrees with itself."""
    with np.errstate(invalid="ignore"):
        error = np.where(found == target, 0.0, np.abs(found - target))
    return np.asarray((error <= TOLERANCE * (1.0 + np.abs(target).max(0, initial=0.0))).all(0))


def _spread(values: Sequence[int], n: int) -> list[int]:
    ordered = sorted(set(values))
    if len(ordered) <= n:
        return ordered
    return [ordered[round(k * (len(ordered) - 1) / (n - 1))] for k in range(n)]


def _sample_pairs(
    channels_in: Sequence[int], channels_out: Sequence[int], equal: bool, *, known: Iterable[Pair]
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to fit on, three values of either number where there are as many, and some to check on.

    Residues of channels in or out that are among the `known` pairs need no further check.
    """
    pairs = list(known)
    checked_in, checked = {i % MODULUS for i, _ in pairs}, {o % MODULUS for _, o in pairs}
    if equal:
        shared = sorted(set(channels_in) & set(channels_out)) or _spread(channels_out, 1)
        fit = [(c, c) for c in _spread(shared, 3)]
        check = [(c, c) for c in [*_spread(shared, 5)[1::2], *_residues(shared, checked)]]
    else:
        fit = [(i, o) for i in _spread(channels_in, 3) for o in _spread(_without(channels_out, i), 3)]
        ins, outs = _spread(channels_in, 6)[1::2], _spread(channels_out, 6)[1::2]
        check = [(i, o) for i in ins for o in _without(outs, i)][:6:2]
        check += [(ins[-1] if ins else channels_in[0], o) for o in _residues(channels_out, checked)]
        for i in _residues(channels_in, checked_in):
            check += [(i, o) for o in _without(outs, i)[-1:]]
    return fit, [pair for pair in dict.fromkeys(check) if pair not in fit and (pair[0] == pair[1]) == equal]


MODULUS = 8


def _residues(values: Sequence[int], checked: set[int]) -> list[int]:
    """One value of each residue not `checked`: where a block rounds its widths, they disagree."""
    return list({value % MODULUS: value for value in values if value % MODULUS not in checked}.values())


def _without(values: Sequence[int], value: int) -> list[int]:
    return [v for v in values if v != value]


class Entries:
    """Rows of column values, the columns in the order of their reducers."""

    def __init__(self, columns: Sequence[Column]) -> None:
        bounds = np.searchsorted([ORDER.index(c.reducer) for c in columns], range(5))
        self._split = int(bounds[1])
        self._slices = {
            r: slice(bounds[k] - bounds[1], bounds[k + 1] - bounds[1]) for k, r in enumerate(ORDER) if k
        }
        # Apart, since the sums are taken by a product with a matrix, which wants them in one piece.
        self._sums = np.empty((256, self._split))
        self._others = np.empty((256, len(columns) - self._split))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def reserve(self, n: int) -> Ints:
        """Append `n` rows, to be filled; their indices, [n]."""
        end = self._used + n
        if end > len(self._sums):
            self._sums, self._others = (_grown(a, self._used, end) for a in (self._sums, self._others))
        index = np.arange(self._used, end)
        self._used = end
        return index

    def fill(self, index: Ints, values: Array) -> None:
        """Put `values` [n, columns], made `exact`, into the rows `index` [n]."""
        values = exact(values)
        self._sums[index] = values[:, : self._split]
        self._others[index] = values[:, self._split :]

    def combine(self, index: NDArray[np.integer], often: Array, sizes: Ints) -> Array:
        """Values of n networks. Shape [n, columns].

        The networks, one after the other, have `sizes` [n] rows each, at least one, of `index` [m]; each row
        counts as often as `often` [m] says.
        """
        n, starts = len(sizes), np.cumsum(sizes) - sizes
        # Those with most rows first, so that networks next to each other have nearly as many.
        order = np.argsort(-sizes, kind="stable")
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        network, column = np.repeat(place, sizes), np.arange(len(index)) - np.repeat(starts, sizes)
        # Networks with fewer rows than others have their first one there, no times.
        rows = np.repeat(index[starts[order], None], sizes.max(), axis=1)
        times = np.zeros((n, 1, sizes.max()))
        rows[network, column], times[network, 0, column] = index, often
        ordered, in_order = np.empty((n, self._split + self._others.shape[1])), sizes[order]
        for start in range(0, n, _BLOCK):
            part, most = slice(start, start + _BLOCK), int(in_order[start])
            gathered = self._sums.take(rows[part, :most], axis=0)
            ordered[part, : self._split] = np.matmul(times[part, :, :most], gathered)[:, 0]
        for reducer, columns in self._slices.items():
            if columns.start < columns.stop:
                others = ordered[:, self._split + columns.start : self._split + columns.stop]
                others[:] = self._reduced(reducer, columns, rows, in_order)
        found = np.empty_like(ordered)
        found[order] = ordered
        return found

    def _reduced(self, reducer: Reducer, columns: slice, rows: NDArray[np.integer], sizes: Ints) -> Array:
        """The largest, least or last of `rows` [n, most] of networks that have so many of them, falling.

        Shape [n, columns].
        """
        if reducer == "last":
            values = self._others[rows[np.arange(rows.shape[1]) < sizes[:, None]]][:, columns]
            found = np.empty((len(rows), values.shape[1]))
            every: dict[Reducer, slice] = {reducer: slice(0, values.shape[1])}
            reduce_runs(values, np.cumsum(sizes) - sizes, every, out=found)
            return found
        best = np.maximum if reducer == "max" else np.minimum
        found = self._others.take(rows[:, 0], axis=0)[:, columns]
        for k in range(1, rows.shape[1]):
            longer = found[: np.searchsorted(-sizes, -k)]
            following = self._others.take(rows[: len(longer), k], axis=0)
            best(longer, following[:, columns], out=longer)
        return found


# Networks whose rows are summed together: few enough for what is gathered to stay in the nearest cache.
_BLOCK = 64
# Relative; what is nearer to a whole number is one.
_ROUNDING = 1e-10
_UNIT = 2.0**36


def exact(values: Array) -> Array:
    """`values` such that sums of them are the same in every order, and however they came to be known.

    Nearly all are whole numbers but for rounding, and are made so; of the others 36 binary places stay.
    """
    whole = np.rint(values)
    with np.errstate(invalid="ignore"):  # a column to which no op contributed is infinite
        near = np.abs(values - whole) <= _ROUNDING * np.abs(whole)
    return np.where(near, whole, np.rint(values * _UNIT) / _UNIT)


def _grown(array: Array, used: int, end: int) -> Array:
    grown = np.empty((max(end, 2 * len(array)), array.shape[1]))
    grown[:used] = array[:used]
    return grown
