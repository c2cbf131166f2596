"""What a step of training minimises and how: the loss, optimisers, learning rates, the average of weights.

What a training step minimises: the loss on classes, and on a teacher's word where there is one.

Shapes: B batch, C classes, R resolution. A goal is classes ``[B]`` or shares of them ``[B, C]``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.nn import Network
from hvnas.nn.head import logits_of
from hvnas.train.settings import Distillation, Optimizer, Schedule, Training

FUSED = ("cpu", "cuda")  # devices where torch has all of AdamW's step in one kernel

HEAD = "head."
SHARE = "share"  # of the learning rate, that a group of parameters learns at
LEAST_NORM = 1e-3  # of a weight's norm: new weights of zero can still move (2102.06171, section 4.1)
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def make_optimizer(
    model: nn.Module, settings: Optimizer, *, layer_decay: float = 1.0
) -> torch.optim.Optimizer:
    """The optimiser with two groups of parameters: with weight decay, and without.

    With a `layer_decay` below 1 each block of a network has two of its own, the head's first.
    """
    least = 0 if settings.decay_norms else 2
    groups: list[dict[str, Any]] = []
    for share, trained in _by_rate(model, layer_decay):
        both = [[p for p in trained if p.ndim >= least], [p for p in trained if p.ndim < least]]
        for parameters, decay in zip(both, (settings.weight_decay, 0.0), strict=True):
            groups.append({"params": parameters, "weight_decay": decay, SHARE: share})
    if settings.name == "sgd":
        nesterov = settings.momentum > 0
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov)
    betas = (settings.momentum, settings.beta2)
    fused = all(parameter.device.type in FUSED for parameter in trained)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=betas, eps=settings.eps, fused=fused)


def _by_rate(model: nn.Module, layer_decay: float) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """The parameters that learn, and the share of the learning rate that they learn at."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if layer_decay == 1.0 or not isinstance(model, Network):
        yield 1.0, list(trained.values())
        return
    blocks: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        blocks.setdefault(block_of(name), []).append(parameter)
    # stem and tokens come first, the head last
    order = sorted(blocks, key=lambda name: (name == "head", name not in ("stem", "tokens")))
    for behind, name in enumerate(reversed(order)):
        yield layer_decay**behind, blocks[name]


def block_of(name: str) -> str:
    """The block of a network that a parameter is in: ``stem``, ``stages.1.local.0``, ``head``."""
    words = name.split(".")
    if words[0] != "stages":
        return words[0]
    return ".".join(words[: 3 if words[2] == "downsample" else 4])


def open_stages(network: Network, count: int) -> None:
    """Put `network` into training, but for all stages before the last `count`: these stay as they are.

    They keep their weights, and their statistics of batches. Stem and tokens learn with the first stage.
    """
    closed = len(network.stages) - count
    parts = [*list(network.stages)[:closed], *((network.stem, network.tokens) if closed else ())]
    network.train().requires_grad_(True)
    for part in parts:
        part.eval().requires_grad_(False)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The rate of every group, as far as it shares in it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group[SHARE]


@torch.no_grad()
def clip_by_weights(model: nn.Module, share: float) -> None:
    """Bound the gradient's norm of every output to `share` of its weights' norm, but for the head.

    Adaptive gradient clipping (2102.06171, equation 3); the scalars and vectors of a layer are one unit each.
    """
    for name, weight in model.named_parameters():
        if weight.grad is None or name.startswith(HEAD):
            continue
        most = _unit_norm(weight).clamp_(min=LEAST_NORM).mul_(share)
        norm = _unit_norm(weight.grad)
        weight.grad.mul_((most / norm.clamp_(min=1e-6)).clamp_(max=1.0))


def _unit_norm(tensor: Tensor) -> Tensor:
    """Norms per output where there are two axes or more, else of the whole; broadcasts with `tensor`."""
    axes = tuple(range(1, tensor.ndim)) if tensor.ndim >= 2 else None
    return torch.linalg.vector_norm(tensor, dim=axes, keepdim=True)


