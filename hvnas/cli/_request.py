"""A command's options: those of the request that it is given, and in what form its answer is printed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from hvnas._request import Option, Request, default_of, options_of
from hvnas.cli._failure import Failure
from hvnas.cli._screen import Answer, Form, print_answer

Command = Callable[..., None]

_FORM = Annotated[
    Form | None,
    typer.Option("--format", help="text (the default), json, or csv: the rows of the table alone."),
]
_JSON = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
# What the commands that take the folder of a search have in common.
SearchDir = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that hvnas search wrote.")]
RunStorage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="FILE|URL",
        help="The shared study, if its URL has a password. Default: HVNAS_STORAGE.",
    ),
]


def takes(request: type[Request]) -> Callable[[Command], Command]:
    """Decorator: a command with the options of `request` and, behind them, those of its own.

    What it decorates is given the request that they make, and its own options by name.
    """

    def decorate(command: Command) -> Command:
        first, *own = inspect.signature(command, eval_str=True).parameters.values()

        def run(context: typer.Context, **values: Any) -> None:
            given = {name for name in values if _is_given(context, name)}
            made = _made(request, {name: values[name] for name in given})
            command(**{first.name: made}, **{each.name: values[each.name] for each in own})

        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        return _dressed(run, command, [context, *_parameters(request), *own])

    return decorate


def answers(command: Callable[..., Answer | None]) -> Command:
    """Decorator: a command that returns its answer, which is printed as ``--format`` or ``--json`` asks."""
    own = inspect.signature(command, eval_str=True).parameters.values()

    def run(form: Form | None, as_json: bool, **values: Any) -> None:
        if as_json and form not in (None, "json"):
            raise Failure(f"--json means --format json, not {form}; give only one of them")
        answer = command(**values)
        if answer is not None:
            print_answer(answer, "json" if as_json else form or "text")

    keyword = inspect.Parameter.KEYWORD_ONLY
    printed = (
        inspect.Parameter("form", keyword, default=None, annotation=_FORM),
        inspect.Parameter("as_json", keyword, default=False, annotation=_JSON),
    )
    return _dressed(run, command, [*(each.replace(kind=keyword) for each in own), *printed])


def _dressed(run: Command, command: Callable[..., Any], parameters: Iterable[inspect.Parameter]) -> Command:
    """`run` under the name and help of `command`, with these parameters."""
    run.__doc__, run.__module__, run.__name__ = command.__doc__, command.__module__, command.__name__
    run.__annotations__ = {}
    run.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return run


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _made(request: type[Request], given: Mapping[str, Any]) -> Request:
    """The request of the values that were given."""
    made: dict[str, Any] = {}
    parts: dict[str, Request] = {}
    for name, (kind, option) in options_of(request).items():
        if inspect.isclass(kind) and issubclass(kind, Request):
            parts[name] = _made(kind, given)
        elif option is not None and (value := given.get(_parameter_name(name, option))) is not None:
            made[name] = tuple(value) if isinstance(value, list) else value
    return request(**parts, **made, given=frozenset(made))


def _parameters(request: type[Request]) -> Iterator[inspect.Parameter]:
    defaults = {each.name: default_of(each) for each in fields(request)}
    for name, (kind, option) in options_of(request).items():
        if inspect.isclass(kind) and issubclass(kind, Request):
            yield from _parameters(kind)
        elif option is not None:
            yield _parameter(name, kind, option, defaults[name])


def _parameter(name: str, kind: Any, option: Option, default: Any) -> inspect.Parameter:
    if get_origin(kind) is tuple:  # which may be given several times
        several: Any = list[get_args(kind)[0]]  # type: ignore[misc]
        kind, default = (several, MISSING) if default is MISSING else (several | None, default or None)
    name = _parameter_name(name, option)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind, _typer_option(name, option)],
    )


def _typer_option(name: str, option: Option) -> Any:
    """Always with its name: typer gives a flag a second, negative one otherwise.

    A field whose name would be a keyword of Python ends in an underscore, its option does not.
    """
    if option.argument:
        return typer.Argument(metavar=option.metavar, help=option.help)
    declared = [f"--{each.rstrip('_').replace('_', '-')}" for each in (name, option.also) if each is not None]
    return typer.Option(
        *declared, metavar=option.metavar, help=option.help, rich_help_panel=option.group, min=option.least
    )


def _parameter_name(name: str, option: Option) -> str:
    return (option.name or name).replace("-", "_")
