"""What runtimes write of their own runs: ONNX Runtime's profile, and TFLite's `benchmark_model`.

ONNX Runtime's profile: a JSON list of trace events, times in microseconds.

Read from a profile that onnxruntime 1.32 wrote (`SessionOptions.enable_profiling`): an event `model_run`
of category `Session` per run, around the events of category `Node`, one per executed op. Profiling
itself takes time at every op, so the times are those of a profiled run.

The CSV of TFLite's op profile: `benchmark_model --enable_op_profiling=true`, written to a file.

Layout: `StatsCalculator` in tensorflow/core/util/stats_calculator.cc and, later,
xla/tsl/util/stats_calculator.cc; the titles of the parts: tensorflow/lite/tools/benchmark/
profiling_listener.cc. Times of ops are milliseconds, averaged over calls; the line `Timings` sums up
runs in microseconds. Cells are not quoted, and types such as `Convolution (NHWC, F32) GEMM` have commas.

What TFLite's `benchmark_model` prints, times in microseconds.

Layout: tensorflow/lite/tools/benchmark/benchmark_model.cc (the lines `Num threads`, `Running benchmark
for`, `Inference timings in us`) and the `Stat` that it prints, xla/tsl/util/stats_calculator.h: `count=50
first=33228 ... avg=33071.8 std=129`, of newer versions with `p5`, `median` and `p95`. Lines may begin
with a log's time stamps or `INFO:`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hvnas._files import read_json
from hvnas._names import shown
from hvnas._numbers import number, shortened
from hvnas.latency.remote.importing.reading import (
    LONGEST,
    Fact,
    OpTime,
    Reading,
    from_samples,
    image_facts,
    is_time,
    pairs,
    read_lines,
    rounded,
)
from hvnas.latency.remote.measurements import Statistic

# Profiles hold every op of every run.
MAX_BYTES = 256 * 2**20
MIN_RUNS = 5
_PROVIDERS = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
_PRECISIONS = {"float": "float32", "float16": "float16"}
_KERNEL = "_kernel_time"
# The session appends when it was made: prefix_2026-11-22_18-48-58_271.json.
_STAMP = re.compile(r"_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(?:_\d+)?$")

Event = dict[str, Any]


def read_ort_profile(path: Path) -> Sequence[Reading]:
    """The median run after warm-up: the first tenth of the runs, and at least the first.

    Raises ValueError naming the file: other JSON, too few runs, or a profile that was cut off.
    """
    events = _events(path)
    runs = _measured_runs(events, path)
    nodes = [event for event in events if _is_kernel(event)]
    stem = _STAMP.sub("", path.stem)
    return [
        Reading(
            **from_samples([run["dur"] / 1000 for run in runs]),
            protocol="onnxruntime profile: median model_run after warm-up, profiling on",
            names=(stem,) if stem == path.stem else (stem, path.stem),
            stated={"runtime": "onnxruntime"} | _profile_facts(nodes),
        )
    ]


def ort_ops(path: str | Path) -> tuple[OpTime, ...]:
    """The ops of the profiled model in the order they ran, each with its median over the measured runs."""
    path = Path(path)
    events = _events(path)
    runs = sorted(_measured_runs(events, path), key=lambda run: run["ts"])
    starts = [run["ts"] for run in runs]
    per_run: dict[tuple[str, str], list[float]] = {}
    first: dict[tuple[str, str], Event] = {}
    for event in sorted(filter(_is_kernel, events), key=lambda event: event["ts"]):
        i = bisect_right(starts, event["ts"]) - 1
        if i < 0 or event["ts"] > runs[i]["ts"] + runs[i]["dur"]:
            continue
        key = (str(event["args"].get("node_index")), event["name"])
        first.setdefault(key, event)
        per_run.setdefault(key, [0.0] * len(runs))[i] += event["dur"]
    return tuple(
        OpTime(
            name=key[1].removesuffix(_KERNEL),
            kind=str(first[key]["args"].get("op_name", "")),
            us=median(times),
            shapes=_shapes(first[key]),
        )
        for key, times in per_run.items()
    )


def _events(path: Path) -> list[Event]:
    data = read_json(path, limit=MAX_BYTES)
    if not isinstance(data, list) or not all(isinstance(event, dict) for event in data):
        raise ValueError(f"{path}: not a profile of ONNX Runtime, which is a list of events; check --format")
    events = [event for event in data if event.get("ph") == "X"]
    for event in events:
        for name in ("ts", "dur"):
            value = event.get(name)
            if not is_time(value):
                of = shortened(event.get("name"), 60)
                raise ValueError(f"{path}: {of}: {name}: must be microseconds >= 0, got {shown(value)}")
    return events


def _measured_runs(events: Sequence[Event], path: Path) -> list[Event]:
    runs = [event for event in events if event.get("name") == "model_run" and event.get("cat") == "Session"]
    measured = runs[max(1, len(runs) // 10) :]
    if len(measured) < MIN_RUNS:
        raise ValueError(
            f"{path}: {len(runs)} model_run events; run the session {MIN_RUNS + 1} times or more while it "
            "profiles, 50 times for a steady median"
        )
    for run in measured:
        if run["dur"] <= 0:
            raise ValueError(f"{path}: model_run: dur: must be > 0, got {shortened(run['dur'])}")
    return measured


def _is_kernel(event: Event) -> bool:
    name = event.get("name")
    return (
        event.get("cat") == "Node"
        and isinstance(name, str)
        and name.endswith(_KERNEL)
        and isinstance(event.get("args"), dict)
    )


def _profile_facts(nodes: Sequence[Event]) -> dict[str, Fact]:
    """Compute unit, precision, batch and resolution, as far as the nodes leave no doubt."""
    facts: dict[str, Fact] = {}
    providers = {str(node["args"].get("provider")) for node in nodes}
    if providers:
        facts["compute_unit"] = "+".join(sorted(_PROVIDERS.get(name, name) for name in providers))
    # Indices are int64 in networks of any precision.
    types = {kind for node in nodes for kind, _ in _tensors(node)} - {"int64", "bool"}
    if len(types) == 1 and (only := types.pop()) in _PRECISIONS:
        facts["precision"] = _PRECISIONS[only]
    for node in nodes:
        if image := image_facts(next(iter(_shapes(node)), ())):
            facts |= image
            break
    return facts


def _tensors(node: Event) -> list[tuple[str, Any]]:
    listed = node["args"].get("input_type_shape")
    entries = listed if isinstance(listed, list) else []
    return [
        (str(kind), shape) for entry in entries if isinstance(entry, dict) for kind, shape in entry.items()
    ]


def _shapes(node: Event) -> tuple[tuple[int, ...], ...]:
    shapes = [shape for _, shape in _tensors(node) if isinstance(shape, list)]
    return tuple(tuple(size for size in shape if type(size) is int) for shape in shapes)


_PART = "Operator-wise Profiling Info for Regular Benchmark Runs"
_HEADER = re.compile(r"node type, ((?:start, )?first, avg_ms, %, cdf%, mem KB, times called), name")
_TIMINGS = "Timings (microseconds): count="
_NUMBER = re.compile(r"[-+.\w]+%?")
_MOST_CALLS = 10**9
# Ops inside a delegate; older versions list them beside the node of the delegate, which holds their time.
_INSIDE = "Delegate/"
# Averages are printed with six digits, but runs are summed in whole microseconds.
AGREEMENT = 0.05

_TEXT_TIMINGS = re.compile(r"Inference timings in us: ")
_AVERAGE = "Inference (avg): "
_TEXT_NUMBER = re.compile(r"[-+.\w]+")
_STAT = re.compile(r"\bcount=\d++ (?:first|curr)=.*")
_GRAPH = re.compile(r"\bGraph: \[")
_LOADED = re.compile(r"\bLoaded model (?=\S)")
_THREADS = re.compile(r"(?:\bNum threads|#threads used for CPU inference): \[(-?\d{1,9})\]")
_DELEGATE = re.compile(
    r"\bUse (\w{1,40}+): \[(?:1|true)\]|\bExplicitly applied (\w{1,40}+) delegate", re.IGNORECASE
)
_FAILED = re.compile(r"Failed to apply (\w{1,40}+) delegate")


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    kind: str
    ms: float


def read_tflite_csv(path: Path) -> Sequence[Reading]:
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


def tflite_ops(path: str | Path) -> tuple[OpTime, ...]:
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
        raise ValueError(
            f"{path}: no line 'Timings (microseconds)' after the operators; is the file complete?"
        )
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
    raise ValueError(f"{path}: not a row of operators: {shown(line.strip())}; is the file complete?")


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
            "is the file complete?"
        )


def read_tflite_text(path: Path) -> Sequence[Reading]:
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
    rests = [rest.rpartition(_AVERAGE) for line in lines if (rest := _after(_TEXT_TIMINGS, line)) is not None]
    timings = [found[0] for _, name, rest in rests if name and (found := _TEXT_NUMBER.match(rest))]
    if not timings:
        raise ValueError(f"{path}: no line 'Inference timings in us'; did the benchmark end?")
    if len(timings) > 1:
        raise ValueError(f"{path}: {len(timings)} runs of the benchmark; save each in a file of its own")
    average = _float(timings[0])
    if not 0 < average <= LONGEST:
        got = shortened(timings[0], 40)
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
