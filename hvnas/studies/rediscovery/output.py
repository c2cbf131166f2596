"""A rediscovery as plain data, as tables of rows and as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas._files import write_atomic
from hvnas._records import csv_text
from hvnas.arch import save_arch
from hvnas.latency.plots import check_folder, save_figure
from hvnas.studies.ablation.matching import Match
from hvnas.studies.rediscovery.coatnet import (
    CHOSEN,
    COLUMNS,
    PUBLISHED,
    LayoutRanks,
    Protocol,
    Ranked,
    pattern_verdict,
    verdict,
)
from hvnas.studies.rediscovery.efficientformer import Finding, ModelResult, Rediscovery, blamed
from hvnas.studies.rediscovery.leave_out import Gate
from hvnas.studies.rediscovery.members import Interval, NearOptimal, NetworkSummary, StagePosterior
from hvnas.studies.rediscovery.patterns import PATTERNS, LayoutOf, distance
from hvnas.studies.rediscovery.slimmed import (
    SlimmingPath,
    WithSupernet,
    file_name,
    slimmed_json,
    slimmed_rows,
)

if TYPE_CHECKING:
    from hvnas.studies.alone import Comparison

Result = Rediscovery | LayoutRanks
_DIGITS = 4


def to_json(
    result: Result, slimmed: WithSupernet | None = None, trained: Comparison | None = None
) -> dict[str, Any]:
    """Plain data, numbers as measured; four decimals."""
    made = ranks_json(result) if isinstance(result, LayoutRanks) else searches_json(result)
    if slimmed is not None:
        made["with_supernet"] = slimmed_json(slimmed)
    if trained is not None:
        made["trained"] = trained.facts()
    rounded = _rounded(made)
    assert isinstance(rounded, dict)
    return rounded


def write(
    result: Result, out: Path, *, slimmed: WithSupernet | None = None, trained: Comparison | None = None
) -> tuple[Path, ...]:
    """Write ``rediscover-FAMILY.csv`` and ``.png`` into the folder `out`, made if need be.

    Beside them ``-stages.csv``, the posterior of every stage, and ``-slimming.csv``, slimming of the paper's
    own space, for EfficientFormer, and ``-patterns.csv``, every pattern's places, for CoAtNet.
    ``rediscover-FAMILY-trained.csv`` and ``-differences.csv`` where networks were trained. And
    ``rediscover-FAMILY-supernet.csv`` where there is a supernet's part, with its networks in a folder of that
    name.
    """
    check_out(out)
    out.mkdir(exist_ok=True)
    ranks = isinstance(result, LayoutRanks)
    stem = out / f"rediscover-{'coatnet' if ranks else 'efficientformer'}"
    table, figure = stem.with_suffix(".csv"), stem.with_suffix(".png")
    write_atomic(table, to_csv(result))
    if isinstance(result, LayoutRanks):
        save_figure(draw_ranks, result, figure, "CoAtNet's layouts at one size, the family left out")
    else:
        save_figure(draw_searches, result, figure, "EfficientFormer's models, the family left out")
    more = []
    tables = _tables(result)
    if trained is not None:
        tables |= {"trained": trained.rows(), "differences": trained.differences()}
    for name, rows in tables.items():
        more.append(out / f"{stem.name}-{name}.csv")
        write_atomic(more[-1], csv_text(_rounded(rows)))
    if slimmed is None:
        return table, figure, *more
    added = out / f"{stem.name}-supernet.csv"
    write_atomic(added, csv_text(_rounded(slimmed_rows(slimmed))))
    networks = added.with_suffix("")
    networks.mkdir(exist_ok=True)
    for each in slimmed.found:
        save_arch(each.arch, networks / f"{file_name(each)}.yaml")
    return table, figure, *more, added, networks


def _tables(result: Result) -> dict[str, list[dict[str, Any]]]:
    """The further tables of a study, by what their files are called after it."""
    if isinstance(result, LayoutRanks):
        return {"patterns": _ranked_rows(result.search.protocols)}
    return {"stages": stage_rows(result), "slimming": path_rows(result)}


def check_out(out: Path) -> None:
    """Raise ValueError where `out` cannot become a folder with a table and a figure."""
    check_folder(out, "rediscover.png")


def to_csv(result: Result) -> str:
    """Return one row per network, or per column and layout."""
    rows = ranks_rows(result) if isinstance(result, LayoutRanks) else searches_rows(result)
    return csv_text(_rounded(rows))


def _rounded(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [_rounded(value) for value in data]
    return round(data, _DIGITS) if isinstance(data, float) else data


def ranks_json(study: LayoutRanks) -> dict[str, Any]:
    """Plain data of the layouts' ranks."""
    return {
        "study": "coatnet",
        "left_out": {"results": study.rows},
        "layouts": _sizes_json(study.layouts),
        "published": {name: dict(known) for name, (_, known, _) in PUBLISHED.items()},
        "protocols": [
            _protocol_json(each) | {"kendall_tau": [asdict(tau) for tau in each.taus]}
            for each in study.protocols
        ],
        "chosen": CHOSEN,
        "with_the_family": {name: [asdict(a) for a in again] for name, again in study.again.items()},
        "verdict": verdict(study),
        "patterns": {
            "layouts": _sizes_json(study.search.layouts),
            "not_of_that_size": list(study.search.missed),
            "protocols": [_protocol_json(each) for each in study.search.protocols],
            "verdict": pattern_verdict(study.search),
        },
    }


