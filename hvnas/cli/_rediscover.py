"""A rediscovery printed: searches, ranks of layouts, and the supernet's part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from hvnas import _numbers as numbers
from hvnas.cli._screen import Screen

if TYPE_CHECKING:
    from hvnas.studies.ablation.matching import Match
    from hvnas.studies.alone import Comparison
    from hvnas.studies.rediscovery.coatnet import LayoutRanks, PatternSearch, Ranked
    from hvnas.studies.rediscovery.efficientformer import Finding, ModelResult, PatternCost, Rediscovery
    from hvnas.studies.rediscovery.members import Interval, NearOptimal, NetworkSummary
    from hvnas.studies.rediscovery.slimmed import Chance, Slimmed, WithSupernet

_GATES = {
    "on": "the gate on",
    "others": "the gate without the rules that rest on the family's papers",
    "off": "the gate off, only the costs at work",
}

Row = tuple[str | None, ...]


def print_searches(screen: Screen, rediscovery: Rediscovery) -> None:
    """What was left out, what was found at each model's latency, and what is missing."""
    setting = rediscovery.setting
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
    for model in rediscovery.models:
        _print_model(screen, model)
    _print_patterns(screen, rediscovery)
    _print_near(screen, rediscovery)
    _print_paths(screen, rediscovery)
    _print_missing(screen, rediscovery)


def _print_model(screen: Screen, model: ModelResult) -> None:
    screen.heading(f"{model.name} and what was found at its {numbers.ms(model.paper.ms)} ms")
    columns = ("network", "stem", "stage 1", "stage 2", "stage 3", "stage 4", ">attending", ">ms", ">top-1")
    networks = [("the paper's", model.paper), *((f"gate {f.gate}", f.found) for f in model.findings)]
    rows = [
        (
            name,
            network.layout.stem,
            *network.layout.stage_texts,
            sum(network.layout.attending),
            numbers.ms(network.ms),
            numbers.points(network.top1, network.sd),
        )
        for name, network in networks
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


def _print_patterns(screen: Screen, rediscovery: Rediscovery) -> None:
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
        for model in rediscovery.models
        for finding in model.findings
    ]
    screen.table(("model", "gate", *PATTERNS, ">all four"), rows)


def _pattern_cell(finding: Finding, name: str) -> str:
    seeds = sum(seed[name] for seed in finding.seeds)
    said = f"{'yes' if finding.held[name] else 'no'} {seeds}/{len(finding.seeds)}"
    shares = [finding.front_shares[name], *([finding.peers.shares[name]] if finding.peers else [])]
    return "; ".join([said, *(f"{100 * share:.0f} %" for share in shares)])


def _print_near(screen: Screen, rediscovery: Rediscovery) -> None:
    """The probability of each pattern, and each stage's posterior, over all that may be the best."""
    from hvnas.studies.rediscovery.members import CHANCE
    from hvnas.studies.rediscovery.patterns import PATTERNS

    found = [(model, f, f.near) for model in rediscovery.models for f in model.findings if f.near]
    if not found:
        return
    screen.heading(
        "The probability that the best network has each pattern, over all networks within the budget that are"
        f" better than the best one found with a chance of {CHANCE:g} or more"
    )
    rows = [
        (model.name, finding.gate, len(near), *(numbers.chance(p) for p in near.patterns.values()))
        for model, finding, near in found
    ]
    screen.table(("model", "gate", ">networks", *(f">{name}" for name in PATTERNS), ">all four"), rows)
    screen.heading("The best network stage by stage: the paper's number; the median and the 80 % interval")
    stages = [row for model, finding, near in found for row in _stage_rows(model, finding, near)]
    columns = ("model", "gate", ">stage", ">attends", "without attention", "attending", "depth", "width")
    screen.table(columns, stages)


def _stage_rows(model: ModelResult, finding: Finding, near: NearOptimal) -> list[tuple[object, ...]]:
    paper = model.paper.layout
    rows: list[tuple[object, ...]] = []
    for i, stage in enumerate(near.stages):
        depth, attending = paper.depths[i], paper.attending[i]
        cells = (
            (depth - attending, stage.local),
            (attending, stage.attending),
            (depth, stage.depth),
            (paper.widths[i], stage.width),
        )
        told = (_interval_cell(own, interval) for own, interval in cells)
        rows.append((model.name, finding.gate, i + 1, numbers.chance(stage.attends), *told))
    return rows


def _interval_cell(own: int, found: Interval) -> str:
    mark = "" if found.holds(own) else " !"
    return f"{own}; {found.median} ({found.low}-{found.high}){mark}"


