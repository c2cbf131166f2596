"""Which devices there are, shipped, registered or in files of their own, and how one is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from hvnas._files import data_dir, read_text, read_yaml
from hvnas._registry import Registry
from hvnas.latency.device import Device
from hvnas.latency.files import SCHEMA, _CalibratedFile, hash_of, parse_fields, table_of
from hvnas.latency.model import LinearModel
from hvnas.latency.rows import RowsOfFile, read_rows

Source = Callable[[], Device | str | Path]
_DEVICES: Registry[Source] = Registry("device", group="hvnas.devices")


def register_device(name: str) -> Callable[[Source], Source]:
    """Decorator: a function that returns a Device, or the path of a device file, known under `name`.

    A package offers devices by an entry point of the group ``hvnas.devices``: the device's name, and
    such a function.
    """
    if name in _shipped():
        raise ValueError(f"a device named {name!r} exists already; choose another name")
    return _DEVICES.registering(name)


def list_devices() -> tuple[str, ...]:
    """List the names of the devices there are."""
    return tuple(sorted({*_shipped(), *_DEVICES.names()}))


def load_device(name: str | Path) -> Device:
    """Load a device by name, or from the path of its YAML file.

    Raises ValueError, one line: the names there are, or the file and what is wrong with it.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return read_device(path)
    if str(name) in _shipped():
        return read_device(_shipped()[str(name)])
    if not _DEVICES.has(str(name)):
        raise ValueError(_DEVICES.unknown(str(name), list_devices(), "a path to a .yaml file"))
    made = _DEVICES[str(name)]()
    return made if isinstance(made, Device) else read_device(made)


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(data_dir("latency_tables").glob("*.yaml"))}


def read_device(path: str | Path) -> Device:
    """A Device from its YAML file and the CSV that it names.

    Raises ValueError, one line, naming the file and the field or row at fault.
    """
    path = Path(path)
    data = read_yaml(path, schema=SCHEMA)
    if data.get("method") == "measured":
        from hvnas.latency.tables.op_model import measured_device

        return measured_device(path, data)
    return _calibrated(path, data)


def _calibrated(path: Path, data: dict[str, Any]) -> Device:
    parsed = parse_fields(_CalibratedFile, data, path)
    table = table_of(path, parsed.rows)
    rows = RowsOfFile(table) if path in _shipped().values() else read_rows(table)
    parameters = parsed.parameters
    needed = [term.column for term in (*parameters.terms, *parameters.floor)]
    needed += [rule.column for rule in parsed.rules]
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
        report=parsed.error,
        rows=rows,
    )
