"""The supernet: one weight-sharing network for a whole space."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hvnas._lazy import LazyPackage

if TYPE_CHECKING:
    from hvnas.supernet.scoring import recalibrate
    from hvnas.supernet.supernet import Supernet
    from hvnas.supernet.weights.composite import Dim, axes, composite, joined
    from hvnas.supernet.weights.memory import MemoryNeed, memory

# torch comes with each of them, and a command line's help reads no more than what a training is asked for.
_HOMES = {
    "Dim": "hvnas.supernet.weights.composite",
    "MemoryNeed": "hvnas.supernet.weights.memory",
    "Supernet": "hvnas.supernet.supernet",
    "axes": "hvnas.supernet.weights.composite",
    "composite": "hvnas.supernet.weights.composite",
    "joined": "hvnas.supernet.weights.composite",
    "memory": "hvnas.supernet.weights.memory",
    "recalibrate": "hvnas.supernet.scoring",
}

__all__ = ["Dim", "MemoryNeed", "Supernet", "axes", "composite", "joined", "memory", "recalibrate"]

sys.modules[__name__].__class__ = LazyPackage
