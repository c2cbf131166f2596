"""A report as one HTML page that needs no network: figures, drawings, tables, and how to redo it.

Every text goes through the template's escaping, and before that loses what a terminal or a reader's eye
would be led astray by; the page's policy lets no script run but the two that it carries.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hvnas import _numbers as numbers
from hvnas._numbers import clean
from hvnas.latency.plots import check_target
from hvnas.latency.provenance import label, method
from hvnas.report import tables
from hvnas.report.compare import Comparison, FixedPoint, rivals
from hvnas.report.figures import add_panel, plotly_text, style
from hvnas.report.figures import title as comparison_title
from hvnas.report.network import STYLE, Network, aligned, by_kind, by_stage, draw_network
from hvnas.report.panels import Panel, front_panels, has_volume, history_panels, volume_unit
from hvnas.report.report import Report
from hvnas.report.runs import Run, run_lines
from hvnas.search.runs.result import MS_DECIMALS, told_of_model

_FOLDER = Path(__file__).parent / "page"

# Of a row of bars, and of what stands above and below them, in pixels.
_ROW, _FRAME = 15, 125
_ABOVE, _MARGINS = 28, 104
# From the axis down to the legend, past the axis's labels and its title.
_LEGEND = 52
_HEIGHTS = {"front": 460, "history": 320}


def check_page(path: str | Path) -> None:
    """Raise ValueError where no page can be written at `path`, naming the extra that is missing."""
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"{path}: a report is a page; give a name that ends in .html")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file")
    check_target(path)
    if find_spec("jinja2") is None:
        raise ValueError(f"{path}: jinja2 is not installed; pip install 'hvnas[report]' brings it")


def render_page(report: Report, *, command: str) -> str:
    """The page. `command` is the line that makes it again."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from hvnas._version import __version__

    scripts = [text.replace("\r\n", "\n") for text in (get_plotlyjs(), _read("page.js"))]
    assert not any("</script" in script.lower() for script in scripts), "it would end in its middle"
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    figures = {figure.id: figure for figure in page_figures(report)}
    return environment.get_template("page.html").render(
        version=__version__,
        policy=_policy(scripts),
        style=Markup(_read("page.css") + STYLE),
        plotly=Markup(scripts[0]),
        script=Markup(scripts[1]),
        figures=[{"id": f.id, "data": f.data, "layout": f.layout} for f in figures.values()],
        command=_words(command),
        **_content(report, list(figures.values())),
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Only these scripts run, whatever else the page may come to hold, and nothing is fetched."""
    marks = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{mark}'" for mark in marks)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _words(command: str) -> list[str]:
    """A command line in pieces that stay on one line each: options with their values."""
    pieces: list[str] = []
    for word in shlex.split(command):
        if pieces and pieces[-1].startswith("--") and " " not in pieces[-1] and not word.startswith("--"):
            pieces[-1] += f" {shlex.quote(word)}"
        else:
            pieces.append(shlex.quote(word))
    return pieces


def _content(report: Report, figures: Sequence[PageFigure]) -> dict[str, Any]:
    return {
        "title": page_title(report),
        "lead": _lead(report),
        "warning": _warning(report),
        "notes": report.notes,
        "cards": _cards(report),
        "runs": _runs(report, figures),
        "networks": _networks(report),
        "devices": _devices(report, figures),
        "trust": report.trust,
        "errors": tables.errors_table(report.devices, report.estimator),
        "settings": [
            {"run": s.run, "words": _words(s.command), "notes": s.notes, "facts": s.facts}
            for s in report.settings
        ],
    }


def page_title(report: Report) -> str:
    """The page in a few words."""
    runs = report.runs
    if not runs:
        names = [network.name for network in report.networks]
        return names[0] if len(names) == 1 else f"{len(names)} networks side by side"
    if len(runs) > 1:
        return f"{len(runs)} searches on {runs[0].config.device[0]}"
    return f"{runs[0].name}: {runs[0].config.budget_ms:g} ms on {runs[0].config.device[0]}"


def _lead(report: Report) -> str:
    if report.comparison is None:
        devices = ", ".join(device.name for device in report.devices)
        return f"Latency on {devices}; top-1 as estimated for {report.recipe}."
    objectives = " against ".join(report.runs[0].config.objectives)
    return f"{objectives}; {comparison_title(report.comparison)}."


def _warning(report: Report) -> str | None:
    """Warning for predicted (not measured) latencies."""
    if not report.not_measured:
        return None
    several = len(report.not_measured) > 1
    timed = [run.name for run in report.runs if run.how(run.best) == "measured"]
    return (
        f"{', '.join(report.not_measured)}: the milliseconds here are predictions of "
        f"{'tables that are' if several else 'a table that is'} calibrated on published measurements. "
        "Measure a network on the device before you rely on them."
        + "".join(f" The latency of the best network of {name} is measured." for name in timed)
    )


def _cards(report: Report) -> list[dict[str, str | None]]:
    """The chosen network of the only run in a few numbers."""
    if len(report.runs) != 1:
        return []
    (run,), chosen = report.runs, report.networks[0]
    i = run.members.index(chosen.arch.name)
    interval = numbers.interval(float(run.low[i]), float(run.high[i]))
    assert report.comparison is not None
    volume = report.comparison.measures[0].hypervolume
    assert chosen.chance is not None
    known = [run.how(i) or method(device.info) for device in report.devices[:1]]
    told = "; ".join([f"5–95 %: {interval} ms", *known])
    took = numbers.took(run.seconds, parts=run.parts)
    said = {
        "latency": (f"latency on {run.config.device[0]}", f"{run.ms[i]:.{MS_DECIMALS}f} ms", told),
        "chance": ("chance of the budget", tables.chance(chosen.chance), f"of {run.config.budget_ms:g} ms"),
        "accuracy": (tables.accuracy_name(run), str(chosen.accuracy), _trained(chosen)),
        **_cross_fitted_card(chosen),
        "params": ("params", f"{numbers.millions(chosen.params)} M", None),
        "macs": ("MACs", f"{numbers.billions(chosen.macs)} G", None),
        "evaluated": (
            "evaluated",
            f"{run.evaluated:,}",
            f"networks in {took}",
        ),
        "hypervolume": ("hypervolume", f"{volume:.5g}", volume_unit(run)),
    }
    return [{"id": id, "name": n, "value": value, "more": more} for id, (n, value, more) in said.items()]


def _cross_fitted_card(network: Network) -> dict[str, tuple[str, str, str | None]]:
    text = network.accuracy and network.accuracy.cross_fitted_text
    return {"cross-fitted": ("cross-fitted top-1", text, "a search flatters this less")} if text else {}


def _better_than(network: Network, report: Report) -> list[tuple[str, str | None]]:
    """How the best network of a run stands to the papers' models within the limits."""
    found = report.comparison
    run = next((run for run in report.runs if run.name == network.run), None)
    if found is None or run is None or network.arch.name != run.members[run.best]:
        return []
    return [
        ("better than", f"{point.name}, with a chance of {_weighed(point, run)}")
        for point in rivals(found, run)
    ]


def _weighed(point: FixedPoint, run: Run) -> str:
    crossed = numbers.points_if_known(point.cross_fitted, point.cross_fitted_sd)
    told = told_of_model(numbers.points(point.top1, point.sd), crossed, point.published)
    return f"{numbers.chance(point.against[run.name].chance)} ({told})"


def _trained(network: Network) -> str | None:
    accuracy = network.accuracy
    return None if accuracy is None else f"{accuracy.estimator}, for {accuracy.recipe}"


def _runs(report: Report, figures: Sequence[PageFigure]) -> dict[str, Any] | None:
    found = report.comparison
    if found is None:
        return None
    timed = _timed(report) or f"ms on {found.runs[0].config.device[0]}"
    return {
        "heading": "The front" if len(found.runs) == 1 else "The fronts",
        "fronts": _of(figures, "front"),
        "histories": _of(figures, "history"),
        "region": _region(report),
        "told": [f"{name}{line}" for name, run in _named(found) for line in run_lines(run)],
        "table": tables.runs_table(found, timed=timed),
        "front": tables.front_table(found, timed=timed),
        "models": tables.models_table(found, timed=timed),
        "reference": _reference(found) if has_volume(found) else None,
    }


def _named(comparison: Comparison) -> list[tuple[str, Run]]:
    """The runs, each with what a line on it begins with: its name, where there are several."""
    return [(f"{run.name}: " if len(comparison.runs) > 1 else "", run) for run in comparison.runs]


def _reference(comparison: Comparison) -> str:
    return "Measured to " + "; ".join(f"{c.objective} {c.value:g} ({c.why})" for c in comparison.reference)


def _of(figures: Sequence[PageFigure], kind: str) -> list[PageFigure]:
    return [figure for figure in figures if figure.id.startswith(f"{kind}-")]


def _region(report: Report) -> str | None:
    """What the shaded part of the fronts is."""
    found = report.comparison
    assert found is not None
    panels = front_panels(found)
    bounded = any(panel.region and any(panel.region.x + panel.region.y) for panel in panels)
    config = found.runs[0].config
    left_out = f" The papers' models are left out: {found.no_fixed_points}." if found.no_fixed_points else ""
    if not bounded:
        return left_out.strip() or None
    budgets = {(run.config.budget_ms, run.config.margin[0]) for run in found.runs}
    what = (
        f"the budget of {config.budget_ms:g} ms less its margin of {numbers.percent(config.margin[0])}"
        if len(budgets) == 1
        else "the tightest of the budgets less its margin"
    )
    kept = f" and {', '.join(config.constraints)}" if config.constraints else ""
    return f"Shaded: what {what}{kept} leaves. Diamonds are models of papers.{left_out}"


def _networks(report: Report) -> dict[str, Any]:
    shown = report.side_by_side
    return {
        "heading": "The chosen network" if len(report.runs) == 1 == len(report.networks) else "Networks",
        "timed": _timed(report),
        "all": [_network(network, report) for network in shown],
        "table": tables.networks_table(report),
    }


def _timed(report: Report) -> str | None:
    """What milliseconds without another word are."""
    if not report.devices:
        return None
    device = report.devices[0]
    return f"ms on {label(device)}, {method(device.info)}"


def _network(network: Network, report: Report) -> dict[str, Any]:
    from markupsafe import Markup

    first = report.devices[0].name if report.devices else None
    return {
        "name": network.name,
        "origin": _origin(network, report),
        # Made by an XML writer, which escapes.
        "drawing": Markup(draw_network(network, device=first)),
        "curves": None if network.curves is None else Markup(network.curves),
        "facts": [{"name": name, "value": value} for name, value in _facts(network, report) if value],
    }


def _origin(network: Network, report: Report) -> str:
    if network.run is not None:
        return f"chosen from {network.run}"
    return "the paper's model, to compare with" if network is report.reference else "asked for"


def _facts(network: Network, report: Report) -> list[tuple[str, str | None]]:
    facts: list[tuple[str, str | None]] = []
    for device in report.devices:
        estimate = network.latency[device.name]
        interval = numbers.interval(estimate.low, estimate.high)
        said = f"{numbers.ms(estimate.ms)} ms (5–95 %: {interval}), {method(device.info)}"
        facts.append((label(device), said))
        facts.append(("outside its gate", "; ".join(estimate.reasons) or None))
    trained = None if network.accuracy is None else f"{network.accuracy} ({_trained(network)})"
    unit = "score" if network.accuracy and network.accuracy.unit == "score" else "top-1"
    return [
        *facts,
        (f"{unit}, estimated", trained),
        ("cross-fitted", None if network.accuracy is None else network.accuracy.cross_fitted_text),
        *_better_than(network, report),
        ("trained", network.trained),
        ("published", None if network.published is None else f"top-1 {network.published:g}"),
        ("assumed", "; ".join(network.assumed) or None),
        ("size", f"{numbers.millions(network.params)} M params, {numbers.billions(network.macs)} G MACs"),
    ]


def _devices(report: Report, figures: Sequence[PageFigure]) -> list[dict[str, Any]]:
    shown = report.side_by_side
    return [
        {
            "name": label(device),
            "method": method(device.info),
            "figures": [f for f in figures if f.id.startswith("latency-") and f.id.endswith(f"-{i}")],
            "stages": tables.stage_table(device, shown, id=f"stages-{i}"),
            "kinds": tables.kind_table(device, shown, id=f"kinds-{i}"),
        }
        for i, device in enumerate(report.devices, start=1)
    ]


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
            figure = _bars(rows, names, unit=f"ms on {plotly_text(device.name)} ({device.info.method})")
            height = _FRAME + _ROW * len(rows) * (len(names) + 1)
            yield _plain(f"latency-{what.split()[0]}-{i}", f"By {what}", figure, height)


def _bars(rows: Sequence[tuple[str, list[float | None]]], names: Sequence[str], *, unit: str) -> Any:
    from plotly.graph_objects import Bar, Figure

    figure = Figure()
    for k, name in enumerate(names):
        values = [ms[k] for _, ms in rows]
        shown = [None if ms is None else f"{ms:.3f}" for ms in values]
        bar = Bar(
            y=[plotly_text(part) for part, _ in rows],
            x=values,
            text=shown,
            textposition="none",
            hovertemplate="%{y}: %{text} ms<extra>%{fullData.name}</extra>",
            name=plotly_text(name),
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
