"""Devices by name, shipped, registered or in files of their own: which there are, how one is read, and what
the one that a network was found for says of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas import _numbers as numbers
from hvnas._cache import code_hash, read_facts
from hvnas._files import data_dir, read_text, read_yaml
from hvnas._registry import Registry
from hvnas.latency.provenance import DeviceInfo, DeviceSummary, method, vendor_of, words_of

if TYPE_CHECKING:
    from hvnas.arch import Arch
    from hvnas.latency.device import Device, LatencyEstimate

Source = Callable[[], "Device | str | Path"]
# What is known beforehand of the devices that ship.
FACTS = "devices"
_CODE = tuple(f"latency/{name}.py" for name in "columns device files model provenance registry rows".split())
# The files of a search's folder: here they are only read.
_CONFIG, _SCHEMA = "config.yaml", "hvnas.run/1"
_DECIMALS = 4
# Characters of a name that is compared with others, and devices that are named.
LONGEST_NAME, MOST_NEAR = 100, 3
_DEVICES: Registry[Source] = Registry("device", group="hvnas.devices")


def register_device(name: str) -> Callable[[Source], Source]:
    """Decorator: a function that returns a Device, or the path of a device file, known under `name`.

    A package offers devices by an entry point of the group ``hvnas.devices``: the device's name, and
    such a function.
    """
    if name in shipped_files():
        raise ValueError(f"a device named {name!r} exists already; choose another name")
    return _DEVICES.registering(name)


def list_devices() -> tuple[str, ...]:
    """List the names of the devices there are."""
    return tuple(sorted({*shipped_files(), *_DEVICES.names()}))


def load_device(name: str | Path) -> Device:
    """Load a device by name, or from the path of its YAML file.

    Raises ValueError, one line: the names there are, or the file and what is wrong with it.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return read_device(path)
    if str(name) in shipped_files():
        return _ready(str(name)) or read_device(shipped_files()[str(name)])
    if not _DEVICES.has(str(name)):
        unknown = _DEVICES.unknown(str(name), list_devices(), "a path to a .yaml file")
        raise ValueError(unknown + _nearest(str(name)))
    made = _DEVICES[str(name)]()
    return read_device(made) if isinstance(made, (str, Path)) else made


def _nearest(name: str) -> str:
    """What to add where `name` is no device: those whose chips are of the vendor that it tells of."""
    vendor = vendor_of(name) if len(name) <= LONGEST_NAME else None
    if vendor is None:
        return ""
    found = []
    for other in list_devices():
        with suppress(ValueError, OSError):
            info = summarise_device(other).info
            if info.chip_vendor == vendor:
                found.append((_far(name, f"{other} {info.device} {info.soc}"), other))
    if not found:
        return f"; none has a chip of {vendor}, as that seems to have"
    near = ", ".join(other for _, other in sorted(found)[:MOST_NEAR])
    return f"; nearest to it, with chips of {vendor}: {near} (hvnas latency calibrate fits one to yours)"


def _far(name: str, other: str) -> tuple[int, int, int]:
    """How far a name is from a device's: by words that are lacking, by numbers, and how far these are off."""
    words, others = set(words_of(name)), set(words_of(other))
    lacking = words - others
    numbers = [int(word) for word in lacking if word.isdecimal()]
    known = [int(word) for word in others if word.isdecimal()]
    apart = min((abs(a - b) for a in numbers for b in known), default=0)
    return len(lacking) - len(numbers), len(numbers), apart


def summarise_device(name: str) -> Device | DeviceSummary:
    """What there is to say of a device, without its model where that is faster. Raises as `load_device`."""
    facts = _facts().get(name)
    if facts is None:
        return load_device(name)
    return DeviceSummary(
        name=name, hash=facts["hash"], info=DeviceInfo(**facts["info"]), report=facts["report"]
    )


@lru_cache(maxsize=1)
def shipped_files() -> dict[str, Path]:
    """The devices' files that ship, by the devices' names."""
    return {path.stem: path for path in sorted(data_dir("latency_tables").glob("*.yaml"))}


@cache
def facts_key() -> str:
    """The key of the file of `device_facts`: of the devices' files and the code that reads them."""
    whole = hashlib.blake2b(digest_size=8)
    for path in sorted(data_dir("latency_tables").iterdir()):
        if path.suffix in (".yaml", ".csv"):
            whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{whole.hexdigest()} {code_hash(*_CODE)}"


@cache
def _facts() -> dict[str, dict[str, Any]]:
    return read_facts(FACTS, facts_key()) or {}


