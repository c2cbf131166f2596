"""``hvnas export``: a network for other runtimes: a model, a file, or what a run has found or trained."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvnas._request import Option, Request
from hvnas.cli._group import given
from hvnas.cli._progress import Steps
from hvnas.cli._request import takes
from hvnas.cli._screen import JsonOption, Screen, print_json

if TYPE_CHECKING:
    from hvnas.arch import Arch
    from hvnas.export import Images
    from hvnas.train.folder import TrainFolder

EXAMPLE = "hvnas export runs/phone --format onnx"


Format = Literal["yaml", "torch", "huggingface", "onnx", "coreml", "executorch", "tflite"]
Precision = Literal["float32", "float16", "int8"]
PRECISIONS: dict[str, tuple[str, ...]] = {
    "onnx": ("float32", "int8"),
    "coreml": ("float16", "float32"),
    "tflite": ("float32", "float16", "int8"),
}  # of each format the default first

_BEST = "best.yaml"
SUFFIXES = {
    "yaml": ".yaml",
    "torch": "_torch",
    "huggingface": "_huggingface",
    "onnx": ".onnx",
    "coreml": ".mlpackage",
    "executorch": ".pte",
    "tflite": ".tflite",
}


@dataclass(frozen=True, kw_only=True)
class FileOptions(Request):
    """How the file is to be written, beyond its format."""

    pixels: Annotated[
        Literal["tensor", "image", "raw_image"] | None,
        Option(
            group="Files", help="Core ML's input: a tensor, or an image, raw or normalised in the program."
        ),
    ] = None
    precision: Annotated[
        Precision | None,
        Option(
            group="Files",
            help="float32; float16 of coreml (its default) and tflite; int8 of onnx and tflite.",
        ),
    ] = None
    batch: Annotated[
        int | None,
        Option(group="Files", least=1, help="Images that ONNX takes at once. Default: any number."),
    ] = None
    opset: Annotated[
        int | None, Option(group="Files", help="ONNX's set of ops, from 18 to 23. Default: 20.")
    ] = None
    logits: Annotated[
        bool,
        Option(group="Files", help="Core ML: give logits, where class names would make a classifier."),
    ] = False
    palette: Annotated[
        int | None,
        Option(group="Files", help="Core ML: bits of a weight (2, 4, 6 or 8), its values out of a table."),
    ] = None
    data: Annotated[
        str | None,
        Option(group="Data", help="Images that int8 is calibrated and scored on. Default: the training's."),
    ] = None
    test_size: Annotated[
        int | None, Option(group="Data", least=1, help="Score int8 on at most this many test images.")
    ] = None

    def check(self, format: str) -> None:
        """Raise ValueError where options do not go together."""
        if format != "coreml" and self.pixels:
            raise ValueError(f"--pixels is for --format coreml, not {format}; leave it out")
        if format != "coreml" and self.logits:
            raise ValueError(f"--logits is for --format coreml, not {format}; leave it out")
        if self.palette is not None and format != "coreml":
            raise ValueError(f"--palette is for --format coreml, not {format}; leave it out")
        if self.palette not in (None, 2, 4, 6, 8):
            raise ValueError(f"--palette: must be 2, 4, 6 or 8 bits, got {self.palette}; choose one of them")
        if format != "onnx" and (self.batch or self.opset):
            name = "batch" if self.batch else "opset"
            raise ValueError(f"--{name} is for --format onnx, not {format}; leave it out")
        known = PRECISIONS.get(format, ())
        if self.precision and self.precision not in known:
            remedy = f"choose from {', '.join(known)}" if known else "leave it out"
            raise ValueError(f"--precision: --format {format} has no {self.precision}; {remedy}")
        if self.precision != "int8" and (self.data or self.test_size):
            raise ValueError("--data and --test-size are for --precision int8; leave them out")

    def of_exporter(self, format: str) -> dict[str, Any]:
        """What the exporter of a format is asked for beyond its defaults."""
        asked = given(pixels=self.pixels, precision=self.precision, opset=self.opset, palette=self.palette)
        if format == "onnx":
            asked["batch"] = self.batch
        if format == "coreml" and self.logits:
            asked["classifier"] = False
        return asked


@takes(FileOptions)
def run(
    options: FileOptions,
    *,
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH|RUN", help="A model's name, a network's YAML file, or the folder of a run."
        ),
    ],
    format: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="FORMAT",
            rich_help_panel="Files",
            help="yaml: its own file. torch: a folder with weights and a model.py that needs only torch. "
            "huggingface: a folder with config.json, weights and a card. "
            "onnx, coreml (iOS 16), executorch (XNNPACK) and tflite (LiteRT): for their runtimes.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file or folder to write. Default: in the run's folder, or named after the model.",
            rich_help_panel="Output",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A safetensors file. Default: the run's, else random weights.", rich_help_panel="Networks"
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, help="Classes. Default: the network's.", rich_help_panel="Networks"),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Pixels. Default: the network's.", rich_help_panel="Networks")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite what is there.", rich_help_panel="Output")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a network to another runtime.

    Its outputs are compared with torch's if that runtime is installed. In int8 its top-1 and latency on this
    host are shown beside those in float32.

    From a run's folder it exports the trained network with its weights, or the best network of a search.
    """
    options.check(format)
    target = default_target(arch, format) if out is None else out
    _refuse_taken(target, source=Path(arch), force=force)
    network = load_network(arch, weights=weights, classes=classes, resolution=resolution)
    if format == "yaml":
        facts = _write_yaml(network.arch, target)
    elif options.precision == "int8":
        facts = _export_int8(format, network, target, arch, options)
    else:
        facts = _export(format, network, target, options.of_exporter(format))
    facts = {"format": format, "name": network.arch.name, "hash": network.arch.hash, **facts}
    if as_json:
        print_json(facts)
    else:
        _print(Screen(), facts)


