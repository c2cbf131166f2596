"""Core ML's tools: what coremltools' MLModelBenchmarker and Xcode's performance reports say.

What coremltools' MLModelBenchmarker measured, as `measure_coreml.py` saves it, times in milliseconds.

coremltools 9 (`models.ml_program.experimental.perf_utils`) leaves a Python object: `Measurement` with
`samples` and `statistics`, both in milliseconds. The script beside this file, which runs on the Mac,
writes one JSON file a model from it.

Xcode's Core ML performance report: a bundle NAME.mlperf that holds report.json, times in seconds.

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
from hvnas._names import shown
from hvnas.latency.remote.importing.measure_coreml import SCHEMA
from hvnas.latency.remote.importing.reading import Fact, Reading, from_samples, image_facts, positive_samples

# MLComputeUnits in CoreML.framework/Headers/MLModelConfiguration.h, and coremltools.ComputeUnit.
BY_NUMBER = {0: "cpu", 1: "cpu+gpu", 2: "all", 3: "cpu+ane"}
BY_NAME = {"CPU_ONLY": "cpu", "CPU_AND_GPU": "cpu+gpu", "ALL": "all", "CPU_AND_NE": "cpu+ane"}


_SCRIPT = "measure_coreml.py"
_TEXT = ("model", "device", "os", "compute_units")


def read_coremltools(path: Path) -> Sequence[Reading]:
    """The median prediction. Raises ValueError naming the file and the field that is not as it should be."""
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema: must be {SCHEMA}; write the file with {_SCRIPT}")
    if data.get("unit") != "ms":
        raise ValueError(
            f"{path}: unit: must be ms, got {shown(data.get('unit'))}; write the file with {_SCRIPT}"
        )
    for name in _TEXT:
        if not isinstance(data.get(name), str) or not data[name].strip():
            raise ValueError(f"{path}: {name}: must be a text, got {shown(data.get(name))}")
    if data["compute_units"] not in BY_NAME:
        allowed = ", ".join(BY_NAME)
        raise ValueError(
            f"{path}: compute_units: must be one of {allowed}, got {shown(data['compute_units'])}"
        )
    samples = positive_samples(data.get("samples"), f"{path}: samples")
    return [
        Reading(
            **from_samples(samples),
            protocol="coremltools MLModelBenchmarker: median prediction after one warm-up",
            names=(data["model"], path.stem),
            stated=_coremltools_facts(data),
        )
    ]


def _coremltools_facts(data: Mapping[str, Any]) -> dict[str, Fact]:
    # Core ML is a part of the system and has no version of its own.
    facts: dict[str, Fact] = {
        "runtime": "coreml",
        "runtime_version": data["os"],
        "device": data["device"],
        "os": data["os"],
        "compute_unit": BY_NAME[data["compute_units"]],
    }
    shape = data.get("input_shape")
    return facts | (image_facts(shape) if isinstance(shape, list) else {})


VERSION = 1
REPORT = "report.json"
SUFFIX = ".mlperf"


def read_xcode(path: Path) -> Sequence[Reading]:
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
            stated=_xcode_facts(data),
        )
    ]


def _dig(data: Any, *names: str) -> Any:
    for name in names:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _xcode_facts(data: Mapping[str, Any]) -> dict[str, Fact]:
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
