"""What a block more is worth by stage: its shape from NAS-Bench-Macro, its size from ImageNet.

    python scripts/depth_shape.py --nas-bench-macro nas-bench-macro_cifar10.json

Reads the table of NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922, repository xiusu/NAS-Bench-Macro), every
network of which was trained three times on CIFAR-10, and fits

    -ln(100 - top-1) = a + c ln(v_1 n_1 + v_2 n_2 + v_3 n_3)

to the networks whose layers are 3x3 blocks or identities, with a block or more in each stage. The logarithm
of a sum says both that depth saturates and that stages stand in for each other. Of this only the weights v
are used, in relative error: how large an effect is on ImageNet, c, is the mean over published networks that
scale all stages together (see SCALED). `--out` writes the deltas of hvnas/accuracy/data/theory.csv.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from hvnas._files import write_atomic
from hvnas.accuracy.surrogate.ablations import arch_of
from hvnas.accuracy.surrogate.evidence import DATA, load_evidence

Array = NDArray[np.float64]

# Networks of one width and one training, and by how much the second is deeper. Families whose layouts the
# estimate is tested on, EfficientFormer, CoAtNet and PoolFormer, are not among them.
SCALED = (
    ("poolformerv2_s12.sail_in1k", "poolformerv2_s24.sail_in1k", 2.0),
    ("poolformerv2_s24.sail_in1k", "poolformerv2_s36.sail_in1k", 1.5),
    ("poolformerv2_m36.sail_in1k", "poolformerv2_m48.sail_in1k", 4 / 3),
    ("xcit_tiny_12_p16_224.fb_in1k", "xcit_tiny_24_p16_224.fb_in1k", 2.0),
    ("xcit_small_12_p16_224.fb_in1k", "xcit_small_24_p16_224.fb_in1k", 2.0),
    ("xcit_tiny_12_p8_224.fb_in1k", "xcit_tiny_24_p8_224.fb_in1k", 2.0),
    ("resmlp_12_224.fb_in1k", "resmlp_24_224.fb_in1k", 2.0),
    ("cait_xxs24_224.fb_dist_in1k", "cait_xxs36_224.fb_dist_in1k", 1.5),
    ("resnet50", "resnet101", 33 / 16),
    ("resnet101", "resnet152", 50 / 33),
)


def weights(path: Path) -> tuple[Array, float]:
    """Weights of the three stages, the first 1, and the root mean square error in -ln(100 - top-1)."""
    table = json.loads(path.read_text(encoding="utf-8"))
    plain = {code: row["mean_acc"] for code, row in table.items() if set(code) <= {"0", "1"}}
    stages = slice(0, 2), slice(2, 5), slice(5, 8)
    depths = np.array([[code[stage].count("1") for stage in stages] for code in plain], dtype=np.float64)
    y = -np.log(100.0 - np.array(list(plain.values())))
    deep = depths.min(axis=1) >= 1
    x, y = depths[deep], y[deep]

    def residuals(p: Array) -> Array:
        found: Array = p[0] + p[1] * np.log(x @ np.array([1.0, p[2], p[3]])) - y
        return found

    fitted = least_squares(residuals, [0.0, 0.5, 1.0, 1.0])
    return np.array([1.0, *fitted.x[2:]]), float(np.sqrt(np.mean(fitted.fun**2)))


def strength() -> tuple[float, float]:
    """c on ImageNet: the mean over `SCALED`, weighted by depth gained, and the spread among them."""
    evidence = load_evidence(ablations=False)
    known: dict[str, float] = {}
    for model, top1 in zip(evidence.models, evidence.top1, strict=True):
        known.setdefault(model, float(top1))
    gained = np.array([np.log((100 - known[a]) / (100 - known[b])) for a, b, _ in SCALED])
    deeper = np.log([ratio for _, _, ratio in SCALED])
    return float(gained @ deeper / (deeper @ deeper)), float(np.std(gained / deeper))


def worth(network: str, base: str, top1: float, by_stage: Array, c: float) -> float:
    """Points that `network` gains over `base`, which has `top1`."""
    depths = [
        np.array([sum(run.depth for _, run in s.runs) for s in arch_of(n).stages]) for n in (base, network)
    ]
    # Stages of other counts stand where they stand between the first and the last.
    at = np.linspace(0.0, 1.0, len(depths[0]))
    v = np.interp(at, np.linspace(0.0, 1.0, len(by_stage)), by_stage)
    before, after = (float(v @ n) for n in depths)
    return float((100.0 - top1) * (1.0 - (before / after) ** c))


def table(by_stage: Array, c: float) -> str:
    """theory.csv with the deltas of the shape."""
    with (DATA / "theory.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows, fields = list(reader), list(reader.fieldnames or ())
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        delta = worth(row["variant"], row["base"], float(row["base_top1"]), by_stage, c)
        writer.writerow({**row, "delta": f"{delta:.2f}"})
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nas-bench-macro", type=Path, required=True, metavar="JSON")
    parser.add_argument("--out", type=Path, help="where to write; hvnas/accuracy/data/theory.csv to ship it")
    options = parser.parse_args()
    by_stage, error = weights(options.nas_bench_macro)
    c, spread = strength()
    print(f"weights by stage {by_stage.round(3).tolist()}, error {error:.3f} in -ln(100 - top-1)")
    print(f"c on ImageNet {c:.3f}, spread {spread:.3f} over {len(SCALED)} pairs")
    if options.out:
        write_atomic(options.out, table(by_stage, c))


if __name__ == "__main__":
    main()
