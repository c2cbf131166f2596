"""A search by an estimator with images of its own: every number is that of the network at their size."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hvnas._files import read_yaml
from hvnas.accuracy.combine import RankMean
from hvnas.accuracy.estimator import ImageSize
from hvnas.accuracy.loading import load_estimator
from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.ops import MACS, PARAMS
from hvnas.search import resume, search
from hvnas.search.making import make_problem
from hvnas.search.run import problem_of
from hvnas.space import FastPath, Space, load_space
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import start, train_supernet

FILES = Path(__file__).parents[1] / "supernet"
DEVICE = "cpu-i7-12700h"
# Images of 16 classes at 32 px, which is no resolution of the space.
TRAIN = "train:data=shapes,train_size=16,test_size=16,epochs=1,cache=none,device=cpu"


@pytest.fixture(scope="module")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space of several resolutions, 32 px not among them."""
    path = tmp_path_factory.mktemp("space") / "sizes.yaml"
    small = (FILES / "small.yaml").read_text(encoding="utf-8")
    path.write_text(
        small.replace("parent: hybrid-tiny\n", "parent: hybrid\nresolution: [192, 224]\ncounts: [3]\n"),
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def supernet(space_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("net") / "net"
    asked = SupernetRequest(
        space=str(space_file),
        data="shapes",
        resolution=32,
        train_size=16,
        test_size=32,
        recipe=str(FILES / "short.yaml"),
        epochs=1,
        scheme="single-path",
        bn_calib=8,
    )
    train_supernet(start(asked, out), device="cpu")
    return out


@pytest.mark.parametrize("name", ["hybrid-tiny", "hybrid-mobile"])
def test_a_space_at_a_size_is_the_same_networks_at_that_size(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(0)
    sized = space.at(32, 10)
    rows = sized.sample(20, rng=rng)
    values = FastPath(sized, [PARAMS, MACS])(rows)
    for row, (params, macs) in zip(rows, values, strict=True):
        arch = sized.decode(row)
        program = arch.lower()
        assert (arch.resolution, arch.head.out) == (32, 10)
        assert (program.params, program.macs) == (round(params), round(macs))
        assert (sized.encode(arch.with_(resolution=224, classes=1000)) == row).all()
    assert sized.hash not in (space.hash, space.at(64, 10).hash, space.at(32, 100).hash)
    assert sized.fixed_points() == space.fixed_points()


def test_estimators_say_what_they_put_networks_to(supernet: Path) -> None:
    inherited = f"supernet:{supernet}"
    assert load_estimator("surrogate").image_size is None
    assert load_estimator(inherited).image_size == (32, 16)
    assert RankMean.of(f"surrogate+{inherited}+{TRAIN}").image_size == (32, 16)
    digits = "train:data=digits,resolution=48,train_size=16,test_size=16"
    with pytest.raises(
        ValueError, match=r"at 32 px, 16 classes and at 48 px, 10 classes; .*combine"
    ) as raised:
        make_problem(FILES / "small.yaml", DEVICE, f"{inherited}+{digits}", budget_ms=9)
    assert "\n" not in str(raised.value)


def test_a_combination_has_references_of_the_size(supernet: Path) -> None:
    problem = make_problem(FILES / "small.yaml", DEVICE, f"params+{TRAIN}", budget_ms=9)
    assert {arch.resolution for arch in problem.estimator.references} == {32}  # type: ignore[attr-defined]
    assert problem.image_size == ImageSize(32, 16)


@pytest.mark.parametrize("kind", ["supernet", "train"])
def test_every_number_of_a_search_is_that_of_one_network(
    supernet: Path, space_file: Path, tmp_path: Path, kind: str
) -> None:
    estimator = f"supernet:{supernet},cache=none" if kind == "supernet" else TRAIN
    out, device = tmp_path / "run", load_device(DEVICE)
    result = search(
        space_file, DEVICE, budget_ms=1000, estimator=estimator, strategy="random", evals=4, outside="allow",
        out=out,
    )  # fmt: skip
    assert {found.arch.resolution for found in result.front} == {32}
    config = read_yaml(out / "config.yaml", schema="hvnas.run/1")
    assert (config["resolution"], config["classes"]) == (32, 16)
    rows = {row["name"]: row for row in csv.DictReader((out / "pareto.csv").open(encoding="utf-8"))}
    for file in [out / "best.yaml", *(out / "archs").glob("*.yaml")]:
        arch = load_arch(file)
        program, row = arch.lower(), rows[arch.name]
        assert (arch.resolution, arch.head.out) == (32, 16)
        assert (program.params, program.macs) == (int(row["params"]), int(row["macs"]))
        ms = device.latency(program).ms
        assert ms == pytest.approx(float(row["latency_ms"]), abs=1e-4)
        assert arch.found is not None and arch.found["latency_ms"] == pytest.approx(ms, abs=1e-4)
        assert arch.found["choices"]["resolution"] == 32
    again = resume(out)
    assert [found.to_json() for found in again.front] == [found.to_json() for found in result.front]


def test_what_a_resolution_would_tell_apart_is_one_network(supernet: Path, space_file: Path) -> None:
    problem = make_problem(space_file, DEVICE, f"supernet:{supernet}", budget_ms=9)
    assert isinstance(problem.space, Space)
    assert problem.space.size == load_space(space_file).size // 2
    archs = [problem.space.decode(row) for row in problem.space.sample(64, rng=np.random.default_rng(0))]
    rows = {problem.space.encode(arch).tobytes() for arch in archs}
    assert len({arch.hash for arch in archs}) == len(rows)


def test_a_run_knows_its_size_without_its_data(supernet: Path, tmp_path: Path) -> None:
    from hvnas.search.runs.folder import SearchFolder

    out = tmp_path / "run"
    search(
        FILES / "small.yaml", DEVICE, budget_ms=1000, estimator=TRAIN, strategy="random", evals=1,
        outside="allow", out=out,
    )  # fmt: skip
    assert problem_of(SearchFolder(out).config).image_size == (32, 16)
