"""Searches at the latencies of EfficientFormer's models as plain data, as rows and as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hvnas.studies.rediscovery.efficientformer import (
    Finding,
    Gate,
    ModelResult,
    Rediscovery,
    Sight,
    blamed,
)
from hvnas.studies.rediscovery.patterns import PATTERNS


def searches_json(result: Rediscovery) -> dict[str, Any]:
    """Plain data of the searches at the latencies of the family's models."""
    setting = result.setting
    return {
        "study": "efficientformer",
        "space": setting.space.name,
        "device": setting.seen_device.name,
        "recipe": setting.recipe,
        "strategy": setting.strategy,
        "evals": setting.evals,
        "seeds": setting.seeds,
        "left_out": {
            "results": len(setting.seen_surrogate.evidence) - len(setting.surrogate.evidence),
            "measurements": setting.device.measurements,
            "terms": list(setting.device.terms),
            "gate_rules_of_the_family_s_papers": list(setting.device.gate),
        },
        "models": [_model_json(model) for model in result.models],
    }


def _model_json(model: ModelResult) -> dict[str, Any]:
    return {
        "model": model.name,
        "paper": _sight_json(model.paper) | {"patterns": model.held},
        "gates": [_finding_json(finding) for finding in model.findings],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    peers = finding.peers
    return {
        "gate": finding.gate,
        "found": _sight_json(finding.found) | {"patterns": finding.held},
        "distance": asdict(finding.distance),
        "front": {
            "networks": finding.front,
            "shares": finding.front_shares,
        },
        "peers": peers
        and {
            "networks": len(peers.top1),
            "shares": peers.shares,
            "top1_percentile": peers.top1_percentile,
            "objective_percentile": peers.objective_percentile,
            "better": {"depths": list(peers.better_depths), "widths": list(peers.better_widths)},
        },
        "seeds": list(finding.seeds),
        "with_the_family": [
            {
                "surrogate": each.surrogate,
                "latency": each.latency,
                "stages": each.layout.stage_texts,
                "shares": each.held,
            }
            for each in finding.blame
        ],
        "to_blame": blamed(finding),
        "with_all_four": finding.price
        and {
            "found": _sight_json(finding.price.held),
            "points_less": finding.price.points,
            "sd": finding.price.sd,
            "chance_of_less": finding.price.chance,
        },
    }


def _sight_json(sight: Sight) -> dict[str, Any]:
    return {
        "latency_ms": sight.ms,
        "top1": sight.top1,
        "top1_sd": sight.sd,
        "params": sight.params,
        "macs": sight.macs,
        "stem": sight.layout.stem,
        "stages": sight.layout.stage_texts,
        "attending": sum(sight.layout.attending),
        "attention_from": sight.layout.place,
    }


def searches_rows(result: Rediscovery) -> list[dict[str, Any]]:
    """One row per network."""
    rows = []
    for model in result.models:
        rows.append(_row(model.name, "", "paper", model.paper, model.held, None))
        for finding in model.findings:
            rows.append(_row(model.name, finding.gate, "found", finding.found, finding.held, finding))
    return rows


def _row(
    model: str, gate: str, what: str, sight: Sight, held: Mapping[str, bool], finding: Finding | None
) -> dict[str, Any]:
    told = finding.peers if finding else None
    return {
        "model": model,
        "gate": gate,
        "network": what,
        "latency_ms": sight.ms,
        "top1": sight.top1,
        "top1_sd": sight.sd,
        "params": sight.params,
        "macs": sight.macs,
        "stem": sight.layout.stem,
        **{f"stage{i + 1}": text for i, text in enumerate(sight.layout.stage_texts)},
        **held,
        "depth_distance": finding.distance.depth if finding else 0,
        "width_distance": finding.distance.width if finding else 1.0,
        "front": finding.front if finding else None,
        **{f"front {name}": finding.front_shares[name] if finding else None for name in _shares()},
        "paper_percentile": told.top1_percentile if told else None,
    }


def _shares() -> tuple[str, ...]:
    return (*PATTERNS, "all four")


def draw_searches(result: Rediscovery, title: str) -> Any:
    """Predicted top-1 over predicted ms, a panel per model and gate: a figure of matplotlib."""
    from matplotlib.figure import Figure

    gates: tuple[Gate, ...] = tuple(g for g in result.setting.gates if g != "others") or ("others",)
    shape = (len(gates), len(result.models))
    figure = Figure(figsize=(1 + 4.2 * shape[1], 0.6 + 3.4 * shape[0]), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False)
    for column, model in enumerate(result.models):
        findings: dict[str, Finding] = {finding.gate: finding for finding in model.findings}
        for row, gate in enumerate(gates):
            _draw_finding(axes[row, column], model, findings[gate])
    axes[0, 0].legend(fontsize=7, frameon=False, loc="upper left")
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_finding(axis: Any, model: ModelResult, finding: Finding) -> None:
    if finding.peers:
        label = "random, of equal latency"
        axis.scatter(finding.peers.ms, finding.peers.top1, s=1, color="0.8", label=label)
    axis.plot(finding.front_ms, finding.front_top1, ".", markersize=3, label="front")
    axis.plot(finding.found.ms, finding.found.top1, "^", label="found")
    axis.plot(model.paper.ms, model.paper.top1, "*", markersize=11, label="the paper's")
    axis.set_title(f"{model.name}, gate {finding.gate}", fontsize=8)
    axis.set_xlabel("predicted ms", fontsize=8)
    axis.set_ylabel("predicted top-1", fontsize=8)
    axis.set_xlim(0.7 * model.paper.ms, 1.07 * model.paper.ms)
    low = model.paper.top1 - 5.0
    axis.set_ylim(low, max(finding.found.top1, model.paper.top1) + 1.0)
