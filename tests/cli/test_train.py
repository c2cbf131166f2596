"""``hvnas train`` and ``hvnas evaluate``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hvnas.arch import load_arch, save_arch
from hvnas.cli import _progress
from hvnas.train.starting import default_out

RECIPE = """
schema: hvnas.recipe/1
epochs: 2
distilled: false
augmentation: basic
training:
  batch: 8
  optimizer: {lr: 1.0e-3}
  head_dropout: 0.1
"""


@pytest.fixture
def train(hvnas, tmp_path: Path):
    torch.set_num_threads(1)
    save_arch(load_arch("efficientvit_b0").shrunk(), tmp_path / "best.yaml")
    (tmp_path / "short.yaml").write_text(RECIPE, encoding="utf-8")

    def run(*more: object, source: object = tmp_path, recipe: object = tmp_path / "short.yaml"):
        options = ["--data", "shapes", "--train-size", 32, "--test-size", 16, "--recipe", recipe]
        return hvnas("train", source, *options, "--device", "cpu", *more)

    return run


def error(result) -> str:
    """The one line that a command ends in."""
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("hvnas: error: ")
    return str(line)


def test_the_network_of_a_search_is_trained_beside_it_and_evaluated(train, hvnas, tmp_path: Path) -> None:
    result = train("--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["out"] == str(tmp_path / "train")
    assert [entry["epoch"] for entry in facts["history"]] == [1, 2]
    assert "shapes (synthetic, 32 training, 16 validation and 16 test images of 16 classes" in result.stderr
    assert list((tmp_path / "train" / "events").iterdir())

    again = train("--resume", "--json")
    assert json.loads(again.stdout) == facts
    assert "holds a training already" in error(train())
    assert "epochs: the training in" in error(train("--epochs", 7, "--resume"))

    found = json.loads(hvnas("evaluate", tmp_path, "--json").stdout)
    assert found["top1"] == facts["top1"]
    assert found["images"] == 16
    lines = hvnas("evaluate", tmp_path / "train").stdout.splitlines()
    assert lines[0].endswith("on the test split of shapes at 32 px")
    assert lines[1].split() == ["top-1", f"{facts['top1']:.2f}"]


def test_a_table_of_epochs(train, tmp_path: Path) -> None:
    result = train("--out", tmp_path / "other", "--epochs", 1, "--batch", 16)
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["epoch", "loss", "validation", "top-1"] in lines
    assert ["weights", str(tmp_path / "other" / "model.safetensors")] in lines


def test_quiet_leaves_the_results(train, hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_LINES", 0.0)
    options = ("--epochs", 1, "--out", tmp_path / "run")
    quiet = train(*options, "-q")
    assert quiet.exit_code == 0
    assert quiet.stderr == "" and quiet.stdout.splitlines()[:2] == ["", "Epochs"]
    loud = train("--epochs", 1, "--out", tmp_path / "loud")
    assert "4 of 4 steps; " in loud.stderr and "epoch 1 of 1, loss " in loud.stderr
    assert "M params at 32 px" in loud.stdout

    quiet = hvnas("evaluate", tmp_path / "run", "-q")
    loud = hvnas("evaluate", tmp_path / "run")
    assert quiet.stderr == "" and "images; " in loud.stderr
    assert quiet.stdout == loud.stdout


def test_what_is_missing_or_unknown_is_one_line(train, hvnas, tmp_path: Path) -> None:
    assert "which images? Name them with --data" in error(hvnas("train", tmp_path))
    assert "which network?" in error(hvnas("train", "--data", "digits"))
    assert "has no training section" in error(train(recipe="modern300"))
    assert "add --engine ray" in error(train("--workers", 3))
    assert "--teacher none" in error(train(recipe="efficientformer"))
    assert "weights: is missing" in error(hvnas("evaluate", "efficientvit_b0", "--data", "digits"))
    assert "holds no training" in error(hvnas("evaluate", tmp_path, "--data", "digits"))
    (tmp_path / "w.pt").write_bytes(b"")
    assert "a pickle may run code" in error(
        hvnas("evaluate", "efficientvit_b0", "--data", "digits", "--weights", tmp_path / "w.pt")
    )
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "tpu"), "device: 'tpu' cannot be used here"),
        (("--batch", 0), "batch: must be a whole number >= 1"),
        (("--batch", 100_000), "images a step, but there are"),
        (("--seed", 10**20), "seed: must be a whole number <= 4294967295"),
        (("--resolution", 1_000_000), "resolution: must be a whole number <= 4096"),
        (("--epochs", 0), "epochs: must be a whole number >= 1"),
        (("--patience", 0), "patience: must be a whole number >= 1"),
        (("--save-every", -1), "'--save-every'"),
        (("--teacher-weights", "w.safetensors"), "teacher_weights: name the network that they are of"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(
    train, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    assert said in error(train(*options, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_damaged_training_is_one_line(train, hvnas, tmp_path: Path) -> None:
    assert train("--epochs", 1, "--out", tmp_path / "run").exit_code == 0
    assert "test_size: must be" in error(hvnas("evaluate", tmp_path / "run", "--test-size", 0))
    assert "device: 'tpu'" in error(hvnas("evaluate", tmp_path / "run", "--device", "tpu"))
    for text in ("{}", "[]", '{"history": [1]}'):
        (tmp_path / "run" / "metrics.json").write_text(text)
        assert "metrics.json: history: must list" in error(train("--resume", "--out", tmp_path / "run"))


def test_a_folder_is_named_by_the_network_however_long_its_name_is(tmp_path: Path) -> None:
    save_arch(replace(load_arch("efficientvit_b0").shrunk(), name="../x" * 500), tmp_path / "a.yaml")
    out = default_out(str(tmp_path / "a.yaml"), "digits")
    assert out.parent == Path("runs") and len(out.name) <= 100 and out.name.startswith("x..-x")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_signal_leaves_a_checkpoint_that_goes_on_to_the_same_curve(
    train, tmp_path: Path, number: int, code: int
) -> None:
    options = ["--data", "shapes", "--train-size", "32", "--test-size", "16", "--device", "cpu"]
    options += ["--recipe", str(tmp_path / "short.yaml"), "--epochs", "12", "--save-every", "0"]
    out = tmp_path / "run"
    command = [sys.executable, "-m", "hvnas", "train", str(tmp_path), *options, "--out", str(out)]
    child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    while not (tmp_path / "run" / "checkpoint.safetensors").exists() and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(number)
    said = child.communicate()[1].decode()
    assert child.returncode == code
    if code > 0:
        assert f"stopped; continue with hvnas train --resume --out {tmp_path / 'run'}" in said
    resumed = train("--epochs", 12, "--out", tmp_path / "run", "--resume", "--json")
    straight = train("--epochs", 12, "--out", tmp_path / "straight", "--json")
    assert json.loads(resumed.stdout)["history"] == json.loads(straight.stdout)["history"]


def flip(path: Path) -> None:
    """Change a byte of the weights: the header comes first."""
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def drop_generators(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"rng.cpu", b"rng.cpx", 1))


def spoil_history(path: Path) -> None:
    data = path.read_bytes()
    assert b"top1" in data
    path.write_bytes(data.replace(b"top1", b"topp", 1))


@pytest.mark.parametrize("damage", [flip, drop_generators, spoil_history])
def test_a_damaged_checkpoint_is_named_and_stays(train, tmp_path: Path, damage) -> None:
    assert train().exit_code == 0
    out = tmp_path / "train"
    for name in ("model.safetensors", "metrics.json"):
        (out / name).unlink()
    damage(out / "checkpoint.safetensors")
    before = (out / "checkpoint.safetensors").read_bytes()
    line = error(train("--resume"))
    assert line.startswith(f"hvnas: error: {out}/checkpoint.safetensors: damaged (")
    assert "delete it to begin the training again" in line and len(line) < 500
    assert (out / "checkpoint.safetensors").read_bytes() == before


def test_numbers_that_are_not_finite_are_refused(train, tmp_path: Path) -> None:
    assert train().exit_code == 0
    for name, field in (("metrics.json", "loss"), ("train.json", "mean")):
        path = tmp_path / "train" / name
        whole = path.read_text()
        path.write_text(re.sub(rf'("{field}":[ \n\[]*)[\d.]+', r"\1NaN", whole, count=1))
        assert path.read_text() != whole
        line = error(train("--resume"))
        assert str(path) in line and "finite" in line
        path.write_text(whole)
