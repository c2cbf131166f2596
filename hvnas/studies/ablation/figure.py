"""A study drawn with matplotlib (the extra ``plot``): a row of panels for each of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvnas._files import write_atomic
from hvnas.latency.plots import check_target, save_figure
from hvnas.studies.ablation.facts import breakdown, published, to_csv
from hvnas.studies.ablation.run import PartResult, StudyResult

# Okabe and Ito (2008), "Color universal design".
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MARKER = "D"
# Times the base's latency: beyond that a bar is cut off.
_MANY = 8


def check_folder(out: Path, name: str) -> None:
    """Raise ValueError where a study's files cannot be written to the folder `out`."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}; create it first")
    check_target(out.parent / f"{name}.png")


def write_study(found: StudyResult, out: Path) -> tuple[Path, ...]:
    """Write NAME.csv and NAME.png to a folder, which is made; returns the paths. Raises as `check_folder`."""
    check_folder(out, found.study.name)
    out.mkdir(exist_ok=True)
    table, plot = (out / f"{found.study.name}{ending}" for ending in (".csv", ".png"))
    write_atomic(table, to_csv(found))
    save_figure(_drawn, found, plot, found.study.title)
    return table, plot


def _drawn(found: StudyResult, title: str) -> Any:
    from matplotlib.figure import Figure

    heights = [1.6 + 0.3 * len(result.rows) for result in found.parts]
    figure = Figure(figsize=(12, 0.6 + sum(heights)), layout="constrained", facecolor="white")
    axes = figure.subplots(len(found.parts), 2, squeeze=False, height_ratios=heights)
    for (left, right), result in zip(axes, found.parts, strict=True):
        if result.scenarios:
            _draw_estimates(left, result, found)
        else:
            _draw_macs(left, result)
        _draw_latency(right, result, _kinds(found))
        right.set_yticklabels([])
    figure.suptitle(title, fontsize=11)
    return figure


def _kinds(found: StudyResult) -> list[str]:
    """Parts of any row's latency that take time, in order of appearance: one colour each in all panels."""
    parts = [breakdown(result, row) for result in found.parts for row in result.rows]
    return list(dict.fromkeys(name for part in parts for name, ms in part.items() if ms > 0))


def _places(axis: Any, result: PartResult) -> list[int]:
    places = list(range(len(result.rows)))
    axis.set_yticks(places, [row.name for row in result.rows], fontsize=8)
    axis.set_ylim(len(places) - 0.5, -0.5)
    axis.grid(axis="x", color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)
    return places


def _draw_estimates(axis: Any, result: PartResult, found: StudyResult) -> None:
    """Means with one sd to either side, a colour per scenario, and what was published."""
    places = _places(axis, result)
    for k, scenario in enumerate(result.scenarios):
        judged = [row.judged[k] for row in result.rows]
        sds = None if judged[0].sd is None else [j.sd for j in judged]
        shifted = [place + 0.16 * (k - (len(result.scenarios) - 1) / 2) for place in places]
        axis.errorbar(
            [j.mean for j in judged],
            shifted,
            xerr=sds,
            fmt="o",
            markersize=4,
            capsize=2,
            color=_COLOURS[k],
            label=f"{found.estimator}, {scenario}",
        )
    told = [(published(result, row, "top1"), place) for row, place in zip(result.rows, places, strict=True)]
    told = [(value, place) for value, place in told if value is not None]
    if told:
        xs, ys = zip(*told, strict=True)
        axis.plot(xs, ys, _MARKER, markersize=5, markerfacecolor="none", color="#444444", label="published")
    axis.set_xlabel("top-1 ± sd" if result.unit == "points" else "score", fontsize=8)
    axis.set_title(result.part.title or result.part.name, loc="left", fontsize=9)
    axis.legend(fontsize=7, frameon=False)


def _draw_macs(axis: Any, result: PartResult) -> None:
    places = _places(axis, result)
    axis.barh(places, [row.macs / 1e9 for row in result.rows], color=_COLOURS[0], height=0.6)
    axis.set_xlabel("MACs, 1e9", fontsize=8)
    axis.set_title(result.part.title or result.part.name, loc="left", fontsize=9)


def _draw_latency(axis: Any, result: PartResult, kinds: Sequence[str]) -> None:
    """Stacked milliseconds with the interval, or measured ones with their spread; published ones marked."""
    places = _places(axis, result)
    if result.device is None:
        measured = [row.measured for row in result.rows if row.measured is not None]
        spread = [m.spread / 2 for m in measured]
        axis.barh(places, [m.ms for m in measured], xerr=spread, height=0.6, color=_COLOURS[1])
        axis.set_xlabel("ms, measured on this host", fontsize=8)
        return
    _stack(axis, result, places, kinds)
    told = [(published(result, row, "ms"), place) for row, place in zip(result.rows, places, strict=True)]
    told = [(value, place) for value, place in told if value is not None]
    if told:
        xs, ys = zip(*told, strict=True)
        axis.plot(xs, ys, _MARKER, markersize=5, markerfacecolor="none", color="#444444", label="published")
    _clip(axis, result, places)
    axis.set_xlabel(f"ms on {result.device.name}, {result.device.info.method}, 5–95 %", fontsize=8)
    axis.legend(fontsize=6, ncols=2, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _stack(axis: Any, result: PartResult, places: Sequence[int], kinds: Sequence[str]) -> None:
    from matplotlib import colormaps

    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    parts = [breakdown(result, row) for row in result.rows]
    left = [0.0] * len(parts)
    for k, name in enumerate(kinds):
        widths = [part.get(name, 0.0) for part in parts]
        if any(widths):
            axis.barh(places, widths, left=left, height=0.6, label=name, color=colours[k % len(colours)])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for row, place in zip(result.rows, places, strict=True):
        if row.latency is not None:
            axis.plot([row.latency.low, row.latency.high], [place, place], color="#444444", linewidth=1)


def _clip(axis: Any, result: PartResult, places: Sequence[int]) -> None:
    """Cut off rows that take many times what the base takes, and write what they take."""
    assert result.base.latency is not None
    limit = _MANY * result.base.latency.ms
    ms = [row.latency.ms for row in result.rows if row.latency is not None]
    if max(ms) <= limit:
        return
    axis.set_xlim(0, limit)
    for value, place in zip(ms, places, strict=True):
        if value > limit:
            axis.text(
                0.99 * limit, place, f"{value:.0f} ms", ha="right", va="center", fontsize=7, color="white"
            )
