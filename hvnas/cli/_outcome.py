"""What a search found, for people, and a network part by part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hvnas import _numbers as numbers
from hvnas.cli._screen import Screen

if TYPE_CHECKING:
    from hvnas.arch import Arch
    from hvnas.search import Found, Nearest, Problem, SearchResult
    from hvnas.search.timed import TimedFront


_NEAREST_ROWS = 3
# How the further metrics are shown, and in what unit.
_SIZES = {"peak_memory": ("peak MB", 1e6), "size_mb": ("size MB", 1.0)}


def print_outcome(screen: Screen, result: SearchResult) -> None:
    """The front, the best network, the models nearest to it, how far to trust it, and the files."""
    from hvnas.accuracy.estimator import estimator_error
    from hvnas.latency.provenance import provenance

    _print_front(screen, result)
    _print_best(screen, result)
    _print_timed(screen, result.timed)
    _print_nearest(screen, result.fixed_points[:_NEAREST_ROWS], result.problem)
    screen.heading("How far to trust these numbers")
    for device in result.problem.devices:
        screen.line("  " + provenance(device))
    _print_beyond(screen, result)
    screen.line("  " + estimator_error(result.problem.estimator))
    _print_refused(screen, result.problem)
    _print_files(screen, result)


def _print_front(screen: Screen, result: SearchResult) -> None:
    from hvnas.search.evaluations import files_words, front_words, left_out_words

    shown, members = result.shown, len(result.archive)
    speed = f"{result.evaluated:,} evaluated in {numbers.took(result.seconds, parts=result.parts)}"
    size = result.problem.image_size
    at = f", at {size}" if size else ""
    screen.heading(f"Pareto front: {front_words(members, len(shown))} ({speed}){at}")
    columns, cells = _columns(result)
    screen.table(columns, [cells(found) for found in shown])
    files = [] if result.out is None else [files_words(len(result.front), members)]
    left_out = left_out_words(result.archive.evaluations.sd)
    for line in (*files, *left_out, f"limit: {result.limit}"):
        screen.line(f"  {line}")


def _columns(result: SearchResult) -> tuple[tuple[str, ...], Callable[[Found], tuple[object, ...]]]:
    """The columns of a table of networks found, and the cells of one."""
    problem = result.problem
    others = [device.name for device in problem.others]
    names = (
        *(">ms", *(("",) if result.timed else ()), ">5–95 %", f">P(≤ {problem.budget_ms:g} ms)"),
        *(f">ms {name}" for name in others),
        ">score" if problem.unit == "score" else ">top-1",
        *((">cross-fitted",) if _crossed(result.front) else ()),
        *(">params M", ">MACs G"),
        *(f">{_SIZES[name][0]}" for name in problem.sizes),
        "name",
    )

    def cells(network: Found) -> tuple[object, ...]:
        return (
            numbers.ms(network.latency_ms),
            *((_how(network),) if result.timed else ()),
            numbers.interval(network.latency_low, network.latency_high),
            numbers.chance(network.p_within_budget),
            *(numbers.ms(network.more[f"latency_ms@{name}"]) for name in others),
            _accuracy(network),
            *_crossed_cells(network),
            numbers.millions(network.params),
            numbers.billions(network.macs),
            *(f"{network.more[name] / _SIZES[name][1]:.2f}" for name in problem.sizes),
            network.name,
        )

    return names, cells


def _how(network: Found) -> str:
    """How its latency is known, in a run in which networks were timed."""
    return "measured" if network.is_measured else "predicted"


def _crossed(found: Sequence[Found]) -> bool:
    """Whether the networks have a cross-fitted top-1."""
    return bool(found) and all(math.isfinite(each.cross_fitted) for each in found)


def _crossed_cells(network: Found) -> tuple[str, ...]:
    """The cross-fitted top-1 with its standard deviation, where there is one."""
    told = numbers.points_if_known(network.cross_fitted, network.cross_fitted_sd)
    return () if told is None else (told,)


def _accuracy(network: Found) -> str | None:
    """Top-1 with its standard deviation, or the score; None where neither was estimated."""
    if not math.isfinite(network.top1):
        return None
    return numbers.accuracy(network.top1, network.top1_sd, unit=network.unit)


def _trained(problem: Problem) -> str:
    """What the accuracy is that of."""
    from hvnas.train.recipes import load_recipe

    if problem.unit == "score":
        return "a score that ranks networks and says nothing of top-1"
    return problem.estimator.meaning or f"trained as {load_recipe(problem.recipe)}"


def _print_best(screen: Screen, result: SearchResult) -> None:
    best, problem = result.best, result.problem
    interval = numbers.interval(best.latency_low, best.latency_high)
    how = "" if result.timed is None else f", {_how(best)}"
    gate = "inside" if best.inside else "outside"
    screen.heading(f"Best: {best.name}")
    screen.fields(
        [
            (
                "latency",
                f"{numbers.ms(best.latency_ms)} ms{how} on {problem.device.name} (5–95 %: {interval} ms)",
            ),
            ("within budget", f"{numbers.chance(best.p_within_budget)} chance of {problem.budget_ms:g} ms"),
            *(("latency", _latency_on(best, device.name)) for device in problem.others),
            ("gate", f"{gate} what {problem.device.name} is good for"),
            ("score" if problem.unit == "score" else "top-1", f"{_accuracy(best)}, {_trained(problem)}"),
            ("cross-fitted", _cross_fitted(best)),
            *(("better than", _better_than(rival, which)) for rival, which in _rivals(result)),
            ("assumed", "; ".join(problem.estimator.assumptions([best.arch])) or None),
            ("params", f"{best.params:,}"),
            ("MACs", f"{best.macs:,}"),
            *((_SIZES[name][0], f"{best.more[name] / _SIZES[name][1]:.2f}") for name in problem.sizes),
            ("resolution", f"{best.arch.resolution}×{best.arch.resolution}"),
            ("classes", problem.image_size and problem.image_size.classes),
        ]
    )
    print_layout(screen, best.arch)


def _print_timed(screen: Screen, timed: TimedFront | None) -> None:
    """Every network that was timed, and what they say of the table."""
    if timed is None:
        return
    facts = timed.to_json()
    screen.heading(f"Timed on {timed.problem.device.name}: {facts['networks']} networks of the front")
    screen.table(
        (">measured ms", ">predicted ms", ">ratio", ">P(budget)", "keeps the budget"),
        [
            (
                numbers.ms(each["measured_ms"]),
                numbers.ms(each["predicted_ms"]),
                f"{each['measured_ms'] / each['predicted_ms']:.3f}",
                numbers.chance(each["p_within_budget"]),
                "yes" if each["keeps_budget"] else "no",
            )
            for each in facts["timed"]
        ],
    )
    for line in timed.words():
        screen.line(f"  {line}")


def _cross_fitted(best: Found) -> str | None:
    if not math.isfinite(best.cross_fitted):
        return None
    top1 = numbers.points(best.cross_fitted, best.cross_fitted_sd)
    return f"{top1}, by fits that each lack some families, corrected; a search flatters this less than top-1"


def _rivals(result: SearchResult) -> list[tuple[Nearest, str]]:
    """The papers' models within the budget that the best is weighed against, and which ones they are."""
    if not result.rivals:
        return []
    nearest, *higher = result.rivals
    which = "the nearest model of a paper within the budget" + ("" if higher else " and the best")
    return [(nearest, which), *((rival, "the best model of a paper within the budget") for rival in higher)]


