"""What keeps a search from better networks: the bounds that the ends of its front sit on.

A network sits on a bound where it uses up 97 % of it or more, the margin included where the bound is one of
latency, and on a bound of accuracy within half a point. A budget that is more than the slowest network needs
bounds nothing: then the space itself ends there. The best network is bounded by what is known, too, where the
accuracy of those that would be better is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvnas import _numbers as numbers
from hvnas.search.objectives import LATENCY, TOP1, Constraint
from hvnas.search.rows import Bools, Floats

if TYPE_CHECKING:
    from hvnas.search.evaluations import Archive
    from hvnas.search.problem import Problem, Screened
    from hvnas.search.reach import Reach

# The share of a bound from which on a network sits on it, and for accuracies how near it is, in points.
_SITS, _POINTS = 0.97, 0.5
# Sizes that a space or a device's gate may limit, and how they are written.
_SIZES = {"params": ("params", 1e6, "M"), "macs": ("MACs", 1e9, "G")}


@dataclass(frozen=True, eq=False)
class Bound:
    """One bound for the n networks of a front: `on` [n] is where they sit on it.

    `used` says of the network at a place how much of the bound it uses; `of_time` is whether it bounds the
    latency on the first device.
    """

    name: str
    title: str
    on: Bools
    used: Callable[[int], str]
    of_time: bool = False

    def at(self, place: int, more: str = "") -> str:
        """The bound, and how near the network at `place` is to it."""
        return f"{self.title} ({self.used(place)}{more})"


@dataclass(frozen=True)
class Limit:
    """The names of the bounds that the best network sits on, and the slowest and the fastest of the front.

    They are ``budget``; ``params`` and ``macs``, of which the space or a gate allows no more; a constraint as
    it is written, such as ``params<=6000000``; ``space``, whose slowest network it is; ``floor``, the time
    that every network takes on the device; and ``guess``, beyond which accuracies are guesses. `text` says it
    in one line.
    """

    best: tuple[str, ...]
    slowest: tuple[str, ...]
    fastest: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "best": list(self.best),
            "slowest": list(self.slowest),
            "fastest": list(self.fastest),
            "text": self.text,
        }


def find_limit(problem: Problem, reach: Reach, archive: Archive, *, best: int) -> Limit:
    """The bounds that the front in `archive`, whose best network is at `best`, sits on."""
    evaluations = archive.evaluations
    screened = problem.screen(archive.rows)
    bounds = _size_bounds(problem, screened)
    bounds += [_constraint_bound(problem, c, screened, evaluations.objective) for c in problem.constraints]
    bounds.append(_time_bound(problem, reach, evaluations.ms))
    slow, fast = int(np.argmax(evaluations.ms)), int(np.argmin(evaluations.ms))
    every = [*bounds, *_floor(problem, archive, fast), *_guess(len(archive), best)]
    sits = {place: [bound for bound in every if bound.on[place]] for place in (best, slow, fast)}
    said = [_ends(sits[best], best, evaluations.ms) or _none(bounds, best)]
    if sits[slow] and sits[slow] != sits[best]:
        said.append(f"at the slow end {_joined(sits[slow], slow)}")
    at_fast = [bound for bound in sits[fast] if bound not in sits[best]]
    if at_fast:
        said.append(f"at the fast end {_joined(at_fast, fast)}")
    return Limit(
        best=_names(sits[best]),
        slowest=_names(sits[slow]),
        fastest=_names(sits[fast]),
        text="; ".join(said),
    )


def _names(bounds: Sequence[Bound]) -> tuple[str, ...]:
    return tuple(bound.name for bound in bounds)


def _joined(bounds: Sequence[Bound], place: int) -> str:
    return " and ".join(bound.at(place) for bound in bounds)


def _ends(bounds: Sequence[Bound], place: int, ms: Floats) -> str:
    """The bounds of the best network, and since which latency all networks sit on one that is not of time."""
    told = []
    for bound in bounds:
        since = ms[ms > np.max(ms[~bound.on], initial=0.0)].min(initial=np.inf)
        more = "" if bound.of_time or since >= ms[place] else f", as all from {numbers.ms(since)} ms on"
        told.append(bound.at(place, more))
    return " and ".join(told)


def _none(bounds: Sequence[Bound], place: int) -> str:
    """What there is to say where the best network sits on no bound."""
    return f"none, the best network is clear of {', '.join(bound.at(place) for bound in bounds)}"


def _time_bound(problem: Problem, reach: Reach, ms: Floats) -> Bound:
    """The budget; or the slowest network within reach, where that is within the budget."""
    budget, reserve, slowest = problem.budget_ms, 1 + problem.margin, reach.max_ms
    # What a search finds may be slower than what was found to be within reach.
    if slowest * reserve <= budget and ms.max() <= slowest:
        return Bound(
            "space",
            "the slowest network within reach",
            ms >= _SITS * slowest,
            lambda place: f"{numbers.ms(ms[place])} of {numbers.ms(slowest)} ms",
            of_time=True,
        )
    margin = ", margin included" if problem.margin else ""
    return Bound(
        "budget",
        "the budget",
        ms * reserve >= _SITS * budget,
        lambda place: f"{numbers.ms(ms[place] * reserve)} of {budget:g} ms{margin}",
        of_time=True,
    )


def _size_bounds(problem: Problem, screened: Screened) -> list[Bound]:
    """Of the space, and of the gates of devices: what they allow of parameters and MACs."""
    allowed = {name: _allowed(problem, name) for name in _SIZES}
    return [_size_bound(name, *limit, screened.values[name]) for name, limit in allowed.items() if limit]


def _size_bound(name: str, most: float, whose: str, values: Floats) -> Bound:
    title, unit, letter = _SIZES[name]
    return Bound(
        name,
        f"the {title} of {whose}",
        values >= _SITS * most,
        lambda place: f"{values[place] / unit:.3f} of {most / unit:g} {letter}",
    )


def _allowed(problem: Problem, name: str) -> tuple[float, str] | None:
    """The most that the space or a gate allows of a size, and which of them it is; None without a limit."""
    from hvnas.latency import Device

    limits = [(problem.space.limits[name], problem.space.name)] if name in problem.space.limits else []
    if problem.outside == "forbid":
        limits += [
            (rule.most, f"the gate of {device.name}")
            for device in problem.devices
            if isinstance(device, Device)
            for rule in device.rules
            if rule.column == name
        ]
    return min(limits, default=None)


def _constraint_bound(
    problem: Problem, constraint: Constraint, screened: Screened, accuracy: Floats
) -> Bound:
    bound, what = constraint.bound, constraint.what
    if what.metric == TOP1:
        on, values, unit = np.abs(accuracy - bound) <= _POINTS, accuracy, "points"
    else:
        values = problem.bounded(constraint, screened.values)
        used = values / bound if constraint.relation == "<=" else bound / np.maximum(values, 1e-300)
        on, unit = used >= _SITS, {LATENCY: "ms", "size_mb": "MB"}.get(what.metric, "")
    return Bound(
        str(constraint),
        str(constraint),
        on,
        lambda place: f"{numbers.plain(values[place])} {unit}".rstrip(),
        of_time=what.metric == LATENCY and what.device is None,
    )


def _guess(members: int, best: int) -> list[Bound]:
    """What is known, where the best network is not the last of the front."""
    beyond = members - 1 - best
    if not beyond:
        return []
    on = np.arange(members) == best
    return [Bound("guess", "what is known", on, lambda _: f"beyond it {beyond} accuracies are guesses", True)]


def _floor(problem: Problem, archive: Archive, fastest: int) -> list[Bound]:
    """The device's floor: what every network takes once per image, whatever it computes."""
    from hvnas.latency import Device

    device, ms = problem.device, archive.evaluations.ms
    if not isinstance(device, Device):
        return []
    fixed = device.latency(problem.space.decode(archive.rows[fastest]).lower()).breakdown.fixed
    return [
        Bound(
            "floor",
            f"the floor of {device.name}",
            fixed >= _SITS * ms,
            lambda place: f"any network takes {numbers.ms(fixed)} of its {numbers.ms(ms[place])} ms",
            of_time=True,
        )
    ]
