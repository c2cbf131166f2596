"""The supernet: one weight-sharing network for a whole space."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hvnas._lazy import LazyPackage

if TYPE_CHECKING:
    from hvnas.supernet.composite import composite
    from hvnas.supernet.layout import Dim, axes, joined
    from hvnas.supernet.memory import MemoryNeed, memory
    from hvnas.supernet.statistics import recalibrate
    from hvnas.supernet.supernet import Supernet

# torch comes with each of them, and a command line's help reads no more than what a training is asked for.
_HOMES = {
    "Dim": "hvnas.supernet.layout",
    "MemoryNeed": "hvnas.supernet.memory",
    "Supernet": "hvnas.supernet.supernet",
    "axes": "hvnas.supernet.layout",
    "composite": "hvnas.supernet.composite",
    "joined": "hvnas.supernet.layout",
    "memory": "hvnas.supernet.memory",
    "recalibrate": "hvnas.supernet.statistics",
}

__all__ = ["Dim", "MemoryNeed", "Supernet", "axes", "composite", "joined", "memory", "recalibrate"]

sys.modules[__name__].__class__ = LazyPackage
