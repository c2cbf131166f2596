"""Makes the folders of studies under scripts/ importable; the search for a layout that several tests read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hvnas.studies.rediscovery import rediscover_efficientformer
from hvnas.studies.rediscovery.efficientformer import Rediscovery

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))


@pytest.fixture(scope="session")
def study() -> Rediscovery:
    """EfficientFormer-L1 searched for under every gate, with two seeds."""
    return rediscover_efficientformer(
        models=("efficientformer_l1",), gates=("on", "others", "off"), evals=200, peers=100, seeds=2
    )
