"""What is said of a device beside its numbers: their source, their error, and latencies stated of a
network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas import _numbers as numbers
from hvnas._files import read_yaml
from hvnas.arch import Arch
from hvnas.latency.columns import clean, column
from hvnas.latency.device import Device, LatencyDevice, LatencyEstimate
from hvnas.latency.registry import load_device
from hvnas.latency.rows import LONGEST_MS, SAME_WORK, SCALED
from hvnas.ops import Program, evaluate_columns

if TYPE_CHECKING:
    from hvnas.latency import DeviceInfo


# What a device's file may say of its errors, the most telling first, and of which networks.
_STATED = (
    ("family_left_out", "whose family the fit has not seen"),
    ("model_left_out", "left out of the fit one at a time"),
    ("validation", "measured to validate it"),
    ("network_left_out", "left out of the fit one at a time"),
)
_PLACES = (
    ("in_gate", "inside its gate"),
    ("all_networks", "over all networks"),
    ("overall", "over all networks"),
    ("", "over all networks"),
)

# The files of a search's folder: here they are only read.
_CONFIG, _SCHEMA = "config.yaml", "hvnas.run/1"
_DECIMALS = 4


def provenance(device: LatencyDevice) -> str:
    """One line: how the device's latencies were obtained, and how far off they are.

    A search takes devices that know nothing but latencies; of them the line says so.
    """
    info = device.info
    if info is None:
        return f"{device.name} does not say how its latencies were obtained."
    said = f"{device.name} is {method(info)}"
    for kind, whose in _STATED:
        errors = [
            f"{error:.1f} % {where}"
            for place, where in _PLACES
            if (error := _stated(device, kind, place)) is not None
        ]
        if errors:
            return f"{said}; mean error of networks {whose}: {', '.join(errors)}."
    return f"{said}; its file states no error."


def beyond_measured(device: LatencyDevice, name: str, *, macs: int, ms: float) -> str | None:
    """One line where the network `name` would compute faster than all that were measured; None elsewhere.

    A table is a sum of costs, and a search finds where they add up to a pace that no network kept.
    """
    kept = {row.network: row.values["macs"] / row.ms for row in device.rows if "macs" in row.values}
    fastest = max(kept, key=lambda network: kept[network], default=None)
    if fastest is None or macs / ms <= kept[fastest]:
        return None
    return (
        f"{name} would compute {macs / ms / 1e9:.2f} G MACs a millisecond on {device.name}, where no "
        f"network measured on it does more than {kept[fastest] / 1e9:.2f} ({fastest}): time it "
        "before you rely on it."
    )


@dataclass(frozen=True)
class LookedUp:
    """The time of a network that a device's table holds: milliseconds, whose they are, and how measured."""

    ms: float
    network: str
    said: str


def looked_up(device: LatencyDevice, program: Program) -> LookedUp | None:
    """Look a network up in the table of `device`; None where the table does not hold it.

    A network is told by the work that it is (`SAME_WORK`), whatever its name; tables without these columns
    are not looked in. Times of the device come before such as were measured on other chips and scaled to it.
    """
    rows = device.rows
    if not rows or not set(SAME_WORK) <= set(rows[0].values):
        return None
    work = clean(evaluate_columns([column(name) for name in SAME_WORK], program)).round().tolist()
    same = [row for row in rows if [round(row.values[name]) for name in SAME_WORK] == work]
    for cohort, said in ((device.report.get("cohort"), "measured"), (SCALED, "")):
        found = [row for row in same if row.cohort == cohort]
        if found:
            ms = sum(row.ms for row in found) / len(found)
            return LookedUp(ms, found[0].model, said or found[0].protocol)
    return None


def method(info: DeviceInfo) -> str:
    """How the latencies were obtained, so that nobody takes a calibrated one for measured."""
    return "measured" if info.method == "measured" else f"{info.method}, not measured"


def label(device: Device) -> str:
    """The device's name, and what its milliseconds are of where that is no single image."""
    batch = device.info.batch
    return device.name if batch == 1 else f"{device.name} (ms per image, batch {batch})"


def left_out_error(device: LatencyDevice, place: str) -> float | None:
    """The mean absolute error in percent, family left out; None where the device's file states none.

    `place` is ``in_gate`` or ``all_networks``.
    """
    return _stated(device, "family_left_out", place)


def _stated(device: LatencyDevice, *path: str) -> float | None:
    value: Any = device.report
    for key in (*filter(None, path), "mape"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None


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
