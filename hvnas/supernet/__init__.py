"""The supernet: one weight-sharing network for a whole space."""

from hvnas.supernet.composite import composite
from hvnas.supernet.layout import Dim, axes, joined
from hvnas.supernet.memory import MemoryNeed, memory
from hvnas.supernet.statistics import recalibrate
from hvnas.supernet.supernet import Supernet

__all__ = ["Dim", "MemoryNeed", "Supernet", "axes", "composite", "joined", "memory", "recalibrate"]
