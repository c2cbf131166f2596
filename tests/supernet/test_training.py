"""Training a supernet: what a step adds up, what is kept, and what it goes on from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn import functional as F

from hvnas.nn.weights import read_safetensors
from hvnas.space import load_space
from hvnas.supernet import Supernet, recalibrate
from hvnas.supernet.checkpoint import STATE, SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import recipe_of, resume, start, train_supernet
from hvnas.supernet.schemes import list_schemes
from hvnas.supernet.scoring import calibration_batches, member_scores
from hvnas.supernet.trainer import SupernetTrainer, supernet_for
from hvnas.train.data import Data, load_data
from hvnas.train.evaluation import to_tensors, top1_of
from hvnas.train.recipes import load_recipe, training_of
from hvnas.train.trainer import DivergedError, Progress

Weights = dict[str, torch.Tensor]


MakeRequest = Callable[..., SupernetRequest]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("shapes", train_size=24, test_size=16)


@pytest.fixture
def asked(tiny_files: Path) -> MakeRequest:
    """What is asked of a training of 2 epochs of 3 steps."""

    def make(**changes: Any) -> SupernetRequest:
        own: dict[str, Any] = {
            "space": str(tiny_files / "small.yaml"),
            "data": "shapes",
            "train_size": 24,
        }
        own |= {"test_size": 16, "recipe": str(tiny_files / "short.yaml"), "bn_calib": 16}
        return SupernetRequest(**own | changes)

    return make


@pytest.fixture
def make_trainer(tiny_files: Path, data: Data) -> Callable[..., SupernetTrainer]:
    def make(**options: Any) -> SupernetTrainer:
        net = supernet_for(load_space(tiny_files / "small.yaml"), data)
        recipe = load_recipe(tiny_files / "short.yaml")
        return SupernetTrainer(net, data, recipe=recipe, device="cpu", bn_calib=16, **options)

    return make


def images_of(data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    import numpy as np

    return to_tensors(data.train.batch(np.arange(8)), data, device=torch.device("cpu"))


def grads(net: Supernet) -> Weights:
    return {key: p.grad.clone() for key, p in net.named_parameters() if p.grad is not None}


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("scheme", list_schemes())
def test_every_scheme_trains(make_trainer: Callable[..., SupernetTrainer], scheme: str) -> None:
    trainer = make_trainer(scheme=scheme, epochs=1)
    before = {key: tensor.clone() for key, tensor in trainer.net.named_parameters()}
    result = trainer.run()
    assert result.finished
    assert 0.0 <= result.history[-1].top1 <= 100.0
    assert 1.0 < result.history[0].loss < 10.0
    changed = [key for key, tensor in trainer.net.named_parameters() if not torch.equal(tensor, before[key])]
    assert len(changed) > len(before) / 4
    assert all(tensor.isfinite().all() for tensor in trainer.net.parameters())


def test_a_step_adds_up_the_losses_of_its_members(
    make_trainer: Callable[..., SupernetTrainer], data: Data
) -> None:
    trainer = make_trainer(scheme="sandwich")
    images, labels = images_of(data)
    net = trainer.net.train()
    draw = trainer.scheme.draw(0, steps=6)
    torch.manual_seed(0)  # of the largest one's dropped paths
    value = trainer.backward(images, labels)
    got = grads(net)

    net.zero_grad()
    torch.manual_seed(0)
    net.set(draw.members[0], drop_path=0.1)
    output = net(images)
    total = F.cross_entropy(output, labels, label_smoothing=0.1)
    assert value == pytest.approx(total.item())
    for arch in draw.members[1:]:
        net.set(arch)
        total = total - (output.detach().softmax(1) * net(images).log_softmax(1)).sum(1).mean()
    total.backward()
    wanted = grads(net)
    assert got.keys() == wanted.keys()
    for key, gradient in got.items():
        assert torch.allclose(gradient, wanted[key], rtol=1e-3, atol=1e-5), key


def test_the_conflict_aware_step_goes_against_no_smaller_member(
    make_trainer: Callable[..., SupernetTrainer], data: Data
) -> None:
    plain, aware = make_trainer(scheme="sandwich"), make_trainer(scheme="conflict-aware")
    images, labels = images_of(data)
    for trainer in (plain, aware):
        torch.manual_seed(0)
        trainer.net.train()
        trainer.backward(images, labels)
    summed, projected = grads(plain.net), grads(aware.net)
    assert summed.keys() == projected.keys()
    other = [key for key in summed if not torch.allclose(summed[key], projected[key], rtol=1e-4, atol=1e-7)]
    assert 0 < len(other) < len(summed), "some tensors are in conflict, others are not"


def test_scores_leave_the_shared_statistics_alone(
    make_trainer: Callable[..., SupernetTrainer], data: Data
) -> None:
    trainer = make_trainer(epochs=1)
    trainer.run()
    net = trainer.net
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with_, without = (member_scores(net, net.largest, data, bn_calib=count).top1 for count in (16, 0))
    assert same(state, dict(net.state_dict()))

    alone = net.extract(net.largest)
    device = torch.device("cpu")
    assert without == top1_of(alone, data.val, data, device=device)
    recalibrate(alone, calibration_batches(data, 16, device=device))
    assert with_ == top1_of(alone, data.val, data, device=device)


def stopping_after(steps: int) -> Callable[[], bool]:
    left = [steps]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    return stop


@pytest.mark.parametrize(("scheme", "steps"), [("sandwich", 2), ("fair", 4)])
def test_a_stopped_run_goes_on_to_the_same_bits(
    make_trainer: Callable[..., SupernetTrainer], tmp_path: Path, scheme: str, steps: int
) -> None:
    straight = make_trainer(scheme=scheme)
    whole = straight.run()
    file = tmp_path / "state.safetensors"
    first = make_trainer(scheme=scheme, checkpoint=file, stop=stopping_after(steps))
    assert not first.run().finished
    torch.manual_seed(99)
    second = make_trainer(scheme=scheme, checkpoint=file)
    assert second.run() == whole
    assert same(second.net.state_dict(), straight.net.state_dict())
    assert same(second.evaluated.state_dict(), straight.evaluated.state_dict())


CHILD = """
import sys, time, torch
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.run import train_supernet
torch.set_num_threads(1)
train_supernet(SupernetFolder(sys.argv[1]), device="cpu", save_every=0.0, progress=lambda _: time.sleep(0.05))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_goes_on_to_the_same_bits(asked: MakeRequest, tmp_path: Path) -> None:
    folder = start(asked(epochs=3), tmp_path / "killed")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder.path)])
    while not folder.state.exists() and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "killed while it ran"

    seen: list[Progress] = []
    resumed = train_supernet(resume(SupernetRequest(), folder.path), device="cpu", progress=seen.append)
    assert (seen[0].epoch, seen[0].step) > (1, 1), "it went on"
    straight = start(asked(epochs=3), tmp_path / "straight")
    assert resumed == train_supernet(straight, device="cpu")
    # weights, their average, the optimiser's moments and the generators' states
    assert same(read_safetensors(folder.state), read_safetensors(straight.state))


