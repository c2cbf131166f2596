"""A module as a tree: calls for what torch knows, parts for the modules whose classes are written out.

Expressions of the source that is written: values, calls, and names of parameters.
"""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

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


CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
BASES = (nn.Module, *CONTAINERS)
SIZE = "size"  # channels, features and the axes of tensors: one kind of value
SIZES = frozenset(
    "in_channels out_channels in_features out_features num_features num_channels normalized_shape".split()
) | {"groups"}
# parameters of torch's layers that take one number for all axes
PER_AXIS = frozenset(
    "kernel_size stride padding dilation output_padding output_size normalized_shape".split()
)
OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_INTERNAL = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class Kind:
    """Modules that one constructor can build: of one class, with attributes of the same names."""

    cls: type[nn.Module]
    names: frozenset[str]


@dataclass(frozen=True, eq=False)
class Part:
    """One module whose class is written out, by what its attributes hold.

    `own` are the arguments of its class's own constructor where that is kept, None where one is made.
    """

    kind: Kind
    slots: tuple[tuple[str, Slot], ...]
    own: tuple[Argument, ...] | None = None


Slot = Expression | Part


@dataclass(frozen=True)
class Group:
    """A container on its way to a call: what it holds may be parts."""

    function: str
    items: tuple[tuple[str, Slot | Group], ...]


def is_torch(cls: type) -> bool:
    """Whether a class comes with torch."""
    return cls.__module__.split(".")[0] == "torch"


def torch_base(cls: type[nn.Module]) -> type[nn.Module]:
    """The class of torch that `cls` is, or is made from."""
    return next(base for base in cls.__mro__ if is_torch(base))


def refuse(module: nn.Module, why: str) -> ValueError:
    return ValueError(f"{type(module).__name__} cannot be written as source: {why}")


def constructor_arguments(module: nn.Module, cls: type[nn.Module]) -> tuple[Argument, ...]:
    """What ``cls(...)`` is given to be like `module`, which keeps its arguments under their own names.

    Raises ValueError where it does not.
    """
    arguments = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in ("device", "dtype") or parameter.kind in OPEN:
            continue
        required = parameter.default is inspect.Parameter.empty
        if not hasattr(module, name):
            if required:
                raise refuse(module, f"it does not keep the argument {name} of its constructor")
            continue
        kind = SIZE if name in SIZES else name
        keyword = not required or parameter.kind is inspect.Parameter.KEYWORD_ONLY
        default = None if required or not is_plain(parameter.default) else Literal(parameter.default, kind)
        arguments.append(Argument(name, Literal(_plain(module, name), kind), keyword, default))
    return tuple(arguments)


def _plain(module: nn.Module, name: str) -> Any:
    """An attribute as a plain value: whether there is a bias, one number where all axes have the same."""
    value = getattr(module, name)
    if name == "bias" and isinstance(value, Tensor | None):
        return value is not None
    if isinstance(value, torch.Size):
        value = tuple(value)
    if not is_plain(value):
        raise refuse(module, f"its {name} is a {type(value).__name__}, no plain value")
    return value[0] if name in PER_AXIS and isinstance(value, tuple) and len(set(value)) == 1 else value


class Reader:
    """Reads modules into trees and collects the parts in the order of their constructors.

    `used` says whether the kept code of a class reads an attribute of that name.
    """

    def __init__(self, used: Callable[[str], bool]) -> None:
        self.used = used
        self.parts: list[Part] = []

    def read(self, module: nn.Module) -> Slot | Group:
        """Return the tree of a module. Raises ValueError where it cannot be written."""
        cls = type(module)
        if cls in CONTAINERS:
            items = tuple((name, self.read(child)) for name, child in module.named_children())
            if not all(is_word(name) or name.isdecimal() for name, _ in items):
                raise refuse(module, "the name of one of its parts is not a valid name")
            return Group(f"nn.{cls.__name__}", items)
        if is_torch(cls):
            if getattr(nn, cls.__name__, None) is not cls:
                raise refuse(module, f"{cls.__module__} is not part of torch.nn")
            return Call(f"nn.{cls.__name__}", constructor_arguments(module, cls))
        return self._part(module)

    def _part(self, module: nn.Module) -> Part:
        cls, base = type(module), torch_base(type(module))
        if base not in BASES:
            slots: tuple[tuple[str, Slot], ...] = ()
            own: tuple[Argument, ...] | None = constructor_arguments(module, base)
        else:
            slots = tuple(self._slots(module))
            own = constructor_arguments(module, cls) if module._non_persistent_buffers_set else None
        names = frozenset(path for name, slot in slots for path in _paths(name, slot)) if own is None else ()
        part = Part(Kind(cls, frozenset(names)), slots, own)
        self.parts.append(part)
        return part

    def _slots(self, module: nn.Module) -> Iterator[tuple[str, Any]]:
        for name in (*vars(module), *module._parameters, *module._buffers):
            if not is_word(name):
                raise refuse(module, f"the name of its attribute {name!a} is not a valid name")
        for name, value in vars(module).items():
            if name in _INTERNAL or not self.used(name):
                continue
            if not is_plain(value):
                raise refuse(module, f"its forward reads {name}, a {type(value).__name__}, no plain value")
            yield name, Literal(value, name)
        for name, parameter in module._parameters.items():
            yield name, Literal(None) if parameter is None else Call("nn.Parameter", (_zeros(parameter),))
        for name, buffer in module._buffers.items():
            yield name, Call("buffer", () if buffer is None else (_zeros(buffer),))
        for name, child in module._modules.items():
            yield name, Literal(None) if child is None else self.read(child)


def _zeros(tensor: Tensor) -> Argument:
    sizes = tuple(Argument(f"size{i}", Literal(n, SIZE), False) for i, n in enumerate(tensor.shape))
    if tensor.dim() == 1:
        sizes = (replace(sizes[0], name="size"),)
    return Argument("data", Call("torch.zeros", sizes), False)


def _paths(name: str, slot: Slot | Group) -> Iterator[str]:
    """The name of a slot, and those of what a container with names holds."""
    yield name
    if isinstance(slot, Group):
        yield from (f"{name}.{key}" for key, _ in slot.items if not key.isdecimal())


def as_call(group: Group, items: list[tuple[str, Expression]]) -> Call:
    """The call that makes a container of `items`; those that repeat are written once."""
    if not items:
        return Call(group.function)
    if group.function == "nn.ModuleDict" or not all(name.isdecimal() for name, _ in items):
        named = tuple(Argument(name, value) for name, value in items)
        return Call(group.function, (Argument("items", Call("OrderedDict", named), False),))
    runs = [(value, len(list(same))) for value, same in groupby(value for _, value in items)]
    entries = [Repeat(value, Literal(count, "depth")) if count > 1 else value for value, count in runs]
    arguments = tuple(Argument(str(i), value, False) for i, value in enumerate(entries))
    return Call(group.function, arguments, listed=group.function == "nn.ModuleList")
