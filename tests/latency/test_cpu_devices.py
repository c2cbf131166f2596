"""The devices calibrated on timm's benchmarks: what their files say of themselves, recomputed."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import spearmanr

from hvnas.arch import load_arch
from hvnas.latency import Device, LinearModel, load_device
from hvnas.latency.columns import column
from hvnas.ops import Op, Program, column_values, evaluate_columns
from hvnas.search import search
from hvnas.space import load_space
from hvnas.space.fastpath.fastpath import FastPath
from hvnas.testing.strategies import ToyEstimator

CPUS = ("cpu-i7-12700h", "cpu-i9-10940x")
NAMES = (*CPUS, "rtx4090")
# Names under which timm builds the fixed points.
TWINS = {"efficientformer_l1": "efficientformer_l1", "poolformer_s12": "poolformer_s12"}


@pytest.fixture(scope="module", params=NAMES)
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


@pytest.fixture(scope="module")
def data(device: Device) -> dict[str, Any]:
    """Every row's columns, time, family, and whether it is in the gate; computed without the script."""
    found: dict[str, Any] = {n: np.array([r.values[n] for r in device.rows]) for n in device.rows[0].values}
    columns = np.stack([found[c.name] for c in device.columns], axis=1)
    found["inside"] = device.latency_columns(columns).inside
    found["ms"] = np.array([r.ms for r in device.rows])
    found["family"] = np.array([r.family for r in device.rows])
    return found


def left_out(data: dict[str, Any], terms: list[str]) -> np.ndarray:
    """Milliseconds of every row, its family unseen."""
    design = np.column_stack([np.ones(len(data["ms"]))] + [data[t] for t in terms]) / data["ms"][:, None]
    design = design / np.linalg.norm(design, axis=0)
    relative = np.empty(len(data["ms"]))
    for family in set(data["family"]):
        held = data["family"] == family
        weights = nnls(design[~held], np.ones((~held).sum()), maxiter=1000)[0]
        relative[held] = design[held] @ weights
    return relative * data["ms"]


def model_of(device: Device) -> LinearModel:
    assert isinstance(device.model, LinearModel)
    return device.model


def terms_of(device: Device) -> list[str]:
    return [term.column for term in model_of(device).terms]


@pytest.mark.parametrize(
    ("key", "terms"),
    [
        ("family_left_out", None),
        ("family_left_out_macs_alone", ["macs"]),
        ("family_left_out_macs_activations_params", ["macs", "act_bytes", "params"]),
    ],
)
def test_recorded_errors(device: Device, data: dict[str, Any], key: str, terms: list[str] | None) -> None:
    predicted = left_out(data, terms or terms_of(device))
    off = 100 * np.abs(predicted / data["ms"] - 1)
    recorded = device.report[key]
    assert recorded["all_networks"]["mape"] == pytest.approx(off.mean(), abs=0.02)
    assert recorded["in_gate"]["mape"] == pytest.approx(off[data["inside"]].mean(), abs=0.02)
    rho = spearmanr(predicted, data["ms"])[0]
    assert recorded["all_networks"]["spearman"] == pytest.approx(rho, abs=6e-4)


def test_i7_meets_its_bar() -> None:
    """Over all families of the benchmark; the choice of terms made without the family as well."""
    report = load_device("cpu-i7-12700h").report
    for key in ("family_left_out", "family_left_out_choice_of_terms_included"):
        assert report[key]["all_networks"]["mape"] <= 10.5
        assert report[key]["all_networks"]["spearman"] >= 0.99


def test_better_than_counting(device: Device) -> None:
    """With the choice of terms included, each predicts families it has not seen better than counts do."""
    chosen = device.report["family_left_out_choice_of_terms_included"]
    for other in ("macs_alone", "macs_activations_params"):
        for place in ("in_gate", "all_networks"):
            baseline = device.report[f"family_left_out_{other}"][place]
            assert chosen[place]["mape"] < baseline["mape"]
            assert chosen[place]["kendall_tau"] > baseline["kendall_tau"]


