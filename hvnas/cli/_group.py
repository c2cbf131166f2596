"""Commands and groups of commands (``hvnas latency ...``), their help, and options for the library."""

from __future__ import annotations

import re
from collections import UserDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command, get_group

RECIPE = "modern300"
# Of `hvnas search`, and of the program.
MAIN_EXAMPLE = "hvnas search --device iphone12 --budget-ms 2 --out runs/phone"
# What `_plain` gives where typer is to judge.
_OTHER = object()
# Whole numbers and others as people write them; what else may be one is typer's to judge.
_DIGITS, _NUMBER = re.compile("[0-9]{1,18}"), re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_WIDEST = 30  # columns of an option's name; a longer one has a line of its own


class Command(TyperCommand):
    """A command whose help shows options in groups, and at its end an example."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as typer does, but leave text alone."""
        _keep_text(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each group under its heading."""
        _write_options(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example."""
        _write_example(self.epilog, formatter)


class Group(TyperGroup):
    """A group whose help ends in an example, where it has one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as typer does, but leave text alone."""
        _keep_text(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example."""
        _write_example(self.epilog, formatter)


def _keep_text(parameters: Iterable[Any]) -> None:
    """Leave alone what is text anyway or is not given.

    typer converts every value by pydantic, whose import takes as long as the rest of a short command.
    """
    for each in parameters:
        if "process_value" not in vars(each):
            each.process_value = partial(_processed, each, each.process_value)


def _processed(parameter: Any, convert: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    """The value of an option or argument, converted where it needs to be."""
    described = getattr(parameter, "type_descriptor", None)
    if value is None and not parameter.required:
        several = parameter.nargs != 1 or getattr(parameter, "multiple", False)
        value = () if several else None
    else:
        kept = _OTHER if described is None else _plain(described.annotation, value, described.parameter_info)
        if kept is _OTHER:
            return convert(context, value)
        value = kept
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def _plain(kind: Any, value: Any, said: Any) -> Any:
    """`value` as a `kind` where that is plain, else `_OTHER`; `said` is what is asked of it besides."""
    if said.parser is not None or said.min is not None or said.max is not None:
        return _OTHER
    if kind == list[str] and isinstance(value, (list, tuple)) and value:
        return list(map(str, value))
    if kind in (str, int, float) and type(value) is kind:
        return value
    if not isinstance(value, str):
        return _OTHER
    if kind in (int, float):
        return kind(value) if (_DIGITS if kind is int else _NUMBER).fullmatch(value) else _OTHER
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else _OTHER
    is_free = kind is Path and not (
        said.exists or said.resolve_path or said.path_type or Path(value).exists()
    )
    return Path(value) if is_free else _OTHER


def _write_options(parameters: list[Any], ctx: Any, formatter: Any) -> None:
    rows: dict[str, list[tuple[str, str]]] = {"Arguments": []}
    loose: list[tuple[str, str]] = []
    for each in parameters:
        shown = each.get_help_record(ctx)
        if shown is None:
            continue
        if each.param_type_name == "argument":
            # Without the type that stands behind it.
            rows["Arguments"].append((shown[0].partition(" ")[0], shown[1]))
        elif isinstance(each, TyperOption) and each.rich_help_panel is not None:
            rows.setdefault(each.rich_help_panel, []).append(shown)
        else:
            loose.append(shown)
    grouped = len(rows) > 1
    if "Output" in rows:
        rows["Output"] = rows.pop("Output")  # the last
    rows["Other options" if grouped else "Options"] = loose
    names = [name for group in rows.values() for name, _ in group]
    width = min(max(map(len, names), default=0), _WIDEST)
    for heading, group in rows.items():
        if group:
            with formatter.section(heading):
                # The groups line up with each other.
                formatter.write_dl([(name.ljust(width), text) for name, text in group], col_max=_WIDEST)


def _write_example(example: str | None, formatter: Any) -> None:
    if example is not None:
        with formatter.section("Example"):
            # Whole, however long: it is there to be copied.
            formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def add_command(app: typer.Typer, name: str, run: Callable[..., None], *, example: str) -> None:
    """Add a command, with an example for its help."""
    app.command(name=name, cls=Command, epilog=example)(run)


def new_group(help: str) -> typer.Typer:
    """A group that shows its help where no command of it is named."""
    group = typer.Typer(cls=Group, rich_markup_mode=None, help=help)

    @group.callback(invoke_without_command=True)
    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return group


class OnDemand(UserDict[str, Any]):
    """Commands by name, each loaded when it is first looked at: most runs need one of them."""

    def __init__(self, names: Iterable[str], load: Callable[[str], Any]) -> None:
        super().__init__(dict.fromkeys(names))
        self._load = load

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            self.data[name] = self._load(name)
        return self.data[name]


def load_command(name: str, run: Callable[..., None], *, example: str) -> Any:
    """A command by itself, as a group holds it."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    add_command(single, name, run, example=example)
    return get_command(single)


def load_module(name: str, *, of: str) -> Any:
    """The command of a module, which has it as `run`, and an `EXAMPLE` of it."""
    module = import_module(of)
    return load_command(name, module.run, example=module.EXAMPLE)


def load_group(name: str, *, of: str) -> Any:
    """The group of a module, which has it as `app`.

    Where that is a package, `COMMANDS` names its commands and the module of each.
    """
    package = import_module(of)
    group = get_group(package.app)
    group.name = name
    modules: Mapping[str, str] = getattr(package, "COMMANDS", {})
    if modules:
        group.commands = OnDemand(modules, lambda each: load_module(each, of=f"{of}.{modules[each]}"))
    return group


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: the library knows the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}
