"""A network as a report tells of it: sizes, latency on devices, accuracy, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvnas.arch import Arch
from hvnas.latency import Device, LatencyEstimate

if TYPE_CHECKING:
    from hvnas.accuracy import AccuracyEstimator

# What every network is put beside.
REFERENCE = "efficientformer_l1"
RECIPE, SCENARIO = "modern300", "imagenet1k"
# How the parts of a breakdown that are no stage are called, and in which order the others come.
FIXED = "once per image"


@dataclass(frozen=True)
class Accuracy:
    """Top-1 in points with its standard deviation, trained as `recipe`; or a score, where `unit` says so."""

    mean: float
    sd: float
    unit: str
    estimator: str
    recipe: str

    def __str__(self) -> str:
        return f"{self.mean:.4g}" if self.unit == "score" else f"{self.mean:.1f} ± {self.sd:.1f}"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network; `latency` is by the device's name, `run` the search that found it, if one did.

    `name` is unique in its report; it comes from a file, like everything in `published`. `chance` is that
    of `budget_ms` milliseconds on the first device; `trained` says what a training of it came to.
    """

    name: str
    arch: Arch = field(repr=False)
    params: int
    macs: int
    latency: Mapping[str, LatencyEstimate] = field(repr=False)
    accuracy: Accuracy | None
    run: str | None = None
    budget_ms: float | None = None
    chance: float | None = None
    assumed: tuple[str, ...] = ()
    trained: str | None = None

    @property
    def published(self) -> float | None:
        """The published top-1 in points; None where the file has no number there."""
        value = (self.arch.published or {}).get("top1")
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def describe_network(
    arch: Arch, devices: Sequence[Device], *, accuracy: Accuracy | None, assumed: Sequence[str] = ()
) -> Network:
    """The network's numbers. Raises ValueError where it cannot be lowered."""
    program = arch.lower()
    return Network(
        name=arch.name,
        arch=arch,
        params=program.params,
        macs=program.macs,
        latency={device.name: device.latency(program) for device in devices},
        accuracy=accuracy,
        assumed=tuple(assumed),
    )


def estimated(
    archs: Sequence[Arch], estimator: AccuracyEstimator, name: str, *, recipe: str, scenario: str
) -> list[Accuracy]:
    """What a cheap estimator of top-1 says. Raises ValueError for an unknown recipe or scenario."""
    if not archs:
        return []
    found = estimator.estimate(archs, recipe=recipe, scenario=scenario)
    pairs = zip(found.mean.tolist(), found.sd.tolist(), strict=True)
    return [Accuracy(mean, sd, "points", name, recipe) for mean, sd in pairs]


def stage_name(label: str) -> str:
    """How a part is called: ``stages.2`` is stage 3."""
    first, _, number = label.partition(".")
    return f"stage {int(number) + 1}" if first == "stages" and number.isdigit() else label


def by_stage(estimate: LatencyEstimate) -> dict[str, float]:
    """Milliseconds by part in order, what a network takes once per image last."""
    parts = {stage_name(label): ms for label, ms in estimate.breakdown.stages.items()}
    return parts | {FIXED: estimate.breakdown.fixed}


def by_kind(estimate: LatencyEstimate) -> dict[str, float]:
    """Milliseconds by kind of op, the costliest first, what a network takes once per image last.

    Kinds that cost nothing on the device are left out.
    """
    kinds = sorted(estimate.breakdown.kinds.items(), key=lambda pair: -pair[1])
    return {kind: ms for kind, ms in kinds if ms > 0} | {FIXED: estimate.breakdown.fixed}


def aligned(parts: Sequence[Mapping[str, float]]) -> list[tuple[str, list[float | None]]]:
    """Breakdowns side by side: each part's name with the milliseconds of every network, None without it.

    Parts come in the order of a network, what is fixed last; kinds of op as in the first one.
    """
    names = list(dict.fromkeys(name for part in parts for name in part if name != FIXED))
    # Not every network has tokens, or as many stages before its head.
    names.sort(key=lambda name: {"stem": 0, "tokens": 1, "head": 3}.get(name, 2))
    return [(name, [part.get(name) for part in parts]) for name in (*names, FIXED)]
