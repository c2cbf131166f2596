"""A lowered network: its ops in order with their edges, what is alive between them, and columns read off
them.

Numbers read off a Program, declared one column at a time.

A column is a value per op and the reducer that combines values. Because reducers are associative,
the same declaration serves a whole Program and the fast path, which reduces segments first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, nan, prod
from typing import Any, Literal

from hvnas.ops.op import Op


@dataclass(frozen=True, eq=False)
class Program:
    """The ops of a network, batch size one.

    `labels[i]` names the part of the network that op `i` belongs to (``stem``,
    ``stages.2.local.0``, ...); a traced Program without known parts has ``""`` throughout.
    Two Programs are equal when the multisets of their ops' keys are.
    """

    ops: tuple[Op, ...]
    labels: tuple[str, ...]
    resolution: int

    @cached_property
    def signature(self) -> Counter[tuple[object, ...]]:
        """The multiset of (kind, shapes, attributes)."""
        return Counter(op.key for op in self.ops)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Program):
            return NotImplemented
        return self.signature == other.signature

    def __hash__(self) -> int:
        return hash(frozenset(self.signature.items()))

    def difference(self, other: Program) -> tuple[Counter[tuple[object, ...]], Counter[tuple[object, ...]]]:
        """Keys that only this Program has, and keys that only `other` has."""
        return self.signature - other.signature, other.signature - self.signature

    @cached_property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(op.params for op in self.ops)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, linear layers and matrix products, one image."""
        return sum(op.macs for op in self.ops)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of weight tensors in float16, biases and norms left out."""
        return sum(op.weight_bytes() for op in self.ops)

    @cached_property
    def act_bytes(self) -> int:
        """Bytes that convolutions, linear layers and matrix products read and write in float16."""
        return sum(op.act_bytes() for op in self.ops if op.kind in ("conv", "linear", "matmul"))

    @cached_property
    def peak_bytes(self) -> int:
        """Largest sum of live activations in float32, executed in order, nothing in place.

        A value lives from the op that writes it to the last op that reads it.
        """
        image = 3 * self.resolution**2
        return 4 * max([image, *alive(self.ops, {-1: image})])

    def fused(self) -> Program:
        """Return the deployed form: BatchNorm folded along the edges, conv + norm + activation one op.

        The parts of attention that a fused kernel takes at once stay ops of their own, told by a variant.
        """
        kept = fuse(self.ops)
        return Program(tuple(op for op, _ in kept), tuple(self.labels[i] for _, i in kept), self.resolution)

    def __repr__(self) -> str:
        return (
            f"Program({len(self.ops)} ops, {self.params:,} params, {self.macs:,} MACs at {self.resolution})"
        )


def fuse(ops: tuple[Op, ...]) -> list[tuple[Op, int]]:
    """Fold norms, learned scales and activations into the conv or linear layer that feeds only them.

    Returns the kept ops, edges renumbered, each with its index in `ops`. Inputs below zero stay.
    """
    kept, origin, _ = _fold(ops)
    return list(zip(kept, origin, strict=True))


def fuse_segment(ops: tuple[Op, ...]) -> tuple[list[Op], dict[int, int]]:
    """The kept ops as `fuse` gives them, and for each of `ops` the kept one that writes its value now."""
    kept, _, stands_for = _fold(ops)
    return kept, stands_for


def _fold(ops: tuple[Op, ...]) -> tuple[list[Op], list[int], dict[int, int]]:
    readers = Counter([source for op in ops for source in op.inputs])
    stands_for: dict[int, int] = {}
    kept: list[Op] = []
    origin: list[int] = []
    for index, op in enumerate(ops):
        sources = op.inputs
        inputs = tuple([stands_for.get(source, source) for source in sources])
        host = inputs[0] if inputs else -1
        if (
            host >= 0
            and op.kind in FOLDED
            and readers[sources[0]] == 1
            and (absorbed := _absorb(kept[host], op))
        ):
            kept[host] = absorbed
            stands_for[index] = host
            continue
        stands_for[index] = len(kept)
        kept.append(op if inputs == sources else op.reading(inputs))
        origin.append(index)
    _mark_attention(kept)
    return kept, origin, stands_for


FOLDED = frozenset({"norm", "scale", "act"})
_BIAS, _ACT = Op._fields.index("bias"), Op._fields.index("act")


def _with(op: Op, field: int, value: object) -> Op:
    return Op._make((*op[:field], value, *op[field + 1 :]))


ATTENTION, MASKED, INNER = "attention", "masked_attention", "inner"


def _mark_attention(ops: list[Op]) -> None:
    """Give the ops of softmax(q k^T [+ bias]) v variants, where one kernel can do them all.

    That takes as many queries as keys, values as wide as keys, and intermediate results that nothing else
    reads. The last product becomes `ATTENTION`, or `MASKED` with a bias; the ops before it become `INNER`.
    """
    found = [index for index, op in enumerate(ops) if op.kind == "softmax"]
    if not found:
        return
    readers = _readers(ops, _around(ops, found))
    for index in found:
        chain, after = _scores(ops, index, readers), readers.get(index, [])
        if not chain or len(after) != 1:
            continue
        scores, values = ops[chain[-1]], ops[after[0]]
        if values.kind != "matmul" or values.inputs[0] != index:
            continue
        if scores.shape_in != values.shape_out or scores.shape_out[-1] != scores.shape_out[-2]:
            continue
        for k in (index, *chain):
            ops[k] = ops[k]._replace(variant=INNER)
        ops[after[0]] = values._replace(variant=MASKED if len(chain) > 1 else ATTENTION)


def _around(ops: list[Op], softmaxes: list[int]) -> set[int]:
    """Softmaxes and the two ops before each of them: those whose readers matter."""
    around = set(softmaxes)
    for index in softmaxes:
        for _ in range(2):
            index = ops[index].inputs[0] if index >= 0 and ops[index].inputs else -1
            around.add(index)
    return around


def _readers(ops: list[Op], wanted: set[int]) -> dict[int, list[int]]:
    """The ops that read each of the `wanted`, in order."""
    readers: dict[int, list[int]] = {index: [] for index in wanted}
    for index, op in enumerate(ops):
        for source in op.inputs:
            if source in readers and index not in readers[source][-1:]:
                readers[source].append(index)
    return readers


def _scores(ops: list[Op], softmax: int, readers: dict[int, list[int]]) -> list[int]:
    """Indices of the bias before a softmax, where there is one, and of the product that it reads; or none."""
    chain: list[int] = []
    inputs = ops[softmax].inputs
    while inputs and (source := inputs[0]) >= 0 and len(chain) < 2 and len(readers[source]) == 1:
        chain.append(source)
        if ops[source].kind == "matmul":
            return chain
        if ops[source].kind != "bias":
            break
        inputs = ops[source].inputs
    return []


def _absorb(host: Op, op: Op) -> Op | None:
    """`host` with `op` folded into it, or None where that is no fusion that runtimes make."""
    if host.kind not in ("conv", "linear") or host.act:
        return None
    if (op.kind == "norm" and op.variant == "bn") or op.kind == "scale":
        return host if host.bias else _with(host, _BIAS, True)
    if op.kind == "act":
        return _with(host, _ACT, op.variant)
    return None


def alive(ops: Sequence[Op], given: Mapping[int, int], *, kept: Iterable[int] = ()) -> list[int]:
    """Elements alive while each op runs, in order, nothing in place. Shape [ops].

    A value lives from the op that writes it to the last op that reads it, and to the end where its index
    is among `kept`. `given` are the elements, by index, of the values that are there at the start; those
    that nothing reads and nobody keeps are not counted.
    """
    last_read = {index: index for index in range(len(ops))}
    for index, op in enumerate(ops):
        for source in op.inputs:
            last_read[source] = index
    for index in kept:
        last_read[index] = len(ops)
    dies_after: dict[int, list[int]] = {}
    for source, index in last_read.items():
        dies_after.setdefault(index, []).append(source)
    sizes = dict(enumerate(prod(op.shape_out) for op in ops))
    sizes.update({index: size for index, size in given.items() if index in last_read})
    found, living = [], sum(size for index, size in sizes.items() if index < 0)
    for index in range(len(ops)):
        living += sizes[index]
        found.append(living)
        living -= sum(sizes[source] for source in dies_after.get(index, ()))
    return found


Reducer = Literal["sum", "max", "min", "last"]
IDENTITY: dict[Reducer, float] = {"sum": 0.0, "max": -inf, "min": inf, "last": nan}


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a network.

    `value(op)` gives the op's contribution, or None where the op has no say; it must not look at the op's
    edges, for equal ops are asked once. `fused` columns read the deployed form (latency), the others the
    plain ops (accuracy). `kinds` names the kinds of op that can have a say; None asks every op. In a sum, an
    op whose value is not `above` counts as nothing: a threshold that is declared can be applied to many
    widths at once. ``where = (function, key)`` asks only ops with ``function(op) == key``; columns that share
    the function share its evaluation. The value of an `alive` column, a maximum, is given not the op but how
    many elements are alive while it runs (`hvnas.ops.program`). A column to which no op contributed holds
    its reducer's identity: 0, -inf, inf or nan.
    """

    name: str
    reducer: Reducer
    value: Callable[[Op], float | None]
    fused: bool = False
    kinds: frozenset[str] | None = None
    above: float | None = None
    where: tuple[Callable[[Op], object], object] | None = None
    alive: bool = False


def _params(op: Op) -> float:
    return float(op.params)


def _macs(op: Op) -> float:
    return float(op.macs)


def _float32(elements: Any) -> float:
    return 4.0 * elements


PARAMS = Column("params", "sum", _params)
MACS = Column("macs", "sum", _macs)
PEAK_MEMORY = Column("peak_memory", "max", _float32, fused=True, alive=True)
"""Bytes of activations alive at once in the deployed network: ``program.fused().peak_bytes``."""


def op_value(column: Column, op: Op) -> float:
    """What one op adds to a sum column."""
    if column.kinds is not None and op.kind not in column.kinds:
        return 0.0
    if column.where is not None and column.where[0](op) != column.where[1]:
        return 0.0
    value = column.value(op)
    return 0.0 if value is None or (column.above is not None and value <= column.above) else value
