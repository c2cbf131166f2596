"""What a network makes of the times of its ops: factors by group, and costs of calls, ops and bytes.

With T_g the sum of the op times of group g, n the number of ops, W and A the megabytes of weights and of
activations,

    ms = fixed + op_ms n + weight_ms W + act_ms A + sum_g factor_g T_g,

fitted to whole networks by robust least squares of the relative error. The groups' factors are drawn to one
common factor, and the costs of the call and of bytes to none, by a ridge whose strength has the least
leave-one-out error; so a group that few networks tell apart keeps the common one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvnas.latency.op_model import BYTES, COUNT, GROUP, Context, OpModel
from hvnas.ops import Program, evaluate_columns

Floats = NDArray[np.float64]
STRENGTHS = (1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# Units in which the costs are of the order of one.
OP_MS, FIXED_MS, MB_MS = 0.01, 0.1, 0.1
ROBUST, ITERATIONS = 0.04, 6


@dataclass(frozen=True)
class Fitted:
    """A context, and ln(measured / predicted) [n] of each network with that network left out."""

    context: Context
    strength: float
    errors: Floats


def fit_context(model: OpModel, programs: Sequence[Program], ms: Sequence[float]) -> Fitted:
    """The context that fits networks (measured milliseconds `ms`) best."""
    groups = [c.name.removeprefix(GROUP) for c in model.columns if c.name.startswith(GROUP)]
    design = _design(model, programs) / np.array(ms, dtype=float)[:, None]
    tried = [_ridge(design, strength) for strength in STRENGTHS]
    best = min(range(len(tried)), key=lambda k: float(np.mean(np.abs(tried[k][1]))))
    solution, left_out = tried[best]
    common, per_op, fixed, weight, act, *own = solution.tolist()
    context = Context(
        fixed_ms=max(0.0, float(f"{fixed * FIXED_MS:.4g}")),
        op_ms=float(f"{per_op * OP_MS:.4g}"),
        weight_ms_per_mb=float(f"{weight * MB_MS:.4g}"),
        act_ms_per_mb=float(f"{act * MB_MS:.4g}"),
        factors={g: float(f"{common + f:.4g}") for g, f in zip(groups, own, strict=True)},
    )
    return Fitted(context, STRENGTHS[best], left_out)


def _design(model: OpModel, programs: Sequence[Program]) -> Floats:
    """Columns: the sum of all ops, their number, the call, bytes, the sum of each group. [n, 5 + groups]"""
    values = np.stack([evaluate_columns(model.columns, program) for program in programs])
    names = [column.name for column in model.columns]
    groups = values[:, [k for k, name in enumerate(names) if name.startswith(GROUP)]]
    count, weights, *acts = (values[:, names.index(name)] for name in (COUNT, *BYTES))
    megabytes = [weights / 1e6 * MB_MS, sum(acts) / 1e6 * MB_MS]
    return np.c_[groups.sum(1), count * OP_MS, np.full(len(values), FIXED_MS), *megabytes, groups]


def _ridge(design: Floats, strength: float) -> tuple[Floats, Floats]:
    """The solution, and ln(measured / predicted) of each network left out (from the hat matrix).

    Iteratively reweighted: beyond `ROBUST` a relative error counts by its size, not by its square. The errors
    left out hold the final weights fixed.
    """
    penalty = np.diag([0.0, 0.0, *np.full(design.shape[1] - 2, strength)])
    weights = np.ones(len(design))
    for _ in range(ITERATIONS):
        weighted = design * weights[:, None]
        inverse = np.linalg.inv(weighted.T @ design + penalty)
        solution: Floats = inverse @ weighted.sum(0)
        left_by = np.abs(1 - design @ solution)
        hat = np.einsum("ij,jk,ik->i", weighted, inverse, design)
        weights = ROBUST / np.maximum(left_by, ROBUST)
    predicted = 1 - (1 - design @ solution) / (1 - hat)
    left_out: Floats = -np.log(np.maximum(predicted, 0.05))
    return solution, left_out