def _better_than(rival: Nearest, which: str) -> str:
    found, published = rival.found, rival.published
    from hvnas.search.runs.result import told_of_model

    crossed = numbers.points_if_known(found.cross_fitted, found.cross_fitted_sd)
    told = told_of_model(_accuracy(found), crossed, published)
    return f"{found.name}, {which}: chance {numbers.chance(rival.chance)} ({told})"


def _latency_on(network: Found, device: str) -> str:
    ms, low, high = (network.more[f"latency_{what}@{device}"] for what in ("ms", "low", "high"))
    return f"{numbers.ms(ms)} ms on {device} (5–95 %: {numbers.interval(low, high)} ms)"


def _print_nearest(screen: Screen, nearest: Sequence[Nearest], problem: Problem) -> None:
    if not nearest:
        return
    size = f", at {problem.image_size}" if problem.image_size else ""
    screen.heading(f"Nearest models of papers, under the same device, estimator and recipe{size}")
    screen.table(
        (
            *("model", ">genes apart", ">ms", "gate", ">top-1"),
            *((">cross-fitted",) if _crossed([near.found for near in nearest]) else ()),
            *(">published", "recipe", ">P(best is better)", ">params M", ">MACs G"),
        ),
        [_nearest_cells(near) for near in nearest],
    )


def _nearest_cells(near: Nearest) -> tuple[object, ...]:
    found = near.found
    published = near.published
    return (
        found.name,
        near.distance,
        numbers.ms(found.latency_ms),
        "inside" if found.inside else "outside",
        _accuracy(found),
        *_crossed_cells(found),
        numbers.optional(published.get("top1")),
        published.get("recipe"),
        numbers.chance(near.chance) if math.isfinite(near.chance) else None,
        numbers.millions(found.params),
        numbers.billions(found.macs),
    )


def _print_beyond(screen: Screen, result: SearchResult) -> None:
    from hvnas.latency.provenance import beyond_measured

    best, problem = result.best, result.problem
    latencies = [best.latency_ms, *(best.more[f"latency_ms@{device.name}"] for device in problem.others)]
    for device, ms in zip(problem.devices, latencies, strict=True):
        if said := beyond_measured(device, best.name, macs=best.macs, ms=ms):
            screen.line("  " + said)


def _print_refused(screen: Screen, problem: Problem) -> None:
    refused = problem.refusals.refused
    if refused:
        reason, count = refused.most_common(1)[0]
        screen.line(f"  {refused.total()} networks could not be estimated; {count} of them: {reason}")


def _print_files(screen: Screen, result: SearchResult) -> None:
    from hvnas.search.evaluations import networks
    from hvnas.search.runs.folder import ARCHS, SearchFolder

    if result.out is None:
        return
    screen.heading(f"Written to {result.out}")
    counts = {ARCHS: f" ({networks(len(result.front))})"}
    screen.line(
        "  " + ", ".join(f"{name}{counts.get(name, '')}" for name in SearchFolder(result.out).files())
    )


def print_layout(screen: Screen, arch: Arch) -> None:
    """The network stage by stage: blocks with their depth, widths, expansions, and the map each leaves."""
    from hvnas.arch.arch import layout

    screen.show(layout(arch))


def stages_to_json(arch: Arch) -> list[dict[str, Any]]:
    """The stages as in the network's file, each with the `map` [C, H, W] and `tokens` [N, d] it leaves."""
    from hvnas.arch import to_dict
    from hvnas.arch.arch import outline

    leaves = {part.label: part.leaves for part in outline(arch) if part.leaves}
    stages = []
    for i, stage in enumerate(to_dict(arch)["stages"]):
        state = leaves[f"stages.{i}"]
        stages.append({**stage, "map": _listed(state.map), "tokens": _listed(state.tokens)})
    return stages


def _listed(shape: tuple[int, ...] | None) -> list[int] | None:
    return None if shape is None else list(shape)
