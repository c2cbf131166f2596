"""The training loop: it learns, repeats, resumes to the bit, and stops with a clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hvnas.arch import load_arch
from hvnas.nn.weights import save_weights
from hvnas.train.augment import make_augmentation
from hvnas.train.data import ArraySplit, Data, load_data
from hvnas.train.fitting import fit_arch, least_resolution
from hvnas.train.optim import MovingAverage, learning_rate, make_optimizer
from hvnas.train.recipes import Recipe, load_recipe, training_of
from hvnas.train.settings import Augment, Optimizer, RandAugment, Schedule, Training
from hvnas.train.state import KEY
from hvnas.train.trainer import DivergedError, Progress, Trainer, network_for

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(count: int = 40, *, resolution: int = 8, classes: int = 2) -> Data:
    """Noise whose class is its brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.integers(0, 100, (count, 3, resolution, resolution)) + 100 * labels[:, None, None, None]
    split = ArraySplit(pixels.astype(np.uint8), labels)
    return Data(
        name="noise",
        key=f"noise:{count}",
        train=split,
        val=split,
        test=split,
        class_names=tuple(map(str, range(classes))),
        resolution=resolution,
        mirrors=False,
    )


def small_net(classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


def recipe(*, epochs: float = 4, **fields: Any) -> Recipe:
    settings: dict[str, Any] = {"batch": 8, "optimizer": Optimizer(lr=0.01)} | fields
    return Recipe("mine", epochs, False, "basic", "", Training(**settings))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in trainer.evaluated.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_tiny_net_learns_digits_in_seconds() -> None:
    pytest.importorskip("sklearn")
    data = load_data("digits", resolution=16)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    settings = recipe(epochs=4, batch=64, optimizer=Optimizer(lr=3e-3), label_smoothing=0.1)
    trainer = Trainer(net, data, recipe=settings, device="cpu")
    result = trainer.run()
    assert result.finished
    assert trainer.test() > 90.0
    assert result.history[-1].loss < result.history[0].loss


def test_a_network_of_the_library_trains_by_the_shipped_recipe() -> None:
    pytest.importorskip("kornia")
    data = load_data("shapes", train_size=64, test_size=32)
    tiny = load_recipe("tiny")
    net = network_for(load_arch("efficientvit_b0").shrunk(), data, recipe=tiny)
    assert (net.arch.head.out, net.arch.resolution) == (16, 32)
    seen: list[Progress] = []
    result = Trainer(net, data, recipe=tiny, epochs=2, device="cpu", progress=seen.append).run()
    assert [entry.epoch for entry in result.history] == [1, 2]
    assert [(p.epoch, p.step, p.top1 is None) for p in seen] == [
        (e, 1, v) for e in (1, 2) for v in (True, False)
    ]
    assert seen[-1].top1 == result.history[-1].top1


EMA_AND_ALL = {
    "clip": 1.0,
    "ema": 0.9,
    "label_smoothing": 0.1,
    "schedule": Schedule(warmup_epochs=1.0, min_lr=1e-4),
}


@pytest.mark.parametrize("optimizer", [Optimizer(lr=0.01), Optimizer(name="sgd", lr=0.05)])
def test_a_run_repeats_and_leaves_the_callers_random_state(optimizer: Optimizer) -> None:
    results = []
    for _ in range(2):
        trainer = Trainer(
            small_net(), noise(), recipe=recipe(optimizer=optimizer, **EMA_AND_ALL), seed=3, device="cpu"
        )
        before = torch.get_rng_state()
        trainer.run()
        assert torch.equal(torch.get_rng_state(), before)
        results.append(weights(trainer))
    assert same(*results)
    other = Trainer(
        small_net(), noise(), recipe=recipe(optimizer=optimizer, **EMA_AND_ALL), seed=4, device="cpu"
    )
    other.run()
    assert not same(weights(other), results[0])


def stopping_after(steps: int) -> Callable[[], bool]:
    left = [steps]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    return stop


@pytest.mark.parametrize("optimizer", [Optimizer(lr=0.01), Optimizer(name="sgd", lr=0.05)])
@pytest.mark.parametrize("steps", [3, 5, 11])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, steps: int, optimizer: Optimizer) -> None:
    settings = recipe(optimizer=optimizer, **EMA_AND_ALL)
    straight = Trainer(small_net(), noise(), recipe=settings, device="cpu")
    whole = straight.run()
    file = tmp_path / "run.safetensors"
    first = Trainer(
        small_net(), noise(), recipe=settings, device="cpu", checkpoint=file, stop=stopping_after(steps)
    )
    assert not first.run().finished
    torch.manual_seed(99)
    second = Trainer(small_net(), noise(), recipe=settings, device="cpu", checkpoint=file)
    assert second.run() == whole
    assert same(weights(second), weights(straight))
    assert same(second.model.state_dict(), straight.model.state_dict())


