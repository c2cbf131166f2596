"""What is said of a device beside its numbers: their source and their error."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hvnas.latency.rows import Measurement
    from hvnas.ops import Program


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


MONTHS = tuple(
    "January February March April May June July August September October November December".split()
)


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What the numbers are of, and where they come from."""

    description: str
    device: str
    soc: str
    os: str
    runtime: str
    runtime_version: str
    compute_unit: str
    precision: str
    threads: int | None
    batch: int
    statistic: str
    tool: str
    date: str
    source: str
    method: str
    protocol: str
    vendor: str = ""

    @property
    def chip_vendor(self) -> str:
        """Who makes the chip: `vendor`, or what `soc` and `device` tell of it, or ``other``."""
        return self.vendor or vendor_of(f"{self.soc} {self.device}") or "other"

    @property
    def measured_until(self) -> datetime.date | None:
        """The last month that `date` names, as its first day; None where it names none."""
        years = [(int(year), int(month)) for year, month in re.findall(r"(\d{4})-(\d{2})", self.date)]
        years += [
            (int(year), MONTHS.index(month) + 1)
            for month, year in re.findall(rf"\b({'|'.join(MONTHS)}) (\d{{4}})\b", self.date)
        ]
        told = [datetime.date(year, month, 1) for year, month in years if 1 <= month <= 12 and year >= 1]
        return max(told, default=None)


# Words that tell who makes a chip, of chips, processors and of what they are sold in; the surest first.
VENDORS = (
    ("Samsung", "exynos"),
    ("MediaTek", "mediatek dimensity helio"),
    ("Qualcomm", "qualcomm snapdragon dragonwing adreno hexagon qcs sm galaxy oneplus xiaomi redmi"),
    ("Google", "google tensor pixel"),
    ("Apple", "apple iphone ipad macbook imac"),
    ("NVIDIA", "nvidia geforce rtx gtx jetson tesla quadro"),
    ("Intel", "intel xeon i3 i5 i7 i9"),
    ("AMD", "amd epyc ryzen radeon"),
    ("Arm", "arm cortex raspberry"),
)


def vendor_of(text: str) -> str | None:
    """Who makes the chip that a device's name or description is of; None where no word of it tells."""
    words = set(words_of(text))
    return next((vendor for vendor, known in VENDORS if words.intersection(known.split())), None)


def words_of(text: str) -> list[str]:
    """The words of a name in lower case, also without the numbers at their end; then those numbers."""
    found: list[str] = []
    for word in re.findall("[a-z0-9]+", text.lower()):
        letters = word.rstrip("0123456789")
        found += [word] if letters in ("", word) else [word, letters, word[len(letters) :]]
    return found


class Described(Protocol):
    """What a device's file says beside its numbers."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def info(self) -> DeviceInfo | None:
        """What its numbers are of."""

    @property
    def report(self) -> Mapping[str, Any]:
        """Its errors."""


class WithRows(Protocol):
    """What was measured on a device."""

    @property
    def name(self) -> str:
        """The device's name."""

    @property
    def report(self) -> Mapping[str, Any]:
        """What its file says of its errors."""

    @property
    def rows(self) -> Sequence[Measurement]:
        """The measurements."""


@dataclass(frozen=True, kw_only=True)
class DeviceSummary:
    """A device without its model: all that a list of devices shows. See `hvnas.latency.Device`."""

    name: str
    hash: str
    info: DeviceInfo
    report: Mapping[str, Any]


def provenance(device: Described) -> str:
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
            if (error := stated_error(device, kind, place)) is not None
        ]
        if errors:
            return f"{said}; mean error of networks {whose}: {', '.join(errors)}."
    return f"{said}; its file states no error."


def beyond_measured(device: WithRows, name: str, *, macs: int, ms: float) -> str | None:
    """One line where the network `name` would compute faster than all that were measured; None elsewhere.

    A table is a sum of costs, and a search finds where they add up to a pace that no network kept.
    """
    from hvnas.latency.rows import fastest_of

    fastest = fastest_of(device.rows)
    if fastest is None or macs / ms <= fastest.pace:
        return None
    return (
        f"{name} would compute {macs / ms / 1e9:.2f} G MACs a millisecond on {device.name}, where no "
        f"network measured on it does more than {fastest.pace / 1e9:.2f} ({fastest.network}): time it "
        "before you rely on it."
    )


@dataclass(frozen=True)
class LookedUp:
    """The time of a network that a device's table holds: milliseconds, whose they are, and how measured."""

    ms: float
    network: str
    said: str


def looked_up(device: WithRows, program: Program) -> LookedUp | None:
    """Look a network up in the table of `device`; None where the table does not hold it.

    A network is told by the work that it is (`SAME_WORK`), whatever its name; tables without these columns
    are not looked in. Times of the device come before such as were measured on other chips and scaled to it.
    """
    from hvnas.latency.columns import clean, column
    from hvnas.latency.rows import SAME_WORK, SCALED, columns_of
    from hvnas.ops import evaluate_columns

    rows = device.rows
    if not set(SAME_WORK) <= set(columns_of(rows)):
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


def label(device: Described) -> str:
    """The device's name, and what its milliseconds are of where that is no single image."""
    batch = 1 if device.info is None else device.info.batch
    return device.name if batch == 1 else f"{device.name} (ms per image, batch {batch})"


def left_out_error(device: Described, place: str) -> float | None:
    """The mean absolute error in percent, family left out; None where the device's file states none.

    `place` is ``in_gate`` or ``all_networks``.
    """
    return stated_error(device, "family_left_out", place)


def stated_error(device: Described, *path: str) -> float | None:
    value: Any = device.report
    for key in (*filter(None, path), "mape"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None
