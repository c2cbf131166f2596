"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import importlib.util
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from hvnas.accuracy import Surrogate, load_estimator
from hvnas.arch import Arch, load_arch
from hvnas.latency import Device, load_device
from hvnas.space import Space, load_space


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
def repo_root() -> Path:
    """The root of the checkout that the tests run from."""
    return Path(__file__).resolve().parent.parent
