"""A computed study as plain data: JSON, and one CSV over all of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hvnas._files import csv_text
from hvnas.arch.files import to_dict
from hvnas.studies.ablation.estimates import Judged
from hvnas.studies.ablation.run import PartResult, Row, StudyResult

# What a study's `published` may hold beside ours; other names are shown as they are.
SIZES = ("params", "macs", "ms", "stem_params", "stem_macs")
LEAST_PAIRED = 3
OURS = ("params", "macs", "ms", "top1", "delta", "stem_params", "stem_macs")


def published(result: PartResult, row: Row, name: str) -> float | None:
    """A published number of a row; None where there is none, or where the row was scaled since.

    A difference to the base is worked out where both scores were published.
    """
    numbers = row.known.numbers
    if name == "delta" and name not in numbers:
        base = result.base.known.numbers
        if row.is_base or "top1" not in numbers or "top1" not in base:
            return None
        return numbers["top1"] - base["top1"]
    scaled = row.match is not None and row.match.did
    return None if scaled and name in SIZES else numbers.get(name)


def has_published(result: PartResult, name: str) -> bool:
    """Whether any row has such a number to show."""
    return any(published(result, row, name) is not None for row in result.rows)


def others(result: PartResult) -> tuple[str, ...]:
    """Names of published numbers that stand beside none of ours."""
    names = dict.fromkeys(name for row in result.rows for name in row.known.numbers)
    return tuple(name for name in names if name not in OURS)


def breakdown(result: PartResult, row: Row) -> Mapping[str, float]:
    """Predicted milliseconds by kind of op or by stage, the fixed cost first; empty of a measured row."""
    if row.latency is None:
        return {}
    parts = row.latency.breakdown
    return {"fixed": parts.fixed, **(parts.kinds if result.part.breakdown == "kind" else parts.stages)}


def agreement(result: PartResult, scenario: int) -> dict[str, tuple[float, int]]:
    """Kendall tau of the estimates' order with each published score's, and of how many rows.

    Of rows that are of one size, and of scores that three of them or more have.
    """
    from scipy.stats import kendalltau

    found = {}
    rows = [row for row in result.rows if row.judged and row.is_equal]
    for name in ("top1", *others(result)):
        told = [
            (row.judged[scenario].mean, row.known.numbers[name]) for row in rows if name in row.known.numbers
        ]
        if len(told) >= LEAST_PAIRED and len({value for _, value in told}) > 1:
            ours, theirs = zip(*told, strict=True)
            found[name] = (float(kendalltau(ours, theirs)[0]), len(told))
    return found


def undecided(result: PartResult, scenario: int) -> tuple[str, ...]:
    """Rows that the estimator cannot tell from the base under a scenario."""
    return tuple(row.name for row in result.rows if row.judged and row.judged[scenario].is_undecided)


def to_json(found: StudyResult) -> dict[str, Any]:
    """Everything, with full numbers and the networks themselves."""
    return {
        "study": found.study.name,
        "title": found.study.title,
        "estimator": found.estimator,
        "estimates": found.meaning or "ImageNet-1k top-1",
        "parts": [_part(result) for result in found.parts],
    }


def _part(result: PartResult) -> dict[str, Any]:
    part = result.part
    return {
        "name": part.name,
        "title": part.title,
        "device": result.device.name if result.device else "this host",
        "host": result.said or None,
        "equal": list(part.equal),
        "recipe": result.recipe,
        "unit": result.unit,
        "macs_rule": part.macs_rule,
        "assumed": list(result.assumed),
        "notes": list(part.notes),
        "rows": [_row(result, row) for row in result.rows],
        "kendall_tau": {
            name: {k: {"tau": tau, "n": n} for k, (tau, n) in agreement(result, i).items()}
            for i, name in enumerate(result.scenarios)
        },
        "undecided": {name: list(undecided(result, i)) for i, name in enumerate(result.scenarios)},
    }


def _row(result: PartResult, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "is_base": row.is_base,
        "scaled": row.match.did if row.match else None,
        "equal": row.is_equal,
        "off": dict(row.match.off) if row.match else {},
        "params": row.params,
        "macs": row.macs,
        "peak_bytes": row.peak_bytes,
        "stem_params": row.stem_params,
        "stem_macs": row.stem_macs,
        "latency": _latency(result, row),
        "estimates": dict(zip(result.scenarios, map(_judged, row.judged), strict=False)),
        "without_this_ablation": dict(zip(result.scenarios, map(_judged, row.unseen), strict=False)),
        "published": {
            name: value for name in _names(row) if (value := published(result, row, name)) is not None
        },
        "published_counts_agree": row.known.agrees,
        "misprint": row.known.misprint,
        "sources": list(row.known.sources),
        "note": row.note,
        "network": {k: v for k, v in to_dict(row.arch).items() if k != "published"},
    }


def _names(row: Row) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*row.known.numbers, "delta"]))


def _latency(result: PartResult, row: Row) -> dict[str, Any]:
    if row.measured is not None:
        return {"measured": True, **vars(row.measured)}
    assert row.latency is not None
    return {
        "measured": False,
        "ms": row.latency.ms,
        "low": row.latency.low,
        "high": row.latency.high,
        "inside": row.latency.inside,
        "reasons": list(row.latency.reasons),
        "breakdown": dict(breakdown(result, row)),
    }


def _judged(judged: Judged) -> dict[str, float | None]:
    return dict(vars(judged))


def to_csv(found: StudyResult) -> str:
    """One line per row of any table; columns that a part has nothing for are empty."""
    return csv_text(_flat(result, row) for result in found.parts for row in result.rows)


def _flat(result: PartResult, row: Row) -> dict[str, object]:
    flat: dict[str, object] = {
        "part": result.part.name,
        "row": row.name,
        "base": row.is_base,
        "scaled": row.match.did if row.match else "",
        "equal": row.is_equal,
        "params": row.params,
        "macs": row.macs,
        "peak_bytes": row.peak_bytes,
    }
    flat |= _flat_latency(result, row)
    for i, scenario in enumerate(result.scenarios if row.judged else ()):
        flat |= _flat_judged(scenario, row.judged[i], row.unseen[i : i + 1])
    flat |= {f"published {name}": published(result, row, name) for name in _names(row)}
    flat["source"] = "; ".join(row.known.sources)
    return flat


def _flat_latency(result: PartResult, row: Row) -> dict[str, object]:
    if row.measured is not None:
        m = row.measured
        return {"device": "this host", "ms": m.ms, "spread": m.spread, "memory": m.memory}
    assert row.latency is not None and result.device is not None
    flat: dict[str, object] = {
        "device": result.device.name,
        "ms": row.latency.ms,
        "low": row.latency.low,
        "high": row.latency.high,
        "inside": row.latency.inside,
    }
    return flat | {f"ms {name}": value for name, value in breakdown(result, row).items()}


def _flat_judged(scenario: str, judged: Judged, unseen: Sequence[Judged]) -> dict[str, object]:
    flat: dict[str, object] = {f"{scenario} {name}": value for name, value in vars(judged).items()}
    return flat | {f"{scenario} delta without this ablation": each.delta for each in unseen}
