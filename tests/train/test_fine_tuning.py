"""Networks that begin with trained weights: what is frozen, what opens when, how fast each block learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hvnas.arch import load_arch, save_arch
from hvnas.nn import Network, build
from hvnas.nn.weights import read_safetensors, save_weights
from hvnas.train.optim import block_of, make_optimizer, open_stages, set_learning_rate
from hvnas.train.request import TrainRequest
from hvnas.train.run import train_in_folder
from hvnas.train.settings import FineTuning, Optimizer
from hvnas.train.starting import resume, start

RECIPE = """
schema: hvnas.recipe/1
epochs: 3
distilled: false
augmentation: basic
training:
  batch: 8
  optimizer: {lr: 1.0e-2}
"""


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build(load_arch("efficientvit_b0").shrunk().with_(classes=16, resolution=32))


@pytest.fixture
def place(tmp_path: Path, network: Network) -> Path:
    """A network's file, its weights for 16 classes, and a recipe."""
    torch.set_num_threads(1)
    save_arch(network.arch, tmp_path / "net.yaml")
    save_weights(network.state_dict(), tmp_path / "init.safetensors")
    (tmp_path / "short.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def asked(place: Path, **more: Any) -> TrainRequest:
    fields: dict[str, Any] = {
        "source": str(place / "net.yaml"),
        "data": "shapes",
        "train_size": 16,
        "test_size": 16,
        "recipe": str(place / "short.yaml"),
        "weights": str(place / "init.safetensors"),
    }
    return TrainRequest(**(fields | more))


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The blocks of which any weight or statistic changed."""
    return {block_of(key) for key in before if not torch.equal(before[key], after[key])}


def test_a_frozen_body_stays_to_the_bit(place: Path) -> None:
    train_in_folder(start(asked(place, freeze=3), place / "run"), device="cpu")
    before, after = (
        read_safetensors(p) for p in (place / "init.safetensors", place / "run" / "last.safetensors")
    )
    assert moved(before, after) == {"head"}


def test_stages_open_from_the_last_on(network: Network) -> None:
    tuned, stages = FineTuning(freeze=1, unfreeze=2), len(network.stages)
    opened = [tuned.open_stages(epoch, stages) for epoch in range(8)]
    assert opened == [min(stages, n) for n in (0, 1, 1, 2, 2, 3, 3, 4)]
    assert FineTuning(freeze=1).open_stages(1, stages) == stages
    for count in range(stages + 1):
        open_stages(network, count)
        learning = {name for name, p in network.named_parameters() if p.requires_grad}
        parts = {
            ".".join(name.split(".")[:2]) if name[:6] == "stages" else name.split(".")[0] for name in learning
        }
        expected = {f"stages.{stages - 1 - i}" for i in range(count)} | {"head"}
        assert parts == expected | ({"stem"} if count == stages else set())
        assert network.head.training and network.stem.training == (count == stages)


def test_a_gradual_training_goes_on_as_if_never_stopped(place: Path) -> None:
    options = {"freeze": 1, "unfreeze": 1, "layer_decay": 0.5}
    train_in_folder(start(asked(place, **options), place / "whole"), device="cpu")
    folder = start(asked(place, **options), place / "cut")
    left = [3]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    assert not train_in_folder(folder, device="cpu", stop=stop).result.finished
    with pytest.raises(ValueError, match=r"freeze: the training in .* was begun with 1, not 2"):
        resume(asked(place, freeze=2), place / "cut")
    train_in_folder(resume(asked(place, **options), place / "cut"), device="cpu")
    whole, cut = (read_safetensors(place / name / "last.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    first = read_safetensors(place / "init.safetensors")
    stages = len(load_arch(place / "net.yaml").stages)
    assert {name for name in moved(first, whole) if name.startswith("stages")} <= {
        block_of(key) for key in first if key.startswith((f"stages.{stages - 1}", f"stages.{stages - 2}"))
    }


def test_each_block_learns_at_its_share(network: Network) -> None:
    optimizer = make_optimizer(network, Optimizer(lr=0.1), layer_decay=0.5)
    set_learning_rate(optimizer, 0.1)
    names = {id(p): name for name, p in network.named_parameters()}
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert rates.setdefault(block_of(names[id(parameter)]), group["lr"]) == group["lr"]
    order = [name for name in dict.fromkeys(map(block_of, names.values())) if name not in ("stem", "head")]
    in_order = ["stem", *order, "head"]
    assert [rates[name] for name in reversed(in_order)] == pytest.approx(
        [0.1 * 0.5**i for i in range(len(in_order))]
    )
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    assert len(make_optimizer(network, Optimizer(lr=0.1)).param_groups) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"freeze": 1, "weights": None}, "freeze: the network begins with random weights"),
        ({"unfreeze": 2, "weights": None}, "unfreeze: the network begins with random weights"),
        ({"layer_decay": 0.0}, "layer_decay must be a number above 0 up to 1"),
        ({"unfreeze": -1}, "unfreeze must be a whole number >= 0"),
    ],
)
def test_what_makes_no_sense_is_refused(place: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        start(asked(place, **options), place / "run")
    assert not (place / "run").exists()


def test_a_recipe_may_say_it(place: Path) -> None:
    text = RECIPE + "  fine_tuning: {freeze: 1, unfreeze: 2, layer_decay: 0.8}\n"
    (place / "short.yaml").write_text(text, encoding="utf-8")
    training = start(asked(place, unfreeze=3), place / "run").config.load_recipe().training
    assert training is not None
    assert training.fine_tuning == FineTuning(freeze=1, unfreeze=3, layer_decay=0.8)
