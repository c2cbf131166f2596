"""A run that is killed goes on to the front that it would have had."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import toy

from hvnas.search.state import FolderCheckpoint, State


def wait_for_new_state(out: Path, process, *, since: float) -> None:
    state = out / ".state" / "state.npz"
    while process.poll() is None and not (state.is_file() and state.stat().st_mtime > since):
        time.sleep(0.005)


@pytest.mark.parametrize(("strategy", "evals", "pause"), [("evolution", 6000, 0.03), ("nsga2", 400, 0.002)])
def test_killed_run_resumes_to_the_same_files(
    tmp_path: Path, strategy: str, evals: int, pause: float
) -> None:
    toy.run(tmp_path / "whole", strategy, evals=evals)
    out, kills, since = tmp_path / "cut", 0, 0.0
    for attempt in range(3):
        process = toy.start(out, strategy, evals=evals, pause=pause)
        wait_for_new_state(out, process, since=since)
        time.sleep(0.05 * attempt)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
        since = time.time()
    assert kills >= 2
    assert not (out / "best.yaml").exists()
    toy.run(out, strategy, evals=evals)
    assert toy.outputs(out) == toy.outputs(tmp_path / "whole")


def test_killed_before_the_first_checkpoint(tmp_path: Path) -> None:
    toy.run(tmp_path / "whole")
    folder = toy.RunFolder(tmp_path / "cut")
    folder.create(toy.config())
    toy.run(tmp_path / "cut")
    assert toy.outputs(tmp_path / "cut") == toy.outputs(tmp_path / "whole")


def test_finished_run_resumes_without_evaluating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = toy.run(tmp_path / "run")
    before = toy.outputs(tmp_path / "run")
    monkeypatch.setattr("hvnas.search.evolution.Evolution.run", None)
    again = toy.run(tmp_path / "run")
    assert again.evaluated == first.evaluated
    assert toy.outputs(tmp_path / "run") == before


def test_keys_of_a_cut_save_are_ignored(tmp_path: Path) -> None:
    import numpy as np

    keys = np.arange(1, 11, dtype=np.uint64)
    checkpoint = FolderCheckpoint(tmp_path, every=0)
    checkpoint.save(State(arrays={"x": np.ones(3)}, meta={"n": 1}, keys=keys[:6]))
    with (tmp_path / "seen.bin").open("ab") as file:
        file.write(b"\x01" * 13)
    continued = FolderCheckpoint(tmp_path, every=0)
    state = continued.load()
    assert state is not None
    assert np.array_equal(state.keys, keys[:6])
    continued.save(State(arrays=state.arrays, meta=state.meta, keys=keys[6:]))
    last = FolderCheckpoint(tmp_path, every=0).load()
    assert last is not None
    assert np.array_equal(last.keys, keys)
    assert last.meta == {"n": 1}


@pytest.mark.parametrize("damage", [b"", b"not a zip file"])
def test_damaged_state_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "state.npz").write_bytes(damage)
    with pytest.raises(ValueError, match=r"state\.npz: damaged"):
        FolderCheckpoint(tmp_path, every=0).load()


def test_truncated_state_is_named(tmp_path: Path) -> None:
    import numpy as np

    FolderCheckpoint(tmp_path, every=0).save(State(arrays={"x": np.ones(300)}, meta={}))
    whole = (tmp_path / "state.npz").read_bytes()
    (tmp_path / "state.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"state\.npz: damaged"):
        FolderCheckpoint(tmp_path, every=0).load()
