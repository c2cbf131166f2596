"""``hvnas history``: the networks that a search evaluated, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hvnas import _numbers as numbers
from hvnas._records import Column, Table, csv_text
from hvnas.cli._request import RunStorage, SearchDir, answers
from hvnas.cli._screen import Answer, Screen

if TYPE_CHECKING:
    from hvnas.search.runs.folder import RunRecord
    from hvnas.search.shared.trials import EvaluatedNetwork

EXAMPLE = "hvnas history runs/phone --format csv"


@answers
def run(
    folder: SearchDir,
    storage: RunStorage = None,
) -> Answer:
    """List the networks that a search evaluated, in order.

    Shows when each was done, how long it took, what was found, and the best so far; also while the search is
    at work. A search that evaluates whole batches in no time keeps no such record, and says so.
    """
    from hvnas.search.runs.folder import SearchFolder

    record = SearchFolder(folder).record(storage=storage)
    networks = record.networks or ()
    rows = [each.to_json(unit=record.unit) for each in networks]
    if record.networks is None:
        Screen(errors=True).remark(f"{folder}: {record.description}")
    return Answer(
        text=lambda screen: _print(screen, record, networks) if record.networks is not None else None,
        data=lambda: {"run": str(folder), "description": record.description, "networks": rows},
        csv=lambda: csv_text(rows, list(rows[0]) if rows else _names()),
    )


def _names() -> Sequence[str]:
    """The columns of a record without a network."""
    from hvnas._records import field_names
    from hvnas.search.shared.trials import EvaluatedNetwork

    return field_names(EvaluatedNetwork)


def _print(screen: Screen, record: RunRecord, networks: Sequence[EvaluatedNetwork]) -> None:
    is_score = record.unit == "score"
    columns: tuple[Column[EvaluatedNetwork], ...] = (
        Column(">trial", "number"),
        Column(">s since start", "started_s", numbers.seconds),
        Column(">took s", "seconds", "{:.3g}".format),
        Column(">score" if is_score else ">top-1", "top1", "{:.4g}".format if is_score else "{:.2f}".format),
        Column(">ms", "latency_ms", numbers.ms),
        Column(">GMACs", "macs", numbers.billions),
        Column(">M params", "params", numbers.millions),
        Column("feasible", lambda network: "yes" if network.feasible else "no"),
        Column(">best so far", "best", "{:.6g}".format),
        Column("network", lambda network: network.key[:6]),
    )
    screen.show(Table.of(columns, networks))
    failed = [network for network in networks if network.reason]
    if failed:
        screen.line(f"  {len(failed)} without an estimate; the last: {failed[-1].reason}")
