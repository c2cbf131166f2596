"""The tables of a report: for its page and, by the same cells, for people who read it without figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hvnas import _numbers as numbers
from hvnas._records import Column, Table
from hvnas.accuracy import AccuracyEstimator
from hvnas.arch import Arch
from hvnas.latency import Device, LatencyEstimate
from hvnas.latency.provenance import label, method
from hvnas.report.compare import Comparison, FixedPoint, Measures
from hvnas.report.network import SCENARIO, Network, aligned, by_kind, by_stage
from hvnas.report.report import Report
from hvnas.report.runs import Run
from hvnas.search.evaluations import front_words, guesses
from hvnas.search.objectives import TOP1
from hvnas.search.runs.result import MS_DECIMALS

# Milliseconds of a run are shown at the decimals of its files: fewer would be rounded twice.
_MS = f".{MS_DECIMALS}f"
# Rows of the papers' models that are shown; the CSV files hold all.
_ROWS = 12


def accuracy_name(run: Run) -> str:
    """What stands above a column of accuracies."""
    return "score" if run.unit == "score" else "top-1"


def _accuracy(run: Run, i: int) -> str:
    return numbers.accuracy(float(run.top1[i]), float(run.sd[i]), unit=run.unit)


def chance(p: float) -> str:
    """A chance read from a file, where rounding may have made it a certainty."""
    return numbers.chance(min(max(p, 0.0001), 0.9999))


def _crossed(run: Run, i: int) -> str | None:
    return numbers.points_if_known(float(run.cross_fitted[i]), float(run.cross_fitted_sd[i]))


def any_crossed(runs: Sequence[Run]) -> bool:
    """Whether the best network of a run has a cross-fitted top-1."""
    return any(math.isfinite(run.cross_fitted[run.best]) for run in runs)


def run_columns(runs: Sequence[Run]) -> dict[str, Column[Measures]]:
    """What is told of a run, by name: how it was asked, and what came of it."""
    cross_fitted: Column[Measures] = Column(">best cross-fitted", "run", lambda run: _crossed(run, run.best))
    columns: tuple[Column[Measures], ...] = (
        Column("run", "run.name"),
        Column("strategy", "run.config.strategy"),
        Column(">seed", "run.config.seed"),
        Column(">budget ms", "run.config.budget_ms", "{:g}".format),
        Column(">evaluated", "run", lambda run: f"{run.evaluated:,}" + (" (stopped)" if run.stopped else "")),
        Column(">s", "run.seconds", numbers.seconds),
        Column(">front", "run.members", len),
        Column(">files", "run.written", lambda written: int(written.sum())),
        Column(">guesses", "run.sd", lambda sd: int(guesses(sd).sum())),
        Column(">hypervolume", "hypervolume", "{:.6g}".format),
        Column(f">best {accuracy_name(runs[0])}", "run", lambda run: _accuracy(run, run.best)),
        *((cross_fitted,) if any_crossed(runs) else ()),
        Column(">ms", "run", lambda run: f"{run.ms[run.best]:{_MS}} {run.how(run.best)}".rstrip()),
    )
    return {column.heading: column for column in columns}


def runs_table(found: Comparison, *, timed: str) -> Table:
    """How each search was asked and what came of it. `timed` says what the milliseconds are."""
    columns = list(run_columns(found.runs).values())
    return Table.of(columns, found.measures, title=f"Searches; {timed}", id="runs")


def front_table(found: Comparison, *, timed: str) -> Table:
    """Some of every front's networks: those that the search itself shows."""
    members = [(run, i) for run in found.runs for i in run.shown]
    columns: list[Column[tuple[Run, int]]] = [
        Column(">ms", lambda at: f"{at[0].ms[at[1]]:{_MS}}"),
        Column(">5–95 %", lambda at: numbers.interval(float(at[0].low[at[1]]), float(at[0].high[at[1]]))),
        Column(">P(budget)", lambda at: chance(float(at[0].chance[at[1]]))),
        Column(f">{accuracy_name(found.runs[0])}", lambda at: _accuracy(*at)),
        Column(">params M", lambda at: numbers.millions(float(at[0].params[at[1]]))),
        Column(">MACs G", lambda at: numbers.billions(float(at[0].macs[at[1]]))),
        Column("name", lambda at: at[0].members[at[1]]),
    ]
    if any(run.how(run.best) for run in found.runs):
        columns.insert(1, Column("", lambda at: at[0].how(at[1])))
    if any_crossed(found.runs):
        columns.insert(-3, Column(">cross-fitted", lambda at: _crossed(*at)))
    if found.runs[0].objectives[0].metric == TOP1 and found.runs[0].unit == "points":
        # What the figure shows.
        columns.insert(-3, Column(">top-1 − 1 sd", lambda at: f"{at[0].top1[at[1]] - at[0].sd[at[1]]:.1f}"))
    if len(found.runs) > 1:
        columns.insert(0, Column("run", lambda at: at[0].name))
    words = front_words(sum(len(run.members) for run in found.runs), len(members))
    title = f"Pareto front{'s' if len(found.runs) > 1 else ''}: {words}; {timed}"
    return Table.of(columns, members, title=title, id="front")


