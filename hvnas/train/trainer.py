"""The training loop: one network, one data set, one recipe.

Shapes: B batch, R resolution. A run is a `Trainer`; `Trainer.epoch` trains one more epoch, so that callers
may stop between epochs; `Trainer.run` trains what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path

import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.nn import Network, build
from hvnas.train.augment import make_augmentation, make_mixing
from hvnas.train.data.registry import Data
from hvnas.train.data.splits import Batch, Split
from hvnas.train.evaluation import (
    Examination,
    Plan,
    examine,
    scaled,
    to_tensors,
    top1_of,
    training_batches,
)
from hvnas.train.fitting import check_batch, check_sizes, drop_features, fit_arch
from hvnas.train.optim import (
    Loss,
    MovingAverage,
    clip_by_weights,
    learning_rate,
    make_loss,
    make_optimizer,
    open_stages,
    set_learning_rate,
)
from hvnas.train.process_group import ProcessGroup
from hvnas.train.recipes import Recipe, training_of
from hvnas.train.settings import FineTuning, training_to_json
from hvnas.train.state import EpochResult, Parts, Position, Randomness, device_of, load_state, save_state

RANK_SEEDS = 1_000_003  # between the seeds of two processes


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step. Epoch and step count from 1; `top1` comes with an epoch's end."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    lr: float
    images_per_s: float
    top1: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """What a run came to: its epochs so far, and whether it is through."""

    history: tuple[EpochResult, ...]
    finished: bool

    @property
    def best(self) -> EpochResult | None:
        """The epoch with the best top-1 on the validation images, the first of equals; None before any."""
        return max(self.history, key=lambda entry: entry.top1, default=None)


class DivergedError(ValueError):
    """The loss is no longer a finite number."""


OnProgress = Callable[[Progress], None]


def network_for(arch: Arch, data: Data, *, recipe: Recipe, seed: int = 0) -> Network:
    """`arch` fitted to `data` and built with the weights that `seed` draws.

    Raises ValueError as `fit_arch` and `drop_features` do, or where the recipe has no training section.
    """
    fitted, training = fit_arch(arch, data), training_of(recipe)
    with Randomness(torch.device("cpu"), seed=seed).own():
        network = build(fitted, drop_path=training.drop_path)
    drop_features(network, training.head_dropout)
    return network


class Trainer:
    """One training run, from its start or from a checkpoint.

    `model` is any module from ``[B, 3, R, R]`` to logits ``[B, classes]``; its weights are trained in
    place. `epochs` are the recipe's unless given. With the same model, data, seed and number of threads a
    run repeats, and one that goes on from `checkpoint` comes to the same weights as one that was never
    stopped: a file, written after each epoch, every `save_every` seconds inside one, and when stopped. The
    caller's random state is left as it was.

    After each epoch the network is scored on the validation images; the weights of the best epoch are kept.
    `test` puts them back and scores them on the test images, which play no part before.

    `device` is ``cpu``, ``cuda`` or another of torch's; CUDA where there is one unless given. `stop` is asked
    after every step. `loss` maps (model, images, goal) to a scalar, a goal being classes ``[B]`` or, of mixed
    batches, shares of them ``[B, classes]``: the recipe's unless given, `teacher` included (see
    `hvnas.train.optim`). `peers` are the processes that train together; the recipe's batch is that of all
    of them. Raises ValueError where the recipe has no training section, the checkpoint is of another run, the
    device cannot be used, or the network does not take the recipe's resolutions.
    """

    # Whether the weights of the best epoch are those that count: not of a supernet, whose members differ.
    keeps_best = True

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        *,
        recipe: Recipe,
        epochs: int | None = None,
        seed: int = 0,
        device: str | None = None,
        checkpoint: str | Path | None = None,
        save_every: float = 300.0,
        progress: OnProgress | None = None,
        stop: Callable[[], bool] | None = None,
        loss: Loss | None = None,
        teacher: nn.Module | None = None,
        peers: ProcessGroup | None = None,
    ) -> None:
        self.settings = training_of(recipe)
        self.data = data
        self.epochs = _whole_epochs(recipe, epochs)
        self.seed = seed
        self.device = device_of(device)
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.save_every = save_every
        self.progress = progress or (lambda _: None)
        self.stop = stop or (lambda: False)
        self.peers = peers or ProcessGroup()
        self.teacher = teacher
        self.loss = loss or make_loss(
            self.settings, teacher=None if teacher is None else teacher.to(self.device).eval()
        )
        self.plan = self._make_plan()
        self.steps = self.plan.steps
        if isinstance(model, Network):
            check_batch(self.plan.batch, data, workers=self.peers.count, archs=[model.arch])
        self.layout = torch.channels_last if isinstance(model, Network) else torch.contiguous_format
        self.model = _laid_out(model.to(self.device), self.layout)
        check_sizes(self.model, self.plan.sizes, device=self.device)
        self.augment = make_augmentation(
            self.settings.augment, resolution=data.resolution, mirrors=data.mirrors
        )
        self.mixing = make_mixing(
            self.settings.mix, classes=data.classes, smoothing=self.settings.label_smoothing
        )
        self.half = _half(self.device) if self.settings.mixed_precision else None
        self.position = Position()
        self._saved = time.perf_counter()
        self.parts = self._make_parts()
        if self.checkpoint is not None and self.checkpoint.exists():
            with self.parts.randomness.own():
                self.position = load_state(self.checkpoint, self.parts, self.identity)

    def _make_plan(self) -> Plan:
        scales = self.settings.scales
        return Plan(
            count=len(self.data.train),
            batch=self.settings.batch,
            seed=self.seed,
            repeats=self.settings.repeats,
            sizes=() if scales is None else scales.at(self.data.resolution),
            resolution=self.data.resolution,
            grow=scales is None or scales.grow,
            workers=self.peers.count,
        )

    def _make_parts(self) -> Parts:
        decay = self.settings.ema
        return Parts(
            model=self.model,
            optimizer=make_optimizer(
                self.model, self.settings.optimizer, layer_decay=self.settings.fine_tuning.layer_decay
            ),
            average=None if decay is None else MovingAverage(self.model, decay),
            # bfloat16 has float32's range: only float16's gradients need scaling.
            scaler=torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16),
            # processes augment their images each in its own way
            randomness=Randomness(self.device, seed=self.seed + RANK_SEEDS * self.peers.rank),
            peers=self.peers,
        )

    @property
    def identity(self) -> dict[str, str | int]:
        """What a checkpoint must agree in to be continued."""
        alone: dict[str, str | int] = {
            "network": _name(self.model),
            "data": self.data.key,
            "training": training_to_json(self.settings),
            "epochs": self.epochs,
            "seed": self.seed,
        }
        return alone if self.peers.count == 1 else {**alone, "workers": self.peers.count}

    @property
    def result(self) -> TrainResult:
        """What the run came to so far."""
        history = self.position.history
        stalled = _stalled(history, self.settings.patience)
        return TrainResult(tuple(history), self.position.epoch >= self.epochs or stalled)

    @property
    def evaluated(self) -> nn.Module:
        """The module that is evaluated: the average of the weights where the recipe keeps one."""
        return self.model if self.parts.average is None else self.parts.average.model

    def run(self) -> TrainResult:
        """Train until the last epoch, the recipe's patience ends, or `stop` says so. Raises DivergedError."""
        while not self.result.finished and self.epoch() is not None:
            pass
        return self.result

    def epoch(self) -> EpochResult | None:
        """Train what is left of the present epoch and evaluate; None where `stop` interrupted.

        Raises DivergedError, one line, where the loss is not a finite number.
        """
        assert not self.result.finished, "the run is through"
        with self.parts.randomness.own():
            done = self._finish_epoch() if self._train() else None
            self._save()
        return done

    def test(self) -> float:
        """Put the best epoch's weights back, and return their top-1 on the test images, in points."""
        self._restore_best()
        return self.peers.from_first(lambda: self.evaluate(self.data.test))

    def examine(self, *, mistakes: int) -> Examination | None:
        """`test` in full, with so many of the mistakes; None but for the first of several processes."""
        self._restore_best()
        found: list[Examination] = []

        def top1() -> float:
            found.append(
                examine(
                    self.evaluated,
                    self.data.test,
                    self.data,
                    device=self.device,
                    precision=self.precision(),
                    mistakes=mistakes,
                )
            )
            return found[0].scores.top1

        self.peers.from_first(top1)
        return found[0] if found else None

    def _restore_best(self) -> None:
        if self.parts.best:
            self.evaluated.load_state_dict(self.parts.best)

    def evaluate(self, split: Split) -> float:
        """Top-1 on a split, in points."""
        return top1_of(self.evaluated, split, self.data, device=self.device, precision=self.precision())

    def backward(self, images: Tensor, labels: Tensor) -> float:
        """Add the gradients of a batch to those of the weights; its loss. Raises DivergedError.

        `labels` are classes ``[B]``, of mixed batches shares of them ``[B, classes]``.
        """
        with self.precision():
            loss = self.loss(self.model, images, labels)
        return self.add_gradients(loss)

    def add_gradients(self, loss: Tensor) -> float:
        """Add the gradients of a loss, scaled by the scaler, to those of the weights; the loss as a number.

        Raises DivergedError where it is not finite.
        """
        value = float(loss.detach())
        if not isfinite(value):
            raise DivergedError(self.diverged("loss", value))
        self.parts.scaler.scale(loss).backward()
        return value

    def precision(self) -> torch.autocast:
        """The context in which the network computes."""
        return torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None)

    @property
    def steps_done(self) -> int:
        """Steps since the start of the run."""
        return self.position.epoch * self.steps + self.position.step

    def diverged(self, what: str, value: float) -> str:
        """One line on a loss or a gradient that is not finite."""
        place = self.position
        return (
            f"the {what} is {value} in epoch {place.epoch + 1}, step {place.step + 1}, at a learning rate of "
            f"{self._learning_rate():.3g}; lower training.optimizer.lr or set training.clip in the recipe"
        )

    def _train(self) -> bool:
        """Steps to the end of the epoch; False where stopped before it."""
        place = self.position
        self._open(place.epoch)
        started, seen = time.perf_counter(), 0
        parts = self.plan.parts(place.epoch, first=place.step, rank=self.peers.rank)
        for batch, resolution in training_batches(self.data.train, parts):
            lr, loss = self._learning_rate(), self._step(batch, resolution)
            images = len(batch.labels) * self.peers.count
            place.step += 1
            place.loss_sum += loss * images
            place.images += images
            seen += images
            self._report(loss, lr, images_per_s=seen / max(1e-9, time.perf_counter() - started))
            if place.step < self.steps:
                if self.peers.any(self.stop()):
                    return False
                if self.peers.any(time.perf_counter() - self._saved >= self.save_every):
                    self._save()
        return True

    def _open(self, epoch: int) -> None:
        """Put the network into training, as far as it is trained in an epoch."""
        if isinstance(self.model, Network) and self.settings.fine_tuning != FineTuning():
            stages = len(self.model.stages)
            open_stages(self.model, self.settings.fine_tuning.open_stages(epoch, stages))
        else:
            self.model.train()

    def _save(self) -> None:
        """Write the checkpoint, where one is kept; called between steps."""
        if self.checkpoint is not None:
            save_state(self.checkpoint, self.parts, self.position, self.identity)
        self._saved = time.perf_counter()

    def _step(self, batch: Batch, resolution: int | None) -> float:
        """One step of the optimiser; the loss of the batch."""
        if self.peers.any(len(batch.labels) < min(2, self.plan.batch)):
            return 0.0  # its images were unreadable
        images, labels = to_tensors(batch, self.data, device=self.device, augment=self.augment)
        images, goal = self.mixing(scaled(images, resolution), labels)
        set_learning_rate(self.parts.optimizer, self._learning_rate())
        self.parts.optimizer.zero_grad(set_to_none=True)
        value = self.backward(images.contiguous(memory_format=self.layout), goal)
        value = self.peers.average(self.model, value)
        self._update()
        return value

    def _update(self) -> None:
        """Weights and their average follow the gradients, bounded as the recipe says."""
        optimizer, scaler = self.parts.optimizer, self.parts.scaler
        scaler.unscale_(optimizer)
        if self.settings.agc is not None:
            clip_by_weights(self.model, self.settings.agc)
        most = inf if self.settings.clip is None else self.settings.clip
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), most))
        # a scaler leaves such a step out by itself and goes on with a smaller scale
        if not (isfinite(norm) or scaler.is_enabled()):
            raise DivergedError(self.diverged("norm of the gradient", norm))
        scaler.step(optimizer)
        scaler.update()
        if self.parts.average is not None:
            self.parts.average.update(self.model, step=self.steps_done)

    def _finish_epoch(self) -> EpochResult:
        place = self.position
        top1 = self.peers.from_first(lambda: self.evaluate(self.data.val))
        if self.keeps_best and all(top1 > entry.top1 for entry in place.history):
            self.parts.best.update({k: t.clone() for k, t in self.evaluated.state_dict().items()})
        done = EpochResult(place.epoch + 1, place.loss_sum / max(1, place.images), top1)
        self._report(done.loss, self.parts.optimizer.param_groups[0]["lr"], top1=top1)
        self.position = Position(epoch=place.epoch + 1, history=[*place.history, done])
        return done

    def _report(
        self, loss: float, lr: float, *, images_per_s: float = 0.0, top1: float | None = None
    ) -> None:
        place = self.position
        self.progress(
            Progress(place.epoch + 1, self.epochs, place.step, self.steps, loss, lr, images_per_s, top1)
        )

    def _learning_rate(self) -> float:
        return learning_rate(
            self.steps_done,
            steps=self.epochs * self.steps,
            steps_per_epoch=self.steps,
            optimizer=self.settings.optimizer,
            schedule=self.settings.schedule,
        )


def _whole_epochs(recipe: Recipe, epochs: int | None) -> int:
    wanted = recipe.epochs if epochs is None else epochs
    if wanted < 1 or wanted != int(wanted):
        raise ValueError(f"epochs: must be a whole number >= 1 to train, got {wanted:g}")
    return int(wanted)


def _stalled(history: Sequence[EpochResult], patience: int | None) -> bool:
    """Whether the last `patience` epochs brought no better top-1."""
    if patience is None or len(history) <= patience:
        return False
    best = max(entry.top1 for entry in history[:-patience])
    return max(entry.top1 for entry in history[-patience:]) <= best


def _laid_out(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    """`model`, its convolutions' weights in `layout`: with channels last they train faster on all devices."""
    if layout == torch.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _half(device: torch.device) -> torch.dtype | None:
    """The format of mixed precision on `device`: CUDA's alone."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _name(model: nn.Module) -> str:
    """The architecture's hash, or class and number of weights of a module that comes from elsewhere."""
    if isinstance(model, Network):
        return model.arch.hash
    return f"{type(model).__name__} of {sum(p.numel() for p in model.parameters())} weights"
