"""A network changed: by paths into its file, ``stages.1.local.depth: 2``, or for other images and classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hvnas.arch.arch import Arch, to_dict
from hvnas.arch.files import from_dict
from hvnas.blocks import block_class, list_blocks
from hvnas.blocks.limits import check_number

ROOTS = ("resolution", "tokens", "stem", "stages", "head")
EVERY, TYPED = "*", "@"


def edited(arch: Arch, edits: Mapping[str, Any], *, where: str) -> Arch:
    """`arch` with other values at some paths into its file, applied in order.

    A path names a field, ``stages.2.global.head_dim``, or a whole part, ``stages.3.local`` (null takes it
    away). ``*`` stands for every part that has the field, ``stages.*.*.act``; ``@mb4d.act`` for that field of
    every block of a type. What was published of the network is not said of the other one. Raises ValueError
    naming `where`, the path and what is wrong with it.
    """
    if not edits:
        return arch
    data = to_dict(arch)
    data.pop("published", None)
    data.pop("found", None)
    for path, value in edits.items():
        places = list(_places(data, path, where))
        if not places:
            raise ValueError(f"{where}: {path}: no such field in {arch.name}; correct the path")
        for holder, key in places:
            holder[key] = value
    try:
        return replace(from_dict(data, where=where), name=arch.name)
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply; give plain values") from None


def _places(data: dict[str, Any], path: str, where: str) -> Iterator[tuple[Any, Any]]:
    """Every holder and key that `path` stands for."""
    first, *rest = path.split(".")
    if first.startswith(TYPED) and len(rest) == 1:
        yield from _fields_of_type(data, first.removeprefix(TYPED), rest[0])
        return
    if first not in ROOTS:
        raise ValueError(f"{where}: {path}: a path begins with {', '.join(ROOTS)} or @TYPE; correct it")
    yield from _below(data, [first, *rest])


def _below(holder: Any, parts: list[str]) -> Iterator[tuple[Any, Any]]:
    first, *rest = parts
    if first == EVERY:
        keys = range(len(holder)) if isinstance(holder, list) else list(holder)
        for key in keys:
            if not rest:
                yield holder, key
            elif _is_container(holder[key]) and (
                rest[0] == EVERY or len(rest) > 1 or _has(holder[key], rest[0])
            ):
                yield from _below(holder[key], rest)
        return
    key = _key(holder, first)
    if not rest:
        # A mapping takes any name here: the reader of the file says which fields there are.
        if isinstance(holder, dict) or key is not None:
            yield holder, first if key is None else key
    elif key is not None and _is_container(holder[key]):
        yield from _below(holder[key], rest)


def _key(holder: Any, name: str) -> Any:
    if isinstance(holder, list):
        return int(name) if name.isdecimal() and int(name) < len(holder) else None
    return name if name in holder else None


def _has(holder: Any, field: str) -> bool:
    """Whether a part has the field, or its block has it as an option that is not written."""
    if field in holder:
        return True
    kind = holder.get("type") if isinstance(holder, dict) else None
    if not isinstance(kind, str) or kind not in list_blocks():
        return False
    return field in {f.name for f in dataclasses.fields(block_class(kind))}


def _is_container(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _fields_of_type(data: Any, kind: str, field: str) -> Iterator[tuple[Any, Any]]:
    if isinstance(data, dict) and data.get("type") == kind and _has(data, field):
        yield data, field
    for entry in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from _fields_of_type(entry, kind, field)


def resized(arch: Arch, *, classes: int | None = None, resolution: int | None = None) -> Arch:
    """`arch` with a head for `classes` and for images of `resolution` pixels a side.

    Raises ValueError, one line, for a number out of limits, or a resolution that it cannot be built for,
    which names the nearest that it can.
    """
    for field, value in (("classes", classes), ("resolution", resolution)):
        if value is not None:
            check_number(field, value, field, arch.name)
    fitted = arch.with_(classes=classes, resolution=resolution)
    if resolution is None or (problem := misfit(fitted)) is None:
        return fitted
    raise ValueError(
        f"resolution: {arch.name} cannot be built for {resolution} px: {problem.partition(';')[0]}; "
        f"give {_nearest(arch, resolution)}, the nearest that it can"
    )


def misfit(arch: Arch) -> str | None:
    """Why a network cannot be built from `arch`; None where it can."""
    try:
        for _ in arch.states():
            pass
    except ValueError as error:
        return str(error)
    return None


def _nearest(arch: Arch, resolution: int) -> int:
    """The resolution nearest to the one given that `arch` can be built for, at most its own."""
    away = abs(arch.resolution - resolution)
    tried = (near for step in range(1, away) for near in (resolution + step, resolution - step))
    fits = (near for near in tried if near > 0 and misfit(arch.with_(resolution=near)) is None)
    return next(fits, arch.resolution)
