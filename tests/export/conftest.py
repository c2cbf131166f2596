"""Optional packages of the exports, and networks whose every part shows in the outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from hvnas.arch import Arch
from hvnas.nn import Network
from hvnas.testing.blocks import lively

Need = Callable[..., None]


@pytest.fixture
def need() -> Need:
    """Skips the test where a package is missing, or fails it where everything is required."""

    def check(*packages: str) -> None:
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            give_up = pytest.fail if os.environ.get("HVNAS_REQUIRE_ALL") else pytest.skip
            give_up(f"{', '.join(missing)} is not installed; pip install 'hvnas[export]' brings it")

    return check


@pytest.fixture(name="lively")
def _lively() -> Callable[[Arch], Network]:
    """`hvnas.testing.blocks.lively`."""
    return lively
