"""Op, Program, and what is read off them: params, MACs, bytes, columns."""

from hvnas.ops.columns import Column, column_values, evaluate_columns
from hvnas.ops.op import KINDS, Op, Shape
from hvnas.ops.program import Program, fuse
from hvnas.ops.tape import MAP, TOKENS, Lowered, State, Tape, Value

__all__ = [
    "KINDS",
    "MAP",
    "TOKENS",
    "Column",
    "Lowered",
    "Op",
    "Program",
    "Shape",
    "State",
    "Tape",
    "Value",
    "column_values",
    "evaluate_columns",
    "fuse",
]
