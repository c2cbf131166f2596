"""Which devices there are: shipped files, registered ones, and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from hvnas._registry import Registry
from hvnas.latency.device import Device
from hvnas.latency.files import read_device
from hvnas.paths import data_dir

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
