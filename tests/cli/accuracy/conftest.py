"""The runner of commands, and small networks in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvnas.arch import load_arch, save_arch


@pytest.fixture
def small(tmp_path: Path) -> list[Path]:
    """Files of three shrunk models."""
    paths = []
    for name in ("poolformer_s12", "efficientformer_l1", "vit_c_1gf"):
        paths.append(tmp_path / f"{name}.yaml")
        save_arch(load_arch(name).shrunk(), paths[-1])
    return paths
