"""From a plan to a table and back: built, loaded, asked, continued, refused."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from hvnas.latency import load_device
from hvnas.latency.measure.plan import Plan
from hvnas.latency.measure.table import build_table
from hvnas.latency.tables.op_model import OpModel
from hvnas.ops import Op, Program
from hvnas.space import FastPath, load_space
from hvnas.testing.latency import FormulaBackend, formula_ms


@pytest.fixture(scope="module")
def table(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete table; tests that write work on copies."""
    path = tmp_path_factory.mktemp("table") / "host.yaml"
    build_table(plan, FormulaBackend(factors={"conv_pointwise": 0.8, "conv_spatial": 1.1}), path)
    return path


@pytest.fixture
def copy(table: Path, tmp_path: Path) -> Path:
    for suffix in (".yaml", ".csv", ".whole.csv"):
        shutil.copy(table.with_suffix(suffix), tmp_path)
    return tmp_path / table.name


def test_a_complete_table(table: Path, plan: Plan) -> None:
    device = load_device(table)
    assert "complete: true" in table.read_text(encoding="utf-8")
    assert (device.name, device.info.runtime, device.info.method) == ("host", "formula", "measured")
    assert device.info.threads == 1 and device.info.batch == 1
    report = device.report
    assert report["rows"] == {"ops": len(plan.ops), "noisy": 0, "blocks": 6, "networks": 12}
    assert report["network_left_out"]["mape"] < 3
    assert set(report["op_left_out"]) == set(plan.chosen_by_group)


def test_what_it_says_of_networks(table: Path) -> None:
    device, space = load_device(table), load_space("efficientformer")
    backend = FormulaBackend(factors={"conv_pointwise": 0.8, "conv_spatial": 1.1})
    rng = np.random.default_rng(77)
    for row in space.sample(8, rng=rng, macs=(0.2e9, 2e9)):
        arch = space.decode(row)
        (true,) = backend.network(arch)(1)
        found = device.latency(arch.lower())
        assert found.ms == pytest.approx(true, rel=0.05)
        assert found.low < found.ms < found.high
        parts = found.breakdown
        assert parts.fixed + sum(parts.stages.values()) == pytest.approx(found.ms)
        assert sum(parts.kinds.values()) == pytest.approx(sum(parts.stages.values()))


def test_columns_of_rows_are_those_of_networks(table: Path) -> None:
    device, space = load_device(table), load_space("efficientformer")
    rows = space.sample(12, rng=np.random.default_rng(5))
    arrays = device.latency_columns(FastPath(space, device.columns)(rows))
    for k, row in enumerate(rows):
        alone = device.latency(space.decode(row).lower())
        assert alone.ms == pytest.approx(arrays.ms[k], rel=1e-9)
        assert alone.inside == arrays.inside[k]
        assert bool(alone.reasons) == any(excluded[k] for excluded in arrays.excluded_by.values())


def test_measured_ops_are_as_measured_and_others_are_interpolated(table: Path, plan: Plan) -> None:
    model = load_device(table).model
    assert isinstance(model, OpModel)
    for op in plan.ops[:30]:
        assert model.op_ms(op) == pytest.approx(formula_ms(op), rel=1e-5)
    known = {op.key for op in plan.ops}
    op = next(op for op in plan.ops if op.kind == "conv" and op.kernel == (1, 1) and op.shape_in[0] >= 64)
    wider = op._replace(shape_out=(op.shape_out[0] + 8, *op.shape_out[1:]))
    assert wider.key not in known and model.covers(wider)
    assert model.op_ms(wider) == pytest.approx(formula_ms(wider), rel=0.2)


@pytest.mark.parametrize(
    "op",
    [
        Op("conv", (64, 512, 512), (64, 512, 512), (-1,), kernel=(1, 1)),  # larger than any
        Op("resize", (64, 28, 28), (64, 56, 56), (-1,), variant="bilinear"),  # of a kind the space has not
    ],
)
def test_ops_beyond_what_was_measured_lie_outside(table: Path, op: Op) -> None:
    found = load_device(table).latency(Program((op,), ("part",), 512))
    assert not found.inside
    assert found.reasons == ("1 of its ops are smaller or larger than any that was measured",)


def test_a_complete_table_is_left_as_it_is(copy: Path, plan: Plan, backend: FormulaBackend) -> None:
    before = copy.read_bytes()
    built = build_table(plan, backend, copy)
    assert built.report["rows"]["networks"] == 12
    assert not backend.timed and copy.read_bytes() == before


def test_a_fit_below_zero_is_refused_and_made_again(copy: Path, plan: Plan, backend: FormulaBackend) -> None:
    """As tables have it that were fitted before factors had a lower bound."""
    complete = copy.read_text()
    copy.write_text(re.sub(r"(    conv_pointwise: )[0-9.]+", r"\g<1>-0.5", complete))
    with pytest.raises(ValueError, match=r"must be from 0 .*got -0.5; hvnas latency measure fits"):
        load_device(str(copy))
    build_table(plan, backend, copy)
    assert not backend.timed and copy.read_text() == complete


