"""What large data adds by the share of mixers that attend: the shape, judged on families left out.

    python scripts/shift_shape.py

Leaves each family of the pairs in hvnas/accuracy/data/large_data.csv out in turn and predicts what large data
adds to its networks, with several shapes of the share of attending mixers. CoAtNet, whose layouts the shift
is asked about, has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hvnas.accuracy.surrogate.evidence import CENTER, PRIOR, RUN, STUDY, pairs, saturating
from hvnas.accuracy.surrogate.features import NAMES, attending_share

Array = NDArray[np.float64]

SHAPES: dict[str, Callable[[Array], Array]] = {
    "none": np.zeros_like,
    "share squared": np.square,
    "share": lambda share: share,
    "root of the share": np.sqrt,
    "share up to 1/2": lambda share: np.minimum(2.0 * share, 1.0),
    "share up to 1/4": lambda share: np.minimum(4.0 * share, 1.0),
    "any": lambda share: (share > 0).astype(np.float64),
    "up to an unknown point": lambda share: saturating(share)[0],
}
# Networks of one design, by the beginnings of their names.
FAMILIES = ("vit_p", "vit_c", "resnet", "regnet")


def errors(design: Array, shift: Array, families: NDArray[np.str_]) -> Array:
    """Errors in points of each network, its family left out. `design` is [n, 3]; all are of one paper."""
    found = np.empty(len(shift))
    for family in FAMILIES:
        out = families == family
        x, y = design[~out], shift[~out]
        noise = RUN**2 * np.eye(len(x)) + STUDY**2
        precision = np.linalg.solve(noise, x)
        weights = np.linalg.solve(x.T @ precision + np.diag(PRIOR**-2.0), precision.T @ y)
        found[out] = design[out] @ weights - shift[out]
    return found


def main() -> None:
    names, values, shift, studies = pairs()
    kept = studies == "early_convs"
    share, values, shift = attending_share(values)[kept], values[kept], shift[kept]
    families = np.array(
        [next(f for f in FAMILIES if n.startswith(f)) for n, k in zip(names, kept, strict=True) if k]
    )
    params = np.log(values[:, NAMES.index("params")]) - CENTER
    least, most = share[share > 0].min(), share.max()
    print(f"{len(shift)} networks; shares that attend: 0, and {least:.3f} to {most:.3f}")
    for name, shape in SHAPES.items():
        design = np.stack([np.ones(len(share)), params, shape(share)], axis=1)
        wrong = errors(design, shift, families)
        rms, mean = np.sqrt(np.square(wrong).mean()), np.abs(wrong).mean()
        print(f"{name:24s} rms {rms:.2f}  mean {mean:.2f} points")


if __name__ == "__main__":
    main()
