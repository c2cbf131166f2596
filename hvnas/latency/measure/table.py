"""From a plan to a device file: started, measured, fitted to whole networks, written.

What a network makes of the times of its ops: factors by group, and costs of calls, ops and bytes.

With T_g the sum of the op times of group g, n the number of ops, W and A the megabytes of weights and of
activations, and M the giga MACs,

    ms = fixed + op_ms n + weight_ms W + act_ms A + mac_ms M + sum_g factor_g T_g
         + uncached_ms max(0, W - cached),

fitted to whole networks by robust least squares of the relative error, with no factor and no cost below zero:
more work never takes less time. The groups' factors are drawn to one common factor, and the costs of the call
of bytes and of MACs to none, by a ridge whose strength has the least leave-one-out error; so a group that few
networks tell apart keeps the common one. The cache has a size where that lowers this error by more than its
standard error over networks.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from hvnas._files import read_text, read_yaml
from hvnas._numbers import shortened
from hvnas._request import check_unchanged
from hvnas._runs import locked
from hvnas.latency.files import SCHEMA, Errors
from hvnas.latency.measure.backends import Backend
from hvnas.latency.measure.plan import Plan
from hvnas.latency.measure.run import Journal, OnStep, is_measured, measure
from hvnas.latency.measure.sampling import NOISE_BOUND, ROUNDS, RUNS, host_cpu, host_os
from hvnas.latency.provenance import DeviceInfo
from hvnas.latency.scores import StudentT, fit_student_t, scores
from hvnas.latency.tables import op_rows
from hvnas.latency.tables.op_model import (
    BYTES,
    COUNT,
    GROUP,
    MACS,
    Context,
    Drawn,
    MeasuredFile,
    OpModel,
    read_measured,
    write_measured,
)
from hvnas.latency.tables.op_rows import BLOCK, NETWORK, header
from hvnas.ops import Program, evaluate_columns

# How many things are measured may change: a table of fewer is gone on with.
SAME_PLAN = ("space", "space_hash", "seed")
SHORTEST_BLOCK_MS = 0.1
SAME = ("device", "runtime", "runtime_version", "compute_unit", "precision", "threads")


@dataclass(frozen=True)
class Built:
    """A finished table: where it is, and what it says of its errors."""

    path: Path
    report: dict[str, Any]


def build_table(
    plan: Plan,
    backend: Backend,
    path: Path,
    *,
    bound: float = NOISE_BOUND,
    on_step: OnStep | None = None,
) -> Built:
    """Measure a plan into the device file `path` (YAML, with CSVs beside it), or go on with one.

    Raises ValueError, one line, where `path` holds another device, or one of another plan, runtime,
    precision or number of threads, or rows of no device, or another process measures into it; nothing of it
    is touched then.
    """
    info, drawn = _info(backend, bound), _drawn(plan)
    known = _known(path, info, drawn, bound)
    if known is not None and known.complete and known.drawn == drawn and is_measured(plan, path):
        return Built(path, known.error)
    if known is None:
        _check_free(path)
    # Two processes would mix their rows, and slow each other down.
    with locked(path.with_suffix(".csv")):
        if known is None:
            Journal(path)  # first, so that a YAML never names rows that are not there
        if known is None or known.complete:  # what grows is not complete
            write_measured(path, path.stem, info, drawn, noise_bound=bound)
        measure(plan, backend, path, bound=bound, on_step=on_step)
        # As written, so that a table made at once and one continued have the same fit.
        journal = Journal(path)
        model, fitted = _fit(plan, journal)
        report = _report(plan, journal, model, fitted)
        write_measured(
            path,
            path.stem,
            info,
            drawn,
            noise_bound=bound,
            complete=True,
            errors=_errors(fitted),
            context=fitted.context,
            regressors=model.fitted_choices(),
            report=report,
        )
        return Built(path, report)


def _info(backend: Backend, bound: float) -> DeviceInfo:
    runtime, cpu = backend.runtime, host_cpu()
    return DeviceInfo(
        description=f"{cpu}, {runtime.runtime} {runtime.runtime_version}, measured op by op",
        device=cpu,
        soc=cpu,
        os=host_os(),
        runtime=runtime.runtime,
        runtime_version=runtime.runtime_version,
        compute_unit=runtime.compute_unit,
        precision=runtime.precision,
        threads=runtime.threads,
        batch=1,
        statistic=f"ops: median over {ROUNDS} rounds of the fastest of {RUNS} runs; networks: median of runs",
        tool="hvnas latency measure",
        date=datetime.date.today().isoformat(),
        source="measured on this host",
        method="measured",
        protocol=f"{runtime.clock}. Each op by itself, its weights out of the cache and its inputs in it; "
        f"rows whose rounds differ by more than {bound:.0%} are measured again and then left out.",
    )


def _drawn(plan: Plan) -> Drawn:
    return Drawn(
        space=plan.space,
        space_hash=plan.space_hash,
        seed=plan.seed,
        ops=len(plan.ops),
        blocks=len(plan.blocks),
        networks=len(plan.networks),
        resolution=plan.resolution,
    )


def _known(path: Path, info: DeviceInfo, drawn: Drawn, bound: float) -> MeasuredFile | None:
    """The table that is there already, if it is the same one."""
    if not path.exists():
        return None
    data = read_yaml(path, schema=SCHEMA)
    if data.get("method") != "measured":
        method = shortened(data.get("method"), 60)
        raise ValueError(f"{path}: holds a {method} device; choose another name with --out")
    try:
        known = read_measured(path, data)
    except ValueError:
        # A fit that does not pass any more is made again from the rows.
        known = dataclasses.replace(read_measured(path, {**data, "context": {}}), complete=False)
    there = {name: getattr(known, name) for name in SAME} | {"noise_bound": known.noise_bound}
    asked = {name: getattr(info, name) for name in SAME} | {"noise_bound": bound}
    there |= {f"drawn.{name}": getattr(known.drawn, name) for name in SAME_PLAN}
    asked |= {f"drawn.{name}": getattr(drawn, name) for name in SAME_PLAN}
    check_unchanged(there, asked, what=f"the table {path}", remedy="choose another name with --out")
    return known


def _check_free(path: Path) -> None:
    """Where no YAML is, rows beside it are of unknown origin; a run cut at once leaves headers alone."""
    for suffix, first in ((".csv", header()), (".whole.csv", op_rows.whole_header())):
        table = path.with_suffix(suffix)
        if table.exists() and not first.startswith(read_text(table)):
            raise ValueError(
                f"{table}: holds rows, but there is no {path.name} that says of what; "
                "move it away or choose another name with --out"
            )


def _fit(plan: Plan, journal: Journal) -> tuple[OpModel, Fitted]:
    model = OpModel(journal.ops)
    times = {(row.kind, row.key): row.ms for row in journal.wholes}
    fitted = fit_context(
        model,
        [arch.lower() for arch in plan.networks],
        [times[NETWORK, arch.hash] for arch in plan.networks],
    )
    return OpModel(model.rows, model.fitted_choices(), fitted.context), fitted


def _errors(fitted: Fitted) -> Errors:
    """Of networks left out; beyond the measured sizes the same location and scale, with Cauchy's tails."""
    inside = fit_student_t(fitted.errors, families=len(fitted.errors))
    df, loc, scale = (float(f"{value:.4g}") for value in (inside.df, inside.loc, inside.scale))
    return Errors(inside=StudentT(df, loc, scale), outside=StudentT(1.0, loc, scale))


