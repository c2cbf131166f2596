"""Training by workers of Ray Train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hvnas.arch import load_arch, save_arch
from hvnas.train.folder import TrainFolder
from hvnas.train.request import TrainRequest, Workers
from hvnas.train.run import train_in_folder
from hvnas.train.starting import start

WORKERS = Workers(engine="ray", count=2, cpus=0.5)
RECIPE = """
schema: hvnas.recipe/1
epochs: 3
distilled: false
augmentation: basic
training:
  batch: 8
  optimizer: {lr: 1.0e-3}
  augment: {erasing: 0.5}
"""


@pytest.fixture
def asked(tmp_path: Path) -> TrainRequest:
    save_arch(load_arch("efficientvit_b0").shrunk(), tmp_path / "net.yaml")
    (tmp_path / "short.yaml").write_text(RECIPE, encoding="utf-8")
    return TrainRequest(
        source=str(tmp_path / "net.yaml"),
        data="shapes",
        train_size=32,
        test_size=16,
        recipe=str(tmp_path / "short.yaml"),
        workers=WORKERS,
    )


def test_how_many_workers_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="workers: must be a whole number >= 1, got 0"):
        Workers(engine="ray", count=0)
    with pytest.raises(ValueError, match="cpus_per_worker: must be > 0"):
        Workers(engine="ray", cpus=0)
    with pytest.raises(ValueError, match="gpus_per_worker: must be from 0 to 1024, got nan"):
        Workers(engine="ray", gpus=float("nan"))
    with pytest.raises(ValueError, match="add --engine ray"):
        Workers(address="auto")


@pytest.mark.slow
def test_two_workers_stop_and_go_on_to_the_same_curve(asked: TrainRequest, tmp_path: Path) -> None:
    pytest.importorskip("ray.train")
    pytest.importorskip("kornia")
    from hvnas.parallel import ray_cluster
    from hvnas.train.on_ray import train_with

    with ray_cluster(cpus=2):
        straight = train_with(WORKERS, train_in_folder, start(asked, tmp_path / "straight"))
        assert straight.result.finished
        assert [entry.epoch for entry in straight.result.history] == [1, 2, 3]
        folder = start(asked, tmp_path / "stopped")
        seen: list[Any] = []
        first = train_with(WORKERS, train_in_folder, folder, progress=seen.append, stop=lambda: True)
        again = train_with(WORKERS, train_in_folder, folder)
    assert again.metrics["history"] == straight.metrics["history"]
    assert first.result.finished or len(first.result.history) < 3
    assert TrainFolder(tmp_path / "stopped").finished
    # a state of two workers is not one of a single process
    (tmp_path / "stopped" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="a checkpoint of another run: workers was 2, is None"):
        train_in_folder(TrainFolder(tmp_path / "stopped"), device="cpu")


@pytest.mark.slow
def test_what_is_wrong_in_a_worker_is_said_here(asked: TrainRequest, tmp_path: Path) -> None:
    pytest.importorskip("ray.train")
    from hvnas.parallel import ray_cluster
    from hvnas.train.on_ray import train_with

    folder = start(asked, tmp_path / "run")
    (tmp_path / "run" / "arch.yaml").write_text("schema: hvnas.arch/1\n", encoding="utf-8")
    with ray_cluster(cpus=2):
        with pytest.raises(ValueError, match=r"arch\.yaml"):
            train_with(WORKERS, train_in_folder, folder)
        with pytest.raises(ValueError, match="the Ray cluster has room for 4"):
            train_with(replace(WORKERS, count=9), train_in_folder, folder)
