"""One constructor for all modules of a class: what differs among them becomes a parameter.

This is anti-unification (Plotkin 1970, "A note on inductive generalization"): the most special
expression of which all the modules are cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from hvnas.export.source.tree import (
    SIZE,
    Argument,
    Call,
    Expression,
    Group,
    Kind,
    Literal,
    Name,
    Part,
    Repeat,
    Slot,
    as_call,
    is_word,
)

MODULE = "module"  # the kind of a parameter that is given expressions


@dataclass
class Parameter:
    """A parameter of a constructor: its name, kind and default, and what each module gives for it."""

    name: str
    kind: str
    values: list[Expression]
    default: Literal | None

    @property
    def annotation(self) -> str:
        """The types of its values, as they are annotated."""
        if self.kind == MODULE:
            none = any(value == Literal(None) for value in self.values)
            return "nn.Module | None" if none else "nn.Module"
        found = {type(value.value).__name__ for value in self.values if isinstance(value, Literal)}
        return " | ".join(sorted(found - {"NoneType"}) + ["None"] * ("NoneType" in found))


@dataclass(frozen=True)
class Constructor:
    """The constructor of a kind of modules: its parameters and what each attribute is made of."""

    kind: Kind
    name: str
    parameters: tuple[Parameter, ...]
    slots: tuple[tuple[str, Expression], ...]
    kept: bool = False  # the class's own constructor


class Constructors:
    """The constructors of all kinds among `parts`, each kind behind those that it holds.

    `names` gives every kind its name in the source. Raises ValueError where modules hold modules of
    their own kind.
    """

    def __init__(self, parts: list[Part], names: dict[Kind, str]) -> None:
        self.names = names
        self.calls: dict[int, Call] = {}
        grouped: dict[Kind, list[Part]] = {}
        for part in parts:
            grouped.setdefault(part.kind, []).append(part)
        order = TopologicalSorter({kind: _held(own) for kind, own in grouped.items()})
        try:
            self.all = [self._make(kind, grouped[kind]) for kind in order.static_order()]
        except CycleError as error:
            names_in_cycle = ", ".join(kind.cls.__name__ for kind in error.args[1])
            raise ValueError(
                f"{names_in_cycle} cannot be written as source: they contain each other"
            ) from None

    def call(self, part: Part) -> Call:
        """The call that makes this part."""
        return self.calls[id(part)]

    def _make(self, kind: Kind, parts: list[Part]) -> Constructor:
        name = self.names[kind]
        if parts[0].own is not None:
            for part in parts:
                assert part.own is not None
                self.calls[id(part)] = Call(name, part.own)
            return Constructor(kind, name, (), (), kept=True)
        order = [slot for slot, _ in max(parts, key=_modules).slots]
        rows = [{slot: self._reduced(value) for slot, value in part.slots} for part in parts]
        merged = _Merged()
        slots = tuple((slot, merged.merge([row[slot] for row in rows], (slot,))) for slot in order)
        for i, part in enumerate(parts):
            given = tuple(Argument(p.name, p.values[i], default=p.default) for p in merged.parameters)
            self.calls[id(part)] = Call(name, given)
        ordered = sorted(merged.parameters, key=lambda p: p.default is not None)
        return Constructor(kind, name, tuple(ordered), slots)

    def _reduced(self, slot: Slot | Group) -> Expression:
        if isinstance(slot, Part):
            return self.call(slot)
        if isinstance(slot, Group):
            return as_call(slot, [(name, self._reduced(item)) for name, item in slot.items])
        return slot


def _modules(part: Part) -> int:
    return sum(not isinstance(slot, Literal) for _, slot in part.slots)


def _held(parts: list[Part]) -> set[Kind]:
    return {inner.kind for part in parts for _, slot in part.slots for inner in _parts_in(slot)}


def _parts_in(slot: Slot | Group) -> Iterator[Part]:
    if isinstance(slot, Part):
        yield slot
    elif isinstance(slot, Group):
        for _, item in slot.items:
            yield from _parts_in(item)


class _Merged:
    """Expressions merged into one, and the parameters that tell them apart."""

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []

    def merge(
        self, cases: list[Expression], path: tuple[str, ...], default: Literal | None = None
    ) -> Expression:
        """The expression of which all `cases` are cases; `default` is what it need not be given."""
        first = cases[0]
        if all(case == first for case in cases):
            return first
        if all(isinstance(case, Literal) and case.value is not None for case in cases):
            return self._parameter(cases, first.kind, path, default)  # type: ignore[union-attr]
        if isinstance(first, Call) and _alike(cases):
            return self._merged_call(cases, path)
        return self._parameter(cases, MODULE, path, None)

    def _merged_call(self, cases: list[Any], path: tuple[str, ...]) -> Expression:
        first = cases[0]
        merged = tuple(
            replace(a, value=self.merge([c.arguments[i].value for c in cases], (*path, a.name), a.default))
            for i, a in enumerate(first.arguments)
        )
        return replace(first, arguments=merged)

    def _parameter(
        self, cases: list[Expression], kind: str, path: tuple[str, ...], default: Literal | None
    ) -> Name:
        if kind != MODULE:
            for known in self.parameters:
                if known.kind == kind and known.values == cases:
                    return Name(known.name)
        new = Parameter(self._free_name(kind, path), kind, cases, default)
        self.parameters.append(new)
        return Name(new.name)

    def _free_name(self, kind: str, path: tuple[str, ...]) -> str:
        taken = {parameter.name for parameter in self.parameters}
        words = [word for word in path if is_word(word) and word not in ("data", "items")]
        if kind == SIZE and words[-1].startswith("size"):
            names = ["_".join(words[-2:])]
        else:
            names = [words[-1]]
        names += ["_".join(words[i:]) for i in range(len(words) - 2, -1, -1)]
        fallback = (f"{names[-1]}_{i}" for i in range(2, 1000))
        return next(name for name in (*names, *fallback) if name not in taken)


def _alike(cases: list[Any]) -> bool:
    """Whether all are calls of one function with the same arguments, down to what may differ."""
    first = cases[0]
    shape = _shape(first)
    if not all(isinstance(case, Call) and _shape(case) == shape for case in cases):
        return False
    # runs of blocks are told one by one where they stand
    return not _holds_blocks(cases)


def _shape(call: Call) -> tuple[Any, ...]:
    return call.function, tuple((a.name, a.keyword) for a in call.arguments)


def _holds_blocks(cases: list[Call]) -> bool:
    """Whether these are containers, numbered, of more than torch's own layers."""
    if cases[0].function not in ("nn.Sequential", "nn.ModuleList"):
        return False
    inner = [argument.value for case in cases for argument in case.arguments]
    return any(
        isinstance(value, Repeat)
        or (isinstance(value, Call) and not value.function.startswith(("nn.", "OrderedDict")))
        for value in inner
    )
