"""README.md and its sisters beside the code: their commands and code run, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from typer.testing import CliRunner

from hvnas.space import load_space

ROOT = Path(__file__).resolve().parents[1]
MAIN = ROOT / "README.md"
MAX_LINES = 180
# The data of tests may hold pages of others; the other folders hold what was made here.
ELSEWHERE = {"tests", "venv", "runs", "build", "dist", "node_modules"}


def find_readmes() -> list[Path]:
    """README.md and those in the folders, the main page first."""
    folders = sorted(f for f in ROOT.iterdir() if f.is_dir() and f.name[0] != "." and f.name not in ELSEWHERE)
    found = [path for folder in folders for path in sorted(folder.rglob("README.md"))]
    return [MAIN, *(path for path in found if "_data" not in path.parts)]


READMES = find_readmes()
MAIN_JOB = "hvnas search --budget-ms 2 --device iphone12"
# What a command prints does not change with how much it does, only its figures.
SMALL = ["--space", "efficientformer", "--ops", "200", "--networks", "10", "--blocks", "0"]
LESS = {"search": ["--evals", "300"], "latency plan": SMALL, "latency measure": SMALL}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def page(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for kind, body in FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


def prose(path: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


COMMANDS = {
    line[2:]: page(path)
    for path in READMES
    for block in blocks(path, "console")
    for line in block.splitlines()
    if line.startswith("$ ")
}
# tests/blocks runs the one that registers a block, and forgets the block afterwards.
OWN_BLOCK = (ROOT / "tests" / "blocks" / "own_block.py").read_text(encoding="utf-8")
PYTHON = [
    (page(path), i, code)
    for path in READMES
    for i, code in enumerate(blocks(path, "python"))
    if code != OWN_BLOCK
]


def test_the_main_page_is_short() -> None:
    assert len(MAIN.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_every_page_is_read() -> None:
    found = {page(path) for path in READMES}
    assert {"README.md", "hvnas/README.md", "search_spaces/README.md", "latency_tables/README.md"} <= found
    main = MAIN.read_text(encoding="utf-8")
    assert [name for name in found if name != "README.md" and f"({name}" not in main] == []


@pytest.fixture
def less(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few networks looked at and few runs of each where times are taken; what takes many fits, once."""

    def evaluate(estimator: str, families: str) -> dict[str, Any]:
        assert (estimator, families) == ("surrogate", "all")
        report: dict[str, Any] = request.getfixturevalue("evaluated").report
        return report

    monkeypatch.setattr("hvnas.latency.measure.plan.LOOKED_AT", 12)
    for name in ("RUNS", "FEW_RUNS", "WHILE_MS"):
        monkeypatch.setattr(f"hvnas.latency.measure.run.{name}", 3)
    # How well the caches are emptied before each run has a say in the times, and in nothing that is asked.
    monkeypatch.setattr("hvnas.latency.measure.backend_torch.CPU_FLUSH_BYTES", 24_000)
    monkeypatch.setattr("hvnas.accuracy.evaluate.evaluate", evaluate)
    monkeypatch.setattr(
        "hvnas.studies.rediscovery.rediscover_coatnet", lambda: request.getfixturevalue("coatnet_ranks")
    )


# The main job runs in full, below.
@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command != MAIN_JOB],
    ids=lambda command: f"{COMMANDS[command]}: {command}",
)
@pytest.mark.usefixtures("less")
def test_command_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hvnas.cli.app import app

    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(command)
    assert program == "hvnas"
    less = LESS.get(words[0]) or LESS.get(" ".join(words[:2]), [])
    result = CliRunner().invoke(app, words + less)
    assert result.exit_code == 0, result.output
    assert result.output.strip()


