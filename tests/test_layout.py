"""The layout: imports run one way, in no circle, torch late; files and folders stay small; data travels."""

from __future__ import annotations

import ast
import fnmatch
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

# A package may import those on lower lines, never one on its own line or above.
LAYERS = (
    ("testing",),
    ("cli",),
    ("studies", "report"),
    ("search",),
    ("accuracy",),
    ("supernet",),
    ("train",),
    ("latency",),
    ("export",),
    ("nn",),
    ("space",),
    ("arch",),
    ("blocks",),
    ("ops",),
    ("parallel",),
)
LAYER = {package: depth for depth, packages in enumerate(LAYERS) for package in packages}

# A search on the shipped tables must not pay for torch.
TORCH_FREE = ("ops", "blocks", "arch", "space", "search", "latency", "accuracy", "cli", "parallel")
TORCH_ALLOWED = (
    "hvnas/ops/trace.py",  # traces torch modules
    "hvnas/latency/measure*.py",  # runs them
    "hvnas/accuracy/proxies*.py",  # takes their gradients
)
TORCH_LIBRARIES = frozenset({"torch", "torchvision", "timm", "fvcore"})

MAX_LINES = 500
MAX_FILES = 330
# Files of one folder, its __init__.py aside; hvnas/cli/ has a file per command.
MAX_FLAT = 20


@dataclass(frozen=True)
class Import:
    """One imported name, as written in one place."""

    line: int
    module: str  # "hvnas.ops.op"; for `from a import b` it is "a.b", whether b is a module or not
    at_import: bool  # runs when the importing module is imported


def sources(root: Path) -> list[Path]:
    return sorted((root / "hvnas").rglob("*.py"))


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports(root: Path, path: Path) -> list[Import]:
    """Every import of the file at ``path``, those in functions and those by a literal name included."""
    package = module_name(root, path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, at_import)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield Import(node.lineno, ".".join([*base, alias.name]), at_import)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield Import(node.lineno, node.args[0].value, at_import)
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                yield from walk(child, False)
            for child in node.orelse:
                yield from walk(child, at_import)
            return
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import and not inside)

    return list(walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), True))


def is_helper(name: str) -> bool:
    """Whether a file at the top of the package stands outside the order."""
    return name in {"__init__", "__main__"} or name.startswith("_")


def direction_violations(root: Path) -> list[str]:
    found = []
    for path in sources(root):
        relative = path.relative_to(root)
        at_top = len(relative.parts) == 2
        owner = path.stem if at_top else relative.parts[1]
        if at_top and is_helper(owner):
            continue
        if at_top or owner not in LAYER:
            found.append(f"{relative}:1: {owner!r} has no place in the order of the packages")
            continue
        for entry in imports(root, path):
            top, *rest = entry.module.split(".")
            # A name that is neither a package of the order nor a folder is an attribute of hvnas itself.
            if top != "hvnas" or not rest or rest[0] == owner:
                continue
            target = rest[0]
            if target in LAYER:
                if owner != "testing" and LAYER[target] <= LAYER[owner]:
                    found.append(f"{relative}:{entry.line}: {owner} imports {target}")
            elif (root / "hvnas" / target).is_dir():
                found.append(f"{relative}:{entry.line}: {owner} imports {target}, which is not in the order")
    return found


def circle(root: Path) -> list[str]:
    """Modules that import each other in a circle, the first one again at the end; empty where there are none.

    Imports in functions and those for type checkers count: a reader follows them like the others.
    """
    paths = {module_name(root, path): path for path in sources(root)}
    edges: dict[str, set[str]] = {}
    for name, path in paths.items():
        # `from a import b` names the module a.b where there is one, else a.
        named = {entry.module for entry in imports(root, path)}
        modules = {module if module in paths else module.rpartition(".")[0] for module in named}
        edges[name] = (modules & paths.keys()) - {name}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def crowded(root: Path) -> list[str]:
    """Folders with more files than a reader takes in at a glance."""
    folders: dict[Path, int] = {}
    for path in sources(root):
        folders[path.parent] = folders.get(path.parent, 0) + (path.name != "__init__.py")
    flat = {folder.relative_to(root).as_posix(): n for folder, n in folders.items()}
    return [f"{folder}: {n} files" for folder, n in flat.items() if n > MAX_FLAT and folder != "hvnas/cli"]


def must_be_torch_free(relative: Path) -> bool:
    if any(fnmatch.fnmatch(relative.as_posix(), pattern) for pattern in TORCH_ALLOWED):
        return False
    return len(relative.parts) == 2 or relative.parts[1] in TORCH_FREE


def torch_violations(root: Path) -> list[str]:
    """Imports that pull torch in as soon as a torch-free module is imported, directly or through others."""
    paths = {module_name(root, path): path for path in sources(root)}
    edges: dict[str, list[tuple[int, str]]] = {}  # module: (line, a module of ours or a torch library)
    for name, path in paths.items():
        edges[name] = []
        for entry in imports(root, path):
            if not entry.at_import:
                continue
            parts = entry.module.split(".")
            if parts[0] in TORCH_LIBRARIES or entry.module.startswith("safetensors.torch"):
                edges[name].append((entry.line, "torch"))
            # Importing a.b.c runs a, a.b and a.b.c.
            prefixes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
            edges[name] += [(entry.line, prefix) for prefix in prefixes if prefix in paths]

    # Shortest route from each module to torch, found backwards from torch.
    route: dict[str, tuple[int, str]] = {}
    frontier = {"torch"}
    while frontier:
        reached = set()
        for name, targets in edges.items():
            hit = next(((line, target) for line, target in targets if target in frontier), None)
            if hit and name not in route:
                route[name] = hit
                reached.add(name)
        frontier = reached

    found = []
    for name in sorted(route):
        relative = paths[name].relative_to(root)
        if must_be_torch_free(relative):
            line, step = route[name]
            chain = [step]
            while chain[-1] != "torch":
                chain.append(route[chain[-1]][1])
            found.append(f"{relative}:{line}: imports {' -> '.join(chain)} at module level")
    return found


