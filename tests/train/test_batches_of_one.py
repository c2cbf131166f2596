"""A step of one image: trained where BatchNorm has more than one value, else refused before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvnas.arch import Arch, load_arch, save_arch
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import start as start_supernet
from hvnas.train.data import load_data
from hvnas.train.fitting import check_batch
from hvnas.train.recipes import load_recipe, with_batch
from hvnas.train.request import TrainRequest
from hvnas.train.starting import start
from hvnas.train.trainer import Trainer, network_for

SMALL = Path(__file__).parents[1] / "supernet" / "small.yaml"


@pytest.fixture(scope="module")
def arch() -> Arch:
    """A network that ends with a map of 1 x 1 at 32 px."""
    return load_arch("efficientformer_l1").shrunk()


def _digits(**options: int):
    return load_data("digits", **{"train_size": 20, "test_size": 10, **options})


def test_batch_norm_on_one_value_is_refused_before_anything_is_written(arch: Arch, tmp_path: Path) -> None:
    save_arch(arch, tmp_path / "net.yaml")
    request = TrainRequest(
        source=str(tmp_path / "net.yaml"), data="digits", train_size=20, test_size=10, batch=1
    )
    with pytest.raises(
        ValueError, match=r"^batch: one image a step, but \S+ has BatchNorm on a map of 1 x 1"
    ):
        start(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_trainer_refuses_it_too_and_trains_where_it_can(arch: Arch) -> None:
    recipe = with_batch(load_recipe("tiny"), 1)
    data = _digits()
    with pytest.raises(ValueError, match=r"give a batch of 2 or more, or a larger resolution$"):
        Trainer(network_for(arch, data, recipe=recipe), data, recipe=recipe, device="cpu")
    larger = _digits(resolution=64, train_size=10)
    trainer = Trainer(network_for(arch, larger, recipe=recipe), larger, recipe=recipe, epochs=1, device="cpu")
    assert trainer.run().finished
    assert trainer.steps_done == len(larger.train)


def test_what_is_missing_is_named(arch: Arch) -> None:
    data = _digits()
    fitted = arch.with_(classes=10, resolution=32)
    check_batch(2, data, workers=1, archs=[fitted])
    with pytest.raises(
        ValueError, match=r"^batch: one image a step and worker, .*; give a batch of 8 or more"
    ):
        check_batch(4, data, workers=4, archs=[fitted])
    with pytest.raises(ValueError, match=rf"; train on {2 * len(data.train)} images or more, or a larger"):
        check_batch(8, data, workers=len(data.train), archs=[fitted])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"batch": 1, "resolution": 16},
            r"^batch: one image a step, but \S+ has BatchNorm on a map of 1 x 1",
        ),
        ({"batch": 0}, r"^batch: must be a whole number >= 1, got 0"),
        ({"batch": 100_000}, r"^batch: 100000 images a step, but there are \d+ to train on"),
        ({"seed": 10**20}, r"^seed: must be a whole number <= 4294967295"),
        ({"resolution": 10**6}, r"^resolution: must be a whole number <= 4096"),
    ],
)
def test_a_supernet_is_not_begun(options: dict[str, int], said: str, tmp_path: Path) -> None:
    asked = SupernetRequest(space=str(SMALL), data="digits", **{"train_size": 20, "test_size": 10, **options})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=said):
        start_supernet(asked, tmp_path / "net")
    assert not (tmp_path / "net").exists()
