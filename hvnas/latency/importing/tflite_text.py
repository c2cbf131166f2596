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

from hvnas._clean import shortened
from hvnas._csv import shown_number
from hvnas.latency.importing.reading import (
    LONGEST,
    Fact,
    Reading,
    pairs,
    read_lines,
    rounded,
)
from hvnas.latency.measurements import Statistic

_TIMINGS = re.compile(r"Inference timings in us: ")
_AVERAGE = "Inference (avg): "
_NUMBER = re.compile(r"[-+.\w]+")
_STAT = re.compile(r"\bcount=\d++ (?:first|curr)=.*")
_GRAPH = re.compile(r"\bGraph: \[")
_LOADED = re.compile(r"\bLoaded model (?=\S)")
_THREADS = re.compile(r"(?:\bNum threads|#threads used for CPU inference): \[(-?\d{1,9})\]")
_DELEGATE = re.compile(
    r"\bUse (\w{1,40}+): \[(?:1|true)\]|\bExplicitly applied (\w{1,40}+) delegate", re.IGNORECASE
)
_FAILED = re.compile(r"Failed to apply (\w{1,40}+) delegate")


def read(path: Path) -> Sequence[Reading]:
    """The median of the timed runs where the tool prints it, else their mean.

    Raises ValueError naming the file: no timings in it, those of several runs, or a delegate that failed.
    """
    lines = read_lines(path)
    average = _average(lines, path)
    if failed := next(filter(None, map(_FAILED.search, lines)), None):
        raise ValueError(f"{path}: the {failed[1]} delegate was not applied; this is not a time of it")
    stat = _timed_runs(lines, average)
    statistic: Statistic = "median" if "median" in stat else "mean"
    return [
        Reading(
            ms=rounded(stat.get("median", average) / 1000),
            statistic=statistic,
            spread=rounded(stat["std"] / 1000) if "std" in stat else None,
            n=int(stat["count"]) if "count" in stat else None,
            protocol=f"benchmark_model: {statistic} of the timed runs after warm-up",
            names=_names(lines, path),
            stated=_facts(lines, path),
        )
    ]


def _average(lines: Sequence[str], path: Path) -> float:
    """The mean of the timed runs in microseconds."""
    rests = [rest.rpartition(_AVERAGE) for line in lines if (rest := _after(_TIMINGS, line)) is not None]
    timings = [found[0] for _, name, rest in rests if name and (found := _NUMBER.match(rest))]
    if not timings:
        raise ValueError(f"{path}: no line 'Inference timings in us'; did the benchmark end?")
    if len(timings) > 1:
        raise ValueError(f"{path}: {len(timings)} runs of the benchmark; save each in a file of its own")
    average = _float(timings[0])
    if not 0 < average <= LONGEST:
        got = shown_number(timings[0])
        raise ValueError(f"{path}: Inference (avg): must be > 0, got {got}; nothing was measured")
    return average


def _after(pattern: re.Pattern[str], line: str) -> str | None:
    """What follows the first match of `pattern`, None where there is none."""
    found = pattern.search(line)
    return None if found is None else line[found.end() :]


def _timed_runs(lines: Sequence[str], average: float) -> dict[str, float]:
    """The tool's statistic of the timed runs, in microseconds: of those printed, the one with their mean."""
    for printed in filter(None, map(_STAT.search, reversed(lines))):
        told = {name: _float(shown) for name, shown in pairs(printed[0]).items()}
        stat = {name: value for name, value in told.items() if 0 <= value <= LONGEST}
        # Where all runs are the same, the last one stands for the mean; printed are six digits.
        if abs(stat.get("avg", stat.get("curr", 0.0)) - average) <= 1e-5 * average:
            return stat if stat.get("median", 1.0) > 0 else {}
    return {}


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _names(lines: Sequence[str], path: Path) -> tuple[str, ...]:
    graphs: dict[str, None] = {}
    for line in lines:
        graph, loaded = _after(_GRAPH, line), _after(_LOADED, line)
        if graph is not None and "]" in graph:
            graphs[Path(graph.rpartition("]")[0].strip()).stem] = None
        elif loaded is not None:
            graphs[Path(loaded.strip()).stem] = None
    return (*graphs, path.stem)


def _facts(lines: Sequence[str], path: Path) -> dict[str, Fact]:
    facts: dict[str, Fact] = {"runtime": "tflite"}
    threads = {int(found) for line in lines for found in _THREADS.findall(line)} - {-1}
    if len(threads) > 1:
        several = shortened(" and ".join(map(str, sorted(threads))), 60)
        raise ValueError(f"{path}: says {several} threads; save one run of the benchmark a file")
    if threads:
        facts["threads"] = threads.pop()
    delegates = {(a or b).casefold() for line in lines for a, b in _DELEGATE.findall(line)}
    # XNNPACK is how the CPU is used.
    facts["compute_unit"] = "+".join(sorted(delegates - {"xnnpack"})) or "cpu"
    return facts
