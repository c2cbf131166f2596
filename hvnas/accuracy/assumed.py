"""What an estimator takes for granted about a network that differs from all it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from hvnas.arch import Arch


@runtime_checkable
class Assuming(Protocol):
    """An estimator that says what it takes for granted."""

    def assumptions(self, archs: Sequence[Arch]) -> tuple[str, ...]:
        """One sentence for each assumption about `archs`."""
        ...


def assumed_by(estimator: object, archs: Sequence[Arch]) -> tuple[str, ...]:
    """What `estimator` takes for granted about `archs`; nothing where it does not speak of that."""
    return estimator.assumptions(archs) if isinstance(estimator, Assuming) else ()


def assumptions(
    archs: Sequence[Arch], *, resolutions: tuple[int, int], classes: Sequence[int]
) -> tuple[str, ...]:
    """One sentence for each resolution and class count that the evidence does not hold.

    `resolutions` is the smallest and the largest of the evidence, `classes` the class counts there.
    """
    low, high = resolutions
    asked = sorted({arch.resolution for arch in archs if not low <= arch.resolution <= high})
    heads = sorted({arch.head.out for arch in archs} - set(classes))
    span = f"{low}" if low == high else f"{low} to {high}"
    known = ", ".join(map(str, sorted(classes)))
    return (
        *(
            f"resolution {side}: the evidence holds {span}; the effect of resolution is held at its edge"
            for side in asked
        ),
        *(
            f"{count} classes: the evidence holds {known}; the estimate is that of the network trained on "
            "those"
            for count in heads
        ),
    )
