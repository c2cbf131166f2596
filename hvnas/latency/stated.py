"""The latency that is stated of a network derived from another one: on the same device, beside its budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hvnas import _numbers as numbers
from hvnas._files import read_yaml
from hvnas._provenance import method
from hvnas.arch import Arch
from hvnas.latency.device import Device, LatencyEstimate
from hvnas.latency.registry import load_device
from hvnas.latency.rows import LONGEST_MS

# The files of a search's folder: here they are only read.
_CONFIG, _SCHEMA = "config.yaml", "hvnas.run/1"
_DECIMALS = 4


@dataclass(frozen=True)
class StatedLatency:
    """The predicted latency of a network on `device`; `file` is the device's, where no name leads to it."""

    device: Device
    estimate: LatencyEstimate
    budget_ms: float | None = None
    file: str | None = None

    @property
    def chance(self) -> float | None:
        """The chance of the budget, None without one."""
        if self.budget_ms is None:
            return None
        return float(self.device.p_within(self.estimate.ms, self.budget_ms, inside=self.estimate.inside))

    def to_json(self) -> dict[str, Any]:
        """Plain data, under the names of an Arch file's ``found:``, milliseconds to four decimals."""
        estimate, chance = self.estimate, self.chance
        facts: dict[str, Any] = {"device": self.device.name}
        if self.file is not None:
            facts["device_file"] = self.file
        facts |= {
            "device_hash": self.device.hash,
            "latency_ms": round(estimate.ms, _DECIMALS),
            "latency_low": round(estimate.low, _DECIMALS),
            "latency_high": round(estimate.high, _DECIMALS),
            "latency_method": f"predicted, {method(self.device.info)}",
            "inside": estimate.inside,
        }
        if chance is not None:
            facts |= {"budget_ms": self.budget_ms, "p_within_budget": round(chance, _DECIMALS)}
        return facts

    def __str__(self) -> str:
        estimate, chance = self.estimate, self.chance
        interval = numbers.interval(estimate.low, estimate.high)
        said = (
            f"{numbers.ms(estimate.ms)} ms predicted on {self.device.name} "
            f"({method(self.device.info)}; 5–95 %: {interval} ms)"
        )
        if chance is None:
            return said
        return f"{said}, {numbers.chance(chance)} chance of the {self.budget_ms:g} ms budget"


def stated_latency(
    arch: Arch,
    origin: Mapping[str, Any] | None,
    *,
    device: str | Path | None = None,
    beside: str | Path | None = None,
) -> StatedLatency | None:
    """Predict the latency of `arch` on `device`, or on that of `origin`, beside the budget of `origin`.

    `origin` is the ``found:`` of the network that `arch` comes from; `beside` the folder of the search that
    found it, which knows a device that is a file. None where neither leads to a device. Raises ValueError for
    a `device` that cannot be loaded.
    """
    origin = origin or {}
    names = [str(device)] if device is not None else _names(origin, beside)
    for name in names:
        try:
            loaded = load_device(name)
        except ValueError:
            if device is not None:
                raise
            continue
        budget = origin.get("budget_ms")
        is_number = type(budget) in (int, float) and 0 < budget <= LONGEST_MS  # type: ignore[operator]
        file = str(Path(name).resolve()) if Path(name).suffix in (".yaml", ".yml") else None
        return StatedLatency(loaded, loaded.latency(arch.lower()), float(budget) if is_number else None, file)  # type: ignore[arg-type]
    return None


def restated(
    arch: Arch,
    origin: Arch,
    *,
    device: str | Path | None = None,
    beside: str | Path | None = None,
) -> Arch:
    """`arch`, made of `origin`, with the latency of its own in ``found:``; see `stated_latency`.

    Where it is the same network and no other `device` is asked for, what was found of it stays.
    """
    if arch == origin and device is None:
        return arch
    stated = stated_latency(arch, origin.found, device=device, beside=beside)
    return arch if stated is None else replace(arch, found=stated.to_json())


def _names(origin: Mapping[str, Any], beside: str | Path | None) -> list[str]:
    """What may lead to the device of `origin`, the surest first."""
    names = [origin.get("device_file"), origin.get("device")]
    if origin and beside is not None and (path := Path(beside) / _CONFIG).is_file():
        names.insert(0, read_yaml(path, schema=_SCHEMA).get("device"))
    return [name for name in names if isinstance(name, str)]
