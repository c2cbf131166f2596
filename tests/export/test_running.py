"""Exported files run as they are: by images in any number, with their metadata, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hvnas.arch import load_arch
from hvnas.export import export_onnx
from hvnas.export.running import open_file, run


def test_an_onnx_file_gives_the_networks_outputs(need, lively, tmp_path: Path) -> None:
    need("onnx", "onnxscript", "onnxruntime")
    arch = load_arch("efficientformer_l1").shrunk().with_(resolution=32)
    network, path = lively(arch), tmp_path / "net.onnx"
    export_onnx(network, path, inputs={"image": (2, 3, 32, 32)})
    images = np.random.default_rng(0).standard_normal((5, 3, 32, 32), dtype=np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images)).numpy()
    opened = open_file(path)
    assert opened.inputs == {"image": (2, 3, 32, 32)}
    assert opened.facts["hvnas.arch"] == arch.name
    assert np.allclose(opened.run(images), expected, atol=1e-4 * np.abs(expected).max())
    assert run(path, images[:1]).shape == (1, arch.head.out)


def test_images_that_do_not_fit_are_refused(need, lively, tmp_path: Path) -> None:
    need("onnx", "onnxscript", "onnxruntime")
    path = tmp_path / "net.onnx"
    export_onnx(lively(load_arch("vit_c_1gf").shrunk().with_(resolution=32)), path, check=False)
    for shape in [(1, 3, 16, 32), (0, 3, 32, 32), (3, 32, 32)]:
        with pytest.raises(ValueError, match=r"net\.onnx: takes images of 3×32×32, not") as caught:
            run(path, np.zeros(shape, np.float32))
        assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_a_file_of_something_else_is_refused_in_one_line(
    suffix: str, need, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    need("onnxruntime" if suffix == ".onnx" else "ai_edge_litert")
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"not a network")
    with pytest.raises(ValueError, match=r"net\.\w+: .* does not run this file: ") as caught:
        open_file(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500
    assert capfd.readouterr() == ("", "")


def test_other_endings_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"net\.bin: only \.onnx and \.tflite files can be run"):
        open_file(tmp_path / "net.bin")
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "net.onnx")


def identity_model(path: Path, shape: list[int], *, mean: bool = False) -> Path:
    """Another tool's file that gives its input back, or the mean of it."""
    import onnx
    from onnx import TensorProto, helper

    kind, given = ("ReduceMean", []) if mean else ("Identity", shape)
    node = helper.make_node(kind, ["x"], ["y"], **({"keepdims": 0} if mean else {}))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in (("x", shape), ("y", given))
    ]
    graph = helper.make_graph([node], "net", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, path)
    return path


@pytest.mark.parametrize(
    ("shape", "mean", "said"),
    [
        ([100_000_000, 3, 32, 32], False, "takes 100000000 images of 3×32×32 at once"),
        ([1, 3, 32, 32], True, r"its first output is float32 of shape \[\] for 1 images"),
    ],
)
def test_files_of_other_tools_that_do_not_fit_are_one_line(
    shape: list[int], mean: bool, said: str, need, tmp_path: Path
) -> None:
    need("onnx", "onnxruntime")
    path = identity_model(tmp_path / "net.onnx", shape, mean=mean)
    with pytest.raises(ValueError, match=rf"net\.onnx: {said}") as caught:
        run(path, np.zeros((1, 3, 32, 32), np.float32))
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500
