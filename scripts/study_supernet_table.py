"""How well does a supernet order networks that somebody else trained, and what orders them for less?

    python scripts/study_supernet_table.py TABLE --data hf:uoft-cs/cifar10 --out study    # an hour
    python scripts/study_supernet_table.py TABLE --data digits --out study --quick    # the mechanics alone

TABLE holds the networks of a space with the top-1 that others published (nas-bench-macro_cifar10.json of
github.com/xiusu/NAS-Bench-Macro). Trains a supernet of the space, draws members, and orders them by inherited
weights, by params and FLOPs, zero-cost proxies, the surrogate, and by a predictor that knows the published
top-1 of a few of them, with and without inherited top-1 and loss as features. Prints Kendall's tau and
Spearman's rho, over all and inside bins of FLOPs, how far the best of the ten that are put first is below the
best of the table, and seconds of processor, with 90 % intervals; writes them to results.csv, the tau of each
epoch's weights to curve.csv, and a figure of both.

All that is trained and scored is kept in the folder: called again, it goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from _supernet_table import (
    Array,
    Ordered,
    Places,
    Predicted,
    Score,
    Scores,
    Subject,
    ahead,
    ordered,
    over_draws,
    predicted,
)

from hvnas._files import append_line
from hvnas._records import Cell, csv_line, csv_text, field_names, read_csv
from hvnas.accuracy import load_estimator
from hvnas.accuracy.proxies.registry import PROBED
from hvnas.accuracy.table import read_table
from hvnas.latency.plots import save_figure
from hvnas.space import load_space
from hvnas.studies.alone import Interval
from hvnas.studies.rank import tau
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import resume, start, train_supernet
from hvnas.supernet.scoring import inherited_scores
from hvnas.train.data.splits import ArraySplit, subset
from hvnas.train.state import read_model
from hvnas.train.trainer import Progress

SUPERNET, LOSS, EQUALS = "supernet", "supernet, by loss", "supernet, equals averaged"
CHEAP = ("params", "macs", "free", "surrogate")
KNOWN = (25, 50, 100)
FIGURES = ("tau", "tau_within", "rho", "rho_within", "regret")
CHUNK = 10
# Networks that the curve over epochs is of.
CURVE = 100


@dataclass(frozen=True)
class Spent:
    """A line of training.csv: seconds of processor of one call, and the epochs done behind it."""

    seconds: float
    epochs: Annotated[int, Cell(least=0)]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    subject = Subject.of(
        read_table(options.table),
        load_space(options.space),
        networks=options.networks,
        bins=options.bins,
        seed=options.seed,
    )
    train(options)
    scores = Scores(options.out / "scores.csv")
    score_inherited(subject, scores, options)
    score_cheap(subject, scores, options)
    curve = curve_of(subject, scores, options)
    found, predictions = compare(subject, scores, options)
    write(found, predictions, curve, options)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, metavar="TABLE", help="file of published results")
    parser.add_argument("--data", required=True, help="as hvnas supernet train takes it")
    parser.add_argument("--out", type=Path, required=True, help="folder of all that is trained and scored")
    parser.add_argument("--space", default="nas-bench-macro")
    parser.add_argument("--scheme", default="single-path")
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train-size", type=int, default=None)
    parser.add_argument("--test-size", type=int, default=None)
    parser.add_argument("--networks", type=int, default=1000, help="drawn from the table")
    parser.add_argument("--bins", type=int, default=10, help="of FLOPs")
    parser.add_argument("--bn-calib", type=int, default=256, help="images that statistics are made anew from")
    parser.add_argument(
        "--images", type=int, default=1000, help="validation images that networks are scored on"
    )
    parser.add_argument("--probed", type=int, default=200, help="networks that proxies are computed of")
    parser.add_argument("--draws", type=int, default=20, help="of the networks that a predictor knows")
    parser.add_argument("--seed", type=int, default=0, help="of the networks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few networks and images, one epoch")
    options = parser.parse_args(arguments)
    if options.quick:
        options.networks, options.probed, options.bins, options.draws = 120, 12, 3, 2
        options.epochs, options.train_size, options.test_size = 2, 128, 64
        options.bn_calib, options.images = 64, 64
    return options


def train(options: argparse.Namespace) -> None:
    """Train the supernet, or what is left of it; a copy of its state is kept for every epoch."""
    record = options.out / "training.csv"
    if record.exists() and _spent(options)[-1].epochs == options.epochs:
        return
    path, copies = options.out / "supernet", options.out / "epochs"
    copies.mkdir(parents=True, exist_ok=True)
    request = SupernetRequest(
        space=options.space,
        data=options.data,
        resolution=options.resolution,
        train_size=options.train_size,
        test_size=options.test_size,
        epochs=options.epochs,
        batch=options.batch,
        scheme=options.scheme,
    )
    folder = SupernetFolder(path)
    folder = resume(request, path) if folder.holds_run else start(request, path)

    def note(at: Progress) -> None:
        copy = copies / f"{at.epoch - 1:03d}.safetensors"
        if at.epoch > 1 and at.step == 1 and not copy.exists():
            os.link(folder.state, copy)  # a state is replaced, never written to
        if at.top1 is not None:
            print(f"epoch {at.epoch} of {at.epochs}: loss {at.loss:.3f}", file=sys.stderr, flush=True)

    spent = time.process_time()
    result = train_supernet(folder, progress=note).result
    if not record.exists():
        append_line(record, csv_line(field_names(Spent)).rstrip("\n"))
    append_line(record, csv_line([time.process_time() - spent, len(result.history)]).rstrip("\n"))


def trained_in(options: argparse.Namespace) -> float:
    """Seconds of processor that the supernet's training took, over all calls."""
    return sum(line.seconds for line in _spent(options))


