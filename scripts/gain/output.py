"""What the comparison came to: a table, a figure and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gain.contenders import FIXED, FOUND, RANDOM, Contender
from gain.statistics import over_best, over_median
from hvnas._files import write_atomic
from hvnas._numbers import ms, points
from hvnas._records import csv_line
from hvnas.latency.plots import BAND, save_figure
from hvnas.latency.scores import scores
from hvnas.studies.rank import Array, Interval

# Okabe and Ito (2008), "Color universal design"; and the marker of each role.
STYLES = {RANDOM: ("#0072b2", "o"), FIXED: ("#d55e00", "s"), FOUND: ("#009e73", "*")}
OVER = 0.1  # by how much the budget may be exceeded when it is measured


@dataclass(frozen=True)
class Comparison:
    """Contenders, the found one first, and their top-1 in points on one data set ``[n, seeds]``.

    `found_ms` is what the network found was measured at; the others' latencies are shares of it.
    ``nan`` is a training that has not been made; figures are of seeds that every network has.
    """

    data: str
    budget_ms: float
    found_ms: float
    contenders: tuple[Contender, ...]
    top1: Array

    @property
    def whole(self) -> Array:
        """Top-1 of the seeds that every network was trained from. Shape [n, seeds]."""
        whole: Array = self.top1[:, np.isfinite(self.top1).all(axis=0)]
        return whole

    def of(self, role: str) -> Array:
        """The rows of one role of `whole`."""
        chosen: Array = self.whole[[contender.role == role for contender in self.contenders]]
        return chosen

    @property
    def measured(self) -> Array:
        """Milliseconds of every network. Shape [n]."""
        return self.found_ms * np.array([contender.measured.ratio for contender in self.contenders])

    @property
    def kept(self) -> bool:
        """Whether the network found was measured within its budget, up to `OVER`."""
        return self.found_ms <= self.budget_ms * (1 + OVER)

    @cached_property
    def over_random(self) -> Interval:
        """The gain over the median of random members."""
        return over_median(self.of(FOUND)[0], self.of(RANDOM))

    @cached_property
    def over_fixed(self) -> Interval | None:
        """The gain over the best of the scaled fixed points; None where there is none."""
        fixed = self.of(FIXED)
        return over_best(self.of(FOUND)[0], fixed) if len(fixed) else None


def to_csv(found: Comparison) -> str:
    """A row for each network and seed that it was trained from."""
    names = (
        "role name network data params macs budget_ms predicted_ms predicted_low predicted_high inside "
        "measured_ms of_found seed top1"
    )
    lines = [csv_line(names.split())]
    for contender, took, row in zip(found.contenders, found.measured, found.top1, strict=True):
        program, estimate = contender.arch.lower(), contender.predicted
        for seed in np.flatnonzero(np.isfinite(row)).tolist():
            lines.append(
                csv_line(
                    [contender.role, contender.name, contender.arch.hash, found.data]
                    + [program.params, program.macs, f"{found.budget_ms:g}"]
                    + [f"{value:.4f}" for value in (estimate.ms, estimate.low, estimate.high)]
                    + [estimate.inside, f"{took:.4f}", f"{contender.measured.ratio:.4f}"]
                    + [seed, f"{row[seed]:.3f}"]
                )
            )
    return "".join(lines)


def latency_lines(found: Comparison) -> tuple[str, str]:
    """The budget against what was measured; predictions against measurements of all networks."""
    predicted = [contender.predicted.ms for contender in found.contenders]
    figures = scores(predicted, found.measured)
    over = found.found_ms / found.budget_ms - 1
    return (
        f"found: budget {ms(found.budget_ms)} ms, predicted {ms(predicted[0])}, measured "
        f"{ms(found.found_ms)} ({over:+.1%} of the budget): "
        + (f"within it, +{OVER:.0%} allowed" if found.kept else f"beyond it by more than {OVER:.0%}"),
        f"predicted against measured, {figures['n']} networks: error {figures['mape']} %, bias "
        f"{figures['bias']:+} %, {figures['within_10']} % within 10 %",
    )


def verdict(found: Comparison) -> tuple[str, str]:
    """One line on chance and one on the papers' networks."""
    own, rest, fixed = found.of(FOUND)[0].mean(), found.of(RANDOM).mean(axis=1), found.of(FIXED).mean(axis=1)
    random = (
        f"{found.data}: {_pays(found, found.over_random)} against chance: {points(own)} found, "
        f"{points(float(np.median(rest)))} the median of {len(rest)} random members of equal latency, "
        f"{_said(found.over_random)}; better than {int((own > rest).sum())} of them"
    )
    if found.over_fixed is None:
        return random, f"{found.data}: no fixed point could be scaled to this latency"
    names = [c.name for c in found.contenders if c.role == FIXED]
    best = int(np.argmax(fixed))
    return random, (
        f"{found.data}: {_pays(found, found.over_fixed)} against fixed points: {points(fixed[best])} "
        f"{names[best]}, the best of {len(fixed)} scaled to this latency, {_said(found.over_fixed)}"
    )


