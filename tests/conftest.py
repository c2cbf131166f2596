"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch


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
