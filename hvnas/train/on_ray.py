"""A training in this process, or shared by the workers of Ray Train: each computes its part of every batch.

The workers read and write the training's folder, so that on a cluster of several machines it has to lie where
all of them reach it, the data too. A worker that is lost starts the group anew from the last state.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch

from hvnas._runs import RunFolder
from hvnas.parallel import WorkersLost, fitting, ray_cluster
from hvnas.train.process_group import DistributedGroup, ProcessGroup
from hvnas.train.request import Workers
from hvnas.train.trainer import OnProgress, Progress

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

RETRIES = 2  # of a group that lost a worker
POLL_S = 0.2
TOLD_S = 0.2  # between two steps that are reported
ASKED_S = 0.5  # between two looks at whether to stop
FAILED = "failed"


class Work(Protocol[V_co]):
    """What every worker does; the first one's value is the result. It travels by pickle."""

    def __call__(
        self,
        *,
        peers: ProcessGroup,
        progress: OnProgress,
        stop: Callable[[], bool],
        report: Callable[[str], None],
    ) -> V_co: ...


def train_with(
    workers: Workers,
    train: Callable[..., V],
    folder: RunFolder[Any],
    *,
    progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> V:
    """``train(folder, ...)`` in this process, or by several workers where `workers` are Ray's.

    Raises as it does, WorkersLost where Ray fails, and ValueError where the cluster is too small, or another
    process is at work in the folder.
    """
    if workers.engine == "local":
        local = partial(train, folder, device=workers.device, save_every=workers.save_every)
        return local(progress=progress, stop=stop, report=report)
    place = type(folder)(folder.path.resolve())
    work = partial(train, place, device=workers.torch_device, save_every=workers.save_every)
    with folder.at_work():
        return share(work, workers, progress=progress, stop=stop, report=report)


def share(
    work: Work[V],
    workers: Workers,
    *,
    progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> V:
    """Do `work` on all workers at once; the first one's value.

    Progress and lines of the first worker come here, and `stop` reaches all. ValueErrors of a worker are
    raised here as they are; WorkersLost where Ray lost too many.
    """
    cpus = None if workers.address else max(workers.number * workers.cpus, float(os.cpu_count() or 1))
    with ray_cluster(workers.address, cpus=cpus), tempfile.TemporaryDirectory(prefix="hv-train-") as scratch:
        _check_room(workers)
        board = _board().remote()
        fitting = _Fitting(work, workers, board, scratch)
        relay = _Relay(board, progress or _nothing, report)
        fitting.start()
        asked = False
        while fitting.is_alive():
            fitting.join(POLL_S)
            relay.deliver()
            if stop is not None and not asked and stop():
                asked = True
                board.stop.remote()
        relay.deliver()
        return fitting.value(relay.failure)


class _Fitting(threading.Thread, Generic[V]):
    """Ray Train's run, which blocks, in a thread: signals stay with the caller."""

    def __init__(self, work: Work[V], workers: Workers, board: Any, scratch: str) -> None:
        super().__init__(daemon=True)
        self._work, self._workers, self._board, self._scratch = work, workers, board, scratch
        self._value: V | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        workers = self._workers
        resources = {"CPU": workers.cpus} | ({"GPU": workers.gpus} if workers.gpus else {})
        backend = "nccl" if workers.torch_device.startswith("cuda") else "gloo"
        try:
            trainer: Any = TorchTrainer(
                _at_work,
                train_loop_config={
                    "work": self._work,
                    "board": self._board,
                    "device": workers.torch_device,
                    "threads": max(1, int(workers.cpus)),
                },
                torch_config=TorchConfig(backend=backend),
                scaling_config=ScalingConfig(
                    num_workers=workers.number, use_gpu=workers.gpus > 0, resources_per_worker=resources
                ),
                run_config=RunConfig(
                    name="training",
                    storage_path=self._scratch,
                    failure_config=FailureConfig(max_failures=RETRIES),
                ),
            )
            self._value = trainer.fit().return_value
        except BaseException as error:  # raised again by the caller's thread
            self._error = error

    def value(self, failure: BaseException | None) -> V:
        """What the first worker returned. Raises what a worker said went wrong, or WorkersLost."""
        if failure is not None:
            raise failure
        if self._error is not None:
            reason = (str(self._error).strip().splitlines() or [type(self._error).__name__])[-1]
            raise WorkersLost(
                f"training on Ray failed: {reason}; what was saved is kept; continue with --resume"
            ) from self._error
        assert self._value is not None
        return self._value


class _Relay:
    """Hands on what the workers put on the board."""

    def __init__(self, board: Any, progress: OnProgress, report: Callable[[str], None]) -> None:
        self._board, self._progress, self._report = board, progress, report
        self.failure: BaseException | None = None

    def deliver(self) -> None:
        import ray

        for entry in ray.get(self._board.take.remote()):
            if isinstance(entry, Progress):
                self._progress(entry)
            elif isinstance(entry, str):
                self._report(entry)
            else:
                self.failure = self.failure or entry


def _board() -> Any:
    """An actor between the workers and the process that started them."""
    import ray

    class Board:
        def __init__(self) -> None:
            self._entries: list[Any] = []
            self._stop = False
            self._failed = False

        def put(self, entry: Any) -> None:
            self._failed = self._failed or isinstance(entry, BaseException)
            self._entries.append(entry)

        def take(self) -> list[Any]:
            entries, self._entries = self._entries, []
            return entries

        def stop(self) -> None:
            self._stop = True

        def stopping(self) -> bool:
            return self._stop

        def failed(self) -> bool:
            return self._failed

    return ray.remote(num_cpus=0)(Board)


def _at_work(config: dict[str, Any]) -> Any:
    """What a worker runs: the work, as one of the group."""
    import ray

    board = config["board"]
    if ray.get(board.failed.remote()):
        raise RuntimeError("a worker failed, whatever was tried")  # there is nothing to retry
    torch.set_num_threads(config["threads"])
    device = torch.device(config["device"])
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    peers = DistributedGroup(device)
    wire = _Wire(board, first=peers.first)
    try:
        return config["work"](peers=peers, progress=wire.progress, stop=wire.stop, report=wire.report)
    except ValueError as error:
        ray.get(board.put.remote(error))
        raise


class _Wire:
    """The first worker's line to the board; the others have none."""

    def __init__(self, board: Any, *, first: bool) -> None:
        self._board, self._first = board, first
        self._told = self._asked = 0.0

    def progress(self, at: Progress) -> None:
        now = time.monotonic()
        if self._first and (at.top1 is not None or at.step == at.steps or now - self._told >= TOLD_S):
            self._told = now
            self._board.put.remote(at)

    def report(self, line: str) -> None:
        if self._first:
            self._board.put.remote(line)

    def stop(self) -> bool:
        import ray

        now = time.monotonic()
        if not self._first or now - self._asked < ASKED_S:
            return False
        self._asked = now
        return bool(ray.get(self._board.stopping.remote()))


def _check_room(workers: Workers) -> None:
    fits = fitting(cpus=workers.cpus, gpus=workers.gpus)
    if fits < workers.number:
        raise ValueError(
            f"workers: the Ray cluster has room for {fits} of {workers.cpus:g} CPUs and {workers.gpus:g} "
            f"GPUs each, not for {workers.number}; ask for fewer, or for less per worker"
        )


def _nothing(_: object) -> None:
    """Nobody listens."""
