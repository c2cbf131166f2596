"""``hvnas verify``: the fixed points held against what was published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.studies.verify import Verification

_SECONDS_BETWEEN_LINES = 5.0
_COLUMNS = (
    "model",
    "verdict",
    ">params",
    ">published",
    ">MACs G",
    ">published",
    "counted as",
    "trace",
    "space",
    "forward",
    "source",
)


def run(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models, or networks' YAML files. Default: all."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Verify the models of the papers.

    Checks params and MACs against the published ones, the torch module against its lowering, a forward pass,
    and membership in the space `hybrid`. Exits with 1 if anything differs except for known misprints.
    """
    from hvnas.arch import list_models
    from hvnas.studies.verify import verify

    started = time.monotonic()
    rows = list(_watched(verify(models or ()), total=len(models or list_models())))
    if as_json:
        print_json([_row(row) for row in rows])
    else:
        _print(Screen(), rows, seconds=time.monotonic() - started)
    if not all(row.ok for row in rows):
        raise typer.Exit(1)


def _watched(rows: Iterator[Verification], *, total: int) -> Iterator[Verification]:
    """The rows as they come, with a line on standard error now and then."""
    screen = Screen(errors=True)
    last = time.monotonic()
    for done, row in enumerate(rows, start=1):
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            screen.remark(f"{done} of {total} verified")
        yield row


def _row(row: Verification) -> dict[str, Any]:
    return {**asdict(row), "ok": row.ok, "verdict": row.verdict}


def _print(screen: Screen, rows: list[Verification], *, seconds: float) -> None:
    screen.table(_COLUMNS, [_cells(row) for row in rows])
    misprints = [(row.name, row.published.misprint) for row in rows if row.published.misprint]
    mismatches = [(row.name, line) for row in rows for line in row.mismatches]
    for heading, lines in (("Misprints of the papers", misprints), ("Mismatches", mismatches)):
        if lines:
            screen.heading(heading)
            screen.fields(lines)
    screen.line()
    failed = sum(not row.ok for row in rows)
    screen.line(
        f"{len(rows)} verified, {failed} with a mismatch, {len(misprints)} with a misprint in {seconds:.1f} s"
    )


def _cells(row: Verification) -> tuple[object, ...]:
    published, checks = row.published, row.checks
    forward = checks["forward"].verdict
    return (
        row.name,
        row.verdict,
        f"{row.params:,}",
        _params(row),
        numbers.billions(row.macs),
        None
        if published.macs is None
        else f"{published.macs / 1e9:g} ({_difference(row.macs, published.macs)})",
        f"{published.macs_rule} @{published.macs_resolution}" if published.macs_rule else None,
        checks["trace"].verdict,
        checks["space"].verdict,
        f"{forward}, on meta" if row.on_meta else forward,
        published.source,
    )


def _params(row: Verification) -> str | None:
    """Exact counts with every digit, printed ones in millions."""
    counts = (row.published.params, row.published.params_printed)
    shown = [f"{c:,}" if isinstance(c, int) else f"{c / 1e6:g} M" for c in counts if c is not None]
    return ", printed ".join(shown) or None


def _difference(ours: int, theirs: float) -> str:
    # + 0.0: no minus before a zero
    return f"{round(100 * (ours / theirs - 1), 1) + 0.0:+.1f} %"
