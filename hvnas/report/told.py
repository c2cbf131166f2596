"""A report as plain data: the JSON object and the CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hvnas._clean import clean
from hvnas._files import csv_text
from hvnas._provenance import method
from hvnas.latency import LatencyEstimate
from hvnas.report.facts import to_json as comparison_to_json
from hvnas.report.network import Network, by_kind, by_stage
from hvnas.report.report import Report
from hvnas.search.result import MS_DECIMALS, POINT_DECIMALS


def report_to_json(report: Report) -> dict[str, Any]:
    """Everything that a report says."""
    return {
        "runs": None if report.comparison is None else comparison_to_json(report.comparison),
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
        "ms": _ms(estimate.ms),
        "low": _ms(estimate.low),
        "high": _ms(estimate.high),
        "inside": estimate.inside,
        "reasons": list(estimate.reasons),
        "stages": {name: _ms(ms) for name, ms in by_stage(estimate).items()},
        "kinds": {name: _ms(ms) for name, ms in by_kind(estimate).items()},
    }


def _ms(value: float) -> float:
    return round(value, MS_DECIMALS)


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
