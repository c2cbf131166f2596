"""Does searching pay: contenders of equal latency, the gain with its interval, and the script's mechanics."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from gain.contenders import FIXED, FOUND, RANDOM, Contender, Field, random_members, scaled_fixed_points
from gain.output import Comparison, latency_lines, to_csv, verdict
from gain.searching import GainRequest, searched, space_at
from gain.statistics import over_best, over_median
from gain.timings import Timings, backend_of

from hvnas.arch import Arch, load_arch
from hvnas.latency import Device, load_device
from hvnas.latency.measure.sampling import Sampled
from hvnas.space import Space
from hvnas.studies.alone import FILE as TRAININGS

DEVICE = "cpu-i7-12700h"
FAMILY = "efficientvit"


@pytest.fixture(scope="module")
def device() -> Device:
    return load_device(DEVICE)


@pytest.fixture(scope="module")
def space() -> Space:
    return space_at("hybrid-tiny", 32)


class Clock:
    """Times networks by what the device says, off by up to 15 % for each network, and counts.

    Each time all take twice as long as before: only shares of one another are worth anything.
    """

    def __init__(self, device: Device) -> None:
        self.device, self.timed = device, 0

    def __call__(self, archs: Sequence[Arch]) -> list[Sampled]:
        self.timed += 1
        return [Sampled(2**self.timed * self._ms(arch), 0.01, 9) for arch in archs]

    def _ms(self, arch: Arch) -> float:
        off = 0.85 + 0.3 * int(arch.hash, 16) / 16**12
        return self.device.latency(arch.lower()).ms * off


@pytest.fixture
def arch(space: Space) -> Arch:
    return space.decode(space.sample(1, rng=np.random.default_rng(7))[0])


@pytest.fixture
def field(device: Device, arch: Arch, tmp_path: Path) -> Field:
    timings = Timings(tmp_path, Clock(device), arch)
    return Field(device=device, timings=timings, fits=lambda arch: True)


@pytest.fixture
def found(arch: Arch, field: Field) -> Contender:
    return field.contender(FOUND, "found", arch)


def test_the_space_is_at_another_resolution(space: Space) -> None:
    rows = space.sample(20, rng=np.random.default_rng(0))
    archs = [space.decode(row) for row in rows]
    assert {arch.resolution for arch in archs} == {32}
    assert max(arch.lower().macs for arch in archs) < 0.1e9


def test_a_search_keeps_the_budget_that_nobody_named(space: Space, device: Device) -> None:
    result = searched(space, device, GainRequest(evals=100, outside="allow"))
    assert device.latency(result.arch.lower()).ms <= result.budget_ms
    assert result.score([result.arch]).mean.shape == (1,)


def test_timings_are_made_once_beside_the_reference_and_kept(
    device: Device, arch: Arch, tmp_path: Path
) -> None:
    clock, other = Clock(device), load_arch("efficientvit_b0").with_(resolution=32)
    timings = Timings(tmp_path, clock, arch)
    assert timings.of(arch).ratio == 1
    first = timings.of(other)
    assert first.ratio == pytest.approx(clock._ms(other) / clock._ms(arch))
    again = Timings(tmp_path, clock, arch)
    assert again.of(other) == first and clock.timed == 2
    assert again.reference_ms == pytest.approx(clock._ms(arch) * 3)
    assert Timings(tmp_path, clock, other).of(arch).ratio == pytest.approx(1 / first.ratio)
    again.path.write_text(again.path.read_text() + "abc,def,fast,0,1\n")
    with pytest.raises(ValueError, match="row 5: ms: must be a number"):
        Timings(tmp_path, clock, arch)


def test_a_table_of_no_backend_is_timed_by_torch(device: Device) -> None:
    assert backend_of(device.info) == "torch-cpu"
    assert backend_of(replace(device.info, runtime="onnxruntime")) == "onnxruntime"


def test_random_members_are_measured_as_fast_as_the_one_found(
    space: Space, found: Contender, field: Field
) -> None:
    members = random_members(space, found, field, count=5, seed=0)
    assert len({m.arch.hash for m in members} | {found.arch.hash}) == 6
    assert all(abs(m.measured.ratio - 1) <= field.share for m in members)
    assert members == random_members(space, found, field, count=5, seed=0)


def test_members_that_are_never_as_fast_are_told(space: Space, found: Contender, field: Field) -> None:
    none = replace(field, share=1e-9)
    with pytest.raises(ValueError, match="too rare: 0 of 20 measured, 1 wanted"):
        random_members(space, found, none, count=1, seed=0)


def test_a_fixed_point_is_scaled_until_it_is_measured_as_fast(
    space: Space, found: Contender, field: Field, device: Device
) -> None:
    score = searched(space, device, GainRequest(evals=20, outside="allow")).score
    (scaled,) = scaled_fixed_points(found, field, score=score, count=3, families=[FAMILY])
    assert scaled.role == FIXED and scaled.name == "efficientvit_b0"
    assert scaled.arch.resolution == 32 and scaled.arch != load_arch(scaled.name).with_(resolution=32)
    assert abs(scaled.measured.ratio - 1) <= field.share


def test_what_cannot_be_trained_is_no_contender(space: Space, found: Contender, field: Field) -> None:
    nothing = replace(field, fits=lambda arch: False)
    assert scaled_fixed_points(found, nothing, score=lambda archs: pytest.fail(), count=3) == []


def test_a_family_that_there_is_not_is_told(found: Contender, field: Field) -> None:
    with pytest.raises(ValueError, match="efficientvit"):
        scaled_fixed_points(
            found, field, score=lambda archs: pytest.fail(), count=1, families=["efficientvitt"]
        )


def test_the_gain_over_chance_and_over_the_best() -> None:
    found = np.array([60.0, 62.0, 61.0])
    others = np.linspace(40, 60, 21)[:, None] + np.array([-1.0, 0.0, 1.0])
    chance, best = over_median(found, others), over_best(found, others)
    assert chance.value == pytest.approx(11) and best.value == pytest.approx(1)
    assert 0 < chance.low < 11 < chance.high
    # Chance has drawn other networks too; the papers' are those that there are.
    assert chance.high - chance.low > best.high - best.low
    nothing = over_median(found[:1], np.full((4, 1), 60.0))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def _comparison(found: Contender, top1: list[list[float]]) -> Comparison:
    others = [replace(found, role=role, name=role) for role in (FIXED, *[RANDOM] * (len(top1) - 2))]
    return Comparison("digits", 2.0, 2.1, (found, *others), np.array(top1))


def test_table_and_verdict(found: Contender) -> None:
    compared = _comparison(found, [[70, 71], [66, 64], [50, 52], [54, 56], [60, 58]])
    rows = list(csv.DictReader(io.StringIO(to_csv(compared))))
    assert [(row["role"], row["seed"], row["top1"]) for row in rows[:3]] == [
        (FOUND, "0", "70.000"),
        (FOUND, "1", "71.000"),
        (FIXED, "0", "66.000"),
    ]
    assert len(rows) == 10 and float(rows[0]["measured_ms"]) == 2.1
    chance, fixed = verdict(compared)
    assert chance.startswith("digits: searching pays against chance: 70.5 found, 55.0 the median of 3 ")
    assert "+15.5 points" in chance and "better than 3 of them" in chance
    assert "65.0 fixed point, the best of 1" in fixed and "+5.5 points" in fixed
    budget, predicted = latency_lines(compared)
    assert "(+5.0% of the budget): within it" in budget and "5 networks" in predicted


def test_the_verdict_does_not_flatter(found: Contender) -> None:
    lost = _comparison(found, [[50, 50], [66, 64], [60, 60], [60, 60], [60, 60]])
    assert ["searching costs" in line for line in verdict(lost)] == [True, True]
    one = _comparison(found, [[70], [66], [50], [54], [60]])
    assert ["one seed tells nothing" in line for line in verdict(one)] == [True, True]
    over = Comparison("digits", 1.0, 1.2, (found,), np.array([[1.0]]))
    assert "beyond it by more than 10%" in latency_lines(over)[0]


def test_seeds_that_some_networks_lack_do_not_count(found: Contender) -> None:
    half = _comparison(found, [[70, 71, 90], [66, 64, np.nan], [50, 52, np.nan]])
    assert [half.of(role).shape for role in (FOUND, FIXED, RANDOM)] == [(1, 3), (1, 2), (1, 2)]
    assert half.means.tolist() == [77, 65, 51]
    assert len(to_csv(half).splitlines()) == 1 + 7


def test_each_network_found_has_a_verdict_of_its_own(found: Contender) -> None:
    one = _comparison(found, [[70, 71], [66, 64], [50, np.nan], [54, np.nan]])
    other = replace(found, name="found by another")
    both = replace(
        one, contenders=(one.contenders[0], other, *one.contenders[1:]), top1=one.top1[[0, 2, *range(1, 4)]]
    )
    both.top1[1] = 40, 42
    lines = verdict(both)
    assert len(lines) == 4 and "searching pays" in lines[0] and "41.0 found by another" in lines[2]
    assert "better than 0 of them" in lines[2] and len(latency_lines(both)) == 3


@pytest.fixture
def script(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))
    yield import_module("study_search_gain")


def test_the_quick_form_writes_everything_and_goes_on(
    script: object, repo_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = repo_root / "tests" / "supernet"
    asked = f"--quick --device {DEVICE} --outside allow --data digits --evals 60"
    asked += f" --recipe {files / 'short.yaml'} --families {FAMILY} --out {tmp_path / 'gain'}"
    (compared,) = script.main(asked.split())  # type: ignore[attr-defined]
    printed = capsys.readouterr().out
    assert [contender.role for contender in compared.contenders] == [FOUND, FIXED, *[RANDOM] * 3]
    assert np.isfinite(compared.top1).all()
    with (tmp_path / "gain" / "gain-digits.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5
    assert (tmp_path / "gain" / "gain-digits.png").read_bytes().startswith(b"\x89PNG")
    assert load_arch(tmp_path / "gain" / "found.yaml") == compared.contenders[0].arch
    trained = (tmp_path / "gain" / TRAININGS).stat().st_mtime_ns
    script.main(asked.split())  # type: ignore[attr-defined]
    assert capsys.readouterr().out == printed
    assert (tmp_path / "gain" / TRAININGS).stat().st_mtime_ns == trained
