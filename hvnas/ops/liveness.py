"""Which values are alive while each op runs, and the peak of activations that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from hvnas.ops.op import Op


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
