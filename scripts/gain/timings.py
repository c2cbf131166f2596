"""How fast networks are on this host beside one of them, measured once each and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from hvnas._files import write_atomic
from hvnas._records import Cell, csv_text, read_records
from hvnas.arch import Arch
from hvnas.latency.measure.sampling import Sampled
from hvnas.latency.provenance import DeviceInfo

FILE = "timings.csv"
DEFAULT_BACKEND = "torch-cpu"
ROUNDS, RUNS = 9, 3

Timer = Callable[[Sequence[Arch]], Sequence[Sampled]]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a network and of the reference, timed in turn in the same rounds.

    `spread` is the range over the rounds of the network's.
    """

    network: str  # the hash of the architecture
    reference: str
    ms: Annotated[float, Cell(above=0, unit="milliseconds")]
    spread: Annotated[float, Cell(least=0, unit="milliseconds")]
    reference_ms: Annotated[float, Cell(above=0, unit="milliseconds")]

    @property
    def ratio(self) -> float:
        """The latency as a share of the reference's: what slows the host for a while slows both."""
        return self.ms / self.reference_ms


class Timings:
    """Latencies beside a reference, kept in ``timings.csv`` of a folder, so that a killed study goes on."""

    def __init__(self, folder: str | Path, timer: Timer, reference: Arch) -> None:
        """`timer` times networks in turn. Raises ValueError naming file and line."""
        self.path, self.reference, self._timer = Path(folder) / FILE, reference, timer
        self._all = _read(self.path)
        self._known = {timing.network: timing for timing in self._all if timing.reference == reference.hash}

    def of(self, arch: Arch) -> Timing:
        """The timing of `arch`, measured now where it is not known."""
        if arch.hash not in self._known:
            in_turn = [self.reference] if arch.hash == self.reference.hash else [arch, self.reference]
            times = self._timer(in_turn)
            own, beside = times[0], times[-1]
            timing = Timing(arch.hash, self.reference.hash, own.ms, own.spread, beside.ms)
            self._known[arch.hash] = timing
            self._all.append(timing)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, csv_text(map(asdict, self._all)))
        return self._known[arch.hash]

    @property
    def reference_ms(self) -> float:
        """Milliseconds of the reference: the median of all times that it was timed beside a network."""
        self.of(self.reference)
        return float(np.median([timing.reference_ms for timing in self._known.values()]))


def host_timer(backend: str, *, threads: int = 1) -> Timer:
    """Times networks on this host, each round one after the other: medians of the fastest of a few runs.

    Raises ValueError as `make_backend`.
    """
    from hvnas.latency.measure.backends import make_backend
    from hvnas.latency.measure.sampling import sample_interleaved

    timer = make_backend(backend, threads=threads)

    def times(archs: Sequence[Arch]) -> list[Sampled]:
        return sample_interleaved([timer.network(arch) for arch in archs], rounds=ROUNDS, runs=RUNS)

    return times


def backend_of(info: DeviceInfo) -> str:
    """The backend that a device's table is of, torch on the CPU where none is of that name."""
    from hvnas.latency.measure.backends import list_backends

    return info.runtime if info.runtime in list_backends() else DEFAULT_BACKEND


def _read(path: Path) -> list[Timing]:
    return read_records(path, Timing) if path.exists() else []
