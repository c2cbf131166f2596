"""The supernet's part of a rediscovery."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from hvnas.accuracy.trained.inherited import InheritedEstimator
from hvnas.arch import load_arch
from hvnas.studies.rediscovery.efficientformer import Rediscovery
from hvnas.studies.rediscovery.output import to_json, write
from hvnas.studies.rediscovery.patterns import PATTERNS
from hvnas.studies.rediscovery.slimmed import (
    REQUEST,
    SHOWN,
    WithSupernet,
    request_on,
    supernet_in,
    to_compare,
    to_train,
    with_supernet,
)
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import start, train_supernet

SHARE, EVALS = 0.5, 12
WAYS = ["slimming", "supernet", "both", "all four"]


def small(space: str) -> SupernetRequest:
    return SupernetRequest(
        space=space, data="shapes", train_size=64, test_size=32, epochs=1, bn_calib=32, importance=True
    )


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> InheritedEstimator:
    folder = start(small("metaformer-tiny"), tmp_path_factory.mktemp("supernet") / "net")
    assert train_supernet(folder).result.finished
    return supernet_in(folder.path)


@pytest.fixture(scope="module")
def slimmed(study: Rediscovery, supernet: InheritedEstimator) -> WithSupernet:
    return with_supernet(study.setting, supernet, shares=(SHARE,), evals=EVALS)


def test_both_ways_keep_the_budget(slimmed: WithSupernet) -> None:
    assert [each.way for each in slimmed.found] == WAYS
    for each in slimmed.found:
        assert 0 < each.ms <= each.budget_ms
        assert set(each.held) == set(PATTERNS)
    assert slimmed.found[0].top1 >= 0


def test_chance_is_that_of_random_members_within_the_budget(slimmed: WithSupernet) -> None:
    (chance,) = slimmed.chances
    assert chance.budget_ms == slimmed.found[0].budget_ms and chance.members > 20
    assert all(0 <= chance.held[name] <= 1 for name in PATTERNS)
    assert 0.1 < chance.held["convolutional stem"] < 0.9


def test_it_becomes_plain_data_and_a_table(study: Rediscovery, slimmed: WithSupernet, tmp_path: Path) -> None:
    data = to_json(study, slimmed)["with_supernet"]
    assert [each["way"] for each in data["found"]] == WAYS
    assert data["by_chance"][0]["networks"] == slimmed.chances[0].members
    *_, table, networks = write(study, tmp_path / "out", slimmed=slimmed)
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["way"] for row in rows] == [*WAYS, f"{slimmed.chances[0].members} random"]
    assert rows[0]["top1"] and rows[2]["score"] and not rows[4]["stage1"]
    for row, each in zip(rows[:4], slimmed.found, strict=True):
        assert load_arch(networks / row["file"]).hash == each.arch.hash


def test_the_best_with_all_four_has_them(slimmed: WithSupernet, supernet: InheritedEstimator) -> None:
    four = slimmed.found[WAYS.index("all four")]
    assert all(four.held.values())
    assert four.top1 == supernet.estimate([four.arch]).mean[0]
    assert 1 < four.evaluated <= EVALS


def test_none_with_all_four_is_none(study: Rediscovery, supernet: InheritedEstimator) -> None:
    at_the_fastest = with_supernet(study.setting, supernet, shares=(0.0,), evals=2)
    assert [each.way for each in at_the_fastest.found] == WAYS[:3]


def test_the_study_s_own_supernet_is_begun_once(tmp_path: Path) -> None:
    begun = to_train(tmp_path / "net")
    assert (begun.config.space, begun.config.resolution, begun.config.importance) == (
        REQUEST.space,
        REQUEST.resolution,
        True,
    )
    assert to_train(tmp_path / "net").config == begun.config


def test_on_other_data_it_is_shown_as_many_images(tmp_path: Path) -> None:
    asked = request_on("digits", resolution=32, train_size=100, test_size=50)
    begun = to_train(tmp_path / "net", asked)
    assert begun.config.data == "digits" and begun.config.epochs == round(SHOWN / 100)
    assert to_train(tmp_path / "net", asked).config == begun.config
    with pytest.raises(ValueError, match=r"data: the supernet in .* was begun with digits, not shapes"):
        to_train(tmp_path / "net", request_on("shapes"))
    assert request_on("shapes") == REQUEST


def test_what_is_compared_is_of_the_largest_budget_each_network_once(slimmed: WithSupernet) -> None:
    own = to_compare(slimmed)
    assert {arch.hash for arch in own.values()} == {each.arch.hash for each in slimmed.found}
    first, *others = slimmed.found
    tight = replace(first, share=first.share / 2)
    same = replace(slimmed, found=(tight, *others, replace(first, arch=others[0].arch)))
    names = list(to_compare(same))
    assert names[0].startswith("supernet") and "slimming" in names[0]
    assert len(names) == len({each.arch.hash for each in others})


def test_another_supernet_is_not_taken_for_it(tmp_path: Path) -> None:
    start(small("metaformer-tiny"), tmp_path / "net")
    with pytest.raises(ValueError, match=r"epochs: the supernet in .* was begun with 1, not 24"):
        to_train(tmp_path / "net")


def test_a_space_without_a_choice_is_refused(tmp_path: Path) -> None:
    space = tmp_path / "forced.yaml"
    space.write_text(
        "schema: hvnas.space/1\nname: forced\nparent: metaformer-tiny\nstage: {global_depth: [1]}\n"
    )
    start(small(str(space)), tmp_path / "net")
    with pytest.raises(ValueError, match="no stage the choice to attend"):
        supernet_in(tmp_path / "net")


def test_a_folder_without_a_supernet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no supernet"):
        supernet_in(tmp_path)
