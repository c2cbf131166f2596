"""Options on their way to the library."""

from __future__ import annotations

from typing import Any

RECIPE = "modern300"


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: the library knows the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}
