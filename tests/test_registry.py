"""Names and what they stand for: own members, registered ones, entry points of other packages."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from hvnas._registry import Late, Registry

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """``install(group, modules={module: code}, points={name: value})``: another package is installed."""

    def installed(group: str, *, modules: dict[str, str], points: dict[str, str]) -> None:
        info = tmp_path / "elsewhere-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
        lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        with (info / "entry_points.txt").open("a") as file:
            file.write("\n".join(lines) + "\n")
        for module, code in modules.items():
            (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)

    return installed


def in_python(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    things: Registry[int] = Registry("thing")
    things.add("beta", 2)
    things.add("alpha", 1)
    assert things["alpha"] == 1
    assert things.names() == ("alpha", "beta")
    assert list(things) == ["beta", "alpha"]
    with pytest.raises(
        ValueError, match=r"^unknown thing 'alhpa'; did you mean 'alpha'\? There are: alpha, beta$"
    ):
        things["alhpa"]


def test_a_name_is_given_once() -> None:
    things: Registry[Callable[[], int]] = Registry("thing")
    first = things.registering("one")(lambda: 1)
    with pytest.raises(ValueError, match="a thing named 'one' is registered already"):
        things.registering("one")(lambda: 2)
    assert things["one"] is first


def test_late_is_imported_when_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "later.py").write_text("class Box:\n    @staticmethod\n    def add(a, b): return a + b\n")
    monkeypatch.syspath_prepend(tmp_path)
    add = Late("later:Box.add", (40,))
    assert "later" not in sys.modules
    assert add(2) == 42
    assert add == Late("later:Box.add", (40,))


def test_a_named_entry_point_is_a_member(install: Install) -> None:
    install("things", modules={"thing": "def make(): return 7"}, points={"seven": "thing:make"})
    things: Registry[Callable[[], int]] = Registry("thing", group="things")
    things.add("one", lambda: 1)
    assert things.names() == ("one", "seven")
    assert "thing" not in sys.modules, "a name is listed without importing what it stands for"
    assert things["seven"]() == 7


def test_registered_members_precede_entry_points(install: Install) -> None:
    install("things", modules={"thing_b": "def make(): return 7"}, points={"one": "thing_b:make"})
    things: Registry[Callable[[], int]] = Registry("thing", group="things")
    things.add("one", lambda: 1)
    assert things.names() == ("one",)
    assert things["one"]() == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError: "),
        ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
        ("raise RuntimeError('x' * 5000 + chr(10) + chr(27))", "RuntimeError: xxx"),
        ("", "AttributeError: "),
    ],
)
def test_a_broken_entry_point_is_told_and_hides_no_other(install: Install, code: str, says: str) -> None:
    sys.modules.pop("thing_bad", None)
    install(
        "things",
        modules={"thing_bad": code, "thing_good": "def make(): return 7"},
        points={"bad": "thing_bad:make", "seven": "thing_good:make"},
    )
    things: Registry[Callable[[], int]] = Registry("thing", group="things")
    assert things.names() == ("bad", "seven")
    assert things["seven"]() == 7
    with pytest.raises(
        ValueError, match="entry point 'bad' of the package elsewhere in the group things"
    ) as told:
        things["bad"]
    message = str(told.value)
    assert says in message
    assert len(message) <= 500 and message.isprintable()


def lates(thing: object) -> Iterator[Late]:
    if isinstance(thing, Late):
        yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from lates(value)
    elif is_dataclass(thing) and not isinstance(thing, type):
        for field in fields(thing):
            yield from lates(getattr(thing, field.name))


def test_what_is_named_by_a_string_is_there(repo_root: Path) -> None:
    written = [
        path for path in (repo_root / "hvnas").rglob("*.py") if "Late(" in path.read_text(encoding="utf-8")
    ]
    names = {".".join(path.relative_to(repo_root).with_suffix("").parts) for path in written}
    homes = sorted(names - {"hvnas._registry"})
    found = [late for home in homes for late in lates(vars(importlib.import_module(home)))]
    assert len(found) > 30
    # Of an environment of its own: nothing else here needs a package that is not installed.
    elsewhere = [late for late in found if "litert" in str(late) and not find_spec("ai_edge_litert")]
    for late in [late for late in found if late not in elsewhere]:
        assert callable(late.load()), late
        assert not isinstance(late.load(), Late), late


BLOCK = """
from dataclasses import dataclass
from hvnas.blocks import Block, list_blocks, register_block

list_blocks()  # a package may ask what there is

@register_block("theirs")
@dataclass(frozen=True, kw_only=True)
class Theirs(Block):
    pass
