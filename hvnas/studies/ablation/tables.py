"""A part of a study as tables: what its networks cost, how accurate they are, where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hvnas import _numbers as numbers
from hvnas.studies.ablation.facts import breakdown, has_published, others, published
from hvnas.studies.ablation.run import PartResult, Row

# Kinds of op that take less than this share of every row are shown together.
_SMALL = 0.02

MEANING = (
    "Δ: difference to the base, with its sd; P(better), P(first): chance of being better than the base, of "
    "being the best row; Δ unseen: with the published ablation left out of the evidence"
)

Column = tuple[str, Callable[[Row], str | None]]


@dataclass(frozen=True)
class Table:
    """Cells under names; the first column holds the rows' names, None is a number that does not exist."""

    title: str
    names: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


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


def _table(result: PartResult, title: str, columns: Sequence[Column]) -> Table:
    rows = [
        (f"{row.name} (base)" if row.is_base else row.name, *(cell(row) for _, cell in columns))
        for row in result.rows
    ]
    return Table(title, ("row", *(name for name, _ in columns)), tuple(rows))


def _size_columns(result: PartResult) -> list[Column]:
    columns: list[Column] = [("params M", lambda row: numbers.millions(row.params))]
    columns += _printed(result, "params", 1e6, 2)
    columns.append(("MACs G", lambda row: numbers.billions(row.macs)))
    columns += _printed(result, "macs", 1e9, 3)
    if has_published(result, "stem_macs"):
        columns.append(("stem params M", lambda row: f"{row.stem_params / 1e6:.2f}"))
        columns += _printed(result, "stem_params", 1e6, 1)
        columns.append(("stem MACs M", lambda row: f"{row.stem_macs / 1e6:.0f}"))
        columns += _printed(result, "stem_macs", 1e6, 0)
    return columns


def _latency_columns(result: PartResult) -> list[Column]:
    if result.device is None:
        return [
            ("ms", lambda row: row.measured and numbers.ms(row.measured.ms)),
            ("±", lambda row: row.measured and numbers.ms(row.measured.spread / 2)),
            ("memory MB", lambda row: row.measured and numbers.optional(row.measured.memory, scale=1e6)),
            ("activations MB", lambda row: f"{row.peak_bytes / 1e6:.1f}"),
        ]
    return [
        ("ms", lambda row: row.latency and numbers.ms(row.latency.ms)),
        ("5–95 %", lambda row: row.latency and numbers.interval(row.latency.low, row.latency.high)),
        ("gate", lambda row: row.latency and ("inside" if row.latency.inside else "outside")),
        *_published(result, "ms", "published ms", "{:.2f}"),
    ]


def _accuracy_columns(result: PartResult, k: int) -> list[Column]:
    """Of a scenario: the estimate, how it stands to the base and to all rows, and what was published."""
    in_points = result.unit == "points"
    columns: list[Column] = [
        ("top-1" if in_points else "score", lambda row: _estimate(result, row, k)),
        ("Δ", lambda row: None if row.is_base else _delta(row.judged[k].delta, row.judged[k].delta_sd)),
    ]
    if in_points:
        columns.append(("P(better)", lambda row: _chance(row.judged[k].p_better)))
        columns.append(("P(first)", lambda row: _chance(row.judged[k].p_first)))
    if result.rows[0].unseen:
        columns.append(("Δ unseen", lambda row: None if row.is_base else _delta(row.unseen[k].delta, None)))
    if k == 0:
        columns += _published(result, "top1", "published top-1", "{:.1f}")
        columns += _published(result, "delta", "published Δ", "{:+.1f}")
    return columns


def _breakdown_columns(result: PartResult) -> list[Column]:
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

    def column(name: str, kinds: Sequence[str]) -> Column:
        return name, lambda row: numbers.ms(sum(parts[row.name].get(kind, 0.0) for kind in kinds))

    columns = [column(kind, [kind]) for kind in large]
    if rest:
        columns.append(column("others", rest))
    return columns


def _others(result: PartResult, names: Sequence[str]) -> list[Column]:
    """Published numbers that stand beside none of ours."""
    return [column for name in names for column in _published(result, name, f"published {name}", "{:g}")]


def _printed(result: PartResult, name: str, scale: float, digits: int) -> list[Column]:
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
) -> list[Column]:
    """A column of published numbers, where there are any."""
    if not has_published(result, name):
        return []

    def cell(row: Row) -> str | None:
        value = published(result, row, name)
        return None if value is None else pattern.format(shown(value))

    return [(heading, cell)]


def _estimate(result: PartResult, row: Row, k: int) -> str:
    judged = row.judged[k]
    return numbers.points(judged.mean, judged.sd) if result.unit == "points" else f"{judged.mean:.4g}"


def _delta(delta: float, sd: float | None) -> str:
    return f"{delta:+.1f}" if sd is None else f"{delta:+.1f} ± {sd:.1f}"


def _chance(p: float | None) -> str | None:
    return None if p is None else numbers.chance(p)