class MovingAverage:
    """Exponential moving average of a model's weights; buffers are copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Take in the weights after step `step` (from 0).

        The first steps count for more (decay at most (1 + step) / (10 + step), as TensorFlow's): short
        runs forget the initial weights.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for weight, new in zip(self.model.parameters(), model.parameters(), strict=True):
            weight.lerp_(new, 1.0 - decay)
        for buffer, value in zip(self.model.buffers(), model.buffers(), strict=True):
            buffer.copy_(value)


def learning_rate(
    step: int, *, steps: int, steps_per_epoch: int, optimizer: Optimizer, schedule: Schedule
) -> float:
    """The rate of step `step` (from 0) of `steps`.

    Linear from above `warmup_lr` up to `lr`, which the last step of the warm-up reaches; then half a cosine
    down to `min_lr`, which the last step reaches. A warm-up is at most half of the run: short runs keep a
    schedule.
    """
    warmup = min(round(schedule.warmup_epochs * steps_per_epoch), steps // 2)
    if step < warmup:
        low = min(schedule.warmup_lr, optimizer.lr)
        return low + (optimizer.lr - low) * (step + 1) / warmup
    low = min(schedule.min_lr, optimizer.lr)
    done = (step - warmup) / max(1, steps - 1 - warmup)
    return low + 0.5 * (optimizer.lr - low) * (1.0 + cos(pi * min(1.0, done)))


def make_loss(settings: Training, *, teacher: nn.Module | None = None) -> Loss:
    """What maps (model, images ``[B, 3, R, R]``, goal) to the mean loss, as a recipe says.

    With a `teacher`, a module in eval mode for the same images, the recipe's distillation, or where it has
    none a hard one with half of the loss. Networks with a distillation classifier learn the teacher's word
    with that one, others with the only one they have.
    """
    classes_loss = _classes_loss(settings)
    if teacher is None:
        return lambda model, images, goal: classes_loss(model(images), goal)
    taught = settings.distillation or Distillation()
    alpha = taught.alpha

    def distilled(model: nn.Module, images: Tensor, goal: Tensor) -> Tensor:
        logits, student = _heads(model, images)
        with torch.no_grad():
            word = teacher(images).float()
        return (1.0 - alpha) * classes_loss(logits, goal) + alpha * _teachers_loss(taught, student, word)

    return distilled


def _classes_loss(settings: Training) -> Callable[[Tensor, Tensor], Tensor]:
    smoothing = settings.label_smoothing

    def softmax(logits: Tensor, goal: Tensor) -> Tensor:
        # goals of mixed batches are smooth already
        return F.cross_entropy(logits, goal, label_smoothing=smoothing if goal.ndim == 1 else 0.0)

    def sigmoid(logits: Tensor, goal: Tensor) -> Tensor:
        if goal.ndim == 1:
            classes = logits.shape[1]
            goal = F.one_hot(goal, classes).to(logits.dtype) * (1.0 - smoothing) + smoothing / classes
        return F.binary_cross_entropy_with_logits(logits, goal.to(logits.dtype))

    return softmax if settings.loss == "softmax" else sigmoid


def _teachers_loss(taught: Distillation, student: Tensor, word: Tensor) -> Tensor:
    """Cross-entropy with the teacher's choice, or the divergence from its softened probabilities."""
    if taught.kind == "hard":
        return F.cross_entropy(student, word.argmax(1))
    heat = taught.temperature
    theirs = F.log_softmax(word / heat, 1)
    ours = F.log_softmax(student.float() / heat, 1)
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * heat**2


def _heads(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the classifier and of the distillation classifier; twice the same where there is one."""
    if not isinstance(model, Network):
        logits = model(images)
        return logits, logits
    logits, student = logits_of(model.head, model.forward_features(images))
    return logits, logits if student is None else student
