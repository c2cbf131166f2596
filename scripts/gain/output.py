"""What the comparison came to: a table, a figure and a verdict."""

from __future__ import annotations

import re
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
from hvnas.studies.alone import Array, Interval

# Okabe and Ito (2008), "Color universal design"; and the marker of each role.
STYLES = {RANDOM: ("#0072b2", "o"), FIXED: ("#d55e00", "s"), FOUND: ("#009e73", "*")}
OVER = 0.1  # by how much the budget may be exceeded when it is measured


@dataclass(frozen=True)
class Comparison:
    """Contenders, those found first, and their top-1 in points on one data set ``[n, seeds]``.

    `found_ms` is what the first network found was measured at; the others' latencies are shares of it.
    ``nan`` is a training that has not been made; figures are of seeds that every network of a role has.
    """

    data: str
    budget_ms: float
    found_ms: float
    contenders: tuple[Contender, ...]
    top1: Array

    def places(self, role: str) -> list[int]:
        """Where the networks of a role are."""
        return [i for i, contender in enumerate(self.contenders) if contender.role == role]

    def of(self, role: str) -> Array:
        """Top-1 of the networks of one role, of the seeds that all of them have. Shape [n, seeds]."""
        rows = self.top1[self.places(role)]
        chosen: Array = rows[:, np.isfinite(rows).all(axis=0)]
        return chosen

    @cached_property
    def means(self) -> Array:
        """Top-1 over the seeds of its role, nan where there is none. Shape [n]."""
        means = np.full(len(self.contenders), np.nan)
        for role in STYLES:
            rows = self.of(role)
            if rows.shape[1]:
                means[self.places(role)] = rows.mean(axis=1)
        return means

    @property
    def measured(self) -> Array:
        """Milliseconds of every network. Shape [n]."""
        return self.found_ms * np.array([contender.measured.ratio for contender in self.contenders])

    def kept(self, found: int) -> bool:
        """Whether a network found was measured within the budget, up to `OVER`."""
        return bool(self.measured[found] <= self.budget_ms * (1 + OVER))

    def over_random(self, found: int) -> Interval:
        """The gain of a network found over the median of random members."""
        return over_median(self.of(FOUND)[found], self.of(RANDOM))

    def over_fixed(self, found: int) -> Interval | None:
        """The gain of a network found over the best of the scaled fixed points; None where there is none."""
        fixed = self.of(FIXED)
        return over_best(self.of(FOUND)[found], fixed) if len(fixed) else None


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


def latency_lines(found: Comparison) -> tuple[str, ...]:
    """The budget against what was measured; predictions against measurements of all networks."""
    predicted = [contender.predicted.ms for contender in found.contenders]
    figures = scores(predicted, found.measured)
    return (
        *(_budget_line(found, i) for i in found.places(FOUND)),
        f"predicted against measured, {figures['n']} networks: error {figures['mape']} %, bias "
        f"{figures['bias']:+} %, {figures['within_10']} % within 10 %",
    )


def _budget_line(found: Comparison, place: int) -> str:
    own, took = found.contenders[place], found.measured[place]
    return (
        f"{own.name}: budget {ms(found.budget_ms)} ms, predicted {ms(own.predicted.ms)}, measured "
        f"{ms(took)} ({took / found.budget_ms - 1:+.1%} of the budget): "
        + (f"within it, +{OVER:.0%} allowed" if found.kept(place) else f"beyond it by more than {OVER:.0%}")
    )


def verdict(found: Comparison) -> list[str]:
    """For each network found, one line on chance and one on the papers' networks."""
    return [line for place in found.places(FOUND) for line in _verdict_on(found, place)]


def _verdict_on(found: Comparison, place: int) -> tuple[str, str]:
    name, own = found.contenders[place].name, found.means[place]
    rest, fixed = found.means[found.places(RANDOM)], found.means[found.places(FIXED)]
    gain = found.over_random(place)
    random = (
        f"{found.data}: {_pays(found, gain)} against chance: {points(own)} {name}, "
        f"{points(float(np.median(rest)))} the median of {len(rest)} random members of equal latency, "
        f"{_said(gain)}; better than {int((own > rest).sum())} of them"
    )
    gain_over_fixed = found.over_fixed(place)
    if gain_over_fixed is None:
        return random, f"{found.data}: no fixed point could be scaled to this latency"
    best = int(np.argmax(fixed))
    beaten = found.contenders[found.places(FIXED)[best]].name
    return random, (
        f"{found.data}: {_pays(found, gain_over_fixed)} against fixed points: {points(fixed[best])} "
        f"{beaten}, the best of {len(fixed)} scaled to this latency, {_said(gain_over_fixed)}"
    )


def _said(gain: Interval) -> str:
    return f"{gain.value:+.1f} points [{gain.low:+.1f}, {gain.high:+.1f}]"


def _pays(found: Comparison, gain: Interval) -> str:
    if found.of(FOUND).shape[1] < 2:
        return "one seed tells nothing"
    if gain.low > 0:
        return "searching pays"
    return "searching costs" if gain.high < 0 else "undecided"


def write(found: Comparison, folder: Path) -> tuple[Path, Path]:
    """Write ``gain-DATA.csv`` and ``gain-DATA.png`` (the extra ``plot``); returns the paths."""
    named = re.sub(r"[^\w.-]+", "-", found.data)  # hf:uoft-cs/cifar10 is no name of a file
    table, plot = (folder / f"gain-{named}{ending}" for ending in (".csv", ".png"))
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
    return [(role, of) for role in STYLES if (of := found.places(role))]


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
    for role, of in _groups(found):
        colour, marker = STYLES[role]
        at = found.measured[of]
        every = found.of(role)
        axis.scatter(np.repeat(at, every.shape[1]), every.ravel(), s=6, color=colour, alpha=0.35)
        axis.scatter(
            at,
            found.means[of],
            s=90 if role == FOUND else 24,
            color=colour,
            marker=marker,
            label=role,
            zorder=3,
        )
    median = float(np.median(found.means[found.places(RANDOM)]))
    axis.axhline(median, color=STYLES[RANDOM][0], linestyle="--", linewidth=0.8, label="random, median")
    axis.axvline(found.budget_ms, color="0.4", linestyle=":", linewidth=1)
    axis.set(xlabel="measured, ms", ylabel=f"top-1 on {found.data}, % (pale: each seed)")
    axis.legend(fontsize=7, frameon=False)
