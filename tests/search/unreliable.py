"""An estimator that fails, or kills its process, as often as it is told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvnas.accuracy import AccuracyEstimator, Estimate
from hvnas.arch import Arch
from hvnas.ops import Program


@dataclass(frozen=True)
class Unreliable(AccuracyEstimator):
    """`inner`, that fails the first `failures` times for every network, or kills its process if `deadly`.

    Attempts are counted by files in `folder`, for all processes together. Networks whose hash ends in one of
    `only` are affected, without it all.
    """

    inner: AccuracyEstimator
    folder: Path
    failures: int = 10**9
    deadly: bool = False
    only: str = "0123456789abcdef"

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """That of `inner`, once it does not fail."""
        for network in archs_or_programs:
            assert isinstance(network, Arch)
            self._attempt(network)
        return self.inner.estimate(archs_or_programs, recipe=recipe, scenario=scenario)

    def _attempt(self, arch: Arch) -> None:
        attempt = self.attempts(arch)
        (self.folder / f"{arch.hash}-{attempt}-{os.getpid()}").touch()
        if attempt >= self.failures or arch.hash[-1] not in self.only:
            return
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(f"attempt {attempt + 1} fails")

    def attempts(self, arch: Arch) -> int:
        """How often `arch` was tried."""
        return len(list(self.folder.glob(f"{arch.hash}-*")))
