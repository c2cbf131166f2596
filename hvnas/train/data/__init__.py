"""Data sets: images and their classes, found by name."""

from hvnas.train.data.registry import Data, Request, list_data, load_data, register_data
from hvnas.train.data.splits import ArraySplit, Batch, Skipped, Split

__all__ = [
    "ArraySplit",
    "Batch",
    "Data",
    "Request",
    "Skipped",
    "Split",
    "list_data",
    "load_data",
    "register_data",
]
