"""What ``import hvnas`` offers is what it says."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest

import hvnas
from hvnas.search import SearchRequest, start

IMPORTS = (
    "",
    "import hvnas.search",
    "import hvnas.search.run",
    "from hvnas.search import Engine",
    "from hvnas.search.problem import Problem",
)
SAME = """
import inspect, sys
{first}
import hvnas
search = hvnas.search
assert inspect.isfunction(search)
assert list(inspect.signature(search).parameters)[:3] == ["space", "device", "budget_ms"]
assert search.__doc__.startswith("Search `space`")
import hvnas.search
import hvnas.search.runs.folder
import hvnas.search as package
from hvnas import search as again
from hvnas.search import search as inner, Engine
assert hvnas.search is package is again is inner is search
assert package.Engine is Engine and hvnas.search.runs.folder.SearchFolder
assert not {{"torch", "optuna"}} & set(sys.modules)
"""


@pytest.mark.parametrize("first", IMPORTS)
def test_search_is_one_function_whatever_was_imported(first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAME.format(first=first)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_search_can_be_replaced_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    own = hvnas.search
    with monkeypatch.context() as patched:
        patched.setattr(hvnas, "search", print)
        assert hvnas.search is print
    assert hvnas.search is own


def test_public_objects_are_shown_in_a_few_lines() -> None:
    result, hybrid = hvnas.search("efficientformer", budget_ms=2.0, evals=200), hvnas.load_space("hybrid")
    arch, problem = result.best.arch, result.problem
    program, rows = arch.lower(), result.archive.rows
    shown = [
        *(
            result,
            result.best,
            result.reach,
            result.archive,
            result.archive.evaluations,
            result.fixed_points[0],
        ),
        *(
            problem,
            problem.space,
            problem.space.spec,
            hybrid,
            hybrid.spec,
            problem.device,
            problem.estimator,
            problem.screen(rows),
        ),
        *(arch, program, program.ops[0], problem.device.latency(program)),
        hvnas.load_estimator("surrogate").estimate([arch] * 2000),
    ]
    for one in shown:
        assert len(repr(one)) < 1000 and repr(one).count("\n") < 10, type(one)
    assert arch.name in repr(result) and "2 ms" in repr(result) and "iphone12" in repr(result)


def test_an_equal_architecture_is_shown_alike() -> None:
    a, b = hvnas.load_arch("efficientformer_l1"), hvnas.load_arch("efficientformer_l1")
    assert repr(a) == repr(b) != repr(a.with_(resolution=192))
    assert np.array_equal(hvnas.load_space("hybrid").encode(a), hvnas.load_space("hybrid").encode(b))


@pytest.mark.parametrize("name", sorted(set(hvnas.__all__) - {"__version__"}))
def test_every_public_name_says_what_it_is(name: str) -> None:
    public = getattr(hvnas, name)
    first = (inspect.getdoc(public) or "").partition("\n")[0]
    assert first.endswith(".") and len(first) < 110
    if inspect.isclass(public):
        assert repr(public).startswith("<class 'hvnas.")
        return
    assert inspect.isfunction(public) and repr(public).startswith(f"<function {name} at ")
    assert first.split()[0] in ("Build", "Copy", "List", "Load", "Lower", "Search", "Write")


def test_a_request_searches_as_the_function_does() -> None:
    options = {"space": "efficientformer", "budget_ms": 2.0, "evals": 200}
    request = SearchRequest(device=("iphone12",), constraints=("params<=6M",), **options)
    told = hvnas.search(constraints=["params<=6e6"], **options)
    found = start(request)
    parameters = inspect.signature(hvnas.search).parameters
    assert SearchRequest(device=("iphone12",)).space == parameters["space"].default
    assert np.array_equal(found.archive.rows, told.archive.rows)
    assert found.problem.constraints == told.problem.constraints


LIGHT = """
import sys
import hvnas.cli.app
import hvnas.search.request, hvnas.supernet.request, hvnas.train.request
assert not {"torch", "numpy", "optuna", "scipy"} & set(sys.modules)
import hvnas.search.request
from hvnas.search import search
import hvnas.supernet.weights.memory
from hvnas.supernet import composite, memory
assert callable(search) and callable(memory) and callable(composite)
assert {"memory", "Supernet"} <= set(dir(hvnas.supernet))
try:
    hvnas.supernet.nothing
except AttributeError as error:
    assert str(error) == "module 'hvnas.supernet' has no attribute 'nothing'"
else:
    raise AssertionError
"""


def test_requests_need_no_numbers_and_names_win_over_modules() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


LISTED = """
import sys
from hvnas.cli import main
sys.argv = ["hvnas", "devices", "--format", "csv"]
try:
    main()
except SystemExit as done:
    assert not done.code
print(*sorted({"numpy", "pydantic", "yaml"} & set(sys.modules)), file=sys.stderr)
"""


def test_devices_are_listed_without_what_takes_long_to_import() -> None:
    done = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") > len(hvnas.list_devices())
    assert done.stderr.strip() == "", "or the facts are out of date: run scripts/compile_tables.py"


# Each is for one extra alone, and is loaded where that is asked for, behind a refusal that names it.
FOR_AN_EXTRA = {
    "hvnas.latency.measure.backend_litert": "ai_edge_litert",
    "hvnas.latency.measure.backend_onnx": "onnx",
    "hvnas.train.rand_augment": "kornia",
}
WITHOUT_EXTRAS = """
import importlib, pkgutil, sys

extras = {"ray", "psycopg", "pymysql", "onnx", "onnxruntime", "onnxscript", "coremltools", "executorch",
    "ai_edge_litert", "ai_edge_quantizer", "litert_torch",
    "matplotlib", "plotly", "jinja2", "datasets", "kornia", "PIL", "sklearn", "tensorboard"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in extras:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import hvnas
for module in pkgutil.walk_packages(hvnas.__path__, "hvnas."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name, error.name)
"""


def test_every_module_loads_without_the_extras() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == FOR_AN_EXTRA