def _block_scores(plan: Plan, times: dict[tuple[str, str], float], model: OpModel) -> dict[str, Any] | None:
    """Of blocks, which the fit has not seen: those that take long enough for two depths to tell."""
    blocks = [key for key in plan.blocks if times[BLOCK, key.name] > SHORTEST_BLOCK_MS]
    if not blocks:
        return None
    predicted = [sum(ms for _, _, ms in model.parts(key.program)[1]) for key in blocks]
    return scores(predicted, [times[BLOCK, key.name] for key in blocks])


def _report(plan: Plan, journal: Journal, model: OpModel, fitted: Fitted) -> dict[str, Any]:
    times: dict[tuple[str, str], float] = {(row.kind, row.key): row.ms for row in journal.wholes}
    ms = np.array([times[NETWORK, arch.hash] for arch in plan.networks])
    noisy = sum(row.noisy for row in model.rows)
    return {
        "network_left_out": scores(ms * np.exp(-fitted.errors), ms),
        "block": _block_scores(plan, times, model),
        "rows": {"ops": len(model.rows), "noisy": noisy, "blocks": len(plan.blocks), "networks": len(ms)},
        "op_left_out": {group: choice.error for group, choice in model.fitted_choices().items()},
        "common_factor_strength": fitted.strength,
    }