def shares_table(found: Comparison, *, unit: str) -> Table:
    """What each front holds of the front of all together. `unit` is that of hypervolumes."""
    columns: list[Column[Measures]] = [
        Column("run", "run.name"),
        Column(">compared", "members"),
        Column(f">hypervolume {unit}", "hypervolume", "{:.6g}".format),
        Column(">of all's", lambda each: _share(each.relative, digits=2)),
        Column(">of all's networks", lambda each: _share(each.union_share)),
        Column(">models dominated", lambda each: _dominated(each, models=len(found.fixed_points))),
    ]
    title = (
        f"Fronts; that of all together has {found.union_size} networks "
        f"and a hypervolume of {found.union_hypervolume:.6g} {unit}"
    )
    return Table.of(columns, found.measures, title=title, id="shares")


def _share(share: float, *, digits: int = 1) -> str | None:
    return f"{100 * share:.{digits}f} %" if math.isfinite(share) else None


def _dominated(each: Measures, *, models: int) -> str | None:
    return f"{each.dominates.sum()} of {models}" if models else None


def coverage_table(found: Comparison) -> Table:
    """How much of each front every other one covers."""
    names = [run.name for run in found.runs]
    rows = tuple(
        (name, *(None if i == k else _share(share) for k, share in enumerate(each.coverage)))
        for i, (name, each) in enumerate(zip(names, found.measures, strict=True))
    )
    title = "Coverage: the share of a column's front that the row's front dominates or equals"
    return Table(("run", *(f">{name}" for name in names)), rows, title, "coverage")


def nearest_models(found: Comparison) -> tuple[list[int], str]:
    """The places of the models within the limits that are shown, the best first, and how many there are."""
    feasible = [i for i, point in enumerate(found.fixed_points) if point.feasible]
    feasible.sort(key=lambda i: float(found.fixed_points[i].costs[0]))
    shown = feasible[:_ROWS]
    return shown, f"Models of papers within the limits: {len(shown)} of {len(feasible)}"


def model_columns(found: Comparison) -> list[Column[int]]:
    """What is told of the papers' models, by their places."""
    points, unit = found.fixed_points, found.runs[0].unit
    return [
        Column("model", lambda i: points[i].name),
        Column(">ms", lambda i: numbers.ms(points[i].ms)),
        Column(
            f">{accuracy_name(found.runs[0])}",
            lambda i: numbers.accuracy(points[i].top1, points[i].sd, unit=unit),
        ),
        *_crossed_columns(points),
        Column(">published", lambda i: numbers.optional(points[i].published.get("top1"))),
        *(_chance_column(found, run) for run in found.runs if any(run.name in p.against for p in points)),
    ]


def _crossed_columns(points: Sequence[FixedPoint]) -> list[Column[int]]:
    if not any(math.isfinite(point.cross_fitted) for point in points):
        return []
    told = [numbers.points_if_known(point.cross_fitted, point.cross_fitted_sd) for point in points]
    return [Column(">cross-fitted", lambda i: told[i])]


def _chance_column(found: Comparison, run: Run) -> Column[int]:
    """The chance that the best network of a run is better than a model."""
    points = found.fixed_points
    whose = f"{run.name}'s best" if len(found.runs) > 1 else "best"

    def chance_of(i: int) -> str | None:
        known = points[i].against.get(run.name)
        return None if known is None else numbers.chance(known.chance)

    return Column(f">P({whose} is better)", chance_of)


def models_table(found: Comparison, *, timed: str) -> Table | None:
    """The papers' models within the limits, the best first."""
    if found.no_fixed_points is not None:
        return None
    shown, title = nearest_models(found)
    return Table.of(model_columns(found), shown, title=f"{title}; {timed}", id="models")


def time_columns(devices: Sequence[Device]) -> list[Column[Network]]:
    """Milliseconds on each device, with their interval."""

    def on(device: Device) -> list[Column[Network]]:
        return [
            Column(
                f">ms {device.name} ({device.info.method})",
                lambda network: numbers.ms(network.latency[device.name].ms),
            ),
            Column(">5–95 %", lambda network: _interval(network.latency[device.name])),
        ]

    return [column for device in devices for column in on(device)]


def _interval(estimate: LatencyEstimate) -> str:
    return numbers.interval(estimate.low, estimate.high)


