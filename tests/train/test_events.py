"""TensorBoard events: what a run reports, once per step, however often it was stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hvnas.train.run import MISSING, recorded
from hvnas.train.trainer import Progress

STEPS = 3


class Run:
    """As much of a trainer as events look at: two epochs of three steps."""

    def __init__(self, done: int = 0) -> None:
        self.steps_done = done
        self.result = SimpleNamespace(finished=done == 2 * STEPS)
        self.seen: list[Progress] = []
        self.progress: Any = self.seen.append

    def go(self, until: int, *, loss: float) -> None:
        for step in range(self.steps_done + 1, until + 1):
            epoch, within = (step - 1) // STEPS + 1, (step - 1) % STEPS + 1
            self.progress(Progress(epoch, 2, within, STEPS, loss + step, 0.1, 100.0))
            if within == STEPS:
                self.progress(Progress(epoch, 2, within, STEPS, loss, 0.1, 0.0, top1=50.0 + epoch))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(entry.step, entry.value) for entry in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_a_run_that_was_killed_shows_one_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    killed, resumed, finished = Run(), Run(done=2), Run(done=2 * STEPS)
    with recorded(killed, tmp_path):
        killed.go(5, loss=100.0)  # the state of step 2 is the last that was kept
    with recorded(resumed, tmp_path):
        resumed.go(6, loss=0.0)
    with recorded(finished, tmp_path):
        pass
    seen = scalars(tmp_path)
    assert seen["train/loss"] == [(1, 101.0), (2, 102.0), (3, 3.0), (4, 4.0), (5, 5.0), (6, 6.0)]
    assert seen["epoch/top1"] == [(3, 51.0), (6, 52.0)]
    assert [step for step, _ in seen["train/images_per_s"]] == [1, 2, 3, 4, 5, 6]
    assert len(list(tmp_path.iterdir())) == 2
    assert len(resumed.seen) == 6, "what is shown is shown all the same"


def test_without_tensorboard_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run, said = Run(), []
    with recorded(run, tmp_path / "events", report=said.append):
        run.go(6, loss=0.0)
    assert said == [MISSING]
    assert len(run.seen) == 8
    assert not (tmp_path / "events").exists()
