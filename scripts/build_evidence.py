"""Trace every network of the published results and write the table that the surrogate is fitted on.

    python scripts/build_evidence.py

Reads hvnas/accuracy/data/published.csv (timm's results), recipe_tags.csv and recipes_override.csv (what
is known of the training behind each weight) and extra.yaml (results of papers), builds each network on
the meta device, traces it with hvnas.ops.trace and writes hvnas/accuracy/data/evidence.csv. Networks
whose branches merge for deployment (see MERGED) are traced merged. Needs `pip install 'hvnas[peers]'`.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _timm import import_timm
from torch import nn

from hvnas._files import read_yaml, write_atomic
from hvnas.accuracy.columns import COLUMNS, NAMES
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
    if "poolformer_s12" in description:
        return _poolformer_s12(description["poolformer_s12"])
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


def _poolformer_s12(changes: dict[str, Any]) -> nn.Module:
    """PoolFormer-S12 with other token mixers, norms or activations, as in the paper's Table 5."""
    import_timm()
    from timm.layers import GroupNorm1, LayerNorm2d
    from timm.models import metaformer

    mixers = {
        "pool": metaformer.Pooling,
        "attention": metaformer.Attention,
        "identity": nn.Identity,
        "depthwise": _Depthwise,
    }
    norm = {"layer": LayerNorm2d, "batch": nn.BatchNorm2d, "group": GroupNorm1}[changes.get("norm", "group")]
    chosen = [mixers[name] for name in changes.get("mixers", ["pool"] * 4)]
    model: nn.Module = metaformer.MetaFormer(
        depths=(2, 2, 6, 2),
        dims=(64, 128, 320, 512),
        token_mixers=chosen,
        # timm hands attention stages flattened tokens.
        norm_layers=[nn.LayerNorm if mixer is metaformer.Attention else norm for mixer in chosen],
        mlp_act={"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}[changes.get("act", "gelu")],
        mlp_bias=True,
        downsample_norm=None,
        layer_scale_init_values=1e-5,
        res_scale_init_values=None,
        use_mlp_head=False,
    )
    return model


class _Depthwise(nn.Module):
    """The depthwise 3 x 3 token mixer of PoolFormer's ablation."""

    def __init__(self, dim: int, **_: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y


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
    program: Program = trace(build(result.build, result.resolution), resolution=result.resolution)
    try:
        return [float(value) for value in evaluate_columns(COLUMNS, program)]
    except IndexError:
        raise ValueError("convolutions over other than two axes") from None


def number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def table(results: list[Result]) -> tuple[str, dict[str, str]]:
    """The CSV text, and the networks left out with the reason."""
    fields = (
        "model,family,kind,study,resolution,top1,epochs,epochs_known,distilled,augmentation,origin".split(",")
    )
    known: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*fields, *(f"x.{name}" for name in NAMES), "source"])
    for result in results:
        key = f"{result.build}@{result.resolution}"
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
    text, failed = table(results)
    write_atomic(DATA / "evidence.csv", text)
    print(f"{text.count(chr(10)) - 1} of {len(results)} results written to evidence.csv")
    for reason in failed.values():
        print(f"left out  {reason}")


if __name__ == "__main__":
    main()
