"""The learning rate of every step."""

from __future__ import annotations

from math import cos, pi

from hvnas.train.training import Optimizer, Schedule


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
