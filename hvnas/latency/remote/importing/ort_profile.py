"""ONNX Runtime's profile: a JSON list of trace events, times in microseconds.

Read from a profile that onnxruntime 1.32 wrote (`SessionOptions.enable_profiling`): an event `model_run`
of category `Session` per run, around the events of category `Node`, one per executed op. Profiling
itself takes time at every op, so the times are those of a profiled run.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from hvnas._files import read_json
from hvnas._names import shown
from hvnas._numbers import shortened
from hvnas.latency.remote.importing.reading import Fact, OpTime, Reading, from_samples, image_facts, is_time

# Profiles hold every op of every run.
MAX_BYTES = 256 * 2**20
MIN_RUNS = 5
_PROVIDERS = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
_PRECISIONS = {"float": "float32", "float16": "float16"}
_KERNEL = "_kernel_time"
# The session appends when it was made: prefix_2026-11-22_18-48-58_271.json.
_STAMP = re.compile(r"_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(?:_\d+)?$")

Event = dict[str, Any]


def read(path: Path) -> Sequence[Reading]:
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
            stated={"runtime": "onnxruntime"} | _facts(nodes),
        )
    ]


def ops_of(path: str | Path) -> tuple[OpTime, ...]:
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


def _facts(nodes: Sequence[Event]) -> dict[str, Fact]:
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
