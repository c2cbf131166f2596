"""What the commands that train share: options, how a training goes, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from hvnas import _numbers as numbers
from hvnas.cli._failure import Failure
from hvnas.cli._progress import Steps, until_stopped

if TYPE_CHECKING:
    from hvnas.train.request import Workers
    from hvnas.train.trainer import Progress, TrainResult


def check_device(workers: Workers) -> None:
    """Raise ValueError, before anything is written, where a training here cannot use the device."""
    if workers.engine == "local":
        from hvnas.train.state import device_of

        device_of(workers.device)


class Trained(Protocol):
    """What a training came to."""

    @property
    def result(self) -> TrainResult:
        """Its epochs, and whether it is through."""


Came = TypeVar("Came", bound=Trained)


class TrainingSteps(Steps):
    """Progress of a training; `of` says whose top-1 it is, where that is not plain."""

    def __init__(self, *, of: str = "") -> None:
        super().__init__("steps")
        self._of = of

    def step(self, at: Progress) -> None:
        """A step is done."""
        if at.top1 is None:
            what = f"{at.images_per_s:.0f} images/s"
        else:
            what = f"val top-1{self._of} {numbers.points(at.top1)}"
        self.at(
            (at.epoch - 1) * at.steps + at.step,
            f"epoch {at.epoch} of {at.epochs}, loss {at.loss:.3f}, {what}",
            total=at.epochs * at.steps,
        )


def run_training(train: Callable[..., Came], *, again: str, of: str = "") -> Came:
    """What ``train(progress=…, stop=…)`` comes to, shown as it goes; `of` as in `TrainingSteps`.

    Raises Failure where it is stopped, with `again`, the command that goes on, or its workers are lost.
    """
    from hvnas.parallel import WorkersLost

    def job(stop: Callable[[], bool]) -> Came | None:
        with TrainingSteps(of=of) as steps:
            came = train(progress=steps.step, stop=stop)
        return came if came.result.finished else None

    try:
        return until_stopped(job, again=f"continue with {again}")
    except WorkersLost as error:
        raise Failure(str(error)) from None
