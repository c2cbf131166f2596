"""Expressions of the source that is written: values, calls, and names of parameters."""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WIDTH = 100  # without what a statement in a method is indented by
INDENT = "    "
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Literal:
    """A plain value. Values of one `kind` that are always equal may become one parameter."""

    value: Any
    kind: str = ""


@dataclass(frozen=True)
class Name:
    """A parameter of the constructor that the expression stands in."""

    name: str


@dataclass(frozen=True)
class Argument:
    """`value` given for the parameter `name`; keywords are written with their name, defaults not at all."""

    name: str
    value: Expression
    keyword: bool = True
    default: Literal | None = None


@dataclass(frozen=True)
class Call:
    """A call. `listed` calls take their arguments as one list."""

    function: str
    arguments: tuple[Argument, ...] = ()
    listed: bool = False


@dataclass(frozen=True)
class Repeat:
    """`count` times the same, each built by itself: stands where several arguments may."""

    item: Expression
    count: Expression


Expression = Literal | Name | Call | Repeat


def is_word(name: str) -> bool:
    """Return whether `name` may be written as the name of an attribute or a parameter."""
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def is_plain(value: Any) -> bool:
    """Whether a value can be written as a literal."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return type(value) in PLAIN


def literal_text(value: Any) -> str:
    """Source of a plain value in ASCII: text from a file stays inside its quotes whatever it holds."""
    if isinstance(value, tuple):
        inner = ", ".join(map(literal_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, str):
        shown = ascii(value)
        return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown
    assert type(value) in PLAIN, value
    return repr(value)


def text_of(expression: Expression, *, indent: int = 0, before: int = 0) -> str:
    """Source of an expression; `before` characters stand in front of it on its first line.

    What does not fit one line has each argument on a line of its own, `indent` levels deep.
    """
    flat = _flat(expression)
    if indent * len(INDENT) + before + len(flat) <= WIDTH or not isinstance(expression, Call | Repeat):
        return flat
    if isinstance(expression, Repeat):
        inner = text_of(expression.item, indent=indent + 1)
        pad = INDENT * (indent + 1)
        return f"*(\n{pad}{inner}\n{pad}for _ in range({_flat(expression.count)})\n{INDENT * indent})"
    opening, closing = ("([", "])") if expression.listed else ("(", ")")
    lines = "".join(f"{INDENT * (indent + 1)}{line},\n" for line in _lines(expression, indent + 1))
    return f"{expression.function}{opening}\n{lines}{INDENT * indent}{closing}"


def _given(call: Call) -> Iterator[Argument]:
    """The arguments that are not what the function takes anyway."""
    return (argument for argument in call.arguments if argument.value != argument.default)


def _lines(call: Call, indent: int) -> Iterator[str]:
    for argument in _given(call):
        start = f"{argument.name}=" if argument.keyword else ""
        yield start + text_of(argument.value, indent=indent, before=len(start) + 1)


def _flat(expression: Expression) -> str:
    if isinstance(expression, Literal):
        return literal_text(expression.value)
    if isinstance(expression, Name):
        return expression.name
    if isinstance(expression, Repeat):
        return f"*({_flat(expression.item)} for _ in range({_flat(expression.count)}))"
    shown = ", ".join(
        (f"{argument.name}=" if argument.keyword else "") + _flat(argument.value)
        for argument in _given(expression)
    )
    return f"{expression.function}([{shown}])" if expression.listed else f"{expression.function}({shown})"
