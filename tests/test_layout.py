"""The layout: imports run one way, torch comes in late, files stay short, data travels in the wheel."""

from __future__ import annotations

import ast
import fnmatch
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
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
    return name in {"__init__", "__main__", "paths"} or name.startswith("_")


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
