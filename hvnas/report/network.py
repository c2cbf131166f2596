"""A network as a report tells of it: sizes, latency on devices, accuracy, origin, and a drawing in SVG.

A network drawn as SVG, from the image down to the head: a bar for each block, as wide as its channels.

Everything goes through an XML writer: no text of a file becomes markup.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from hvnas import _numbers as numbers
from hvnas._numbers import clean
from hvnas.arch import Arch, Stage
from hvnas.arch.arch import Part, Placed, expansion_range, outline, sampled
from hvnas.blocks import Block
from hvnas.latency import Device, LatencyEstimate
from hvnas.latency.registry import stated_latency
from hvnas.ops import State

if TYPE_CHECKING:
    from hvnas.accuracy import AccuracyEstimator


# The quantile of a normal distribution that leaves 2.5 % on either side.
_NORMAL = NormalDist().inv_cdf(0.975)
# What every network is put beside.
REFERENCE = "efficientformer_l1"
RECIPE, SCENARIO = "modern300", "imagenet1k"
# How the parts of a breakdown that are no stage are called, and in which order the others come.
FIXED = "once per image"

# Pixels at the natural size: the drawing, the bars' column, a bar, a line of text.
WIDTH, _COLUMN = 340, 116
_BAR, _GAP, _LINE, _PAD = 7.0, 2.0, 15.0, 10.0
# The bars of a part are no higher than this together: those of a long run become thinner.
_TALLEST = 180.0
# Bars that can be told apart; of more blocks each stands for several.
_BARS = 90
# Channels whose bars are the narrowest and the widest.
_FEW, _MANY, _NARROW = 8, 2048, 0.1
# Characters of a line beside the bars.
_CHARACTERS = 36
STYLE = """
.network text { font: 11px system-ui, sans-serif; fill: var(--ink, #1b1f24); }
.network .name { font-weight: 600; font-size: 12px; }
.network .shape, .network .ms { fill: var(--soft, #59636e); }
.network .local { fill: var(--c0, #0072b2); } .network .global { fill: var(--c1, #d55e00); }
.network .other { fill: #8b949e; }
""".strip()


@dataclass(frozen=True)
class Accuracy:
    """Top-1 in points with its standard deviation, trained as `recipe`; or a score, where `unit` says so.

    `cross_fitted` is the number that choosing a network flatters less, nan where there is none.
    """

    mean: float
    sd: float
    unit: str
    estimator: str
    recipe: str
    cross_fitted: float = math.nan
    cross_fitted_sd: float = math.nan

    @property
    def cross_fitted_text(self) -> str | None:
        """The cross-fitted top-1 with its standard deviation; None where there is none."""
        return numbers.points_if_known(self.cross_fitted, self.cross_fitted_sd)

    @property
    def interval(self) -> str | None:
        """The 95 % interval of top-1; None of a score."""
        return None if self.unit == "score" else _interval(self.mean, self.sd)

    @property
    def cross_fitted_interval(self) -> str | None:
        """The 95 % interval of the cross-fitted top-1; None where there is none."""
        return _interval(self.cross_fitted, self.cross_fitted_sd)

    def __str__(self) -> str:
        return f"{self.mean:.4g}" if self.unit == "score" else f"{self.mean:.1f} ± {self.sd:.1f}"


def _interval(mean: float, sd: float) -> str | None:
    """The 95 % interval of a number with its standard deviation, in points; None where it is not known."""
    if not math.isfinite(mean + sd):
        return None
    return f"{max(0.0, mean - _NORMAL * sd):.1f}–{min(100.0, mean + _NORMAL * sd):.1f}"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network; `latency` is by the device's name, `run` the search that found it, if one did.

    `name` is unique in its report; it comes from a file, like everything in `published`. `chance` is that
    of `budget_ms` milliseconds on the first device; `training` is what a training of it came to.
    """

    name: str
    arch: Arch = field(repr=False)
    params: int
    macs: int
    latency: Mapping[str, LatencyEstimate] = field(repr=False)
    accuracy: Accuracy | None
    run: str | None = None
    budget_ms: float | None = None
    chance: float | None = None
    assumed: tuple[str, ...] = ()
    training: Training | None = None

    @property
    def trained(self) -> str | None:
        """What a training of it came to, in a line."""
        return None if self.training is None else self.training.said

    @property
    def published(self) -> float | None:
        """The published top-1 in points; None where the file has no number there."""
        value = (self.arch.published or {}).get("top1")
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def describe_network(
    arch: Arch, devices: Sequence[Device], *, accuracy: Accuracy | None, assumed: Sequence[str] = ()
) -> Network:
    """The network's numbers. Raises ValueError where it cannot be lowered."""
    program = arch.lower()
    return Network(
        name=arch.name,
        arch=arch,
        params=program.params,
        macs=program.macs,
        latency={device.name: device.latency(program) for device in devices},
        accuracy=accuracy,
        assumed=tuple(assumed),
    )


def estimated(
    archs: Sequence[Arch], estimator: AccuracyEstimator, name: str, *, recipe: str, scenario: str
) -> list[Accuracy]:
    """What a cheap estimator of top-1 says. Raises ValueError for an unknown recipe or scenario."""
    if not archs:
        return []
    found = estimator.estimate(archs, recipe=recipe, scenario=scenario)
    crossed = estimator.estimate_cross_fitted(archs, recipe=recipe, scenario=scenario)
    told = [*found, *(crossed or [np.full(len(archs), np.nan)] * 2)]
    return [
        Accuracy(mean, sd, "points", name, recipe, cross_fitted, cross_fitted_sd)
        for mean, sd, cross_fitted, cross_fitted_sd in np.stack(told, axis=1).tolist()
    ]


def stage_name(label: str) -> str:
    """How a part is called: ``stages.2`` is stage 3."""
    first, _, number = label.partition(".")
    return f"stage {int(number) + 1}" if first == "stages" and number.isdigit() else label


def by_stage(estimate: LatencyEstimate) -> dict[str, float]:
    """Milliseconds by part in order, what a network takes once per image last."""
    parts = {stage_name(label): ms for label, ms in estimate.breakdown.stages.items()}
    return parts | {FIXED: estimate.breakdown.fixed}


def by_kind(estimate: LatencyEstimate) -> dict[str, float]:
    """Milliseconds by kind of op, the costliest first, what a network takes once per image last.

    Kinds that cost nothing on the device are left out.
    """
    kinds = sorted(estimate.breakdown.kinds.items(), key=lambda pair: -pair[1])
    return {kind: ms for kind, ms in kinds if ms > 0} | {FIXED: estimate.breakdown.fixed}


def aligned(parts: Sequence[Mapping[str, float]]) -> list[tuple[str, list[float | None]]]:
    """Breakdowns side by side: each part's name with the milliseconds of every network, None without it.

    Parts come in the order of a network, what is fixed last; kinds of op as in the first one.
    """
    names = list(dict.fromkeys(name for part in parts for name in part if name != FIXED))
    # Not every network has tokens, or as many stages before its head.
    names.sort(key=lambda name: {"stem": 0, "tokens": 1, "head": 3}.get(name, 2))
    return [(name, [part.get(name) for part in parts]) for name in (*names, FIXED)]


def is_training(path: str | Path) -> bool:
    """Whether a folder is that of a training."""
    from hvnas.train.folder import TrainFolder

    return TrainFolder(path).holds_run


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training came to: `said` in a line, and where it is through its numbers and drawings.

    `top1` and its 95 % interval are points on the test images. `curves` and `confusion` are ``svg`` elements,
    None where the training has fewer than two epochs, or no matrix that can be drawn. `latency` is by the
    device's name, of `arch` at its resolution and with its classes.
    """

    said: str
    arch: Arch = field(repr=False)
    data: str
    recipe: str | None = None
    epochs: str | None = None
    top1: float | None = None
    low: float | None = None
    high: float | None = None
    curves: str | None = field(default=None, repr=False)
    confusion: str | None = field(default=None, repr=False)
    latency: Mapping[str, LatencyEstimate] = field(default_factory=dict, repr=False)


def trained_network(path: str | Path) -> tuple[Arch, Training]:
    """The network of a training and what it came to. Raises ValueError where a file of it is damaged."""
    from hvnas.train.folder import TrainFolder

    folder = TrainFolder(path)
    return folder.arch, _training_of(folder)


def trained_beside(path: Path, arch: Arch) -> Training | None:
    """What the training in the folder of a search came to; None without one of this network."""
    from hvnas.train.folder import find_training

    folder = find_training(path)
    return None if folder is None or folder.arch.name != arch.name else _training_of(folder)


def with_training(network: Network, training: Training | None, devices: Sequence[Device]) -> Network:
    """`network` with what a training of it came to, timed on `devices`, where there is one."""
    if training is None:
        return network
    program = training.arch.lower()
    latency = {device.name: device.latency(program) for device in devices}
    return dataclasses.replace(network, training=dataclasses.replace(training, latency=latency))


def _training_of(folder: Any) -> Training:
    from hvnas.train.card import draw_curves, draw_saved_confusion
    from hvnas.train.folder import METRICS
    from hvnas.train.state import EpochResult

    run, arch = folder.config, folder.arch
    if not (folder.path / METRICS).is_file():
        return Training(said="not through yet", arch=arch, data=run.data)
    metrics = folder.metrics()
    history = [EpochResult(**entry) for entry in metrics["history"]]
    top1, low, high = (_points(metrics.get(name)) for name in ("top1", "top1_low", "top1_high"))
    return Training(
        said=_said(folder, metrics),
        arch=arch,
        data=run.data,
        recipe=str(metrics.get("recipe")),
        epochs=f"{metrics.get('epochs_trained')} of {run.epochs}",
        top1=top1,
        low=low,
        high=high,
        curves=draw_curves(history, standalone=False) if len(history) > 1 else None,
        confusion=draw_saved_confusion(folder.path),
    )


def _points(value: object) -> float | None:
    """A number of a metrics file; None where it has none there."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None  # type: ignore[arg-type]


def _said(folder: Any, metrics: Mapping[str, Any]) -> str:
    top1 = numbers.optional(metrics.get("top1"), digits=2)
    run, arch = folder.config, folder.arch
    stated = stated_latency(arch, arch.found)
    latency = "" if stated is None else f"; {stated}"
    return (
        f"top-1 {top1 or 'unknown'} on {run.data} at {run.resolution} px, {run.classes} classes "
        f"({metrics.get('recipe')}, {metrics.get('epochs_trained')} of {run.epochs} epochs){latency}"
    )


@dataclass(frozen=True)
class _Row:
    """A part: its name, lines of text, its milliseconds, and its bars."""

    name: str
    lines: tuple[str, ...]
    ms: str
    bars: tuple[Placed, ...]

    @property
    def pitch(self) -> float:
        """From one bar to the next."""
        return min(_BAR + _GAP, _TALLEST / max(1, len(self.bars)))

    @property
    def height(self) -> float:
        return max(self.pitch * len(self.bars), _LINE * (1 + len(self.lines)))


def draw_network(network: Network, *, device: str | None = None, standalone: bool = False) -> str:
    """The drawing as an ``svg`` element; `device` is whose milliseconds stand beside the parts.

    One that stands alone carries its style and its size.
    """
    estimate = None if device is None else network.latency[device]
    rows = list(_rows(network.arch, estimate))
    height = _PAD + sum(row.height + _PAD for row in rows)
    svg = ET.Element("svg", {"class": "network", "viewBox": f"0 0 {WIDTH} {height:.0f}", "role": "img"})
    ET.SubElement(svg, "title").text = f"{clean(network.name)}, stage by stage"
    if standalone:
        svg.attrib |= {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(2 * WIDTH),
            "height": f"{2 * height:.0f}",
        }
        ET.SubElement(svg, "style").text = STYLE
        ET.SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    y = _PAD
    for row in rows:
        _draw_row(svg, row, y)
        y += row.height + _PAD
    return ET.tostring(svg, encoding="unicode")


def _rows(arch: Arch, estimate: LatencyEstimate | None) -> Iterator[_Row]:
    times = {} if estimate is None else by_stage(estimate)
    yield _Row("image", (_shape(arch.input_state),), "", ())
    for part in outline(arch):
        name = stage_name(part.label)
        bars = part.blocks[:: math.ceil(len(part.blocks) / _BARS)]
        yield _Row(name, tuple(_lines(arch, part)), _ms(times.get(name)), bars)
    if estimate is not None:
        yield _Row(FIXED, (), _ms(times[FIXED]), ())


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} ms"


def _lines(arch: Arch, part: Part) -> Iterator[str]:
    first, _, number = part.label.partition(".")
    if first == "stages":
        yield from _stage_lines(arch.stages[int(number)])
    else:
        block = part.blocks[0].block
        yield sampled(block) if block.role != "head" else f"{block.type}, {block.out} classes"
    if part.leaves is not None:
        yield f"→ {_shape(part.leaves)}"


def _stage_lines(stage: Stage) -> Iterator[str]:
    if isinstance(stage.downsample, Block):
        yield f"↓ {sampled(stage.downsample)}"
    elif stage.downsample is not None:
        yield "↓ in the first block"
    for name, run in stage.runs:
        expand = expansion_range(run)
        shown = f"{run.block.type} × {run.depth}" + (f", expand {expand}" if expand else "")
        yield f"{'◆' if name == 'global' else '■'} {shown}"


def _shape(state: State) -> str:
    """``224 × 14 × 14`` (channels, height, width), ``49 tokens of 448``."""
    parts = []
    if state.map is not None:
        parts.append(" × ".join(map(str, state.map)))
    if state.tokens is not None:
        parts.append(f"{state.tokens[0]} tokens of {state.tokens[1]}")
    return ", ".join(parts)


def _draw_row(svg: ET.Element, row: _Row, y: float) -> None:
    for i, placed in enumerate(row.bars):
        _draw_bar(svg, placed, y + i * row.pitch, row.pitch * _BAR / (_BAR + _GAP))
    text = _text(svg, row.name, _COLUMN + 12, y + 10, "name")
    if row.ms:
        _text(svg, row.ms, WIDTH - 4, y + 10, "ms").set("text-anchor", "end")
    for i, line in enumerate(row.lines, start=1):
        kind = "shape" if line.startswith("→") or row.name == "image" else "line"
        text = _text(svg, line[:_CHARACTERS], _COLUMN + 12, y + 10 + i * _LINE, kind)
        if len(line) > _CHARACTERS:
            ET.SubElement(text, "title").text = line


def _text(svg: ET.Element, text: str, x: float, y: float, kind: str) -> ET.Element:
    element = ET.SubElement(svg, "text", {"x": f"{x:g}", "y": f"{y:g}", "class": kind})
    element.text = clean(text)
    return element


def _draw_bar(svg: ET.Element, placed: Placed, y: float, height: float) -> None:
    width = _width(placed.block.out if placed.leaves is None else _channels(placed.leaves))
    bar = ET.SubElement(
        svg,
        "rect",
        {
            "x": f"{(_COLUMN - width) / 2 + 4:.1f}",
            "y": f"{y:.1f}",
            "width": f"{width:.1f}",
            "height": f"{height:.1f}",
            "rx": "1.5",
            "class": _kind(placed.label),
        },
    )
    ET.SubElement(bar, "title").text = _described(placed)


def _channels(state: State) -> int:
    if state.map is not None:
        return state.map[0]
    assert state.tokens is not None
    return state.tokens[1]


def _width(channels: int) -> float:
    """Of a bar: logarithmic in the channels."""
    share = math.log(min(max(channels, _FEW), _MANY) / _FEW) / math.log(_MANY / _FEW)
    return _COLUMN * (_NARROW + (1 - _NARROW) * share)


def _kind(label: str) -> str:
    return next((kind for kind in ("local", "global") if f".{kind}." in label), "other")


def _described(placed: Placed) -> str:
    """A block with all its fields, and what it leaves."""
    block = placed.block
    fields = [f"{f.name} {_plain(getattr(block, f.name))}" for f in dataclasses.fields(block)]
    leaves = "" if placed.leaves is None else f" → {_shape(placed.leaves)}"
    return clean(f"{placed.label}: {block.type}, {', '.join(fields)}{leaves}")


def _plain(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