"""


def test_blocks_of_other_packages_survive_a_broken_one(install: Install, tmp_path: Path) -> None:
    install(
        "hvnas.blocks",
        modules={"their_block": BLOCK, "bad_block": "import no_such_module"},
        points={"a_bad": "bad_block", "fine": "their_block"},
    )
    done = in_python(
        "import hvnas\nfrom hvnas.blocks import block_class\n"
        "print(*hvnas.list_blocks())\nprint(block_class('theirs').__module__)\n"
        "try: block_class('thiers')\nexcept ValueError as e: print(e)",
        tmp_path,
    )
    names, module, refused = done.stdout.splitlines()
    assert {"theirs", "mbconv", "classifier"} <= set(names.split())
    assert module == "their_block"
    assert ": theirs; entry point 'a_bad'" in refused
    told = done.stderr.splitlines()
    assert len(told) == 1, done.stderr
    assert told[0].startswith(
        "entry point 'a_bad' of the package elsewhere in the group hvnas.blocks does not load"
    )


def test_a_block_of_another_package_may_not_take_a_name(install: Install, tmp_path: Path) -> None:
    install(
        "hvnas.blocks", modules={"thief": BLOCK.replace('"theirs"', '"mbconv"')}, points={"thief": "thief"}
    )
    done = in_python(
        "import hvnas\nhvnas.list_blocks()\nprint(hvnas.blocks.block_class('mbconv').__module__)",
        tmp_path,
    )
    assert done.stdout.split() == ["hvnas.blocks.mbconv"]
    assert "entry point 'thief'" in done.stderr
    assert "a block named 'mbconv' is registered already" in done.stderr


def test_strategies_of_other_packages(install: Install, tmp_path: Path) -> None:
    code = (
        "from hvnas.search import register_strategy\n"
        "register_strategy('theirs', adaptive=False, default_evals=5, summary='x')(object)\n"
    )
    install(
        "hvnas.strategies",
        modules={"their_strategy": code, "bad": "1/0"},
        points={"b": "bad", "t": "their_strategy"},
    )
    done = in_python(
        "from hvnas.search import list_strategies\n"
        "from hvnas.search.strategies.registry import strategy_entry\n"
        "print(*list_strategies())\nprint(strategy_entry('theirs').default_evals)",
        tmp_path,
    )
    names, evals = done.stdout.splitlines()
    assert {"theirs", "evolution", "tpe"} <= set(names.split())
    assert evals == "5"
    assert "ZeroDivisionError" in done.stderr and len(done.stderr.splitlines()) == 1


def test_devices_of_other_packages(install: Install, tmp_path: Path, repo_root: Path) -> None:
    file = repo_root / "latency_tables" / "iphone12.yaml"
    code = (
        f"def mine(): return {str(file)!r}\n"
        "def lacking(): import no_such_module\n"
        "def gone(): return '/no/such/device.yaml'\n"
    )
    points = {name: f"their_devices:{name}" for name in ("mine", "lacking", "gone", "absent")}
    install("hvnas.devices", modules={"their_devices": code}, points=points)
    done = in_python(
        "sys.argv = ['hvnas', 'devices', '--json']\nfrom hvnas.cli import main\nmain()", tmp_path
    )
    assert [row["name"] for row in json.loads(done.stdout)].count("iphone12") == 2, done.stderr
    told = done.stderr.splitlines()
    assert [line.partition(" ")[0] for line in told] == ["absent", "gone", "lacking"]
    assert "entry point 'absent' of the package elsewhere in the group hvnas.devices does not load" in told[0]
    assert "/no/such/device.yaml" in told[1]
    assert "fails: ModuleNotFoundError: No module named 'no_such_module'" in told[2]
    one = in_python("import hvnas\nprint(hvnas.load_device('mine').name)", tmp_path)
    assert one.stdout == "iphone12\n", one.stderr


def test_estimators_of_other_packages(install: Install, tmp_path: Path) -> None:
    code = (
        "from hvnas.accuracy import AccuracyEstimator, register_estimator_family\n"
        "class Mine(AccuracyEstimator):\n    def __init__(self, text=''): self.text = text\n"
        "def lacking(): return 1 / 0\n"
        "@register_estimator_family('family', argument='WORD')\n"
        "def family(text): return Mine(text)\n"
    )
    install(
        "hvnas.estimators",
        modules={"their_estimators": code},
        points={"mine": "their_estimators:Mine", "lacking": "their_estimators:lacking"},
    )
    install("hvnas.estimator_families", modules={}, points={"family": "their_estimators:family"})
    done = in_python(
        "from hvnas.accuracy import list_estimators, load_estimator, locate_estimator\n"
        "print(*list_estimators())\n"
        "print(type(load_estimator('mine')).__name__, load_estimator('family:a').text)\n"
        "print(*list_estimators())\nprint(locate_estimator('family:a').name)\n"
        "for name in ('lacking', 'lakcing'):\n"
        "    try: load_estimator(name)\n    except ValueError as e: print(e)\n",
        tmp_path,
    )
    before, made, after, located, lacking, unknown = done.stdout.splitlines()
    assert {"mine", "lacking", "family:OPTIONS", "surrogate", "synthetic:OPTIONS"} <= set(before.split())
    assert made == "Mine a"
    assert "family:WORD" in after.split()
    assert located == "family:a"
    assert "entry point 'lacking' of the package elsewhere" in lacking and "ZeroDivisionError" in lacking
    assert unknown.startswith("unknown estimator 'lakcing'; did you mean 'lacking'?")