def _sizes_json(layouts: Mapping[str, Match]) -> dict[str, Any]:
    programs = {name: found.arch.lower() for name, found in layouts.items()}
    return {
        name: {"params": programs[name].params, "macs": programs[name].macs, "scaled": found.did}
        for name, found in layouts.items()
    }


def _protocol_json(each: Protocol) -> dict[str, Any]:
    columns = {column: _ranked_json(ranked) for column, ranked in each.columns.items()}
    return {"protocol": each.name, "recipe": each.recipe, "columns": columns}


def _ranked_json(ranked: Ranked) -> dict[str, Any]:
    return {
        "order": list(ranked.order),
        "value": dict(ranked.value),
        "sd": dict(ranked.sd),
        "probabilities": {name: list(p) for name, p in ranked.chances.items()},
        "above_next": list(ranked.p_above_next),
        "supported": list(ranked.is_supported),
    }


def ranks_rows(study: LayoutRanks) -> list[dict[str, Any]]:
    """One row per protocol, column and layout."""
    return _ranked_rows(study.protocols)


def _ranked_rows(protocols: Sequence[Protocol]) -> list[dict[str, Any]]:
    return [
        {
            "protocol": each.name,
            "column": column,
            "place": place + 1,
            "layout": name,
            "value": ranked.value[name],
            "sd": ranked.sd[name],
            "p_place": ranked.chances[name][place],
            "p_first": ranked.chances[name][0],
            "p_above_next": ranked.p_above_next[place] if place < len(ranked.p_above_next) else None,
        }
        for each in protocols
        for column, ranked in each.columns.items()
        for place, name in enumerate(ranked.order)
    ]


def draw_ranks(study: LayoutRanks, title: str) -> Any:
    """The chance of each place, a panel per protocol and column: a figure of matplotlib."""
    from matplotlib.figure import Figure

    names = list(study.layouts)
    figure = Figure(figsize=(2 + 3.0 * len(COLUMNS), 0.6 + 2.9 * len(study.protocols)), layout="constrained")
    axes = figure.subplots(len(study.protocols), len(COLUMNS), squeeze=False)
    for row, each in enumerate(study.protocols):
        for column, name in enumerate(COLUMNS):
            axis, ranked = axes[row, column], each.columns[name]
            table = [ranked.chances[layout] for layout in names]
            axis.imshow(table, vmin=0, vmax=1, cmap="Blues", aspect="auto")
            for i, chances in enumerate(table):
                for k, chance in enumerate(chances):
                    axis.text(
                        k,
                        i,
                        f"{chance:.2f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color="white" if chance > 0.6 else "black",
                    )
            axis.set_xticks(range(len(names)), [str(k + 1) for k in range(len(names))], fontsize=7)
            axis.set_yticks(range(len(names)), names if column == 0 else [], fontsize=7)
            axis.set_title(f"{each.name}, {name}", fontsize=8)
            axis.set_xlabel("place", fontsize=7)
    figure.suptitle(title, fontsize=10)
    return figure


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
        "paper_space": [_path_json(path) for path in result.paths],
    }


def _path_json(path: SlimmingPath) -> dict[str, Any]:
    return {
        "gate": path.gate,
        "start": _network_json(path.start),
        "found": [
            {
                "model": stop.model,
                "budget_ms": stop.budget_ms,
                "moves": stop.steps,
                **_network_json(stop.found),
            }
            for stop in path.stops
        ],
    }


