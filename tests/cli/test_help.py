"""Help: plain text in 80 columns, options in groups, an example of every command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

from hvnas._request import Heading
from hvnas.cli import app as app_module
from hvnas.cli.app import app

MOST = 10  # options of one group, or of a command without groups


def walk(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with the words that lead to it."""
    yield words, command
    for word, child in getattr(command, "commands", {}).items():
        yield from walk(child, *words, word)


EVERYTHING = dict(walk(get_command(app)))
COMMANDS = {words: each for words, each in EVERYTHING.items() if not hasattr(each, "commands")}
COMMON = ("--format", "--json")  # of most commands
# Their examples need no file and take no time.
QUICK = {
    ("accuracy", "rank"),
    ("devices",),
    ("models",),
    ("show",),
    ("spaces", "check"),
    ("spaces", "show"),
    ("version",),
}


def lines(hvnas: Callable[..., Any], words: tuple[str, ...]) -> list[str]:
    return hvnas(*words, "--help").stdout.splitlines()


def test_every_module_of_a_command_is_one() -> None:
    folder = Path(app_module.__file__).parent
    modules = {path.stem for path in folder.glob("[a-z]*.py") if path.stem != "app"}
    folders = {path.parent.name for path in folder.glob("[a-z]*/__init__.py")}
    assert modules | folders == {*app_module.COMMANDS, *app_module.GROUPS} - {"version"}


@pytest.mark.parametrize("words", EVERYTHING, ids=" ".join)
def test_help_fits_80_columns(words: tuple[str, ...], hvnas: Callable[..., Any]) -> None:
    shown = lines(hvnas, words)
    assert shown[0].startswith(f"Usage: {' '.join(('hvnas', *words))} ")
    assert max(map(len, shown)) <= 80
    assert [line for line in shown if line != line.rstrip()] == []
    cut = shown[shown.index("Commands:") :] if "Commands:" in shown else []
    assert [line for line in cut if line.endswith("...")] == []


@pytest.mark.parametrize("words", EVERYTHING, ids=" ".join)
def test_help_wraps_in_a_narrow_terminal(words: tuple[str, ...]) -> None:
    command = EVERYTHING[words]
    name = " ".join(("hvnas", *words))
    context = command.make_context(name, [], terminal_width=58, resilient_parsing=True)
    text, _, _ = command.get_help(context).partition("Example:")  # which is whole, to be copied
    assert max(map(len, text.splitlines())) <= 60


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_example_ends_the_help(words: tuple[str, ...], hvnas: Callable[..., Any]) -> None:
    heading, example = lines(hvnas, words)[-2:]
    assert heading == "Example:"
    program, *rest = shlex.split(example)
    assert (program, *rest[: len(words)]) == ("hvnas", *words)
    command = COMMANDS[words]
    context = command.make_context(" ".join(words), rest[len(words) :])
    required = {each.name for each in command.params if each.required}
    assert all(context.params[name] for name in required)


@pytest.mark.parametrize("words", sorted(QUICK), ids=" ".join)
def test_an_example_runs(words: tuple[str, ...], hvnas: Callable[..., Any]) -> None:
    result = hvnas(*shlex.split(COMMANDS[words].epilog)[1:])
    assert (result.exit_code, bool(result.stdout)) == (0, True)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_many_options_are_grouped(words: tuple[str, ...], hvnas: Callable[..., Any]) -> None:
    groups: dict[str | None, list[str]] = {}
    for each in COMMANDS[words].params:
        if each.param_type_name == "option" and (each.rich_help_panel or each.opts[0] not in COMMON):
            groups.setdefault(each.rich_help_panel, []).append(each.opts[0])
    assert max(map(len, groups.values()), default=0) <= MOST
    if len(groups) > 1:
        assert None not in groups, "an option without a group stands among the other options"
        shown = lines(hvnas, words)
        for heading, options in groups.items():
            start = shown.index(f"{heading}:")
            group = shown[start : shown.index("", start)]
            assert [option for option in options if not any(f"  {option}" in line for line in group)] == []


def test_requests_use_the_common_headings() -> None:
    from hvnas._request import Request, options_of
    from hvnas.search.request import SearchRequest
    from hvnas.supernet.request import SupernetRequest
    from hvnas.train.request import TrainRequest

    def headings(request: type[Request]) -> Iterator[str | None]:
        for kind, option in options_of(request).values():
            if isinstance(kind, type) and issubclass(kind, Request):
                yield from headings(kind)
            elif option is not None and not option.argument:
                yield option.group

    for request in (SearchRequest, TrainRequest, SupernetRequest):
        assert set(headings(request)) <= set(get_args(Heading))


def test_lines_of_the_programs_help_are_those_of_the_commands() -> None:
    listed = {**app_module.COMMANDS, **app_module.GROUPS}
    loaded = get_command(app).commands  # type: ignore[attr-defined]
    assert {name: each.get_short_help_str(200) for name, each in loaded.items()} == listed
