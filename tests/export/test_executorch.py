"""ExecuTorch: what its runtime computes is what torch computes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hvnas.arch import load_arch
from hvnas.export import executorch as executorch_module
from hvnas.export import export_executorch


class Talking(nn.Module):
    """EfficientFormerV2's talking heads: a convolution of the maps of scores, then their softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after((self.before(x) * 2).softmax(-1))


@pytest.mark.slow
def test_softmax_behind_a_convolution(tmp_path: Path) -> None:
    pytest.importorskip("executorch.runtime", reason="pip install 'hvnas[executorch]' brings it")
    report = export_executorch(Talking(), tmp_path / "net.pte", inputs={"x": (1, 4, 9, 9)})
    assert report.error is not None and report.error <= 1e-5
    assert report.ops == {"aten._softmax": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poolformer_s12", "efficientformerv2_s0"])
def test_outputs_are_those_of_the_network(
    name: str, lively, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("executorch.runtime", reason="pip install 'hvnas[executorch]' brings it")
    arch = load_arch(name).shrunk()
    report = export_executorch(lively(arch), tmp_path / "net.pte")
    assert report.error is not None and report.error <= executorch_module.TOLERANCE
    assert report.outputs == {"logits": (1, arch.head.out)}
    assert report.delegated > 0
    assert not [op for op in report.ops if "conv" in op or "linear" in op]
    assert [p.name for p in tmp_path.iterdir()] == ["net.pte"]
    assert capfd.readouterr().out == ""


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(ValueError, match=r"needs executorch.*hvnas\[executorch\]"):
        export_executorch(load_arch("vit_c_1gf").shrunk(), tmp_path / "net.pte")
    assert not list(tmp_path.iterdir())
