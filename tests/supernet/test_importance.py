"""Importance: gates between blocks and identity, trained with a supernet or beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hvnas.space import load_space
from hvnas.supernet import Supernet
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.importance import (
    Importance,
    attach,
    fits,
    gated,
    importance_of,
    temperature_at,
    train_importance,
    types_by_position,
)
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import resume, start, train_supernet
from hvnas.supernet.trainer import SupernetTrainer, supernet_for
from hvnas.train.data import Data, load_data
from hvnas.train.recipes import load_recipe

FILES = Path(__file__).parent


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("shapes", resolution=32, train_size=24, test_size=16)


@pytest.fixture
def small(data: Data) -> Supernet:
    return supernet_for(load_space(FILES / "small.yaml"), data)


@pytest.fixture
def images(data: Data) -> torch.Tensor:
    return torch.rand(4, 3, data.resolution, data.resolution)


def asked(**changes: object) -> SupernetRequest:
    made = SupernetRequest(
        space=str(FILES / "small.yaml"),
        data="shapes",
        resolution=32,
        train_size=24,
        test_size=16,
        recipe=str(FILES / "short.yaml"),
        scheme="single-path",
        bn_calib=16,
        importance=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def open_gates(importance: Importance, logit: float) -> None:
    """Every block so far ahead of identity."""
    with torch.no_grad():
        for parameter in importance.parameters():
            parameter[:-1] = logit


def test_every_position_has_its_types_and_identity(small: Supernet) -> None:
    importance = Importance(small.space)
    assert types_by_position(small.space)["stages.2.global.0"] == ("mb3d", "efficientvit_16")
    assert set(types_by_position(small.space)) == {
        "stages.0.local.0",
        "stages.1.local.0",
        "stages.2.local.0",
        "stages.2.global.0",
    }
    assert importance.logits("stages.2.global.0").shape == (3,)
    scores = importance.scores()
    assert scores["stages.1.local.0"]["mb4d"] == pytest.approx(torch.e**2, rel=1e-5)


@pytest.mark.parametrize("space", ["small", "hybrid-tiny"])
def test_open_gates_leave_the_member_as_it_is(space: str, net: Supernet, rng) -> None:  # type: ignore[no-untyped-def]
    chosen = net if space == "hybrid-tiny" else Supernet(load_space(FILES / "small.yaml"), classes=10).eval()
    x = torch.rand(2, 3, 64, 64)
    importance = Importance(chosen.space)
    open_gates(importance, 1e3)
    for _ in range(4):
        chosen.set(chosen.sample(rng=rng))
        with torch.no_grad():
            assert torch.allclose(
                gated(chosen, importance, x, temperature=1.0), chosen(x), rtol=1e-4, atol=1e-5
            )


def test_shut_gates_are_identity(small: Supernet, images: torch.Tensor) -> None:
    small.eval()
    row = small.encode(small.largest)
    importance = Importance(small.space)
    open_gates(importance, -1e3)
    columns = {gene.name: i for i, gene in enumerate(small.space.genes)}
    shallow = row.copy()
    shallow[columns["stages.2.local.depth"]] = 0
    with torch.no_grad():
        small.set(small.space.decode(row))
        both = gated(small, importance, images, temperature=1.0)
        small.set(small.space.decode(shallow))
        without = gated(small, importance, images, temperature=1.0)
    assert torch.allclose(both, without, rtol=1e-5, atol=1e-6)


def test_what_fits() -> None:
    x = torch.zeros(2, 8, 4, 4)
    tokens = torch.zeros(2, 16, 8)
    assert fits(x, torch.zeros(2, 8, 4, 4))
    assert fits(x, tokens)
    assert fits((x, tokens), (x, tokens))
    assert not fits(x, torch.zeros(2, 8, 2, 2))
    assert not fits(x, torch.zeros(2, 17, 8))
    assert not fits(x, (x, tokens))


def test_the_temperature_falls() -> None:
    path = [temperature_at(part) for part in (0.0, 0.5, 1.0)]
    assert path[0] > path[1] > path[2] > 0
    assert path[0] / path[1] == pytest.approx(path[1] / path[2])


class _Useful(nn.Module):
    """A block that turns the sign of its input, which identity must not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x


def test_gradients_favour_the_choice_that_lowers_the_loss(small: Supernet) -> None:
    importance = Importance(small.space)
    optimizer = torch.optim.Adam(importance.parameters(), lr=0.01)
    block, x = _Useful(), torch.ones(4)
    for position, wanted in (("stages.1.local.0", -1.0), ("stages.2.local.0", 1.0)):
        for _ in range(60):
            optimizer.zero_grad()
            gate = importance.gate(position, "mb4d", temperature=1.0)
            (torch.lerp(x, block(x), gate) - wanted).square().mean().backward()
            optimizer.step()
    scores = importance.scores()
    assert scores["stages.1.local.0"]["mb4d"] > torch.e**2 > scores["stages.2.local.0"]["mb4d"]


def test_trained_beside_a_supernet_that_stays_as_it_is(small: Supernet, data: Data) -> None:
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    torch.manual_seed(5)
    first = train_importance(small, data, steps=4, batch=8, seed=1).scores()
    drawn = torch.rand(1)
    again = train_importance(small, data, steps=4, batch=8, seed=1).scores()
    other = train_importance(small, data, steps=4, batch=8, seed=2).scores()
    assert first == again != other
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in small.parameters())
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn), "the caller's random state is the caller's"


def test_trained_with_a_supernet_and_saved_in_its_folder(tmp_path: Path) -> None:
    folder = start(asked(), tmp_path / "net")
    assert folder.config.importance
    train_supernet(folder, device="cpu")
    loaded = importance_of(SupernetFolder(folder.path).load())
    assert loaded is not None
    assert loaded.scores() != Importance(folder.space()).scores()
    with pytest.raises(ValueError, match=r"importance: the supernet in .* was begun with True, not False"):
        resume(asked(importance=False), folder.path)


def test_a_cut_training_learns_the_same_importances(tmp_path: Path) -> None:
    whole = start(asked(), tmp_path / "whole")
    train_supernet(whole, device="cpu")
    cut = start(asked(), tmp_path / "cut")
    left = [True, False, True]  # stop after the second step
    assert not train_supernet(cut, device="cpu", stop=lambda: not left.pop()).result.finished
    assert train_supernet(cut, device="cpu").result.finished
    one, other = (folder.load().state_dict() for folder in (whole, cut))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_without_it_nothing_is_gated(data: Data, images: torch.Tensor) -> None:
    net = supernet_for(load_space(FILES / "small.yaml"), data)
    recipe = load_recipe(FILES / "short.yaml")
    trainer = SupernetTrainer(net, data, recipe=recipe, device="cpu", scheme="single-path")
    assert importance_of(trainer.net) is None
    identity = trainer.identity
    attach(net)
    other = SupernetTrainer(net, data, recipe=recipe, device="cpu", scheme="single-path", importance=True)
    assert identity != other.identity, "a checkpoint of one is not taken for one of the other"
