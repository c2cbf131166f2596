"""A Problem from names, files and objects.

The files that an estimator's name leads to: a run goes on only while they are what they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hvnas._request import Outside
from hvnas.accuracy.estimator import AccuracyEstimator, ImageSize, as_estimator
from hvnas.accuracy.loading import locate_estimator
from hvnas.blocks.limits import check_number
from hvnas.latency.device import LatencyDevice, as_device
from hvnas.search.objectives import (
    LATENCY,
    TOP1,
    Constraint,
    Objective,
    check_constraints,
    parse_constraint,
    parse_objective,
)
from hvnas.search.problem import Problem
from hvnas.search.reach import UNBOUNDED_MS
from hvnas.search.request import SearchRequest
from hvnas.search.rows import SpaceLike

if TYPE_CHECKING:
    from hvnas.search.request import AnyConstraint, AnyDevice, AnyEstimator, AnyMargin, AnyObjective, AnySpace


# Estimators whose scores hold among the networks that they are given together get these to compare with.
_REFERENCES = 64

CHUNK = 2**20


def make_problem(
    space: AnySpace,
    device: AnyDevice | Sequence[AnyDevice],
    estimator: AnyEstimator,
    *,
    budget_ms: float,
    margin: AnyMargin | None = None,
    recipe: str = "modern300",
    scenario: str = "imagenet1k",
    outside: Outside = "forbid",
    objectives: Sequence[AnyObjective] = (),
    constraints: Sequence[AnyConstraint] = (),
    classes: int | None = None,
) -> Problem:
    """Return a Problem from names, files or objects.

    Of several devices the budget is the first one's, and the latency on each is an objective unless
    `objectives` are given. Devices that only an objective or a constraint names are loaded too. `margin` is
    one for every device, or one each; None: each device's default. Every number is that of one network: where
    the estimator puts networks to the resolution and classes of its images, or `classes` is given, the space
    is put to them too (`Space.at`).

    Raises ValueError for what is unknown or out of range, and where the estimator's images have other
    classes than `classes`.
    """
    request = SearchRequest(
        space=space,
        device=each_of(device),
        estimator=estimator,
        budget_ms=budget_ms,
        margin=margin,
        recipe=recipe,
        scenario=scenario,
        outside=outside,
        objectives=tuple(objectives),
        constraints=tuple(constraints),
        classes=classes,
    )
    return problem_of(request)


def problem_of(request: SearchRequest, devices: DeviceSet | None = None) -> Problem:
    """The problem that `request` poses, by what its names stand for now; `devices` are its own, if loaded.

    Without a budget nothing is too slow. Raises ValueError as `make_problem`.
    """
    from hvnas.accuracy import load_estimator
    from hvnas.space import load_space

    wanted, kept = _parsed(request)
    check_constraints(kept)
    space, estimator = request.space, request.estimator
    loaded_space = load_space(space) if isinstance(space, (str, Path)) else space
    named = isinstance(estimator, str)
    scorer = load_estimator(estimator) if isinstance(estimator, str) else as_estimator(estimator)
    loaded_space = _at_size(loaded_space, _size(scorer.image_size, request))
    devices = devices or DeviceSet(request.device)
    if not wanted:
        wanted = [Objective(TOP1), *(Objective(LATENCY, d.name) for d in devices.loaded)]
    named_objectives = tuple(devices.settled(what) for what in wanted)
    named_constraints = tuple(map(devices.settled_constraint, kept))
    first, *others = devices.loaded
    margins = _margins(devices.loaded, request.margin)
    return Problem(
        space=loaded_space,
        device=first,
        estimator=_comparable(scorer, loaded_space) if named else scorer,
        budget_ms=UNBOUNDED_MS if request.budget_ms is None else request.budget_ms,
        margin=margins[0],
        recipe=request.recipe,
        scenario=request.scenario,
        outside=request.outside,
        objectives=named_objectives,
        constraints=named_constraints,
        others=tuple(others),
        other_margins=tuple(margins[1:]),
    )


def _parsed(request: SearchRequest) -> tuple[list[Objective], list[Constraint]]:
    objectives = [parse_objective(o) if isinstance(o, str) else o for o in request.objectives]
    return objectives, [parse_constraint(c) if isinstance(c, str) else c for c in request.constraints]


def each_of(device: AnyDevice | Sequence[AnyDevice]) -> tuple[AnyDevice, ...]:
    """The devices asked for, of which one may stand alone."""
    return tuple(device) if isinstance(device, Sequence) and not isinstance(device, str) else (device,)


def _margins(devices: Sequence[LatencyDevice], margin: float | Sequence[float] | None) -> list[float]:
    """One margin for each device."""
    if margin is None:
        return [device.default_margin() for device in devices]
    margins = list(margin) if isinstance(margin, Sequence) else [margin] * len(devices)
    if len(margins) != len(devices):
        raise ValueError(f"margin: give one, or one for each of the {len(devices)} devices")
    return margins


def settled(request: SearchRequest, devices: DeviceSet) -> SearchRequest:
    """`request` as a run keeps it: names and whole paths, one margin a device, bounds in one way of writing.

    `devices` are its own; those that only an objective or a constraint names are among them afterwards.
    Raises ValueError for an objective or a constraint that cannot be read.
    """
    wanted, kept = _parsed(request)
    estimator, margin = request.estimator, request.margin
    objectives = tuple(str(devices.settled(what)) for what in wanted)
    constraints = tuple(str(devices.settled_constraint(constraint)) for constraint in kept)
    count = len(devices.loaded)
    return replace(
        request,
        space=reference(request.space),
        device=tuple(devices.references),
        estimator=estimator_reference(estimator) if isinstance(estimator, str) else type(estimator).__name__,
        objectives=objectives,
        constraints=constraints,
        margin=(margin,) * count if isinstance(margin, (int, float)) else margin,
    )


def reference(thing: SpaceLike | LatencyDevice | str | Path) -> str:
    """What finds it again: a name, or the whole path of a file."""
    if not isinstance(thing, (str, Path)):
        return thing.name
    return str(Path(thing).resolve()) if Path(thing).suffix in (".yaml", ".yml") else str(thing)


class DeviceSet:
    """The devices of a search by the names and files that they are asked for with.

    `references` are what finds each of `loaded` again: a name, or the whole path of a file.
    """

    def __init__(self, devices: Sequence[AnyDevice]) -> None:
        if not devices:
            raise ValueError("device: name at least one; see hvnas devices")
        self.loaded: list[LatencyDevice] = []
        self.references: list[str] = []
        self._known: dict[str, LatencyDevice] = {}
        for one in devices:
            if self._load(one).name in [device.name for device in self.loaded[:-1]]:
                raise ValueError(f"device: {one} is listed twice; list it once")

    def _load(self, device_or_name: AnyDevice) -> LatencyDevice:
        from hvnas.latency import load_device

        device = (
            load_device(device_or_name)
            if isinstance(device_or_name, (str, Path))
            else as_device(device_or_name)
        )
        self.loaded.append(device)
        self.references.append(reference(device_or_name))
        self._known[str(device_or_name) if isinstance(device_or_name, (str, Path)) else device.name] = device
        self._known.setdefault(device.name, device)
        return device

    def settled(self, what: Objective) -> Objective:
        """`what` with its device's own name, None for the first; a device that is new is loaded."""
        if what.device is None:
            return what
        device = self._known.get(what.device) or self._load(what.device)
        return what.on(None if device is self.loaded[0] else device.name)

    def settled_constraint(self, constraint: Constraint) -> Constraint:
        """`constraint` with its device as `settled` has it."""
        return replace(constraint, what=self.settled(constraint.what))


