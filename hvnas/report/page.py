"""A report as one HTML page that needs no network: figures, drawings, tables, and how to redo it.

Every text goes through the template's escaping, and before that loses what a terminal or a reader's eye
would be led astray by; the page's policy lets no script run but the one that it carries.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hvnas import _numbers as numbers
from hvnas._files import check_parent
from hvnas._numbers import clean, shortened
from hvnas.latency import Device, load_device
from hvnas.latency.plots import check_writer
from hvnas.latency.provenance import label, method
from hvnas.report import tables
from hvnas.report.compare import Comparison, FixedPoint, rivals
from hvnas.report.figures import PageFigure, bars_figure, panel_figure
from hvnas.report.network import STYLE, Network, aligned, by_kind, by_stage, draw_network
from hvnas.report.panels import front_panels, has_volume, history_panels, volume_unit
from hvnas.report.report import Report, not_measured
from hvnas.report.runs import Run, device_title, run_lines
from hvnas.search.objectives import LATENCY, TOP1
from hvnas.search.runs.result import MS_DECIMALS, told_of_model

_FOLDER = Path(__file__).parent / "page"

# Pixels.
_HEIGHTS = {"front": 460, "history": 320}


def check_page(path: str | Path) -> None:
    """Raise ValueError where no page can be written at `path`, naming the extra that is missing."""
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"{path}: a report is a page; give a name that ends in .html")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file")
    check_writer(path, "jinja2", "report")
    check_parent(path)


def render_page(report: Report, *, command: str) -> str:
    """The page. `command` is the line that makes it again."""
    figures = page_figures(report)
    return _render(figures, command, _content(report, figures))


def render_comparison(comparison: Comparison, *, command: str) -> str:
    """The page of a comparison alone. `command` is the line that makes it again."""
    figures = tuple(_run_figures(comparison, ()))
    runs = comparison.runs
    name, device = runs[0].config.device[0], _device_of(runs[0])
    content = {
        "title": _runs_title(runs, name if device is None else device.info.device or name),
        "lead": _runs_lead(comparison),
        "warning": None if device is None else _warning([device], runs),
        "notes": [f"{difference}." for difference in comparison.differences],
        "runs": _runs(comparison, figures, timed=f"ms on {name}" if device is None else _ms_on(device)),
    }
    return _render(figures, command, content)


def _device_of(run: Run) -> Device | None:
    """The run's first device; None where it is gone."""
    try:
        return load_device(run.config.device[0])
    except ValueError:
        return None


