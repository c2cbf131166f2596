"""The figures of a report's page, as plotly reads them: one frame each, so that a phone stacks them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hvnas.report.figures import add_panel, label, style
from hvnas.report.network import aligned, by_kind, by_stage
from hvnas.report.panels import Panel, front_panels, history_panels
from hvnas.report.report import Report

# Of a row of bars, and of what stands above and below them, in pixels.
_ROW, _FRAME = 15, 125
_ABOVE, _MARGINS = 28, 104
# From the axis down to the legend, past the axis's labels and its title.
_LEGEND = 52
_HEIGHTS = {"front": 460, "history": 320}


@dataclass(frozen=True)
class PageFigure:
    """A figure under `id`, as wide as the page lets it; `data` and `layout` are plain data for plotly."""

    id: str
    title: str
    height: int
    data: Any
    layout: Any


def page_figures(report: Report) -> tuple[PageFigure, ...]:
    """Fronts, histories, and the latency of the networks by stage and by kind of op on each device."""
    return (*_run_figures(report), *_bar_figures(report))


def chosen_members(report: Report) -> list[int | None]:
    """Of each run the place on its front of the network that is shown."""
    names = {network.run: network.arch.name for network in report.networks if network.run is not None}
    return [run.members.index(names[run.name]) if run.name in names else None for run in report.runs]


def _run_figures(report: Report) -> Iterator[PageFigure]:
    if report.comparison is None:
        return
    fronts = front_panels(report.comparison, chosen_members(report))
    for i, panel in enumerate(fronts):
        yield _of_panel(f"front-{i + 1}", panel, _HEIGHTS["front"])
    for i, panel in enumerate(history_panels(report.comparison)):
        yield _of_panel(f"history-{i + 1}", panel, _HEIGHTS["history"])


def _of_panel(name: str, panel: Panel, height: int) -> PageFigure:
    from plotly.graph_objects import Figure

    figure = Figure()
    add_panel(figure, panel, named=True)
    return _plain(name, panel.title, figure, height)


def _bar_figures(report: Report) -> Iterator[PageFigure]:
    networks = report.side_by_side
    names = [network.name for network in networks]
    for i, device in enumerate(report.devices, start=1):
        estimates = [network.latency[device.name] for network in networks]
        for what, parts in (("stage", by_stage), ("kind of op", by_kind)):
            rows = aligned([parts(estimate) for estimate in estimates])
            figure = _bars(rows, names, unit=f"ms on {label(device.name)} ({device.info.method})")
            height = _FRAME + _ROW * len(rows) * (len(names) + 1)
            yield _plain(f"latency-{what.split()[0]}-{i}", f"By {what}", figure, height)


def _bars(rows: Sequence[tuple[str, list[float | None]]], names: Sequence[str], *, unit: str) -> Any:
    from plotly.graph_objects import Bar, Figure

    figure = Figure()
    for k, name in enumerate(names):
        values = [ms[k] for _, ms in rows]
        shown = [None if ms is None else f"{ms:.3f}" for ms in values]
        bar = Bar(
            y=[label(part) for part, _ in rows],
            x=values,
            text=shown,
            textposition="none",
            hovertemplate="%{y}: %{text} ms<extra>%{fullData.name}</extra>",
            name=label(name),
            orientation="h",
            marker={"color": style(k)[0]},
        )
        figure.add_trace(bar)
    figure.update_xaxes(title_text=unit, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_layout(barmode="group", bargap=0.25)
    return figure


def _plain(name: str, title: str, figure: Any, height: int) -> PageFigure:
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 56, "r": 8, "t": _ABOVE, "b": _MARGINS - _ABOVE},
        legend={
            "orientation": "h",
            "y": -_LEGEND / (height - _MARGINS),
            "yanchor": "top",
            "x": 0,
            "groupclick": "togglegroup",
        },
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    told = json.loads(figure.to_json())
    return PageFigure(name, title, height, told["data"], told["layout"])
