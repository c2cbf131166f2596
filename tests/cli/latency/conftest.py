"""Files of measured times, made of what a device predicts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.latency.remote.measurements import ModelMeasurement, write_measurements

NAMES = "efficientformer_l1 efficientformer_l3 efficientformerv2_s0 efficientformerv2_s1 \
efficientformerv2_s2 poolformer_s12 poolformer_s24".split()
TABLES = Path(__file__).resolve().parents[3] / "latency_tables"


@pytest.fixture
def own_csv(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of iphone12's predictions times a factor, with noise of 3 %."""

    def write(*, name: str = "own.csv", count: int = 7, factor: float = 1.7, **changed: object) -> Path:
        base, rng = load_device("iphone12"), np.random.default_rng(0)
        said: dict[str, object] = {"device": "iPhone SE", "os": "iOS 17", "runtime": "Core ML"}
        said |= {"runtime_version": "7", "compute_unit": "all", "precision": "float16"}
        said |= {"protocol": "report", "source": "me", "kind": "model", "statistic": "median"}
        said |= {"spread": None, "n": 50, "threads": None, "batch": 1, **changed}
        rows = [
            ModelMeasurement(
                key=key,
                resolution=load_arch(key).resolution,
                ms=base.latency(load_arch(key).lower()).ms * factor * float(np.exp(rng.normal(0, 0.03))),
                **said,  # type: ignore[arg-type]
            )
            for key in NAMES[:count]
        ]
        write_measurements(tmp_path / name, rows)
        return tmp_path / name

    return write


@pytest.fixture
def iphone12_copy(tmp_path: Path) -> Path:
    """The shipped device, in a folder of its own, where its file may be written."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for suffix in (".yaml", ".csv"):
        shutil.copy(TABLES / f"iphone12{suffix}", folder)
    return folder / "iphone12.yaml"
