"""What coremltools' MLModelBenchmarker measured, as `measure_coreml.py` saves it, times in milliseconds.

coremltools 9 (`models.ml_program.experimental.perf_utils`) leaves a Python object: `Measurement` with
`samples` and `statistics`, both in milliseconds. The script beside this file, which runs on the Mac,
writes one JSON file a model from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvnas._files import read_json
from hvnas._validation import shown
from hvnas.latency.importing.coreml import BY_NAME
from hvnas.latency.importing.measure_coreml import SCHEMA
from hvnas.latency.importing.reading import (
    Fact,
    Reading,
    from_samples,
    image_facts,
    positive_samples,
)

_SCRIPT = "measure_coreml.py"
_TEXT = ("model", "device", "os", "compute_units")


def read(path: Path) -> Sequence[Reading]:
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
            stated=_facts(data),
        )
    ]


def _facts(data: Mapping[str, Any]) -> dict[str, Fact]:
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
