"""The blocks that a space can emit, each with the state that it is given, and a few that stand for all.

A device's latency block by block: the lookup table that the field's papers publish.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_yaml, refuse_unknown, write_atomic
from hvnas._names import shown
from hvnas._records import csv_text
from hvnas._yaml import dump_yaml
from hvnas.arch import Arch, block_from_dict, block_to_dict, load_arch
from hvnas.blocks import Block, block_class, lower_block
from hvnas.blocks.mobileformer import GlobalTokens
from hvnas.latency.device import Device
from hvnas.latency.model import LatencyModel, LinearModel, grouped
from hvnas.latency.rows import LARGEST_SIDE
from hvnas.ops import Program, State
from hvnas.space.space import Space

SCHEMA = "hvnas.block/1"
MACS = (0.1e9, 5e9)  # of the networks that are drawn
NO_COMPUTE = frozenset({"tokens"})  # roles of parts that only hand out learned tensors


@dataclass(frozen=True, kw_only=True)
class BlockKey:
    """A block and the state that it is given: one row of a block table.

    `state` holds no tokens that pass the block by. `uses` counts the blocks of this key in the networks
    that were drawn; it is no part of the identity.
    """

    block: Block
    state: State
    uses: int = field(default=1, compare=False)

    @cached_property
    def name(self) -> str:
        """``TYPE-SHAPE-HASH``: fit for a file's name, the same for equal keys only."""
        shape = "x".join(map(str, self.state.map or self.state.tokens or ()))
        text = json.dumps([block_to_dict(self.block), dataclasses.astuple(self.state)], sort_keys=True)
        return f"{self.block.type}-{shape}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def is_stackable(self) -> bool:
        """Whether the block leaves the state that it is given, so that copies can follow each other."""
        return lower_block(self.block, self.state).state == self.state

    def depths(self, most: int) -> tuple[int, int]:
        """The two depths at which the block is measured: 1 and `most`, or 0 and 1 (`hvnas.nn.network`)."""
        return (1, most) if self.is_stackable else (0, 1)

    @cached_property
    def program(self) -> Program:
        """The block by itself as a Program."""
        ops = lower_block(self.block, self.state).ops
        size = self.state.map[1] if self.state.map else 0
        return Program(ops, (self.block.type,) * len(ops), size)

    def fields(self) -> dict[str, Any]:
        """The block's own fields and the sizes of what it is given: ``in.channels``, ``in.height``, ..."""
        values = {f.name: getattr(self.block, f.name) for f in dataclasses.fields(self.block)}
        if self.state.map is not None:
            values |= {"in.channels": self.state.map[0], "in.height": self.state.map[1]}
        if self.state.tokens is not None:
            values |= {"in.tokens": self.state.tokens[0], "in.dim": self.state.tokens[1]}
        return values


def keys_of(arch: Arch) -> Iterator[BlockKey]:
    """The key of every block of a network, in order, each with `uses` 1."""
    for _, block, state in arch.states():
        if block_class(block.type).role in NO_COMPUTE:
            continue
        passes = state.map is not None and state.tokens is not None and not block.two_branch
        yield BlockKey(block=block, state=replace(state, tokens=None) if passes else state)


def block_keys(
    space: Space, n: int, rng: np.random.Generator, *, macs: tuple[float, float] = MACS
) -> tuple[BlockKey, ...]:
    """The distinct keys of `n` members drawn log-uniformly in MACs and of the space's fixed points.

    Sorted by name; `uses` are counts over all of these networks. The same generator state gives the same
    keys. Raises ValueError where the space has no members between the bounds.
    """
    archs = [space.decode(row) for row in space.sample(n, rng=rng, macs=macs)]
    return collect([*archs, *(load_arch(name) for name in space.fixed_points())])


def collect(archs: Iterable[Arch]) -> tuple[BlockKey, ...]:
    """The distinct keys of networks, with counts of use, sorted by name."""
    counts: Counter[BlockKey] = Counter()
    for arch in archs:
        counts.update(keys_of(arch))
    found = (BlockKey(block=key.block, state=key.state, uses=uses) for key, uses in counts.items())
    return tuple(sorted(found, key=lambda key: key.name))


# files


def save_block_key(key: BlockKey, path: str | Path) -> None:
    """Write a key as YAML, schema ``hvnas.block/1``."""
    state = {name: list(value) for name, value in dataclasses.asdict(key.state).items() if value is not None}
    data = {"schema": SCHEMA, "name": key.name, "block": block_to_dict(key.block), "given": state}
    write_atomic(path, dump_yaml(data | {"uses": key.uses}))


def load_block_key(path: str | Path) -> BlockKey:
    """A key that `save_block_key` wrote. Raises ValueError, one line, naming file and field."""
    data = read_yaml(path, schema=SCHEMA)
    where = str(path)
    refuse_unknown(data, ["schema", "name", "block", "given", "uses"], "", where)
    fields = data.get("block")
    block = block_from_dict(fields, field="block", role=_role(fields), where=where)
    uses = data.get("uses", 1)
    if type(uses) is not int or not 1 <= uses <= MOST_USES:
        raise ValueError(f"uses: must be an integer from 1 to {MOST_USES}, got {shown(uses)} ({where})")
    key = BlockKey(block=block, state=_state(data.get("given"), where), uses=uses)
    try:
        lower_block(key.block, key.state)
    except ValueError as error:
        raise ValueError(f"block: cannot take what it is given: {error} ({where})") from None
    return key


def _role(fields: Any) -> str:
    """The role of the block that `fields` names, ``body`` where it names none."""
    name = fields.get("type") if isinstance(fields, dict) else None
    try:
        return block_class(name).role if isinstance(name, str) else "body"
    except ValueError:
        return "body"


