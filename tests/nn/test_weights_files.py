"""Files of weights that are damaged or made to do harm: one short line, at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hvnas.arch import load_arch
from hvnas.export.torch_folder import read_weights
from hvnas.nn import build
from hvnas.nn.foreign.checkpoint import read_checkpoint
from hvnas.nn.weights import load_weights, save_weights


def line_of(caught: pytest.ExceptionInfo[ValueError], path: Path) -> str:
    line = str(caught.value)
    assert "\n" not in line and len(line) <= 500 and path.name in line
    return line


def test_a_tensor_of_more_numbers_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    """Looking for NaN in it would take gigabytes."""
    path = tmp_path / "large.pt"
    torch.save({"a": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(ValueError) as caught:
        read_checkpoint(path)
    assert "holds more numbers than the file" in line_of(caught, path)


def test_weights_that_share_memory_are_read(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    torch.save({"a": whole[:2], "b": whole, "c": whole.view(2, 3).T}, tmp_path / "tied.pt")
    assert sorted(read_checkpoint(tmp_path / "tied.pt").state) == ["a", "b", "c"]


def test_names_without_end_are_cut(tmp_path: Path) -> None:
    model, path = build(load_arch("efficientvit_b0").shrunk()), tmp_path / "other.safetensors"
    save_weights({"x" * 5000: torch.zeros(1), "y" * 5000: torch.zeros(1)}, path)
    with pytest.raises(ValueError) as caught:
        load_weights(model, path)
    assert "these weights are of another network" in line_of(caught, path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1], "data_offsets": []},
        {"dtype": "F32", "shape": [2, -3], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": None, "data_offsets": [0, 4]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        3,
    ],
)
def test_the_reader_of_exports_refuses_other_headers(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / "model.safetensors"
    header = json.dumps({"a": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError) as caught:
        read_weights(path)
    assert "not a complete safetensors file" in line_of(caught, path)
