"""What a training explains of itself: a model card in its folder, with tables, curves and mistakes beside it.

The card is ``README.md``; what it shows lies in ``card/``: each class's precision and recall and the
confusion matrix as CSV, learning curves and the matrix as SVG, and the images of which a wrong answer was
surest.
Everything goes through an XML writer or is escaped: no text of a file becomes markup.
"""

from __future__ import annotations

import csv
import html
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from hvnas import _numbers as numbers
from hvnas._files import read_text, replacing, write_atomic
from hvnas._numbers import clean
from hvnas._records import csv_line, csv_text
from hvnas.latency.registry import stated_latency
from hvnas.train.data.registry import Data
from hvnas.train.evaluation import Examination, Mistake
from hvnas.train.folder import ARCH, LAST, RUN, WEIGHTS, TrainFolder
from hvnas.train.state import EpochResult

CARD, BESIDE = "README.md", "card"
CLASSES, CONFUSION = "classes.csv", "confusion.csv"
CURVES_PICTURE, CONFUSION_PICTURE, MISTAKES = "curves.svg", "confusion.svg", "mistakes"
SHOWN_MISTAKES = 12
LISTED_CLASSES = 40  # in the card's table; the file beside it has all of them
DRAWN_CLASSES = 40  # of which the matrix is drawn
MOST_CELLS = 1_000_000  # of the confusion matrix as a file
MOST_BYTES = 16 * MOST_CELLS
NORMAL = 1.959964  # the quantile of a normal distribution that leaves 2.5 % on either side
LINKS = (f"[{ARCH}]({ARCH})", f"[{RUN}]({RUN})")
NO_PILLOW = "mistakes are not shown in the card: pip install 'hvnas[train]' brings Pillow"

STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1b1f24; } text.soft { fill: #59636e; }
.paper { fill: white; } .grid { stroke: #d0d7de; } polyline { fill: none; stroke-width: 2; }
polyline.loss { stroke: #d55e00; } circle.loss, text.loss { fill: #d55e00; }
polyline.top1 { stroke: #0072b2; } circle.top1, text.top1 { fill: #0072b2; }
""".strip()


@dataclass(frozen=True)
class ClassScores:
    """A class on the test images, in points: `precision` of what is called so, `recall` of what is so.

    None where there is nothing to count. `low` and `high` bound the recall (95 %).
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    low: float | None
    high: float | None


def interval(hits: float, count: int) -> tuple[float, float]:
    """The 95 % interval in points of a share of `hits` out of `count`, by Wilson's score (1927).

    Raises ValueError where `count` is 0.
    """
    if count < 1:
        raise ValueError(f"count: must be a whole number >= 1, got {count}; give the images that were scored")
    share, z2 = hits / count, NORMAL**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return 100.0 * max(0.0, middle - half), 100.0 * min(1.0, middle + half)


def class_scores(confusion: NDArray[np.int64], names: Sequence[str]) -> list[ClassScores]:
    """Each class's scores from a confusion matrix ``[classes, classes]`` (rows: the true class)."""
    scores = []
    for i, name in enumerate(names):
        hits, images, called = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
        low, high = interval(hits, images) if images else (None, None)
        precision = 100.0 * hits / called if called else None
        scores.append(
            ClassScores(name, images, precision, 100.0 * hits / images if images else None, low, high)
        )
    return scores


def explained(examination: Examination, data: Data) -> dict[str, Any]:
    """What the metrics of a training say of its test images beside top-1."""
    scores = examination.scores
    low, high = (
        interval(scores.top1 / 100.0 * scores.images, scores.images) if scores.images else (None, None)
    )
    return {
        "top1_low": low,
        "top1_high": high,
        "top5": scores.top5,
        "test_loss": scores.loss,
        "test_images": scores.images,
        "per_class": [
            vars(each) for each in class_scores(examination.confusion(data.classes), data.class_names)
        ],
    }


def write_card(
    folder: TrainFolder, data: Data, examination: Examination, metrics: Mapping[str, Any]
) -> str | None:
    """Write the card of a training and the files that it shows; what is missing for it, if anything."""
    beside = folder.path / BESIDE
    beside.mkdir(exist_ok=True)
    matrix = examination.confusion(data.classes)
    names = list(map(clean, data.class_names))
    write_atomic(beside / CLASSES, csv_text(metrics["per_class"]))
    if matrix.size <= MOST_CELLS:
        rows = ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
        write_atomic(beside / CONFUSION, "".join(map(csv_line, [["true class", *names], *rows])))
    history = [EpochResult(**entry) for entry in metrics["history"]]
    write_atomic(beside / CURVES_PICTURE, draw_curves(history))
    if data.classes <= DRAWN_CLASSES:
        write_atomic(beside / CONFUSION_PICTURE, draw_confusion(matrix, names))
    problem = _write_mistakes(beside / MISTAKES, examination.mistakes)
    text = "\n".join(_card(folder, data, metrics, [] if problem else examination.mistakes))
    write_atomic(folder.path / CARD, text + "\n")
    return problem


def _write_mistakes(folder: Path, mistakes: Sequence[Mistake]) -> str | None:
    """Write the images of mistakes; what is missing for it, if anything."""
    if not mistakes:
        return None
    try:
        from PIL import Image
    except ImportError:
        return NO_PILLOW
    folder.mkdir(exist_ok=True)
    for number, mistake in enumerate(mistakes, start=1):
        with replacing(folder / _file(number)) as part:
            Image.fromarray(mistake.image.transpose(1, 2, 0)).save(part, format="PNG")
    return None


def _file(number: int) -> str:
    return f"{number:02d}.png"


def _card(
    folder: TrainFolder, data: Data, metrics: Mapping[str, Any], mistakes: Sequence[Mistake]
) -> Iterator[str]:
    run, arch = folder.config, folder.arch
    recipe, program = run.load_recipe(), arch.lower()
    yield "---\nlibrary_name: hvnas\npipeline_tag: image-classification\n---\n"
    yield f"# {_escaped(arch.name)} on {_escaped(data.name)}\n"
    yield (
        f"An image classifier for {data.classes} classes at {data.resolution} px, trained with the recipe "
        f"{_escaped(recipe.name)}.\n"
    )
    yield "## On the test images\n"
    yield from _table(("", ""), _scores(metrics))
    yield f"\nIntervals are 95 % (Wilson). All classes: [{CLASSES}]({BESIDE}/{CLASSES}).\n"
    yield from _classes(metrics["per_class"])
    yield f"\n![Learning curves]({BESIDE}/{CURVES_PICTURE})\n"
    if data.classes <= DRAWN_CLASSES:
        yield f"![Confusion matrix]({BESIDE}/{CONFUSION_PICTURE})\n"
    yield from _mistakes(mistakes, data.class_names)
    yield "## Data\n"
    yield from _table(("", ""), _data_facts(data))
    yield "\n## Recipe\n"
    yield from _table(("", ""), _recipe_facts(folder, metrics))
    yield "\n## Network\n"
    stated = stated_latency(arch, arch.found)
    facts: list[tuple[str, object]] = [
        ("file", LINKS[0]),
        ("params", f"{numbers.millions(program.params)} M"),
        ("MACs", f"{numbers.billions(program.macs)} G at {arch.resolution} px"),
        ("latency", "not stated: name a device with --latency-device" if stated is None else stated),
    ]
    yield from _table(("", ""), facts)
    yield "\n## The same again\n"
    yield f"```bash\n{_command(folder)}\n```\n"
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    yield f"Weights of the best epoch: `{WEIGHTS}`; of the last: `{LAST}`. Trained with {_escaped(versions)}."


def _scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    images = metrics["test_images"]
    if not images:
        yield "images", "none that could be read"
        return
    yield "top-1", f"{_points(metrics['top1'])} ({_range(metrics['top1_low'], metrics['top1_high'])})"
    if metrics["top5"] is not None:
        low, high = interval(metrics["top5"] / 100.0 * images, images)
        yield "top-5", f"{_points(metrics['top5'])} ({_range(low, high)})"
    yield "cross-entropy", f"{metrics['test_loss']:.4f}"
    yield "images", images
    yield "top-1, validation", f"{_points(metrics['val_top1'])} in epoch {metrics['best_epoch']}, the best"


def _classes(scores: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    shown = scores
    if len(scores) > LISTED_CLASSES:
        known = [each for each in scores if each["recall"] is not None]
        shown = sorted(known, key=lambda each: float(each["recall"]))[:LISTED_CLASSES]
        yield f"The {len(shown)} classes with the lowest recall:\n"
    yield from _table(
        ("class", "images", "precision", "recall", "interval"),
        [
            (
                each["name"],
                each["images"],
                _points(each["precision"]),
                _points(each["recall"]),
                "" if each["low"] is None else _range(each["low"], each["high"]),
            )
            for each in shown
        ],
    )


def _mistakes(mistakes: Sequence[Mistake], names: Sequence[str]) -> Iterator[str]:
    if not mistakes:
        return
    yield "## Mistakes\n"
    yield f"The {len(mistakes)} test images of which a wrong answer was surest:\n"
    yield "| image | is | taken for | probability |\n|---|---|---|--:|"
    for number, mistake in enumerate(mistakes, start=1):
        label, predicted = _escaped(names[mistake.label]), _escaped(names[mistake.predicted])
        picture = f'<img src="{BESIDE}/{MISTAKES}/{_file(number)}" width="96" alt="mistake {number}">'
        yield f"| {picture} | {label} | {predicted} | {mistake.share:.2f} |"
    yield ""


def _data_facts(data: Data) -> Iterator[tuple[str, object]]:
    yield "name", data.name
    yield "licence", data.license or "unknown"
    yield "images", f"{len(data.train)} training, {len(data.val)} validation, {len(data.test)} test"
    if data.val_from:
        yield "validation images", data.val_from
    if data.skipped:
        yield "unreadable", f"{len(data.skipped)} images left out"
    yield "resolution", f"{data.resolution} px"
    for name, values in (("mean", data.mean), ("standard deviation", data.std)):
        yield name, ", ".join(f"{value:.6g}" for value in values)


def _recipe_facts(folder: TrainFolder, metrics: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    run = folder.config
    recipe = run.load_recipe()
    training = recipe.training
    yield "name", recipe.name
    if recipe.source:
        yield "source", recipe.source
    early = ", ended early" if metrics["stopped_early"] else ""
    yield "epochs", f"{metrics['epochs_trained']} of {run.epochs}{early}"
    if training is not None:
        optimizer = training.optimizer
        yield "batch", training.batch
        yield (
            "optimiser",
            f"{optimizer.name}, learning rate {optimizer.lr:g}, decay {optimizer.weight_decay:g}",
        )
        if run.weights is not None:
            tuned = training.fine_tuning
            yield "begun with", run.weights
            yield (
                "fine-tuning",
                f"head alone for {tuned.freeze} epochs, a further stage every {tuned.unfreeze} epochs"
                if tuned.unfreeze
                else f"head alone for {tuned.freeze} epochs",
            )
            yield "layer decay", f"{tuned.layer_decay:g}"
    if run.teacher is not None:
        yield "teacher", run.teacher
    yield "seed", run.seed
    yield "settings", LINKS[1]


def _command(folder: TrainFolder) -> str:
    """The command that trains the same again, in another folder."""
    return clean(shlex.join([*folder.config.command, "--out", f"{folder.path.name}-again"]))


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(value: object) -> str:
    return str(value) if value in LINKS else _escaped(value)


def _escaped(text: object) -> str:
    """A text in Markdown as it stands: nothing in it is markup."""
    plain = html.escape(clean(text), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#~!" else sign for sign in plain)


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _range(low: float, high: float) -> str:
    return f"{low:.2f}–{high:.2f}"


# Of the drawings: the size, and what is left for the axes.
_WIDE, _HIGH, _LEFT, _BELOW, _TOP = 560.0, 260.0, 52.0, 34.0, 24.0
_CAPTION = 310.0  # width of what stands below the matrix


def draw_curves(history: Sequence[EpochResult], *, standalone: bool = True) -> str:
    """Return loss and validation top-1 by epoch as an ``svg`` element, each on an axis of its own."""
    svg = _svg(_WIDE, _HIGH, "Learning curves", standalone=standalone)
    right, bottom = _WIDE - _LEFT, _HIGH - _BELOW
    epochs = [entry.epoch for entry in history]
    first, last = min(epochs, default=1), max(epochs, default=1)

    def across(epoch: float) -> float:
        return _LEFT + (right - _LEFT) * (epoch - first) / max(1, last - first)

    for values, kind, at, anchor, name in (
        ([entry.loss for entry in history], "loss", _LEFT - 6, "end", "training loss"),
        ([entry.top1 for entry in history], "top1", right + 6, "start", "validation top-1"),
    ):
        low, high = min(values, default=0.0), max(values, default=1.0)
        spread = (high - low) or 1.0
        heights = [bottom - (bottom - _TOP) * (value - low) / spread for value in values]
        points = " ".join(f"{across(e):.1f},{y:.1f}" for e, y in zip(epochs, heights, strict=True))
        ET.SubElement(svg, "polyline", {"points": points, "class": kind})
        for epoch, value, y in zip(epochs, values, heights, strict=True):
            dot = ET.SubElement(
                svg, "circle", {"cx": f"{across(epoch):.1f}", "cy": f"{y:.1f}", "r": "2.5", "class": kind}
            )
            ET.SubElement(dot, "title").text = f"epoch {epoch}: {name} {value:.4g}"
        for value, y in ((low, bottom), (high, _TOP)):
            _label(svg, f"{value:.3g}", at, y + 4, kind, anchor)
        _label(svg, name, _LEFT if kind == "loss" else right, 12, kind, "start" if kind == "loss" else "end")
    for epoch in sorted({first, (first + last) // 2, last}):
        _label(svg, str(epoch), across(epoch), bottom + 16, "soft", "middle")
    _label(svg, "epoch", (_LEFT + right) / 2, _HIGH - 4, "soft", "middle")
    for y in (_TOP, bottom):
        ET.SubElement(
            svg, "line", {"x1": f"{_LEFT}", "x2": f"{right}", "y1": f"{y}", "y2": f"{y}", "class": "grid"}
        )
    return ET.tostring(svg, encoding="unicode")


def draw_confusion(matrix: NDArray[np.int64], names: Sequence[str], *, standalone: bool = True) -> str:
    """Return a confusion matrix as an ``svg`` element: the darker a cell, the more of its row are in it."""
    count = len(names)
    cell = max(12.0, min(36.0, 480.0 / max(1, count)))
    margin = 7.0 * min(18, max(map(len, names), default=1)) + 12
    size = margin + cell * count + 12
    svg = _svg(max(size, margin + _CAPTION), size + 16, "Confusion matrix", standalone=standalone)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for i, name in enumerate(names):
        at = margin + cell * (i + 0.5)
        _label(svg, name[:18], margin - 6, at + 4, "soft", "end")
        column = _label(svg, name[:18], at + 4, margin - 6, "soft", "start")
        column.set("transform", f"rotate(-90 {at + 4:.1f} {margin - 6:.1f})")
        for j, other in enumerate(names):
            _draw_cell(svg, margin, cell, (i, j), int(matrix[i, j]), float(shares[i, j]), f"{name} → {other}")
    _label(svg, "rows: the true class; columns: what it was taken for", margin, size + 8, "soft", "start")
    return ET.tostring(svg, encoding="unicode")


def draw_saved_confusion(folder: Path) -> str | None:
    """Return the confusion matrix beside the card of a training as an ``svg`` element of a page.

    None where there is no file of it, or more classes than are drawn. Raises ValueError where it is damaged.
    """
    file = folder / BESIDE / CONFUSION
    if not file.is_file():
        return None
    try:
        first, *rows = list(csv.reader(read_text(file, limit=MOST_BYTES).splitlines())) or [[]]
    except csv.Error as error:
        raise ValueError(f"{file}: {error}; restore it, or delete it") from None
    names = first[1:]
    if len(names) > DRAWN_CLASSES:
        return None
    square = bool(names) and len(rows) == len(names) and all(len(row) == len(first) for row in rows)
    if not square or not all(cell.isdecimal() and len(cell) < 16 for row in rows for cell in row[1:]):
        raise ValueError(f"{file}: must hold a line of counts for each class; restore it, or delete it")
    matrix = np.array([[int(cell) for cell in row[1:]] for row in rows], np.int64)
    return draw_confusion(matrix, names, standalone=False)


def _draw_cell(
    svg: ET.Element, margin: float, cell: float, at: tuple[int, int], images: int, share: float, pair: str
) -> None:
    row, column = at
    x, y = margin + cell * column, margin + cell * row
    colour = "0, 114, 178" if row == column else "213, 94, 0"
    shape = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{cell - 1:.1f}", "height": f"{cell - 1:.1f}"}
    box = ET.SubElement(svg, "rect", {**shape, "fill": f"rgba({colour}, {max(share, 0.04):.3f})"})
    ET.SubElement(box, "title").text = clean(f"{pair}: {images}")
    if images and cell >= 20:
        text = _label(svg, str(images), x + cell / 2, y + cell / 2 + 4, "count", "middle")
        if share > 0.6:
            text.set("style", "fill: white")


def _svg(wide: float, high: float, title: str, *, standalone: bool) -> ET.Element:
    svg = ET.Element("svg", {"class": "training", "viewBox": f"0 0 {wide:.0f} {high:.0f}", "role": "img"})
    ET.SubElement(svg, "title").text = title
    if standalone:
        svg.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "width": f"{wide:.0f}", "height": f"{high:.0f}"}
        ET.SubElement(svg, "style").text = STYLE
        ET.SubElement(svg, "rect", {"width": "100%", "height": "100%", "class": "paper"})
    return svg


def _label(svg: ET.Element, text: str, x: float, y: float, kind: str, anchor: str) -> ET.Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": kind, "text-anchor": anchor}
    element = ET.SubElement(svg, "text", place)
    element.text = clean(text)
    return element
