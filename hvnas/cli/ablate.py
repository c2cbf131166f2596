"""``hvnas ablate``: a study of layouts, row by row, beside what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvnas.cli import _numbers as numbers
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.studies.ablation.run import PartResult, Row, StudyResult

# Kinds of op that take less than this share of every row are shown together.
_SMALL = 0.02

Cell = Callable[["Row"], object]


def run(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY|FILE]", help="A shipped study, or a YAML file; none: list."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="imagenet1k or large-data, in place of the study's own.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="In place of the study's own device.")
    ] = None,
    estimator: Annotated[
        str, typer.Option(help="What judges accuracy, such as surrogate or train:…")
    ] = "surrogate",
    seeds: Annotated[
        int | None,
        typer.Option(metavar="K", help="Trainings per row, of an estimator that trains. Default: 3."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the table as .csv and a plot as .png there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare networks that differ in one thing.

    Shows params, MACs, latency and top-1 of every row, whether the estimator can tell the rows apart, and
    what was published of them.
    """
    from hvnas.cli._progress import Steps
    from hvnas.cli.latency._output import writing
    from hvnas.studies.ablation import load_study, run_study
    from hvnas.studies.ablation.facts import to_json
    from hvnas.studies.ablation.figure import check_folder, write_study
    from hvnas.studies.ablation.run import count_rows

    if study is None:
        _list(Screen())
        return
    asked = load_study(study)
    if out is not None:
        check_folder(out, asked.name)
    with Steps("rows", count_rows(asked)) as steps:
        found = run_study(
            asked, device=device, scenario=scenario, estimator=estimator, seeds=seeds, on_step=steps.at
        )
    written: tuple[Path, ...] = ()
    if out is not None:
        with writing(out):
            written = write_study(found, out)
    if as_json:
        print_json(to_json(found) | {"written": [str(path) for path in written]})
        return
    screen = Screen()
    _print(screen, found)
    if written:
        screen.line()
        screen.line("Written: " + ", ".join(map(str, written)))


def _list(screen: Screen) -> None:
    from hvnas.studies.ablation import list_studies, load_study

    screen.table(("study", "about"), [(name, load_study(name).title) for name in list_studies()])


def _print(screen: Screen, found: StudyResult) -> None:
    screen.line(found.study.title, style="bold")
    if found.meaning:
        screen.line(f"Accuracy is top-1 {found.meaning}.")
    for result in found.parts:
        _print_part(screen, result)


def _print_part(screen: Screen, result: PartResult) -> None:
    part = result.part
    screen.heading(f"{part.name}: {part.title}" if part.title else part.name)
    screen.line(_terms(result))
    columns = [
        *_size_columns(result),
        *_latency_columns(result),
        *_accuracy_columns(result, 0),
        *_others(result),
    ]
    _table(screen, result, columns)
    for i, scenario in enumerate(result.scenarios[1:], start=1):
        screen.line()
        screen.line(f"scenario {scenario}")
        _table(screen, result, _accuracy_columns(result, i))
    if result.device is not None:
        screen.line()
        _table(screen, result, _breakdown_columns(result))
    screen.line()
    for note in _notes(result):
        screen.line(note)


def _terms(result: PartResult) -> str:
    """What was held equal, on what device, trained how."""
    where = result.said if result.device is None else f"{result.device.name}, {_method(result)}"
    said = [f"latency: {where}"]
    if result.part.equal:
        names = " and ".join("MACs" if name == "macs" else name for name in result.part.equal)
        said.insert(0, f"equal {names} within 5 %")
    if result.scenarios:
        said.append(f"recipe {Path(result.recipe).stem}, scenario {result.scenarios[0]}")
    if result.part.macs_rule != "conv_linear_matmul":
        said.append(f"MACs counted as {result.part.macs_rule}")
    return "; ".join(said)


def _method(result: PartResult) -> str:
    from hvnas.cli._devices import method

    assert result.device is not None
    return method(result.device.info)


def _table(screen: Screen, result: PartResult, columns: list[tuple[str, Cell]]) -> None:
    names = ["row", *(f">{name}" for name, _ in columns)]
    rows = [
        (f"{row.name} (base)" if row.is_base else row.name, *(cell(row) for _, cell in columns))
        for row in result.rows
    ]
    screen.table(names, rows)


def _size_columns(result: PartResult) -> list[tuple[str, Cell]]:
    columns: list[tuple[str, Cell]] = [("params M", lambda row: numbers.millions(row.params))]
    columns += _published(result, "params", 1e6, 2)
    columns.append(("MACs G", lambda row: numbers.billions(row.macs)))
    columns += _published(result, "macs", 1e9, 3)
    if _published(result, "stem_macs", 1e6, 0):
        columns.append(("stem params M", lambda row: f"{row.stem_params / 1e6:.2f}"))
        columns += _published(result, "stem_params", 1e6, 1)
        columns.append(("stem MACs M", lambda row: f"{row.stem_macs / 1e6:.0f}"))
        columns += _published(result, "stem_macs", 1e6, 0)
    return columns


def _latency_columns(result: PartResult) -> list[tuple[str, Cell]]:
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
        *_published(result, "ms", 1, 2),
    ]