MOST_USES = 10**9
SIZES = {"map": 3, "tokens": 2, "grid": 2}


def _state(data: Any, where: str) -> State:
    if not isinstance(data, Mapping) or not ("map" in data or "tokens" in data):
        raise ValueError(f"given: must hold map: [channels, height, width] or tokens: [count, dim] ({where})")
    refuse_unknown(data, SIZES, "given.", where)
    for name, sizes in data.items():
        fits = isinstance(sizes, list) and len(sizes) == SIZES[name]
        if not fits or not all(type(size) is int and 1 <= size <= LARGEST_SIDE for size in sizes):
            of = f"{SIZES[name]} integers from 1 to {LARGEST_SIDE}"
            raise ValueError(f"given.{name}: must be {of}, got {shown(sizes)} ({where})")
    return State(**{name: tuple(sizes) for name, sizes in data.items()})


@dataclass(frozen=True)
class Cover:
    """Keys that stand for more, the most telling first, and what they leave out: ``mb4d: in.height 7``."""

    keys: tuple[BlockKey, ...]
    missing: tuple[str, ...]


def cover(keys: Sequence[BlockKey], n: int) -> Cover:
    """`n` of `keys` (all, where there are no more) that cover the others, the same for the same keys.

    First one of every block type, the most used type first; then, greedily, whichever adds most of what
    is to be covered: of each type the least and the largest value of every number (the block's fields,
    the size of what it is given) and every value of its other fields; then the key furthest from those
    taken of its type, in standardised logarithms of the numbers, of MACs and of bytes moved. Raises
    ValueError where `n` is below the number of types.
    """
    types = Counter[str]()
    for key in keys:
        types[key.block.type] += key.uses
    if n < len(types):
        raise ValueError(
            f"{n} blocks cannot stand for {len(types)} block types; ask for {len(types)} or more"
        )
    wanted = _to_cover(keys)
    hits = np.array([[_meets(key, want) for want in wanted] for key in keys]).reshape(len(keys), len(wanted))
    taken: list[int] = []
    open_ = np.ones(len(wanted), dtype=bool)
    of_type = np.array([key.block.type for key in keys])
    for kind, _ in types.most_common():
        _take(int(np.where(of_type == kind, hits.sum(1), -1).argmax()), taken, open_, hits)
    while len(taken) < n and open_.any():
        _take(int((hits & open_).sum(1).argmax()), taken, open_, hits)
    taken += _furthest(keys, of_type, taken, min(n, len(keys)) - len(taken))
    missing = tuple(
        f"{kind}: {name} {value}" for (kind, name, value), o in zip(wanted, open_, strict=True) if o
    )
    return Cover(tuple(keys[i] for i in taken), missing)


Want = tuple[str, str, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0


def _to_cover(keys: Sequence[BlockKey]) -> list[Want]:
    values: dict[tuple[str, str], dict[Any, None]] = {}
    for key in keys:
        for name, value in key.fields().items():
            values.setdefault((key.block.type, name), {})[value] = None
    wanted: list[Want] = []
    for (kind, name), seen in values.items():
        numbers = [value for value in seen if _is_number(value)]
        ends = {min(numbers), max(numbers)} if numbers else set()
        wanted += [(kind, name, v) for v in seen if not _is_number(v) or v in ends]
    return wanted


def _meets(key: BlockKey, want: Want) -> bool:
    kind, name, value = want
    return key.block.type == kind and key.fields().get(name, _MISSING) == value


_MISSING = object()


def _take(index: int, taken: list[int], open_: NDArray[np.bool_], hits: NDArray[np.bool_]) -> None:
    taken.append(index)
    open_ &= ~hits[index]


def _furthest(keys: Sequence[BlockKey], of_type: NDArray[Any], taken: list[int], n: int) -> list[int]:
    """`n` more keys, each the furthest from those taken of its type."""
    points = {
        kind: _points([key for key in keys if key.block.type == kind]) for kind in set(of_type.tolist())
    }
    members = {kind: np.flatnonzero(of_type == kind) for kind in points}
    distance = np.full(len(keys), np.inf)

    def approach(index: int) -> None:
        own = members[of_type[index]]
        here = points[of_type[index]]
        gap = np.linalg.norm(here - here[np.searchsorted(own, index)], axis=1)
        distance[own] = np.minimum(distance[own], gap)
        distance[index] = -1.0

    for index in taken:
        approach(index)
    more = []
    for _ in range(n):
        index = int(distance.argmax())
        more.append(index)
        approach(index)
    return more


def _points(keys: Sequence[BlockKey]) -> NDArray[np.float64]:
    """Coordinates of keys of one type: logarithms over their range, and one-hot of what is no number."""
    fields = [key.fields() for key in keys]
    names = dict.fromkeys(name for values in fields for name in values)
    columns = [np.log1p([float(size) for size in sizes]) for sizes in zip(*map(_sizes, keys), strict=True)]
    others = []
    for name in names:
        values = [row.get(name) for row in fields]
        columns.append(np.log1p([_number(v) for v in values]))
        words = sorted({str(v) for v in values if not _is_number(v)})
        others += [np.array([str(v) == word for v in values], dtype=float) for word in words]
    logs = np.stack(columns, axis=1)
    spread = np.ptp(logs, axis=0)
    scaled = (logs - logs.min(0)) / np.where(spread > 0, spread, 1.0)
    return np.concatenate([scaled, *(column[:, None] for column in others)], axis=1)


def _sizes(key: BlockKey) -> tuple[int, int]:
    """MACs, and numbers read and written."""
    ops = key.program.ops
    return key.program.macs, sum(op.in_count + op.out_count for op in ops)


# the lookup table


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
