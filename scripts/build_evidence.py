"""Trace every network of the published results and write the table that the surrogate is fitted on.

    python scripts/build_evidence.py

Reads hvnas/accuracy/data/published.csv (timm's results), recipe_tags.csv and recipes_override.csv (what
is known of the training behind each weight) and extra.yaml (results of papers), builds each network on
the meta device, traces it with hvnas.ops.trace and writes hvnas/accuracy/data/evidence.csv. Networks
whose branches merge for deployment (see MERGED) are traced merged. The networks of ablations.csv are
lowered, or traced where they are timm's or of `_reference`, into ablation_values.csv. Needs
`pip install 'hvnas[peers]'`.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _reference import network
from _timm import import_timm
from torch import nn

from hvnas._files import read_yaml, write_atomic
from hvnas.accuracy.surrogate.ablations import TRACED, arch_of, load_ablations, load_theory
from hvnas.accuracy.surrogate.features import COLUMNS, NAMES
from hvnas.ops import Program, evaluate_columns
from hvnas.ops.trace import trace

DATA = Path(__file__).resolve().parent.parent / "hvnas" / "accuracy" / "data"

# Trained with parallel branches that are summed into one convolution afterwards: what is deployed, and
# what a search would write down, is the merged network. Others only fold norms, which stay visible.
MERGED = ("repvgg", "mobileone", "fastvit", "repvit", "ghostnetv3", "repghostnet")

# Recurrent cells: torch hides their products from the tracer.
UNTRACEABLE = ("sequencer2d",)

# Epochs assumed where neither tag nor paper gives them.
ASSUMED_EPOCHS = {"basic": 120, "policy": 300, "modern": 300}


@dataclass(frozen=True)
class Result:
    """One published result: which network, under which training, reached which top-1."""

    model: str
    family: str
    kind: str
    study: str
    resolution: int
    top1: float
    epochs: float
    epochs_known: bool
    distilled: bool
    augmentation: str
    source: str
    build: dict[str, Any]
    origin: str


def read_csv(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def published() -> Iterator[Result]:
    """timm's results with what is known of their training: tag first, then the overrides in order."""
    tags = {row["tag"]: row for row in read_csv("recipe_tags.csv")}
    overrides = read_csv("recipes_override.csv")
    for row in read_csv("published.csv"):
        tag = tags.get(row["tag"], {})
        known = {
            "augmentation": tag.get("augmentation") or "modern",
            "epochs": row["epochs"] or tag.get("epochs", ""),
            "distilled": row["distilled"],
        }
        for override in overrides:
            if fnmatch.fnmatchcase(row["model"], override["pattern"]):
                known |= {field: override[field] for field in known if override[field]}
        yield Result(
            model=row["model"],
            family=row["family"],
            kind=row["kind"],
            study=row["tag"],
            resolution=int(row["resolution"]),
            top1=float(row["top1"]),
            epochs=float(known["epochs"] or ASSUMED_EPOCHS[known["augmentation"]]),
            epochs_known=bool(known["epochs"]),
            distilled=known["distilled"] == "true",
            augmentation=known["augmentation"],
            source=row["source"],
            build={"timm": row["model"].split(".")[0]},
            origin="timm",
        )


def extra() -> Iterator[Result]:
    """Results of papers whose networks timm can build but has no weights of."""
    for entry in read_yaml(DATA / "extra.yaml", schema="hvnas.results/1")["results"]:
        for run in entry["runs"]:
            yield Result(
                model=entry["model"],
                family=entry["family"],
                kind=entry["kind"],
                study=entry["study"],
                resolution=224,
                top1=run["top1"],
                epochs=run["epochs"],
                epochs_known=True,
                distilled=run.get("distilled", False),
                augmentation=run.get("augmentation", "modern"),
                source=entry["source"],
                build=entry["build"],
                origin="paper",
            )


def build(description: dict[str, Any], resolution: int) -> nn.Module:
    """The network, on the meta device where it can be built there."""
    try:
        with torch.device("meta"):
            return _build(dict(description), resolution)
    except (NotImplementedError, RuntimeError):
        return _build(dict(description), resolution)


