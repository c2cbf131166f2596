"""The CSV of TFLite's op profile: `benchmark_model --enable_op_profiling=true`, written to a file.

Layout: `StatsCalculator` in tensorflow/core/util/stats_calculator.cc and, later,
xla/tsl/util/stats_calculator.cc; the titles of the parts: tensorflow/lite/tools/benchmark/
profiling_listener.cc. Times of ops are milliseconds, averaged over calls; the line `Timings` sums up
runs in microseconds. Cells are not quoted, and types such as `Convolution (NHWC, F32) GEMM` have commas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas._csv import number
from hvnas._validation import shown
from hvnas.latency.importing.reading import (
    LONGEST,
    OpTime,
    Reading,
    pairs,
    read_lines,
    rounded,
)

_PART = "Operator-wise Profiling Info for Regular Benchmark Runs"
_HEADER = re.compile(r"node type, ((?:start, )?first, avg_ms, %, cdf%, mem KB, times called), name")
_TIMINGS = "Timings (microseconds): count="
_NUMBER = re.compile(r"[-+.\w]+%?")
_MOST_CALLS = 10**9
# Ops inside a delegate; older versions list them beside the node of the delegate, which holds their time.
_INSIDE = "Delegate/"
# Averages are printed with six digits, but runs are summed in whole microseconds.
AGREEMENT = 0.05


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    kind: str
    ms: float


def read(path: Path) -> Sequence[Reading]:
    """The mean run: what the ops of a run take together, as the tool sums them up.

    Raises ValueError naming the file: another file, one without the operators of the timed runs, one that
    was cut off, and one whose operators do not add up to its runs.
    """
    lines = _regular_runs(path)
    stat = _timings(lines, path)
    _check_sum(_nodes(lines, path), stat["avg"] / 1000, path)
    return [
        Reading(
            ms=rounded(stat["avg"] / 1000),
            statistic="mean",
            spread=rounded(stat["std"] / 1000) if "std" in stat else None,
            n=int(stat["count"]),
            protocol="benchmark_model: mean sum of the op times of a run, op profiling on",
            names=(path.stem,),
            stated={"runtime": "tflite"},
        )
    ]


def ops_of(path: str | Path) -> tuple[OpTime, ...]:
    """The ops of the profiled model in the order they ran: the mean time per run of each."""
    path = Path(path)
    nodes = _nodes(_regular_runs(path), path)
    return tuple(OpTime(name=node.name, kind=node.kind, us=rounded(1000 * node.ms)) for node in nodes)


def _regular_runs(path: Path) -> list[str]:
    """The part on the timed runs: what follows its title, without the model's initialisation."""
    lines = read_lines(path)
    for at, line in enumerate(lines, start=1):
        if _PART in line:
            return lines[at:]
    raise ValueError(f"{path}: no part '{_PART}'; run benchmark_model with --enable_op_profiling=true")


def _timings(lines: Sequence[str], path: Path) -> dict[str, float]:
    """The statistic of the runs' total in microseconds: count, avg, std."""
    line = next((line for line in lines if line.startswith(_TIMINGS)), None)
    if line is None:
        raise ValueError(f"{path}: no line 'Timings (microseconds)' after the operators; is the file whole?")
    stat: dict[str, float] = {}
    told = pairs(line)
    for name in told.keys() & {"count", "curr", "avg", "std"}:
        try:
            stat[name] = number(told[name], least=0, most=LONGEST)
        except ValueError as error:
            raise ValueError(f"{path}: Timings: {name}: {error}") from None
    # Where all runs are the same, only the last one is printed.
    stat.setdefault("avg", stat.get("curr", 0.0))
    if not (stat["avg"] > 0 and stat.get("count", 0) >= 1):
        raise ValueError(f"{path}: Timings: no run took any time; nothing was measured")
    return stat


def _nodes(lines: Sequence[str], path: Path) -> list[_Node]:
    """The table in order of execution."""
    headers = list(map(_HEADER.fullmatch, lines))
    start, header = next(((at, found) for at, found in enumerate(headers, start=1) if found), (0, None))
    if header is None:
        raise ValueError(f"{path}: no table of operators with avg_ms as CSV; is this the profile's CSV file?")
    columns = header[1].split(", ")
    nodes: list[_Node] = []
    for line in lines[start:]:
        if line.strip():
            nodes.append(_node(line, columns, path))
        elif nodes:
            break
    return nodes


def _node(line: str, columns: Sequence[str], path: Path) -> _Node:
    """A row: the kind, which may hold commas itself, a number for each of `columns`, and the name."""
    parts = line.split(", ")
    is_number = [_NUMBER.fullmatch(part) is not None for part in parts]
    for at in range(1, len(parts) - len(columns)):
        end = at + len(columns)
        if all(is_number[at:end]):
            numbers = dict(zip(columns, parts[at:end], strict=True))
            return _Node(", ".join(parts[end:]), ", ".join(parts[:at]), _ms_per_run(numbers, line, path))
    raise ValueError(f"{path}: not a row of operators: {shown(line.strip())}; is the file whole?")


def _ms_per_run(numbers: dict[str, str], line: str, path: Path) -> float:
    try:
        average, calls = float(numbers["avg_ms"]), float(numbers["times called"])
    except ValueError:
        average, calls = float("nan"), 0.0
    if not (0 <= average <= LONGEST and 0 <= calls <= _MOST_CALLS and calls.is_integer()):
        raise ValueError(f"{path}: avg_ms and times called must be numbers >= 0 in {shown(line.strip())}")
    return average * calls


def _check_sum(nodes: Sequence[_Node], ms: float, path: Path) -> None:
    everything = sum(node.ms for node in nodes)
    outside = sum(node.ms for node in nodes if not node.name.startswith(_INSIDE))
    if min(abs(everything - ms), abs(outside - ms)) > AGREEMENT * ms + 0.001 * len(nodes):
        raise ValueError(
            f"{path}: the operators add up to {everything:.3f} ms, but a run took {ms:.3f} ms; "
            "is the file whole?"
        )
