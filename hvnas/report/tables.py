"""The tables of a report: for its page and, by the same cells, for people who read it without figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hvnas import _numbers as numbers
from hvnas.latency import Device
from hvnas.latency.provenance import label, method
from hvnas.report.compare import Comparison
from hvnas.report.network import Network, aligned, by_kind, by_stage
from hvnas.report.report import Report
from hvnas.report.runs import Run
from hvnas.search.evaluations import front_words, guesses
from hvnas.search.runs.result import MS_DECIMALS

# Milliseconds of a run are shown at the decimals of its files: fewer would be rounded twice.
_MS = f".{MS_DECIMALS}f"
# Rows of the papers' models that are shown; the CSV files hold all.
_ROWS = 12
# Columns of how many networks are on a front, written as files, and of an accuracy that is a guess.
COUNTS = (">front", ">files", ">guesses")
_NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """Cells under names; a column whose name begins with ``>`` is aligned to the right."""

    id: str
    caption: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names as they are shown."""
        return tuple(name.removeprefix(">") for name in self.names)

    @property
    def right(self) -> tuple[int, ...]:
        """Which columns are aligned to the right."""
        return tuple(i for i, name in enumerate(self.names) if name.startswith(">"))


def _table(id: str, caption: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    shown = tuple(tuple(_NOTHING if cell is None else str(cell) for cell in row) for row in rows)
    return Table(id, caption, tuple(names), shown)


def accuracy_name(run: Run) -> str:
    """What stands above a column of accuracies."""
    return "score" if run.unit == "score" else "top-1"


def _accuracy(run: Run, i: int) -> str:
    return numbers.accuracy(float(run.top1[i]), float(run.sd[i]), unit=run.unit)


def chance(p: float) -> str:
    """A chance read from a file, where rounding may have made it a certainty."""
    return numbers.chance(min(max(p, 0.0001), 0.9999))


def runs_table(found: Comparison, *, timed: str) -> Table:
    """How each search was asked and what came of it. `timed` says what the milliseconds are."""
    unit = accuracy_name(found.runs[0])
    names = ("run", "strategy", ">seed", ">budget ms", ">evaluated", ">s", *COUNTS, ">hypervolume")
    rows = []
    for measures in found.measures:
        run = measures.run
        rows.append(
            (
                run.name,
                run.config.strategy,
                run.config.seed,
                f"{run.config.budget_ms:g}",
                f"{run.evaluated:,}" + (" (stopped)" if run.stopped else ""),
                numbers.seconds(run.seconds),
                len(run.members),
                int(run.written.sum()),
                int(guesses(run.sd).sum()),
                f"{measures.hypervolume:.6g}",
                _accuracy(run, run.best),
                f"{run.ms[run.best]:{_MS}}",
            )
        )
    return _table("runs", f"Searches; {timed}", (*names, f">best {unit}", ">ms"), rows)


def front_table(found: Comparison, *, timed: str) -> Table:
    """Some of every front's networks: those that the search itself shows."""
    several = len(found.runs) > 1
    first = found.runs[0]
    names = (">ms", ">5–95 %", ">P(budget)", f">{accuracy_name(first)}", ">params M", ">MACs G", "name")
    rows: list[tuple[object, ...]] = []
    total = 0
    for run in found.runs:
        total += len(run.members)
        rows += [(*((run.name,) if several else ()), *_member(run, i)) for i in run.shown]
    caption = f"Pareto front{'s' if several else ''}: {front_words(total, len(rows))}; {timed}"
    return _table("front", caption, (*(("run",) if several else ()), *names), rows)


def _member(run: Run, i: int) -> tuple[object, ...]:
    return (
        f"{run.ms[i]:{_MS}}",
        numbers.interval(float(run.low[i]), float(run.high[i])),
        chance(float(run.chance[i])),
        _accuracy(run, i),
        numbers.millions(float(run.params[i])),
        numbers.billions(float(run.macs[i])),
        run.members[i],
    )


def models_table(found: Comparison, *, timed: str) -> Table | None:
    """The papers' models within the limits, the best first."""
    if found.no_fixed_points is not None:
        return None
    feasible = [point for point in found.fixed_points if point.feasible]
    feasible.sort(key=lambda point: float(point.costs[0]))
    shown = feasible[:_ROWS]
    run = found.runs[0]
    rows = [
        (
            point.name,
            numbers.ms(point.ms),
            numbers.accuracy(point.top1, point.sd, unit=run.unit),
        )
        for point in shown
    ]
    caption = f"Models of papers within the limits: {len(shown)} of {len(feasible)}; {timed}"
    return _table("models", caption, ("model", ">ms", f">{accuracy_name(run)}"), rows)


def networks_table(report: Report) -> Table:
    """The networks side by side, a line each."""
    devices = [f">ms {device.name} ({device.info.method})" for device in report.devices]
    rows = []
    for network in report.side_by_side:
        times = [network.latency[device.name] for device in report.devices]
        cells = [cell for e in times for cell in (numbers.ms(e.ms), numbers.interval(e.low, e.high))]
        rows.append(
            (
                network.name,
                *cells,
                None if network.accuracy is None else str(network.accuracy),
                None if network.published is None else f"{network.published:g}",
                numbers.millions(network.params),
                numbers.billions(network.macs),
                network.arch.resolution,
            )
        )
    timed = [name for device in devices for name in (device, ">5–95 %")]
    names = ("network", *timed, ">top-1", ">published", ">params M", ">MACs G", ">resolution")
    return _table("networks", "Side by side", names, rows)


def stage_table(device: Device, networks: Sequence[Network], *, id: str) -> Table:
    """Milliseconds by stage, and the sum."""
    estimates = [network.latency[device.name] for network in networks]
    return _times(device, networks, [by_stage(e) for e in estimates], what="stage", id=id)


def kind_table(device: Device, networks: Sequence[Network], *, id: str) -> Table:
    """Milliseconds by kind of op, and the sum."""
    estimates = [network.latency[device.name] for network in networks]
    return _times(device, networks, [by_kind(e) for e in estimates], what="kind of op", id=id)


def _times(
    device: Device, networks: Sequence[Network], parts: Sequence[Mapping[str, float]], *, what: str, id: str
) -> Table:
    rows: list[tuple[object, ...]] = [
        (name, *(None if ms is None else numbers.ms(ms) for ms in values)) for name, values in aligned(parts)
    ]
    rows.append(("all", *(numbers.ms(network.latency[device.name].ms) for network in networks)))
    names = (what, *(f">{network.name}" for network in networks))
    return _table(id, f"By {what}; ms on {label(device)}, {method(device.info)}", names, rows)


def errors_table(devices: Sequence[Device], estimator: Any) -> Table | None:
    """What the devices' files and the estimator state of their errors on networks not seen by the fit."""
    rows: list[tuple[object, ...]] = []
    for device in devices:
        for place, where in (("in_gate", "inside its gate"), ("without_gate", "all networks")):
            stated = _nested(device.report, "family_left_out", place)
            if stated:
                rows.append(
                    (
                        f"latency on {device.name}",
                        where,
                        _number(stated, "mape", " %"),
                        _number(stated, "p90", " %"),
                        _number(stated, "kendall_tau", ""),
                    )
                )
    overall = _nested(getattr(estimator, "error", None), "overall")
    if overall:
        cells = (_number(overall, "mae", " points"), None, _number(overall, "tau", ""))
        rows.append(("top-1", f"{overall.get('n')} published networks", *cells))
    names = ("of", "over", ">mean error", ">90 % below", ">Kendall tau")
    return _table("errors", "Errors on families that the fit has not seen", names, rows) if rows else None


def _nested(value: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _number(stated: Mapping[str, Any], key: str, unit: str) -> str | None:
    value = numbers.optional(stated.get(key), digits=2)
    return None if value is None else f"{value}{unit}"
