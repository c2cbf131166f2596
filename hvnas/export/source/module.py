"""A module as the text of one Python file that imports torch and the standard library only."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from hvnas.export.source.code import KeptMethods, Surroundings, body_of, docstring, own_bases
from hvnas.export.source.constructors import Constructor, Constructors, Parameter
from hvnas.export.source.tree import (
    INDENT,
    Call,
    Expression,
    Kind,
    Literal,
    Reader,
    is_word,
    literal_text,
    refuse,
    text_of,
    torch_base,
)

ENTRY_NAMES = ("Network", "load", "preprocess")
INIT = "nn.Module.__init__(self)"


def module_source(
    module: nn.Module,
    *,
    title: str,
    constants: Mapping[str, Any],
    entry: str,
    helpers: Sequence[Callable[..., Any]] = (),
) -> str:
    """Source whose class ``Network`` builds what `module` is, with zeros for weights.

    The classes in it are those of `module`: methods as they stand in their files, constructors made from
    the modules that there are, what differs among those as parameters. `title` is the file's docstring,
    `constants` plain values to write at the top, `entry` code for the end, `helpers` functions that it
    calls, as they stand in their files. Raises ValueError where a class
    needs more than torch, keeps no plain arguments or stands in no file.
    """
    _refuse_shared(module)
    classes = list(dict.fromkeys(type(m) for m in module.modules() if own_bases(type(m))))
    everything = list(dict.fromkeys(base for cls in classes for base in reversed(own_bases(cls))))
    whole = {base for m in module.modules() if m._non_persistent_buffers_set for base in own_bases(type(m))}
    kept = KeptMethods(everything, whole=whole)
    tree = Reader(kept.reads)
    if not own_bases(type(module)):
        raise refuse(module, "its own class is torch's; put it into a module of yours")
    root = tree.read(module)
    names = _names([part.kind for part in tree.parts], everything)
    constructors = Constructors(tree.parts, names)
    assert root is tree.parts[-1]
    return _Writer(everything, kept, constructors, names).text(
        root_kind=tree.parts[-1].kind, title=title, constants=constants, entry=entry, helpers=helpers
    )


def _refuse_shared(module: nn.Module) -> None:
    counts = [len(list(module.named_modules(remove_duplicate=same))) for same in (True, False)]
    tensors = [len(list(module.named_parameters(remove_duplicate=same))) for same in (True, False)]
    if counts[0] != counts[1] or tensors[0] != tensors[1]:
        raise refuse(module, "one of its parts stands in two places; give each place its own")


def _names(kinds: list[Kind], classes: list[type]) -> dict[Kind, str]:
    """A name for every kind: the class's for that with the most attributes, others by what they lack."""
    by_class: dict[type, list[Kind]] = {cls: [] for cls in classes}
    for kind in dict.fromkeys(kinds):
        by_class[kind.cls].append(kind)
    names: dict[Kind, str] = {}
    taken = [cls.__name__ for cls in classes]
    for cls, own in by_class.items():
        if taken.count(cls.__name__) > 1 or not is_word(cls.__name__):
            raise ValueError(
                f"two classes are called {cls.__name__!a}, or that is not a valid name; "
                f"rename {cls.__module__}'s"
            )
        own.sort(key=lambda kind: (-len(kind.names), sorted(kind.names)))
        for i, kind in enumerate(own):
            lacking = sorted(own[0].names - kind.names)
            if i == 0:
                name = cls.__name__
            elif kind.names <= own[0].names:
                words = (word.rpartition(".")[2].strip("_") for word in lacking)
                name = f"{cls.__name__}Without{''.join(word.capitalize() for word in words)}"
            else:
                name = f"{cls.__name__}{i + 1}"
            names[kind] = name if name not in names.values() else f"{cls.__name__}{i + 1}"
    return names


