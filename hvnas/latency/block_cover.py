"""A few block keys that stand for all of a space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas.latency.block_keys import BlockKey


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
