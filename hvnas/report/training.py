"""What a training of a network came to, where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hvnas import _numbers as numbers
from hvnas.arch import Arch
from hvnas.latency.stated import stated_latency


def is_training(path: str | Path) -> bool:
    """Whether a folder is that of a training."""
    from hvnas.train.folder import TrainFolder

    return TrainFolder(path).holds_run


def trained_network(path: str | Path) -> tuple[Arch, str]:
    """The network of a training and what it came to. Raises ValueError where a file of it is damaged."""
    from hvnas.train.folder import TrainFolder

    folder = TrainFolder(path)
    return folder.arch, _told(folder)


def trained_beside(path: Path, arch: Arch) -> str | None:
    """What the training in the folder of a search came to; None without one of this network."""
    from hvnas.train.folder import find_training

    folder = find_training(path)
    return None if folder is None or folder.arch.name != arch.name else _told(folder)


def _told(folder: Any) -> str:
    from hvnas.train.folder import METRICS

    if not (folder.path / METRICS).is_file():
        return "not through yet"
    metrics = folder.metrics()
    top1 = numbers.optional(metrics.get("top1"), digits=2)
    run, arch = folder.run, folder.arch
    stated = stated_latency(arch, arch.found)
    latency = "" if stated is None else f"; {stated}"
    return (
        f"top-1 {top1 or 'unknown'} on {run.data} at {run.resolution} px, {run.classes} classes "
        f"({metrics.get('recipe')}, {metrics.get('epochs_trained')} of {run.epochs} epochs){latency}"
    )
