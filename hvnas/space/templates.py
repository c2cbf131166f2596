"""Column values of a few blocks as polynomials in their input and output channels.

Params, MACs, bytes and counts of a block of fixed type and map size are polynomials of degree two
in its channels. A template lowers the blocks at a handful of widths, fits the polynomial, and checks
it at other widths; where a column is none (a threshold, a rounding), the template says so and
every width is lowered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvnas.blocks import Block, lower_block
from hvnas.ops import Column, State
from hvnas.ops.columns import IDENTITY, column_values, contributions, merge

Array = NDArray[np.float64]
Blocks = Callable[[int], Sequence[Block]]
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

    def join(self, channels: int) -> State:
        """The state of this class with so many channels."""
        state = self.state
        if state.map is not None:
            return State((channels, *state.map[1:]), state.tokens, state.grid)
        assert state.tokens is not None
        return State(None, (state.tokens[0], channels), state.grid)


def lower_values(columns: Sequence[Column], blocks: Sequence[Block], state: State) -> tuple[Array, State]:
    """Column values of blocks in a row, and the state that they leave."""
    total = np.array([IDENTITY[c.reducer] for c in columns])
    for block in blocks:
        lowered = lower_block(block, state)
        total = merge(columns, total, column_values(columns, lowered.ops))
        state = lowered.state
    return total, state


def monomials(channels_in: NDArray[np.int64], channels_out: NDArray[np.int64]) -> Array:
    """1, i, o, i^2, i o, o^2 of scaled channels. Shape [n, 6]."""
    i, o = channels_in / SCALE, channels_out / SCALE
    return np.stack([np.ones_like(i), i, o, i * i, i * o, o * o], axis=1)


class Template:
    """Column values of ``blocks(out)`` on states of one class, for many channels at once.

    `equal` templates are for as many channels in as out, the others for all else. `first` is a pair of
    channels that is wanted anyway. Without `polynomial` every pair is lowered.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        blocks: Blocks,
        state: StateClass,
        *,
        channels_in: Sequence[int],
        channels_out: Sequence[int],
        equal: bool,
        first: tuple[int, int],
        polynomial: bool,
    ) -> None:
        self.columns, self.blocks, self.state = columns, blocks, state
        self.widths = channels_in, channels_out, equal
        values, out_state = self._lower(*first)
        self.out_state = StateClass.split(out_state)[0]
        self.known = {first: values}
        self.fitted, self.exact = not polynomial, False

    def _one(self, pair: tuple[int, int]) -> Array:
        if pair not in self.known:
            self.known[pair] = self._lower(*pair)[0]
        return self.known[pair]

    def _learn(self) -> None:
        """Fit the polynomials and find out whether they hold."""
        self.fitted = True
        fit, check = _sample_pairs(*self.widths)
        values = [self._lower(i, o)[0] for i, o in fit + check]
        self._fit(np.array(fit + check), np.stack(values), len(fit))
        stepped = [k for k, column in enumerate(self.columns) if column.above is not None]
        steps = [self._step(k, fit, check) for k in stepped]
        self.steps = [step for step in steps if step is not None]
        self.exact = self._is_exact() and len(self.steps) == len(steps)

    def _lower(self, channels_in: int, channels_out: int) -> tuple[Array, State]:
        return lower_values(self.columns, self.blocks(channels_out), self.state.join(channels_in))

    def _fit(self, pairs: NDArray[np.int64], values: Array, fitted: int) -> None:
        finite = np.isfinite(values).all(0)
        constant = ((values == values[0]) | (np.isnan(values) & np.isnan(values[0]))).all(0)
        self.constant, self.is_constant = values[0], constant
        basis = monomials(pairs[:, 0], pairs[:, 1])
        target = np.where(finite, values, 0.0)
        self.coefficients = np.linalg.lstsq(basis[:fitted], target[:fitted], rcond=1e-12)[0]
        error = np.abs(basis @ self.coefficients - target)
        self.is_polynomial = (error.max(0) <= TOLERANCE * (1.0 + np.abs(target).max(0))) & (finite | constant)

    def _is_exact(self) -> bool:
        stepped = np.array([column.above is not None for column in self.columns])
        return bool((self.is_polynomial | stepped).all())

    def _step(
        self, k: int, fit: list[tuple[int, int]], check: list[tuple[int, int]]
    ) -> tuple[int, float, Array] | None:
        """Column `k`, its threshold, and a polynomial per op. Coefficients of shape [6, ops]."""
        column = self.columns[k]
        rows = [self._contributions(column, i, o) for i, o in fit + check]
        if len({len(row) for row in rows}) > 1:
            return None
        basis, target = monomials(*np.array(fit + check).T), np.stack(rows)
        coefficients = np.linalg.lstsq(basis[: len(fit)], target[: len(fit)], rcond=1e-12)[0]
        close = np.abs(basis @ coefficients - target) <= TOLERANCE * (1.0 + np.abs(target))
        assert column.above is not None
        return (k, column.above, np.asarray(coefficients, dtype=np.float64)) if close.all() else None

    def _contributions(self, column: Column, channels_in: int, channels_out: int) -> Array:
        state, parts = self.state.join(channels_in), []
        for block in self.blocks(channels_out):
            lowered = lower_block(block, state)
            parts.append(contributions(column, lowered.ops))
            state = lowered.state
        return np.concatenate(parts) if parts else np.zeros(0)

    def values(self, channels_in: NDArray[np.int64], channels_out: NDArray[np.int64]) -> Array:
        """Column values for pairs of channels. Shape [n, columns]."""
        if not self.fitted and len(self.known) + len(channels_in) > LOWER_AT_MOST:
            self._learn()
        if not self.exact:
            pairs = zip(channels_in.tolist(), channels_out.tolist(), strict=True)
            return np.stack([self._one(pair) for pair in pairs])
        basis = monomials(channels_in, channels_out)
        result = basis @ self.coefficients
        result[:, self.is_constant] = self.constant[self.is_constant]
        for k, above, coefficients in self.steps:
            each = basis @ coefficients
            result[:, k] = np.where(each > above, each, 0.0).sum(1)
        return result


def _spread(values: Sequence[int], n: int) -> list[int]:
    ordered = sorted(set(values))
    if len(ordered) <= n:
        return ordered
    return [ordered[round(k * (len(ordered) - 1) / (n - 1))] for k in range(n)]


def _sample_pairs(
    channels_in: Sequence[int], channels_out: Sequence[int], equal: bool
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs to fit on, three values of either number where there are as many, and three to check on."""
    if equal:
        shared = sorted(set(channels_in) & set(channels_out)) or _spread(channels_out, 1)
        fit = [(c, c) for c in _spread(shared, 3)]
        check = [(c, c) for c in [*_spread(shared, 5)[1::2], *_residues(shared)]]
    else:
        fit = [(i, o) for i in _spread(channels_in, 3) for o in _spread(_without(channels_out, i), 3)]
        ins, outs = _spread(channels_in, 6)[1::2], _spread(channels_out, 6)[1::2]
        check = [(i, o) for i in ins for o in _without(outs, i)][:6:2]
        check += [(ins[-1] if ins else channels_in[0], o) for o in _residues(channels_out)]
    return fit, [pair for pair in dict.fromkeys(check) if pair not in fit and (pair[0] == pair[1]) == equal]


def _residues(values: Sequence[int], modulus: int = 8) -> list[int]:
    """One value of each residue: where a block rounds its widths, they disagree."""
    return list({value % modulus: value for value in values}.values())


def _without(values: Sequence[int], value: int) -> list[int]:
    return [v for v in values if v != value]