def _model_json(model: ModelResult) -> dict[str, Any]:
    return {
        "model": model.name,
        "paper": _network_json(model.paper) | {"patterns": model.held},
        "gates": [_finding_json(finding) for finding in model.findings],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    peers = finding.peers
    return {
        "gate": finding.gate,
        "found": _network_json(finding.found) | {"patterns": finding.held},
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
        "near_optimal": finding.near and _near_json(finding.near),
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
            "found": _network_json(finding.price.held),
            "points_less": finding.price.points,
            "sd": finding.price.sd,
            "chance_of_less": finding.price.chance,
        },
    }


def _near_json(near: NearOptimal) -> dict[str, Any]:
    return {
        "networks": len(near),
        "probabilities": near.patterns,
        "stages": [
            {"attends": each.attends, **{name: asdict(value) for name, value in _intervals(each).items()}}
            for each in near.stages
        ],
    }


def _intervals(stage: StagePosterior) -> dict[str, Interval]:
    """What the posterior of a stage tells, by name."""
    return {
        "local": stage.local,
        "attending": stage.attending,
        "depth": stage.depth,
        "width": stage.width,
    }


def _numbers(network: NetworkSummary) -> dict[str, Any]:
    """What every form says of a network, with its stem."""
    return {
        "latency_ms": network.ms,
        "top1": network.top1,
        "top1_sd": network.sd,
        "params": network.params,
        "macs": network.macs,
        "stem": network.layout.stem,
    }


def _network_json(network: NetworkSummary) -> dict[str, Any]:
    return {
        **_numbers(network),
        "stages": network.layout.stage_texts,
        "attending": sum(network.layout.attending),
        "attention_from": network.layout.place,
    }


def searches_rows(result: Rediscovery) -> list[dict[str, Any]]:
    """One row per network."""
    rows = []
    for model in result.models:
        rows.append(_row(model.name, "", "paper", model.paper, model.held, None))
        for finding in model.findings:
            rows.append(_row(model.name, finding.gate, "found", finding.found, finding.held, finding))
    return rows


def stage_rows(result: Rediscovery) -> list[dict[str, Any]]:
    """One row per model, gate and stage: the paper's numbers, and the posterior's quantiles beside them."""
    return [
        {
            "model": model.name,
            "gate": finding.gate,
            "stage": i + 1,
            "attends": stage.attends,
            **{
                f"{name} {what}": number
                for name, value in _intervals(stage).items()
                for what, number in ({"paper": own[name]} | asdict(value)).items()
            },
        }
        for model in result.models
        for finding in model.findings
        if finding.near
        for i, (stage, own) in enumerate(
            zip(finding.near.stages, paper_numbers(model.paper.layout), strict=True)
        )
    ]


def paper_numbers(layout: LayoutOf) -> list[dict[str, int]]:
    """What `_intervals` tells of each stage, of one layout."""
    return [
        {"local": depth - attending, "attending": attending, "depth": depth, "width": width}
        for depth, attending, width in zip(layout.depths, layout.attending, layout.widths, strict=True)
    ]


def path_rows(result: Rediscovery) -> list[dict[str, Any]]:
    """One row per gate and budget: what slimming of the paper's own space ends in, and how far off."""
    papers = {model.name: model.paper.layout for model in result.models}
    return [
        {
            "gate": path.gate,
            "model": stop.model,
            "budget_ms": stop.budget_ms,
            "moves": stop.steps,
            **_numbers(stop.found),
            **{f"stage{i + 1}": text for i, text in enumerate(stop.found.layout.stage_texts)},
            **{
                f"{name}_apart": n
                for name, n in asdict(distance(papers[stop.model], stop.found.layout)).items()
            },
        }
        for path in result.paths
        for stop in path.stops
    ]


def _row(
    model: str,
    gate: str,
    what: str,
    network: NetworkSummary,
    held: Mapping[str, bool],
    finding: Finding | None,
) -> dict[str, Any]:
    told, near = (finding.peers, finding.near) if finding else (None, None)
    return {
        "model": model,
        "gate": gate,
        "network": what,
        **_numbers(network),
        **{f"stage{i + 1}": text for i, text in enumerate(network.layout.stage_texts)},
        **held,
        "depth_distance": finding.distance.depth if finding else 0,
        "width_distance": finding.distance.width if finding else 1.0,
        "front": finding.front if finding else None,
        **{f"front {name}": finding.front_shares[name] if finding else None for name in _shares()},
        "paper_percentile": told.top1_percentile if told else None,
        **{f"p {name}": near.patterns[name] if near else None for name in _shares()},
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
