"""ONNX: what ONNX Runtime computes is what torch computes, and a file is there whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hvnas
from hvnas.arch import load_arch
from hvnas.export import export_onnx
from hvnas.export import onnx as onnx_module
from hvnas.nn.weights import save_weights

FAMILIES = (
    "efficientformer_l1 efficientformerv2_s0 coatnet_0 mobilevit_xxs efficientvit_b0 poolformer_s12 "
    "mobileformer_26m vit_c_1gf"
).split()


@pytest.fixture(autouse=True)
def packages(need) -> None:
    need("onnx", "onnxscript", "onnxruntime")


def run(path: Path, x: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(result)


def metadata(path: Path) -> dict[str, str]:
    import onnx

    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(str(path))
    return {entry.key: entry.value for entry in model.metadata_props}


def small(name: str = "vit_p_1gf") -> hvnas.Arch:
    return load_arch(name).shrunk()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name: str, tmp_path: Path) -> None:
    arch = small(name)
    report = export_onnx(arch, tmp_path / "net.onnx")
    assert report.error is not None and report.error <= onnx_module.TOLERANCE
    assert report.outputs == {"logits": (1, arch.head.out)}


def test_outputs_are_those_of_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arch = small("efficientformer_l1")
    model = hvnas.build(arch).eval()
    save_weights(model.state_dict(), tmp_path / "w.safetensors")
    path = tmp_path / "net.onnx"
    report = export_onnx(arch, path, weights=tmp_path / "w.safetensors")
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(run(path, x), expected, atol=1e-5, rtol=1e-4)
    assert report.error is not None and 0 < report.error <= 1e-5
    assert report.bytes == path.stat().st_size
    assert report.ops["Conv"] == sum(op.kind == "conv" for op in arch.lower().ops)
    assert "BatchNormalization" not in report.ops
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "w.safetensors"]


def test_metadata_says_what_it_is(tmp_path: Path) -> None:
    arch = small().with_(classes=7)
    report = export_onnx(arch, tmp_path / "net.onnx", resolution=96)
    facts = metadata(tmp_path / "net.onnx")
    assert facts["hvnas.arch"] == arch.name
    assert facts["hvnas.arch_hash"] == arch.with_(resolution=96).hash
    assert (facts["hvnas.resolution"], facts["hvnas.classes"]) == ("96", "7")
    assert report.inputs == {"image": (1, 3, 96, 96)}
    assert report.outputs == {"logits": (1, 7)}


class Sums(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, a * b


def test_any_module_by_its_inputs(tmp_path: Path) -> None:
    report = export_onnx(Sums(), tmp_path / "sums.onnx", inputs={"left": (2, 3), "right": (2, 3)})
    assert report.outputs == {"output_0": (2, 3), "output_1": (2, 3)}
    assert metadata(tmp_path / "sums.onnx")["hvnas.inputs"] == "left 2x3, right 2x3"


def test_a_module_stays_as_it_is(tmp_path: Path) -> None:
    model = hvnas.build(small()).train()
    before = list(model.state_dict())
    report = export_onnx(model, tmp_path / "net.onnx", deploy=False, check=False)
    assert report.error is None
    assert model.training
    assert list(model.state_dict()) == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_lie_apart_where_one_file_cannot_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, inputs = tmp_path / "net.onnx", {"x": (1, 8, 4, 4)}
    x = torch.randn(inputs["x"])
    model = nn.Conv2d(8, 256, 3)
    with monkeypatch.context() as patch:
        patch.setattr(onnx_module, "SINGLE_FILE_BYTES", 0)
        report = export_onnx(model, path, inputs=inputs)
    side = tmp_path / "net.onnx.data"
    assert report.bytes == path.stat().st_size + side.stat().st_size
    with torch.no_grad():
        torch.testing.assert_close(run(path, x), model(x), atol=1e-5, rtol=1e-4)
    export_onnx(model, path, inputs=inputs)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_outputs_that_differ_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("as it was")
    monkeypatch.setitem(onnx_module.TOLERANCES, "float32", 0.0)
    with pytest.raises(ValueError, match=r"differ from torch's by .*nothing was written"):
        export_onnx(nn.Conv2d(3, 4, 3), path, inputs={"x": (1, 3, 8, 8)})
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 0 * 0


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="differ from torch's by nan"):
        export_onnx(Broken(), tmp_path / "net.onnx", inputs={"x": (1, 2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("net.pt", "must end in .onnx"),
        ("nowhere/net.onnx", "there is no folder"),
        ("folder.onnx", "a folder of something else"),
    ],
)
def test_bad_paths_are_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    monkeypatch.setattr(onnx_module, "make_graph", None)
    with pytest.raises(ValueError, match=reason) as error:
        export_onnx(small(), tmp_path / name)
    assert "\n" not in str(error.value)


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = hvnas.build(small())
    with pytest.raises(ValueError, match="weights go with an architecture"):
        export_onnx(model, path, weights="w.safetensors")
    with pytest.raises(ValueError, match="built for 224 pixels, not 96"):
        export_onnx(model, path, resolution=96)
    with pytest.raises(ValueError, match="needs resolution or inputs"):
        export_onnx(nn.ReLU(), path)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ValueError, match=r"needs onnxscript, .*pip install 'hvnas\[onnx\]'"):
        export_onnx(small(), tmp_path / "net.onnx")


def test_the_interface_of_the_file(tmp_path: Path, repo_root: Path) -> None:
    """One float32 image, one float32 vector."""
    import onnxruntime

    export_onnx(small(), tmp_path / "net.onnx", check=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", [1, 3, 224, 224])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", [1, 10])
    (result,) = session.run(None, {"image": np.zeros((1, 3, 224, 224), dtype=np.float32)})
    assert np.isfinite(result).all()
    # the exporter's stack traces: paths of this machine
    data = (tmp_path / "net.onnx").read_bytes()
    assert str(repo_root).encode() not in data and b"stack_trace" not in data


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_any_number_of_images(name: str, tmp_path: Path) -> None:
    arch = small(name)
    report = export_onnx(arch, tmp_path / "net.onnx", batch=None)
    assert report.outputs == {"logits": (None, arch.head.out)}
    x = torch.randn(3, 3, arch.resolution, arch.resolution)
    whole = run(tmp_path / "net.onnx", x)
    single = torch.cat([run(tmp_path / "net.onnx", x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, single, atol=1e-5, rtol=1e-4)
