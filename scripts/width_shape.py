"""What a layer's width is worth, by layer: Channel-Bench-Macro beside the surrogate's shape of width.

    python scripts/width_shape.py channel-bench-macro_mobilenet.csv channel-bench-macro_resnet.csv

Each table (repository xiusu/Channel-Bench-Macro) holds 16,384 networks that differ in the widths of seven
layers, a quarter to all of the full width, each trained three times on CIFAR-10. The surrogate reads the
width of the last stage as a logarithm. For each layer this prints what a quarter of its width more is worth,
over all widths of the others; what share of the variance is left by

    -ln(100 - top-1) = a + sum_i c_i f(width_i)

with f a logarithm, a root or a line; and the c_i of the logarithm. Below stands what the surrogate says of
PoolFormer-S12 with one stage narrower or wider.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._records import read_csv
from hvnas.accuracy import load_estimator
from hvnas.arch import Arch, load_arch

Array = NDArray[np.float64]
SHAPES: dict[str, Callable[[Array], Array]] = {"log": np.log, "root": np.sqrt, "line": lambda width: width}


def table(path: Path) -> tuple[Array, Array]:
    """Widths [n, layers] as shares of the full one, and mean top-1 [n]."""
    rows = list(read_csv(path, ("widths", "acc1", "acc2", "acc3", "params", "flops")))
    widths = np.array([[int(digit) for digit in row.text("widths")] for row in rows]) / 4.0
    return widths, np.array([row.numbers(("acc1", "acc2", "acc3")) for row in rows]).mean(axis=1)


def fitted(x: Array, y: Array) -> tuple[Array, float]:
    """Slopes of the columns of `x` [n, layers], and the share of the variance of `y` that is left."""
    design = np.column_stack((np.ones(len(x)), x))
    found = np.linalg.lstsq(design, y, rcond=None)[0]
    return found[1:], float(np.var(y - design @ found) / np.var(y))


def resized(arch: Arch, stage: int, factor: float) -> Arch:
    """`arch` with one stage `factor` times as wide, the first with its stem."""
    stages, stem = list(arch.stages), arch.stem
    own = stages[stage]
    assert own.local is not None
    width = round(own.local.width * factor)
    block: Any = own.local.block
    own = replace(own, local=replace(own.local, block=replace(block, out=width)))
    if own.downsample is None:
        wider: Any = stem
        stem = replace(wider, out=width)
    else:
        down: Any = own.downsample
        own = replace(own, downsample=replace(down, out=width))
    stages[stage] = own
    return replace(arch, stem=stem, stages=tuple(stages))


def estimated() -> list[str]:
    """What a stage's width is worth to the surrogate, in lines."""
    surrogate, base = load_estimator("surrogate"), load_arch("poolformer_s12")
    found = []
    for factor in (0.5, 0.75, 1.25, 1.5):
        others = [resized(base, stage, factor) for stage in range(len(base.stages))]
        first, *rest = surrogate.estimate([base, *others]).mean.tolist()
        steps = " ".join(f"{value - first:+.2f}" for value in rest)
        found.append(f"  poolformer_s12, one stage {factor:g} times as wide, first to last: {steps} points")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", type=Path, nargs="+", metavar="CSV")
    for path in parser.parse_args().tables:
        widths, top1 = table(path)
        y = -np.log(100.0 - top1)
        print(f"{path.name}: {len(y)} networks, top-1 {top1.min():.1f} to {top1.max():.1f}")
        levels = np.unique(widths)
        means = np.array([[top1[column == level].mean() for level in levels] for column in widths.T])
        for layer, steps in enumerate(np.diff(means, axis=1), start=1):
            shown = " ".join(f"{step:+.2f}" for step in steps)
            print(f"  layer {layer}: {shown} points a quarter more")
        left = {name: fitted(shape(widths), y)[1] for name, shape in SHAPES.items()}
        print("  variance left: " + ", ".join(f"{name} {share:.3f}" for name, share in left.items()))
        print("  slopes of the log: " + " ".join(f"{c:+.3f}" for c in fitted(np.log(widths), y)[0]))
    print("surrogate:", *estimated(), sep="\n")


if __name__ == "__main__":
    main()
