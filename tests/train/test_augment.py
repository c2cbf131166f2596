"""RandAugment as recipes ask for it, and dropout before the classifiers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hvnas.arch import load_arch
from hvnas.nn import build
from hvnas.train.fitting import drop_features
from hvnas.train.recipes import load_recipe, training_of
from hvnas.train.settings import Optimizer, RandAugment, Training, training_to_json

kornia = pytest.importorskip("kornia")
TIMM = RandAugment(count=2, magnitude=9, of=10, probability=0.5, mstd=0.5, inc=True)
SHAPE = torch.Size((400, 3, 32, 32))


def magnitudes(settings: RandAugment) -> dict[str, torch.Tensor]:
    """Of every operation by the name of what it varies."""
    from hvnas.train.rand_augment import Operations

    torch.manual_seed(0)
    operations = [module[0] for module in Operations(settings).children()]
    asked = Operations(settings)
    drawn = {operation._factor_name: asked._magnitudes(operation, SHAPE) for operation in operations}
    return {name: values for name, values in drawn.items() if name is not None}


def test_without_noise_it_is_kornias_own_draw_for_draw() -> None:
    from hvnas.train.rand_augment import Operations

    images = torch.rand(8, 3, 32, 32)
    for seed in range(5):
        torch.manual_seed(seed)
        ours = Operations(RandAugment(count=2, magnitude=9))(images)
        torch.manual_seed(seed)
        assert torch.equal(ours, kornia.augmentation.auto.RandAugment(n=2, m=9)(images))


def test_noise_spreads_magnitudes_and_stays_within_their_range() -> None:
    for name, values in magnitudes(RandAugment(count=2, magnitude=5, of=10, mstd=1.0)).items():
        assert len(values.unique()) > 100, name
    solarised = magnitudes(RandAugment(count=2, magnitude=5, of=10, mstd=1.0))["thresholds"]
    assert float(solarised.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(solarised.std()) == pytest.approx(0.1, abs=0.01)
    wild = magnitudes(RandAugment(count=2, magnitude=5, of=10, mstd=100.0))["thresholds"]
    assert (float(wild.min()), float(wild.max())) == (0.0, 1.0)


def test_severity_increases_with_the_magnitude_only_where_that_is_asked_for() -> None:
    plain, increasing = (
        magnitudes(RandAugment(count=1, magnitude=9, of=10, inc=inc)) for inc in (False, True)
    )
    # kornia's ranges: factors from 0.1 to 1.9, thresholds of solarising from 0 to 1
    assert plain["contrast_factor"].unique().tolist() == pytest.approx([0.1 + 0.9 * 1.8])
    assert sorted(increasing["contrast_factor"].unique().tolist()) == pytest.approx([0.19, 1.81])
    assert plain["thresholds"].unique().tolist() == pytest.approx([0.9])
    assert increasing["thresholds"].unique().tolist() == pytest.approx([0.1])
    assert torch.equal(plain["translate_x"], increasing["translate_x"])


def test_about_half_of_the_images_are_left_alone() -> None:
    from hvnas.train.rand_augment import Operations

    torch.manual_seed(0)
    images = torch.rand(*SHAPE)
    once = RandAugment(count=1, magnitude=9, of=10, probability=0.5, mstd=0.5, inc=True)
    changed = [(Operations(once)(images) != images).flatten(1).any(1).float().mean() for _ in range(6)]
    assert 0.4 < float(torch.stack(changed).mean()) < 0.6


def test_recipes_ask_for_what_their_papers_code_does() -> None:
    for name in ("efficientformer", "poolformer"):
        assert training_of(load_recipe(name)).augment.randaugment == TIMM
    mobile = training_of(load_recipe("mobileformer"))
    assert mobile.augment.randaugment == RandAugment(count=2, magnitude=9, of=10, probability=0.5, mstd=0.5)
    assert (mobile.head_dropout, training_of(load_recipe("mobilevit")).head_dropout) == (0.3, 0.1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mstd", "-1"), ("mstd", ".inf"), ("inc", "1"), ("of", "0"), ("probability", "0"), ("magnitude", "11")],
)
def test_a_wrong_value_is_named(tmp_path: Path, field: str, value: str) -> None:
    fields = {"count": "2", "magnitude": "9", "of": "10", field: value}
    asked = ", ".join(f"{name}: {given}" for name, given in fields.items())
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema: hvnas.recipe/1\nepochs: 1\ndistilled: false\naugmentation: basic\n"
        f"training: {{batch: 8, optimizer: {{lr: 0.1}}, augment: {{randaugment: {{{asked}}}}}}}\n"
    )
    with pytest.raises(ValueError, match=rf"randaugment.*{field}") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_checkpoints_from_before_the_fields_go_on() -> None:
    text = training_to_json(Training(batch=8, optimizer=Optimizer(lr=0.1)))
    assert "head_dropout" not in text
    assert "head_dropout" in training_to_json(
        Training(batch=8, optimizer=Optimizer(lr=0.1), head_dropout=0.1)
    )


@pytest.mark.parametrize("name", ["efficientformer_l1", "mobileformer_26m", "efficientvit_b0", "vit_c_1gf"])
def test_classifiers_read_what_dropout_leaves_while_they_train(name: str) -> None:
    arch = load_arch(name).shrunk().with_(classes=7, resolution=64)
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    network = build(arch).eval()
    before, keys = network(images), list(network.state_dict())
    drop_features(network, 0.5)
    assert torch.equal(network(images), before) and list(network.state_dict()) == keys
    # the classifier alone: BatchNorm and drop path stay as they are
    next(m for m in network.head.modules() if getattr(m, "out_features", None) == 7).train()
    torch.manual_seed(1)
    first, second = network(images), network(images)
    assert not torch.allclose(first, second)
