"""A network's training from end to end, from its folder and into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hvnas._files import naming, refusing
from hvnas._numbers import clean
from hvnas.latency.registry import stated_latency
from hvnas.nn.weights import StateDict, save_weights
from hvnas.train.card import SHOWN_MISTAKES, explained, write_card
from hvnas.train.data import Data
from hvnas.train.evaluation import Examination
from hvnas.train.folder import LAST, TrainFolder
from hvnas.train.process_group import ProcessGroup
from hvnas.train.state import EpochResult
from hvnas.train.teachers import begin_with, digest, load_teacher, teacher_file
from hvnas.train.trainer import DivergedError, OnProgress, Progress, Trainer, TrainResult, network_for

NAMED_SKIPPED = 20  # unreadable images that the metrics name
FLUSH_S = 10  # a killed run loses at most the events of so many seconds
MISSING = "no TensorBoard events are written: pip install 'hvnas[train]' brings tensorboard"

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a training came to; `metrics` are what its folder keeps of it."""

    result: TrainResult
    metrics: dict[str, Any]


def train_in_folder(
    folder: TrainFolder,
    *,
    device: str | None = None,
    save_every: float = 300.0,
    progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
    report: OnLine = lambda _: None,
    peers: ProcessGroup | None = None,
) -> Outcome:
    """Train the network of `folder`, from its state where there is one.

    `report` is told what to know before and after. Of several processes, `peers`, the first one writes.
    Raises ValueError where the data changed, with strict data an image is unreadable, or another process
    trains here, and DivergedError, the state kept, where a loss is not finite.
    """
    with folder.at_work() if peers is None else nullcontext():
        peers = peers or ProcessGroup()
        if folder.finished:
            metrics = folder.metrics()
            history = tuple(EpochResult(**entry) for entry in metrics["history"])
            return Outcome(TrainResult(history, finished=True), metrics)
        if not peers.first:
            report = _nothing
        trainer = _trainer(folder, device, save_every, stop, peers, report)
        speed = _Speed(progress or _nothing)
        trainer.progress = _logged(speed, folder) if peers.first else speed
        result = run_recorded(trainer, folder.events, state=folder.state, report=report, peers=peers)
        last = _copied(trainer.evaluated) if result.finished and peers.first else {}
        examination = trainer.examine(mistakes=SHOWN_MISTAKES) if result.finished else None
        metrics = _metrics(folder, result, trainer.data, speed, examination)
        if examination is not None:
            _finish(folder, trainer, examination, metrics, last=last, report=report)
        elif peers.first:
            folder.log(f"stopped after {trainer.steps_done} steps")
        return Outcome(result, metrics)


