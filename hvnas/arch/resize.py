"""A network for other classes or another resolution, refused in a sentence where it cannot be built."""

from __future__ import annotations

from hvnas.arch.arch import Arch
from hvnas.blocks.limits import check_number


def resized(arch: Arch, *, classes: int | None = None, resolution: int | None = None) -> Arch:
    """`arch` with a head for `classes` and for images of `resolution` pixels a side.

    Raises ValueError, one line, for a number out of limits, or a resolution that it cannot be built for,
    which names the nearest that it can.
    """
    for field, value in (("classes", classes), ("resolution", resolution)):
        if value is not None:
            check_number(field, value, field, arch.name)
    fitted = arch.with_(classes=classes, resolution=resolution)
    if resolution is None or (problem := misfit(fitted)) is None:
        return fitted
    raise ValueError(
        f"resolution: {arch.name} cannot be built for {resolution} px: {problem.partition(';')[0]}; "
        f"give {_nearest(arch, resolution)}, the nearest that it can"
    )


def misfit(arch: Arch) -> str | None:
    """Why a network cannot be built from `arch`; None where it can."""
    try:
        for _ in arch.states():
            pass
    except ValueError as error:
        return str(error)
    return None


def _nearest(arch: Arch, resolution: int) -> int:
    """The resolution nearest to the one given that `arch` can be built for, at most its own."""
    away = abs(arch.resolution - resolution)
    tried = (near for step in range(1, away) for near in (resolution + step, resolution - step))
    fits = (near for near in tried if near > 0 and misfit(arch.with_(resolution=near)) is None)
    return next(fits, arch.resolution)
