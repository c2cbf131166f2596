"""Core ML: the program is for iOS 16, its inputs, outputs and ops are those of the network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

import hvnas
from hvnas.arch import load_arch
from hvnas.export import CoreMLReport, Images, export_coreml
from hvnas.export import coreml as coreml_module
from hvnas.nn.network import stack

FAMILIES = (
    "efficientformer_l1 efficientformerv2_s0 coatnet_0 mobilevit_xxs efficientvit_b0 poolformer_s12 "
    "mobileformer_26m"
).split()
# What a network of the families here becomes; an op outside may not run on the Neural Engine, or at all.
OPS = frozenset(
    """
    add avg_pool batch_norm cast clip concat conv expand_dims gelu layer_norm linear matmul max_pool
    maximum mul pad real_div reduce_mean relu reshape sigmoid sigmoid_hard silu slice_by_index softmax
    split sqrt square squeeze sub tanh thresholded_relu transpose upsample_bilinear
    """.split()
)


@pytest.fixture(autouse=True)
def packages(need) -> None:
    need("coremltools")


def small(name: str = "vit_c_1gf") -> hvnas.Arch:
    return load_arch(name).shrunk()


def spec_of(path: Path):
    import coremltools

    return coremltools.utils.load_spec(str(path))


def check_ops(report: CoreMLReport, arch: hvnas.Arch) -> None:
    ops = arch.lower().ops
    assert report.ops["conv"] == sum(op.kind == "conv" for op in ops)
    assert report.ops.get("softmax", 0) == sum(op.kind == "softmax" for op in ops)
    assert report.ops.keys() <= OPS


def test_a_program_for_ios_16(tmp_path: Path) -> None:
    arch, path = small(), tmp_path / "net.mlpackage"
    report = export_coreml(arch, path)
    check_ops(report, arch)
    spec = spec_of(path)
    assert spec.specificationVersion == 7
    (image,), (logits,) = spec.description.input, spec.description.output
    assert (image.name, tuple(image.type.multiArrayType.shape)) == ("image", (1, 3, 224, 224))
    assert logits.name == "logits"
    facts = spec.description.metadata.userDefined
    assert facts["hvnas.arch"] == arch.name
    assert facts["hvnas.arch_hash"] == arch.hash
    assert [p.name for p in tmp_path.iterdir()] == ["net.mlpackage"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name: str, tmp_path: Path) -> None:
    arch = small(name)
    report = export_coreml(arch, tmp_path / "net.mlpackage", pixels="raw_image")
    check_ops(report, arch)
    assert report.outputs == {"logits": (1, arch.head.out)}


def test_images_are_normalised_in_the_program(tmp_path: Path) -> None:
    arch = small()
    plain = export_coreml(arch, tmp_path / "raw.mlpackage", pixels="raw_image")
    normalised = export_coreml(arch, tmp_path / "image.mlpackage", pixels="image")
    (image,) = spec_of(tmp_path / "image.mlpackage").description.input
    assert image.type.WhichOneof("Type") == "imageType"
    assert (image.type.imageType.height, image.type.imageType.width) == (224, 224)
    extra = {op: n - plain.ops.get(op, 0) for op, n in normalised.ops.items() if n != plain.ops.get(op, 0)}
    assert extra in ({"batch_norm": 1}, {"mul": 1, "add": 1})


def test_a_stack_of_blocks(tmp_path: Path) -> None:
    block = load_arch("mobileformer_26m").shrunk().stages[-1].runs[-1][1].blocks()[-1]
    _, _, state = next(p for p in load_arch("mobileformer_26m").shrunk().states() if p[1] == block)
    module = stack(block, state, depth=2)
    report = export_coreml(module, tmp_path / "stack.mlpackage", inputs=module.inputs)
    assert list(report.inputs) == ["map", "tokens"]
    assert list(report.outputs) == ["output_0", "output_1"]


def test_a_package_is_replaced_and_another_folder_is_not(tmp_path: Path) -> None:
    path = tmp_path / "net.mlpackage"
    module = nn.Conv2d(3, 4, 1)
    export_coreml(module, path, inputs={"x": (1, 3, 8, 8)})
    report = export_coreml(nn.Conv2d(3, 4, 3), path, inputs={"y": (1, 3, 8, 8)})
    assert [feature.name for feature in spec_of(path).description.input] == ["y"]
    assert report.outputs == {"output": (1, 4, 6, 6)}
    other = tmp_path / "mine.mlpackage"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="a folder of something else"):
        export_coreml(module, other, inputs={"x": (1, 3, 8, 8)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.mlpackage", "net.mlpackage"]


def test_a_program_that_is_not_as_asked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreml_module, "SPECIFICATION", 6)
    with pytest.raises(ValueError, match="version 7, not 6"):
        export_coreml(nn.Conv2d(3, 4, 1), tmp_path / "x.mlpackage", inputs={"x": (1, 3, 8, 8)})
    assert not list(tmp_path.iterdir())


def test_converting_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_coreml(nn.Conv2d(3, 4, 1), tmp_path / "x.mlpackage", inputs={"x": (1, 3, 8, 8)})
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(ValueError, match=r"needs coremltools, .*pip install 'hvnas\[coreml\]'"):
        export_coreml(small(), tmp_path / "net.mlpackage")


def test_a_network_that_knows_its_classes_is_a_classifier(tmp_path: Path) -> None:
    images = Images(class_names=("ant", "bee", "cat"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    arch = load_arch("efficientvit_b0").shrunk().with_(classes=3, resolution=64)
    report = export_coreml(arch, tmp_path / "net.mlpackage", images=images, pixels="image")
    spec = spec_of(report.path)
    assert [output.name for output in spec.description.output] == ["classLabel", "classLabel_probs"]
    assert spec.description.predictedFeatureName == "classLabel"
    assert report.ops["classify"] == 1
    function = spec.mlProgram.functions["main"]
    text = str(function.block_specializations[function.opset])
    assert all(f'"{name}"' in text for name in images.class_names)
    files = {path.name for path in report.path.rglob("*") if path.is_file()}
    assert files == {"Manifest.json", "model.mlmodel", "weight.bin"}


@pytest.mark.parametrize(
    ("names", "classifier", "said"),
    [
        (("a", "a"), None, "two classes are called 'a'"),
        (None, True, "a classifier needs the names of its classes"),
    ],
)
def test_what_is_no_classifier_is_refused(
    names: tuple[str, ...] | None, classifier: bool | None, said: str, tmp_path: Path
) -> None:
    images = None if names is None else Images(class_names=names, mean=(0.5,) * 3, std=(0.5,) * 3)
    arch = load_arch("efficientvit_b0").shrunk().with_(classes=2, resolution=64)
    with pytest.raises(ValueError, match=said):
        export_coreml(arch, tmp_path / "net.mlpackage", images=images, classifier=classifier)
    assert list(tmp_path.iterdir()) == []


def test_a_palette_leaves_each_tensor_a_table(tmp_path: Path) -> None:
    arch = small().with_(resolution=64)
    whole = export_coreml(arch, tmp_path / "whole.mlpackage")
    few = export_coreml(arch, tmp_path / "few.mlpackage", palette=4)
    assert few.bytes < whole.bytes
    assert few.ops["constexpr_lut_to_dense"] > 0 and "constexpr_lut_to_dense" not in whole.ops
    assert few.outputs == whole.outputs