@cache
def commands() -> dict[str, set[str]]:
    """Return the options of every command, those of groups included: ``hvnas latency plan``."""
    from typer.main import get_command

    from hvnas.cli.app import app

    def walk(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
        inside = getattr(command, "commands", None)
        if inside is None:
            yield (
                name,
                {"-h", "--help"}.union(*(option.opts + option.secondary_opts for option in command.params)),
            )
        for word, child in (inside or {}).items():
            yield from walk(child, f"{name} {word}")

    return dict(walk(get_command(app), "hvnas"))


def test_every_command_is_named() -> None:
    text = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in READMES)
    assert "hvnas latency plan" in commands()
    assert [name for name in commands() if not re.search(rf"{name}\b", text)] == []


def test_commands_and_options_named_exist() -> None:
    groups = {name.rpartition(" ")[0] for name in commands()}
    anywhere = set().union(*commands().values())
    for path in READMES:
        shown = [*blocks(path, "console"), *blocks(path, "bash")]
        lines = [
            line.removeprefix("$ ").partition("  #")[0] for block in shown for line in block.splitlines()
        ]
        spans = re.findall(r"`([^`]+)`", prose(path))
        for line in [line for line in (*lines, *spans) if line.startswith("hvnas ")]:
            words = line.split()
            # What is in capitals stands for any word: `hvnas COMMAND --help`.
            if words[1].startswith("-") or not words[1].islower():
                continue
            names = [" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in commands()]
            assert names or " ".join(words[:2]) in groups, f"{page(path)}: {line}: no such command"
            for name in names[:1]:
                assert options(line) <= commands()[name], f"{page(path)}: {line}: no such option"
        for span in [span for span in spans if span.startswith("--")]:
            assert options(span) <= anywhere, f"{page(path)}: {span}: no such option"


def options(line: str) -> set[str]:
    """Return the options that a command line gives."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line))


def best(printed: str) -> tuple[float, float]:
    """Milliseconds and top-1 of the best network."""
    _, _, after = printed.partition("Best: ")
    numbers = re.search(r"latency +([\d.]+) ms.*?top-1 +([\d.]+) ±", after, re.DOTALL)
    assert numbers, printed
    return float(numbers[1]), float(numbers[2])


def test_main_job_finds_what_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hvnas.cli.app import app

    monkeypatch.chdir(tmp_path)
    text = MAIN.read_text(encoding="utf-8")
    shown = re.search(r"<!-- main job -->(.*)<!-- /main job -->", text, re.DOTALL)
    assert shown
    assert COMMANDS[MAIN_JOB] == "README.md"
    result = CliRunner().invoke(app, shlex.split(MAIN_JOB)[1:])
    assert result.exit_code == 0, result.output
    # Other processors add up in another order, which can lead a search to a neighbour.
    assert best(result.output)[0] == pytest.approx(best(shown[1])[0], abs=0.1)
    assert best(result.output)[1] == pytest.approx(best(shown[1])[1], abs=0.2)


@pytest.mark.parametrize(("path", "i", "code"), PYTHON, ids=[f"{path}-{i}" for path, i, _ in PYTHON])
def test_python_runs(
    path: str,
    i: int,
    code: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "@register_" not in code, "what it registers would stay for the tests after this one"
    exec(compile(code, path, "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    # A text block right behind the code is what it prints.
    text = (ROOT / path).read_text(encoding="utf-8")
    shown = re.match(r"```\n+```text\n(.*?)^```$", text.partition(code)[2], re.DOTALL | re.MULTILINE)
    if shown:
        assert printed == shown[1]


@cache
def anchors(path: Path) -> set[str]:
    """Return what links may name behind ``#``: the page's headings, as code hosts spell them."""
    heads = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", READMES, ids=page)
def test_links_and_images_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / unquote(name)).resolve() if name else path
        assert target.exists(), f"{page(path)}: {link}: no such file"
        assert target.is_relative_to(ROOT), f"{page(path)}: {link}: outside the repository"
        where = target / "README.md" if target.is_dir() else target
        assert not anchor or anchor in anchors(where), f"{page(path)}: {link}: no such heading"