def test_shipped_parameters_are_the_fit(device: Device, data: dict[str, Any]) -> None:
    design = np.column_stack([np.ones(len(data["ms"]))] + [data[t] for t in terms_of(device)])
    relative = design / data["ms"][:, None]
    scale = np.linalg.norm(relative, axis=0)
    weights = nnls(relative / scale, np.ones(len(relative)), maxiter=1000)[0] / scale
    model = model_of(device)
    shipped = [model.fixed_ms, *(term.ms_per_mega / 1e6 for term in model.terms)]
    assert shipped == pytest.approx(weights, rel=1e-3)


def test_few_terms(device: Device) -> None:
    assert len(terms_of(device)) <= 16
    assert [step["column"] for step in device.report["steps"]] == terms_of(device)
    assert all(term.meaning for term in model_of(device).terms)


def test_interval_and_margin_keep_nine_in_ten(device: Device, data: dict[str, Any]) -> None:
    e = np.log(data["ms"] / left_out(data, terms_of(device)))
    for student, mask in ((device.inside_error, data["inside"]), (device.outside_error, ~data["inside"])):
        low, high = np.log([student.factor(0.05), student.factor(0.95)])
        assert np.mean(((e >= low) & (e <= high))[mask]) >= 0.89
    # The margin is that of networks in the gate.
    assert np.mean(e[data["inside"]] <= np.log(1 + device.default_margin())) >= 0.9


def test_noise_floor(device: Device) -> None:
    """Networks under two names whose columns agree differ by less than the model errs."""
    groups: dict[tuple[float, ...], list[float]] = {}
    for row in device.rows:
        groups.setdefault(tuple(row.values.values()), []).append(row.ms)
    gaps = [200 * abs(a - b) / (a + b) for ms in groups.values() for a, b in combinations(ms, 2)]
    assert device.report["noise_floor"]["mape"] < device.report["family_left_out"]["in_gate"]["mape"]
    assert device.report["noise_floor"]["pairs"] <= len(gaps)


def test_rows_are_the_published_ones(device: Device, repo_root: Path) -> None:
    path = repo_root / "latency_tables" / "sources" / f"timm_{device.name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        published = {(r["model"], int(r["infer_img_size"])): r for r in csv.DictReader(file)}
    assert len(published) == len(device.rows) + len(device.report["networks_not_traced"])
    for row in device.rows[::50]:
        entry = published[row.model, row.resolution]
        per_image = float(entry["infer_step_time"]) / int(entry["infer_batch_size"])
        assert row.ms == pytest.approx(per_image, rel=1e-5)
        assert row.protocol == f"batch {entry['infer_batch_size']}"


@pytest.mark.parametrize("name", CPUS)
@pytest.mark.parametrize("network", TWINS)
def test_fixed_points_against_published(name: str, network: str) -> None:
    """Their own lowering gives a latency whose interval holds what timm published of the same network."""
    device = load_device(name)
    (row,) = (row for row in device.rows if row.network == TWINS[network] and row.resolution == 224)
    estimate = device.latency(load_arch(network).lower())
    assert estimate.inside and estimate.low < row.ms < estimate.high
    assert estimate.breakdown.fixed + sum(estimate.breakdown.kinds.values()) == pytest.approx(estimate.ms)


def test_the_gate_lets_the_spaces_in(device: Device) -> None:
    assert device.latency(load_arch("mobilevit_s").lower()).inside
    assert device.latency(load_arch("coatnet_0").lower()).inside


def test_fast_path_gives_the_same_columns(device: Device) -> None:
    """Of excesses over a size too, which are no polynomials in channels."""
    space = load_space("hybrid-mobile")
    rows = space.sample(12, rng=np.random.default_rng(0))
    fast = FastPath(space, device.columns)(rows)
    slow = np.stack([evaluate_columns(device.columns, space.decode(row).lower()) for row in rows])
    np.testing.assert_allclose(fast, slow, rtol=1e-9)


