"""What a training step minimises: the loss on classes, and on a teacher's word where there is one.

Shapes: B batch, C classes, R resolution. A goal is classes ``[B]`` or shares of them ``[B, C]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.nn import Network
from hvnas.train.training import Distillation, Training

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


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
    if not (isinstance(model, Network) and hasattr(model.head, "heads")):
        logits = model(images)
        return logits, logits
    heads: Any = model.head.heads
    logits, student = heads(model.forward_features(images))
    return logits, logits if student is None else student
