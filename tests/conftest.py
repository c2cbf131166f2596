"""Fixtures that every test may use."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
import typer.testing

from hvnas.accuracy import Estimate, Surrogate, load_estimator
from hvnas.accuracy import evaluate as evaluation
from hvnas.accuracy.evaluate import evaluate, leave_one_family_out
from hvnas.arch import Arch, load_arch
from hvnas.cli.app import app as hvnas_app
from hvnas.latency import Device, load_device
from hvnas.latency.measure.plan import make_plan
from hvnas.latency.measure.table import build_table
from hvnas.space import Space, list_spaces, load_space
from hvnas.space.canonical.canonical import Canonicaliser
from hvnas.space.layout import Layout
from hvnas.space.spec import SpaceSpec
from hvnas.studies.rediscovery import rediscover_coatnet, rediscover_efficientformer
from hvnas.studies.rediscovery.coatnet import LayoutRanks
from hvnas.studies.rediscovery.efficientformer import Rediscovery
from hvnas.testing.latency import FormulaBackend


def _use_own_cache() -> None:
    """Let tests, and the processes that they start, leave the user's cache alone."""
    folder = tempfile.mkdtemp(prefix="hvnas-cache-")
    os.environ["HVNAS_CACHE"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


_use_own_cache()


def _make_torchvision_importable() -> torch.library.Library | None:
    """Declare the two operators without which torchvision does not import.

    Its builds for Linux are CUDA builds, whose compiled operators do not load beside a CPU build of torch.
    timm needs torchvision's Python code only, but importing that refers to these two.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return None
    try:
        for compiled in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(compiled)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


# torch forgets the operators once the library is collected.
_TORCHVISION = _make_torchvision_importable()


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from looking through modules and tests again and again."""
    gc.collect()
    gc.freeze()
    # What tests make is small: the collector need not run as often as it does by default.
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture(scope="session", autouse=True)
def _tables_of_spaces() -> Iterator[None]:
    """Make the tables of a shipped space once, however often it is loaded; nothing writes to them."""
    shipped = list_spaces()
    made: list[tuple[SpaceSpec, Canonicaliser]] = []

    def canonicaliser(layout: Layout) -> Canonicaliser:
        for spec, known in made:
            if spec == layout.spec:
                return known
        fresh = Canonicaliser(layout)
        if layout.spec.name in shipped:
            made.append((layout.spec, fresh))
        return fresh

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hvnas.space.space.Canonicaliser", canonicaliser)
        yield


@pytest.fixture(scope="session", autouse=True)
def _commands_put_together_once() -> Iterator[None]:
    """Read the signatures of all commands once, not at each command that a test runs."""
    real, made = typer.main.get_command, {}

    def command(app: typer.Typer) -> Any:
        if app is not hvnas_app:
            return real(app)
        if app not in made:
            made[app] = real(app)
        return made[app]

    with pytest.MonkeyPatch.context() as patched:
        # Where typer's runner has another name for it, it is slower and no less right.
        patched.setattr("typer.testing._get_command", command, raising=False)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch, with which a training repeats to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def surrogate() -> Surrogate:
    """The estimator that ships."""
    found = load_estimator("surrogate")
    assert isinstance(found, Surrogate)
    return found


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` says of the surrogate, and the estimates that it rests on: each family left out."""

    report: dict[str, Any]
    left_out: Estimate


@pytest.fixture(scope="session")
def evaluated() -> Evaluated:
    """The surrogate, evaluated once: that takes a fit for every family and every study."""
    estimates: list[Estimate] = []

    def recorded(*args: Any) -> Estimate:
        estimates.append(leave_one_family_out(*args))
        return estimates[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluation, "leave_one_family_out", recorded)
        report = evaluate("surrogate")
    (left_out,) = estimates
    return Evaluated(report, left_out)


@pytest.fixture(scope="session")
def coatnet_ranks() -> LayoutRanks:
    """CoAtNet's layouts, ranked once: that takes fits without CoAtNet."""
    return rediscover_coatnet()


@pytest.fixture(scope="session")
def study() -> Rediscovery:
    """EfficientFormer-L1 searched for under every gate, with two seeds."""
    return rediscover_efficientformer(
        models=("efficientformer_l1",), gates=("on", "others", "off"), evals=200, peers=100, seeds=2
    )


@pytest.fixture(scope="session")
def iphone12() -> Device:
    """The device that ships with most measurements behind it."""
    return load_device("iphone12")


@pytest.fixture(scope="session")
def hybrid() -> Space:
    """The whole space."""
    return load_space("hybrid")


@pytest.fixture(scope="session")
def small_archs() -> list[Arch]:
    """Two shrunk models of papers."""
    return [load_arch(name).shrunk() for name in ("efficientformer_l1", "poolformer_s12")]


@pytest.fixture(scope="session")
def tiny_files(repo_root: Path) -> Path:
    """The folder of the spaces (small.yaml, slim.yaml) and of the recipe (short.yaml) for tiny trainings."""
    return repo_root / "tests" / "supernet"


@pytest.fixture(scope="session")
def limited_to() -> Callable[[int], AbstractContextManager[None]]:
    """``with limited_to(size):`` no file may grow beyond `size` bytes, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def table_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[FormulaBackend], Path]:
    """``table_of(backend)``: a table of the space efficientformer on this host, as the backend times it."""

    def build(backend: FormulaBackend) -> Path:
        path = tmp_path_factory.mktemp("table") / "own.yaml"
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("hvnas.latency.measure.plan.LOOKED_AT", 20)
            space = load_space("efficientformer")
            plan = make_plan(space, ops=200, blocks=0, networks=12, fuses_attention=True)
            build_table(plan, backend, path)
        return path

    return build


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout that the tests run from."""
    return Path(__file__).resolve().parent.parent
