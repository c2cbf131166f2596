"""Trace the networks of timm's published benchmarks and write the columns that devices are calibrated on.

    python scripts/trace_timm.py --cache ops.jsonl           # needs the extra 'peers'; ten minutes
    python scripts/trace_timm.py --cache ops.jsonl --check   # writes nothing; exit 1 where it would

Reads latency_tables/sources/timm_*.csv and writes latency_tables/sources/timm_columns.csv: a row for each
network and resolution, with the columns of its fused ops and its family, which is timm's module. Networks
are traced as they were timed: training-time branches are not merged. The cache holds the fused ops of every
network traced so far, so that a run can be cut and continued, and new columns need no new tracing.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _timm import import_timm

from hvnas._files import write_atomic
from hvnas.latency.columns import clean, column
from hvnas.ops import Op, Program, evaluate_columns
from hvnas.ops.trace import trace

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "latency_tables" / "sources"
TABLE = SOURCES / "timm_columns.csv"

BASELINES = ("macs", "act_bytes", "params")
GATES = ("windows", "input_size", "score_convs")
COLUMNS = (
    *BASELINES,
    *GATES,
    *("ops", "products", "convs", "matrices"),
    *("pointwise_macs", "spatial_macs", "depthwise_macs", "linear_macs", "group_conv_macs"),
    *("transcendental", "pool_taps"),
    *("weight_bytes", "kernel_weight_bytes", "small_map_weight_bytes", "few_rows_weight_bytes"),
    *("weight_bytes_beyond_4mb", "weight_bytes_beyond_12mb", "bytes_beyond_1mb", "bytes_beyond_4mb"),
    *("conv_bytes", "large_map_conv_bytes", "linear_bytes", "matmul_bytes", "unfolded_bytes"),
    *("elementwise_bytes", "norm_bytes", "layernorm_bytes", "scale_bytes", "bias_bytes"),
    *("pool_bytes", "concat_bytes", "resize_bytes", "reduce_bytes", "relayout_bytes", "window_bytes"),
)

# What the tracer sees too little of, by the prefix of the name: not written, whatever it traces to.
UNTRACEABLE = {"sequencer2d": "recurrent cells, whose products torch hides from the tracer"}


def main() -> int:
    """Trace what the cache lacks, write the table, list what was left out. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cache", type=Path, required=True, help="a JSON-lines file of traced ops; made if absent"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where the table would change"
    )
    args = parser.parse_args()
    fill(args.cache)
    text, left_out = table(cached(args.cache))
    for reason in left_out:
        print(f"left out  {reason}")
    print(f"{text.count(chr(10)) - 1} networks traced, {len(left_out)} left out")
    changed = not TABLE.is_file() or TABLE.read_text(encoding="utf-8") != text
    if changed and not args.check:
        write_atomic(TABLE, text)
    return int(args.check and changed)


def published() -> list[tuple[str, int]]:
    """Every network and resolution of the benchmarks, once; weights' tags make no network of its own."""
    found = set()
    for path in sorted(SOURCES.glob("timm_*.csv")):
        if path != TABLE:
            with path.open(encoding="utf-8", newline="") as file:
                found |= {network_of(row) for row in csv.DictReader(file)}
    return sorted(found)


def network_of(row: dict[str, str]) -> tuple[str, int]:
    """Name and resolution of a benchmark's row."""
    return row["model"].split(".")[0], int(row["infer_img_size"])


def fill(cache: Path) -> None:
    """Append the networks that the cache lacks, one line each."""
    known = {(entry["model"], entry["res"]) for entry in cached(cache)}
    missing = [key for key in published() if key not in known]
    with cache.open("a", encoding="utf-8") as file:
        for done, (name, resolution) in enumerate(missing):
            file.write(json.dumps(traced(name, resolution)) + "\n")
            file.flush()
            if done % 50 == 0:
                print(f"{done} of {len(missing)}: {name} at {resolution}", flush=True)


def traced(name: str, resolution: int) -> dict[str, Any]:
    """The cache's entry of a network: its fused ops with their counts, or why there are none."""
    entry: dict[str, Any] = {"model": name, "res": resolution}
    try:
        program = trace(build(name, resolution), resolution=resolution)
    except (ValueError, RuntimeError, NotImplementedError, AssertionError, TypeError) as error:
        return entry | {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:110]}"}
    import timm

    module = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    ops = [[*key, count] for key, count in program.fused().signature.items()]
    return entry | {"module": module, "fused": ops}


def build(name: str, resolution: int) -> Any:
    """timm's network for a resolution, on the meta device where it can be built there."""
    import torch

    try:
        with torch.device("meta"):
            return _create(name, resolution)
    except (NotImplementedError, RuntimeError):
        return _create(name, resolution)


def _create(name: str, resolution: int) -> Any:
    timm = import_timm()
    try:
        return timm.create_model(name, pretrained=False, img_size=resolution).eval()
    except TypeError:  # convolutional networks take no image size
        return timm.create_model(name, pretrained=False).eval()


def cached(cache: Path) -> Iterator[dict[str, Any]]:
    """The cache's entries, those of published networks only, in order of name and resolution."""
    if not cache.is_file():
        return
    wanted = set(published())
    lines = cache.read_text(encoding="utf-8").splitlines()
    entries = {(e["model"], e["res"]): e for e in map(json.loads, lines)}
    yield from (entries[key] for key in sorted(entries) if key in wanted)


def program_of(entry: dict[str, Any]) -> Program:
    """The cached network as a Program without edges; it is fused already."""
    ops = []
    for kind, read, written, kernel, stride, groups, bias, variant, weights, act, count in entry["fused"]:
        shapes = tuple(read), tuple(written)
        fields = {"groups": groups, "bias": bias, "variant": variant, "weights": weights, "act": act}
        ops += [Op(kind, *shapes, (), tuple(kernel), tuple(stride), **fields)] * count
    return Program(tuple(ops), ("",) * len(ops), entry["res"])


def table(entries: Iterator[dict[str, Any]]) -> tuple[str, list[str]]:
    """The CSV's text, and a line for each network left out."""
    columns = [column(name) for name in COLUMNS]
    left_out = []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["network", "resolution", "family", *COLUMNS])
    for entry in entries:
        if reason := why_not(entry):
            left_out.append(f"{entry['model']} at {entry['res']}: {reason}")
            continue
        values = clean(evaluate_columns(columns, program_of(entry)))
        writer.writerow([entry["model"], entry["res"], entry["module"], *(f"{v:.0f}" for v in values)])
    return out.getvalue(), left_out


def why_not(entry: dict[str, Any]) -> str:
    """Why a network's trace is not used, or nothing."""
    for prefix, reason in UNTRACEABLE.items():
        if entry["model"].startswith(prefix):
            return reason
    if any(op[0] == "conv" and len(op[2]) != 3 for op in entry.get("fused", ())):
        return "convolutions over other than two axes"
    return str(entry.get("error", ""))


if __name__ == "__main__":
    sys.exit(main())