def _spent(options: argparse.Namespace) -> list[Spent]:
    lines = read_csv(options.out / "training.csv", field_names(Spent))
    return [row.record(Spent) for row in lines]


def inherited(
    subject: Subject, places: Sequence[int], state: Path, options: argparse.Namespace
) -> Iterator[tuple[int, float, float, float]]:
    """Place, top-1, loss and seconds of networks with the weights of a state of the supernet."""
    if not places:
        return
    folder = SupernetFolder(options.out / "supernet")
    net, data = folder.load(), folder.config.load_data()
    net.load_state_dict(read_model(state))
    held = data.val.batch(subset(data.val.labels, options.images, seed=0))
    split = ArraySplit(held.images, held.labels)
    archs = [net.fitted(subject.arch(place)) for place in places]
    before = time.process_time()
    for at, found in inherited_scores(net, archs, data, bn_calib=options.bn_calib, split=split):
        now = time.process_time()
        yield places[at], found.top1, found.loss, now - before
        before = now


def score_inherited(subject: Subject, scores: Scores, options: argparse.Namespace) -> None:
    """Score the sample, and then what equals it, with the weights that the training ended with."""
    state = SupernetFolder(options.out / "supernet").state
    for places in (subject.sample, subject.with_equals):
        missing = scores.missing(LOSS, places, subject)
        for done, (place, top1, loss, seconds) in enumerate(inherited(subject, missing, state, options)):
            key = subject.key(place)
            scores.add(Score(key, SUPERNET, top1, seconds))
            scores.add(Score(key, LOSS, -loss, seconds))
            if done % 100 == 0:
                print(f"{done} of {len(missing)} networks scored", file=sys.stderr, flush=True)


def score_cheap(subject: Subject, scores: Scores, options: argparse.Namespace) -> None:
    """Score the sample by what costs next to nothing, and a part of it by proxies that run the network."""
    for name in (*CHEAP, *PROBED):
        places = subject.sample if name in CHEAP else subject.sample[: options.probed]
        missing, estimator = scores.missing(name, places, subject), load_estimator(name)
        for at in range(0, len(missing), CHUNK):
            chunk = missing[at : at + CHUNK]
            started = time.process_time()
            values = estimator.estimate([subject.arch(place) for place in chunk]).mean
            seconds = (time.process_time() - started) / len(chunk)
            for place, value in zip(chunk, values, strict=True):
                scores.add(Score(subject.key(place), name, float(value), seconds))


