"""What Core ML's tools have in common: names of compute units."""

from __future__ import annotations

# MLComputeUnits in CoreML.framework/Headers/MLModelConfiguration.h, and coremltools.ComputeUnit.
BY_NUMBER = {0: "cpu", 1: "cpu+gpu", 2: "all", 3: "cpu+ane"}
BY_NAME = {"CPU_ONLY": "cpu", "CPU_AND_GPU": "cpu+gpu", "ALL": "all", "CPU_AND_NE": "cpu+ane"}
