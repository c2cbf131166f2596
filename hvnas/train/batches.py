"""The batches of an epoch, each read while the one before is worked on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hvnas.train.data.splits import Batch, Indices, Split


def training_batches(split: Split, *, size: int, seed: int, epoch: int, first: int = 0) -> Iterator[Batch]:
    """Full batches from number `first` on, in the order that `seed` and `epoch` alone give.

    The last, smaller batch is left out, as the papers do: batch statistics stay comparable.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(split))
    steps = len(split) // size
    return _read(split, [order[step * size : (step + 1) * size] for step in range(first, steps)])


def test_batches(split: Split, *, size: int) -> Iterator[Batch]:
    """Every image once, in order."""
    return _read(split, [np.arange(at, min(at + size, len(split))) for at in range(0, len(split), size)])


def _read(split: Split, parts: Sequence[Indices]) -> Iterator[Batch]:
    if not parts:
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(split.batch, parts[0])
        for part in parts[1:]:
            batch = coming.result()
            coming = reader.submit(split.batch, part)
            yield batch
        yield coming.result()
