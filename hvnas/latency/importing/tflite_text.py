"""What TFLite's `benchmark_model` prints, times in microseconds.

Layout: tensorflow/lite/tools/benchmark/benchmark_model.cc (the lines `Num threads`, `Running benchmark
for`, `Inference timings in us`) and the `Stat` that it prints, xla/tsl/util/stats_calculator.h: `count=50
first=33228 ... avg=33071.8 std=129`, of newer versions with `p5`, `median` and `p95`. Lines may begin
with a log's time stamps or `INFO:`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hvnas._files import read_text
from hvnas.latency.importing.reading import Fact, Reading, rounded
from hvnas.latency.measurements import Statistic

_NUMBER = r"([-+.\w]+)"
_TIMINGS = re.compile(rf"Inference timings in us: .*\bInference \(avg\): {_NUMBER}")
_STAT = re.compile(r"\bcount=\d+ (?:first|curr)=.*")
_PAIR = re.compile(rf"(\w+)={_NUMBER}")
_GRAPH = re.compile(r"\bGraph: \[(.*)\]|\bLoaded model (\S.*)")
_THREADS = re.compile(r"(?:\bNum threads|#threads used for CPU inference): \[(-?\d+)\]")
_DELEGATE = re.compile(r"\bUse (\w+): \[(?:1|true)\]|\bExplicitly applied (\w+) delegate", re.IGNORECASE)
_FAILED = re.compile(r"Failed to apply (\w+) delegate")


def read(path: Path) -> Sequence[Reading]:
    """The median of the timed runs where the tool prints it, else their mean.

    Raises ValueError naming the file: no timings in it, those of several runs, or a delegate that failed.
    """
    text = read_text(path)
    average = _average(text, path)
    if failed := _FAILED.search(text):
        raise ValueError(f"{path}: the {failed[1]} delegate was not applied; this is not a time of it")
    stat = _timed_runs(text, average)
    statistic: Statistic = "median" if "median" in stat else "mean"
    return [
        Reading(
            ms=rounded(stat.get("median", average) / 1000),
            statistic=statistic,
            spread=rounded(stat["std"] / 1000) if "std" in stat else None,
            n=int(stat["count"]) if "count" in stat else None,
            protocol=f"benchmark_model: {statistic} of the timed runs after warm-up",
            names=_names(text, path),
            stated=_facts(text, path),
        )
    ]


def _average(text: str, path: Path) -> float:
    """The mean of the timed runs in microseconds."""
    timings = _TIMINGS.findall(text)
    if not timings:
        raise ValueError(f"{path}: no line 'Inference timings in us'; did the benchmark end?")
    if len(timings) > 1:
        raise ValueError(f"{path}: {len(timings)} runs of the benchmark; save each in a file of its own")
    average = _float(timings[0])
    if not 0 < average < float("inf"):
        raise ValueError(f"{path}: Inference (avg): must be > 0, got {timings[0]}; nothing was measured")
    return average


def _timed_runs(text: str, average: float) -> dict[str, float]:
    """The tool's statistic of the timed runs, in microseconds: of those printed, the one with their mean."""
    for printed in reversed(_STAT.findall(text)):
        stat = {name: value for name, shown in _PAIR.findall(printed) if (value := _float(shown)) >= 0}
        # Where all runs are the same, the last one stands for the mean; printed are six digits.
        if abs(stat.get("avg", stat.get("curr", 0.0)) - average) <= 1e-5 * average:
            return stat if stat.get("median", 1.0) > 0 else {}
    return {}


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _names(text: str, path: Path) -> tuple[str, ...]:
    graphs = {Path((a or b).strip()).stem: None for a, b in _GRAPH.findall(text)}
    return (*graphs, path.stem)


def _facts(text: str, path: Path) -> dict[str, Fact]:
    facts: dict[str, Fact] = {"runtime": "tflite"}
    threads = {int(found) for found in _THREADS.findall(text)} - {-1}
    if len(threads) > 1:
        shown = " and ".join(map(str, sorted(threads)))
        raise ValueError(f"{path}: says {shown} threads; save one run of the benchmark a file")
    if threads:
        facts["threads"] = threads.pop()
    delegates = {(a or b).casefold() for a, b in _DELEGATE.findall(text)}
    # XNNPACK is how the CPU is used.
    facts["compute_unit"] = "+".join(sorted(delegates - {"xnnpack"})) or "cpu"
    return facts