def test_rows_lost_from_a_complete_table_are_measured_again(
    copy: Path, plan: Plan, backend: FormulaBackend
) -> None:
    rows = copy.with_suffix(".csv").read_text().splitlines(keepends=True)
    copy.with_suffix(".csv").write_text("".join(rows[:50] + rows[51:]))
    build_table(plan, backend, copy)
    assert len(backend.timed) == 1
    assert sorted(copy.with_suffix(".csv").read_text().splitlines(keepends=True)) == sorted(rows)


@pytest.mark.parametrize("suffix", [".csv", ".whole.csv"])
def test_damaged_rows_of_a_complete_table_are_refused(
    suffix: str, copy: Path, plan: Plan, backend: FormulaBackend
) -> None:
    rows = copy.with_suffix(suffix)
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join([*lines[:3], "garbage\n", *lines[4:]]))
    with pytest.raises(ValueError, match=rf"host{re.escape(suffix)}: row 4"):
        build_table(plan, backend, copy)
    assert not backend.timed


@pytest.mark.parametrize(
    ("field", "other"),
    [("threads", 2), ("precision", "float16"), ("runtime", "onnxruntime"), ("runtime_version", "2")],
)
@pytest.mark.parametrize("complete", [True, False])
def test_another_runtime_is_refused(
    copy: Path, plan: Plan, field: str, other: object, complete: bool
) -> None:
    if not complete:
        text = copy.read_text(encoding="utf-8").replace("complete: true", "complete: false")
        copy.write_text(text, encoding="utf-8")
    before = {path: path.read_bytes() for path in copy.parent.iterdir()}
    backend = FormulaBackend()
    backend.runtime = dataclasses.replace(backend.runtime, **{field: other})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"{field}: the table .* was begun with .*choose another") as caught:
        build_table(plan, backend, copy)
    assert "\n" not in str(caught.value) and str(other) in str(caught.value)
    assert not backend.timed and before == {path: path.read_bytes() for path in copy.parent.iterdir()}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"space": "vit"}, "host.yaml was begun with efficientformer, not vit"),
        ({"seed": 3}, "host.yaml was begun with 0, not 3"),
        ({"space_hash": "abc"}, "not abc"),
    ],
)
def test_another_plan_is_refused(copy: Path, plan: Plan, changed: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match="choose another name with --out") as caught:
        build_table(dataclasses.replace(plan, **changed), FormulaBackend(), copy)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_a_table_of_fewer_is_gone_on_with(
    plan: Plan, table: Path, tmp_path: Path, backend: FormulaBackend
) -> None:
    path, arch = tmp_path / "host.yaml", plan.networks[0]
    build_table(dataclasses.replace(plan, ops=plan.ops[:150], networks=plan.networks[:10]), backend, path)
    assert load_device(path).report["rows"]["networks"] == 10
    backend.timed.clear()

    def stop(done: int, doing: str) -> None:
        # Cut in the middle, it is no longer complete, and says so.
        device = load_device(path)
        assert not device.latency(arch.lower()).inside and "complete: false" in path.read_text("utf-8")
        if doing == "a network":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_table(plan, backend, path, on_step=stop)
    build_table(plan, backend, path)
    measured = {op.key for op in plan.ops[150:]} | {arch.hash for arch in plan.networks[10:]}
    assert set(backend.timed) == measured and set(backend.timed.values()) == {1}
    there, here = (load_device(p).latency(arch.lower()).ms for p in (table, path))
    assert there == pytest.approx(here, rel=1e-3)


def test_another_noise_bound_is_refused(copy: Path, plan: Plan) -> None:
    with pytest.raises(ValueError, match=r"noise_bound: .* begun with 0\.25, not 0\.1"):
        build_table(plan, FormulaBackend(), copy, bound=0.1)


def test_a_device_of_another_kind_is_refused(plan: Plan, tmp_path: Path, repo_root: Path) -> None:
    for suffix in (".yaml", ".csv"):
        shutil.copy(repo_root / "latency_tables" / f"iphone12{suffix}", tmp_path)
    with pytest.raises(ValueError, match="holds a calibrated device; choose another name"):
        build_table(plan, FormulaBackend(), tmp_path / "iphone12.yaml")


def test_a_csv_of_that_name_is_nobodys_to_delete(plan: Plan, tmp_path: Path) -> None:
    own = tmp_path / "host.csv"
    own.write_text("my,own,numbers\n1,2,3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"host\.csv: holds rows, but there is no host\.yaml") as caught:
        build_table(plan, FormulaBackend(), tmp_path / "host.yaml")
    assert "\n" not in str(caught.value) and own.read_text(encoding="utf-8").endswith("1,2,3\n")
    assert not (tmp_path / "host.yaml").exists()
