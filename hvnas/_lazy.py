"""Packages whose public names load on first use: who reads one name does not pay for the others."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """A package that finds each public name in the module that its `_HOMES` says.

    Python sets a package's attribute to each submodule that is imported; where a public name is called like
    a submodule the name wins, whichever is imported first.
    """

    def __getattr__(self, name: str) -> Any:
        home = self.__dict__.get("_HOMES", {}).get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in self.__dict__.get("_HOMES", {})):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__dict__.get("_HOMES", {})})