def test_augmentation_resumes_to_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("kornia")
    policy = RandAugment(count=2, magnitude=9, of=10, probability=0.5, mstd=0.5, inc=True)
    augment = Augment(crop=0.5, flip=0.5, randaugment=policy, erasing=0.5)
    settings = recipe(epochs=2, augment=augment)
    data = replace(noise(), mirrors=True)
    straight = Trainer(small_net(), data, recipe=settings, device="cpu")
    straight.run()
    file = tmp_path / "run.safetensors"
    Trainer(small_net(), data, recipe=settings, device="cpu", checkpoint=file, stop=stopping_after(3)).run()
    second = Trainer(small_net(), data, recipe=settings, device="cpu", checkpoint=file)
    second.run()
    assert same(weights(second), weights(straight))


CHILD = """
import sys, time, torch
from tests_loop import noise, recipe, small_net, Trainer, EMA_AND_ALL
torch.set_num_threads(1)
slow = lambda progress: time.sleep(0.02)
Trainer(small_net(), noise(), recipe=recipe(epochs=30, **EMA_AND_ALL), device="cpu", checkpoint=sys.argv[1],
        save_every=0.0, progress=slow).run()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    (tmp_path / "tests_loop.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(file)], env={**os.environ, "PYTHONPATH": path})
    while not file.exists() and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "killed while it ran"
    settings = recipe(epochs=30, **EMA_AND_ALL)
    resumed = Trainer(small_net(), noise(), recipe=settings, device="cpu", checkpoint=file)
    assert not resumed.result.finished
    straight = Trainer(small_net(), noise(), recipe=settings, device="cpu")
    assert resumed.run() == straight.run()
    assert same(weights(resumed), weights(straight))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    Trainer(small_net(), noise(), recipe=recipe(), device="cpu", checkpoint=file).run()
    for change, named in (
        ({"seed": 1}, "seed was 0, is 1"),
        ({"epochs": 9}, "epochs was 4, is 9"),
        ({"recipe": recipe(batch=4)}, "training was"),
        ({"data": noise(48)}, "data was noise:40, is noise:48"),
        ({"model": small_net(3)}, "network was"),
    ):
        options: dict[str, Any] = {"model": small_net(), "data": noise(), "recipe": recipe()} | change
        with pytest.raises(ValueError, match=named) as caught:
            Trainer(**options, device="cpu", checkpoint=file)
        assert "\n" not in str(caught.value)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a checkpoint"):
        Trainer(small_net(), noise(), recipe=recipe(), device="cpu", checkpoint=cut)
    facts = json.dumps({"schema": "x" * 20_000, "identity": {}})
    save_weights({}, cut, metadata={KEY: facts})
    with pytest.raises(ValueError, match="not a checkpoint") as caught:
        Trainer(small_net(), noise(), recipe=recipe(), device="cpu", checkpoint=cut)
    assert len(str(caught.value)) < 500


def test_a_loss_that_is_no_number_stops_with_a_line() -> None:
    net = small_net()
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(
        DivergedError, match=r"the loss is nan in epoch 1, step 1, .*; lower training"
    ) as caught:
        Trainer(net, noise(), recipe=recipe(), device="cpu").run()
    assert "\n" not in str(caught.value)


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    trainer = Trainer(small_net(), noise(6), recipe=recipe(batch=64), device="cpu")
    assert (len(trainer.plan.parts(0)[0].indices), trainer.steps) == (6, 1)
    assert trainer.run().finished


def test_the_learning_rate_warms_up_and_falls_to_its_end() -> None:
    def rate(step: int) -> float:
        return learning_rate(
            step,
            steps=100,
            steps_per_epoch=10,
            optimizer=Optimizer(lr=1.0),
            schedule=Schedule(warmup_epochs=2, min_lr=0.1),
        )

    assert [rate(0), rate(9), rate(19), rate(20)] == pytest.approx([0.05, 0.5, 1.0, 1.0])
    assert rate(99) == pytest.approx(0.1)
    assert all(rate(step) >= rate(step + 1) for step in range(20, 99))
    assert rate(20 + 39) == pytest.approx(0.56, abs=0.02), "half a cosine: the mean in the middle"


def test_norms_and_biases_do_not_decay() -> None:
    decaying, kept = make_optimizer(small_net(), Optimizer(lr=0.1, weight_decay=0.3)).param_groups
    assert (decaying["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    assert (len(decaying["params"]), len(kept["params"])) == (2, 4)


def test_the_moving_average_is_the_formulas() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = MovingAverage(net, 0.9)
    expected = net.weight.item()
    for step in range(200):
        with torch.no_grad():
            net.weight.fill_(float(step))
        average.update(net, step=step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.model.weight) == pytest.approx(expected, rel=1e-5)


def test_mirror_images_are_made_only_where_classes_survive() -> None:
    pytest.importorskip("kornia")
    images = torch.rand(4, 3, 8, 8)
    keep = make_augmentation(Augment(flip=1.0), resolution=8, mirrors=False)
    turn = make_augmentation(Augment(flip=1.0), resolution=8, mirrors=True)
    assert torch.equal(keep(images), images)
    assert torch.allclose(turn(images), images.flip(3))


def test_a_network_too_deep_for_its_resolution_is_refused() -> None:
    data = load_data("shapes", train_size=16, test_size=16)
    arch = load_arch("efficientformer_l1")
    assert fit_arch(arch, data).resolution == 32
    tiny = replace(data, resolution=8)
    with pytest.raises(
        ValueError, match=r"efficientformer_l1: at 8 px stages\.\d\.\w+ would halve"
    ) as caught:
        fit_arch(arch, tiny)
    assert "use a resolution of 32" in str(caught.value)
    assert least_resolution(arch, tiny) == 32


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch: 8\n  optimizer: {lr: 0}", r"training.optimizer: lr must be a number > 0, got 0"),
        ("batch: 8\n  optimizer: {lr: fast}", r"training.optimizer.lr: .*got 'fast'"),
        ("batch: 8\n  optimizer: {lr: .nan}", r"training.optimizer"),
        ("batch: 8\n  optimizer: {lr: 0.1, nesterov: true}", r"training.optimizer.nesterov: unknown field"),
        ("batch: 8\n  optimizer: {lr: 0.1, name: lion}", r"training.optimizer.name: .*'lion'"),
        ("batch: 8.5\n  optimizer: {lr: 0.1}", r"training.batch: .*8.5"),
        ("batch: true\n  optimizer: {lr: 0.1}", r"training.batch: "),
        ("optimizer: {lr: 0.1}", r"training.batch: "),
        ("batch: 8\n  optimizer: {lr: 0.1}\n  ema: 1", r"training: ema must be a number from 0 to below 1"),
        ("batch: 8\n  optimizer: {lr: 0.1}\n  augment: {shift: 0.1, crop: 0.5}", r"training.augment: crop"),
    ],
)
def test_a_bad_training_section_names_file_and_field(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    head = "schema: hvnas.recipe/1\nepochs: 3\ndistilled: false\naugmentation: basic\n"
    path.write_text(f"{head}training:\n  {line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_for_estimates_alone_does_not_train() -> None:
    with pytest.raises(ValueError, match=r"recipe 'modern300': has no training section.*use .*tiny"):
        training_of(load_recipe("modern300"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_mixed_precision_learns_and_resumes(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    Trainer(small_net(), noise(), recipe=recipe(), checkpoint=file, stop=stopping_after(7)).run()
    trainer = Trainer(small_net(), noise(), recipe=recipe(), checkpoint=file)
    assert trainer.half is not None
    trainer.run()
    assert trainer.test() == 100.0
