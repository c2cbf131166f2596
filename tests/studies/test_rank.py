"""rank: members in bins, trained once by themselves, ordered by supernets and by rivals."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hvnas._runs import locked
from hvnas.studies import alone
from hvnas.studies.alone import FILE, LOCK, Alone, Standalone, draws, in_bins, quantile_centres
from hvnas.studies.rank import REPORT, RankOptions, RankReport, TrainedMembers, facts, rank, ranked
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import start, train_supernet
from hvnas.train.trainer import Trainer


@pytest.fixture(scope="module", autouse=True)
def _few_draws() -> Iterator[None]:
    """The space holds fewer members than are looked at for bins: more draws only find the same again."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(alone, "MOST", 640)
        yield


@pytest.fixture(scope="module")
def supernet(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = SupernetRequest(
        space=str(tiny_files / "small.yaml"),
        data="shapes",
        train_size=16,
        test_size=16,
        recipe=str(tiny_files / "short.yaml"),
        epochs=1,
        bn_calib=16,
        scheme="single-path",
    )
    folder = start(asked, tmp_path_factory.mktemp("rank") / "single")
    train_supernet(folder, device="cpu")
    return folder.path


@pytest.fixture(scope="module")
def options(tiny_files: Path) -> RankOptions:
    return RankOptions(
        archs=4,
        bins=2,
        spread=0.5,
        rivals=("params", "free", "naswot"),
        recipe=str(tiny_files / "short.yaml"),
        epochs=1,
        train_size=16,
        top=1,
        device="cpu",
    )


@pytest.fixture(scope="module")
def ran(
    supernet: Path, options: RankOptions, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RankReport]:
    out = tmp_path_factory.mktemp("ranked")
    report = rank([supernet], out=out, options=options)
    assert report is not None
    return out, report


def test_members_fall_into_their_bins(ran: tuple[Path, RankReport]) -> None:
    subject = ran[1].subject
    assert subject.bins.tolist() == [0, 0, 1, 1]
    assert len({arch.hash for arch in subject.members}) == 4
    for arch, group in zip(subject.members, subject.bins, strict=True):
        assert abs(arch.lower().macs / subject.centres[group] - 1) <= 0.5
        assert arch.resolution == 32
    assert subject.centres[0] < subject.centres[1]


def test_everything_is_ranked_and_written(ran: tuple[Path, RankReport], supernet: Path) -> None:
    out, report = ran
    assert report.supernets == ("single-path (single)",)
    assert [entry.name for entry in report.ranked] == [*report.supernets, "params", "free", "naswot"]
    params = [float(arch.lower().params) for arch in report.subject.members]
    assert report.scores["params"].tolist() == params
    known = [json.loads(line) for line in (supernet / "results.jsonl").read_text().splitlines()]
    inherited = {entry["arch"]: entry["top1"][0] for entry in known}
    wanted = [inherited[arch.hash] for arch in report.subject.members]
    assert report.scores[report.supernets[0]].tolist() == wanted
    written = json.loads((out / REPORT).read_text(encoding="utf-8"))
    assert written["networks"] == 4
    assert [entry["network"] for entry in written["members"]] == [a.hash for a in report.subject.members]
    assert written["ranked"][0].keys() >= {"tau", "tau_within", "rho", "rho_within", "regret", "holds"}


def test_what_is_trained_is_trained_once(
    ran: tuple[Path, RankReport], supernet: Path, options: RankOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, report = ran
    with (out / FILE).open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 8
    assert {row["seed"] for row in rows} == {"0", "1"}
    monkeypatch.setattr(Trainer, "run", lambda self: pytest.fail("trained again"))
    again = rank([supernet], out=out, options=options)
    assert again is not None
    assert facts(again) == facts(report)


def test_a_stopped_study_goes_on(
    ran: tuple[Path, RankReport], supernet: Path, options: RankOptions, tmp_path: Path
) -> None:
    whole, report = ran
    lines = (whole / FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join(lines[:-2]), encoding="utf-8")
    assert rank([supernet], out=tmp_path, options=options, stop=lambda: True) is None
    assert not (tmp_path / REPORT).exists()
    again = rank([supernet], out=tmp_path, options=options)
    assert again is not None
    assert np.array_equal(again.subject.truth, report.subject.truth), "a training repeats"


def test_two_processes_in_one_folder_are_refused(
    supernet: Path, options: RankOptions, tmp_path: Path
) -> None:
    with locked(tmp_path / LOCK), pytest.raises(ValueError, match="another process is at work"):
        rank([supernet], out=tmp_path, options=options)


def test_supernets_that_do_not_belong_together_are_refused(
    supernet: Path, options: RankOptions, tmp_path: Path
) -> None:
    other = tmp_path / "single2"
    shutil.copytree(supernet, other)
    data = json.loads((other / "supernet.json").read_text())
    (other / "supernet.json").write_text(json.dumps(data | {"resolution": 48}))
    with pytest.raises(ValueError, match=r"single2: resolution is 48, and 32 in .*single;"):
        rank([supernet, other], out=tmp_path / "out", options=options)
    with pytest.raises(ValueError, match="names no supernet"):
        rank([], out=tmp_path / "out", options=options)
    with pytest.raises(ValueError, match="folders of one name"):
        rank([supernet, supernet], out=tmp_path / "out", options=options)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"archs": 5, "bins": 3}, "archs: must be >= 2 for each of 3 bins, got 5"),
        ({"seeds": 1}, "seeds: must be >= 2, got 1"),
        ({"spread": 1.5}, "spread: must be between 0 and 1"),
        ({"centres": (1e6, -1.0)}, "centres: must be MACs above 0"),
    ],
)
def test_options_out_of_range(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RankOptions(**changes)  # type: ignore[arg-type]


def test_rare_members_are_said_to_be(supernet: Path) -> None:
    space = SupernetFolder(supernet).space()
    archs = draws(space, rng=np.random.default_rng(0), fit=lambda arch: arch)
    sizes = quantile_centres(archs, 2, size=lambda arch: float(arch.lower().macs))
    assert sizes[0] < sizes[1]
    few = (arch for _, arch in zip(range(8), archs, strict=False))
    with pytest.raises(ValueError, match="0 at 1 found of 2 each; move the centres or ask for fewer"):
        in_bins(few, (1.0,), size=lambda arch: float(arch.lower().macs), share=0.2, each=2)


def test_verdict_asks_for_half_of_another_seed() -> None:
    rng = np.random.default_rng(0)
    skill, bins = rng.normal(size=24), np.repeat([0, 1, 2], 8)
    truth = np.stack([skill + rng.normal(0, 0.1, 24) for _ in range(2)], 1)
    subject = TrainedMembers((), (1.0, 2.0, 3.0), bins, truth)
    report = ranked(subject, {"good": skill, "blind": rng.normal(size=24)}, supernets=("good", "blind"))
    assert report.ceiling_within.value > 0.8
    assert report.holds("good")
    assert not report.holds("blind")
    assert report.ranked[0].regret < 0.2 < report.ranked[1].tau.high


def test_a_result_that_is_none_names_its_line(tmp_path: Path, tiny_files: Path) -> None:
    how = Alone(data="shapes", train_size=16, test_size=16, recipe=str(tiny_files / "short.yaml"))
    results = Standalone(tmp_path, how)
    assert results.outcomes() == []
    (tmp_path / FILE).write_text("network,seed,data,training,top1,seconds\na,0,d,t,much,1\n")
    with pytest.raises(ValueError, match=r"standalone\.csv: row 2: top1: must be a number"):
        results.outcomes()
    with pytest.raises(ValueError, match="epochs: must be >= 1"):
        Standalone(tmp_path, replace(how, epochs=0))


def test_other_images_for_another_seed(tiny_files: Path, tmp_path: Path) -> None:
    how = Alone(data="shapes", train_size=16, test_size=16, recipe=str(tiny_files / "short.yaml"))
    first, other = Standalone(tmp_path, how).data, Standalone(tmp_path, replace(how, data_seed=1)).data
    assert first.key != other.key
    at = np.arange(16)
    assert not torch.equal(
        torch.from_numpy(first.test.batch(at).images), torch.from_numpy(other.test.batch(at).images)
    )
