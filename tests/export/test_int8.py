"""int8: files that images calibrate are near the network, and what is no calibration is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hvnas.arch import load_arch
from hvnas.export import Images, export_onnx, export_tflite
from hvnas.export.running import open_file

IMAGES = Images(class_names=tuple("abcdefghij"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
ARCH = load_arch("efficientformer_l1").shrunk().with_(resolution=32)


@pytest.fixture(params=["onnx", "tflite"])
def exporter(request: pytest.FixtureRequest, need):
    if request.param == "onnx":
        need("onnx", "onnxscript", "onnxruntime")
        return export_onnx, "onnx"
    need("litert_torch", "ai_edge_litert")
    return export_tflite, "tflite"


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32), dtype=np.float32)


def test_a_calibrated_file_is_near_the_network_and_a_quarter_of_its_size(exporter, tmp_path: Path) -> None:
    import hvnas

    export, kind = exporter
    torch.manual_seed(0)
    network, images = hvnas.build(ARCH).eval(), pixels(24)
    path, whole = tmp_path / f"net.{kind}", tmp_path / f"whole.{kind}"
    report = export(network, path, precision="int8", calibration=images, images=IMAGES, float32=whole)
    assert report.precision == "int8" and report.error is not None and 0 < report.error < 0.5
    opened = open_file(path)
    assert opened.inputs == {"image": (1, 3, 32, 32)} == open_file(whole).inputs
    assert opened.facts["hvnas.class_names"] == '["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]'
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    assert np.allclose(open_file(whole).run(images), expected, atol=1e-4 * np.abs(expected).max())
    error = np.sqrt(np.square(opened.run(images) - expected).mean() / np.square(expected).mean())
    assert error == pytest.approx(report.error, rel=0.05)
    assert path.stat().st_size < 0.6 * whole.stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, whole.name])


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "int8 needs images to calibrate on; give --data"),
        (np.zeros((0, 3, 32, 32), np.float32), "int8 needs images to calibrate on"),
        (np.zeros((4, 3, 16, 16), np.float32), r"must be \[N, \*shape\] with shapes \[\(3, 32, 32\)\]"),
        (np.full((4, 3, 32, 32), np.nan, np.float32), "not finite"),
    ],
)
def test_no_calibration_is_refused(calibration, message: str, exporter, lively, tmp_path: Path) -> None:
    export, kind = exporter
    with pytest.raises(ValueError, match=message):
        export(lively(ARCH), tmp_path / f"net.{kind}", precision="int8", calibration=calibration)
    assert not list(tmp_path.iterdir())


def test_images_for_another_precision_are_refused(exporter, lively, tmp_path: Path) -> None:
    export, kind = exporter
    with pytest.raises(ValueError, match="are for int8, not float32; leave them out"):
        export(lively(ARCH), tmp_path / f"net.{kind}", calibration=pixels(4))
    assert not list(tmp_path.iterdir())
