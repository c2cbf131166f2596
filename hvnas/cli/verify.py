"""``hvnas verify``: the fixed points held against what was published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas._records import Column
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, listing

if TYPE_CHECKING:
    from hvnas.studies.verify import Verification

EXAMPLE = "hvnas verify efficientformer_l1 coatnet_0"

_SECONDS_BETWEEN_LINES = 5.0


@answers
def run(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|FILE", help="Models, or networks' YAML files. Default: all."),
    ] = None,
) -> Answer:
    """Verify the models of the papers.

    Checks params and MACs against the published ones, the torch module against its lowering, a forward pass,
    and membership in the space `hybrid`. Exits with 1 if anything differs except for known misprints.
    """
    from hvnas.arch import list_models
    from hvnas.studies.verify import verify

    started = time.monotonic()
    rows = list(_watched(verify(models or ()), total=len(models or list_models())))
    seconds = time.monotonic() - started
    return listing(
        _COLUMNS,
        rows,
        data=lambda row: {**asdict(row), "ok": row.ok, "verdict": row.verdict},
        line=_line,
        below=lambda screen: _print_faults(screen, rows, seconds=seconds),
        code=0 if all(row.ok for row in rows) else 1,
    )


def _watched(rows: Iterator[Verification], *, total: int) -> Iterator[Verification]:
    """The rows as they come, with a line on standard error now and then."""
    screen = Screen(errors=True)
    last = time.monotonic()
    for done, row in enumerate(rows, start=1):
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            screen.remark(f"{done} of {total} verified")
        yield row


def _line(row: Verification) -> dict[str, Any]:
    published = row.published
    return {
        "model": row.name,
        "verdict": row.verdict,
        "params": row.params,
        "params_published": published.params,
        "params_printed": published.params_printed,
        "macs": row.macs,
        "macs_published": published.macs,
        "macs_rule": published.macs_rule,
        "macs_resolution": published.macs_resolution,
        **{f"check_{name}": check.verdict for name, check in row.checks.items()},
        "on_meta": row.on_meta,
        "source": published.source,
    }


def _print_faults(screen: Screen, rows: list[Verification], *, seconds: float) -> None:
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


def _forward(row: Verification) -> str:
    verdict = row.checks["forward"].verdict
    return f"{verdict}, on meta" if row.on_meta else verdict


def _macs(row: Verification) -> str | None:
    macs = row.published.macs
    return None if macs is None else f"{macs / 1e9:g} ({_difference(row.macs, macs)})"


def _rule(row: Verification) -> str | None:
    published = row.published
    return f"{published.macs_rule} @{published.macs_resolution}" if published.macs_rule else None


def _params(row: Verification) -> str | None:
    """Exact counts with every digit, printed ones in millions."""
    counts = (row.published.params, row.published.params_printed)
    shown = [f"{c:,}" if isinstance(c, int) else f"{c / 1e6:g} M" for c in counts if c is not None]
    return ", printed ".join(shown) or None


def _difference(ours: int, theirs: float) -> str:
    # + 0.0: no minus before a zero
    return f"{round(100 * (ours / theirs - 1), 1) + 0.0:+.1f} %"


_COLUMNS: tuple[Column[Verification], ...] = (
    Column("model", "name"),
    Column("verdict", "verdict"),
    Column(">params", "params", "{:,}".format),
    Column(">published", _params),
    Column(">MACs G", "macs", numbers.billions),
    Column(">published", _macs),
    Column("counted as", _rule),
    Column("trace", "checks.trace.verdict"),
    Column("space", "checks.space.verdict"),
    Column("forward", _forward),
    Column("source", "published.source"),
)
