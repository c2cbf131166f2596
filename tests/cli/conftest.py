"""Running commands in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from hvnas.cli.app import app

Hvnas = Callable[..., Result]


@pytest.fixture(scope="session")
def hvnas() -> Hvnas:
    """Runs ``hvnas`` with arguments; an exception that is no expected error fails the test."""

    def run(*args: object) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="hvnas", catch_exceptions=False)

    return run
