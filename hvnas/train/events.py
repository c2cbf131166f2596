"""What a training run reports, as scalar events that TensorBoard shows.

Steps are counted from 1 over the whole run. A run that goes on from a checkpoint takes back what was written
after it: TensorBoard shows one curve however often a run was stopped or killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas._files import naming

if TYPE_CHECKING:
    from hvnas.train.trainer import Progress, Trainer

FOLDER = "events"
FLUSH_S = 10  # a killed run loses at most the events of so many seconds
MISSING = "no TensorBoard events are written: pip install 'hvnas[train]' brings tensorboard"

OnLine = Callable[[str], None]


class Events:
    """Scalars of a run in event files in `folder`.

    Of every step ``train/loss``, ``train/lr`` and ``train/images_per_s``, of every epoch ``epoch/loss``, the
    mean, and ``epoch/top1`` on the validation images, in points. `done` steps were done before. Raises
    ImportError where tensorboard is missing.
    """

    def __init__(self, folder: str | Path, *, done: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        make_writer: Any = SummaryWriter
        self._folder = folder
        with naming(folder):
            self._writer = make_writer(str(folder), purge_step=done + 1, flush_secs=FLUSH_S)

    def add(self, at: Progress) -> None:
        """Take down what a run reports after a step or an epoch."""
        step = (at.epoch - 1) * at.steps + at.step
        if at.top1 is None:
            scalars = {"train/loss": at.loss, "train/lr": at.lr, "train/images_per_s": at.images_per_s}
        else:
            scalars = {"epoch/loss": at.loss, "epoch/top1": at.top1}
        with naming(self._folder):
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        with naming(self._folder):
            self._writer.close()


@contextmanager
def recorded(trainer: Trainer, folder: str | Path, *, report: OnLine = lambda _: None) -> Iterator[None]:
    """Inside of the block what `trainer` reports is also written to event files in `folder`.

    Without tensorboard nothing is written, and `report` is told so once; nothing is either where the run is
    through already.
    """
    if trainer.result.finished:
        yield
        return
    try:
        events = Events(folder, done=trainer.steps_done)
    except ImportError:
        report(MISSING)
        yield
        return
    before = trainer.progress

    def both(at: Progress) -> None:
        events.add(at)
        before(at)

    trainer.progress = both
    try:
        yield
    finally:
        trainer.progress = before
        events.close()