def test_a_loss_that_is_no_number_names_the_member_and_keeps_the_state(
    asked: MakeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = start(asked(), tmp_path / "run")
    real = SupernetTrainer.backward
    good: list[bytes] = []

    def poisoned(self: SupernetTrainer, images: torch.Tensor, labels: torch.Tensor) -> float:
        if self.steps_done == 4:
            good.append(folder.state.read_bytes())
            with torch.no_grad():
                next(self.net.parameters()).fill_(float("nan"))
        return real(self, images, labels)

    monkeypatch.setattr(SupernetTrainer, "backward", poisoned)
    with pytest.raises(DivergedError, match=r"the loss is nan in epoch 2, step 2") as caught:
        train_supernet(folder, device="cpu", save_every=0.0)
    line = str(caught.value)
    assert "\n" not in line
    assert "stages.0.local.type=" in line
    assert f"{folder.state} keeps the last state" in line
    assert folder.state.read_bytes() == good[0]
    assert all(tensor.isfinite().all() for tensor in folder.load().state_dict().values())


def test_a_folder_serves_one_training_at_a_time(asked: MakeRequest, tmp_path: Path) -> None:
    folder = start(asked(epochs=1), tmp_path / "run")
    with folder.locked(), pytest.raises(ValueError, match="another process is at work") as caught:
        train_supernet(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert not folder.state.exists()
    assert train_supernet(folder, device="cpu").result.finished, "the lock is free again"


def test_a_gradient_that_is_no_number_stops_before_the_weights_do(
    make_trainer: Callable[..., SupernetTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(scheme="single-path")
    real = SupernetTrainer.add_gradients

    def poisoned(self: SupernetTrainer, loss: torch.Tensor) -> float:
        value = real(self, loss)
        next(p.grad for p in self.net.parameters() if p.grad is not None).fill_(float("inf"))
        return value

    monkeypatch.setattr(SupernetTrainer, "add_gradients", poisoned)
    with pytest.raises(
        DivergedError, match=r"norm of the gradient is \w+ in epoch 1, step 1.*stages.0.width="
    ):
        trainer.run()
    assert all(tensor.isfinite().all() for tensor in trainer.net.parameters())


def test_a_supernet_of_another_space_is_refused(asked: MakeRequest, tmp_path: Path, tiny_files: Path) -> None:
    space = yaml.safe_load((tiny_files / "small.yaml").read_text(encoding="utf-8"))
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(space), encoding="utf-8")
    folder = start(asked(space=str(mine)), tmp_path / "run")
    train_supernet(folder, device="cpu", stop=stopping_after(1))

    space["stages"][0]["width"] = [24]
    mine.write_text(yaml.safe_dump(space), encoding="utf-8")
    difference = r"of another space: stages.0.width was \[24, 32\], is \[24\]; use the space"
    for use in (
        lambda: resume(SupernetRequest(space=str(mine)), folder.path),
        lambda: train_supernet(SupernetFolder(folder.path), device="cpu"),
        lambda: SupernetFolder(folder.path).load(),
    ):
        with pytest.raises(ValueError, match=difference):
            use()

    space["stages"][0]["width"] = [24, 32]
    space["limits"] = {"macs": 1e9}
    mine.write_text(yaml.safe_dump(space), encoding="utf-8")
    with pytest.raises(ValueError, match="blocks, rules or limits are not"):
        SupernetFolder(folder.path).load()


def test_a_state_of_another_run_is_refused(
    asked: MakeRequest, tmp_path: Path, make_trainer: Callable[..., SupernetTrainer]
) -> None:
    file = tmp_path / "state.safetensors"
    make_trainer(scheme="single-path", checkpoint=file, stop=stopping_after(1)).run()
    with pytest.raises(ValueError, match="scheme was single-path, is single-path with 2 paths"):
        make_trainer(scheme="single-path", paths=2, checkpoint=file)
    folder = start(asked(), tmp_path / "run")
    with pytest.raises(ValueError, match=r"epochs: the supernet in .* was begun with 2, not 9"):
        resume(asked(epochs=9), folder.path)
    assert resume(asked(), folder.path).config == folder.config
    with pytest.raises(ValueError, match="holds a supernet already"):
        start(asked(), folder.path)
    with pytest.raises(ValueError, match=f"nothing is trained yet .{STATE} is missing"):
        folder.load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": None}, "space: is missing"),
        ({"data": None}, "data: is missing"),
        ({"scheme": "random"}, "unknown scheme 'random'"),
        ({"bn_calib": 1}, "bn_calib: must be 0 or >= 2, got 1"),
        ({"epochs": 0}, "epochs: must be a whole number >= 1, got 0"),
        ({"paths": 0}, "paths: must be a whole number >= 1, got 0"),
        ({"seed": -1}, "seed: must be a whole number >= 0, got -1"),
        ({"batch": 0}, "batch: must be a whole number >= 1, got 0"),
        ({"recipe": "modern300"}, "has no training section"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    asked: MakeRequest, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        start(asked(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_tampered_with_names_the_field(asked: MakeRequest, tmp_path: Path) -> None:
    folder = start(asked(batch=4), tmp_path / "run")
    assert training_of(recipe_of(folder.config)).batch == 4
    path = folder.path / "supernet.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    for changes, message in (
        ({"epochs": "many"}, "epochs: "),
        ({"epochs": -1}, "supernet.json: epochs: "),
        ({"seed": 10**30}, "supernet.json: seed: "),
        ({"schema": "x"}, "schema: must be"),
    ):
        path.write_text(json.dumps(facts | changes), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            _ = SupernetFolder(folder.path).config
    with pytest.raises(ValueError, match="holds no supernet"):
        _ = SupernetFolder(tmp_path).config


def test_settings_without_a_say_are_named(asked: MakeRequest, tiny_files: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((tiny_files / "short.yaml").read_text())
    recipe["epochs"] = 1
    recipe["training"] |= {"head_dropout": 0.3, "loss": "sigmoid"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe))
    said: list[str] = []
    for name in (str(tmp_path / "own.yaml"), str(tiny_files / "short.yaml")):
        folder = start(asked(recipe=name, epochs=1), tmp_path / Path(name).stem)
        train_supernet(folder, report=said.append)
    heard = [line for line in said if line.startswith("recipe")]
    assert len(heard) == 1 and heard[0].endswith("train without its loss, head_dropout")
