"""Searches at the latencies of a family's models, printed."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from hvnas.cli import _numbers as numbers
from hvnas.cli._screen import Screen

if TYPE_CHECKING:
    from hvnas.studies.rediscovery.efficientformer import Finding, ModelResult, Price, Rediscovery

_GATES = {
    "on": "the gate on",
    "others": "the gate without the rules that rest on the family's papers",
    "off": "the gate off, only the costs at work",
}


def print_searches(screen: Screen, found: Rediscovery) -> None:
    """What was left out, what was found at each model's latency, and what is missing."""
    setting = found.setting
    gone = len(setting.seen_surrogate.evidence) - len(setting.surrogate.evidence)
    screen.line("EfficientFormer left out: are its layouts found again?", style="bold")
    screen.fields(
        [
            ("surrogate", f"fitted without {gone} results of EfficientFormer and EfficientFormerV2"),
            (
                "device",
                f"{setting.seen_device.name}, fitted without {setting.device.measurements} measurements; "
                f"terms chosen again: {', '.join(setting.device.terms)}",
            ),
            ("gate", f"rules that rest on the family's papers: {', '.join(setting.device.gate)}"),
            ("space", f"{setting.space.name}: {setting.space.spec.description}"),
            ("search", f"{setting.strategy}, {setting.evals:,} networks, seeds {setting.seeds}"),
            ("recipe", setting.recipe),
        ]
    )
    for model in found.models:
        _print_model(screen, model)
    _print_patterns(screen, found)
    _print_missing(screen, found)


def _print_model(screen: Screen, model: ModelResult) -> None:
    screen.heading(f"{model.name} and what was found at its {numbers.ms(model.paper.ms)} ms")
    columns = ("network", "stem", "stage 1", "stage 2", "stage 3", "stage 4", ">attending", ">ms", ">top-1")
    sights = [("the paper's", model.paper), *((f"gate {f.gate}", f.found) for f in model.findings)]
    rows = [
        (
            name,
            sight.layout.stem,
            *sight.layout.stage_texts,
            sum(sight.layout.attending),
            numbers.ms(sight.ms),
            numbers.points(sight.top1, sight.sd),
        )
        for name, sight in sights
    ]
    screen.table(columns, rows)
    screen.line()
    screen.table(
        (
            "",
            ">blocks apart",
            ">widths apart",
            ">front",
            ">with all four",
            ">random with all four",
            ">paper's percentile",
            ">less one sd",
            "random above it: depths",
            "widths",
        ),
        [_distance_cells(finding) for finding in model.findings],
    )


def _distance_cells(finding: Finding) -> tuple[object, ...]:
    peers = finding.peers
    return (
        f"gate {finding.gate}",
        finding.distance.depth,
        f"x {finding.distance.width:.2f}",
        finding.front,
        numbers.percent(finding.front_shares["all four"]),
        numbers.percent(peers.shares["all four"]) if peers else None,
        f"{peers.top1_percentile:.1f} %" if peers else None,
        f"{peers.objective_percentile:.1f} %" if peers else None,
        _means(peers.better_depths, 1) if peers else None,
        _means(peers.better_widths, 0) if peers else None,
    )


def _means(values: Sequence[float], digits: int) -> str | None:
    return None if isnan(values[0]) else " ".join(f"{value:.{digits}f}" for value in values)


def _print_patterns(screen: Screen, found: Rediscovery) -> None:
    from hvnas.studies.rediscovery.patterns import PATTERNS

    screen.heading(
        "The four patterns: yes or no, seeds that have it; the front's share; that of random members"
    )
    rows = [
        (
            model.name,
            finding.gate,
            *(_pattern_cell(finding, name) for name in PATTERNS),
            f"{sum(all(seed.values()) for seed in finding.seeds)}/{len(finding.seeds)}",
        )
        for model in found.models
        for finding in model.findings
    ]
    screen.table(("model", "gate", *PATTERNS, ">all four"), rows)


def _pattern_cell(finding: Finding, name: str) -> str:
    seeds = sum(seed[name] for seed in finding.seeds)
    said = f"{'yes' if finding.held[name] else 'no'} {seeds}/{len(finding.seeds)}"
    shares = [finding.front_shares[name], *([finding.peers.shares[name]] if finding.peers else [])]
    return "; ".join([said, *(f"{100 * share:.0f} %" for share in shares)])


def _print_missing(screen: Screen, found: Rediscovery) -> None:
    from hvnas.studies.rediscovery.efficientformer import blamed

    missing = [(m, f) for m in found.models for f in m.findings if f.missing]
    if not missing:
        screen.line()
        screen.line("All four patterns at each latency.")
        return
    screen.heading("Not rediscovered, and what is to blame")
    for model, finding in missing:
        where = f"{model.name}, {_GATES[finding.gate]}"
        said = blamed(finding)
        for name in finding.missing:
            screen.line(f"  {where}: {name}" + (f"; to blame: {said[name]}" if name in said else ""))
    screen.heading("What the four patterns cost: the best network found that has them all")
    columns = (
        "model",
        "gate",
        *(f"stage {i}" for i in range(1, 5)),
        ">ms",
        ">top-1",
        ">less",
        ">chance of less",
        "",
    )
    screen.table(columns, [_price_cells(m.name, f.gate, f.price) for m, f in missing if f.price])


def _price_cells(model: str, gate: str, price: Price) -> tuple[object, ...]:
    held = price.held
    return (
        model,
        gate,
        *held.layout.stage_texts,
        numbers.ms(held.ms),
        numbers.points(held.top1, held.sd),
        numbers.points(price.points, price.sd),
        numbers.chance(price.chance),
        None if price.is_told else "not told apart",
    )
