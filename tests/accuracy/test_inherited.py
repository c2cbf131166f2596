"""Inherited accuracy: the supernet's own member, recalibrated; kept; refused where there is none."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hvnas.accuracy import InheritedEstimator, list_estimators, load_estimator
from hvnas.accuracy.trained.inherited import from_options
from hvnas.arch import Arch, load_arch
from hvnas.search.making import estimator_hash, estimator_reference
from hvnas.supernet import recalibrate
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import start, train_supernet
from hvnas.supernet.scoring import calibration_batches, member_scores
from hvnas.train.evaluation import top1_of


def make(text: str) -> InheritedEstimator:
    made = from_options(text)
    assert isinstance(made, InheritedEstimator)
    return made


@pytest.fixture(scope="module")
def folder(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = SupernetRequest(
        space=str(tiny_files / "small.yaml"),
        data="shapes",
        train_size=32,
        test_size=48,
        recipe=str(tiny_files / "short.yaml"),
        epochs=1,
        bn_calib=16,
    )
    run = start(asked, tmp_path_factory.mktemp("supernet") / "run")
    train_supernet(run, device="cpu")
    return run.path


@pytest.fixture(autouse=True)
def results(folder: Path) -> Iterator[Path]:
    """The file of results, gone after each test."""
    path = folder / "results.jsonl"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def estimator(folder: Path) -> InheritedEstimator:
    return make(f"{folder},device=cpu,cache=none")


@pytest.fixture(scope="module")
def members(estimator: InheritedEstimator) -> list[Arch]:
    space = estimator.net.space
    return [space.decode(row) for row in space.sample(3, rng=np.random.default_rng(0))]


def test_it_is_found_by_name(folder: Path) -> None:
    found = load_estimator(f"supernet:{folder},bn_calib=0,cache=none")
    assert isinstance(found, InheritedEstimator)
    assert found.bn_calib == 0
    assert found.meaning == (
        "on the validation split of shapes with weights inherited from a supernet (spreading, 1 epoch), "
        "BatchNorm as trained"
    )


def test_it_is_the_extracted_member_recalibrated(estimator: InheritedEstimator, members: list[Arch]) -> None:
    got = estimator.estimate(members)
    assert "recalibrated on 16 images" in estimator.meaning
    data, device = estimator.data, torch.device("cpu")
    for arch, mean, sd in zip(members, got.mean, got.sd, strict=True):
        alone = estimator.net.extract(arch)
        recalibrate(alone, calibration_batches(data, 16, device=device))
        assert mean == top1_of(alone, data.val, data, device=device)
        share = (mean / 100 * 48 + 1) / 50
        assert sd == pytest.approx(100 * np.sqrt(share * (1 - share) / 50))


def test_members_are_ranked_by_loss_where_that_is_asked_for(
    folder: Path, estimator: InheritedEstimator, members: list[Arch], results: Path
) -> None:
    by_loss = make(f"{folder},device=cpu,score=loss")
    found = by_loss.estimate(members)
    assert (by_loss.unit, found.unit) == ("score", "score") and np.isnan(found.sd).all()
    scores = [member_scores(estimator.net, arch, estimator.data, bn_calib=16) for arch in members]
    assert found.mean == pytest.approx([100 * np.exp(-own.loss) for own in scores])
    top1 = make(f"{folder},device=cpu").estimate(members)
    assert top1.unit == "points" and top1.mean.tolist() == [own.top1 for own in scores]
    assert make(f"{folder},device=cpu,score=loss").estimate(members).mean.tolist() == found.mean.tolist()
    with pytest.raises(ValueError, match="score"):
        make(f"{folder},score=top5")


def test_estimates_do_not_depend_on_order(estimator: InheritedEstimator, members: list[Arch]) -> None:
    for options in ("", ",bn_calib=0"):
        made = [make(f"{estimator.folder.path},device=cpu,cache=none{options}") for _ in range(2)]
        forward, backward = made[0].estimate(members).mean, made[1].estimate(members[::-1]).mean
        assert forward.tolist() == backward[::-1].tolist()


def test_results_are_kept_by_architecture_and_options(
    folder: Path, members: list[Arch], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(f"{folder},device=cpu").estimate([*members, members[0]])
    assert len(results.read_text(encoding="utf-8").splitlines()) == len({arch.hash for arch in members})

    def must_not(*_: object, **__: object) -> float:
        raise AssertionError("is known already")

    monkeypatch.setattr("hvnas.supernet.scoring.member_scores", must_not)
    again = make(f"{folder},device=cpu").estimate([*members, members[0]])
    assert again.mean.tolist() == first.mean.tolist()
    with pytest.raises(AssertionError, match="known"):
        make(f"{folder},device=cpu,bn_calib=8").estimate(members)


def test_other_processes_get_the_path_alone(folder: Path, members: list[Arch]) -> None:
    estimator = make(f"{folder},device=cpu,cache=none")
    before = estimator.estimate(members)
    data = pickle.dumps(estimator)
    assert len(data) < 2000
    assert pickle.loads(data).estimate(members).mean.tolist() == before.mean.tolist()


def test_fewer_test_images_make_a_larger_sd(folder: Path, members: list[Arch]) -> None:
    few = make(f"{folder},device=cpu,cache=none,images=16")
    assert len(few.split) == 16
    assert np.bincount(few.split.labels).tolist() == [1] * 16
    assert all(few.estimate(members).sd > 5.0)


def test_what_has_no_place_in_the_supernet_is_refused(
    estimator: InheritedEstimator, members: list[Arch]
) -> None:
    with pytest.raises(ValueError, match="a bare Program has no place in a supernet"):
        estimator.estimate([members[0].lower()])
    with pytest.raises(
        ValueError, match=r"efficientformer_l1: the supernet in .* does not contain it"
    ) as caught:
        estimator.estimate([load_arch("efficientformer_l1")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("bn_calib=1", "bn_calib: must be 0 or >= 2, got 1"),
        ("bn_calib=few", "supernet: bn_calib: .*'few'"),
        ("images=0", "images: must be >= 1, got 0"),
        ("epochs=3", "epochs: unknown field"),
        ("fast", "'fast' is not an option"),
        ("folder=x", "folder: unknown field"),
    ],
)
def test_bad_options_are_named(folder: Path, options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make(f"{folder},{options}")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_supernet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no supernet"):
        make(str(tmp_path))


def test_a_run_knows_it_by_its_weights(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    monkeypatch.chdir(tmp_path)
    assert estimator_reference("surrogate+supernet:copy,bn_calib=0") == (
        f"surrogate+supernet:{copied},bn_calib=0"
    )
    same = estimator_hash("supernet:copy")
    assert same == estimator_hash(f"supernet:{folder}") != ""
    (copied / "results.jsonl").write_text("{}\n")
    assert estimator_hash("supernet:copy") == same, "results are no part of it"
    with (copied / "checkpoint.safetensors").open("ab") as file:
        file.write(b"0")
    assert estimator_hash("supernet:copy") != same
    (copied / "checkpoint.safetensors").unlink()
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors: cannot be read .*; bring it back"):
        estimator_hash("supernet:copy")


def test_families_are_listed_with_what_they_take() -> None:
    assert {"supernet:DIR", "train:NAME=VALUE,…", "surrogate"} <= set(list_estimators())
    with pytest.raises(ValueError, match="supernet:DIR"):
        load_estimator("supernett")
