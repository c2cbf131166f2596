"""A Program from a torch module of one's own, named as ``package.module:factory``.

The code behind the name is the user's: whatever goes wrong in it becomes one line that names it.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import reduce
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas.ops import Program

if TYPE_CHECKING:
    from torch import nn

MAX_RESOLUTION = 4096
MAX_MESSAGE = 200
# Where libraries keep the input size that a network was built for.
SIZE_NAMES = ("input_size", "image_size", "img_size", "resolution")


def module_program(spec: str, *, resolution: int | None = None) -> Program:
    """The Program of the module that ``package.module:factory`` makes.

    `factory` is called without arguments, on the meta device where it can be built there (its weights are
    not needed), else on the CPU; a module in its place is taken as it is. The current folder is searched
    for the package. The `resolution` (pixels a side) is the module's own where none is given, as timm,
    torchvision and transformers note it. Labels lose a prefix that all share. What the code prints goes to
    standard error.

    Raises ValueError, one line: a name that does not exist, an exception in the code (with its place), a
    factory that makes no module, a module that cannot be traced, a resolution that is missing.
    """
    with redirect_stdout(sys.stderr):
        if resolution is not None:
            check_resolution(resolution)
        model = _made(_found(spec), spec)
        size = _own_resolution(model) if resolution is None else resolution
        if size is None:
            raise ValueError(f"{spec}: the module does not say what input it takes; give a resolution")
        check_resolution(size)
        from hvnas.ops.trace import trace

        with _blamed(f"{spec}: cannot be traced at {size}×{size}"):
            program = trace(model, resolution=size)
    return replace(program, labels=tuple(_without_shared_prefix(program.labels)))


def check_resolution(resolution: int) -> None:
    """Raise ValueError where no network could take such an input."""
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise ValueError(f"resolution must be 1 to {MAX_RESOLUTION} pixels a side, got {resolution}")


def _found(spec: str) -> Any:
    module_name, colon, path = spec.partition(":")
    if not (colon and module_name and path):
        raise ValueError(f"{spec}: name a factory as package.module:factory")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with _blamed(f"{spec}: importing {module_name} failed"):
        module = importlib.import_module(module_name)
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError:
        raise ValueError(f"{spec}: the module {module_name} has no {path!r}; check the name") from None


def _made(found: Any, spec: str) -> nn.Module:
    import torch

    if isinstance(found, torch.nn.Module):
        return found
    if not callable(found):
        raise ValueError(
            f"{spec}: is of type {type(found).__name__}, not a function that makes a torch module"
        )
    try:
        with torch.device("meta"):
            model = found()
    except (Exception, SystemExit):  # meta tensors have no values, and some code wants them
        with _blamed(f"{spec}: calling it without arguments failed"):
            model = found()
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"{spec}: returned {type(model).__name__}; it must return a torch.nn.Module")
    return model


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Any exception inside becomes a ValueError that says what failed, how and where."""
    try:
        yield
    except (Exception, SystemExit) as error:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        message = (text.strip().splitlines() or [""])[0][:MAX_MESSAGE]
        shown = f"{type(error).__name__}: {message}" if message else type(error).__name__
        raise ValueError(f"{what}: {shown}{_place(error)}") from None


def _place(error: BaseException) -> str:
    """File and line of the innermost frame of the user's code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    import torch

    packages = (Path(__file__).parents[1], Path(torch.__file__).parent, Path(importlib.__file__).parent)
    ours = (*map(str, packages), "<")
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(ours)]
    return f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""


def _own_resolution(model: nn.Module) -> int | None:
    """The input size that a module was built for, where it says so."""
    config = getattr(model, "config", None)
    for holder in (model, config, getattr(model, "patch_embed", None)):
        for name in SIZE_NAMES:
            if (size := _square(getattr(holder, name, None))) is not None:
                return size
    for name in ("pretrained_cfg", "default_cfg"):
        entries = getattr(model, name, None)
        if isinstance(entries, dict) and (size := _square(entries.get("input_size"))) is not None:
            return size
    return None


def _square(size: Any) -> int | None:
    """One side of ``n``, ``(n, n)`` or ``(channels, n, n)``."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    if isinstance(size, Sequence) and len(size) in (2, 3) and size[-1] == size[-2]:
        return int(size[-1])
    return None


def _without_shared_prefix(labels: Sequence[str]) -> list[str]:
    """``model.stages.0`` and ``model.head`` become ``stages.0`` and ``head``."""
    parts = [label.split(".") for label in labels]
    named = [p for p in parts if p != [""]]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*named, strict=False)))
    # The last component stays: a label must name something.
    shared = min([shared, *(len(p) - 1 for p in named)])
    return [".".join(p[shared:]) for p in parts]
