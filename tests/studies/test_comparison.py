"""Networks trained alone, and what the difference of two of them is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvnas._runs import locked
from hvnas.arch import Arch
from hvnas.studies.alone import FILE, LOCK, Alone, Comparison, Standalone, compare
from hvnas.studies.rediscovery.coatnet import small_layouts
from hvnas.train.trainer import Trainer

HOW = Alone(data="digits", resolution=32, train_size=32, test_size=16)


def compared(archs: dict[str, Arch], top1: list[list[float]]) -> Comparison:
    return Comparison(archs, np.array(top1, dtype=float), HOW, 1)


@pytest.fixture(scope="module")
def three() -> dict[str, Arch]:
    return dict(list(small_layouts(32).items())[:3])


def test_the_best_comes_first_with_its_chance(three: dict[str, Arch]) -> None:
    found = compared(three, [[50, 51, 52], [60, 61, 62], [60.2, 61.2, 62.2]])
    assert found.order == tuple(reversed(three))
    assert sum(found.chances.values()) == pytest.approx(1)
    assert found.chances[found.order[2]] == 0 and 0.5 < found.chances[found.order[0]] < 0.75
    rows = found.rows()
    assert [row["network"] for row in rows] == list(found.order)
    assert (rows[2]["top1"], rows[2]["sd"], rows[2]["seed2"]) == (51, 1, 52)
    assert rows[2]["params"] == three[found.order[2]].lower().params


def test_an_interval_is_as_wide_as_what_seeds_spread(three: dict[str, Arch]) -> None:
    rng = np.random.default_rng(0)
    seeds, sd = 200, 2.0
    found = compared(three, rng.normal(50, sd, size=(3, seeds)).tolist())
    first, second, _ = three
    told = found.difference(first, second)
    assert told.low < told.value < told.high
    assert (told.high - told.low) / 2 == pytest.approx(1.645 * sd * np.sqrt(2 / seeds), rel=0.1)


def test_seeds_that_agree_by_chance_are_not_taken_for_certainty(three: dict[str, Arch]) -> None:
    found = compared(three, [[50, 50, 50], [50.5, 50.5, 50.5], [49, 51, 53]])
    first, second, _ = three
    told = found.difference(second, first)
    assert told.value == pytest.approx(0.5) and told.low < 0 < told.high


def test_every_pair_is_told_once(three: dict[str, Arch]) -> None:
    rows = compared(three, [[1, 2], [3, 4], [5, 7]]).differences()
    assert len(rows) == 3 and all(row["value"] > 0 for row in rows)


def test_trainings_are_kept_and_not_done_again(
    three: dict[str, Arch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int, str]] = []
    found = compare(three, Standalone(tmp_path, HOW), seeds=2, progress=lambda *told: said.append(told))
    doing = [f"{name} from seed {seed}" for seed in range(2) for name in three]
    assert said == [(done, 6, each) for done, each in enumerate(doing)]
    assert found is not None and found.top1.shape == (3, 2) and (found.top1 >= 0).all()
    assert all(arch.head.out == 10 and arch.resolution == 32 for arch in found.networks.values())
    # as a kill would have left it
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join(lines[:-1]))
    trained: list[object] = []
    real = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self: trained.append(self) or real(self))
    again = compare(three, Standalone(tmp_path, HOW), seeds=2)
    assert len(trained) == 1
    assert again is not None and again.facts() == found.facts()


def test_a_stop_keeps_what_is_through(three: dict[str, Arch], tmp_path: Path) -> None:
    through: list[int] = []
    training = Standalone(tmp_path, replace(HOW, train_size=96))
    found = compare(
        three,
        training,
        seeds=2,
        progress=lambda done, *_: through.append(done),
        stop=lambda: through[-1] >= 2,
    )
    assert found is None and len(training.outcomes()) == 2


def test_what_cannot_be_compared_is_refused_before_any_training(
    three: dict[str, Arch], tmp_path: Path
) -> None:
    training = Standalone(tmp_path, HOW)
    with pytest.raises(ValueError, match=r"trainings: must be >= 2 of each network, got 1"):
        compare(three, training, seeds=1)
    with pytest.raises(ValueError, match=r"networks: 1 to compare"):
        compare(dict(list(three.items())[:1]), training, seeds=2)
    tiny = Standalone(tmp_path, Alone(data="digits", resolution=8, train_size=32, test_size=16))
    with pytest.raises(ValueError, match=r"at 8 px"):
        compare(three, tiny, seeds=2)
    with locked(tmp_path / LOCK), pytest.raises(ValueError, match="another"):
        compare(three, training, seeds=2)
    assert not (tmp_path / FILE).exists()
