"""A comparison drawn: .html with plotly (the extra ``report``), .png and .svg with matplotlib (``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from hvnas._numbers import clean
from hvnas.latency.plots import check_target, save_figure
from hvnas.report.compare import Comparison
from hvnas.report.panels import Curve, Panel, Star, front_panels, history_panels

# Okabe and Ito (2008), "Color universal design"; black and yellow, which read badly as lines, left out.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = (("solid", "-"), ("dash", "--"), ("dot", ":"), ("dashdot", "-."))  # in plotly, in matplotlib
# Decades of a logarithmic axis from which 2 and 5 between the powers of ten crowd its labels.
_MANY = 3
# Characters that a row of the legend has room for.
_LEGEND = 120
# Reads on white and on black.
_GREY = "#7a7f87"
_FEASIBLE = "rgba(0, 158, 115, 0.10)"
_REACH = "feasible"
_MARKS = "fixed points"

_Panels = tuple[tuple[Panel, ...], tuple[Panel, ...]]


def save_comparison(comparison: Comparison, path: str | Path, *, chosen: Sequence[int | None] = ()) -> None:
    """Draw the fronts side by side and how the searches went; `chosen` as in `front_panels`.

    Raises ValueError where no figure can be written at `path`, naming the extra that is missing, and where
    there is nothing to draw.
    """
    check_target(path)
    panels = front_panels(comparison, chosen), history_panels(comparison)
    if not any(panels):
        raise ValueError(
            f"{path}: runs of one objective without a history leave nothing to draw; write a .csv"
        )
    save_figure(_html if Path(path).suffix == ".html" else _drawn, panels, path, title(comparison))


def title(comparison: Comparison) -> str:
    """What is compared, in one line."""
    config, count = comparison.runs[0].config, len(comparison.runs)
    counted = "1 run" if count == 1 else f"{count} runs"
    return f"{counted} on {config.device[0]}: {config.estimator}, {config.recipe}, {config.scenario}"


def style(run: int) -> tuple[str, tuple[str, str]]:
    """The colour of run number `run`, and its dash in plotly and in matplotlib."""
    return _COLOURS[run % len(_COLOURS)], _DASHES[run // len(_COLOURS) % len(_DASHES)]


def _drawn(panels: _Panels, heading: str) -> Any:
    from matplotlib.figure import Figure

    fronts, histories = panels
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
    figure.suptitle(clean(heading), fontsize=11)
    return figure


def _draw_panel(axis: Any, panel: Panel) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    corners = _corners(panel)
    if corners is not None:
        (x0, x1), (y0, y1) = corners
        axis.fill_between([x0, x1], y0, y1, color="#009e73", alpha=0.1, linewidth=0, label=_REACH)
    for curve in panel.curves:
        colour, (_, dash) = style(curve.run)
        line = {"drawstyle": "steps-post", "linestyle": dash} if curve.steps else {"linestyle": "none"}
        size = 2.5 if curve.steps else 3.5
        axis.plot(
            curve.x, curve.y, marker="o", markersize=size, color=colour, label=clean(curve.name), **line
        )
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
    for star in panel.stars:
        _draw_star(axis, star)
    axis.set(xlabel=clean(panel.x_label), ylabel=clean(panel.y_label))
    if panel.x_range is not None and panel.y_range is not None:
        axis.set(xlim=panel.x_range, ylim=panel.y_range)
    if panel.decades is not None:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if panel.decades < _MANY else (1.0,)))
        # The library's own labels are formulas, and none are drawn.
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_title(clean(panel.title), loc="left", fontsize=9)
    axis.grid(color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)


def _draw_star(axis: Any, star: Star) -> None:
    colour, _ = style(star.run)
    errors = [None if e is None else [[e[0]], [e[1]]] for e in (star.x_error, star.y_error)]
    named = "chosen, with its intervals" if star.run == 0 else None
    look = {"marker": "*", "markersize": 13, "color": colour, "capsize": 3, "linestyle": "none"}
    axis.errorbar(star.x, star.y, xerr=errors[0], yerr=errors[1], label=named, zorder=4, **look)


def _html(panels: _Panels, heading: str) -> Any:
    from plotly.subplots import make_subplots

    fronts, histories = panels
    specs: list[list[Any]] = [[{"colspan": 2}, None] for _ in fronts]
    if histories:
        specs.append([{}, {}])
    heights = [1.6] * len(fronts) + [1.0] * bool(histories)
    figure = make_subplots(
        rows=len(specs),
        cols=2,
        specs=specs,
        row_heights=heights,
        subplot_titles=[plotly_text(panel.title) for panel in (*fronts, *histories)],
        vertical_spacing=0.3 / len(specs) if len(specs) > 1 else 0,
    )
    for i, panel in enumerate((*fronts, *histories)):
        row, column = (i + 1, 1) if i < len(fronts) else (len(fronts) + 1, i - len(fronts) + 1)
        add_panel(figure, panel, named=i == 0, row=row, col=column)
    figure.update_layout(
        title=plotly_text(heading),
        template="plotly_white",
        paper_bgcolor="white",
        height=150 + 270 * sum(heights),
        legend={"groupclick": "togglegroup"},
    )
    return figure


def add_panel(figure: Any, panel: Panel, *, named: bool, **place: int) -> None:
    """Draw a panel into a figure of plotly, at `row` and `col` of one with several.

    The first, `named`, gives the legend its entries, which switch a run in all of them.
    """
    if panel.region is not None:
        _add_region(figure, panel, named=named, **place)
    for curve in panel.curves:
        figure.add_trace(_trace(curve, named=named), **place)
    if panel.marks:
        figure.add_trace(_marks(panel, named=named), **place)
    for star in panel.stars:
        figure.add_trace(_star(star, named=named), **place)
    figure.update_xaxes(title_text=plotly_text(panel.x_label), range=panel.x_range, **place)
    figure.update_yaxes(title_text=plotly_text(panel.y_label), range=panel.y_range, **place)
    if panel.decades is not None:
        figure.update_xaxes(type="log", dtick="D2" if panel.decades < _MANY else 1, **place)


def plotly_text(text: str) -> str:
    """`text` as plotly shows it literally: it reads tags of HTML."""
    return escape(clean(text))


def _add_region(figure: Any, panel: Panel, *, named: bool, **place: int) -> None:
    from plotly.graph_objects import Scatter

    corners = _corners(panel)
    if corners is None:
        return
    (x0, x1), (y0, y1) = corners
    # A filled path, and no shape: the legend names it and switches it off.
    region = Scatter(
        x=[x0, x0, x1, x1, x0],
        y=[y0, y1, y1, y0, y0],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=_FEASIBLE,
        hoverinfo="skip",
        name=_REACH,
        legendgroup=_REACH,
        showlegend=named,
    )
    figure.add_trace(region, **place)


def _corners(panel: Panel) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """What of the frame is feasible; None where nothing bounds it, or all is out of sight."""
    region = panel.region
    if region is None or panel.x_range is None or panel.y_range is None:
        return None
    if (*region.x, *region.y) == (None,) * 4:
        return None
    (x0, x1), (y0, y1) = _cut(panel.x_range, region.x), _cut(panel.y_range, region.y)
    return ((x0, x1), (y0, y1)) if x0 < x1 and y0 < y1 else None


def _cut(extent: tuple[float, float], limits: tuple[float | None, float | None]) -> tuple[float, float]:
    low, high = limits
    return (
        extent[0] if low is None else max(extent[0], low),
        extent[1] if high is None else min(extent[1], high),
    )


def _marks(panel: Panel, *, named: bool) -> Any:
    from plotly.graph_objects import Scatter

    return Scatter(
        x=[m.x for m in panel.marks],
        y=[m.y for m in panel.marks],
        mode="markers+text",
        marker={"color": _GREY, "symbol": "diamond", "size": 7},
        text=[plotly_text(m.name) if m.labelled else "" for m in panel.marks],
        textposition=["bottom left" if m.at_end else "bottom right" for m in panel.marks],
        textfont={"size": 10},
        hovertext=[_hover(m.name, m.detail) for m in panel.marks],
        hovertemplate="%{hovertext}<extra></extra>",
        name=_MARKS,
        legendgroup=_MARKS,
        showlegend=named,
    )


def _star(star: Star, *, named: bool) -> Any:
    from plotly.graph_objects import Scatter

    colour, _ = style(star.run)
    reach = {"type": "data", "symmetric": False, "thickness": 1.5, "width": 4}
    errors = {
        f"error_{axis}": {**reach, "arrayminus": [error[0]], "array": [error[1]]}
        for axis, error in (("x", star.x_error), ("y", star.y_error))
        if error is not None
    }
    return Scatter(
        x=[star.x],
        y=[star.y],
        mode="markers",
        marker={"symbol": "star", "size": 14, "color": colour, "line": {"width": 1, "color": "white"}},
        hovertext=[_hover(star.name, star.detail)],
        hovertemplate="%{hovertext}<extra>chosen</extra>",
        name="chosen, with its intervals",
        legendgroup="chosen",
        showlegend=named and star.run == 0,
        **errors,
    )


def _hover(name: str, detail: str) -> str:
    return f"{plotly_text(name)}<br>{plotly_text(detail)}" if detail else plotly_text(name)


def _trace(curve: Curve, *, named: bool) -> Any:
    from plotly.graph_objects import Scatter

    colour, (dash, _) = style(curve.run)
    details = curve.details or ("",) * len(curve.texts)
    hover: dict[str, Any] = {}
    if curve.texts:
        hover["hovertext"] = [_hover(*each) for each in zip(curve.texts, details, strict=True)]
        hover["hovertemplate"] = "%{hovertext}<extra>%{fullData.name}</extra>"
    return Scatter(
        x=list(curve.x),
        y=list(curve.y),
        mode="lines+markers" if curve.steps else "markers",
        line={"shape": "hv", "color": colour, "dash": dash, "width": 1.5},
        marker={"size": 4 if curve.steps else 5, "color": colour},
        name=plotly_text(curve.name),
        legendgroup=f"run {curve.run}",
        showlegend=named,
        **hover,
    )
