"""A request makes a command's options, and says what a run that is continued must have again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from hvnas._request import Option, Request, as_begun, check_same, filled, words_of
from hvnas.cli._request import takes


@dataclass(frozen=True, kw_only=True)
class Oven(Request):
    kind: Annotated[Literal["gas", "wood"], Option(name="oven", help="What heats.")] = "gas"
    degrees: Annotated[float, Option(least=0, help="How hot.")] = 250.0


@dataclass(frozen=True, kw_only=True)
class Bread(Request):
    loaves: Annotated[tuple[str, ...], Option(name="loaf", metavar="NAME", help="One or more.")]
    grain: Annotated[str | None, Option(argument=True, metavar="[GRAIN]", help="Wheat or rye.")] = None
    seeds: Annotated[tuple[str, ...], Option(name="seed", help="Any number.")] = ()
    salt: Annotated[int, Option(help="Grams.")] = 9
    sour_dough: Annotated[bool, Option(help="Without yeast.")] = False
    oven: Oven = field(default_factory=Oven)
    baker: str = "nobody"


MADE: list[tuple[Bread, Path | None]] = []


@takes(Bread)
def bake(request: Bread, *, out: Annotated[Path | None, typer.Option(help="Where it goes.")] = None) -> None:
    """Bake bread."""
    MADE.append((request, out))


app = typer.Typer(rich_markup_mode=None)
app.command()(bake)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def made(*args: str) -> tuple[Bread, Path | None]:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return MADE.pop()


def test_fields_become_options_and_the_commands_own_follow() -> None:
    shown = run("--help").stdout
    places = [shown.index(name) for name in ("[GRAIN]", "--loaf", "--seed", "--salt", "--oven", "--out")]
    assert places == sorted(places)
    assert "Bake bread." in shown and "[default: 9]" in shown and "<gas|wood>" in shown
    assert "--no-sour-dough" not in shown and "--baker" not in shown
    assert "--loaf NAME" in shown and "[required]" in shown


def test_what_is_given_is_known_from_what_is_left() -> None:
    request, out = made("--loaf", "a", "--loaf", "b")
    assert request == Bread(loaves=("a", "b")) and out is None
    assert request.given == {"loaves"} and request.oven.given == set()
    request, out = made(
        *(
            "rye",
            "--loaf",
            "a",
            "--salt",
            "9",
            "--sour-dough",
            "--oven",
            "wood",
            "--degrees",
            "250",
            "--out",
            "x",
        )
    )
    assert request == Bread(loaves=("a",), grain="rye", sour_dough=True, oven=Oven(kind="wood"))
    assert request.given >= {"loaves", "grain", "salt", "sour_dough"} and "seeds" not in request.given
    assert request.oven.given == {"kind", "degrees"}
    assert out == Path("x")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Missing option '--loaf'"),
        (("--loaf", "a", "--oven", "coal"), "'coal' is not one of 'gas', 'wood'"),
        (("--loaf", "a", "--degrees", "-1"), "Invalid value for '--degrees'"),
        (("--loaf", "a", "--salt", "much"), "Invalid value for '--salt'"),
    ],
)
def test_what_is_wrong_is_said(args: tuple[str, ...], said: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert said in result.stderr


def test_only_what_is_given_must_be_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Bread(loaves=("a",), grain=str(tmp_path / "rye.yaml"), salt=12, oven=Oven(kind="wood"))
    monkeypatch.chdir(tmp_path)

    def check(*args: str) -> None:
        check_same(made(*args)[0], begun, what="the bread")

    check("--loaf", "a")
    check("rye.yaml", "--loaf", "a", "--salt", "12", "--oven", "wood")
    for args, said in (
        (("--salt", "9"), r"salt: the bread was begun with 12, not 9; give the same options again"),
        (("--oven", "gas"), "oven: the bread was begun with wood, not gas"),
        (("--loaf", "b"), "loaf: the bread was begun with a, not a, b"),
        (("wheat.yaml",), r"grain: the bread was begun with .*rye\.yaml, not wheat\.yaml"),
    ):
        with pytest.raises(ValueError, match=said):
            check("--loaf", "a", *args)


def test_a_path_behind_a_prefix_is_the_same_as_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = Bread(loaves=(f"folder:{tmp_path / 'x'}",))
    check_same(Bread(loaves=("folder:x",)), begun, what="the bread")
    with pytest.raises(ValueError, match="loaf: "):
        check_same(Bread(loaves=("hf:x",)), begun, what="the bread")


def test_a_run_tells_what_it_keeps_of_a_request() -> None:
    @dataclass
    class Run:
        salt: int = 3
        grain: str = "oats"
        shelf: str = "top"

    wanted = Bread(loaves=("a",), oven=Oven(kind="wood"))
    assert as_begun(wanted, Run(), but={"grain"}) == Bread(loaves=("a",), salt=3, oven=Oven(kind="wood"))


def test_what_is_not_given_stays_as_it_was_begun() -> None:
    begun = Bread(loaves=("a",), salt=12, oven=Oven(kind="wood", degrees=180))
    request, _ = made("--loaf", "b", "--sour-dough")
    assert filled(request, begun) == Bread(
        loaves=("b",), salt=12, sour_dough=True, oven=Oven(kind="wood", degrees=180)
    )
    assert filled(made("--loaf", "b", "--oven", "gas")[0].oven, begun.oven) == Oven(degrees=180)


def test_the_words_of_a_request_make_it_again() -> None:
    for request in (
        Bread(loaves=("a", "b c"), sour_dough=True, oven=Oven(kind="wood")),
        Bread(loaves=("a",), seeds=("x",), oven=Oven(degrees=0.1 + 0.2)),
        Bread(loaves=("a",), grain="rye"),
    ):
        words = words_of(request)
        assert "--grain" not in words
        assert words[: 2 * len(request.loaves) : 2] == ["--loaf"] * len(request.loaves)
        assert made(*words)[0] == request
