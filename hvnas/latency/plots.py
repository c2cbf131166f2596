"""Figures of latency: where the milliseconds go, and predicted against measured.

An .html file is written with plotly (the extra ``report``), .png and .svg with matplotlib (``plot``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hvnas._files import check_parent, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What writes a file of this ending, and the extra that brings it.
WRITERS = {
    ".html": ("plotly", "report"),
    ".png": ("matplotlib", "plot"),
    ".svg": ("matplotlib", "plot"),
}
BAND = 0.1


@dataclass(frozen=True)
class Bar:
    """One bar of stacked parts, milliseconds by name; `group` is the figure's panel that it stands in."""

    group: str
    name: str
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Points:
    """Networks of one colour: their names, and predicted and measured milliseconds [n]."""

    label: str
    names: Sequence[str]
    predicted: Sequence[float]
    measured: Sequence[float]


def check_target(path: str | Path) -> None:
    """Raise ValueError where a figure cannot be written there: before anything long is done for it."""
    path = Path(path)
    if path.suffix not in WRITERS:
        raise ValueError(f"{path}: a figure's name ends in {', '.join(WRITERS)}; choose one of them")
    check_writer(path, *WRITERS[path.suffix])
    check_parent(path)


def check_writer(path: Path, package: str, extra: str) -> None:
    """Raise ValueError where what writes `path` is not installed, naming the extra that brings it."""
    if find_spec(package) is None:
        raise ValueError(f"{path}: {package} is not installed; pip install 'hvnas[{extra}]' brings it")


