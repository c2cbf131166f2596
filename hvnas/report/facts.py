"""A comparison, or a report, as plain data: the JSON object and the CSV files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hvnas._numbers import clean
from hvnas._records import csv_text
from hvnas.latency import LatencyEstimate
from hvnas.latency.provenance import method
from hvnas.report.compare import Comparison, Measures
from hvnas.report.network import Network, by_kind, by_stage
from hvnas.report.panels import volume_unit
from hvnas.report.report import Report
from hvnas.search.evaluations import guesses
from hvnas.search.runs.result import MS_DECIMALS, POINT_DECIMALS, cross_fitted_json
from hvnas.search.runs.session import FIELDS

# Decimals of shares, and significant digits of hypervolumes: as in a run's history.
_SHARE_DECIMALS, _DIGITS = 4, 6


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything that a comparison says, rounded to the decimals of the run folders."""
    first = comparison.runs[0].config
    return {
        "objectives": list(first.objectives),
        "device": first.device[0],
        "devices": list(first.device),
        "estimator": first.estimator,
        "recipe": first.recipe,
        "scenario": first.scenario,
        "unit": comparison.runs[0].unit,
        "differences": list(comparison.differences),
        "limit_ms": None if math.isinf(comparison.limit_ms) else round(comparison.limit_ms, MS_DECIMALS),
        "reference": [
            {"objective": str(corner.objective), "value": _short(corner.value), "why": corner.why}
            for corner in comparison.reference
        ],
        "hypervolume_unit": volume_unit(comparison.runs[0]),
        "union": {"members": comparison.union_size, "hypervolume": _short(comparison.union_hypervolume)},
        "runs": [_run(measures, comparison) for measures in comparison.measures],
        "fixed_points": _fixed_points(comparison),
        "no_fixed_points": comparison.no_fixed_points,
    }


def _run(measures: Measures, comparison: Comparison) -> dict[str, Any]:
    run = measures.run
    names = [other.name for other in comparison.runs]
    return {
        "run": run.name,
        "folder": str(run.folder),
        "space": run.config.space,
        "strategy": run.config.strategy,
        "seed": run.config.seed,
        "budget_ms": run.config.budget_ms,
        "evals": run.config.evals,
        "evaluated": run.evaluated,
        "seconds": run.seconds,
        "parts": run.parts,
        "stopped": run.stopped,
        "front": len(run.members),
        "files": int(run.written.sum()),
        "guesses": int(guesses(run.sd).sum()),
        "limit": run.limit,
        "compared": measures.members,
        "best": _best(measures),
        "hypervolume": _short(measures.hypervolume),
        "of_union": _share(measures.relative),
        "union_share": _share(measures.union_share),
        "coverage": dict(zip(names, map(_share, measures.coverage), strict=True)),
        "fixed_points_dominated": int(measures.dominates.sum()),
        "fixed_points_held": int(measures.holds.sum()),
        "history": [{name: _or_none(getattr(m, name)) for name in FIELDS} for m in run.history],
    }


def _best(measures: Measures) -> dict[str, Any]:
    """The best of the run by the first objective, as its own ``best.yaml``."""
    run = measures.run
    i = run.best
    accuracy: dict[str, float | None] = {"score": round(float(run.top1[i]), POINT_DECIMALS)}
    if run.unit == "points":
        accuracy = {
            "top1": round(float(run.top1[i]), POINT_DECIMALS),
            "top1_sd": round(float(run.sd[i]), POINT_DECIMALS),
            **cross_fitted_json(float(run.cross_fitted[i]), float(run.cross_fitted_sd[i])),
        }
    costs = zip(run.objectives, run.costs[i].tolist(), strict=True)
    return {
        "name": run.members[i],
        **accuracy,
        "latency_ms": round(float(run.ms[i]), MS_DECIMALS),
        "latency_low": round(float(run.low[i]), MS_DECIMALS),
        "latency_high": round(float(run.high[i]), MS_DECIMALS),
        **({"measured_ms": round(float(run.measured[i]), MS_DECIMALS)} if run.how(i) == "measured" else {}),
        "objectives": {str(what): round(what.sign * cost, MS_DECIMALS) for what, cost in costs},
    }


def _fixed_points(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "model": point.name,
            "latency_ms": round(point.ms, MS_DECIMALS),
            "top1": round(point.top1, POINT_DECIMALS),
            "top1_sd": round(point.sd, POINT_DECIMALS),
            **cross_fitted_json(point.cross_fitted, point.cross_fitted_sd),
            "published_top1": point.published.get("top1"),
            "p_better": {run: round(told.chance, _SHARE_DECIMALS) for run, told in point.against.items()},
            "inside": point.inside,
            "feasible": point.feasible,
            "dominated_by": [each.run.name for each in comparison.measures if each.dominates[i]],
            "held_by": [each.run.name for each in comparison.measures if each.holds[i]],
        }
        for i, point in enumerate(comparison.fixed_points)
    ]


