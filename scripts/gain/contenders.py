"""Who is compared: the network found, random members and papers' networks, all of equal measured latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gain.timings import Timing, Timings
from hvnas._names import unknown_name
from hvnas.accuracy import Estimate
from hvnas.arch import Arch, list_models, load_arch
from hvnas.arch.arch import transformed
from hvnas.latency import Device, LatencyEstimate
from hvnas.latency.remote.measurements import family_of
from hvnas.ops import evaluate_columns
from hvnas.space import Space
from hvnas.studies.ablation.matching import match
from hvnas.studies.alone import draws

FOUND, RANDOM, FIXED = "found", "random", "fixed point"
MS = "latency_ms"
# What is tried as depth of a paper's network before its widths are scaled to the latency.
DEPTHS = (1.0, 0.75, 0.5, 0.25)
# A prediction is corrected by what was measured so many times at most, each time by a part: a measurement
# errs too, and widths come in steps.
CORRECTIONS, PART = 8, 0.6
# A study that has to measure more members for each one it keeps stops.
MOST_MEASURED = 20

Score = Callable[[Sequence[Arch]], Estimate]
Fits = Callable[[Arch], bool]
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Contender:
    """A network with its predicted and its measured latency, in the form that the search has it.

    What was measured is held against the network found: see `Timings`.
    """

    role: str
    name: str
    arch: Arch
    predicted: LatencyEstimate
    measured: Timing


@dataclass(frozen=True, kw_only=True)
class Field:
    """How contenders are made: the table that predicts, the host that measures, what counts as equal.

    `screen` is how far a prediction may be from that of the network found, as a share: what is not near is
    not measured. `share` is how far the measured latency may be, timed beside that network. `fits` tells
    whether a network can be trained on the data.
    """

    device: Device
    timings: Timings
    fits: Fits
    screen: float = 0.2
    share: float = 0.1
    on_step: OnStep = lambda _: None

    def contender(self, role: str, name: str, arch: Arch) -> Contender:
        """`arch`, measured where that is not known."""
        self.on_step(f"latency of {name}")
        return Contender(role, name, arch, self.device.latency(arch.lower()), self.timings.of(arch))

    def predicted_ms(self, arch: Arch) -> float:
        """The prediction alone: where the milliseconds go takes most of the time of a whole estimate."""
        values = evaluate_columns(self.device.columns, arch.lower())
        return float(self.device.latency_columns(values[None]).ms[0])

    def equal(self, contender: Contender) -> bool:
        """Whether the measured latency counts as that of the network found."""
        return abs(contender.measured.ratio - 1) <= self.share


def random_members(space: Space, found: Contender, field: Field, *, count: int, seed: int) -> list[Contender]:
    """The first `count` members, drawn uniformly, of the measured latency of the network found.

    Raises ValueError where they are too rare.
    """
    members: list[Contender] = []
    measured = 0
    for arch in _near(space, found, field, seed=seed):
        contender = field.contender(RANDOM, f"random {len(members) + 1}", arch)
        measured += 1
        if field.equal(contender):
            members.append(contender)
        if len(members) == count:
            return members
        if measured == MOST_MEASURED * count:
            break
    raise ValueError(
        f"random members as fast as the network found are too rare: {len(members)} of {measured} measured, "
        f"{count} wanted; give another budget or a larger share"
    )


def _near(space: Space, found: Contender, field: Field, *, seed: int) -> Iterator[Arch]:
    """Other members whose prediction is near that of the network found."""
    for arch in draws(space, rng=np.random.default_rng(seed), fit=lambda arch: arch):
        ms = field.predicted_ms(arch)
        if arch != found.arch and abs(ms / found.predicted.ms - 1) <= field.screen and field.fits(arch):
            yield arch


def scaled_fixed_points(
    found: Contender, field: Field, *, score: Score, count: int, families: Sequence[str] = ()
) -> list[Contender]:
    """The `count` papers' networks that `score` puts first among those scaled to the latency found.

    Of each family (all, or those of `families`) the fastest network is scaled: runs to some shares of their
    depth, then all widths by one factor, until prediction and then measurement agree. Of each family the
    best by the score's mean for which they do is taken; families without one are left out.
    Raises ValueError where there is no such family.
    """
    known = sorted({family_of(load_arch(name)) for name in list_models()})
    for family in families:
        if family not in known:
            raise ValueError(unknown_name("family", family, known))
    best: list[tuple[float, Contender]] = []
    for family, arch in sorted(_fastest(found.arch.resolution, field).items()):
        if families and family not in families:
            continue
        field.on_step(f"scaling {arch.name}")
        scaled = [s for depth in DEPTHS if (s := _scaled(arch, depth, found.predicted.ms, field)) is not None]
        scores = score(scaled).mean if scaled else np.zeros(0)
        for first in np.argsort(-scores, kind="stable").tolist():
            nearest = _corrected(arch, scaled[first], found, field)
            field.on_step(f"{arch.name} scaled to {nearest.measured.ratio:.0%} of the latency found")
            if field.equal(nearest):
                best.append((float(scores[first]), nearest))
                break
    best.sort(key=lambda pair: -pair[0])
    return [contender for _, contender in best[:count]]


def _fastest(resolution: int, field: Field) -> dict[str, Arch]:
    """Of each family the network of the least predicted latency that fits the data, at `resolution`."""
    fastest: dict[str, tuple[float, Arch]] = {}
    for name in list_models():
        known = load_arch(name)
        arch = known.with_(resolution=resolution)
        if not field.fits(arch):
            continue
        ms = field.predicted_ms(arch)
        family = family_of(known)
        if family not in fastest or ms < fastest[family][0]:
            fastest[family] = ms, arch
    return {family: arch for family, (_, arch) in fastest.items()}


def _scaled(arch: Arch, depth: float, ms: float, field: Field) -> Arch | None:
    """`arch` at a share of its depth, its widths such that `ms` is predicted; None where none do."""

    def measure(candidate: Arch) -> Mapping[str, float]:
        return {MS: field.predicted_ms(candidate)}

    shallower = transformed(
        arch, values=lambda _, value: value, depths=lambda _, blocks: max(1, round(blocks * depth))
    )
    try:
        found = match(shallower, {MS: ms}, measure=measure, scale=("width",))
    except ValueError:  # it cannot be built
        return None
    return replace(found.arch, name=arch.name) if found.ok and field.fits(found.arch) else None


def _corrected(original: Arch, scaled: Arch, found: Contender, field: Field) -> Contender:
    """`scaled`, its widths moved until it is measured as fast as the network found; the nearest there is."""
    nearest = field.contender(FIXED, original.name, scaled)
    aim, last = found.predicted.ms, nearest
    for _ in range(CORRECTIONS):
        if field.equal(nearest):
            break
        aim /= last.measured.ratio**PART
        moved = _scaled(scaled, 1.0, aim, field)
        if moved is None:
            break
        last = field.contender(FIXED, original.name, moved)
        nearest = min(nearest, last, key=lambda c: abs(np.log(c.measured.ratio)))
    return nearest
