"""A supernet trained by workers of Ray Train: all take the same members, each its part of a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.memory import MemoryNeed, memory
from hvnas.supernet.train import SupernetResult, train_supernet
from hvnas.train.events import OnLine
from hvnas.train.loop import OnProgress
from hvnas.train.on_ray import share
from hvnas.train.request import Workers


def train_supernet_on_ray(
    folder: SupernetFolder,
    workers: Workers,
    *,
    progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
    announce: Callable[[MemoryNeed], None] | None = None,
    say: OnLine = lambda _: None,
) -> SupernetResult:
    """`train_supernet` by several workers; `announce` is told what each of them needs.

    Raises as it does, WorkersLost where Ray fails, and ValueError where the cluster is too small.
    """
    place, run = SupernetFolder(folder.path.resolve()), folder.run
    if announce is not None:
        announce(memory(place.space(), classes=run.classes, resolution=run.resolution))
    work = partial(train_supernet, place, device=workers.torch_device, save_every=workers.save_every)
    return share(work, workers, progress=progress, stop=stop, say=say)
