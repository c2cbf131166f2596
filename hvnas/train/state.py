"""Everything a training run depends on between two steps, in one file.

The file is safetensors: weights (``model.``), their average (``ema.``), the optimiser's tensors
(``optimizer.``) and the states of torch's generators (``rng.``). What is not a tensor is JSON in its
header, so that the two can never disagree. It is replaced in one step: killed at any instant, a run finds
the old state or the new one. The generators of a run are kept apart from the caller's (`Randomness`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvnas._names import WrongField, validated
from hvnas._numbers import shortened
from hvnas.nn.weights import check_weights, read_safetensors, save_weights
from hvnas.train.optim import MovingAverage
from hvnas.train.process_group import ProcessGroup

SCHEMA = "hvnas.checkpoint/1"
KEY = "hvnas"
_BEGIN_AGAIN = "put a copy of it in its place, or delete it to begin the training again"


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch (from 1): mean training loss, top-1 on the validation images in points."""

    epoch: int
    loss: float
    top1: float


@dataclass
class Position:
    """How far a run is: whole epochs, steps into the next, and what that epoch has summed up."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    images: int = 0
    history: list[EpochResult] = field(default_factory=list)


@dataclass(frozen=True)
class Parts:
    """The objects whose state is kept; `best` are the evaluated weights of the best epoch so far."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    scaler: torch.amp.GradScaler
    randomness: Randomness
    peers: ProcessGroup = field(default_factory=ProcessGroup)
    best: dict[str, Tensor] = field(default_factory=dict)


def save_state(path: Path, parts: Parts, position: Position, identity: dict[str, Any]) -> None:
    """Write the state, in one step. `identity` says what run it is of.

    Of several processes every one has to come here; the first one writes.
    """
    generators = _generators(parts)
    if not parts.peers.first:
        return
    tensors = {f"model.{key}": tensor for key, tensor in parts.model.state_dict().items()}
    if parts.average is not None:
        tensors |= {f"ema.{key}": tensor for key, tensor in parts.average.model.state_dict().items()}
    tensors |= {f"best.{key}": tensor for key, tensor in parts.best.items()}
    for index, state in parts.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": t for key, t in state.items() if isinstance(t, Tensor)}
    tensors |= {f"rng.{key}": state for key, state in generators.items()}
    facts = {
        "schema": SCHEMA,
        "identity": identity,
        "position": asdict(position),
        "scaler": parts.scaler.state_dict(),
        "checksum": _checksum(tensors),
    }
    save_weights(tensors, path, metadata={KEY: json.dumps(facts)})


