"""What reaches a terminal, and what does not."""

from __future__ import annotations

import io
import json

import pytest

from hvnas.cli._screen import Screen, clean, print_json


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard output a terminal. pytest puts its own there before each test, so no fixture can."""
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return stream


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07name", "name"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jname", "name"),
        ("\x1bcname", "name"),
        ("unfinished \x1b]0;title", "unfinished "),
        ("two\nlines\ttab\r", "two lines tab "),
        ("bell\x07 null\x00 delete\x7f next\x85line", "bell  null  delete  next line"),
        ("left\u202eright\u2066 zero\u200bwidth \ud800half", "left right  zero width  half"),
        ("line\u2028separator", "line separator"),
        ("coatnet_0 × 7 ± 0.1 – ok", "coatnet_0 × 7 ± 0.1 – ok"),
    ],
)
def test_terminal_escapes_and_controls_are_removed(hostile: str, shown: str) -> None:
    assert clean(hostile) == shown


def test_plain_table_has_one_unwrapped_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table(("name", ">value"), [("a" * 300, 1), ("b", None)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1] == "  " + "a" * 300 + "      1"
    assert lines[2].endswith("–")
    assert lines[0].rstrip().endswith("value")


@pytest.mark.parametrize("columns", [40, 100, None])
def test_prose_fits_the_terminal_and_80_columns_without_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    terminal = None if columns is None else use_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns or 40))
    Screen().fields([("of", "one 9 % " * 40)], prose=True)
    lines = (capsys.readouterr().out if terminal is None else terminal.getvalue()).splitlines()
    most = columns or 80
    assert most - 8 <= max(map(len, lines)) <= most
    assert lines[0].startswith("  of  one 9 %")
    assert all(line[:6].isspace() and line[6:8] in ("on", "9 ") for line in lines[1:])
    assert all(line.endswith(("one", "%")) and not line.endswith(" 9") for line in lines)


def test_plain_lines_stay_plain_where_colour_is_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = Screen()
    screen.heading("front")
    screen.table(("name",), [("[bold]x[/bold]",)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out


def test_a_terminal_gets_styles_but_no_markup_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    screen = Screen()
    screen.heading("front")
    screen.line("[red]name[/red] \x1b]0;title\x07:smile:")
    screen.table(("[b]name[/b]", ">ms"), [("[link=file:///etc]x[/link]", "1.5"), ("[/]", "\x1b[2J")])
    out = terminal.getvalue()
    assert "\x1b[1mfront\x1b[0m" in out
    assert "[red]name[/red] :smile:" in out
    assert "[b]name[/b]" in out
    assert "[link=file:///etc]x[/link]" in out
    assert "\x1b]" not in out
    assert "\x1b[2J" not in out


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    Screen().line("warning", style="red")
    assert terminal.getvalue() == "warning\n"


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    Screen().heading("front")
    assert terminal.getvalue() == "\nfront\n"


def test_json_is_ascii_and_strict(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "\x1b[31m±", "values": (1.5, float("nan"), float("inf")), 1: None})
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    data = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data == {"name": "\x1b[31m±", "values": [1.5, None, None], "1": None}