def check_folder(folder: Path, *figures: str) -> None:
    """Raise ValueError where `figures` cannot be written to a folder, which is made where it is not there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file; name a folder")
    check_parent(folder)
    for name in figures:
        check_target(folder.parent / name)


def save_bars(bars: Sequence[Bar], path: str | Path, *, title: str) -> None:
    """Horizontal stacked bars, a panel for each group. Raises ValueError as `check_target`."""
    check_target(path)
    save_figure(_bars_html if Path(path).suffix == ".html" else _bars, bars, path, title)


def save_scatter(points: Sequence[Points], path: str | Path, *, title: str) -> None:
    """Predicted against measured on logarithmic axes, with a band of ±10 %. Raises as `check_target`."""
    check_target(path)
    save_figure(_scatter_html if Path(path).suffix == ".html" else _scatter, points, path, title)


def save_figure(draw: Callable[[Any, str], Any], data: Any, path: str | Path, title: str) -> None:
    """Write what `draw` makes of `data` and `title`: a figure of plotly to .html, of matplotlib elsewhere."""
    suffix = Path(path).suffix
    if suffix == ".html":
        with replacing(path) as part:
            draw(data, title).write_html(part, include_plotlyjs=True)
        return
    from matplotlib import rc_context

    # Names come from files: a dollar sign in one is no formula. Equal figures are equal files: an SVG's ids
    # are not random, and it has no date.
    dated = {"Date": None} if suffix == ".svg" else None
    with replacing(path) as part, rc_context({"text.parse_math": False, "svg.hashsalt": "hvnas"}):
        draw(data, title).savefig(part, format=suffix[1:], dpi=150, bbox_inches="tight", metadata=dated)


def _groups(bars: Sequence[Bar]) -> list[str]:
    return list(dict.fromkeys(bar.group for bar in bars))


def _parts(bars: Sequence[Bar]) -> list[str]:
    return list(dict.fromkeys(name for bar in bars for name in bar.parts))


def _bars(bars: Sequence[Bar], title: str) -> Any:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    groups = _groups(bars)
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    figure = Figure(figsize=(10, 1.2 + 0.7 * len(bars) + 0.9 * len(groups)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(groups), sharex=True))
    for axis, group in zip(axes, groups, strict=True):
        here = [bar for bar in bars if bar.group == group]
        left = np.zeros(len(here))
        for k, name in enumerate(_parts(here)):
            width = np.array([bar.parts.get(name, 0.0) for bar in here])
            axis.barh(
                [bar.name for bar in here], width, left=left, label=name, color=colours[k % len(colours)]
            )
            left += width
        axis.invert_yaxis()
        axis.set_title(group, loc="left", fontsize=9)
        axis.legend(fontsize=7, ncols=2, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes[-1].set_xlabel("ms")
    figure.suptitle(title, fontsize=10)
    return figure


def _bars_html(bars: Sequence[Bar], title: str) -> Any:
    from plotly.graph_objects import Bar as Trace
    from plotly.subplots import make_subplots

    groups = _groups(bars)
    figure = make_subplots(rows=len(groups), cols=1, shared_xaxes=True, subplot_titles=groups)
    for row, group in enumerate(groups, start=1):
        here = [bar for bar in bars if bar.group == group]
        for name in _parts(here):
            width = [bar.parts.get(name, 0.0) for bar in here]
            names = [escape(bar.name) for bar in here]
            trace = Trace(y=names, x=width, name=escape(name), orientation="h", legendgroup=group)
            figure.add_trace(trace, row=row, col=1)
    figure.update_xaxes(title_text="ms", row=len(groups), col=1)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(barmode="stack", title=escape(title), height=220 + 90 * len(bars))
    return figure


def _extent(points: Sequence[Points]) -> tuple[float, float]:
    every = np.concatenate([[*group.predicted, *group.measured] for group in points])
    return float(every.min()) / 1.15, float(every.max()) * 1.15


def _scatter(points: Sequence[Points], title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axis = figure.subplots()
    line = np.array(_extent(points))
    axis.fill_between(line, line * (1 - BAND), line * (1 + BAND), color="0.9", label="±10 %")
    axis.plot(line, line, color="0.4", linewidth=0.8)
    for group in points:
        axis.scatter(group.measured, group.predicted, s=18, label=group.label, alpha=0.8)
    axis.set(xscale="log", yscale="log", xlim=line, ylim=line)
    axis.set(xlabel="measured, ms", ylabel="predicted, ms")
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _scatter_html(points: Sequence[Points], title: str) -> Any:
    from plotly.graph_objects import Figure, Scatter

    low, high = _extent(points)
    line = [low, high]
    figure = Figure()
    for factor, dash in ((1 - BAND, "dot"), (1.0, "solid"), (1 + BAND, "dot")):
        name = "equal" if factor == 1 else f"{factor - 1:+.0%}"
        style = {"color": "gray", "dash": dash, "width": 1}
        figure.add_trace(Scatter(x=line, y=[factor * x for x in line], mode="lines", line=style, name=name))
    for group in points:
        trace = Scatter(
            x=list(group.measured),
            y=list(group.predicted),
            mode="markers",
            name=escape(group.label),
            text=[escape(name) for name in group.names],
        )
        figure.add_trace(trace)
    figure.update_xaxes(type="log", title_text="measured, ms")
    figure.update_yaxes(type="log", title_text="predicted, ms")
    figure.update_layout(title=escape(title), width=800, height=720)
    return figure


def draw_front(
    front: Sequence[tuple[float, float, float]],
    models: Sequence[tuple[float, float]],
    *,
    budget_ms: float,
    labels: tuple[str, str],
) -> Figure:
    """Draw a front, (milliseconds, accuracy, its standard deviation) each, and papers' models beside it.

    `labels` are those of the axes. Raises ValueError where matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ValueError("matplotlib is not installed; pip install 'hvnas[plot]' brings it")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    ms, accuracy, sd = np.array(front).T
    axes.errorbar(ms, accuracy, yerr=np.nan_to_num(sd), fmt="o", markersize=4, elinewidth=0.8, label="found")
    if models:
        axes.plot(*np.array(models).T, "x", label="papers' models")
    axes.axvline(budget_ms, linestyle=":", color="grey", label="budget")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend()
    # Else a notebook shows it twice: as what the cell returns, and at its end.
    pyplot.close(figure)
    return figure
