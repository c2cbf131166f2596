"""TFLite: what LiteRT computes is what torch computes, and a file is there whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from hvnas.arch import load_arch
from hvnas.export import export_tflite
from hvnas.export.graph import TOLERANCES
from hvnas.export.running import open_file


@pytest.fixture
def litert(need) -> None:
    need("litert_torch", "ai_edge_litert")


@pytest.mark.parametrize("name", ["efficientformerv2_s0", "mobilevit_xxs"])
def test_outputs_are_those_of_the_network(
    name: str, litert, lively, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arch = load_arch(name).shrunk()
    report = export_tflite(lively(arch), tmp_path / "net.tflite")
    assert report.error is not None and report.error <= TOLERANCES["float32"]
    assert report.inputs == {"image": (1, 3, arch.resolution, arch.resolution)}
    assert report.outputs == {"logits": (1, arch.head.out)}
    assert report.bytes == (tmp_path / "net.tflite").stat().st_size
    assert report.ops["CONV_2D"] > 0
    assert [p.name for p in tmp_path.iterdir()] == ["net.tflite"]
    assert capfd.readouterr() == ("", "")
    opened = open_file(tmp_path / "net.tflite")
    assert opened.inputs == report.inputs and opened.outputs == report.outputs
    assert opened.facts["hvnas.arch_hash"] == arch.hash


def test_float16_halves_the_weights(litert, lively, tmp_path: Path) -> None:
    network = lively(load_arch("vit_c_1gf").shrunk())
    whole = export_tflite(network, tmp_path / "a.tflite")
    half = export_tflite(network, tmp_path / "b.tflite", precision="float16")
    assert half.bytes < 0.65 * whole.bytes
    assert half.error is not None and whole.error is not None
    assert whole.error < half.error <= TOLERANCES["float16"]


class TwoOfEach(nn.Module):
    def forward(self, a, b):
        return a - 2 * b, a * b


def test_inputs_and_outputs_keep_their_names(litert, tmp_path: Path) -> None:
    report = export_tflite(TwoOfEach(), tmp_path / "net.tflite", inputs={"b": (1, 4), "a": (1, 4)})
    opened = open_file(tmp_path / "net.tflite")
    # LiteRT lists those of a signature by name; that none was taken for the other shows in the error.
    assert set(opened.inputs) == {"a", "b"} and list(opened.outputs) == ["output_0", "output_1"]
    assert report.error is not None and report.error <= TOLERANCES["float32"]


def test_a_file_that_differs_is_refused(
    litert, lively, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "float32", 0.0)
    with pytest.raises(ValueError, match=r"net\.tflite: LiteRT's outputs differ from torch's by"):
        export_tflite(lively(load_arch("vit_c_1gf").shrunk().with_(resolution=32)), tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(ValueError, match=r"needs litert_torch.*hvnas\[litert\]"):
        export_tflite(load_arch("vit_c_1gf").shrunk(), tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())
