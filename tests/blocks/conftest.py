"""What every fixed point must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvnas.arch import load_arch, save_arch
from hvnas.nn import build_on_meta
from hvnas.ops.counting import count_macs
from hvnas.ops.trace import trace


@pytest.fixture
def check_fixed_point(tmp_path: Path) -> Callable[..., None]:
    """`check(name, params=, macs_within=)`: counts, trace == lower on meta, and the round trip in YAML.

    `printed_within`: how far the published parameters are from ours where they are rounded.
    """

    def check(name: str, *, params: int, macs_within: float, printed_within: float = 0.0) -> None:
        arch = load_arch(name)
        program = arch.lower()
        assert program.params == params
        published = arch.published
        assert published is not None
        if "params" in published:
            assert published["params"] == pytest.approx(params, rel=printed_within, abs=0)
        if "macs" in published and "misprint" not in published:
            counted = arch.with_(resolution=published["macs_resolution"]).lower()
            macs = count_macs(counted, published["macs_rule"])
            assert macs == pytest.approx(published["macs"], rel=macs_within)
        assert trace(build_on_meta(arch), resolution=arch.resolution).difference(program) == ({}, {})
        save_arch(arch, tmp_path / "arch.yaml")
        again = load_arch(tmp_path / "arch.yaml")
        assert again == arch
        assert again.published == arch.published

    return check
