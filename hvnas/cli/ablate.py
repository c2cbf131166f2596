"""``hvnas ablate``: a study of layouts, row by row, beside what was published."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._records import Column
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, listing, written, written_answer

if TYPE_CHECKING:
    from hvnas.studies.ablation.run import PartResult, Row, StudyResult
    from hvnas.studies.ablation.study import Study

EXAMPLE = "hvnas ablate coatnet-layouts --part layouts"

_STUDIES: tuple[Column[Study], ...] = (
    Column("study", "name"),
    Column("about", "title"),
    Column("parts", lambda study: [part.name for part in study.parts], ", ".join),
)


@answers
def run(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY|FILE", help="A shipped study, or a YAML file. Default: list the studies."
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this table of the study. Repeat for several."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="imagenet1k or large-data, instead of the study's own.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A device, instead of the study's own.")
    ] = None,
    estimator: Annotated[
        str, typer.Option(help="How accuracy is estimated, such as surrogate or train:…")
    ] = "surrogate",
    seeds: Annotated[
        int | None,
        typer.Option(metavar="K", help="Trainings per row, for an estimator that trains. Default: 3."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a table (.csv) and a plot (.png, .svg) there."),
    ] = None,
) -> Answer:
    """Compare networks that differ in one thing.

    Shows params, MACs, latency and top-1 of every row, whether the estimator can tell the rows apart, and
    what was published of them.
    """
    from hvnas.cli._progress import Steps
    from hvnas.latency.plots import check_folder
    from hvnas.studies.ablation import list_studies, load_study, run_study
    from hvnas.studies.ablation.facts import to_csv, to_json
    from hvnas.studies.ablation.figure import write_study
    from hvnas.studies.ablation.run import count_rows

    if study is None:
        return listing(_STUDIES, [load_study(name) for name in list_studies()], data=_study)
    asked = load_study(study).only(part or ())
    if out is not None:
        check_folder(out, f"{asked.name}.png")
    with Steps("rows", count_rows(asked)) as steps:
        found = run_study(
            asked, device=device, scenario=scenario, estimator=estimator, seeds=seeds, on_step=steps.at
        )
    return written_answer(
        written(out, partial(write_study, found)),
        text=lambda screen: _print(screen, found),
        data=lambda: to_json(found),
        csv=lambda: to_csv(found),
    )


def _study(study: Study) -> dict[str, Any]:
    return {"name": study.name, "title": study.title, "parts": [part.name for part in study.parts]}


def _print(screen: Screen, found: StudyResult) -> None:
    from hvnas.studies.ablation.facts import MEANING

    screen.line(found.study.title, style="bold")
    if found.meaning:
        screen.line(f"Accuracy is top-1 {found.meaning}.")
    if any(result.scenarios for result in found.parts):
        screen.line(MEANING)
    for result in found.parts:
        _print_part(screen, result)


def _print_part(screen: Screen, result: PartResult) -> None:
    from hvnas.studies.ablation.facts import tables

    part = result.part
    screen.heading(f"{part.name}: {part.title}" if part.title else part.name)
    screen.line(_terms(result))
    for table in tables(result):
        if table.title:
            screen.line()
            screen.line(table.title)
        screen.show(table)
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
        said.append(f"recipe {Path(result.recipe).stem}")
    if result.part.macs_rule != "conv_linear_matmul":
        said.append(f"MACs counted as {result.part.macs_rule}")
    return "; ".join(said)


def _method(result: PartResult) -> str:
    from hvnas.latency.provenance import method

    assert result.device is not None
    return method(result.device.info)


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