def _accuracy_columns(result: PartResult, k: int) -> list[tuple[str, Cell]]:
    """Of a scenario: the estimate, how it stands to the base and to all rows, and what was published."""
    if not result.scenarios:
        return []
    shown = "top-1" if result.unit == "points" else "score"
    columns: list[tuple[str, Cell]] = [(shown, lambda row: _estimate(result, row, k))]
    columns.append(
        ("Δ", lambda row: None if row.is_base else _delta(row.judged[k].delta, row.judged[k].delta_sd))
    )
    if result.unit == "points":
        columns.append(("P(better)", lambda row: _chance(row.judged[k].p_better)))
        columns.append(("P(first)", lambda row: _chance(row.judged[k].p_first)))
    if result.rows[0].unseen:
        columns.append(("Δ unseen", lambda row: None if row.is_base else _delta(row.unseen[k].delta, None)))
    if k == 0:
        columns += [*_published(result, "top1", 1, 1), *_published(result, "delta", 1, 1, sign="+")]
    return columns


def _estimate(result: PartResult, row: Row, k: int) -> str:
    judged = row.judged[k]
    return numbers.points(judged.mean, judged.sd) if result.unit == "points" else f"{judged.mean:.4g}"


def _delta(delta: float, sd: float | None) -> str:
    return f"{delta:+.1f}" if sd is None else f"{delta:+.1f} ± {sd:.1f}"


def _chance(p: float | None) -> str | None:
    return None if p is None else numbers.chance(p)


def _published(
    result: PartResult, name: str, scale: float, digits: int, *, sign: str = ""
) -> list[tuple[str, Cell]]:
    """A column of published numbers, where there are any."""
    from hvnas.studies.ablation.facts import has_published, published

    if not has_published(result, name):
        return []

    def cell(row: Row) -> str | None:
        value = published(result, row, name)
        return None if value is None else f"{value / scale:{sign}.{digits}f}"

    said = {"top1": "published top-1", "delta": "published Δ", "ms": "published ms"}.get(name, "published")
    return [(said, cell)]


def _others(result: PartResult) -> list[tuple[str, Cell]]:
    from hvnas.studies.ablation.facts import others

    def column(name: str) -> tuple[str, Cell]:
        return (
            f"published {name}",
            lambda row: f"{row.known.numbers[name]:g}" if name in row.known.numbers else None,
        )

    return [column(name) for name in others(result)]


def _breakdown_columns(result: PartResult) -> list[tuple[str, Cell]]:
    """Milliseconds by kind of op or by stage; kinds that matter in no row are added up."""
    from hvnas.studies.ablation.facts import breakdown

    parts = {row.name: breakdown(result, row) for row in result.rows}
    totals = {name: max(sum(part.values()), 1e-12) for name, part in parts.items()}
    names = list(dict.fromkeys(kind for part in parts.values() for kind in part))
    large = [
        kind
        for kind in names
        if any(part.get(kind, 0) >= _SMALL * totals[row] for row, part in parts.items())
    ]

    def column(kind: str) -> tuple[str, Cell]:
        return f"{kind} ms", lambda row: numbers.ms(parts[row.name].get(kind, 0.0))

    if result.part.breakdown == "stage":
        large = names
    rest = [kind for kind in names if kind not in large]
    columns = [column(kind) for kind in large]
    if rest:
        columns.append(("others ms", lambda row: numbers.ms(sum(parts[row.name].get(k, 0.0) for k in rest))))
    return columns


def _notes(result: PartResult) -> list[str]:
    """What was scaled, what cannot be compared or told apart, and where the published numbers are from."""
    from hvnas.studies.ablation.facts import agreement, undecided

    notes = [note for row in result.rows for note in _row_notes(row)]
    notes += _gate_notes(result)
    for i, scenario in enumerate(result.scenarios):
        if names := undecided(result, i):
            notes.append(f"Not told apart from {result.base.name} ({scenario}): {'; '.join(names)}")
        for name, (tau, n) in agreement(result, i).items():
            shown = "top-1" if name == "top1" else name
            notes.append(f"Order under {scenario} against published {shown}: Kendall tau {tau:.2f}, {n} rows")
    sources = dict.fromkeys(source for row in result.rows for source in row.known.sources)
    return [*notes, *result.part.notes, *result.assumed, *(f"Published: {source}" for source in sources)]


def _row_notes(row: Row) -> list[str]:
    notes = []
    if row.match is not None and row.match.did:
        notes.append(f"{row.name}: {row.match.did}")
    if row.match is not None and not row.match.ok:
        near = f"; scaling comes to {_off(row.match.nearest)}" if row.match.nearest else ""
        notes.append(f"{row.name} cannot be made equal: {_off(row.match.off)}{near}; its rank is left open")
    notes += [f"{row.name}: {said}" for said in (row.note, row.known.misprint) if said]
    wrong = [name for name, agrees in row.known.agrees.items() if not agrees]
    if wrong and not row.known.misprint:
        notes.append(f"{row.name}: our {' and '.join(wrong)} differ from what was published")
    return notes


def _gate_notes(result: PartResult) -> list[str]:
    """Which rows the device's model does not speak for, and why."""
    outside: dict[str, list[str]] = {}
    for row in result.rows:
        for reason in row.latency.reasons if row.latency is not None else ():
            outside.setdefault(reason, []).append(row.name)
    return [f"Outside the device's gate, {reason}: {'; '.join(names)}" for reason, names in outside.items()]


def _off(shares: Mapping[str, float]) -> str:
    named = {"macs": "MACs"}
    return ", ".join(f"{100 * share:+.1f} % {named.get(name, name)}" for name, share in shares.items())