class _Writer:
    """Puts the text together."""

    def __init__(
        self, classes: list[type], kept: KeptMethods, constructors: Constructors, names: dict[Kind, str]
    ) -> None:
        self.kept, self.names = kept, names
        self.constructors = {constructor.kind: constructor for constructor in constructors.all}
        self.order = constructors.all
        self.around = Surroundings({cls: cls.__name__ for cls in classes})
        self.written: dict[str, str] = {}

    def text(
        self,
        *,
        root_kind: Kind,
        title: str,
        constants: Mapping[str, Any],
        entry: str,
        helpers: Sequence[Callable[..., Any]],
    ) -> str:
        """The whole file."""
        for constructor in self.order:
            self._write_kind(constructor.kind)
        for helper in helpers:
            self.around.helpers[helper.__name__] = self.around.keep(helper)
        root = self.names[root_kind]
        self._refuse_clashes({*constants, *ENTRY_NAMES} - ({root} & {"Network"}))
        parts = [f'"""{title}"""', "from __future__ import annotations", self._imports()]
        parts.append("\n".join(f"{name} = {literal_text(value)}" for name, value in constants.items()))
        alone = [text for text in self.around.helpers.values() if not text.startswith("def ")]
        functions = [text for text in self.around.helpers.values() if text.startswith("def ")]
        parts.append("\n".join(alone))
        head = "\n\n".join(part for part in parts if part)
        named = [] if root == "Network" else [f"Network = {root}"]
        rest = [*functions, *self.written.values(), *named, entry]
        return "\n\n\n".join([head, *(text.strip("\n") for text in rest)]) + "\n"

    def _refuse_clashes(self, ours: set[str]) -> None:
        """Raise ValueError where two things would stand under one name."""
        imported = {*self.around.imports, "OrderedDict", "Path", "Tensor", "nn", "torch"}
        counts = Counter([*ours, *self.written, *self.around.helpers, *imported])
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"two different things would be called {twice[0]} in the source; rename yours")

    def _imports(self) -> str:
        lines = set(self.around.imports.values()) | {
            "import torch",
            "from torch import Tensor, nn",
            "from pathlib import Path",
        }
        lines -= {"from torch import Tensor", "from torch import nn"}
        if any("OrderedDict(" in text for text in self.written.values()):
            lines.add("from collections import OrderedDict")
        ours = sorted(lines, key=lambda line: (not line.startswith("import"), line))
        own = [line for line in ours if line.split()[1].split(".")[0] == "torch"]
        return "\n".join(line for line in ours if line not in own) + "\n\n" + "\n".join(own)

    def _write_kind(self, kind: Kind) -> None:
        name = self.names[kind]
        if name == kind.cls.__name__:
            self._write_class(kind.cls)
            return
        self._write_class(kind.cls)
        base = kind.cls.__name__ if self.kept.methods[kind.cls] else self._base(kind.cls)
        doc = docstring(kind.cls).split("\n")[0]
        blocks = [f'"""{doc}"""'] if doc else []
        self.written[name] = _class(name, base, [*blocks, self._init(self.constructors[kind], base)])

    def _write_class(self, cls: type[nn.Module]) -> None:
        """A class under its own name, behind what it is made from."""
        if cls.__name__ in self.written:
            return
        for above in own_bases(cls)[1:]:
            self._write_class(above)
        base = self._base(cls)
        methods = dict(self.kept.methods[cls])
        body = body_of(cls, methods, self.around.keep)
        own = [kind for kind, name in self.names.items() if name == cls.__name__]
        constructor = self.constructors[own[0]] if own else None
        if constructor is not None and constructor.slots:
            doc = 1 if body and body[0].startswith('"""') else 0
            hints = doc + (len(body) > doc and not body[doc].startswith(("def ", "@")))
            body.insert(hints, self._init(constructor, base))
        self.written[cls.__name__] = _class(cls.__name__, base, body or ["pass"])

    def _base(self, cls: type[nn.Module]) -> str:
        own = own_bases(cls)[1:]
        if own:
            if own[0] is not cls.__bases__[0] or len(cls.__bases__) > 1:
                raise ValueError(
                    f"{cls.__name__} cannot be written as source: it is made from several classes"
                )
            return own[0].__name__
        return f"nn.{torch_base(cls).__name__}"

    def _init(self, constructor: Constructor, base: str) -> str:
        parameters = [f"{p.name}: {p.annotation}{_default(p)}" for p in constructor.parameters]
        flat = f"def __init__({', '.join(['self', *parameters])}) -> None:"
        if len(flat) > 100:
            inner = "".join(f"{INDENT}{parameter},\n" for parameter in ("self", *parameters))
            flat = f"def __init__(\n{inner}) -> None:"
        # a base that is built by itself has a constructor of its own, for other parts
        has_own = not base.startswith("nn.") and "def __init__" in self.written[base]
        lines = [INIT if has_own else "super().__init__()"]
        lines += [_statement(name, value) for name, value in constructor.slots]
        return flat + "\n" + textwrap.indent("\n".join(lines), INDENT)


def _statement(name: str, value: Expression) -> str:
    """What gives an attribute its value, two levels deep in the end."""
    if isinstance(value, Call) and value.function == "buffer":
        data: Expression = value.arguments[0].value if value.arguments else Literal(None)
        return f"self.register_buffer({literal_text(name)}, {text_of(data)})"
    if not is_word(name):
        return f"self.add_module({literal_text(name)}, {text_of(value)})"
    return f"self.{name} = {text_of(value, before=len(name) + 8)}"


def _default(parameter: Parameter) -> str:
    return "" if parameter.default is None else f" = {literal_text(parameter.default.value)}"


def _class(name: str, base: str, blocks: Iterable[str]) -> str:
    doc, *rest = blocks
    body = "\n\n".join([doc, *rest])
    return f"class {name}({base}):\n{textwrap.indent(body, INDENT)}"
