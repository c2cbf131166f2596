"""``hvnas export``: a network for other runtimes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvnas.cli._exporting import Subject, default_target, load_subject
from hvnas.cli._options import given
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.arch import Arch

Format = Literal["yaml", "torch", "onnx", "coreml", "executorch"]


def run(
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
            help="yaml: its own file. torch: a folder with weights and a model.py that needs only torch. "
            "onnx, coreml (iOS 16) and executorch (XNNPACK): for their runtimes.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file or folder to write. Default: in the run's folder, or named as the model."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A safetensors file. Default: the run's; without one they are random."),
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Classes. Default: the network's.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Pixels. Default: the network's.")] = None,
    pixels: Annotated[
        Literal["tensor", "image", "raw_image"] | None,
        typer.Option(help="Core ML's input: a tensor, or an image, normalised in the program or raw."),
    ] = None,
    precision: Annotated[
        Literal["float16", "float32"] | None, typer.Option(help="Core ML's. Default: float16.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a network for another runtime, and compare what it computes where that can run here.

    A run's folder gives the network that was trained in it with its weights, or the best that a search
    has found.
    """
    if format != "coreml" and (pixels or precision):
        raise ValueError(f"--pixels and --precision are for --format coreml, not {format}; leave them out")
    target = default_target(arch, format) if out is None else out
    subject = load_subject(arch, weights=weights, classes=classes, resolution=resolution)
    if format == "yaml":
        facts = _write_yaml(subject.arch, target, source=Path(arch))
    else:
        facts = _export(format, subject, target, given(pixels=pixels, precision=precision))
    facts = {"format": format, "name": subject.arch.name, "hash": subject.arch.hash, **facts}
    if as_json:
        print_json(facts)
    else:
        _print(Screen(), facts)


def _write_yaml(arch: Arch, target: Path, *, source: Path) -> dict[str, Any]:
    from hvnas.arch import save_arch
    from hvnas.export.target import check_target

    check_target(target, ".yaml")
    if source.is_file() and target.exists() and target.samefile(source):
        raise ValueError(f"{target}: is the file that is read; give another --out")
    save_arch(arch, target)
    return {"path": target, "bytes": target.stat().st_size}


def _export(format: Format, subject: Subject, target: Path, options: dict[str, Any]) -> dict[str, Any]:
    import torch

    from hvnas import export

    exporters: dict[str, Any] = {
        "torch": export.export_torch,
        "onnx": export.export_onnx,
        "coreml": export.export_coreml,
        "executorch": export.export_executorch,
    }
    torch.manual_seed(0)  # weights that are random are the same every time
    report = exporters[format](
        subject.arch, target, weights=subject.weights, images=subject.images, **options
    )
    return asdict(report) | {"weights": subject.weights}


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
            ("checked", "not run here" if error is None else f"outputs differ from torch's by {error:.1e}"),
        ]
    )


def _shape(item: tuple[str, tuple[int, ...]]) -> str:
    name, shape = item
    return f"{name} {'×'.join(map(str, shape))}"
