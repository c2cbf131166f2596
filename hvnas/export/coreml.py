"""Core ML by coremltools: an mlprogram for iOS 16 and later. Converts anywhere, runs on Apple's systems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvnas._names import shown
from hvnas._numbers import clean
from hvnas.arch import Arch
from hvnas.export.graph import Graph, Images, Shape, make_graph, quiet, shapes
from hvnas.export.target import check_target, require, size_of, writing

SPECIFICATION = 7  # Core ML's file version of iOS 16
OPSET = "CoreML6"  # its set of ops
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels from 0 to 1, as timm
Palette = Literal[2, 4, 6, 8]
Pixels = Literal["tensor", "image", "raw_image"]
# What coremltools calls a classifier's outputs, and what it leaves for other tools to debug with.
LABEL, PROBABILITIES = "classLabel", "classLabel_probs"
DEBUG_FILE = "executorch_debug_handle_mapping.json"


@dataclass(frozen=True, kw_only=True)
class CoreMLReport:
    """What was written. `ops` counts the program's ops by type, constants left out."""

    path: Path
    bytes: int
    opset: str
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    ops: Mapping[str, int]


def _channel_shuffle(x_BCHW: Tensor, groups: int) -> Tensor:
    return x_BCHW.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


# what coremltools does not know, in ops that it knows
DECOMPOSITIONS = {torch.ops.aten.channel_shuffle.default: _channel_shuffle}


class _Normalised(nn.Module):
    """A network for pixels from 0 to 255."""

    scale: Tensor
    shift: Tensor

    def __init__(self, module: nn.Module, images: Images | None) -> None:
        super().__init__()
        self.module = module
        means, deviations = (MEAN, STD) if images is None else (images.mean, images.std)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (means, deviations))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.module(x_BCHW * self.scale + self.shift)


class _Classifier(nn.Module):
    """A network that says how likely each class is."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.module(x_BCHW).softmax(1)


def export_coreml(
    source: Arch | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    deploy: bool = True,
    resolution: int | None = None,
    inputs: Mapping[str, Shape] | None = None,
    images: Images | None = None,
    pixels: Pixels = "tensor",
    precision: Literal["float16", "float32"] = "float16",
    classifier: bool | None = None,
    palette: Palette | None = None,
) -> CoreMLReport:
    """Write a network, or any module, as ``NAME.mlpackage``: an mlprogram with target iOS 16, batch 1.

    `pixels` says what the input is: ``tensor`` a normalised float array, ``image`` an RGB image that the
    program normalises with the mean and deviation of `images`, or else ImageNet's, ``raw_image`` an RGB
    image whose values from 0 to 255 go in as they are (how the papers time networks). Where `images` says the
    classes the model is a `classifier` unless asked otherwise: its outputs are the likeliest class by name
    and the probabilities of all, which Vision and Xcode's preview show. `palette` bits a weight leave each
    tensor a table of so many values, found by k-means. Other options are those of
    `hvnas.export.graph.make_graph`. The inputs, outputs and ops of what coremltools returns are checked;
    outputs cannot be compared where Core ML does not run. Raises ValueError, one line: a bad path, a
    missing package, options that do not fit, a program that is not what was asked for.
    """
    path = check_target(path, ".mlpackage")
    require("coremltools", extra="coreml", what="Core ML export")
    graph = make_graph(
        source, weights=weights, deploy=deploy, resolution=resolution, inputs=inputs, images=images
    )
    labels = _labels(images, classifier, path)
    try:
        model = _convert(graph, pixels=pixels, precision=precision, labels=labels)
    except NotImplementedError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: coremltools cannot convert this: {reason}; use other blocks") from None
    if palette is not None:
        model = _palettised(model, palette)
    outputs = list(graph.outputs) if labels is None else [LABEL, PROBABILITIES]
    ops = _check(model.get_spec(), graph, pixels=pixels, outputs=outputs, where=path)
    model.user_defined_metadata.update(graph.facts)
    model.short_description = clean(graph.facts.get("hvnas.arch", graph.facts.get("hvnas.module", "")))
    with writing(path) as part, quiet():
        model.save(str(part))
        (part / DEBUG_FILE).unlink(missing_ok=True)
    return CoreMLReport(
        path=path,
        bytes=size_of(path),
        opset=OPSET,
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        ops=ops,
    )


def _palettised(model: Any, bits: Palette) -> Any:
    with quiet():
        from coremltools.optimize import coreml as optimize

        config = optimize.OpPalettizerConfig(mode="kmeans", nbits=bits)
        return optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=config))


def _labels(images: Images | None, classifier: bool | None, path: Path) -> list[str] | None:
    """The classes of a classifier; None where the model is none. Raises ValueError where they do not do."""
    if classifier is False or (classifier is None and images is None):
        return None
    if images is None:
        raise ValueError(
            f"{path}: a classifier needs the names of its classes; export the folder of a training"
        )
    if len({*images.class_names}) < len(images.class_names):
        twice = next(name for name in images.class_names if images.class_names.count(name) > 1)
        raise ValueError(
            f"{path}: two classes are called {shown(twice)}, which a classifier cannot tell apart; rename "
            "one, or leave logits: --logits (in Python, classifier=False)"
        )
    return list(images.class_names)


def _convert(graph: Graph, *, pixels: Pixels, precision: str, labels: list[str] | None) -> Any:
    with quiet():
        import coremltools as ct

        module = _Normalised(graph.module, graph.images).eval() if pixels == "image" else graph.module
        module = module if labels is None else _Classifier(module).eval()
        program = torch.export.export(module, graph.arguments).run_decompositions(DECOMPOSITIONS)
        kind = ct.TensorType if pixels == "tensor" else ct.ImageType
        return ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=getattr(ct.precision, precision.upper()),
            inputs=[kind(name=name, shape=tuple(t.shape)) for name, t in graph.inputs.items()],
            outputs=[ct.TensorType(name=name) for name in graph.outputs],
            classifier_config=None if labels is None else ct.ClassifierConfig(labels),
            skip_model_load=True,
        )


def _check(spec: Any, graph: Graph, *, pixels: Pixels, outputs: list[str], where: Path) -> dict[str, int]:
    """The ops of a model by type. Raises ValueError where it is not what was asked for."""
    function = spec.mlProgram.functions["main"]
    ops = Counter(op.type for op in function.block_specializations[function.opset].operations)
    kind = "multiArrayType" if pixels == "tensor" else "imageType"
    asked = {
        "version": SPECIFICATION,
        "ops of": OPSET,
        "inputs": {name: (kind, tuple(t.shape)) for name, t in graph.inputs.items()},
        "outputs": outputs,
    }
    found = {
        "version": spec.specificationVersion,
        "ops of": function.opset,
        "inputs": {feature.name: _described(feature) for feature in spec.description.input},
        "outputs": [feature.name for feature in spec.description.output],
    }
    wrong = [f"{key} {found[key]}, not {asked[key]}" for key in asked if found[key] != asked[key]]
    wrong += [f"an op {op}" for op in ops if op.startswith("custom")]
    if wrong:
        raise ValueError(
            f"{where}: coremltools wrote another program than asked for: {'; '.join(wrong)}; "
            "install another version of coremltools"
        )
    return {op: count for op, count in sorted(ops.items()) if op != "const"}


def _described(feature: Any) -> tuple[str, Shape]:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return kind, (1, 3, feature.type.imageType.height, feature.type.imageType.width)
    return kind, tuple(feature.type.multiArrayType.shape)