def test_columns_count_what_they_say() -> None:
    wide = Op("linear", (4, 4096), (4, 4096), (), bias=True)  # 33.6 MB of weights in float16
    conv = Op("conv", (8, 16, 16), (16, 8, 8), (), kernel=(3, 3), stride=(2, 2), act="gelu")
    windows = Op("relayout", (16, 8, 8), (64, 16), (), variant="map>windows")
    names = "ops products convs weight_bytes_beyond_12mb few_rows_weight_bytes unfolded_bytes".split()
    names += "transcendental small_map_weight_bytes windows window_bytes linear_macs bytes_beyond_1mb".split()
    values = dict(zip(names, column_values([column(n) for n in names], (wide, conv, windows)), strict=True))
    weights = 2 * 4096**2
    assert values == {
        "ops": 3,
        "products": 2,
        "convs": 1,
        "weight_bytes_beyond_12mb": weights - 12e6,
        "few_rows_weight_bytes": weights,
        "unfolded_bytes": 2 * 8 * 9 * 64,
        "transcendental": 16 * 64,
        "small_map_weight_bytes": 2 * 16 * 8 * 9,
        "windows": 1,
        "window_bytes": 2 * 2 * 1024,
        "linear_macs": 4 * 4096**2,
        "bytes_beyond_1mb": 0,
    }


def test_a_budget_on_throughput_is_asked_for_as_such() -> None:
    says = r"rtx4090's table is ms per image at batch 1024 \(throughput\), not latency; add --throughput"
    more: dict[str, Any] = {"estimator": ToyEstimator(columns=(column("macs"),)), "evals": 50}
    with pytest.raises(ValueError, match=says):
        search("efficientformer", "rtx4090", budget_ms=0.2, **more)
    with pytest.raises(ValueError, match="table is latency at batch 1; leave --throughput out"):
        search("efficientformer", "cpu-i7-12700h", budget_ms=20, throughput=True, **more)
    found = search("efficientformer", "rtx4090", budget_ms=0.2, throughput=True, **more)
    assert found.best.latency_ms <= 0.2


@pytest.fixture
def scripts(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))
    yield importlib.import_module
    for name in ("calibrate_cpu", "trace_timm", "_forward", "_timm"):
        sys.modules.pop(name, None)


def test_leaving_out_by_gram_matrices_is_leaving_out(scripts: Any) -> None:
    """The selection's shortcut agrees with fits to the remaining rows."""
    forward: ModuleType = scripts("_forward")
    rng = np.random.default_rng(0)
    values = {name: rng.lognormal(size=60) for name in "abc"}
    ms = 1 + 2 * values["a"] + values["c"] * rng.lognormal(0, 0.1, 60)
    families = np.repeat(np.array(list("uvwxyz")), 10)
    design = np.stack([np.ones(60), values["a"], values["c"]], axis=1)
    predicted = forward.left_out(design, ms, families)
    expected = 100 * np.mean(np.abs(predicted / ms - 1))
    grams = forward.Grams.of(values, ms, families)
    assert grams.mape(["a", "c"]) == pytest.approx(expected, rel=1e-4)
    assert grams.without(2).mape(["a"]) != grams.mape(["a"])
    assert [name for name, _ in forward.choose(grams, ["a"], ["b", "c"], gain=1.0, at_most=3)] == ["a", "c"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_what_the_script_writes(name: str, scripts: Any, repo_root: Path) -> None:
    script = scripts("calibrate_cpu")
    _, text = script.device_text(name, script.measured(name))
    assert text == (repo_root / "latency_tables" / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("key", [("resnet50", 224), ("mobilevit_xs", 256), ("coat_tiny", 224)])
def test_the_columns_are_what_the_script_traces(key: tuple[str, int], scripts: Any) -> None:
    pytest.importorskip("timm")
    script = scripts("trace_timm")
    entry = script.traced(*key)
    text, left = script.table(iter([entry]))
    assert not left
    lines = script.TABLE.read_text(encoding="utf-8").splitlines()
    assert text.splitlines()[1] in lines


def test_programs_of_the_cache_are_the_traced_ones(scripts: Any) -> None:
    """JSON and back, without a network."""
    script = scripts("trace_timm")
    ops = (
        Op("conv", (3, 8, 8), (4, 4, 4), (), kernel=(3, 3), stride=(2, 2), bias=True, act="relu"),
        Op("pool", (4, 4, 4), (4, 1, 1), (0,), variant="mean"),
    )
    program = Program(ops, ("", ""), 8)
    entry = {"res": 8, "fused": [[*key, n] for key, n in program.signature.items()]}
    assert script.program_of(script.json.loads(script.json.dumps(entry))) == program
