"""Weights of other code bases: who names the same tensors how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from torch import Tensor

from hvnas.arch import Arch

StateDict = dict[str, Tensor]
Converter = Callable[[StateDict, Arch], StateDict]
_CONVERTERS: dict[tuple[str, str], Converter] = {}


def foreign(source: str, *families: str) -> Callable[[Converter], Converter]:
    """Function decorator: converts state dicts of `source` (``timm``, ``official``) for these families.

    The function maps ``(state dict, arch)`` to a state dict with our names and layouts.
    """

    def register(function: Converter) -> Converter:
        for family in families:
            _CONVERTERS[source, family] = function
        return function

    return register


def converter(source: str, family: str) -> Converter:
    """The converter registered for a source and a family. Raises ValueError naming those that exist."""
    if (source, family) not in _CONVERTERS:
        known = ", ".join(sorted(f"{s}/{f}" for s, f in _CONVERTERS))
        raise ValueError(f"no weights of {source!r} can be read for family {family!r}; there are: {known}")
    return _CONVERTERS[source, family]


def sources(family: str) -> tuple[str, ...]:
    """Whose weights of `family` can be read, timm's first."""
    return tuple(sorted((source for source, f in _CONVERTERS if f == family), reverse=True))


def renamed(state: StateDict, rules: Iterable[tuple[str, str]]) -> StateDict:
    """Every key after the substitutions of `rules` (regular expression, replacement), in order."""
    result = {}
    for key, tensor in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = tensor
    return result