def _print_paths(screen: Screen, rediscovery: Rediscovery) -> None:
    """What slimming of the paper's own space ends in beside the paper's networks."""
    from hvnas.studies.rediscovery.patterns import distance
    from hvnas.studies.rediscovery.slimmed import LARGEST

    if not rediscovery.paths:
        return
    screen.heading("The paper's own space slimmed as in the paper, by the estimate: where it ends")
    screen.line(f"  from the widths and depths of {LARGEST}, by the top-1 lost per millisecond saved")
    rows: list[tuple[object, ...]] = []
    for model in rediscovery.models:
        paper = model.paper
        rows.append((model.name, "the paper's", None, *_slimmed_cells(paper), None, None))
        for path in rediscovery.paths:
            stops = [stop for stop in path.stops if stop.model == model.name]
            if not stops:
                rows.append((model.name, f"gate {path.gate}: not reached", *(None,) * 10))
            for stop in stops:
                apart = distance(paper.layout, stop.found.layout)
                cells = (*_slimmed_cells(stop.found), apart.depth, f"x {apart.width:.2f}")
                rows.append((model.name, f"gate {path.gate}", stop.steps, *cells))
    stages = (f"stage {i}" for i in range(1, 5))
    numbers_ = (">attending", ">ms", ">top-1", ">blocks apart", ">widths apart")
    screen.table(("budget of", "", ">moves", *stages, *numbers_), rows)


def _slimmed_cells(network: NetworkSummary) -> tuple[object, ...]:
    return (
        *network.layout.stage_texts,
        sum(network.layout.attending),
        numbers.ms(network.ms),
        numbers.points(network.top1, network.sd),
    )


def _print_missing(screen: Screen, rediscovery: Rediscovery) -> None:
    from hvnas.studies.rediscovery.efficientformer import blamed

    missing = [(m, f) for m in rediscovery.models for f in m.findings if f.missing]
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
    screen.table(columns, [_cost_cells(m.name, f.gate, f.price) for m, f in missing if f.price])


def _cost_cells(model: str, gate: str, cost: PatternCost) -> tuple[object, ...]:
    held = cost.held
    return (
        model,
        gate,
        *held.layout.stage_texts,
        numbers.ms(held.ms),
        numbers.points(held.top1, held.sd),
        numbers.points(cost.points, cost.sd),
        numbers.chance(cost.chance),
        None if cost.is_told else "not told apart",
    )


def print_ranks(screen: Screen, ranks: LayoutRanks) -> None:
    """Sizes, places with their chances, agreement with the published orders, and the verdict."""
    from hvnas.studies.rediscovery.coatnet import COLUMNS, PUBLISHED, spread, verdict

    screen.line("CoAtNet left out: are its five layouts ranked as published?", style="bold")
    apart = [f"{100 * spread(ranks.layouts, name):.1f} %" for name in ("params", "macs")]
    screen.fields(
        [
            ("surrogate", f"fitted without {ranks.rows} results; large-data shift without CoAtNet's pairs"),
            ("sizes", f"params within {apart[0]}, MACs within {apart[1]}"),
        ]
    )
    screen.heading("Layouts")
    screen.table(("layout", ">params M", ">MACs G", "scaled"), _size_rows(ranks.layouts))
    for each in ranks.protocols:
        screen.heading(
            f"Protocol {each.name} (recipe {each.recipe}): place, chance of it, chance to be above the next"
        )
        rows = zip(*(_rank_cells(each.columns[column]) for column in COLUMNS), strict=True)
        screen.table((">place", *COLUMNS), [(i + 1, *row) for i, row in enumerate(rows)])
        screen.line()
        screen.table(
            ("published order", "column", ">Kendall tau", ">5-95 %"),
            [
                (
                    f"{tau.published}: {PUBLISHED[tau.published][2]}",
                    tau.column,
                    f"{tau.tau:.2f}",
                    f"{tau.low:.2f} to {tau.high:.2f}",
                )
                for tau in each.taus
            ],
        )
    screen.line()
    for sentence in verdict(ranks):
        screen.line(sentence)
    _print_search(screen, ranks.search)


def _print_search(screen: Screen, search: PatternSearch) -> None:
    """Every pattern of C and T: its size, and how it fares in each column."""
    from hvnas.studies.rediscovery.coatnet import COLUMNS, pattern_verdict

    screen.heading("All patterns of C and T in four stages, at the size of the five layouts")
    screen.table(("pattern", ">params M", ">MACs G", "scaled"), _size_rows(search.layouts))
    for name in search.missed:
        screen.line(f"  left out, for no depths and widths near CoAtNet-0's make it of that size: {name}")
    for each in search.protocols:
        screen.heading(
            f"Protocol {each.name} (recipe {each.recipe}): each pattern's place and its chance to be first"
        )
        order = each.columns["combined"].order
        rows = [(name, *(_place_cell(each.columns[column], name) for column in COLUMNS)) for name in order]
        screen.table(("pattern", *COLUMNS), rows)
    screen.line()
    for sentence in pattern_verdict(search):
        screen.line(sentence)


