"""Every reader answers a damaged file at once, in one short line that names it, or takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing.mutations import mutate
from fuzzing.readers import READERS
from fuzzing.trial import Trial
from fuzzing.verdict import fault_of

# Three hundred over the readers that are quick; scripts/fuzz_readers.py tries all, as often as one likes.
EACH = 8
QUICK = [name for name, reader in READERS.items() if reader.share >= 0.2]


@pytest.mark.parametrize("name", QUICK)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    trial = Trial(READERS[name], tmp_path / name)
    faults = [fault for fault in trial.faults(range(EACH), seed=0) if fault is not None]
    assert not faults, "\n".join(f"{fault.index} {fault.file}: {fault.what}" for fault in faults)


def _raises(error: BaseException) -> Callable[[Path], Any]:
    def read(path: Path) -> None:
        raise error

    return read


def _endless(path: Path) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (_raises(KeyError("x")), "traceback: KeyError"),
        (_raises(RecursionError("deep")), "traceback: RecursionError"),
        (_raises(ValueError("bad")), "names no file"),
        (_raises(ValueError("a.yaml: bad\nworse")), "several lines"),
        (_raises(ValueError(f"a.yaml: {'x' * 500}")), "508 characters"),
        (lambda path: np.float64(1e308) * 10, "warns: RuntimeWarning"),
        (_endless, "hangs"),
    ],
)
def test_a_fault_is_noticed(read: Callable[[Path], Any], says: str) -> None:
    found = fault_of(read, Path("a.yaml"), ("a.yaml",))
    assert found is not None and found.startswith(says), found


@pytest.mark.parametrize("read", [_raises(ValueError("a.yaml: bad")), lambda path: path])
def test_a_proper_answer_is_none(read: Callable[[Path], Any]) -> None:
    assert fault_of(read, Path("a.yaml"), ("a.yaml",)) is None


def test_a_seed_damages_alike(tmp_path: Path) -> None:
    trial = Trial(READERS["recipe"], tmp_path / "recipe")
    files = [trial.damaged(index, seed=3) for index in range(20)]
    assert files == [trial.damaged(index, seed=3) for index in range(20)]
    assert len({data for _, data in files}) > 10


@pytest.mark.parametrize("kind", ["text", "yaml", "json", "jsonl", "csv", "npz", "safetensors", "torch"])
def test_anything_can_be_damaged_again(kind: str) -> None:
    import random

    for seed in range(30):
        assert isinstance(mutate(b"\x93NUMPY" if seed % 2 else b"", kind, random.Random(seed)), bytes)