def _refuse_taken(target: Path, *, source: Path, force: bool) -> None:
    """Raise ValueError where something is there that was not to be overwritten."""
    if target.name in ("", "..") or not os.path.lexists(target):
        return
    if source.is_file() and target.exists() and target.samefile(source):
        raise ValueError(f"{target}: is the input file; choose another --out")
    if not force:
        raise ValueError(f"{target}: is there already; choose another --out, or overwrite it with --force")


def _write_yaml(arch: Arch, target: Path) -> dict[str, Any]:
    from hvnas.arch import save_arch
    from hvnas.export.target import check_target

    check_target(target, ".yaml")
    save_arch(arch, target)
    return {"path": target, "bytes": target.stat().st_size}


def _export(
    format: Format, network: NetworkToExport, target: Path, options: dict[str, Any]
) -> dict[str, Any]:
    import torch

    from hvnas import export

    exporters: dict[str, Any] = {
        "torch": export.export_torch,
        "huggingface": export.export_huggingface,
        "onnx": export.export_onnx,
        "coreml": export.export_coreml,
        "executorch": export.export_executorch,
        "tflite": export.export_tflite,
    }
    if format == "huggingface":
        options = options | {"card": network.training}
    torch.manual_seed(0)  # weights that are random are the same every time
    report = exporters[format](
        network.arch, target, weights=network.weights, images=network.images, **options
    )
    return asdict(report) | {"weights": network.weights}


def _export_int8(
    format: Format, network: NetworkToExport, target: Path, source: str, options: FileOptions
) -> dict[str, Any]:
    """The same in int8, with its scores beside those of the network in float32."""
    import tempfile

    from hvnas.train.shipped import calibration_images, compare, data_for

    loaded = data_for(source, network.arch, network.images, data=options.data, test_size=options.test_size)
    images = calibration_images(loaded)
    with tempfile.TemporaryDirectory(prefix="hvnas-") as folder:
        float32 = Path(folder) / f"float32{SUFFIXES[format]}"
        int8 = {**options.of_exporter(format), "calibration": images, "float32": float32}
        facts = _export(format, network, target, int8)
        with Steps("images") as steps:
            scores = compare(
                float32,
                target,
                loaded,
                calibration=len(images),
                progress=lambda done, total: steps.at(done, "scoring", total=total),
            )
    return facts | {"scores": asdict(scores) | {"top1_loss": scores.loss}}