def _place_cell(ranked: Ranked, name: str) -> str:
    place = ranked.order.index(name) + 1
    return f"{place}, {_value(ranked.value, name)} (first: {numbers.chance(ranked.chances[name][0])})"


def _size_rows(layouts: Mapping[str, Match]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name, made in layouts.items():
        program = made.arch.lower()
        rows.append(
            (name, numbers.millions(program.params), numbers.billions(program.macs), made.did or None)
        )
    return rows


def _rank_cells(ranked: Ranked) -> list[str]:
    cells = []
    for place, name in enumerate(ranked.order):
        own = numbers.chance(ranked.chances[name][place])
        told = _chance_above_next(ranked, place)
        cells.append(f"{name} {_value(ranked.value, name)} (p {own}{told})")
    return cells


def _value(values: Mapping[str, float], name: str) -> str:
    # A mean place is kept as its negative, so that more is better.
    value = values[name]
    if max(values.values()) < -0.9:
        return f"place {-value:.2f}"
    return f"{value:.1f}" if value > 20 else f"{value:+.2f}"


def _chance_above_next(ranked: Ranked, place: int) -> str:
    if place >= len(ranked.p_above_next):
        return ""
    mark = "" if ranked.is_supported[place] else "?"
    return f", > {numbers.chance(ranked.p_above_next[place])}{mark}"


def print_slimmed(screen: Screen, slimmed: WithSupernet) -> None:
    """What each way found at each budget, and what chance has to offer."""
    from hvnas.studies.rediscovery.patterns import PATTERNS

    screen.heading(f"With the supernet in {slimmed.folder}, the gate off: space {slimmed.space}")
    screen.line(f"  top-1 {slimmed.meaning}; both: mean rank by surrogate and supernet")
    screen.line("  slimming starts from a network with the patterns, the searches start from nothing")
    screen.line("  all four: the best, by the supernet, of random members with all four patterns")
    rows = []
    for chance in slimmed.chances:
        rows += [_slimmed_row(each) for each in slimmed.found if each.share == chance.share]
        rows.append(_chance_row(chance))
    columns = (">budget ms", "by", *(f"stage {i}" for i in range(1, 5)), ">ms", ">top-1 or rank", *PATTERNS)
    screen.table(columns, rows)


def _slimmed_row(each: Slimmed) -> Row:
    from hvnas.studies.rediscovery.slimmed import BOTH

    return (
        numbers.ms(each.budget_ms),
        each.way,
        *[*each.layout.stage_texts, *4 * [None]][:4],
        numbers.ms(each.ms),
        f"{each.top1:.3f}" if each.way == BOTH else f"{each.top1:.1f}",
        *("yes" if has else "no" for has in each.held.values()),
    )


def _chance_row(chance: Chance) -> Row:
    """What random members within the budget have."""
    from hvnas.studies.rediscovery.patterns import PATTERNS

    shares = (None if (share := chance.held[name]) is None else f"{100 * share:.0f} %" for name in PATTERNS)
    return (
        numbers.ms(chance.budget_ms),
        f"{chance.members} random members",
        *(None,) * 4,
        None,
        None,
        *shares,
    )


def print_comparison(screen: Screen, trained: Comparison) -> None:
    """Networks trained by themselves: top-1 of each, and the difference of every two."""
    how = trained.how
    images = f"on {how.data}" + ("" if how.train_size is None else f", {how.train_size:,} images at most")
    screen.heading(
        f"Each trained alone {images}: recipe {how.recipe}, epochs {trained.epochs}, "
        f"seeds {trained.top1.shape[1]}"
    )
    screen.table(
        ("network", ">params M", ">MACs M", ">top-1", ">chance to be best", ">seeds"),
        [_trained_cells(row) for row in trained.rows()],
    )
    screen.heading("Differences in top-1, and their 5-95 % intervals over seeds")
    screen.table(
        ("network", "above", ">points", ">5-95 %"),
        [
            (row["network"], row["other"], f"{row['value']:+.1f}", f"{row['low']:+.1f} to {row['high']:+.1f}")
            for row in trained.differences()
        ],
    )


def _trained_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    seeds = [value for name, value in row.items() if name.startswith("seed")]
    return (
        row["network"],
        f"{row['params'] / 1e6:.3f}",
        f"{row['macs'] / 1e6:.2f}",
        numbers.points(row["top1"], row["sd"]),
        numbers.chance(row["p_first"]),
        " ".join(map(numbers.points, seeds)),
    )
