"""Times of unmeasured ops from measured ones of the same group, and the features that this takes.

ln(ms) = ridge regression on the features + a Gaussian process on what that leaves, with the exponential
kernel exp(-d / length) (Rasmussen and Williams 2006, section 4.2: Matérn, nu = 1/2), which is as rough
as the time of an op is over its sizes. Length and noise are those with the least leave-one-out error,
in closed form (the same, equation 5.12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, prod

import numpy as np
from numpy.typing import NDArray

from hvnas.latency.tables.op_rows import OpTime
from hvnas.ops import Op
from hvnas.ops.program import ATTENTION, INNER, MASKED

Floats = NDArray[np.float64]


MOST_ROWS = 1500
RIDGE = 1e-2
LENGTHS = (2.0, 4.0, 8.0, 16.0, 32.0)
NOISES = (0.01, 0.03, 0.1, 0.3)
# Sizes next to the measured ones are inside: the next entry of a list of widths, not twice the largest.
TOLERANCE = np.log(1.1)


@dataclass(frozen=True)
class Choice:
    """Length and noise variance (both in units of the standardised residual), and their error.

    `error` is the mean |measured / predicted - 1| with the op left out, in percent.
    """

    length: float
    noise: float
    error: float

    def __post_init__(self) -> None:
        for name, least, most in (("length", 1e-3, 1e6), ("noise", 1e-6, 1e3), ("error", 0, 1e300)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from {least:g} to {most:g}, got {getattr(self, name):g}")


class Regressor:
    """Milliseconds of any op of a group, from at least one measured."""

    def __init__(self, rows: Sequence[OpTime], choice: Choice | None = None) -> None:
        rows = _thinned(rows)
        x = np.array([features(row.op) for row in rows])
        y = np.log([row.ms for row in rows])
        self.low, self.high = x[:, : len(NAMES)].min(0), x[:, : len(NAMES)].max(0)
        self.mean = x.mean(0)
        spread = x.std(0)
        self.scale = np.where(spread > 1e-9, spread, np.inf)
        z = (x - self.mean) / self.scale
        self.z = z
        design = np.c_[np.ones(len(z)), z]
        penalty = RIDGE * np.diag([0.0, *np.ones(z.shape[1])])
        self.slopes: Floats = np.linalg.solve(design.T @ design + penalty, design.T @ y)
        residual = y - design @ self.slopes
        self.choice = choice or _choose(z, residual)
        inverse = _inverse(z, self.choice.length, self.choice.noise)
        self.weights: Floats = inverse @ residual

    def ms(self, op: Op) -> float:
        """Milliseconds of an op."""
        z = (np.array(features(op)) - self.mean) / self.scale
        distance = np.sqrt(((self.z - z) ** 2).sum(1))
        residual = np.exp(-distance / self.choice.length) @ self.weights
        return float(np.exp(self.slopes[0] + z @ self.slopes[1:] + residual))

    def is_inside(self, op: Op) -> bool:
        """Whether each size lies within those measured."""
        sizes = np.array(features(op)[: len(NAMES)])
        return bool(((sizes >= self.low - TOLERANCE) & (sizes <= self.high + TOLERANCE)).all())


def _thinned(rows: Sequence[OpTime]) -> list[OpTime]:
    """At most `MOST_ROWS`, evenly over the file's order, for the cost is cubic."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    return [rows[k] for k in np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int)]


def _inverse(z: Floats, length: float, noise: float) -> Floats:
    square = (z**2).sum(1)
    distance = np.sqrt(np.maximum(0.0, square[:, None] + square[None] - 2 * z @ z.T))
    kernel = np.exp(-distance / length)
    kernel[np.diag_indices_from(kernel)] = 1 + noise
    inverse: Floats = np.linalg.inv(kernel)
    return inverse


def _choose(z: Floats, residual: Floats) -> Choice:
    choices = []
    for length in LENGTHS:
        for noise in NOISES:
            inverse = _inverse(z, length, noise)
            left_out = (inverse @ residual) / np.diag(inverse)
            error = float(100 * np.mean(np.abs(np.expm1(left_out))))
            choices.append(Choice(length, noise, round(error, 2)))
    return min(choices, key=lambda choice: choice.error)


ACTS = ("", "relu", "relu6", "gelu", "gelu_tanh", "silu", "hardswish", "sigmoid", "hardsigmoid", "tanh")
NAMES = (
    *("macs", "read", "written", "weights", "channels_in", "channels_out"),
    *("rows", "last", "kernel", "stride", "groups"),
)


def group_of(op: Op) -> str:
    """The regressor's name: the kind; convolutions by their shape, norms and pools by their variant.

    Attention that one kernel can do is a group, with a mask another, and so are its inner parts.
    """
    if op.kind == "conv":
        if op.groups > 1:
            return "conv_depthwise" if op.groups == op.shape_in[0] else "conv_grouped"
        return "conv_pointwise" if op.kernel == (1, 1) else "conv_spatial"
    if op.variant in (ATTENTION, MASKED, INNER):
        return op.variant if op.kind == "matmul" and op.variant != INNER else f"{op.kind}_{INNER}"
    return f"{op.kind}_{op.variant}" if op.kind in ("norm", "pool") else op.kind


def features(op: Op) -> list[float]:
    """Logarithms of the op's sizes, in the order of `NAMES`, then one 0/1 for each of `ACTS`."""
    last = op.shape_in[-1]
    sizes = (
        *(op.macs + 1, op.in_count, op.out_count, op.weight_count + op.weights + 1),
        *(op.shape_in[0] if len(op.shape_in) == 3 else last, op.channels),
        *(prod(op.shape_in[:-1]), last, prod(op.kernel), prod(op.stride), op.groups),
    )
    act = op.act if op.kind in ("conv", "linear") else op.variant
    return [log(max(1, size)) for size in sizes] + [float(act == name) for name in ACTS]
