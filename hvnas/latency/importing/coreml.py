"""What Core ML's tools have in common: names of compute units, and shapes of inputs."""

from __future__ import annotations

from typing import Any

from hvnas.latency.importing.reading import Fact

# MLComputeUnits in CoreML.framework/Headers/MLModelConfiguration.h, and coremltools.ComputeUnit.
BY_NUMBER = {0: "cpu", 1: "cpu+gpu", 2: "all", 3: "cpu+ane"}
BY_NAME = {"CPU_ONLY": "cpu", "CPU_AND_GPU": "cpu+gpu", "ALL": "all", "CPU_AND_NE": "cpu+ane"}


def input_facts(shape: Any) -> dict[str, Fact]:
    """Batch and resolution of an input [batch, 3, side, side]; nothing of any other."""
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(size) is int for size in shape):
        return {}
    batch, channels, height, width = shape
    image = channels == 3 and height == width and batch >= 1 and height >= 1
    return {"batch": batch, "resolution": height} if image else {}