class Events:
    """Scalars of a run in event files in `folder`, which TensorBoard shows.

    Steps are counted from 1 over the whole run. A run that goes on from a checkpoint takes back what was
    written after it: there is one curve however often a run was stopped or killed. Of every step
    ``train/loss``, ``train/lr`` and ``train/images_per_s``, of every epoch ``epoch/loss``, the mean, and
    ``epoch/top1`` on the validation images, in points. `done` steps were done before. Raises ImportError
    where tensorboard is missing.
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


def run_recorded(
    trainer: Trainer, events: Path, *, state: Path, report: OnLine, peers: ProcessGroup
) -> TrainResult:
    """Run `trainer` to its end; the first of `peers` writes what `tensorboard` reads into `events`.

    Raises DivergedError where a loss is not finite; it says whether the file `state` keeps the last state.
    """
    try:
        with recorded(trainer, events, report=report) if peers.first else nullcontext():
            return trainer.run()
    except DivergedError as error:
        kept = f"{state} keeps the last state" if state.exists() else "nothing was kept yet"
        raise DivergedError(f"{error}; {kept}") from None


def _trainer(
    folder: TrainFolder,
    device: str | None,
    save_every: float,
    stop: Callable[[], bool] | None,
    peers: ProcessGroup,
    report: OnLine,
) -> Trainer:
    with refusing(folder.file):
        run, data, recipe = folder.config, folder.config.load_data(), folder.config.load_recipe()
    report(clean(f"{data}; {_named_skips(data)}" if data.skipped else str(data)))
    network = network_for(folder.arch, data, recipe=recipe, seed=run.seed)
    if run.weights is not None and not folder.state.exists():
        _check_key("weights", run.weights, digest(run.weights), run.weights_key)
        left = begin_with(network, run.weights)
        if left:
            report(f"the classifier begins anew: {run.weights} has other classes")
    teacher = None
    if run.teacher is not None:
        own = digest(teacher_file(run.teacher, run.teacher_weights))
        _check_key("teacher", run.teacher, own, run.teacher_key)
        teacher = load_teacher(run.teacher, data, weights=run.teacher_weights)
    return Trainer(
        network,
        data,
        recipe=recipe,
        epochs=run.epochs,
        seed=run.seed,
        device=device,
        checkpoint=folder.state,
        save_every=save_every,
        stop=stop,
        teacher=teacher,
        peers=peers,
    )


def _copied(network: nn.Module) -> StateDict:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _finish(
    folder: TrainFolder,
    trainer: Trainer,
    examination: Examination,
    metrics: dict[str, Any],
    *,
    last: StateDict,
    report: OnLine,
) -> None:
    arch = folder.arch
    facts = {"arch": arch.name, "arch_hash": arch.hash, "data": folder.config.data_key}
    folder.write_metrics(metrics)
    lacking = write_card(folder, trainer.data, examination, metrics)
    if lacking is not None:
        report(lacking)
    save_weights(last, folder.path / LAST, metadata=facts)
    # last: with the weights the training is through
    save_weights(trainer.evaluated.state_dict(), folder.weights, metadata=facts)
    folder.log(f"finished: test top-1 {metrics['top1']:.2f}, best epoch {metrics['best_epoch']}")


class _Speed:
    """Passes progress on and counts what this process did."""

    def __init__(self, progress: OnProgress) -> None:
        self._progress = progress
        self._started = time.perf_counter()
        self.rates: list[float] = []

    def __call__(self, at: Progress) -> None:
        if at.top1 is None and at.step == at.steps:
            self.rates.append(at.images_per_s)
        self._progress(at)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started


def _logged(progress: OnProgress, folder: TrainFolder) -> OnProgress:
    def both(at: Progress) -> None:
        if at.top1 is not None:
            folder.log(f"epoch {at.epoch} of {at.epochs}: loss {at.loss:.4f}, val top-1 {at.top1:.2f}")
        progress(at)

    return both


def _metrics(
    folder: TrainFolder, result: TrainResult, data: Data, speed: _Speed, examination: Examination | None
) -> dict[str, Any]:
    run, arch = folder.config, folder.arch
    program = arch.lower()
    stated = stated_latency(arch, arch.found)
    skipped = data.skipped
    rates = sorted(speed.rates)
    return {
        "schema": "hvnas.metrics/1",
        "network": arch.name,
        "arch_hash": arch.hash,
        "params": program.params,
        "macs": program.macs,
        "latency": None if stated is None else stated.to_json(),
        "data": run.data,
        "data_key": run.data_key,
        "resolution": run.resolution,
        "classes": run.classes,
        "recipe": run.load_recipe().name,
        "epochs": run.epochs,
        "epochs_trained": len(result.history),
        "stopped_early": result.finished and len(result.history) < run.epochs,
        "seed": run.seed,
        "workers": run.workers,
        "top1": None if examination is None else examination.scores.top1,
        **({} if examination is None else explained(examination, data)),
        "val_top1": None if result.best is None else result.best.top1,
        "val_from": data.val_from,
        "best_epoch": None if result.best is None else result.best.epoch,
        "images_per_s": rates[len(rates) // 2] if rates else None,
        "seconds": speed.seconds,
        "skipped": {"count": len(skipped), "images": [list(entry) for entry in skipped[:NAMED_SKIPPED]]},
        "history": [vars(entry) for entry in result.history],
    }


def _named_skips(data: Data) -> str:
    shown = "; ".join(f"{entry.name}: {entry.reason}" for entry in data.skipped[:NAMED_SKIPPED])
    more = len(data.skipped) - NAMED_SKIPPED
    return f"{shown}; and {more} more" if more > 0 else shown


def _check_key(what: str, name: str, now: str, then: str | None) -> None:
    if now != then:
        raise ValueError(
            f"{what} {name}: is not what it was when the training was begun; bring it back, or train anew"
        )


def _nothing(_: object) -> None:
    """Nobody listens."""
