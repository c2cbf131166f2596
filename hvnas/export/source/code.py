"""The code of classes and functions that the written source keeps, as it stands in their files."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from hvnas.export.source.tree import is_plain, is_torch, literal_text

Methods = dict[str, FunctionType]


def own_bases(cls: type) -> list[type]:
    """`cls` and the classes it is made from, before those of torch."""
    return [base for base in cls.__mro__ if base is not object and not is_torch(base)]


class KeptMethods:
    """Which methods of `classes` the outputs depend on: ``forward``, and what kept code names.

    Whose attribute a name is cannot be told from the code, so every method of that name is kept.
    `whole` classes keep their constructor, too.
    """

    def __init__(self, classes: list[type], *, whole: set[type]) -> None:
        self.names: set[str] = set()
        self.methods: dict[type, Methods] = {cls: {} for cls in classes}
        found = True
        while found:
            found = False
            for cls in classes:
                for name, function in _functions(cls):
                    wanted = name == "forward" or name in self.names or (name == "__init__" and cls in whole)
                    if wanted and name not in self.methods[cls] and (name != "__init__" or cls in whole):
                        self.methods[cls][name] = function
                        self.names |= _attributes(function)
                        found = True

    def reads(self, name: str) -> bool:
        """Whether kept code reads an attribute of that name."""
        return name in self.names


def _functions(cls: type) -> Iterator[tuple[str, FunctionType]]:
    for name, member in vars(cls).items():
        if isinstance(member, property):
            member = member.fget
        elif isinstance(member, staticmethod | classmethod):
            member = member.__func__
        member = inspect.unwrap(member) if callable(member) else member
        if isinstance(member, FunctionType):
            yield name, member


def _attributes(function: FunctionType) -> set[str]:
    return {node.attr for node in ast.walk(_parsed(function)) if isinstance(node, ast.Attribute)}


def _parsed(function: FunctionType) -> ast.AST:
    return ast.parse(source_of(function))


def source_of(thing: Any) -> str:
    """The code of a function or class. Raises ValueError where there is no file to read it from."""
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        raise ValueError(
            f"{thing.__qualname__} cannot be written as source: there is no file that it stands in; "
            "define it in a .py file and import it from there"
        ) from None


@dataclass(frozen=True)
class Global:
    """A name outside a function that its code needs: a line of import, or code to write out."""

    name: str
    value: Any
    importing: str | None


class Surroundings:
    """What kept code needs around it: imports, functions and constants, in the order they are met.

    `classes` maps the classes that are written out to their names there. Two things of one name are
    refused, for the code that names them is kept as it stands.
    """

    def __init__(self, classes: dict[type, str]) -> None:
        self.classes = classes
        self.imports: dict[str, str] = {}
        self.helpers: dict[str, str] = {}
        self._seen: dict[str, Any] = {}

    def keep(self, function: Callable[..., Any]) -> str:
        """The code of `function`; what it needs is noted."""
        text = source_of(function)
        tree = ast.parse(text)
        hints = {id(node) for hint in _annotations(tree) for node in ast.walk(hint)}
        bound, scope = _bound(tree), inspect.unwrap(function).__globals__
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in scope and node.id not in bound:
                self._need(node.id, scope, function, is_hint=id(node) in hints)
        return text

    def _need(self, name: str, scope: dict[str, Any], owner: Any, *, is_hint: bool) -> None:
        value = scope[name]
        importing = _import_of(name, value)
        if importing is None and is_hint and not _is_alias(value):
            return  # hints are not evaluated; one that is not torch's says nothing there
        if self._is_known(name, value):
            return
        self._seen[name] = value
        if importing is not None:
            self.imports[name] = importing
        elif isinstance(value, type):
            if self.classes.get(value) != name:
                raise _needs(
                    owner, name, "a class that is not a module; pass what it holds as plain attributes"
                )
        elif isinstance(value, FunctionType):
            self.helpers[name] = ""  # its place, before what it calls itself
            self.helpers[name] = self.keep(value)
        elif isinstance(value, ModuleType):
            raise _needs(owner, name, f"of {value.__name__}, and only torch may be imported")
        else:
            self._keep_constant(name, value, scope, owner)

    def _is_known(self, name: str, value: Any) -> bool:
        if name not in self._seen:
            return False
        if self._seen[name] is not value and self._seen[name] != value:
            raise ValueError(
                f"two different things called {name} are needed in one source; rename one of them"
            )
        return True

    def _keep_constant(self, name: str, value: Any, scope: dict[str, Any], owner: Any) -> None:
        if is_plain(value):
            self.helpers[name] = f"{name} = {literal_text(value)}"
            return
        module = sys.modules.get(scope.get("__name__", ""))
        assignment = _assignment(source_of(module), name) if module is not None else None
        if assignment is None:
            raise _needs(owner, name, "which is not a constant of its file")
        for node in ast.walk(ast.parse(assignment)):
            if isinstance(node, ast.Name) and node.id != name and node.id in scope:
                self._need(node.id, scope, owner, is_hint=False)
        self.helpers[name] = assignment


def _needs(owner: Any, name: str, why: str) -> ValueError:
    return ValueError(f"{owner.__qualname__} cannot be written as source: it needs {name}, {why}")


def _import_of(name: str, value: Any) -> str | None:
    """The line that brings `value`, where torch or the standard library has it."""
    if isinstance(value, ModuleType):
        if not _is_public(value.__name__):
            return None
        package, _, last = value.__name__.rpartition(".")
        return f"from {package} import {_as(last, name)}" if package else f"import {_as(last, name)}"
    home = getattr(value, "__module__", None)
    if isinstance(value, type | FunctionType) and isinstance(home, str) and _is_public(home):
        return f"from {home} import {_as(value.__name__, name)}"
    return None


def _as(name: str, shown: str) -> str:
    return name if name == shown else f"{name} as {shown}"


def _is_public(module: str) -> bool:
    root = module.split(".")[0]
    return root == "torch" or (root in sys.stdlib_module_names and root != "__main__")


def _is_alias(value: Any) -> bool:
    """Whether a name in a hint stands for other types, as ``Pair = tuple[Tensor, Tensor]``."""
    return not isinstance(value, type) and hasattr(value, "__origin__")


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield node.returns


def _bound(tree: ast.AST) -> set[str]:
    """Names that the code binds itself."""
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return bound | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _assignment(text: str, name: str) -> str | None:
    """The statement at the top of a file that gives `name` its value."""
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.get_source_segment(text, node)
    return None


def body_of(cls: type[nn.Module], methods: Methods, keep: Callable[..., str]) -> list[str]:
    """Docstring, hints and kept methods of a class, unindented."""
    text = [f'"""{doc}\n"""' if "\n" in doc else f'"""{doc}"""'] if (doc := docstring(cls)) else []
    hints = _class_hints(cls)
    if hints:
        text.append("\n".join(hints))
    return [*text, *(keep(function).rstrip() for function in methods.values())]


def docstring(cls: type) -> str:
    """The class's own docstring, unindented; quotes in it are single ones."""
    doc = vars(cls).get("__doc__") or ""
    return inspect.cleandoc(doc).replace("\\", "\\\\").replace('"""', "'''")


def _class_hints(cls: type) -> list[str]:
    (tree,) = ast.parse(source_of(cls)).body
    assert isinstance(tree, ast.ClassDef)
    return [ast.unparse(node) for node in tree.body if isinstance(node, ast.AnnAssign) and node.value is None]
