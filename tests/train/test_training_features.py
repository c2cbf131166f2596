"""What recipes ask for: mixed batches, losses, teachers, clipping, several resolutions, early stopping."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hvnas.arch import load_arch
from hvnas.nn import build
from hvnas.train.augment import make_mixing
from hvnas.train.data import load_data
from hvnas.train.evaluation import Plan
from hvnas.train.fitting import check_sizes
from hvnas.train.optim import clip_by_weights, learning_rate, make_loss, make_optimizer
from hvnas.train.recipes import load_recipe, trainable_recipes, training_of, with_batch
from hvnas.train.settings import Distillation, Mix, MultiScale, Optimizer, Schedule, Training
from hvnas.train.trainer import Trainer, network_for

LABELS = torch.tensor([0, 1, 2, 0])


def settings(**fields: object) -> Training:
    return Training(batch=4, optimizer=Optimizer(lr=0.01), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("mix", [Mix(mixup=0.8), Mix(cutmix=1.0), Mix(mixup=0.8, cutmix=1.0)])
def test_goals_are_shares_of_the_classes_whose_pixels_are_there(mix: Mix) -> None:
    # each image is the constant of its class: what is left of it can be read off
    images = LABELS.float().view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    torch.manual_seed(0)
    mixed, goal = make_mixing(mix, classes=3, smoothing=0.0)(images, LABELS)
    assert goal.sum(1).tolist() == pytest.approx([1.0] * 4)
    classes = torch.arange(3.0)
    assert torch.allclose(mixed.mean((1, 2, 3)), goal @ classes, atol=1e-5)
    assert not torch.equal(mixed, images)


def test_mixing_smooths_and_leaves_batches_out() -> None:
    images = torch.rand(4, 3, 8, 8)
    _, goal = make_mixing(Mix(mixup=1.0), classes=3, smoothing=0.3)(images, LABELS)
    assert float(goal.min()) == pytest.approx(0.1)
    for mix in (Mix(), Mix(mixup=1.0, probability=0.0)):
        same, labels = make_mixing(mix, classes=3, smoothing=0.3)(images, LABELS)
        assert same is images
        assert labels is LABELS


def test_smoothing_counts_once_whether_goals_are_classes_or_shares() -> None:
    model = nn.Flatten()
    images = torch.randn(4, 3, 1, 1)
    shares = F.one_hot(LABELS, 3).float() * 0.7 + 0.1
    for kind in ("softmax", "sigmoid"):
        loss = make_loss(settings(loss=kind, label_smoothing=0.3))
        assert float(loss(model, images, LABELS)) == pytest.approx(float(loss(model, images, shares)))


def test_a_network_with_two_classifiers_learns_the_teachers_word_with_one() -> None:
    arch = load_arch("efficientformer_l1").shrunk().with_(classes=3, resolution=32)
    network = build(arch).eval()
    images = torch.randn(4, 3, 32, 32)
    says = torch.eye(3)[[2, 2, 1, 1]]
    loss = make_loss(settings(), teacher=lambda images: says)  # type: ignore[arg-type]
    logits, student = network.head.heads(network.forward_features(images))  # type: ignore[operator]
    by_hand = (F.cross_entropy(logits, LABELS) + F.cross_entropy(student, says.argmax(1))) / 2
    assert float(loss(network, images, LABELS).detach()) == pytest.approx(float(by_hand.detach()))


def test_a_soft_teacher_who_agrees_costs_nothing() -> None:
    images = torch.randn(4, 3, 1, 1)
    taught = settings(distillation=Distillation(kind="soft", alpha=1.0, temperature=2.0))
    agrees = make_loss(taught, teacher=nn.Flatten())
    assert float(agrees(nn.Flatten(), images, LABELS)) == pytest.approx(0.0, abs=1e-6)
    other = make_loss(taught, teacher=nn.Sequential(nn.Flatten(), nn.Softmax(1)))
    assert float(other(nn.Flatten(), images, LABELS)) > 0.01


def test_adaptive_clipping_bounds_each_output_but_the_head() -> None:
    net = nn.ModuleDict({"body": nn.Linear(3, 2), "head": nn.Linear(2, 2)})
    for weight in net.parameters():
        weight.grad = torch.full_like(weight, 5.0)
    small = net["body"].weight.grad
    assert small is not None
    small[1] = 1e-6
    clip_by_weights(net, 0.01)
    norms = net["body"].weight.detach().norm(dim=1)
    assert float(small[0].norm()) == pytest.approx(0.01 * float(norms[0]), rel=1e-4)
    assert small[1].tolist() == pytest.approx([1e-6] * 3)
    assert float(net["head"].weight.grad.min()) == 5.0  # type: ignore[union-attr]


def test_decay_of_norms_is_asked_for() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    all_decay, none = make_optimizer(net, Optimizer(lr=0.1, decay_norms=True)).param_groups
    assert (len(all_decay["params"]), len(none["params"])) == (4, 0)


def test_the_warm_up_begins_where_it_is_told_to() -> None:
    rates = [
        learning_rate(
            step,
            steps=100,
            steps_per_epoch=10,
            optimizer=Optimizer(lr=1.0),
            schedule=Schedule(warmup_epochs=1, warmup_lr=0.5),
        )
        for step in range(10)
    ]
    assert rates == pytest.approx([0.55 + 0.05 * step for step in range(10)])


def test_an_epoch_takes_sizes_in_turn_and_no_image_twice() -> None:
    scales = MultiScale(base=256, sizes=(160, 192, 256, 288, 320))
    assert scales.at(256) == (160, 192, 256, 288, 320)
    assert scales.at(32) == (32,)
    plan = Plan(count=1000, batch=32, seed=3, sizes=scales.at(256), resolution=256)
    epochs = [plan.parts(epoch) for epoch in range(2)]
    assert [len(parts) for parts in epochs] == [plan.steps] * 2
    for parts in epochs:
        counts = {part.resolution: len(part.indices) for part in parts}
        assert counts == {160: 81, 192: 56, 256: 32, 288: 32, 320: 32}
        seen = [int(index) for part in parts for index in part.indices]
        assert len(set(seen)) == len(seen) <= 1000
    orders = [[part.resolution for part in parts] for parts in epochs]
    assert sorted(orders[0]) == sorted(orders[1])  # type: ignore[type-var]
    assert orders[0] != orders[1]
    assert [p.resolution for p in plan.parts(1, first=4)] == orders[1][4:]


def test_workers_share_each_batch_and_repeats_meet_in_it() -> None:
    plan = Plan(count=50, batch=9, seed=0, workers=2)
    ours, theirs = plan.parts(0, rank=0), plan.parts(0, rank=1)
    assert [len(part.indices) for part in ours] == [4] * plan.steps
    both = {int(i) for part in (*ours, *theirs) for i in part.indices}
    assert len(both) == 8 * plan.steps
    repeated = Plan(count=50, batch=9, seed=0, repeats=3).parts(0)
    assert all(len(set(part.indices.tolist())) == 3 for part in repeated)


def test_networks_that_take_one_resolution_are_refused_several() -> None:
    one = build(load_arch("efficientformer_l1").shrunk().with_(classes=3, resolution=64))
    several = build(load_arch("mobilevit_xxs").shrunk().with_(classes=3, resolution=64))
    check_sizes(several, (32, 64, 96), device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"does not take 96 px \(.*--single-scale") as caught:
        check_sizes(one, (64, 96), device=torch.device("cpu"))
    assert "\n" not in str(caught.value)
    assert one.training


def test_training_ends_where_top1_stalls() -> None:
    recipe = load_recipe("tiny")
    recipe = replace(recipe, training=replace(training_of(recipe), patience=2))
    data = load_data("shapes", train_size=32, test_size=16)
    trainer = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(3072, 16)), data, recipe=recipe, device="cpu")
    trainer.evaluate = lambda split: 50.0  # type: ignore[method-assign]
    result = trainer.run()
    assert result.finished
    assert len(result.history) == 3


def test_a_larger_batch_takes_the_rate_along() -> None:
    tiny = load_recipe("tiny")
    before, after = training_of(tiny), training_of(with_batch(tiny, 256))
    assert after.batch == 256
    assert after.optimizer.lr == pytest.approx(before.optimizer.lr * 256 / before.batch)


@pytest.mark.parametrize("name", trainable_recipes())
def test_every_shipped_recipe_trains(name: str) -> None:
    pytest.importorskip("kornia")
    recipe = with_batch(load_recipe(name), 8)
    data = load_data("shapes", train_size=16, test_size=8, resolution=64)
    network = network_for(load_arch("mobilevit_xxs").shrunk(), data, recipe=recipe)
    teacher = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 16))
    taught = training_of(recipe).distillation is not None
    assert recipe.distilled == taught
    trainer = Trainer(
        network, data, recipe=recipe, epochs=1, device="cpu", teacher=teacher if taught else None
    )
    result = trainer.run()
    assert result.history[0].loss > 0


def test_recipes_that_distil_say_whose_teacher_the_paper_had() -> None:
    taught = training_of(load_recipe("efficientformer")).distillation
    assert taught == Distillation(kind="hard", alpha=0.5, teacher="regnety_160")