def device_facts() -> dict[str, dict[str, Any]]:
    """All that is read of the devices that ship and are sums of terms, worked out from their files."""
    from hvnas.latency.model import LinearModel
    from hvnas.latency.rows import RowsOfFile, columns_of, fastest_of

    devices = (read_device(path) for path in shipped_files().values())
    return {
        device.name: {
            "hash": device.hash,
            "info": dataclasses.asdict(device.info),
            "fixed_ms": device.model.fixed_ms,
            "terms": list(map(dataclasses.asdict, device.model.terms)),
            "floor": list(map(dataclasses.asdict, device.model.floor)),
            "rules": list(map(dataclasses.asdict, device.rules)),
            "inside_error": dataclasses.asdict(device.inside_error),
            "outside_error": dataclasses.asdict(device.outside_error),
            "pace": None if device.pace is None else dataclasses.asdict(device.pace),
            "report": device.report,
            "rows": device.rows.path.name,
            "fastest": fastest_of(device.rows),
            "columns": columns_of(device.rows),
        }
        for device in devices
        if isinstance(device.model, LinearModel) and isinstance(device.rows, RowsOfFile)
    }


def _ready(name: str) -> Device | None:
    """A device that ships, from what is known beforehand; None where nothing is."""
    facts = _facts().get(name)
    if facts is None:
        return None
    from hvnas.latency.device import Device, Rule
    from hvnas.latency.model import LinearModel, Term
    from hvnas.latency.rows import Fastest, RowsOfFile
    from hvnas.latency.scores import Pace, StudentT

    terms, floor = (tuple(Term(**term) for term in facts[part]) for part in ("terms", "floor"))
    fastest = None if facts["fastest"] is None else Fastest(*facts["fastest"])
    return Device(
        name=name,
        hash=facts["hash"],
        info=DeviceInfo(**facts["info"]),
        model=LinearModel(facts["fixed_ms"], terms, floor),
        rules=tuple(Rule(**rule) for rule in facts["rules"]),
        inside_error=StudentT(**facts["inside_error"]),
        outside_error=StudentT(**facts["outside_error"]),
        pace=None if facts["pace"] is None else Pace(**facts["pace"]),
        report=facts["report"],
        rows=RowsOfFile(
            data_dir("latency_tables") / facts["rows"], fastest=fastest, columns=facts["columns"]
        ),
    )


def read_device(path: str | Path) -> Device:
    """A Device from its YAML file and the CSV that it names.

    Raises ValueError, one line, naming the file and the field or row at fault.
    """
    from hvnas.latency.files import SCHEMA

    path = Path(path)
    data = read_yaml(path, schema=SCHEMA)
    if data.get("method") == "measured":
        from hvnas.latency.tables.op_model import measured_device

        return measured_device(path, data)
    return _calibrated(path, data)


def _calibrated(path: Path, data: dict[str, Any]) -> Device:
    from hvnas.latency.device import Device
    from hvnas.latency.files import _CalibratedFile, hash_of, parse_fields, table_of
    from hvnas.latency.model import LinearModel
    from hvnas.latency.rows import RowsOfFile, read_rows

    parsed = parse_fields(_CalibratedFile, data, path)
    table = table_of(path, parsed.rows)
    rows = RowsOfFile(table) if path in shipped_files().values() else read_rows(table)
    parameters = parsed.parameters
    needed = [term.column for term in (*parameters.terms, *parameters.floor)]
    needed += [rule.column for rule in parsed.rules]
    needed += [] if parsed.interval.pace is None else ["macs"]
    for name in () if isinstance(rows, RowsOfFile) else needed:
        if name not in rows[0].values:
            raise ValueError(f"{table}: row 1: {name}: this column is missing; {path.name} uses it")
    return Device(
        name=parsed.name,
        hash=hash_of(data, read_text(table)),
        info=parsed.info,
        model=LinearModel(parameters.fixed_ms, tuple(parameters.terms), tuple(parameters.floor)),
        rules=tuple(parsed.rules),
        inside_error=parsed.interval.inside,
        outside_error=parsed.interval.outside,
        pace=parsed.interval.pace,
        report=parsed.error,
        rows=rows,
    )


@dataclass(frozen=True)
class StatedLatency:
    """The predicted latency of a network of `macs` MACs on `device`; `file` is the device's, where no name
    leads to it.
    """

    device: Device
    estimate: LatencyEstimate
    macs: float
    budget_ms: float | None = None
    file: str | None = None

    @property
    def chance(self) -> float | None:
        """The chance of the budget, None without one."""
        if self.budget_ms is None:
            return None
        ms, inside = self.estimate.ms, self.estimate.inside
        return float(self.device.p_within_of(ms, self.budget_ms, inside=inside, macs=self.macs))

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
    from hvnas.latency.rows import LONGEST_MS

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
        program = arch.lower()
        wanted = float(budget) if is_number else None  # type: ignore[arg-type]
        return StatedLatency(loaded, loaded.latency(program), program.macs, wanted, file)
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
