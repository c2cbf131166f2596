"""Scores of several networks under several proxies, with the time that each took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hvnas.accuracy.proxies.registry import Array, list_proxies, load_proxy
from hvnas.accuracy.ranks import places
from hvnas.arch import Arch


@dataclass(frozen=True)
class ProxyColumn:
    """One proxy's scores of the networks and the seconds of wall time that each took. Shape [n] each."""

    proxy: str
    scores: Array
    seconds: Array

    @property
    def places(self) -> list[int]:
        """The place of each network, 1 for the best; scores that are not finite come last."""
        return places(self.scores)

    @property
    def failed(self) -> int:
        """How many scores are not finite."""
        return int((~np.isfinite(self.scores)).sum())


def score_table(
    archs: Sequence[Arch], *, proxies: Sequence[str] | None = None, seed: int = 0
) -> tuple[ProxyColumn, ...]:
    """A column for each of `proxies`, all of them by default. Raises ValueError for an unknown name."""
    names = tuple(dict.fromkeys(list_proxies() if proxies is None else proxies))
    loaded = [load_proxy(name) for name in names]
    columns = []
    for name, proxy in zip(names, loaded, strict=True):
        scores, seconds = np.empty(len(archs)), np.empty(len(archs))
        for i, arch in enumerate(archs):
            started = time.perf_counter()
            scores[i] = proxy.score(arch, seed=seed)
            seconds[i] = time.perf_counter() - started
        columns.append(ProxyColumn(name, scores, seconds))
    return tuple(columns)