def _print(screen: Screen, facts: dict[str, Any]) -> None:
    screen.line(f"{facts['path']}: {facts['name']}, {facts['bytes']:,} bytes")
    if "inputs" not in facts:
        return
    error = facts.get("error")
    shapes = {key: ", ".join(map(_shape, facts[key].items())) for key in ("inputs", "outputs")}
    screen.fields(
        [
            ("weights", facts["weights"] or "random: none were given"),
            ("input", shapes["inputs"]),
            ("output", shapes["outputs"]),
            ("ops", sum(facts["ops"].values()) if "ops" in facts else None),
            ("timm", facts.get("timm")),
            ("checked", "not run here" if error is None else f"outputs differ from torch's by {error:.1e}"),
            *_score_fields(facts.get("scores")),
        ]
    )


def _score_fields(scores: dict[str, Any] | None) -> list[tuple[str, str]]:
    if scores is None:
        return []
    before, after = scores["float32"], scores["int8"]
    return [
        ("calibrated", f"on {scores['calibration']} training images of {scores['data']}"),
        ("top-1", f"{after['top1']:.2f} (float32 {before['top1']:.2f}) on {scores['images']:,} test images"),
        ("loss", f"{scores['top1_loss']:.2f} points"),
        (
            "latency",
            f"{after['ms']:.3f} ms (float32 {before['ms']:.3f}), {scores['runtime']}, 1 thread, this host",
        ),
        ("size", f"{after['bytes'] / 1e6:.2f} MB (float32 {before['bytes'] / 1e6:.2f})"),
    ]


def _shape(item: tuple[str, tuple[int | None, ...]]) -> str:
    name, shape = item
    return f"{name} {'×'.join('any' if axis is None else str(axis) for axis in shape)}"


@dataclass(frozen=True, kw_only=True)
class NetworkToExport:
    """A network, its weights where there are some, the images that it was trained on, and where that was."""

    arch: Arch
    weights: Path | None
    images: Images | None = None
    training: Path | None = None


def load_network(
    name: str, *, weights: Path | None, classes: int | None, resolution: int | None
) -> NetworkToExport:
    """What `name` leads to: a model, a YAML file, the folder of a training, or that of a search.

    A search's folder gives the network that was trained in it, or else its best. `weights` stand in for
    those of a training. Raises ValueError, one line, naming what is missing.
    """
    from hvnas.arch import list_models, load_arch
    from hvnas.arch.edits import resized
    from hvnas.latency.registry import restated

    folder = Path(name)
    training = None
    if name in list_models() or not folder.is_dir():
        arch = load_arch(name)
    else:
        training = _training(folder)
        arch = training.arch if training is not None else _best(folder)
    changed = restated(resized(arch, classes=classes, resolution=resolution), arch, beside=folder)
    if training is None or weights is not None or changed.head != arch.head:
        return NetworkToExport(arch=changed, weights=weights)
    from hvnas.export import Images

    run = training.config
    images = Images(class_names=tuple(run.class_names), mean=tuple(run.mean), std=tuple(run.std))
    return NetworkToExport(
        arch=changed,
        weights=_inside(training.path, training.trained_weights()),
        images=images,
        training=training.path,
    )


def _training(folder: Path) -> TrainFolder | None:
    from hvnas.train.folder import find_training

    return find_training(folder)


def _best(folder: Path) -> Arch:
    from hvnas.arch import load_arch

    if not (folder / _BEST).is_file():
        raise ValueError(
            f"{folder}: holds neither {_BEST} nor a training; give a folder of hvnas search or hvnas train"
        )
    return load_arch(_inside(folder, folder / _BEST))


def _inside(folder: Path, path: Path) -> Path:
    """`path`. Raises ValueError where it is a link that leaves `folder`."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: is a link out of {folder}; put the file itself there")
    return path


def default_target(name: str, kind: str) -> Path:
    """Where an export goes by itself: into a run's folder, else into this one under the network's name."""
    from hvnas.arch import list_models

    path, suffix = Path(name), SUFFIXES[kind]
    if name not in list_models() and path.is_dir():
        return path / f"model{suffix}"
    return Path(f"{path.stem if path.suffix in ('.yaml', '.yml') else path.name}{suffix}")