def curve_of(subject: Subject, scores: Scores, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Tau of the weights after each epoch, on the first networks of the sample."""
    lines = []
    places = subject.sample[:CURVE]
    truth, bins = subject.table.top1[places], subject.bins[places]
    for state in sorted((options.out / "epochs").glob("*.safetensors")):
        name = f"after epoch {float(state.stem):g}"
        missing = scores.missing(name, places, subject)
        if missing:
            for place, top1, _, seconds in inherited(subject, missing, state, options):
                scores.add(Score(subject.key(place), name, top1, seconds))
        values = scores.values(name, places, subject)
        lines.append(_curve_line(float(state.stem), values, truth, bins, options))
    values = scores.values(SUPERNET, places, subject)
    return [*lines, _curve_line(options.epochs, values, truth, bins, options)]


def _curve_line(
    epoch: float, values: Array, truth: Array, bins: Any, options: argparse.Namespace
) -> dict[str, Any]:
    minutes = trained_in(options) * epoch / options.epochs / 60
    return {
        "epoch": epoch,
        "minutes": minutes,
        "tau": tau(values, truth),
        "tau_within": tau(values, truth, bins),
    }


def compare(
    subject: Subject, scores: Scores, options: argparse.Namespace
) -> tuple[list[Ordered], list[tuple[Predicted, Predicted]]]:
    """What each score is worth, and the predictor by how many it knows, alone and with the supernet."""
    training, sample = trained_in(options), subject.sample
    each = scores.seconds(SUPERNET, len(sample))
    ours = scores.values(SUPERNET, sample, subject)
    found = [
        ordered(SUPERNET, ours, sample, subject, seconds=training + each),
        ordered(LOSS, scores.values(LOSS, sample, subject), sample, subject, seconds=training + each),
    ]
    averaged = means(scores, subject)
    times = len(subject.with_equals) / len(sample)
    found.append(ordered(EQUALS, averaged, sample, subject, seconds=training + each * times))
    print("ahead by tau, over all and inside bins of FLOPs:")
    for name in (*CHEAP, *PROBED):
        places = sample if name in CHEAP else sample[: options.probed]
        values = scores.values(name, places, subject)
        seconds = scores.seconds(name, len(sample))
        found.append(ordered(name, values, places, subject, seconds=seconds))
        own = ours[: len(places)]
        gaps = [ahead(own, values, places, subject, within=within) for within in (False, True)]
        print(f"  {SUPERNET} of {name:>16}: {shown(gaps[0])}, {shown(gaps[1])} ({len(places)} networks)")
    features = np.column_stack([averaged, scores.values(LOSS, sample, subject)])
    predictions = [
        (
            predicted(subject, None, known=known, draws=options.draws, places=sample),
            predicted(subject, features, known=known, draws=options.draws, places=sample),
        )
        for known in KNOWN
        if known < len(sample)
    ]
    return found, predictions


def means(scores: Scores, subject: Subject) -> Array:
    """Inherited top-1 of the sample, the mean over the members that are one network."""
    every: Places = subject.with_equals
    values = scores.values(SUPERNET, every, subject)
    groups = subject.equals[every]
    return np.array([values[groups == group].mean() for group in subject.equals[subject.sample]])


def write(
    found: Sequence[Ordered],
    predictions: Sequence[tuple[Predicted, Predicted]],
    curve: list[dict[str, Any]],
    options: argparse.Namespace,
) -> None:
    """Print the tables, and write results.csv, curve.csv and the figure."""
    lines = [_line(each) for each in found]
    print(f"\n{'score':>26} {'networks':>8}", *(f"{name:>22}" for name in FIGURES), " minutes")
    for each in found:
        cells = (f"{shown(getattr(each, name)):>22}" for name in FIGURES)
        print(f"{each.name:>26} {each.networks:>8}", *cells, f"{each.seconds / 60:>8.2f}")
    print(
        "\npredictor that knows n networks, means over draws of these: alone, with the supernet, difference"
    )
    for alone, both in predictions:
        for name in ("tau", "tau_within", "rho", "regret"):
            a, b = getattr(alone, name), getattr(both, name)
            ends = [over_draws(values) for values in (a, b, b - a)]
            print(f"{alone.known:>5} {name:>11}: {'; '.join(map(shown, ends))}; {np.mean(b > a):.0%} above")
            lines += [
                {"score": f"predictor, {what}", "known": alone.known, name: end.value, f"{name}_low": end.low}
                | {f"{name}_high": end.high}
                for what, end in zip(("alone", "with supernet", "difference"), ends, strict=True)
            ]
    (options.out / "results.csv").write_text(csv_text(lines), encoding="utf-8")
    (options.out / "curve.csv").write_text(csv_text(curve), encoding="utf-8")
    print()
    for at in curve:
        taus = f"tau {at['tau']:.2f}, in bins {at['tau_within']:.2f}"
        print(f"after epoch {at['epoch']:g}, {at['minutes']:.1f} minutes: {taus}")
    for name in ("tau", "tau_within"):
        drawn = [_point(each, name) for each in found]
        save_figure(_figure, (drawn, curve, name), options.out / f"{name}.svg", options.table.stem)


def _line(each: Ordered) -> dict[str, Any]:
    line: dict[str, Any] = {"score": each.name, "networks": each.networks, "seconds": round(each.seconds, 3)}
    for name in FIGURES:
        of: Interval = getattr(each, name)
        line |= {name: of.value, f"{name}_low": of.low, f"{name}_high": of.high}
    return line


def _point(each: Ordered, name: str) -> tuple[str, float, Interval]:
    return each.name, each.seconds / 60, getattr(each, name)


def shown(of: Interval) -> str:
    """A figure with its interval."""
    return f"{of.value:.3f} [{of.low:.3f}, {of.high:.3f}]"


def _figure(drawn: Any, title: str) -> Any:
    """Tau by minutes of processor: a point for each score, a line for the supernet epoch by epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    points, curve, name = drawn
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for _, minutes, of in points:
        axes.errorbar(minutes, of.value, [[of.value - of.low], [of.high - of.value]], fmt="o", capsize=2)
    for label, minutes, of, height in _labels(points):
        axes.annotate(
            label,
            (minutes, of.value),
            xytext=(minutes * 1.08, height),
            fontsize=8,
            verticalalignment="center",
        )
    axes.plot(
        [at["minutes"] for at in curve],
        [at[name] for at in curve],
        "-",
        color="C0",
        label="supernet, by epoch",
    )
    what = "inside bins of FLOPs" if name == "tau_within" else "over all"
    axes.set(xscale="log", xlabel="minutes of one core", ylabel=f"Kendall's tau, {what}", title=title)
    # Room for the names of the last points.
    axes.set_xlim(right=4 * max(minutes for _, minutes, _ in points))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda minutes, _: f"{minutes:g}"))
    axes.legend(loc="lower right")
    return figure


def _labels(points: Sequence[tuple[str, float, Interval]]) -> Iterator[tuple[str, float, Interval, float]]:
    """Each point with the height of its name: moved up where it would lie on that of a point beside it."""
    taken: list[tuple[float, float]] = []
    for label, minutes, of in sorted(points, key=lambda point: point[2].value):
        height = of.value
        beside = [other for at, other in taken if 0.3 < at / minutes < 3.3]
        if beside:
            height = max(height, max(beside) + 0.025)
        taken.append((minutes, height))
        yield label, minutes, of, height


if __name__ == "__main__":
    main()