def networks_table(report: Report) -> Table:
    """The networks side by side, a line each."""
    columns: list[Column[Network]] = [
        Column("network", "name"),
        *time_columns(report.devices),
        Column(">top-1", "accuracy", str),
        Column(">cross-fitted", "accuracy", lambda accuracy: accuracy and accuracy.cross_fitted_text),
        Column(">published", "published", "{:g}".format),
        Column(">params M", "params", numbers.millions),
        Column(">MACs G", "macs", numbers.billions),
        Column(">resolution", "arch.resolution"),
    ]
    return Table.of(columns, report.side_by_side, title="Side by side", id="networks")


def training_table(report: Report, network: Network, *, id: str) -> Table:
    """The network as the search estimates it, and as it was trained."""
    training, accuracy = network.training, network.accuracy
    assert training is not None
    scenario = report.runs[0].config.scenario if report.runs else SCENARIO
    rows: list[tuple[object, ...]] = []
    if accuracy is not None:
        told = (scenario, accuracy.recipe, None)
        sizes = _sizes(network.arch, network.latency)
        rows.append(("estimated", str(accuracy), accuracy.interval, *told, *sizes))
        if accuracy.cross_fitted_text:
            crossed = (accuracy.cross_fitted_text, accuracy.cross_fitted_interval)
            rows.append(("cross-fitted", *crossed, *told, *sizes))
    bounds = None if training.low is None or training.high is None else (training.low, training.high)
    rows.append(
        (
            "trained",
            numbers.optional(training.top1, digits=2),
            bounds and f"{bounds[0]:.2f}–{bounds[1]:.2f}",
            *(training.data, training.recipe, training.epochs),
            *_sizes(training.arch, training.latency),
        )
    )
    times = tuple(f">ms {name} ({device.info.method})" for name, device in _by_name(report, network))
    names = (
        "",
        f">{'score' if accuracy and accuracy.unit == 'score' else 'top-1'}",
        ">95 %",
        "data",
        "recipe",
    )
    heads = (*names, "epochs", ">px", ">classes", ">params M", ">MACs G", *times)
    return Table(heads, tuple(rows), f"{network.name}, as searched and as trained", id)


def _by_name(report: Report, network: Network) -> list[tuple[str, Device]]:
    return [(device.name, device) for device in report.devices if device.name in network.latency]


def _sizes(arch: Arch, latency: Mapping[str, LatencyEstimate]) -> tuple[object, ...]:
    program = arch.lower()
    sizes = numbers.millions(program.params), numbers.billions(program.macs)
    return arch.resolution, arch.head.out, *sizes, *(numbers.ms(each.ms) for each in latency.values())


def stage_table(device: Device, networks: Sequence[Network], *, id: str) -> Table:
    """Milliseconds by stage, and the sum."""
    estimates = [network.latency[device.name] for network in networks]
    return _times(device, networks, [by_stage(e) for e in estimates], what="stage", id=id)


def kind_table(device: Device, networks: Sequence[Network], *, id: str) -> Table:
    """Milliseconds by kind of op, and the sum."""
    estimates = [network.latency[device.name] for network in networks]
    return _times(device, networks, [by_kind(e) for e in estimates], what="kind of op", id=id)


def _times(
    device: Device, networks: Sequence[Network], parts: Sequence[Mapping[str, float]], *, what: str, id: str
) -> Table:
    rows: list[tuple[object, ...]] = [
        (name, *(None if ms is None else numbers.ms(ms) for ms in values)) for name, values in aligned(parts)
    ]
    rows.append(("all", *(numbers.ms(network.latency[device.name].ms) for network in networks)))
    names = (what, *(f">{network.name}" for network in networks))
    return Table(names, tuple(rows), f"By {what}; ms on {label(device)}, {method(device.info)}", id)


def errors_table(devices: Sequence[Device], estimator: AccuracyEstimator | None) -> Table | None:
    """What the devices' files and the estimator state of their errors on networks not seen by the fit."""
    rows: list[tuple[object, ...]] = []
    for device in devices:
        for place, where in (("in_gate", "inside its gate"), ("all_networks", "all networks")):
            stated = _nested(device.report, "family_left_out", place)
            if stated:
                rows.append(
                    (
                        f"latency on {device.name}",
                        where,
                        _number(stated, "mape", " %"),
                        _number(stated, "p90", " %"),
                        _number(stated, "kendall_tau", ""),
                    )
                )
    overall = {} if estimator is None else estimator.overall_error()
    if overall:
        cells = (_number(overall, "mae", " points"), None, _number(overall, "tau", ""))
        rows.append(("top-1", f"{overall.get('n')} published networks", *cells))
    names = ("of", "over", ">mean error", ">90 % below", ">Kendall tau")
    title = "Errors on families that the fit has not seen"
    return Table(names, tuple(rows), title, "errors") if rows else None


def _nested(value: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _number(stated: Mapping[str, Any], key: str, unit: str) -> str | None:
    value = numbers.optional(stated.get(key), digits=2)
    return None if value is None else f"{value}{unit}"
