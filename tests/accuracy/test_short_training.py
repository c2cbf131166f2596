"""Estimator `train`: what it counts, keeps and refuses. Networks are trained on 64 synthetic images."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvnas.accuracy import AccuracyEstimator, ShortTraining, ShortTrainingEstimator, load_estimator
from hvnas.accuracy.trained.short_training import (
    FILE,
    SEED_SD,
    Curve,
    ResultFile,
    make_key,
    parse_options,
    run_all,
)
from hvnas.arch import Arch

NO_AUGMENT = """schema: hvnas.recipe/1
epochs: 10
distilled: false
augmentation: basic
training:
  batch: 16
  optimizer: {name: adamw, lr: 2.0e-3}
"""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(tmp_path: Path) -> ShortTraining:
    recipe = tmp_path / "plain.yaml"
    recipe.write_text(NO_AUGMENT, encoding="utf-8")
    return ShortTraining(
        data="shapes",
        epochs=2,
        recipe=str(recipe),
        train_size=64,
        test_size=48,
        cache=str(tmp_path / "cache"),
        device="cpu",
    )


@pytest.fixture
def archs(small_archs: list[Arch]) -> list[Arch]:
    return small_archs


def test_it_is_found_by_name_with_options() -> None:
    assert isinstance(load_estimator("train"), AccuracyEstimator)
    found = load_estimator("train:data=shapes,epochs=5,resolution=64,halving=hyperband")
    assert isinstance(found, ShortTrainingEstimator)
    assert found.options == ShortTraining(data="shapes", epochs=5, resolution=64, halving="hyperband")
    assert parse_options("") == ShortTraining()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=3", "epoch: unknown field"),
        ("epochs", "'epochs' is not an option"),
        ("epochs=0", "train: epochs: must be >= 1, got 0"),
        ("epochs=few", "train: epochs: .*'few'"),
        ("halving=third", "train: halving: .*'third'"),
    ],
)
def test_bad_options_are_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_estimator(f"train:{text}")
    assert "\n" not in str(caught.value)


def test_estimates_are_points_with_their_error(options: ShortTraining, archs: list[Arch]) -> None:
    estimator = ShortTrainingEstimator(options)
    estimate = estimator.estimate(archs)
    assert estimate.unit == "points"
    assert estimate.mean.tolist() == [curve.top1[-1] for curve in estimator.curves(archs)]
    assert ((estimate.mean >= 0) & (estimate.mean <= 100)).all()
    share = (estimate.mean / 100 * 48 + 1) / 50
    expected = np.sqrt(1e4 * share * (1 - share) / 50 + SEED_SD**2)
    assert estimate.sd == pytest.approx(expected)


def test_results_are_kept_and_not_trained_again(
    options: ShortTraining, archs: list[Arch], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ShortTrainingEstimator(options).estimate(archs)
    lines = (Path(str(options.cache)) / FILE).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert {"arch", "data", "training", "epochs", "seed", "top1"} <= set(json.loads(lines[0]))
    monkeypatch.setattr("hvnas.train.trainer.Trainer.epoch", None)
    again = ShortTrainingEstimator(options).estimate([archs[1], archs[0]])
    assert again.mean.tolist() == first.mean.tolist()[::-1]
    with pytest.raises(TypeError):
        ShortTrainingEstimator(replace(options, seed=1)).estimate(archs[:1])


def test_two_runs_agree_without_a_cache(options: ShortTraining, archs: list[Arch]) -> None:
    plain = replace(options, cache="none")
    first, second = (ShortTrainingEstimator(plain).curves(archs[:1]) for _ in range(2))
    assert first == second


def test_a_program_is_refused_in_one_line(options: ShortTraining, archs: list[Arch]) -> None:
    with pytest.raises(ValueError, match="a bare Program has no weights to train") as caught:
        ShortTrainingEstimator(options).estimate([archs[0].lower()])
    assert "\n" not in str(caught.value)


def test_a_recipe_that_trains_replaces_the_own_one(options: ShortTraining, archs: list[Arch]) -> None:
    estimator = ShortTrainingEstimator(options)
    assert estimator._recipe("modern300").name == "plain"
    assert estimator._recipe("tiny").name == "tiny"
    with pytest.raises(ValueError, match="'modern300': has no training section"):
        ShortTrainingEstimator(replace(options, recipe="modern300")).estimate(archs)


def test_a_network_that_diverges_counts_as_chance(options: ShortTraining, archs: list[Arch]) -> None:
    wild = Path(options.recipe).with_name("wild.yaml")
    wild.write_text(NO_AUGMENT.replace("2.0e-3", "1.0e+30"), encoding="utf-8")
    estimator = ShortTrainingEstimator(replace(options, recipe=str(wild)))
    assert estimator.curves(archs[1:])[0].diverged
    assert estimator.estimate(archs[1:]).mean.tolist() == [100 / 16]


def growing(top1: tuple[float, ...]) -> Iterator[Curve]:
    for length in range(1, len(top1) + 1):
        yield Curve(top1[:length])


@pytest.mark.parametrize("halving", ["successive", "hyperband"])
def test_halving_spends_its_epochs_on_the_best(halving: str) -> None:
    rng = np.random.default_rng(0)
    levels = rng.permutation(27).astype(float)
    tops = [tuple(level + gain for gain in range(9)) for level in levels]
    whole = run_all([growing(top1) for top1 in tops], epochs=9, halving="none", reduction=3)
    assert [len(curve.top1) for curve in whole] == [9] * 27
    halved = run_all([growing(top1) for top1 in tops], epochs=9, halving=halving, reduction=3)
    lengths = np.array([len(curve.top1) for curve in halved])
    assert lengths.sum() < 0.6 * 9 * 27
    assert lengths[levels.argmax()] == 9
    assert lengths[levels.argmin()] < 9
    assert halved == run_all([growing(top1) for top1 in tops], epochs=9, halving=halving, reduction=3)


def test_a_stopped_run_is_kept_and_carried_to_the_end(options: ShortTraining, archs: list[Arch]) -> None:
    estimator = ShortTrainingEstimator(replace(options, epochs=4, halving="successive", reduction=2))
    recipe = estimator._recipe(None)
    fitted = [arch.with_(classes=16, resolution=32) for arch in archs]
    good, bad = (estimator._key(arch, recipe) for arch in fitted)
    estimator.results.put(good, Curve((40.0, 50.0, 55.0, 60.0)))
    estimator.results.put(bad, Curve((10.0,)))
    assert [len(curve.top1) for curve in estimator.curves(archs)] == [4, 1]
    estimate = estimator.estimate(archs)
    assert estimate.mean.tolist() == [60.0, 30.0]
    assert estimate.sd[1] > 20.0, "one gain is known, and is its own error"


def append(folder: Path, who: int) -> None:
    file = ResultFile(folder)
    for i in range(200):
        file.put(make_key({"arch": f"{who}-{i}"}), Curve((float(i),) * 20))


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = [context.Process(target=append, args=(tmp_path, who)) for who in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    lines = (tmp_path / FILE).read_text(encoding="utf-8").splitlines()
    assert len([json.loads(line) for line in lines]) == 400
    reader = ResultFile(tmp_path)
    assert reader.get(make_key({"arch": "1-7"})) == Curve((7.0,) * 20)


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    file = ResultFile(tmp_path)
    file.put(make_key({"arch": "a"}), Curve((1.0,)))
    with (tmp_path / FILE).open("a") as cut:
        cut.write('{"arch": "b", "top')
    other = ResultFile(tmp_path)
    assert other.get(make_key({"arch": "a"})) == Curve((1.0,))
    other.put(make_key({"arch": "c"}), Curve((3.0, 4.0)))
    assert file.get(make_key({"arch": "c"})) == Curve((3.0, 4.0)), "other processes' lines are seen"
    assert file.get(make_key({"arch": "b"})) == Curve()


@pytest.mark.parametrize(
    "line",
    [
        '{"a": [1], "top1": [50.0], "diverged": false}',
        '{"a": 1, "top1": [NaN], "diverged": false}',
        '{"a": 1, "top1": [1e999], "diverged": false}',
        '{"a": 1, "top1": [101.0], "diverged": false}',
        '{"a": 1, "top1": 50.0, "diverged": false}',
        '{"a": 1, "top1": [50.0], "diverged": "no"}',
        '{"a": 1, "a": 1, "top1": [50.0], "diverged": false}',
        "[" * 100_000,
        "3",
        "\udcff",
    ],
)
def test_lines_of_no_run_are_passed_over(tmp_path: Path, line: str) -> None:
    key = make_key({"a": 1})
    (tmp_path / "results.jsonl").write_bytes(f"{line}\n".encode(errors="surrogateescape"))
    assert ResultFile(tmp_path).get(key) == Curve()
    ResultFile(tmp_path).put(key, Curve((50.0,)))
    assert ResultFile(tmp_path).get(key) == Curve((50.0,))


def test_the_estimator_costs_no_torch_until_it_trains() -> None:
    code = "import sys; from hvnas.accuracy import load_estimator; load_estimator('train:epochs=2')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
