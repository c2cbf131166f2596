"""Measured times joined with their networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hvnas.arch import load_arch, save_arch
from hvnas.latency.remote.measurements import ModelMeasurement, family_of, read_models, write_measurements
from hvnas.space import load_space

ROW = ModelMeasurement(
    kind="model",
    key="efficientformer_l1",
    resolution=224,
    ms=1.4,
    spread=None,
    n=50,
    statistic="median",
    device="phone",
    os="iOS 16",
    runtime="Core ML",
    runtime_version="6",
    compute_unit="all",
    precision="float16",
    threads=None,
    batch=1,
    protocol="report",
    source="me",
)


def test_names_and_files(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    save_arch(load_arch("poolformer_s12").with_(name="mine"), tmp_path / "nets" / "a.yaml")
    rows = [ROW, dataclasses.replace(ROW, key="nets/a.yaml", ms=2.0)]
    write_measurements(tmp_path / "m.csv", rows)
    first, second = read_models(tmp_path / "m.csv")
    assert (first.name, first.family, first.program.macs) == (
        "efficientformer_l1",
        "efficientformer",
        load_arch("efficientformer_l1").lower().macs,
    )
    assert second.name == "nets/a.yaml" and second.arch == load_arch("poolformer_s12")
    assert second.row.ms == 2.0


def test_the_row_says_the_resolution(tmp_path: Path) -> None:
    write_measurements(tmp_path / "m.csv", [dataclasses.replace(ROW, resolution=192, key="poolformer_s12")])
    (model,) = read_models(tmp_path / "m.csv")
    assert model.arch.resolution == model.program.resolution == 192


def test_a_device_predicts_images_not_batches(tmp_path: Path) -> None:
    write_measurements(tmp_path / "m.csv", [dataclasses.replace(ROW, ms=12.0, batch=8)])
    (model,) = read_models(tmp_path / "m.csv")
    assert model.ms == 1.5


def test_blocks_are_left_out(tmp_path: Path) -> None:
    rows = [ROW, dataclasses.replace(ROW, kind="block", key="mb4d-x")]
    write_measurements(tmp_path / "m.csv", rows)
    assert len(read_models(tmp_path / "m.csv")) == 1
    write_measurements(tmp_path / "m.csv", rows[1:])
    with pytest.raises(ValueError, match=r"m\.csv: no row is of a whole network"):
        read_models(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("key", "says"),
    [("nothing", "nothing at 224: unknown model 'nothing'"), ("no.yaml", r"no\.yaml at 224: .*no such file")],
)
def test_networks_that_do_not_load(tmp_path: Path, key: str, says: str) -> None:
    write_measurements(tmp_path / "m.csv", [dataclasses.replace(ROW, key=key)])
    with pytest.raises(ValueError, match=rf"m\.csv: {says}"):
        read_models(tmp_path / "m.csv")


def test_family_is_the_papers_or_the_block_with_most_macs() -> None:
    assert family_of(load_arch("mobilevit_xs")) == "mobilevit"
    assert family_of(dataclasses.replace(load_arch("mobilevit_xs"), published=None)) == "mobilevit"
    assert family_of(dataclasses.replace(load_arch("efficientformer_l1"), published=None)) == "mb4d"
    space = load_space("hybrid-mobile")
    archs = [space.decode(row) for row in space.sample(20, rng=np.random.default_rng(0))]
    types = {block.type for arch in archs for _, block in arch.parts()}
    assert {family_of(arch) for arch in archs} <= types
