"""Xcode's Core ML performance report: a bundle NAME.mlperf that holds report.json, times in seconds.

Read from a report of an iPhone 16 Pro (`jsonVersion` 1, `deviceResultVersion` 4): `deviceResults.predict
.samples` holds every prediction of every round, the first of a round being a slow one, and what Xcode
shows as the median prediction time is the median of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvnas._files import read_json
from hvnas._json import parse_json
from hvnas._validation import shown
from hvnas.latency.importing.coreml import BY_NUMBER
from hvnas.latency.importing.reading import (
    Fact,
    Reading,
    from_samples,
    image_facts,
    positive_samples,
)

VERSION = 1
REPORT = "report.json"
SUFFIX = ".mlperf"


def read(path: Path) -> Sequence[Reading]:
    """The median prediction. Raises ValueError naming the file and the field that is not as it should be."""
    path = path / REPORT if path.is_dir() else path
    data = read_json(path)
    if not isinstance(data, dict) or "deviceResults" not in data:
        raise ValueError(f"{path}: deviceResults: missing; this is not a performance report, check --format")
    version = data.get("jsonVersion")
    if version is True or version != VERSION:
        raise ValueError(f"{path}: jsonVersion: must be {VERSION}, the one known, got {shown(version)}")
    where = f"{path}: deviceResults.predict.samples"
    seconds = positive_samples(_dig(data, "deviceResults", "predict", "samples"), where)
    model = _dig(data, "modelMetadata", "fileName")
    bundle = path.parent.name if path.name == REPORT else path.name
    names = [model, bundle.removesuffix(SUFFIX)]
    return [
        Reading(
            **from_samples([1000 * sample for sample in seconds]),
            protocol="Xcode performance report: median prediction",
            names=tuple(name for name in names if isinstance(name, str) and name),
            stated=_facts(data),
        )
    ]


def _dig(data: Any, *names: str) -> Any:
    for name in names:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _facts(data: Mapping[str, Any]) -> dict[str, Fact]:
    facts: dict[str, Fact] = {"runtime": "coreml"}
    device = _dig(data, "deviceInfo", "modelName")
    system = _dig(data, "deviceInfo", "osNameAndVersionWithoutBuildNumber")
    if isinstance(device, str) and device:
        facts["device"] = device
    if isinstance(system, str) and system:
        # Core ML is a part of the system and has no version of its own.
        facts |= {"os": system, "runtime_version": system}
    unit = data.get("computeUnit")
    if type(unit) is int and unit in BY_NUMBER:
        facts["compute_unit"] = BY_NUMBER[unit]
    return facts | _model_facts(_dig(data, "modelMetadata", "rawMetadata"))


def _model_facts(raw: Any) -> dict[str, Fact]:
    """Precision, batch and resolution from the compiled model's metadata, which is JSON in a string."""
    model = _embedded(raw)
    if isinstance(model, list) and model:
        model = model[0]
    if not isinstance(model, Mapping):
        return {}
    precision = str(model.get("computePrecision", ""))
    facts: dict[str, Fact] = {}
    for name in ("Float16", "Float32"):
        if name in precision:
            facts["precision"] = name.casefold()
            break
    inputs = model.get("inputSchema")
    if isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], dict):
        facts |= image_facts(_shape(inputs[0]))
    return facts


def _shape(schema: Mapping[str, Any]) -> list[Any]:
    """The input's shape; empty where it cannot be read."""
    if schema.get("type") == "Image":
        return [1, 3, *(_embedded(schema.get(name)) for name in ("height", "width"))]
    shape = _embedded(schema.get("shape"))
    return shape if isinstance(shape, list) else []


def _embedded(raw: Any) -> Any:
    """The value of JSON in a string, None where it is none."""
    try:
        return parse_json(raw) if isinstance(raw, str) else raw
    except ValueError:
        return None
