"""The device that a network is trained on, and torch's generators of one run, apart from the caller's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


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
        raise ValueError(f"device: {name!r} cannot be used here ({reason}); give cpu") from None
