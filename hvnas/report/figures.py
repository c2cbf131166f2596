"""A comparison drawn: .html with plotly (the extra ``report``), .png and .svg with matplotlib (``plot``)."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from hvnas.latency.plots import check_target, save_figure
from hvnas.report.compare import Comparison
from hvnas.report.panels import Curve, Panel, front_panels, history_panels

# Okabe and Ito (2008), "Color universal design"; black and yellow, which read badly as lines, left out.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = (("solid", "-"), ("dash", "--"), ("dot", ":"), ("dashdot", "-."))  # in plotly, in matplotlib
# Decades of a logarithmic axis from which 2 and 5 between the powers of ten crowd its labels.
_MANY = 3
# Characters that a row of the legend has room for.
_LEGEND = 120
_GREY = "#444444"
_MARKS = "fixed points"


def save_comparison(found: Comparison, path: str | Path) -> None:
    """Draw the fronts side by side and the hypervolume's growth.

    Raises ValueError where no figure can be written at `path`, naming the extra that is missing.
    """
    check_target(path)
    save_figure(_html if Path(path).suffix == ".html" else _drawn, found, path, title(found))


def title(found: Comparison) -> str:
    """What is compared, in one line."""
    config = found.runs[0].config
    return (
        f"{len(found.runs)} runs on {config.device}: {config.estimator}, {config.recipe}, {config.scenario}"
    )


def _style(run: int) -> tuple[str, tuple[str, str]]:
    return _COLOURS[run % len(_COLOURS)], _DASHES[run // len(_COLOURS) % len(_DASHES)]


def _drawn(found: Comparison, heading: str) -> Any:
    from matplotlib.figure import Figure

    fronts, histories = front_panels(found), history_panels(found)
    rows = len(fronts) + bool(histories)
    heights = [1.6] * len(fronts) + [1.0] * bool(histories)
    figure = Figure(figsize=(10, 1.2 + 3.1 * sum(heights)), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(rows, 2, height_ratios=heights)
    axes = [figure.add_subplot(grid[row, :]) for row in range(len(fronts))]
    axes += [figure.add_subplot(grid[rows - 1, column]) for column in range(len(histories))]
    for axis, panel in zip(axes, (*fronts, *histories), strict=True):
        _draw_panel(axis, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    columns = max(1, min(6, _LEGEND // (max(map(len, labels)) + 8)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    figure.suptitle(heading, fontsize=11)
    return figure


def _draw_panel(axis: Any, panel: Panel) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for curve in panel.curves:
        colour, (_, dash) = _style(curve.run)
        line = {"drawstyle": "steps-post", "linestyle": dash} if curve.steps else {"linestyle": "none"}
        size = 2.5 if curve.steps else 3.5
        axis.plot(curve.x, curve.y, marker="o", markersize=size, color=colour, label=curve.name, **line)
    if panel.marks:
        xs, ys = [m.x for m in panel.marks], [m.y for m in panel.marks]
        axis.scatter(
            xs, ys, marker="D", s=28, color=_GREY, edgecolor="white", linewidth=0.5, label=_MARKS, zorder=3
        )
    for mark in panel.marks:
        if mark.labelled:
            side, shift = ("right", -4) if mark.at_end else ("left", 4)
            place = {"xytext": (shift, -3), "textcoords": "offset points", "va": "top", "ha": side}
            axis.annotate(mark.name, (mark.x, mark.y), fontsize=7, color="#444444", **place)
    axis.set(xlabel=panel.x_label, ylabel=panel.y_label)
    if panel.x_range is not None and panel.y_range is not None:
        axis.set(xlim=panel.x_range, ylim=panel.y_range)
    if panel.decades is not None:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if panel.decades < _MANY else (1.0,)))
        # The library's own labels are formulas, and none are drawn.
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_title(panel.title, loc="left", fontsize=9)
    axis.grid(color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)


def _html(found: Comparison, heading: str) -> Any:
    from plotly.subplots import make_subplots

    fronts, histories = front_panels(found), history_panels(found)
    specs: list[list[Any]] = [[{"colspan": 2}, None] for _ in fronts]
    if histories:
        specs.append([{}, {}])
    heights = [1.6] * len(fronts) + [1.0] * bool(histories)
    panels = (*fronts, *histories)
    figure = make_subplots(
        rows=len(specs),
        cols=2,
        specs=specs,
        row_heights=heights,
        subplot_titles=[escape(panel.title) for panel in panels],
        vertical_spacing=0.3 / len(specs) if len(specs) > 1 else 0,
    )
    for i, panel in enumerate(panels):
        row, column = (i + 1, 1) if i < len(fronts) else (len(fronts) + 1, i - len(fronts) + 1)
        _add_panel(figure, panel, row=row, col=column, named=i == 0)
    figure.update_layout(
        title=escape(heading),
        template="plotly_white",
        paper_bgcolor="white",
        height=150 + 270 * sum(heights),
        legend={"groupclick": "togglegroup"},
    )
    return figure


def _add_panel(figure: Any, panel: Panel, *, row: int, col: int, named: bool) -> None:
    """Draw a panel; the first, `named`, gives the legend its entries, which switch a run in all of them."""
    from plotly.graph_objects import Scatter

    for curve in panel.curves:
        figure.add_trace(_trace(curve, named=named), row=row, col=col)
    if panel.marks:
        labelled = Scatter(
            x=[m.x for m in panel.marks],
            y=[m.y for m in panel.marks],
            mode="markers+text",
            marker={"color": _GREY, "symbol": "diamond", "size": 7},
            text=[escape(m.name) if m.labelled else "" for m in panel.marks],
            textposition=["bottom left" if m.at_end else "bottom right" for m in panel.marks],
            textfont={"size": 10, "color": "#444444"},
            hovertext=[escape(m.name) for m in panel.marks],
            name=_MARKS,
            legendgroup=_MARKS,
            showlegend=named,
        )
        figure.add_trace(labelled, row=row, col=col)
    figure.update_xaxes(title_text=escape(panel.x_label), range=panel.x_range, row=row, col=col)
    figure.update_yaxes(title_text=escape(panel.y_label), range=panel.y_range, row=row, col=col)
    if panel.decades is not None:
        figure.update_xaxes(type="log", dtick="D2" if panel.decades < _MANY else 1, row=row, col=col)


def _trace(curve: Curve, *, named: bool) -> Any:
    from plotly.graph_objects import Scatter

    colour, (dash, _) = _style(curve.run)
    return Scatter(
        x=list(curve.x),
        y=list(curve.y),
        mode="lines+markers" if curve.steps else "markers",
        line={"shape": "hv", "color": colour, "dash": dash, "width": 1.5},
        marker={"size": 4 if curve.steps else 5, "color": colour},
        text=[escape(text) for text in curve.texts] or None,
        name=escape(curve.name),
        legendgroup=f"run {curve.run}",
        showlegend=named,
    )