def test_the_main_page_has_no_images_of_its_own() -> None:
    """A package index shows this page alone: images beside it would be missing there."""
    assert re.findall(r"!\[[^\]]*\]\((?!https://)", MAIN.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", READMES, ids=page)
def test_files_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    scripts = set(re.findall(r"scripts/\w+\.(?:sh|py)", text))
    ours = set(re.findall(r"`((?:hvnas|tests|search_spaces|latency_tables)/[\w/.-]*)`", text))
    assert [name for name in scripts | ours if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", READMES, ids=page)
def test_names_of_the_package_exist(path: Path) -> None:
    from pydoc import locate

    names = set(re.findall(r"`(hvnas(?:\.\w+)+)\b(?!/)", prose(path)))
    groups = {
        "hvnas.blocks",
        "hvnas.devices",
        "hvnas.estimators",
        "hvnas.estimator_families",
        "hvnas.strategies",
    }
    assert [name for name in names - groups if locate(name) is None] == []


def test_every_page_travels_in_the_source_distribution() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = config["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {f"/{page(path).split('/')[0]}" for path in READMES if path != MAIN} <= set(included)


def registered() -> Iterator[tuple[str, str]]:
    """Yield the page and the name of everything of a kind that the package ships."""
    import hvnas
    from hvnas.latency import load_device
    from hvnas.search import list_strategies
    from hvnas.studies.ablation import list_studies
    from hvnas.supernet.schemes import list_schemes
    from hvnas.train.data import list_data

    yield from (("search_spaces", name) for name in hvnas.list_spaces())
    yield from (("hvnas/blocks", name) for name in hvnas.list_blocks())
    yield from (("hvnas/search", name) for name in list_strategies())
    yield from (("hvnas/supernet", name) for name in list_schemes())
    yield from (("hvnas/studies", name) for name in list_studies())
    yield from (("hvnas/train", name) for name in list_data())
    yield from (("hvnas/train", path.stem) for path in (ROOT / "hvnas/train/recipes").glob("*.yaml"))
    # The one for tests is registered twice over where a test has imported it.
    estimators = (name for name in hvnas.list_estimators() if name.partition(":")[0] != "synthetic")
    yield from (("hvnas/accuracy", name) for name in estimators if name != "train")
    for name in hvnas.list_devices():
        yield "latency_tables", name
        if load_device(name).rules:
            path = ROOT / "latency_tables" / f"{name}.yaml"
            yield from (("latency_tables", field) for field in yaml.safe_load(path.read_text("utf-8")))


def test_what_ships_is_named() -> None:
    missing = [
        f"{folder}/README.md: {name}"
        for folder, name in sorted(set(registered()))
        if f"`{name}`" not in prose(ROOT / folder / "README.md")
    ]
    assert missing == []


SPACES = ROOT / "search_spaces" / "README.md"


@pytest.mark.parametrize("where", ["file", "stage"])
def test_every_field_of_a_space_file_is_named(where: str, tmp_path: Path) -> None:
    data = yaml.safe_load(blocks(SPACES, "yaml")[0])
    (data if where == "file" else data["stage"])["unheard_of"] = [1]
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match="unheard_of: unknown field; the fields here are") as refused:
        load_space(path)
    fields = str(refused.value).partition("the fields here are ")[2].partition(" (")[0].split(", ")
    assert len(fields) >= 7
    assert [field for field in fields if f"`{field}`" not in prose(SPACES)] == []


def test_the_space_file_shown_loads(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(blocks(SPACES, "yaml")[0])
    assert load_space(path).name == "two-stages"


def test_sizes_of_spaces() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| ([\d.,e+]+) \|$", prose(SPACES), re.MULTILINE)
    assert len(rows) >= 6
    for name, shown in rows:
        size = load_space(name).size
        assert shown == (f"{size:,}" if size < 10_000_000 else f"{size:.3g}"), name