def to_csv(comparison: Comparison) -> str:
    """Return a line for each run.

    What a run covers of another is the column ``covers:`` and the other's name.
    """
    lines = []
    for run in to_json(comparison)["runs"]:
        best, covers = run.pop("best"), run.pop("coverage")
        del run["history"]
        objectives = {f"best:{name}": value for name, value in best.pop("objectives").items()}
        told = {f"best_{name}": value for name, value in best.items()}
        lines.append(run | told | objectives | {f"covers:{name}": share for name, share in covers.items()})
    return csv_text(lines)


def _share(value: float) -> float | None:
    return round(value, _SHARE_DECIMALS) if math.isfinite(value) else None


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _or_none(value: float) -> float | None:
    """None for nan: what a score or an empty front does not have."""
    return value if math.isfinite(value) else None


def report_to_json(report: Report) -> dict[str, Any]:
    """Return everything that a report says."""
    return {
        "runs": None if report.comparison is None else to_json(report.comparison),
        "networks": [_network(network) for network in report.networks],
        "reference": None if report.reference is None else _network(report.reference),
        "devices": [
            {"name": d.name, "method": d.info.method, "said": method(d.info), "error": dict(d.report)}
            for d in report.devices
        ],
        "trust": list(report.trust),
        "notes": list(report.notes),
        "redo": [{"run": s.run, "command": s.command, "notes": list(s.notes)} for s in report.settings],
    }


def _network(network: Network) -> dict[str, Any]:
    accuracy = network.accuracy
    return {
        "name": network.name,
        "run": network.run,
        "params": network.params,
        "macs": network.macs,
        "resolution": network.arch.resolution,
        "accuracy": None
        if accuracy is None
        else {
            "mean": round(accuracy.mean, POINT_DECIMALS),
            "sd": round(accuracy.sd, POINT_DECIMALS),
            "unit": accuracy.unit,
            "estimator": accuracy.estimator,
            "recipe": accuracy.recipe,
            **cross_fitted_json(accuracy.cross_fitted, accuracy.cross_fitted_sd),
        },
        "published": network.published,
        "assumed": list(network.assumed),
        "trained": network.trained,
        "p_within_budget": network.chance,
        "budget_ms": network.budget_ms,
        "latency": {name: _latency(estimate) for name, estimate in network.latency.items()},
    }


def _latency(estimate: LatencyEstimate) -> dict[str, Any]:
    return {
        **{name: _rounded(value) for name, value in estimate.to_json().items()},
        "stages": {name: _ms(ms) for name, ms in by_stage(estimate).items()},
        "kinds": {name: _ms(ms) for name, ms in by_kind(estimate).items()},
    }


def _ms(value: float) -> float:
    return round(value, MS_DECIMALS)


def _rounded(value: Any) -> Any:
    return _ms(value) if isinstance(value, float) else value


def csv_files(report: Report) -> dict[str, str]:
    """The tables behind the figures: each file's name and its text."""
    files = {"networks.csv": _csv(map(_network_line, report.side_by_side)), "latency.csv": _latencies(report)}
    if report.runs:
        files["front.csv"] = _csv(line for run in report.runs for line in _front(run))
        files["history.csv"] = _csv(
            {"run": run.name, **vars(moment)} for run in report.runs for moment in run.history
        )
    return {name: text for name, text in files.items() if text}


def _network_line(network: Network) -> dict[str, object]:
    accuracy = network.accuracy
    times = {
        f"{what} {device}": _ms(getattr(estimate, what))
        for device, estimate in network.latency.items()
        for what in ("ms", "low", "high")
    }
    return {
        "network": network.name,
        "run": network.run,
        "params": network.params,
        "macs": network.macs,
        "resolution": network.arch.resolution,
        **times,
        "accuracy": None if accuracy is None else round(accuracy.mean, POINT_DECIMALS),
        "sd": None if accuracy is None else round(accuracy.sd, POINT_DECIMALS),
        "unit": None if accuracy is None else accuracy.unit,
        "published": network.published,
    }


def _latencies(report: Report) -> str:
    return _csv(
        {
            "device": device.name,
            "method": device.info.method,
            "network": network.name,
            "by": what,
            "part": part,
            "ms": _ms(ms),
        }
        for device in report.devices
        for network in report.side_by_side
        for what, parts in (("stage", by_stage), ("kind", by_kind))
        for part, ms in parts(network.latency[device.name]).items()
    )


def _front(run: Any) -> Iterable[dict[str, object]]:
    names = ("ms", "low", "high", "chance", "top1", "sd", "params", "macs")
    for i, name in enumerate(run.members):
        numbers = {key: float(getattr(run, key)[i]) for key in names}
        yield {"run": run.name, "name": name, "unit": run.unit, **numbers}


def _csv(lines: Iterable[Mapping[str, object]]) -> str:
    """Lines under their names, texts fit to be shown; empty without any line."""
    rows: Sequence[Mapping[str, object]] = list(lines)
    if not rows:
        return ""
    return csv_text({k: clean(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