def _said(gain: Interval) -> str:
    return f"{gain.value:+.1f} points [{gain.low:+.1f}, {gain.high:+.1f}]"


def _pays(found: Comparison, gain: Interval) -> str:
    if found.whole.shape[1] < 2:
        return "one seed tells nothing"
    if gain.low > 0:
        return "searching pays"
    return "searching costs" if gain.high < 0 else "undecided"


def write(found: Comparison, folder: Path) -> tuple[Path, Path]:
    """Write ``gain-DATA.csv`` and ``gain-DATA.png`` (the extra ``plot``); returns the paths."""
    table, plot = (folder / f"gain-{found.data}{ending}" for ending in (".csv", ".png"))
    write_atomic(table, to_csv(found))
    save_figure(_drawn, found, plot, f"Does searching pay? {found.data}, {ms(found.budget_ms)} ms")
    return table, plot


def _drawn(found: Comparison, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    _draw_latencies(left, found)
    _draw_accuracies(right, found)
    figure.suptitle(title, fontsize=11)
    return figure


def _groups(found: Comparison) -> list[tuple[str, list[int]]]:
    roles = [contender.role for contender in found.contenders]
    return [(role, [i for i, own in enumerate(roles) if own == role]) for role in STYLES if role in roles]


def _draw_latencies(axis: Any, found: Comparison) -> None:
    """Predicted against measured, with the budget and its band."""
    timed = found.contenders
    every = [*(c.predicted.ms for c in timed), *found.measured, found.budget_ms]
    line = np.array([min(every) * 0.95, max(every) * 1.05])
    axis.fill_between(line, line * (1 - BAND), line * (1 + BAND), color="0.93", label="±10 %")
    axis.plot(line, line, color="0.6", linewidth=0.8)
    axis.axvline(found.budget_ms, color="0.4", linestyle=":", linewidth=1, label="budget")
    for role, of in _groups(found):
        colour, marker = STYLES[role]
        axis.scatter(
            found.measured[of],
            [timed[i].predicted.ms for i in of],
            s=90 if role == FOUND else 24,
            color=colour,
            marker=marker,
            label=role,
            zorder=3 if role == FOUND else 2,
        )
    axis.set(xlim=line, ylim=line, xlabel="measured, ms", ylabel="predicted, ms")
    axis.legend(fontsize=7, frameon=False)


def _draw_accuracies(axis: Any, found: Comparison) -> None:
    """Top-1 at each network's measured latency, every seed a pale dot, with the random median."""
    means = found.whole.mean(axis=1)
    for role, of in _groups(found):
        colour, marker = STYLES[role]
        at = found.measured[of]
        axis.scatter(
            np.repeat(at, found.whole.shape[1]), found.whole[of].ravel(), s=6, color=colour, alpha=0.35
        )
        axis.scatter(
            at, means[of], s=90 if role == FOUND else 24, color=colour, marker=marker, label=role, zorder=3
        )
    median = float(np.median(found.of(RANDOM).mean(axis=1)))
    axis.axhline(median, color=STYLES[RANDOM][0], linestyle="--", linewidth=0.8, label="random, median")
    axis.axvline(found.budget_ms, color="0.4", linestyle=":", linewidth=1)
    axis.set(xlabel="measured, ms", ylabel=f"top-1 on {found.data}, % (pale: each seed)")
    axis.legend(fontsize=7, frameon=False)
