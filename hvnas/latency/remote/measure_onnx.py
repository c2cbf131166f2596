"""Times ONNX models with ONNX Runtime on this machine's CPU, whole runs, one row a model.

    python measure_onnx.py models/*.onnx --suite suite.csv --device "my board" --out measurements.csv

Needs onnxruntime (`pip install onnxruntime`) and nothing else: this file stands alone. Every round runs
each model for a while, so that a slow spell of the machine does not fall on one model; a row is the median
over all rounds, its spread 1.4826 times the median absolute deviation. A model that is in the output
already is passed over, so that the script may be stopped and run again.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

COLUMNS = (
    "kind key resolution ms spread n statistic device os runtime runtime_version compute_unit precision "
    "threads batch protocol source"
).split()
SUITE = ("file", "kind", "key", "resolution")
PROTOCOL = "median of whole runs in {rounds} interleaved rounds of {seconds:g} s after warm-up"


def open_session(path: Path, threads: int) -> tuple[Any, dict[str, Any]]:
    """A session on the CPU, and random inputs for it."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {x.name: rng.standard_normal(x.shape, dtype=np.float32) for x in session.get_inputs()}
    return session, feeds


def run_for(session: Any, feeds: dict[str, Any], seconds: float) -> list[float]:
    """Milliseconds of each run in about `seconds`, three at least."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, feeds)
        samples.append(1e3 * (time.perf_counter() - start))
    return samples


def measure(paths: list[Path], options: argparse.Namespace) -> dict[Path, list[float]]:
    """Samples in milliseconds of each model."""
    samples: dict[Path, list[float]] = {path: [] for path in paths}
    for turn in range(options.rounds):
        for i, path in enumerate(paths):
            session, feeds = open_session(path, options.threads)
            run_for(session, feeds, options.seconds / 4)
            samples[path] += run_for(session, feeds, options.seconds)
            print(f"round {turn + 1}, {i + 1} of {len(paths)}: {path.stem} {median(samples[path]):.3f} ms")
    return samples


def row(entry: dict[str, str], samples: list[float], options: argparse.Namespace) -> dict[str, Any]:
    """One line of the output."""
    import onnxruntime

    middle = median(samples)
    facts = (
        entry["kind"],
        entry["key"],
        entry["resolution"],
        f"{middle:.6g}",
        f"{1.4826 * median(abs(sample - middle) for sample in samples):.3g}",
        len(samples),
        "median",
        options.device,
        options.os,
        "onnxruntime",
        onnxruntime.__version__,
        "cpu",
        "float32",
        options.threads,
        1,
        PROTOCOL.format(rounds=options.rounds, seconds=options.seconds),
        f"{entry['file']}.onnx",
    )
    return dict(zip(COLUMNS, facts, strict=True))


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of a CSV that is there, else none; each has `columns`."""
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SystemExit(f"{path}: cannot be read: {error}; give the CSV that was exported") from None
    for row in rows:
        if None in row or None in row.values() or not row.keys() >= set(columns):
            raise SystemExit(f"{path}: each row must have {', '.join(columns)}; is the file complete?")
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the output; it is there whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and measure, a few models at a time."""
    parser = argparse.ArgumentParser(description="Times ONNX models with ONNX Runtime on the CPU.")
    parser.add_argument("models", nargs="+", type=Path, help=".onnx files")
    parser.add_argument("--suite", type=Path, required=True, help="the suite.csv beside them")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write, beside suite.csv")
    parser.add_argument("--device", required=True, help="what is measured: 'Raspberry Pi 5'")
    parser.add_argument("--os", default=f"{platform.system()} {platform.release()}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each model in each round")
    options = parser.parse_args(arguments)
    if options.out.resolve().parent != options.suite.resolve().parent:
        raise SystemExit(
            f"{options.out}: the output names networks relative to {options.suite}; put it there"
        )
    entries = {entry["file"]: entry for entry in read_rows(options.suite, SUITE)}
    strangers = [path for path in options.models if path.stem not in entries]
    if strangers:
        raise SystemExit(f"{strangers[0]}: is not in {options.suite}; give the models of that suite")
    rows = read_rows(options.out, COLUMNS)
    done = {known["key"] for known in rows}
    missing = [path for path in options.models if entries[path.stem]["key"] not in done]
    for at in range(0, len(missing), 20):
        for path, samples in measure(missing[at : at + 20], options).items():
            rows.append(row(entries[path.stem], samples, options))
        write_rows(options.out, rows)
    print(f"{options.out}: {len(rows)} rows")


if __name__ == "__main__":
    main()