def _render(figures: Sequence[PageFigure], command: str, content: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    from hvnas._version import __version__

    script = _read("page.js").replace("\r\n", "\n")
    assert "</script" not in script.lower(), "it would end in its middle"
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    return environment.get_template("page.html").render(
        version=__version__,
        policy=_policy(script),
        style=Markup(_read("page.css") + STYLE),
        script=Markup(script),
        figures=[figure.to_plain() for figure in figures],
        command=_words(command),
        **content,
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Only this script runs, whatever else the page may come to hold, and nothing is fetched."""
    mark = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{mark}'; style-src 'unsafe-inline'; img-src data: blob:; "
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
        "warning": _warning(report.devices, report.runs),
        "notes": report.notes,
        "cards": _cards(report),
        "runs": _report_runs(report, figures),
        "trainings": _trainings(report),
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
    names = [network.name for network in report.networks]
    devices = [shortened(device.info.device or device.name) for device in report.devices]
    device = devices[0] if devices else shortened(runs[0].config.device[0])
    if len(runs) > 1:
        return _runs_title(runs, device)
    if runs:
        return f"Image networks for {device} within {runs[0].config.budget_ms:g} ms"
    what = " and ".join(names) if len(names) < 3 else f"{len(names)} networks, side by side,"
    return f"{what} on {device}"


def _runs_title(runs: Sequence[Run], device: str) -> str:
    budgets = {run.config.budget_ms for run in runs}
    within = f" within {budgets.pop():g} ms" if len(budgets) == 1 else ""
    return f"{len(runs)} searches of networks for {device}{within}, compared"


def _lead(report: Report) -> str:
    if report.comparison is None:
        devices = ", ".join(device.name for device in report.devices)
        return f"Latency on {devices}; top-1 as estimated for {report.recipe}."
    return _runs_lead(report.comparison)


def _runs_lead(comparison: Comparison) -> str:
    runs, config = comparison.runs, comparison.runs[0].config
    words = {TOP1: "top-1", LATENCY: "latency"}
    sought = " against ".join(words.get(name, name) for name in config.objectives)
    count = f"{len(runs)} searches" if len(runs) > 1 else f"The search “{runs[0].name}”"
    spaces = ", ".join(dict.fromkeys(run.config.space for run in runs))
    device = device_title(config.device[0])
    return (
        f"{count} evaluated {sum(run.evaluated for run in runs):,} networks of {spaces} on {device}: "
        f"{sought}. Accuracy: {config.estimator}, for {config.recipe}, {config.scenario}."
    )


def _warning(devices: Sequence[Device], runs: Sequence[Run]) -> str | None:
    """Warning for predicted (not measured) latencies."""
    predicted = not_measured(devices)
    if not predicted:
        return None
    timed = [run.name for run in runs if run.how(run.best) == "measured"]
    return (
        f"{', '.join(predicted)}: the milliseconds here are predictions of "
        f"{'tables that are' if len(predicted) > 1 else 'a table that is'} calibrated on published "
        "measurements. Measure a network on the device before you rely on them."
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
        "latency": (
            f"latency on {device_title(run.config.device[0])}",
            f"{run.ms[i]:.{MS_DECIMALS}f} ms",
            told,
        ),
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
    }
    # An even number of cards fills its rows.
    if len(said) % 2:
        said["hypervolume"] = ("hypervolume", f"{volume:.5g}", volume_unit(run))
    return [{"id": id, "name": n, "value": value, "more": more} for id, (n, value, more) in said.items()]


def _cross_fitted_card(network: Network) -> dict[str, tuple[str, str, str | None]]:
    accuracy = network.accuracy
    if accuracy is None or accuracy.cross_fitted_text is None:
        return {}
    told = f"95 %: {accuracy.cross_fitted_interval}; a search flatters this less"
    return {"cross-fitted": ("cross-fitted top-1", accuracy.cross_fitted_text, told)}


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


def _report_runs(report: Report, figures: Sequence[PageFigure]) -> dict[str, Any] | None:
    found = report.comparison
    if found is None:
        return None
    return _runs(
        found, figures, timed=_timed(report) or f"ms on {device_title(found.runs[0].config.device[0])}"
    )


def _runs(found: Comparison, figures: Sequence[PageFigure], *, timed: str) -> dict[str, Any]:
    several = len(found.runs) > 1
    unit = volume_unit(found.runs[0])
    models = tables.models_table(found, timed=timed)
    return {
        "heading": "The fronts" if several else "The front",
        "fronts": _of(figures, "front"),
        "histories": _of(figures, "history"),
        "region": _region(found),
        "told": [f"{name}{line}" for name, run in _named(found) for line in run_lines(run)],
        "table": tables.runs_table(found, timed=timed) if several else None,
        "facts": [] if several else _search_facts(found),
        "front": tables.front_table(found, timed=timed),
        "models": models if models is not None and models.rows else None,
        "shares": [tables.shares_table(found, unit=unit), tables.coverage_table(found)] if several else [],
        "reference": _reference(found) if has_volume(found) else None,
    }


def _search_facts(found: Comparison) -> list[tuple[str, str]]:
    """How the only search was asked, and what came of it."""
    (measures,) = found.measures
    columns = tables.run_columns(found.runs).values()
    told = [(column.heading.removeprefix(">"), column.cell(measures)) for column in columns]
    words = {"s": "seconds", "front": "networks on the front", "files": "networks written as files"}
    return [(words.get(name, name), str(cell)) for name, cell in told if cell is not None]


def _named(comparison: Comparison) -> list[tuple[str, Run]]:
    """The runs, each with what a line on it begins with: its name, where there are several."""
    return [(f"{run.name}: " if len(comparison.runs) > 1 else "", run) for run in comparison.runs]


def _reference(comparison: Comparison) -> str:
    return "Measured to " + "; ".join(f"{c.objective} {c.value:g} ({c.why})" for c in comparison.reference)


def _of(figures: Sequence[PageFigure], kind: str) -> list[PageFigure]:
    return [figure for figure in figures if figure.id.startswith(f"{kind}-")]


def _region(found: Comparison) -> str | None:
    """What the shaded part of the fronts is, and what the marks in it are."""
    panels = front_panels(found, tabled=True)
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
    diamonds = ", diamonds are models of papers" if any(panel.marks for panel in panels) else ""
    return (
        f"Shaded: what {what}{kept} leaves. Large dots are the networks of the table{diamonds}.{left_out} "
        "Drag a mouse over the figure to enlarge a part of it; a double click ends that."
    )


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
    return _ms_on(report.devices[0]) if report.devices else None


def _ms_on(device: Device) -> str:
    return f"ms on {label(device)}, {method(device.info)}"


def _network(network: Network, report: Report) -> dict[str, Any]:
    from markupsafe import Markup

    first = report.devices[0].name if report.devices else None
    return {
        "name": network.name,
        "origin": _origin(network, report),
        # Made by an XML writer, which escapes.
        "drawing": Markup(draw_network(network, device=first)),
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


def _trainings(report: Report) -> list[dict[str, Any]]:
    """The networks that were trained: numbers beside the estimates, curves and confusion matrix."""
    from markupsafe import Markup

    shown = []
    for i, network in enumerate(report.networks, start=1):
        training = network.training
        if training is None:
            continue
        drawings = [("Learning curves", training.curves), ("Confusion matrix", training.confusion)]
        shown.append(
            {
                "said": training.said if training.top1 is None else None,
                "table": tables.training_table(report, network, id=f"training-{i}"),
                # Made by an XML writer, which escapes.
                "drawings": [{"title": title, "svg": Markup(svg)} for title, svg in drawings if svg],
            }
        )
    return shown


def _devices(report: Report, figures: Sequence[PageFigure]) -> list[dict[str, Any]]:
    shown, by_id = report.side_by_side, {figure.id: figure for figure in figures}
    return [
        {
            "name": label(device),
            "method": method(device.info),
            "parts": [
                (by_id[f"latency-stage-{i}"], tables.stage_table(device, shown, id=f"stages-{i}")),
                (by_id[f"latency-kind-{i}"], tables.kind_table(device, shown, id=f"kinds-{i}")),
            ],
        }
        for i, device in enumerate(report.devices, start=1)
    ]


def page_figures(report: Report) -> tuple[PageFigure, ...]:
    """Fronts, histories, and the latency of the networks by stage and by kind of op on each device."""
    found = report.comparison
    runs = () if found is None else _run_figures(found, chosen_members(report))
    return (*runs, *_bar_figures(report))


def chosen_members(report: Report) -> list[int | None]:
    """Of each run the place on its front of the network that is shown."""
    names = {network.run: network.arch.name for network in report.networks if network.run is not None}
    return [run.members.index(names[run.name]) if run.name in names else None for run in report.runs]


def _run_figures(found: Comparison, chosen: Sequence[int | None]) -> Iterator[PageFigure]:
    for i, panel in enumerate(front_panels(found, chosen, tabled=True), start=1):
        yield panel_figure(f"front-{i}", panel, _HEIGHTS["front"])
    for i, panel in enumerate(history_panels(found), start=1):
        yield panel_figure(f"history-{i}", panel, _HEIGHTS["history"])


def _bar_figures(report: Report) -> Iterator[PageFigure]:
    networks = report.side_by_side
    names = [network.name for network in networks]
    for i, device in enumerate(report.devices, start=1):
        estimates = [network.latency[device.name] for network in networks]
        for what, parts in (("stage", by_stage), ("kind of op", by_kind)):
            yield bars_figure(
                f"latency-{what.split()[0]}-{i}",
                f"By {what}",
                rows=aligned([parts(estimate) for estimate in estimates]),
                names=names,
                unit=f"ms on {device.name} ({device.info.method})",
            )