def _size(own: ImageSize | None, request: SearchRequest) -> ImageSize | None:
    """The size that networks are put to: the estimator's `own`, or what is asked for, which a run knows."""
    classes = request.classes
    if request.resolution is not None:
        return ImageSize(request.resolution, classes)
    if classes is None:
        return own
    check_number("classes", classes, "classes", "give as many as your data has")
    if own is None:
        return ImageSize(classes=classes)
    if own.classes != classes:
        raise ValueError(
            f"classes: {classes}, but {request.estimator} scores networks at {own}; leave --classes out, or "
            "choose another estimator"
        )
    return own


def _at_size(space: SpaceLike, size: ImageSize | None) -> SpaceLike:
    """`space` with its networks at `size`; spaces of other makers say themselves what size they are of."""
    from hvnas.space import Space

    return space.at(*size) if size is not None and isinstance(space, Space) else space


def _comparable(estimator: AccuracyEstimator, space: SpaceLike) -> AccuracyEstimator:
    """`estimator` with scores that compare between calls."""
    if not estimator.relative:
        return estimator
    # At the size of small images no network may come near these MACs.
    macs = None if estimator.image_size else (0.1e9, 5e9)
    rows = space.sample(_REFERENCES, rng=np.random.default_rng(0), macs=macs)
    return estimator.against([space.decode(row) for row in rows])


def estimator_reference(name: str) -> str:
    """`name` with whole paths for the files in it, so that it is found from any folder."""
    return locate_estimator(name).name


def estimator_hash(name: str) -> str:
    """Twelve digits of the SHA-256 of the files that `name` leads to; empty where there are none.

    Raises ValueError naming a file that cannot be read.
    """
    files = locate_estimator(name).files
    if not files:
        return ""
    whole = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    whole.update(chunk)
        except OSError as error:
            raise ValueError(
                f"estimator: {path}: cannot be read ({error.strerror}); bring it back, or name another one"
            ) from None
    return whole.hexdigest()[:12]
