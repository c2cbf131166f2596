"""What latencies a space reaches on a device: known before the search, so a hopeless budget ends at once."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace

import numpy as np

from hvnas._cache import (
    Arrays,
    code_hash,
    digest_of,
    keep,
    read_cached,
    read_shipped,
    text_array,
    text_of,
)
from hvnas._numbers import plain
from hvnas.arch import Arch, load_arch
from hvnas.search.problem import Problem
from hvnas.search.rows import Bools, Floats, Rows, SpaceLike, alternatives, distinct

UNBOUNDED_MS = 1e12  # above every network's latency
_SAMPLES = 64
# Of the search for what random encodings and descent from them did not come upon.
_GENERATIONS = 40
# So many times over the budget nothing more is tried to come below it.
_HOPELESS = 3.0
_BEAM = 3
_PASSES = 12
_SEED = 0  # the reach is a property of space and device, not of a run


@dataclass(frozen=True)
class Reach:
    """The smallest and largest latency of a space on a device, in ms, with the encodings that reach them.

    Only architectures that the problem allows count; where none was found inside the gates and within the
    constraints `empty` is True and the numbers are of those that break least. `excluded` is the share of
    random encodings that each rule of the gates, and each constraint, excludes, largest first.
    """

    min_ms: float
    max_ms: float
    min_row: Rows = field(repr=False)
    max_row: Rows = field(repr=False)
    empty: bool
    excluded: dict[str, float]

    @property
    def worst_rule(self) -> str | None:
        """The rule or constraint that excludes most, None where nothing is excluded."""
        return next((rule for rule, share in self.excluded.items() if share > 0), None)


class InfeasibleBudget(ValueError):
    """No architecture of the space meets the budget on the device.

    `smallest_ms` is the smallest reachable latency and `arch` an architecture that reaches it; where
    nothing lies inside the gate `rule` names what excludes most, else it is None. `stopped` says that the
    search was asked to stop before it had found any.
    """

    def __init__(
        self, message: str, *, smallest_ms: float, arch: Arch, rule: str | None, stopped: bool = False
    ) -> None:
        super().__init__(message)
        self.smallest_ms = smallest_ms
        self.arch = arch
        self.rule = rule
        self.stopped = stopped


def find_reach(problem: Problem, *, known: Rows | None = None) -> Reach:
    """Find the smallest and largest latency among the networks that `problem` allows.

    Random encodings, then descent gene by gene from the best of them; the papers' models inside the space
    count as well. Where nothing allowed, or nothing within the budget, came up, an evolution towards what
    is allowed goes on from there. Accuracy plays no part. What this returns was found: there may be
    networks beyond it. `known` are the rows of the papers' models (see `known_rows`), where they are there.
    """
    stored = stored_reach(problem)
    if stored is not None:
        return stored
    found, low_ms = _searched(problem, known)
    key = reach_key(problem)
    if key is not None and low_ms is not None:
        keep(f"{REACH}-{key}", reach_code(), pack_reach(key, found, low_ms))
    return found


def _searched(problem: Problem, known: Rows | None) -> tuple[Reach, float | None]:
    """The reach, and the latency in ms that a budget must leave room for so that it is the same; None where
    another budget could have another."""
    space = problem.space
    rng = np.random.default_rng(_SEED)
    corners = np.stack([np.zeros(len(space.genes)), np.asarray(space.cardinalities) - 1]).astype(np.int16)
    # Not `space.sample`: keeping to the limits on size makes it weigh many more networks than it returns.
    drawn = rng.integers(np.asarray(space.cardinalities), size=(_SAMPLES, len(space.genes)))
    samples = space.canonicalise(drawn.astype(np.int16))
    shares = _excluded(problem, samples)
    starts = distinct(np.concatenate([samples, space.canonicalise(corners)]))
    known = known_rows(space) if known is None else known
    low, low_cost = _lowest(problem, starts, known, rng)
    high, high_cost = _descend(problem, starts, sign=-1)
    if high_cost[0] > 0:
        high, high_cost = _descend(problem, distinct(np.concatenate([low[None], known, starts])), sign=-1)
    reach = Reach(
        min_ms=float(low_cost[1]),
        max_ms=float(-high_cost[1]),
        min_row=low,
        max_row=high,
        empty=bool(low_cost[0] > 0),
        excluded=dict(sorted(shares.items(), key=lambda item: -item[1])),
    )
    known_low = low_cost[0] == 0 and low_cost[1] * (1 + problem.margin) <= problem.budget_ms
    return widened(reach, problem, known), float(low_cost[1]) if known_low else None


REACH = "reach"
# What decides a reach, beside the space and the devices.
_CODE = (
    *("ops", "blocks", "arch", "space", "space/canonical", "space/fastpath"),
    *("latency/columns.py", "latency/device.py", "latency/model.py"),
    *("search/reach.py", "search/problem.py", "search/rows.py"),
)


def reach_key(problem: Problem) -> str | None:
    """A name for all that a reach depends on but the budget; None where a file could not know it again."""
    from hvnas.latency import Device, LinearModel
    from hvnas.space import Space

    if problem.own_features or not isinstance(problem.space, Space):
        return None
    devices = [d for d in problem.devices if isinstance(d, Device) and isinstance(d.model, LinearModel)]
    if len(devices) < len(problem.devices):
        return None
    margins = (problem.margin, *problem.other_margins)
    return digest_of(
        map(
            repr,
            (
                problem.space.hash,
                # Not by their hashes: those of devices made in Python may be anything.
                [(d.name, d.model, d.rules) for d in devices],
                margins,
                [str(constraint) for constraint in problem.screening],
                problem.outside,
            ),
        )
    )


def reach_code() -> str:
    """The key of files of reaches: of the code that finds them."""
    return code_hash(*_CODE)


def packed_reach(problem: Problem) -> Arrays:
    """The reach of `problem`, found anew, as arrays; none where it depends on the budget."""
    key = reach_key(problem)
    found, low_ms = _searched(problem, None)
    return {} if key is None or low_ms is None else pack_reach(key, found, low_ms)


def pack_reach(key: str, reach: Reach, low_ms: float) -> Arrays:
    """Arrays of a reach; `low_ms` is the latency in ms that budgets must leave room for, with the margin."""
    return {
        f"{key}.rows": np.stack([reach.min_row, reach.max_row]).astype(np.int16),
        f"{key}.ms": np.array([reach.min_ms, reach.max_ms, low_ms]),
        f"{key}.excluded": text_array(json.dumps(reach.excluded)),
    }


def stored_reach(problem: Problem) -> Reach | None:
    """The reach of `problem` from a file; None where there is none, or the budget asks for a search."""
    key = reach_key(problem)
    if key is None:
        return None
    code = reach_code()
    stored = read_shipped(REACH, code)
    if stored is None or f"{key}.ms" not in stored:
        stored = read_cached(f"{REACH}-{key}", code)
    if stored is None:
        return None
    least, most, low = stored[f"{key}.ms"].tolist()
    if low * (1 + problem.margin) > problem.budget_ms:
        return None
    rows = stored[f"{key}.rows"].astype(np.int16)
    excluded = json.loads(text_of(stored[f"{key}.excluded"]))
    return Reach(least, most, rows[0], rows[1], empty=False, excluded=excluded)


def known_rows(space: SpaceLike) -> Rows:
    """The fixed points in the space. Shape [k, genes]."""
    from hvnas.space import Space

    if isinstance(space, Space):
        return space.fixed_rows()
    rows = [space.encode(load_arch(name)) for name in space.fixed_points()]
    return np.array(rows, dtype=np.int16).reshape(-1, len(space.genes))


def _lowest(problem: Problem, starts: Rows, known: Rows, rng: np.random.Generator) -> tuple[Rows, Floats]:
    """The fastest allowed row found with its (what forbids it, ms): see `find_reach`."""
    low, cost = _descend(problem, starts, sign=1)
    if cost[0] == 0 and cost[1] * (1 + problem.margin) <= problem.budget_ms:
        return low, cost
    if cost[0] == 0 and cost[1] > _HOPELESS * problem.budget_ms:
        return low, cost
    rows = _evolved(problem, distinct(np.concatenate([low[None], known, starts])), rng)
    return _descend(problem, rows, sign=1)


def _evolved(problem: Problem, rows: Rows, rng: np.random.Generator) -> Rows:
    """A population evolved towards what is allowed, then towards low latency; best first."""
    space = problem.space
    rate = min(0.5, 3.0 / rows.shape[1])
    costs = _costs(problem, rows, 1)
    for _ in range(_GENERATIONS):
        order = _order(costs)[:_SAMPLES]
        rows, costs = rows[order], costs[order]
        if costs[0, 0] == 0 and costs[0, 1] * (1 + problem.margin) <= problem.budget_ms:
            break
        parents = rows[rng.integers(len(rows), size=(2, 2, _SAMPLES)).min(axis=0)]
        children = space.crossover(parents[0], parents[1], rng=rng, canonical=False)
        tried = distinct(np.concatenate([rows, space.mutate(children, rng=rng, rate=rate)]))
        rows, costs = tried, _costs(problem, tried, 1)
    return rows[_order(costs)]


def _excluded(problem: Problem, rows: Rows) -> dict[str, float]:
    """The share of canonical rows that each rule of a gate and each constraint excludes."""
    screened = problem.screen(rows)
    excluded: dict[str, Bools] = {}
    for device, latency in zip(problem.devices, screened.latencies, strict=True):
        of = "" if device is problem.device else f" of {device.name}"
        excluded |= {f"{rule}{of}": out for rule, out in latency.excluded_by.items()}
    excluded |= {str(c): screened.over[:, 1 + i] > 0 for i, c in enumerate(problem.screening)}
    return {rule: float(np.mean(out)) for rule, out in excluded.items()}


def widened(reach: Reach, problem: Problem, known: Rows) -> Reach:
    """`reach`, or the latencies of `known` canonical rows where those lie beyond it and are allowed."""
    if len(known) == 0:
        return reach
    screened = problem.screen(known)
    ms = np.round(screened.latency.ms, 9)
    barred = screened.barred
    fastest = int(np.argmin(np.where(barred > 0, np.inf, ms)))
    slowest = int(np.argmax(np.where(barred > 0, -np.inf, ms)))
    if barred[fastest] == 0 and (reach.empty or ms[fastest] < reach.min_ms):
        reach = replace(reach, min_ms=float(ms[fastest]), min_row=known[fastest])
    if barred[slowest] == 0 and (reach.empty or ms[slowest] > reach.max_ms):
        reach = replace(reach, max_ms=float(ms[slowest]), max_row=known[slowest], empty=False)
    return reach


def with_widest_budget(problem: Problem) -> tuple[Problem, Reach]:
    """`problem` with the budget that the slowest allowed network needs, rounded up to three digits.

    The reach, which no budget changes, comes with it. Raises InfeasibleBudget where none was found that the
    gates and constraints allow.
    """
    unbounded = replace(problem, budget_ms=UNBOUNDED_MS)
    reach = find_reach(unbounded)
    check_budget(unbounded, reach)
    needed = reach.max_ms * (1 + problem.margin)
    digit = 10.0 ** (math.floor(math.log10(needed)) - 2)
    return replace(problem, budget_ms=float(f"{math.ceil(needed / digit) * digit:.6g}")), reach


def check_budget(problem: Problem, reach: Reach) -> None:
    """Raise InfeasibleBudget where `reach` shows that nothing meets the budget of `problem`."""
    needed = reach.min_ms * (1 + problem.margin)
    if not reach.empty and needed <= problem.budget_ms:
        return
    message = _nothing_allowed(problem, reach) if reach.empty else _too_small(problem, reach.min_ms, needed)
    raise InfeasibleBudget(
        message,
        smallest_ms=reach.min_ms,
        arch=problem.space.decode(reach.min_row),
        rule=reach.worst_rule if reach.empty else None,
    )


def _too_small(problem: Problem, least: float, needed: float) -> str:
    space, device = problem.space.name, problem.device.name
    margin = f" ({needed:.3f} ms with the margin of {problem.margin:.1%})" if problem.margin else ""
    kept = f" and keeps {', '.join(map(str, problem.screening))}" if problem.screening else ""
    return (
        f"budget_ms: no architecture of {space} was found that meets {problem.budget_ms:g} ms on {device}"
        f"{kept}; the smallest latency found is {least:.3f} ms{margin}. "
        "Give a larger budget, or another space."
    )


def _nothing_allowed(problem: Problem, reach: Reach) -> str:
    """Which constraints the nearest architecture breaks or, where it breaks none, which rule of a gate."""
    screened = problem.screen(reach.min_row[None])
    missed = [
        f"{c} (the nearest found has {plain(float(problem.values_of(c.what, screened)[0]))})"
        for i, c in enumerate(problem.screening)
        if screened.over[0, 1 + i] > 0
    ]
    if missed:
        return (
            f"constraint: no architecture of {problem.space.name} was found that keeps {', '.join(missed)}. "
            "Loosen it, or choose another space."
        )
    share = reach.excluded.get(reach.worst_rule or "", 0.0)
    gates = " and ".join(device.name for device in problem.devices)
    return (
        f"no architecture of {problem.space.name} was found inside the gate of {gates}: the rule "
        f"{reach.worst_rule!r} excludes most ({share:.0%} of {_SAMPLES} random encodings), and "
        f"{_GENERATIONS} generations towards the gate did not help. Allow networks outside it with "
        "--outside allow, or choose another space."
    )


def _costs(problem: Problem, rows: Rows, sign: int) -> Floats:
    """Per row (what forbids it, sign * latency in ms), to be minimised in this order. Shape [n, 2]."""
    screened = problem.screen(rows)
    return np.stack([screened.barred, sign * np.round(screened.latency.ms, 9)], axis=1)


def _order(costs: Floats) -> np.ndarray:
    return np.lexsort((costs[:, 1], costs[:, 0]))


def _descend(problem: Problem, rows: Rows, *, sign: int) -> tuple[Rows, Floats]:
    """The best encoding reached from the best few of `rows` by changing one gene at a time."""
    costs = _costs(problem, rows, sign)
    order = _order(costs)[:_BEAM]
    beam, beam_costs = rows[order], costs[order]
    for _ in range(_PASSES):
        before = beam_costs[0].copy()
        for gene in range(rows.shape[1]):
            tried = alternatives(problem.space, beam, gene)
            if len(tried) == 0:
                continue
            candidates = distinct(np.concatenate([beam, tried]))
            costs = _costs(problem, candidates, sign)
            order = _order(costs)[:_BEAM]
            beam, beam_costs = candidates[order], costs[order]
        if tuple(beam_costs[0]) == tuple(before):
            break
    return beam[0], beam_costs[0]