def _build(description: dict[str, Any], resolution: int) -> nn.Module:
    if vit := description.get("torchvision_vit"):
        return _vision_transformer(vit, resolution)
    if name := description.get("reference"):
        return network(name)
    timm = import_timm()
    name = description.pop("timm")
    kwargs = description
    try:
        model: nn.Module = timm.create_model(name, img_size=resolution, **kwargs)
    except TypeError:  # convolutional networks take no image size
        model = timm.create_model(name, **kwargs)
    if name.startswith(MERGED):
        from timm.utils.model import reparameterize_model

        model = reparameterize_model(model)
    return model


def _vision_transformer(vit: dict[str, Any], resolution: int) -> nn.Module:
    import_timm()
    from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

    # A stride doubles the channels; equal neighbours mean stride 1 (the paper's section 3).
    stem = vit["stem"]
    strides = [2 if i == 0 or width != stem[i - 1] else 1 for i, width in enumerate(stem)]
    return VisionTransformer(
        image_size=resolution,
        patch_size=16,
        num_layers=vit["layers"],
        num_heads=vit["heads"],
        hidden_dim=vit["hidden"],
        mlp_dim=vit["mlp"],
        conv_stem_configs=[ConvStemConfig(w, 3, s) for w, s in zip(stem, strides, strict=True)] or None,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )


def features(result: Result) -> list[float]:
    """The surrogate's columns. Raises ValueError where the network cannot be traced."""
    if result.build.get("timm", "").startswith(UNTRACEABLE):
        raise ValueError("recurrent cells, whose products the tracer does not see")
    return read(trace(build(result.build, result.resolution), resolution=result.resolution))


def read(program: Program) -> list[float]:
    """The surrogate's columns of a Program. Raises ValueError for one of other than images."""
    try:
        return [float(value) for value in evaluate_columns(COLUMNS, program)]
    except IndexError:
        raise ValueError("convolutions over other than two axes") from None


def ablations(known: Mapping[str, list[float]]) -> str:
    """ablation_values.csv: the columns of every network of ablations.csv and theory.csv.

    `known` holds what `table` has traced already.
    """
    pairs = (*load_ablations(), *load_theory())
    networks = dict.fromkeys(name for row in pairs for name in (row.base, row.variant))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["network", *NAMES])
    for name in networks:
        writer.writerow([name, *map(number, _values(name, known))])
    return out.getvalue()


def _values(network: str, known: Mapping[str, list[float]]) -> list[float]:
    """The columns of a network of ablations.csv."""
    if not network.startswith(TRACED):
        return read(arch_of(network).lower())
    kind, _, rest = network.partition(":")
    name, _, resolution = rest.partition("@")
    size = int(resolution or 224)
    description = {kind: name}
    found = known.get(_key(description, size))
    return found or read(trace(build(description, size), resolution=size))


def _key(description: Mapping[str, Any], resolution: int) -> str:
    return f"{description}@{resolution}"


def number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def table(results: list[Result], known: dict[str, list[float]]) -> tuple[str, dict[str, str]]:
    """The CSV text, and the networks left out with the reason. What is traced is added to `known`."""
    fields = (
        "model,family,kind,study,resolution,top1,epochs,epochs_known,distilled,augmentation,origin".split(",")
    )
    failed: dict[str, str] = {}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*fields, *(f"x.{name}" for name in NAMES), "source"])
    for result in results:
        key = _key(result.build, result.resolution)
        if key not in known and key not in failed:
            try:
                known[key] = features(result)
            except ValueError as error:
                failed[key] = f"{result.model}: {str(error).splitlines()[0][:110]}"
        if key in known:
            meta = [getattr(result, field) for field in fields]
            writer.writerow([*map(_plain, meta), *map(number, known[key]), result.source])
    return out.getvalue(), failed


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, float) else str(value)


def main() -> None:
    results = [*published(), *extra()]
    known: dict[str, list[float]] = {}
    text, failed = table(results, known)
    write_atomic(DATA / "evidence.csv", text)
    print(f"{text.count(chr(10)) - 1} of {len(results)} results written to evidence.csv")
    write_atomic(DATA / "ablation_values.csv", ablations(known))
    for reason in failed.values():
        print(f"left out  {reason}")


if __name__ == "__main__":
    main()