Floats = NDArray[np.float64]
STRENGTHS = (1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# Units in which the costs are of the order of one.
OP_MS, FIXED_MS, MB_MS, GIGA_MS = 0.01, 0.1, 0.1, 100.0
ROBUST, ITERATIONS = 0.04, 6
WEIGHTS, UNCACHED = 3, 6  # columns of the design
# Megabytes (float16) of weights that may stay in a core's cache.
CACHES_MB = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


@dataclass(frozen=True)
class Fitted:
    """A context, and ln(measured / predicted) [n] of each network with that network left out."""

    context: Context
    strength: float
    errors: Floats


def fit_context(model: OpModel, programs: Sequence[Program], ms: Sequence[float]) -> Fitted:
    """The context that fits networks (measured milliseconds `ms`) best."""
    groups = [c.name.removeprefix(GROUP) for c in model.columns if c.name.startswith(GROUP)]
    design, times = _design(model, programs), np.array(ms, dtype=float)[:, None]
    plain, *others = (
        (cached, *_best_ridge(_with_cache(design, cached) / times)) for cached in (0.0, *CACHES_MB)
    )
    cached, strength, solution, left_out = min(others, key=lambda found: float(np.mean(np.abs(found[3]))))
    less = np.abs(plain[3]) - np.abs(left_out)
    if not solution[UNCACHED] or less.mean() <= less.std() / np.sqrt(len(less)):
        cached, strength, solution, left_out = plain
    _, per_op, fixed, weight, act, mac, uncached, *factors = solution.tolist()
    context = Context(
        fixed_ms=float(f"{fixed * FIXED_MS:.4g}"),
        op_ms=float(f"{per_op * OP_MS:.4g}"),
        weight_ms_per_mb=float(f"{weight * MB_MS:.4g}"),
        act_ms_per_mb=float(f"{act * MB_MS:.4g}"),
        mac_ms_per_giga=float(f"{mac * GIGA_MS:.4g}"),
        cached_mb=cached,
        uncached_ms_per_mb=float(f"{uncached * MB_MS:.4g}"),
        factors={group: float(f"{factor:.4g}") for group, factor in zip(groups, factors, strict=True)},
    )
    return Fitted(context, strength, left_out)


def _best_ridge(design: Floats) -> tuple[float, Floats, Floats]:
    """The strength with the least mean error of networks left out, and what `_ridge` finds with it."""
    tried = [(strength, *_ridge(design, strength)) for strength in STRENGTHS]
    return min(tried, key=lambda found: float(np.mean(np.abs(found[2]))))


def _design(model: OpModel, programs: Sequence[Program]) -> Floats:
    """Columns: the common factor (in no network), ops, the call, bytes, MACs, weights that no cache holds (as
    without one: none), each group. [n, 7 + groups]
    """
    values = np.stack([evaluate_columns(model.columns, program) for program in programs])
    names = [column.name for column in model.columns]
    groups = values[:, [k for k, name in enumerate(names) if name.startswith(GROUP)]]
    count, macs, weights, *acts = (values[:, names.index(name)] for name in (COUNT, MACS, *BYTES))
    megabytes = [weights / 1e6 * MB_MS, sum(acts) / 1e6 * MB_MS]
    nothing, call = np.zeros(len(values)), np.full(len(values), FIXED_MS)
    return np.c_[nothing, count * OP_MS, call, *megabytes, macs / 1e9 * GIGA_MS, nothing, groups]


def _with_cache(design: Floats, cached_mb: float) -> Floats:
    """The same where a cache holds so many megabytes of weights; none where it is 0."""
    found = design.copy()
    if cached_mb:
        found[:, UNCACHED] = np.maximum(design[:, WEIGHTS] - cached_mb * MB_MS, 0.0)
    return found


def _ridge(design: Floats, strength: float) -> tuple[Floats, Floats]:
    """The solution >= 0, and ln(measured / predicted) of each network left out (from the hat matrix).

    Iteratively reweighted: beyond `ROBUST` a relative error counts by its size, not by its square. The errors
    left out hold the final weights fixed, and what is zero there.
    """
    drawn = _drawn_to(design.shape[1]) * np.sqrt(strength)
    weights = np.ones(len(design))
    for _ in range(ITERATIONS):
        root = np.sqrt(weights)
        rows = np.r_[design * root[:, None], drawn]
        fitted = lsq_linear(rows, np.r_[root, np.zeros(len(drawn))], bounds=(0, np.inf), method="bvls")
        solution: Floats = fitted.x
        left_by = np.abs(1 - design @ solution)
        free = fitted.active_mask == 0
        inverse = np.linalg.pinv(rows[:, free].T @ rows[:, free])
        hat = np.einsum("ij,jk,ik->i", design[:, free] * weights[:, None], inverse, design[:, free])
        weights = ROBUST / np.maximum(left_by, ROBUST)
    predicted = 1 - (1 - design @ solution) / (1 - hat)
    left_out: Floats = -np.log(np.maximum(predicted, 0.05))
    return solution, left_out


def _drawn_to(size: int) -> Floats:
    """Rows of the ridge: the call, bytes and MACs are drawn to zero, each group to the common factor."""
    rows = np.eye(size)[2:]
    rows[5:, 0] = -1
    return rows
