"""--format: one answer as text, as JSON and as CSV, in every command that lists or compares."""

from __future__ import annotations

import csv
import io
import json
import typing

import pytest
import typer.main

from hvnas import space
from hvnas.cli import _checks
from hvnas.cli.app import app
from hvnas.studies import verify

# What makes something says what it made; there, --format is a file's.
MAKING = {
    "search",
    "resume",
    "train",
    "evaluate",
    "export",
    "report",
    "version",
    "weights import",
    "accuracy fit",
    "supernet train",
    *(f"latency {name}" for name in ("calibrate", "export-suite", "import", "measure", "table")),
}
PROXIES = ("accuracy", "proxies", "mobilevit_xxs", "vit_c_1gf", "--proxy", "params", "--proxy", "macs")
PREDICT = ("latency", "predict", "--device", "iphone12", "--arch", "coatnet_0")
LISTINGS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("models",): ("name", "family", "resolution", "params", "macs", "published.top1", "published.recipe"),
    ("devices",): ("name", "soc", "os", "method", "error_in_gate", "hash"),
    ("spaces",): ("name", "size", "parent", "genes", "fixed_points"),
    ("spaces", "show", "hybrid-tiny"): ("gene", "values", "list"),
    ("spaces", "check", "hybrid-tiny"): ("field", "unused"),
    ("show", "coatnet_0", "--device", "iphone12"): ("name", "params", "device", "ms", "low", "inside"),
    ("verify", "mobilevit_xxs"): ("model", "verdict", "params", "macs", "check_trace", "source"),
    ("ablate",): ("name", "title", "parts"),
    ("doctor", "--only", "matplotlib"): ("name", "state", "detail"),
    ("accuracy", "rank", "poolformer_s12", "poolformer_s12_pppf"): ("place", "network", "top1", "top1_sd"),
    PROXIES: ("proxy", "network", "score", "place", "seconds"),
    PREDICT: ("network", "device", "by", "part", "ms"),
}


def names(group: typing.Any, before: str = "") -> typing.Iterator[tuple[str, set[str]]]:
    """Every command, with its options."""
    for name, command in group.commands.items():
        options = {option for each in command.params for option in each.opts}
        if hasattr(command, "commands"):
            yield from names(command, f"{before}{name} ")
        if not hasattr(command, "commands") or "--json" in options:
            yield before + name, options


def test_every_command_prints_json_and_listings_csv() -> None:
    found = dict(names(typer.main.get_command(app)))
    assert all("--json" in options for options in found.values())
    assert {name for name in found if name in MAKING} == MAKING
    assert {name for name, options in found.items() if "--format" not in options} == MAKING - {
        "export",
        "latency export-suite",
        "latency import",
    }


@pytest.fixture
def computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is computed for the first form; the others print it again."""
    for owner, name in ((_checks, "run_checks"), (verify, "verify"), (space, "load_space")):
        monkeypatch.setattr(owner, name, remembering(getattr(owner, name)))


def remembering(compute: typing.Callable[..., typing.Any]) -> typing.Callable[..., typing.Any]:
    """`compute`, once for the same arguments; what it yields is listed."""
    answers: dict[str, typing.Any] = {}

    def answer(*asked: typing.Any, **options: typing.Any) -> typing.Any:
        key = repr(asked)
        if key not in answers:
            found = compute(*asked, **options)
            answers[key] = list(found) if isinstance(found, typing.Iterator) else found
        return answers[key]

    return answer


@pytest.mark.usefixtures("computed_once")
@pytest.mark.parametrize("command", LISTINGS, ids=" ".join)
def test_one_answer_in_each_form(hvnas, command: tuple[str, ...]) -> None:
    text, as_text, as_json, again, table = (
        hvnas(*command, *form)
        for form in ((), ("--format", "text"), ("--format", "json"), ("--json",), ("--format", "csv"))
    )
    assert [each.exit_code for each in (text, as_text, as_json, again, table)] == [0] * 5
    json.loads(as_json.stdout)
    if command[0] not in ("accuracy", "verify"):  # these tell how long they took
        assert as_text.stdout == text.stdout
    if command != PROXIES:
        assert again.stdout == as_json.stdout
    header, *rows = csv.reader(io.StringIO(table.stdout))
    assert set(LISTINGS[command]) <= set(header)
    assert all(len(row) == len(header) for row in rows)
    if command[1:2] != ("check",):
        assert rows


def test_csv_holds_the_records_of_the_json(hvnas) -> None:
    records = json.loads(hvnas("models", "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(hvnas("models", "--format", "csv").stdout)))
    assert [row["name"] for row in rows] == [record["name"] for record in records]
    for row, record in zip(rows, records, strict=True):
        assert (int(row["params"]), int(row["macs"])) == (record["params"], record["macs"])
        assert row["published.top1"] == str(record["published"].get("top1") or "")


def test_what_a_file_says_does_not_act_on_the_terminal(hvnas, tmp_path) -> None:
    from hvnas.arch import load_arch, save_arch

    path = tmp_path / "net.yaml"
    save_arch(load_arch("mobilevit_xxs"), path)
    path.write_text(path.read_text().replace("name: mobilevit_xxs", 'name: "=a\\e[31m"'))
    out = hvnas("latency", "predict", "--arch", path, "--device", "iphone12", "--format", "csv").stdout
    assert "\x1b" not in out
    assert out.splitlines()[1].startswith("'=a,iphone12,stage,")


def test_two_forms_at_once_are_refused(hvnas) -> None:
    result = hvnas("models", "--json", "--format", "csv")
    assert result.exit_code == 2
    assert result.stderr == ("hvnas: error: --json means --format json, not csv; give only one of them\n")
    assert hvnas("models", "--json", "--format", "json").exit_code == 0
    assert hvnas("models", "--format", "xml").exit_code == 2


def test_the_shipped_studies_as_json(hvnas) -> None:
    studies = json.loads(hvnas("ablate", "--json").stdout)
    assert {"name": "stems", "parts": studies[-1]["parts"]}.items() <= studies[-1].items()