def test_imports_run_one_way(repo_root: Path) -> None:
    found = direction_violations(repo_root)
    assert not found, "\n".join(["imports against the order of the packages:", *found])


def test_imports_run_in_no_circle(repo_root: Path) -> None:
    found = circle(repo_root)
    assert not found, " imports ".join(found)


def test_folders_and_files_are_few(repo_root: Path) -> None:
    assert len(sources(repo_root)) <= MAX_FILES
    found = crowded(repo_root)
    assert not found, "\n".join([f"folders of more than {MAX_FLAT} files:", *found])


def test_torch_is_imported_late(repo_root: Path) -> None:
    found = torch_violations(repo_root)
    assert not found, "\n".join(["torch comes in where it must not:", *found])


def test_files_stay_short(repo_root: Path) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(repo_root)}
    found = [f"{path.relative_to(repo_root)}: {n} lines" for path, n in lengths.items() if n > MAX_LINES]
    assert not found, "\n".join([f"files of more than {MAX_LINES} lines:", *found])


@pytest.mark.parametrize("folder", ["search_spaces", "latency_tables"])
def test_data_travels_in_the_wheel(repo_root: Path, folder: str) -> None:
    config = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))
    targets = config["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["sources"][folder] == f"hvnas/_data/{folder}"
    assert f"/{folder}" in targets["wheel"]["include"]
    assert f"/{folder}" in targets["sdist"]["include"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A made-up package with one fault of each kind."""
    files = {
        "__init__.py": "from hvnas.ops import Op\n",
        "_compat.py": "from hvnas.cli import main\n",
        "stray.py": "",
        "ops/__init__.py": "from hvnas._files import data_dir\nfrom hvnas import _compat, load_arch\n",
        "ops/trace.py": "import torch\n",
        "parallel/pool.py": "def run():\n    from hvnas.ops import Op\n",
        "report/html.py": "from ..studies import x\nfrom ..search import y\n",
        "search/run.py": "import importlib\n\nimportlib.import_module('hvnas.cli.main')\n",
        "space/fast.py": "if TYPE_CHECKING:\n    import torch\nimport hvnas.ops.trace\n",
        "nn/build.py": "import torch\n",
        "latency/model.py": "from hvnas.nn import build\n\ndef f():\n    import torch\n",
        "latency/measure.py": "import torch\n",
        "studies/rank.py": "from hvnas.testing import cases\n",
        "testing/cases.py": "from hvnas.cli import main\n",
    }
    for name, text in files.items():
        path = tmp_path / "hvnas" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_direction_faults_are_found(tree: Path) -> None:
    assert direction_violations(tree) == [
        "hvnas/parallel/pool.py:2: parallel imports ops",
        "hvnas/report/html.py:1: report imports studies",
        "hvnas/search/run.py:3: search imports cli",
        "hvnas/stray.py:1: 'stray' has no place in the order of the packages",
        "hvnas/studies/rank.py:1: studies imports testing",
    ]


def test_torch_faults_are_found(tree: Path) -> None:
    assert torch_violations(tree) == [
        "hvnas/latency/model.py:1: imports hvnas.nn.build -> torch at module level",
        "hvnas/space/fast.py:3: imports hvnas.ops.trace -> torch at module level",
    ]


@pytest.mark.parametrize(
    "back",
    [
        "from hvnas.space.space import Space\n",
        "def f():\n    from hvnas.space import space\n",
        "if TYPE_CHECKING:\n    import hvnas.space.space\n",
        "def f():\n    import_module('hvnas.space.space')\n",
    ],
)
def test_circles_are_found(tmp_path: Path, back: str) -> None:
    folder = tmp_path / "hvnas" / "space"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from hvnas.space.space import Space\n", encoding="utf-8")
    (folder / "space.py").write_text("import hvnas.space.sampling\n", encoding="utf-8")
    (folder / "sampling.py").write_text("", encoding="utf-8")
    assert circle(tmp_path) == []
    (folder / "sampling.py").write_text(back, encoding="utf-8")
    first, *others = circle(tmp_path)
    assert {first, *others} == {"hvnas.space.space", "hvnas.space.sampling"}
    assert others[-1] == first


def test_crowded_folders_are_found(tmp_path: Path) -> None:
    for folder, n in (("cli", 30), ("search", 21), ("space", 20)):
        (tmp_path / "hvnas" / folder).mkdir(parents=True)
        for name in ("__init__", *(f"part{i}" for i in range(n))):
            (tmp_path / "hvnas" / folder / f"{name}.py").write_text("", encoding="utf-8")
    assert crowded(tmp_path) == ["hvnas/search: 21 files"]
