"""A computed study as plain data and as tables: JSON, CSV, and what its networks cost and reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hvnas import _numbers as numbers
from hvnas._records import Column, Table, csv_text
from hvnas.arch.arch import to_dict
from hvnas.studies.ablation.estimates import Judged
from hvnas.studies.ablation.run import PartResult, Row, StudyResult

# What a study's `published` may hold beside ours; other names are shown as they are.
SIZES = ("params", "macs", "ms", "stem_params", "stem_macs")
LEAST_PAIRED = 3
OURS = ("params", "macs", "ms", "top1", "delta", "stem_params", "stem_macs")

# Kinds of op that take less than this share of every row are shown together.
_SMALL = 0.02
MEANING = (
    "Δ: difference to the base, with its sd; P(better), P(first): chance of being better than the base, of "
    "being the best row; Δ unseen: with the published ablation left out of the evidence"
)
RowColumn = Column[Row]


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


def to_json(results: StudyResult) -> dict[str, Any]:
    """Everything, with full numbers and the networks themselves."""
    return {
        "study": results.study.name,
        "title": results.study.title,
        "estimator": results.estimator,
        "estimates": results.meaning or "ImageNet-1k top-1",
        "parts": [_part(result) for result in results.parts],
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
    return {"measured": False, **row.latency.to_json(), "breakdown": dict(breakdown(result, row))}


def _judged(judged: Judged) -> dict[str, float | None]:
    return dict(vars(judged))


def to_csv(results: StudyResult) -> str:
    """Return one line per row of any table; columns that a part has nothing for are empty."""
    return csv_text(_flat(result, row) for result in results.parts for row in result.rows)


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
    flat: dict[str, object] = {"device": result.device.name, **row.latency.to_json()}
    del flat["reasons"]
    return flat | {f"ms {name}": value for name, value in breakdown(result, row).items()}


def _flat_judged(scenario: str, judged: Judged, unseen: Sequence[Judged]) -> dict[str, object]:
    flat: dict[str, object] = {f"{scenario} {name}": value for name, value in vars(judged).items()}
    return flat | {f"{scenario} delta without this ablation": each.delta for each in unseen}


def tables(result: PartResult) -> tuple[Table, ...]:
    """A table of sizes and latency, one of accuracy for each scenario, and one of latency by its parts."""
    of_latency = [name for name in others(result) if name.endswith(" ms")]
    of_accuracy = [name for name in others(result) if name not in of_latency]
    sizes = [*_size_columns(result), *_latency_columns(result)]
    accuracies = [_accuracy_columns(result, k) for k in range(len(result.scenarios))]
    (accuracies[0] if accuracies else sizes).extend(_others(result, of_accuracy))
    breakdowns = [] if result.device is None else _breakdown_columns(result)
    (breakdowns or sizes).extend(_others(result, of_latency))
    found = [_table(result, "", sizes)]
    for scenario, columns in zip(result.scenarios, accuracies, strict=True):
        found.append(_table(result, f"scenario {scenario}", columns))
    if breakdowns:
        found.append(_table(result, "milliseconds", breakdowns))
    return tuple(found)


def _table(result: PartResult, title: str, columns: Sequence[RowColumn]) -> Table:
    name = Column[Row]("row", lambda row: f"{row.name} (base)" if row.is_base else row.name)
    return Table.of([name, *columns], result.rows, title=title)


def _size_columns(result: PartResult) -> list[RowColumn]:
    columns: list[RowColumn] = [Column(">params M", "params", numbers.millions)]
    columns += _printed(result, "params", 1e6, 2)
    columns.append(Column(">MACs G", "macs", numbers.billions))
    columns += _printed(result, "macs", 1e9, 3)
    if has_published(result, "stem_macs"):
        columns.append(Column(">stem params M", "stem_params", numbers.millions))
        columns += _printed(result, "stem_params", 1e6, 1)
        columns.append(Column(">stem MACs M", lambda row: f"{row.stem_macs / 1e6:.0f}"))
        columns += _printed(result, "stem_macs", 1e6, 0)
    return columns


def _latency_columns(result: PartResult) -> list[RowColumn]:
    if result.device is None:
        return [
            Column(">ms", "measured.ms", numbers.ms),
            Column(">±", "measured.spread", lambda spread: numbers.ms(spread / 2)),
            Column(">memory MB", "measured.memory", lambda memory: numbers.optional(memory, scale=1e6)),
            Column(">activations MB", lambda row: f"{row.peak_bytes / 1e6:.1f}"),
        ]
    return [
        Column(">ms", "latency.ms", numbers.ms),
        Column(">5–95 %", "latency", lambda latency: numbers.interval(latency.low, latency.high)),
        Column(">gate", "latency.inside", lambda inside: "inside" if inside else "outside"),
        *_published(result, "ms", "published ms", "{:.2f}"),
    ]


def _accuracy_columns(result: PartResult, k: int) -> list[RowColumn]:
    """Of a scenario: the estimate, how it stands to the base and to all rows, and what was published."""
    in_points = result.unit == "points"
    columns: list[RowColumn] = [
        Column(">top-1" if in_points else ">score", lambda row: _estimate(result, row, k)),
        Column(
            ">Δ", lambda row: None if row.is_base else _delta(row.judged[k].delta, row.judged[k].delta_sd)
        ),
    ]
    if in_points:
        columns.append(Column(">P(better)", lambda row: row.judged[k].p_better, numbers.chance))
        columns.append(Column(">P(first)", lambda row: row.judged[k].p_first, numbers.chance))
    if result.rows[0].unseen:
        columns.append(
            Column(">Δ unseen", lambda row: None if row.is_base else _delta(row.unseen[k].delta, None))
        )
    if k == 0:
        columns += _published(result, "top1", "published top-1", "{:.1f}")
        columns += _published(result, "delta", "published Δ", "{:+.1f}")
    return columns


def _breakdown_columns(result: PartResult) -> list[RowColumn]:
    """Milliseconds by kind of op or by stage; kinds that matter in no row are added up."""
    parts = {row.name: breakdown(result, row) for row in result.rows}
    totals = {name: max(sum(part.values()), 1e-12) for name, part in parts.items()}
    names = list(dict.fromkeys(kind for part in parts.values() for kind in part))
    large = [
        kind
        for kind in names
        if any(part.get(kind, 0) >= _SMALL * totals[row] for row, part in parts.items())
    ]
    if result.part.breakdown == "stage":
        large = names
    rest = [kind for kind in names if kind not in large]

    def column(name: str, kinds: Sequence[str]) -> RowColumn:
        return Column(
            f">{name}", lambda row: numbers.ms(sum(parts[row.name].get(kind, 0.0) for kind in kinds))
        )

    columns = [column(kind, [kind]) for kind in large]
    if rest:
        columns.append(column("others", rest))
    return columns


def _others(result: PartResult, names: Sequence[str]) -> list[RowColumn]:
    """Published numbers that stand beside none of ours."""
    return [column for name in names for column in _published(result, name, f"published {name}", "{:g}")]


def _printed(result: PartResult, name: str, scale: float, digits: int) -> list[RowColumn]:
    """Published counts with no more digits than were printed."""
    return _published(
        result, name, "published", "{:g}", shown=lambda value: float(round(value / scale, digits))
    )


def _published(
    result: PartResult,
    name: str,
    heading: str,
    pattern: str,
    *,
    shown: Callable[[float], float] = float,
) -> list[RowColumn]:
    """A column of published numbers, where there are any."""
    if not has_published(result, name):
        return []
    value = partial(published, result, name=name)
    return [Column(f">{heading}", value, lambda number: pattern.format(shown(number)))]


def _estimate(result: PartResult, row: Row, k: int) -> str:
    judged = row.judged[k]
    return numbers.points(judged.mean, judged.sd) if result.unit == "points" else f"{judged.mean:.4g}"


def _delta(delta: float, sd: float | None) -> str:
    return f"{delta:+.1f}" if sd is None else f"{delta:+.1f} ± {sd:.1f}"
