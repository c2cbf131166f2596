"""A device's latency block by block: the lookup table that the field's papers publish."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hvnas._records import csv_text
from hvnas.arch import Arch
from hvnas.blocks import lower_block
from hvnas.blocks.mobileformer import GlobalTokens
from hvnas.latency.device import Device
from hvnas.latency.model import LatencyModel, LinearModel, grouped
from hvnas.latency.tables.block_keys import BlockKey, block_keys, keys_of
from hvnas.ops import Program
from hvnas.space.space import Space

FIXED = "fixed"
GIVEN = ("in_channels", "in_height", "in_width", "in_tokens", "in_dim")
# Columns whose names a block's field could share.
TAKEN = frozenset({"key", "block", "uses", "ms", "floor_ms", "inside", *GIVEN})


@dataclass(frozen=True)
class LookupRow:
    """A block on what it is given: milliseconds without the fixed cost, and by kind of op.

    `floor_ms` is None where the device's model has no floor. `inside` says whether the block by itself
    keeps the device's rules; those that count over a network (switches, say) may still exclude a network
    of such blocks.
    """

    key: BlockKey
    ms: float
    floor_ms: float | None
    kinds: Mapping[str, float]
    inside: bool


def fixed_ms(device: Device) -> float:
    """What every network takes once, whatever its blocks."""
    return device.model.parts(Program((), (), 0))[0]


def lookup(device: Device, keys: Sequence[BlockKey]) -> list[LookupRow]:
    """A row for each key, in order.

    The rows of a network's blocks (`network_keys`) sum to ``device.latency(program).ms``: `fixed_ms` plus
    the sum of `ms`; with a floor, plus the larger of the sums of `ms` and of `floor_ms`.
    """
    terms, floor = _sides(device.model)
    return [_row(device, terms, floor, key) for key in keys]


def space_keys(space: Space, networks: int, *, seed: int) -> list[BlockKey]:
    """The distinct blocks of `networks` members and of the fixed points, the most used first.

    Global tokens, which cost what their learned tensor does, are rows as well.
    """
    found = block_keys(space, networks, np.random.default_rng(seed))
    choices = space.genes[space.layout.tokens].values
    tokens = [_tokens_key(GlobalTokens(count=t[0], out=t[1])) for t in choices if t is not None]
    return sorted([*found, *tokens], key=lambda key: (-key.uses, key.name))


def network_keys(arch: Arch) -> Iterator[BlockKey]:
    """The key of every part of a network, global tokens included."""
    yield from keys_of(arch)
    if arch.tokens is not None:
        yield _tokens_key(GlobalTokens(count=arch.tokens[0], out=arch.tokens[1]))


def lookup_text(device: Device, space: str, rows: Sequence[LookupRow], *, networks: int) -> str:
    """The table as CSV: lines of comment (``#``), a header, the fixed cost as a row, then a row per block.

    A block's columns are its fields, empty where its type has none; ``share_KIND`` is a kind's share of `ms`.
    """
    fields = _field_names(rows)
    kinds = sorted({kind for row in rows for kind, ms in row.kinds.items() if ms > 0})
    floor = ["floor_ms"] if any(row.floor_ms is not None for row in rows) else []
    header = ["key", "block", "uses", *fields, *GIVEN, "ms", *floor, "inside", *(f"share_{k}" for k in kinds)]
    said = (f"# {' '.join(line.split())}\n" for line in _said(device, space, rows, networks=networks))
    fixed = {"key": FIXED, "block": FIXED, "ms": repr(fixed_ms(device))} | dict.fromkeys(floor, "0.0")
    return "".join(said) + csv_text([fixed, *map(_cells, rows)], header)


def _tokens_key(tokens: GlobalTokens) -> BlockKey:
    from hvnas.ops import State

    # Tokens are learned: whatever the map, they are the same work.
    return BlockKey(block=tokens, state=State(map=(1, 1, 1)))


def _sides(model: LatencyModel) -> tuple[LatencyModel, LatencyModel | None]:
    """The model without its floor, and its floor as a model."""
    if not isinstance(model, LinearModel) or not model.floor:
        return model, None
    terms = dataclasses.replace(model, floor=())
    return terms, dataclasses.replace(model, terms=model.floor, floor=())


def _row(device: Device, terms: LatencyModel, floor: LatencyModel | None, key: BlockKey) -> LookupRow:
    ops = lower_block(key.block, key.state).ops
    program = Program(ops, ("",) * len(ops), key.program.resolution)
    parts = terms.parts(program)[1]
    return LookupRow(
        key=key,
        ms=sum(ms for _, _, ms in parts),
        floor_ms=None if floor is None else sum(ms for _, _, ms in floor.parts(program)[1]),
        kinds=grouped([op.kind for _, op, _ in parts], [ms for _, _, ms in parts]),
        inside=device.latency(program).inside,
    )


def _field_names(rows: Sequence[LookupRow]) -> list[str]:
    names = dict.fromkeys(f.name for row in rows for f in dataclasses.fields(row.key.block))
    assert not TAKEN & names.keys(), TAKEN & names.keys()
    return list(names)


def _said(device: Device, space: str, rows: Sequence[LookupRow], *, networks: int) -> list[str]:
    info = device.info
    how = "measured" if info.method == "measured" else f"{info.method}, not measured"
    with_floor = any(row.floor_ms is not None for row in rows)
    total = "the larger of the sums of ms and of floor_ms" if with_floor else "the sum of ms"
    return [
        f"{device.name} ({device.hash}): {how}; {info.device}, {info.runtime}, {info.precision}, "
        f"batch {info.batch}",
        f"blocks of {networks} networks drawn from {space} and of its fixed points; "
        "uses counts them there; ms without the fixed cost",
        f"a network takes the row {FIXED}, once, plus {total} over its blocks",
        "inside: the block alone keeps the device's rules; those that count over a network may still exclude",
    ]


def _cells(row: LookupRow) -> dict[str, Any]:
    key, state = row.key, row.key.state
    given = dict(zip(GIVEN, (*(state.map or ("",) * 3), *(state.tokens or ("",) * 2)), strict=True))
    cells = {f.name: _text(getattr(key.block, f.name)) for f in dataclasses.fields(key.block)}
    cells |= {"key": key.name, "block": key.block.type, "uses": str(key.uses), "ms": repr(float(row.ms))}
    if row.floor_ms is not None:
        cells["floor_ms"] = repr(float(row.floor_ms))
    shares = {f"share_{k}": f"{ms / row.ms:.4f}" for k, ms in row.kinds.items() if ms > 0}
    return {**given, **cells, **shares, "inside": _text(row.inside)}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return "-".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
