"""Op, Program, and what is read off them: params, MACs, bytes, columns."""

from hvnas.ops.op import KINDS, Op, Shape
from hvnas.ops.program import MACS, PARAMS, PEAK_MEMORY, Column, Program, fuse
from hvnas.ops.reader import Reader, Segment, column_values, evaluate_columns
from hvnas.ops.tape import MAP, TOKENS, Lowered, State, Tape, Value

__all__ = [
    "KINDS",
    "MACS",
    "MAP",
    "PARAMS",
    "PEAK_MEMORY",
    "TOKENS",
    "Column",
    "Lowered",
    "Op",
    "Program",
    "Reader",
    "Segment",
    "Shape",
    "State",
    "Tape",
    "Value",
    "column_values",
    "evaluate_columns",
    "fuse",
]
