"""Families of chips: their devices, what they know of networks, and a new chip from a few of them."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from hvnas.arch import load_arch
from hvnas.latency import Device, LinearModel, load_device
from hvnas.latency.calibration.family import (
    Family,
    candidates,
    centred,
    chip_model,
    choose_networks,
    group_of,
    list_families,
    load_family,
    most_informative,
    read_timed,
    recalibrate_in_family,
)
from hvnas.latency.files import write_device
from hvnas.latency.model import Term
from hvnas.latency.provenance import looked_up
from hvnas.latency.registry import read_device
from hvnas.latency.remote.measurements import ModelMeasurement, write_measurements
from hvnas.latency.rows import SCALED, Measurement, write_rows

PHONES = ("galaxy-s23", "galaxy-s24", "galaxy-s25", "galaxy-s23-tflite", "galaxy-s24-tflite")
DEVICES = (*PHONES, "snapdragon-8-elite-gen5", "snapdragon-x-elite", "dragonwing-iq9075")
# Where the published measurements lie; they are no part of the project.
VARIABLE = "HVNAS_SNAPDRAGON_CSV"


@pytest.fixture(scope="module")
def family() -> Family:
    return load_family("snapdragon")


@pytest.fixture(scope="module")
def script(repo_root: Path) -> Iterator[ModuleType]:
    sys.path.insert(0, str(repo_root / "scripts"))
    yield importlib.import_module("calibrate_snapdragon")
    sys.path.remove(str(repo_root / "scripts"))
    for name in ("calibrate_snapdragon", "_joint"):
        sys.modules.pop(name, None)


def measured(row: Measurement, ms: float | None = None) -> ModelMeasurement:
    """A row of a chip as its owner would have measured it."""
    return ModelMeasurement(
        kind="model",
        key=row.model,
        resolution=row.resolution,
        ms=row.ms if ms is None else ms,
        spread=None,
        n=None,
        statistic="minimum",
        device="my phone",
        os="Android 16",
        runtime="QAIRT",
        runtime_version="2.42",
        compute_unit="NPU",
        precision="float16",
        threads=None,
        batch=1,
        protocol="profile job",
        source="me",
    )


@pytest.mark.parametrize("name", DEVICES)
def test_the_devices_state_their_protocol_and_their_errors(name: str) -> None:
    device = load_device(name)
    info, report = device.info, device.report
    assert (info.method, info.precision, info.batch) == ("calibrated", "float16", 1)
    assert (
        info.statistic.startswith("minimum of a profile job") and "QAIRT 2.41 to 2.43" in info.runtime_version
    )
    assert {row.cohort for row in device.rows} == {name} == {report["cohort"]}
    joint, alone, macs = (
        report[f"family_left_out{way}"]["in_gate"] for way in ("", "_chip_alone", "_macs_alone")
    )
    assert joint["mape"] < 13 and 22 < macs["mape"] < 28
    assert report["interval_covers"] >= 85
    if name in PHONES:
        assert joint["median"] < 8 and joint["mape"] < alone["mape"] - 0.5


def test_the_galaxy_s23_says_whose_rows_it_has() -> None:
    device = load_device("galaxy-s23")
    assert {row.device for row in device.rows} == {"QCS8550 (Proxy)"}
    assert "QCS8550 (Proxy)" in device.info.device and "QCS8550 (Proxy)" in device.info.description


def test_under_tflite_a_phone_is_a_device_of_its_own(family: Family) -> None:
    for name in ("galaxy-s23", "galaxy-s24"):
        device, other = load_device(f"{name}-tflite"), load_device(name)
        assert device.info.soc == other.info.soc and device.info.runtime.startswith("TFLite")
        assert all(row.protocol.startswith("TFLite") for row in device.rows)
        assert {f"{name}-tflite", name} <= set(device.report["fitted_with"])
        outside = {row.model for row in device.rows} - {row.model for row in other.rows}
        assert outside == {"swin_base", "swin_small", "swin_tiny"}
    assert not [chip for chip in family.chips if chip.endswith("tflite")]


def test_every_rule_says_what_it_rests_on(family: Family) -> None:
    device = load_device("galaxy-s24")
    assert [
        rule.name for rule in device.rules
    ] == "windows linear_attention long_rows calls large_maps".split()
    for rule in device.rules:
        assert len(rule.evidence) > 60
    outside = {n.model for n in family.networks if not n.inside}
    assert outside == {"nasnet", "fcn_resnet50", "real_esrgan_x4plus"} | {
        f"efficientvit_{size}_cls" for size in ("b2", "l2")
    }
    assert not device.latency(load_arch("efficientvit_b1").lower()).inside
    assert device.latency(load_arch("mobilevit_s").lower()).inside


def test_measured_networks_answer_by_look_up() -> None:
    device = load_device("galaxy-s24")
    ms = {row.model: row.ms for row in device.rows}
    for arch, model in (("mobilevit_s", "mobile_vit"), ("efficientvit_b2", "efficientvit_b2_cls")):
        found = looked_up(device, load_arch(arch).lower())
        assert found is not None
        assert (found.ms, found.network, found.said) == (ms[model], model, "measured")
    assert looked_up(device, load_arch("mobilevit_xs").lower()) is None
    assert looked_up(load_device("iphone12"), load_arch("mobilevit_s").lower()) is None


def test_no_network_multiplies_faster_than_any_that_was_measured() -> None:
    device = load_device("galaxy-s25")
    program = load_arch("coatnet_0").with_(resolution=512).lower()
    fastest = max(row.values["macs"] / row.ms for row in device.rows)
    assert program.macs / device.latency(program).ms < fastest


def test_levels_of_chips_and_networks() -> None:
    chips, networks = np.array([-1.0, 0.25, 0.75]), np.array([0.1, 2.0, 3.0, 0.5])
    log_ms = chips[:, None] + networks
    log_ms[0, 1] = log_ms[2, 3] = np.nan
    found = centred(log_ms)
    np.testing.assert_allclose(found[0], chips, atol=1e-6)
    np.testing.assert_allclose(found[1], networks, atol=1e-6)


def test_groups_of_costs() -> None:
    assert [group_of(name) for name in ("ops", "weight_bytes", "macs", "depthwise_macs", "act_bytes")] == [
        *("calls", "weights", "arithmetic", "arithmetic", "activations")
    ]


def test_a_chip_that_differs_in_one_group_is_found() -> None:
    typical = LinearModel(0.5, (Term("ops", 400.0), Term("weight_bytes", 0.02), Term("act_bytes", 0.01)))
    rng = np.random.default_rng(0)
    values = rng.lognormal(2, 1, (12, 3)) * 1e6 * np.array([1e-5, 1, 1])
    offsets = rng.normal(0, 0.2, 12)
    ms = (0.5 + values @ np.array([400.0, 0.06, 0.01]) / 1e6) * 2 * np.exp(offsets)
    model = chip_model(typical, values, ms, offsets=offsets)
    ratios = [b.ms_per_mega / a.ms_per_mega for a, b in zip(typical.terms, model.terms, strict=True)]
    assert ratios[0] == pytest.approx(model.fixed_ms / 0.5)
    assert ratios[1] > 1.5 * ratios[2]
    np.testing.assert_allclose(model.predict(values) * np.exp(offsets), ms, rtol=0.2)


def test_the_first_networks_tell_most(family: Family) -> None:
    inside = candidates(family)
    values = np.stack([c.values for c in inside])
    order = choose_networks(family, values, [True] * len(inside), most=8)
    assert len(set(order)) == 8
    assert order[:4] == choose_networks(family, values, [True] * len(inside), most=4)
    # The same network is worth less where nothing is known of it.
    twice = np.concatenate([values, values])
    known = [False] * len(inside) + [True] * len(inside)
    assert all(i >= len(inside) for i in choose_networks(family, twice, known, most=8))


def test_what_to_time_first_of_a_suite(family: Family, tmp_path: Path) -> None:
    (tmp_path / "suite.csv").write_text(
        "file,kind,key,resolution,depth\n"
        "a,model,mobilevit_s,256,1\nb,model,efficientformer_l1,224,1\nc,model,efficientvit_b1,224,1\n"
        "d,block,x-d1,56,1\n"
    )
    found = candidates(family, tmp_path / "suite.csv")
    assert [(c.name, c.known and c.known.model) for c in found] == [
        *(("mobilevit_s", "mobile_vit"), ("efficientformer_l1", None))
    ]
    assert len(most_informative(family, found, most=5)) == 2
    (tmp_path / "suite.csv").write_text("file,kind,key,resolution,depth\na,model,nonsense,224,1\n")
    with pytest.raises(ValueError, match=r"suite\.csv: row 2: key: .*nonsense"):
        candidates(family, tmp_path / "suite.csv")


def test_names_of_families() -> None:
    assert list_families() == ("snapdragon",)
    with pytest.raises(ValueError, match=r"unknown family 'hexagon'; .* are: snapdragon"):
        load_family("hexagon")
    with pytest.raises(ValueError, match="rows: the column"):
        load_family(_table("iphone12"))
    with pytest.raises(ValueError, match="rows: are of one chip"):
        load_family(_table("galaxy-s24"))


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (None, "error.new_chip: "),
        ([{"timed": 3}], "error.new_chip.0.known: "),
        ([{"timed": "x"}], "error.new_chip.0."),
        ("three", "error.new_chip: "),
    ],
)
def test_damaged_errors_of_new_chips_are_one_line(stated: object, said: str, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "latency_tables/families/snapdragon.yaml"
    fields = yaml.safe_load(source.read_text(encoding="utf-8"))
    fields["error"]["new_chip"] = stated
    (tmp_path / "snapdragon.csv").write_bytes(source.with_suffix(".csv").read_bytes())
    path = tmp_path / "snapdragon.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^[^\n]{1,500}$") as caught:
        load_family(path)
    assert f"{path}: {said}" in str(caught.value)


def _table(name: str) -> Path:
    return Path(__file__).resolve().parents[2] / "latency_tables" / f"{name}.yaml"


def _without(script: ModuleType, chip: str, *families: str) -> tuple[Family, list[Measurement]]:
    """The family without a chip and without families of networks, and the rows of that chip."""
    rows = list(script.read_rows(script.FAMILIES / "snapdragon.csv"))
    joint = script.joint_of(yaml.safe_load(script.FACTS.read_text(encoding="utf-8")))
    others = [row for row in rows if row.cohort != chip and row.family not in families]
    return joint.family(others), [row for row in rows if row.cohort == chip]


@pytest.mark.parametrize("chip", ["galaxy-s25", "galaxy-s23", "snapdragon-x-elite"])
def test_a_new_chip_from_five_networks(chip: str, script: ModuleType, tmp_path: Path) -> None:
    family, here = _without(script, chip)
    first = most_informative(family, candidates(family), most=5)
    by_name = {row.network: row for row in here}
    write_measurements(tmp_path / "m.csv", [measured(by_name[c.name]) for c in first])
    made = recalibrate_in_family(family, read_timed(tmp_path / "m.csv", family), name="mine")
    write_device(made.device, tmp_path / "mine.yaml")
    device = read_device(tmp_path / "mine.yaml")
    assert made.device.info.statistic == "minimum" and len(made.names) == 5
    inside = {n.name for n in family.networks if n.inside}
    told = {row.network: row.ms for row in device.rows if row.cohort == SCALED}
    assert set(told).isdisjoint(c.name for c in first) and len(told) == len(family.networks) - 5
    off = [abs(told[name] / by_name[name].ms - 1) for name in told if name in inside]
    assert np.mean(off) < 0.07
    # What the family's file says is to be expected, of known networks and of unseen families.
    expected = next(e for e in load_family("snapdragon").device.report["new_chip"] if e["timed"] == 5)
    assert 100 * np.mean(off) == pytest.approx(expected["known"], rel=1 / 3)


def test_an_unseen_family_on_a_new_chip(script: ModuleType) -> None:
    off = []
    expected = next(e for e in load_family("snapdragon").device.report["new_chip"] if e["timed"] == 5)
    for name in ("MobileNet", "ConvNeXt", "RegNet", "LeViT", "EfficientNet", "DenseNet"):
        family, here = _without(script, "galaxy-s25", name)
        by_name = {row.network: row for row in here}
        first = most_informative(family, candidates(family), most=5)
        values = np.stack([c.values for c in first])
        model = chip_model(
            family.model,
            family.for_model(values),
            np.array([by_name[c.name].ms for c in first]),
            offsets=np.array([c.known.offset for c in first if c.known]),
        )
        for row in (r for r in here if r.family == name):
            columns = np.array([[row.values[c.name] for c in model.columns]])
            off.append(abs(model.predict(columns)[0] / row.ms - 1))
    assert 100 * np.mean(off) < min(14, 4 / 3 * expected["unseen"])


def test_a_network_on_other_chips_is_looked_up_as_that(family: Family, tmp_path: Path) -> None:
    rows = {row.model: row for row in family.device.rows if row.cohort == "galaxy-s25"}
    names = ("resnet50", "mobilenet_v2", "efficientnet_b0", "vit")
    write_measurements(tmp_path / "m.csv", [measured(rows[name]) for name in names])
    device = recalibrate_in_family(family, read_timed(tmp_path / "m.csv", family), name="mine").device
    found = looked_up(device, load_arch("mobilevit_s").lower())
    assert found is not None and found.said.startswith("measured on 7 other chips")
    assert found.ms == pytest.approx(rows["mobile_vit"].ms, rel=0.15)


def test_too_few_and_strangers_are_refused(family: Family, tmp_path: Path) -> None:
    rows = [row for row in family.device.rows if row.cohort == "galaxy-s25"]
    inside = {n.name for n in family.networks if n.inside}
    few = [measured(row) for row in rows if row.network in inside][:2]
    few += [measured(row) for row in rows if row.network not in inside]
    write_measurements(tmp_path / "m.csv", few)
    timed = read_timed(tmp_path / "m.csv", family)
    with pytest.raises(ValueError, match="needs at least 3 measured networks in its gate, got 2"):
        recalibrate_in_family(family, timed, name="mine")
    write_measurements(tmp_path / "n.csv", [dataclasses.replace(few[0], key="resnet19")])
    with pytest.raises(ValueError, match=r"n\.csv: resnet19 at 224: unknown"):
        read_timed(tmp_path / "n.csv", family)
    write_measurements(tmp_path / "n.csv", [dataclasses.replace(few[0], resolution=192)])
    with pytest.raises(ValueError, match="resolution: is known at 224, got 192"):
        read_timed(tmp_path / "n.csv", family)


def test_a_network_of_ones_own_counts_less(family: Family, tmp_path: Path) -> None:
    row = family.device.rows[0]
    own = [dataclasses.replace(measured(row), key="efficientformer_l1", resolution=224)]
    write_measurements(tmp_path / "m.csv", [*own, measured(row)])
    stranger, known = read_timed(tmp_path / "m.csv", family)
    assert stranger.known is None and stranger.offset == 0 and stranger.weight < known.weight == 1


@pytest.mark.slow
def test_the_files_are_what_the_script_writes(script: ModuleType) -> None:
    facts = yaml.safe_load(script.FACTS.read_text(encoding="utf-8"))
    family, others = (
        list(script.read_rows(path)) for path in (script.FAMILIES / "snapdragon.csv", script.OTHERS)
    )
    texts, _, _ = script.files(family, others, facts)
    for path, text in texts.items():
        assert text == path.read_text(encoding="utf-8"), path.name


@pytest.mark.slow
def test_the_rows_are_what_the_script_traces(script: ModuleType) -> None:
    pytest.importorskip("timm")
    if VARIABLE not in os.environ:
        pytest.skip(f"{VARIABLE} names no copy of the published measurements")
    facts = yaml.safe_load(script.FACTS.read_text(encoding="utf-8"))
    for path, runtime in ((script.FAMILIES / "snapdragon.csv", "qnn_dlc"), (script.OTHERS, "tflite")):
        text = write_rows(script.traced_rows(Path(os.environ[VARIABLE]), facts, runtime))
        assert text == path.read_text(encoding="utf-8")


def test_a_device_is_a_sum_of_costs() -> None:
    device: Device = load_device("dragonwing-iq9075")
    assert isinstance(device.model, LinearModel)
    assert all(term.ms_per_mega > 0 and term.meaning for term in (*device.model.terms, *device.model.floor))
