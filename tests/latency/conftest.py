"""The device that most tests here look at."""

from __future__ import annotations

import pytest

from hvnas.latency import Device


@pytest.fixture(scope="session")
def device(iphone12: Device) -> Device:
    """`iphone12`."""
    return iphone12
