"""What exporters check of a file that they wrote, and how converters are kept from talking."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hvnas.export.graph import Graph, Shape, relative_error


def largest_error(graph: Graph, results: Iterable[Tensor]) -> float:
    """Largest relative error of `results` over the outputs, in their order; nan where one is."""
    pairs = zip(graph.outputs.values(), results, strict=True)
    return float(torch.tensor([relative_error(ours, theirs) for ours, theirs in pairs]).max())


def refuse_error(
    error: float | None, *, tolerance: float, path: Path, of: str, against: str = "torch's"
) -> None:
    """Raise ValueError where the error of outputs is above `tolerance` or nan; None was not checked."""
    if error is not None and not error <= tolerance:
        raise ValueError(
            f"{path}: {of} outputs differ from {against} by {error:.1e} of the largest, more than "
            f"{tolerance:.0e}; nothing was written, check the weights"
        )


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without bars, and without warnings about versions, missing libraries and the converter itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