def load_state(path: Path, parts: Parts, identity: dict[str, Any]) -> Position:
    """Put the state back, generators included, and say how far the run was.

    Raises ValueError where the file is no checkpoint or was damaged, or of a run that differs in what it
    names.
    """
    facts = _read_facts(path)
    try:
        _check_identity(path, facts["identity"], identity)
        tensors = read_safetensors(path)
        if facts.get("checksum") not in (None, _checksum(tensors)):
            raise ValueError(f"{path}: damaged (its checksum does not match); {_BEGIN_AGAIN}")
        check_weights(parts.model, _below("model.", tensors), where=str(path))
        return _restore(parts, facts, tensors)
    except torch.OutOfMemoryError:
        raise
    # What torch raises where a part is missing or of another form.
    except (LookupError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        reason = shortened(f"{type(error).__name__}: {error}")
        raise ValueError(f"{path}: damaged ({reason}); {_BEGIN_AGAIN}") from None


def _restore(parts: Parts, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Position:
    try:
        position = validated(Position, facts["position"], strict=False)
    except WrongField as wrong:
        raise TypeError(f"position.{wrong}") from None
    if not all(isfinite(entry.loss) and isfinite(entry.top1) for entry in position.history):
        raise TypeError("history: must hold finite numbers")
    parts.model.load_state_dict(_below("model.", tensors))
    if parts.average is not None:
        parts.average.model.load_state_dict(_below("ema.", tensors))
    parts.best.update(_below("best.", tensors))
    _load_optimizer(parts.optimizer, _below("optimizer.", tensors))
    parts.scaler.load_state_dict(facts["scaler"])
    parts.randomness.restore(_below(_prefix(parts.peers.rank), _below("rng.", tensors)))
    return position


def _checksum(tensors: dict[str, Tensor]) -> int:
    """CRC-32 of the tensors' bytes, by the order of their names."""
    checksum = 0
    for _, tensor in sorted(tensors.items()):
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        checksum = zlib.crc32(data.numpy().data, checksum)
    return checksum


def read_model(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint as they are evaluated: those of the best epoch, where one is through.

    Raises ValueError where the file is no checkpoint.
    """
    from safetensors import safe_open

    _read_facts(path)
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
        prefixes = ("best.", "ema.", "model.")
        prefix = next(p for p in prefixes if p == "model." or any(key.startswith(p) for key in keys))
        return _below(prefix, {key: file.get_tensor(key) for key in keys if key.startswith(prefix)})


def _generators(parts: Parts) -> dict[str, Tensor]:
    """The generators' states of all processes, by process and name."""
    states = {}
    for name, state in parts.randomness.state().items():
        for rank, theirs in enumerate(parts.peers.gather(state)):
            states[f"{_prefix(rank)}{name}"] = theirs
    return states


def _prefix(rank: int) -> str:
    """What the states of a process begin with; the first one's carry the bare names."""
    return f"{rank}." if rank else ""


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        weight = weights[int(index)]
        # as the weights lie in memory: an optimiser is slow on two layouts at once
        laid_out = torch.empty_like(weight).copy_(tensor) if tensor.shape == weight.shape else tensor
        state.setdefault(int(index), {})[name] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _read_facts(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})[KEY])
        if facts["schema"] == SCHEMA and isinstance(facts["identity"], dict):
            return facts
        reason = f"its schema is {shortened(facts['schema'])}"
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError, RecursionError) as error:
        reason = shortened(error)
    raise ValueError(f"{path}: not a checkpoint of a training run ({reason}); check the path")


def _check_identity(path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for key in sorted({*theirs, *ours}):
        if theirs.get(key) != ours.get(key):
            was, now = shortened(theirs.get(key)), shortened(ours.get(key))
            raise ValueError(
                f"{path}: a checkpoint of another run: {shortened(key)} was {was}, is {now}; "
                "continue that run, or choose another file"
            )


class Randomness:
    """A random state that torch's global generators take inside `own`, and only there."""

    def __init__(self, device: torch.device, *, seed: int) -> None:
        self._device = device
        with self._forked():
            torch.manual_seed(seed)
            self._kept = self.state()

    @contextmanager
    def own(self) -> Iterator[None]:
        """Inside, torch draws from this run's state; afterwards from the caller's again."""
        with self._forked():
            self.restore(self._kept)
            yield
            self._kept = self.state()

    def state(self) -> dict[str, Tensor]:
        """The generators' present states, by name."""
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def restore(self, states: Mapping[str, Tensor]) -> None:
        """Put the generators into `states`, as far as they name this run's device."""
        torch.set_rng_state(states["cpu"])
        if self._device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self._device)

    @contextmanager
    def _forked(self) -> Iterator[None]:
        devices = [torch.cuda.current_device()] if self._device.type == "cuda" else []
        if self._device.index is not None and devices:
            devices = [self._device.index]
        with torch.random.fork_rng(devices=devices):
            yield


def device_of(name: str | None) -> torch.device:
    """torch's device called `name`; where there is no name CUDA, or else the CPU.

    Raises ValueError where torch knows no such device or cannot use it here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    # torch says so in many ways: an unknown name, no driver, a build without CUDA
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        if "device type at start" in reason:  # followed by two dozen names that no one has
            reason = "torch knows no such device"
        raise ValueError(f"device: {name!r} cannot be used here ({reason}); give cpu") from None
