"""What a training explains of itself: numbers that agree, files that are there, texts that do nothing."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from hvnas.arch import load_arch, save_arch
from hvnas.nn.weights import read_safetensors
from hvnas.train.card import class_scores, draw_confusion, draw_curves, interval
from hvnas.train.data import load_data
from hvnas.train.evaluation import examine
from hvnas.train.folder import TrainFolder
from hvnas.train.request import TrainRequest
from hvnas.train.run import train_in_folder
from hvnas.train.starting import start
from hvnas.train.state import EpochResult

HOSTILE = "<script>alert(1)</script>|`[x](javascript:y)\x1b[31m"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of three epochs on digits, run with one thread."""
    pytest.importorskip("sklearn")
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("card")
    save_arch(load_arch("efficientvit_b0").shrunk().with_(name=HOSTILE), place / "net.yaml")
    request = TrainRequest(
        source=str(place / "net.yaml"),
        data="digits",
        resolution=32,
        train_size=200,
        test_size=100,
        epochs=3,
        latency_device="iphone12",
    )
    train_in_folder(start(request, place / "run"), device="cpu")
    return place / "run"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_matrix_and_tables_agree(run: Path) -> None:
    metrics = TrainFolder(run).metrics()
    lines = rows(run / "card" / "confusion.csv")
    matrix = np.array([[int(line[str(name)]) for name in range(10)] for line in lines])
    assert matrix.sum() == metrics["test_images"] == 100
    assert 100.0 * matrix.trace() / matrix.sum() == pytest.approx(metrics["top1"])
    assert metrics["top1_low"] < metrics["top1"] < metrics["top1_high"]
    for i, (told, line) in enumerate(
        zip(metrics["per_class"], rows(run / "card" / "classes.csv"), strict=True)
    ):
        assert told["name"] == line["name"] == str(i)
        assert told["images"] == matrix[i].sum()
        assert told["recall"] == pytest.approx(100.0 * matrix[i, i] / matrix[i].sum())
        called = matrix[:, i].sum()
        assert told["precision"] == (pytest.approx(100.0 * matrix[i, i] / called) if called else None)


def test_the_card_says_what_the_files_give(run: Path) -> None:
    metrics, text = TrainFolder(run).metrics(), (run / "README.md").read_text(encoding="utf-8")
    low, high = metrics["top1_low"], metrics["top1_high"]
    assert f"| top-1 | {metrics['top1']:.2f} ({low:.2f}–{high:.2f}) |" in text
    assert "| licence | unknown |" in text
    assert "ms predicted on iphone12" in text
    assert f"in epoch {metrics['best_epoch']}, the best |" in text
    for each in metrics["per_class"]:
        assert f"| {each['name']} | {each['images']} |" in text
    assert "<script" not in text and "\x1b" not in text and "[x](javascript" not in text
    shown = [line for line in text.splitlines() if line.startswith("| <img")]
    mistakes = sorted(path.name for path in (run / "card" / "mistakes").iterdir())
    assert len(shown) == len(mistakes) == min(12, round(100 - metrics["top1"]))


def test_mistakes_are_the_images_themselves(run: Path) -> None:
    from PIL import Image

    folder = TrainFolder(run)
    with torch.no_grad():
        from hvnas.nn import build

        model = build(folder.arch, weights=folder.weights).eval()
    data = folder.config.load_data()
    found = examine(model, data.test, data, device=torch.device("cpu"), mistakes=3)
    shares = [mistake.share for mistake in found.mistakes]
    assert shares == sorted(shares, reverse=True)
    assert all(mistake.label != mistake.predicted for mistake in found.mistakes)
    first = np.asarray(Image.open(run / "card" / "mistakes" / "01.png"))
    assert np.array_equal(first.transpose(2, 0, 1), found.mistakes[0].image)


def test_best_and_last_weights_are_kept(run: Path) -> None:
    best, last = (read_safetensors(run / f"{name}.safetensors") for name in ("model", "last"))
    assert best.keys() == last.keys()
    metrics = TrainFolder(run).metrics()
    same = all(torch.equal(best[key], last[key]) for key in best)
    assert same == (metrics["best_epoch"] == metrics["epochs_trained"])


def test_the_command_trains_the_same_again(run: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from hvnas.cli.app import app

    text = (run / "README.md").read_text(encoding="utf-8")
    program, *words = shlex.split(text.partition("```bash\n")[2].partition("\n```")[0])
    assert program == "hvnas" and words[-2:] == ["--out", "run-again"]
    torch.set_num_threads(1)
    result = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "again"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    ours, theirs = (read_safetensors(p / "model.safetensors") for p in (run, tmp_path / "again"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert (tmp_path / "again" / "README.md").is_file()


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # statsmodels 0.14's proportion_confint(hits, count, method="wilson"), rounded
    [(0, 10, 0.0, 27.75), (10, 10, 72.25, 100.0), (50, 100, 40.38, 59.62), (930, 1000, 91.25, 94.42)],
)
def test_intervals_are_wilsons(hits: int, count: int, low: float, high: float) -> None:
    assert interval(hits, count) == pytest.approx((low, high), abs=0.01)


def test_classes_without_images_have_no_recall() -> None:
    first, second, third = class_scores(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 2]]), ["a", "b", "c"])
    assert (first.precision, first.recall) == (75.0, 75.0)
    assert (second.images, second.precision, second.recall, second.low) == (0, 0.0, None, None)
    assert third.precision == 100.0


def test_drawings_hold_the_numbers_and_no_markup() -> None:
    history = [EpochResult(1, 2.5, 10.0), EpochResult(2, 1.25, 55.5), EpochResult(3, 1.0, 50.0)]
    curves = ET.fromstring(draw_curves(history))
    titles = [each.text for each in curves.iter() if each.tag.endswith("title")]
    assert "epoch 2: validation top-1 55.5" in titles and "epoch 3: training loss 1" in titles
    text = draw_confusion(np.array([[3, 1], [0, 4]]), [HOSTILE, "b"])
    assert "<script" not in text
    found = [each.text for each in ET.fromstring(text).iter() if each.tag.endswith("title")]
    assert "b → b: 4" in found and len(found) == 5


def test_old_folders_without_a_command_still_load(run: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = json.loads((run / "train.json").read_text(encoding="utf-8"))
    del fields["command"], fields["recipe"]["training"]["fine_tuning"]
    (tmp_path / "train.json").write_text(json.dumps(fields), encoding="utf-8")
    config = TrainFolder(tmp_path).config
    assert config.command == [] and config.load_recipe() == TrainFolder(run).config.load_recipe()


def test_licences_of_data_are_told(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8), "red").save(tmp_path / name / f"{i}.png")
    assert load_data(f"folder:{tmp_path}").license == ""
    (tmp_path / "LICENSE.txt").write_text("free", encoding="utf-8")
    assert load_data(f"folder:{tmp_path}").license == "see LICENSE.txt beside the images"
