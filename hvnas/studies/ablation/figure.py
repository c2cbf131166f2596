"""A study drawn with matplotlib (the extra ``plot``): a row of panels for each of its tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hvnas._files import write_atomic
from hvnas.latency.plots import check_target, save_figure
from hvnas.studies.ablation._panels import draw_estimates, draw_host, draw_latency, draw_macs
from hvnas.studies.ablation.facts import to_csv
from hvnas.studies.ablation.run import PartResult, StudyResult

ENDINGS = (".csv", ".png", ".svg")
# Inches: the figure's width, and the height of a panel without rows and of a row.
_WIDTH, _PANEL, _ROW = 9.5, 0.72, 0.17
# In an SVG, text stays text, which takes a fifth of the room of its outlines.
_SETTINGS = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}


def check_folder(out: Path, name: str) -> None:
    """Raise ValueError where a study's files cannot be written to the folder `out`."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}; create it first")
    check_target(out.parent / f"{name}.png")


def write_study(found: StudyResult, out: Path) -> tuple[Path, ...]:
    """Write NAME.csv, NAME.png and NAME.svg to a folder, which is made; returns the paths.

    Equal results give equal files. Raises as `check_folder`.
    """
    from matplotlib import rc_context

    check_folder(out, found.study.name)
    out.mkdir(exist_ok=True)
    table, *plots = (out / f"{found.study.name}{ending}" for ending in ENDINGS)
    write_atomic(table, to_csv(found))
    for plot in plots:
        with rc_context(_SETTINGS):  # type: ignore[arg-type]  # the stubs want a literal
            save_figure(_drawn, found, plot, found.study.title)
    return table, *plots


def _drawn(found: StudyResult, title: str) -> Any:
    from matplotlib.figure import Figure

    heights = [_PANEL + _ROW * len(result.rows) for result in found.parts]
    figure = Figure(figsize=(_WIDTH, 0.8 + sum(heights)), layout="constrained", facecolor="white")
    axes = figure.subplots(len(found.parts), 2, squeeze=False, height_ratios=heights)
    for (left, right), result in zip(axes, found.parts, strict=True):
        _draw(left, right, result, found.estimator)
    figure.suptitle(title, fontsize=10)
    legend = _legend(axes.ravel())
    if legend:
        figure.legend(legend.values(), legend, loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    return figure


def _draw(left: Any, right: Any, result: PartResult, estimator: str) -> None:
    """A table's two panels: accuracy, or MACs where none is asked for, and latency."""
    if result.scenarios:
        draw_estimates(left, result, estimator)
    else:
        draw_macs(left, result)
    if result.device is None:
        draw_host(right, result)
    else:
        draw_latency(right, result)
    left.set_title(result.part.title or result.part.name, loc="left", fontsize=8)
    for axis in (left, right):
        axis.tick_params(labelsize=7)
        axis.xaxis.label.set_size(7)
    right.set_yticks([])


def _legend(axes: Iterable[Any]) -> dict[str, Any]:
    """One handle for each name in any panel."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    return found
