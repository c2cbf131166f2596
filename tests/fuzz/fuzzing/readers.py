"""All readers, by name."""

from fuzzing import accuracies, devices, networks, searches, trainings
from fuzzing.reader import READERS, Reader

__all__ = ["READERS", "Reader", "accuracies", "devices", "networks", "searches", "trainings"]
