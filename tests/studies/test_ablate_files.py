"""A user's own study: estimators, scaling, measuring, and files that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvnas._yaml import dump_yaml
from hvnas.arch import Arch, load_arch, save_arch
from hvnas.studies.ablation import load_study, run_study
from hvnas.studies.ablation.estimates import Beliefs, make_judge
from hvnas.studies.ablation.matching import match, widened

VARIANTS = {"a": {}, "b": {"edits": {"stages.0.local.depth": 1}}}


def write(folder: Path, part: Any, **fields: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(dump_yaml({"schema": "hvnas.ablation/1", **fields, "parts": [part]}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network in it."""
    folder = tmp_path_factory.mktemp("study")
    save_arch(load_arch("efficientformer_l1").shrunk().with_(resolution=32), folder / "tiny.yaml")
    return folder


def test_axes_multiply_variants_and_the_base_comes_first(tiny: Path) -> None:
    axes = {"resolution": [32, 64], "@mb4d.pool": [3, 5]}
    path = write(tiny, {"base": "tiny.yaml", "variants": VARIANTS, "axes": axes, "name": "sizes"})
    found = run_study(load_study(path)).parts[0]
    assert [row.name for row in found.rows][:3] == [
        "a, resolution 32, pool 3",
        "a, resolution 32, pool 5",
        "a, resolution 64, pool 3",
    ]
    assert len(found.rows) == 8 and found.rows[0].is_base
    alone = write(tiny, {"base": "tiny.yaml", "axes": {"@mb4d.pool": [5]}})
    rows = run_study(load_study(alone)).parts[0].rows
    assert [row.is_base for row in rows] == [True, False] and rows[1].name == "pool 5"


def test_training_gives_mean_and_sd_over_seeds(tiny: Path) -> None:
    path = write(tiny, {"base": "tiny.yaml", "variants": VARIANTS})
    estimator = "train:data=digits,epochs=1,train_size=64,test_size=64,cache=none"
    found = run_study(load_study(path), estimator=estimator, seeds=2)
    assert "seeds 0, 1" in found.meaning
    judge = make_judge(estimator, 2)
    archs = [row.arch for row in found.parts[0].rows]
    each = [e.estimate(archs, recipe="modern300").mean for e in judge.estimators]  # type: ignore[attr-defined]
    for i, row in enumerate(found.parts[0].rows):
        assert row.judged[0].mean == pytest.approx(np.mean([top1[i] for top1 in each]))
        assert row.judged[0].sd == pytest.approx(np.std([top1[i] for top1 in each], ddof=1))


def test_seeds_are_refused_where_nothing_is_trained() -> None:
    with pytest.raises(ValueError, match="trains nothing"):
        make_judge("surrogate", 3)
    with pytest.raises(ValueError, match="seeds: must be >= 1"):
        make_judge("train", 0)


def test_scores_have_no_chances(tiny: Path) -> None:
    path = write(tiny, {"base": "tiny.yaml", "variants": VARIANTS})
    found = run_study(load_study(path), estimator="params").parts[0]
    assert found.unit == "score"
    assert found.rows[1].judged[0].p_better is None and found.rows[1].judged[0].sd is None


def test_latency_and_memory_are_measured_here(tiny: Path) -> None:
    axes = {"resolution": [32, 128]}
    path = write(tiny, {"base": "tiny.yaml", "axes": axes, "measure": True, "scenarios": []})
    found = run_study(load_study(path)).parts[0]
    assert found.device is None and "1 thread" in found.said
    for row in found.rows:
        assert row.latency is None and row.judged == ()
        assert row.measured is not None and row.measured.ms > 0
        assert row.measured.memory is None or row.measured.memory >= 0


def test_beliefs_share_what_cancels() -> None:
    covariance = np.full((2, 2), 4.0) + np.diag([0.01, 0.01])
    base, other = Beliefs(np.array([80.0, 80.5]), np.array([2.0, 2.0]), covariance).judge(
        base=0, equal=np.array([True, True])
    )
    assert base.p_better is None and other.delta == pytest.approx(0.5)
    assert other.delta_sd == pytest.approx(0.02**0.5)
    assert other.p_better is not None and other.p_better > 0.99 and not other.is_undecided


def params(arch: Arch) -> dict[str, float]:
    return {"params": arch.lower().params}


@pytest.mark.parametrize("scale", [("width",), ("depth",)])
def test_scaling_brings_a_network_to_its_target(scale: tuple[str, ...]) -> None:
    arch = load_arch("coatnet_0")
    wanted = 1.2 * arch.lower().params
    found = match(arch, {"params": wanted}, measure=params, scale=scale)
    assert found.ok and scale[0] in found.did
    assert found.arch.lower().params == pytest.approx(wanted, rel=0.05)
    kept = match(arch, params(arch), measure=params, scale=scale)
    assert kept.arch is arch and kept.did == ""


def test_what_is_out_of_reach_stays_as_it_is() -> None:
    arch = load_arch("coatnet_0")
    found = match(arch, {"params": 10.0}, measure=params, scale=("width",))
    assert not found.ok and found.arch == arch and found.nearest is not None
    assert 0 < found.nearest["params"] < found.off["params"]


def test_widths_stay_multiples_of_what_they_were() -> None:
    wider = widened(load_arch("mobilevit_s"), 1.37, step=16)
    assert wider.head.out == 1000
    assert wider.stages[2].global_ is not None and wider.stages[2].global_.block.dim % 16 == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "part, fields, words",
    [
        ({"base": "nobody", "variants": VARIANTS}, {}, "unknown model 'nobody'"),
        ({"base": "missing.yaml", "variants": VARIANTS}, {}, "no such file"),
        ({"variants": VARIANTS}, {}, "parts.0.base: is missing"),
        ({"base": "tiny.yaml"}, {}, "neither variants nor axes"),
        ({"base": "tiny.yaml", "axes": {"resolution": []}}, {}, "parts.0.axes.resolution: has no values"),
        (
            {"base": "tiny.yaml", "axes": {"stages.9.local.depth": [1]}},
            {},
            "stages.9.local.depth: no such field",
        ),
        ({"base": "tiny.yaml", "axes": {"stages.0.local.wrong": [1]}}, {}, "wrong: unknown field"),
        ({"base": "tiny.yaml", "axes": {"name": ["x"]}}, {}, "a path begins with"),
        ({"base": "tiny.yaml", "axes": {"stages": [5]}}, {}, "stages: must be a list"),
        ({"base": "tiny.yaml", "axes": {"resolution": list(range(300))}}, {}, "more than 200"),
        (
            {"base": "tiny.yaml", "variants": VARIANTS, "equals": "params"},
            {},
            "parts.0.equals: unknown field",
        ),
        ({"base": "tiny.yaml", "variants": VARIANTS, "equal": "size"}, {}, "parts.0.equal.0"),
        (
            {"base": "tiny.yaml", "variants": {"a": {"edit": {}}}},
            {},
            "parts.0.variants.a.edit: unknown field",
        ),
        ({"base": "tiny.yaml", "variants": {"a": 3}}, {}, "parts.0.variants.a: must be a mapping"),
        ({"base": "tiny.yaml", "variants": {"a": {"published": {"top1": "x"}}}}, {}, "published.top1"),
        ({"base": "tiny.yaml", "variants": VARIANTS, "evidence": "none"}, {}, "published ablation 'none'"),
        ({"base": "tiny.yaml", "variants": VARIANTS, "scenarios": "mars"}, {}, "unknown scenario 'mars'"),
        ({"base": "tiny.yaml", "variants": VARIANTS, "recipe": "soup"}, {}, "unknown recipe 'soup'"),
        ({"base": "tiny.yaml", "variants": VARIANTS, "device": "toaster"}, {}, "unknown device 'toaster'"),
        ({"base": "tiny.yaml", "variants": VARIANTS, "macs_rule": "guess"}, {}, "macs_rule: must be one of"),
        ({"base": "tiny.yaml", "variants": VARIANTS}, {"name": "../x"}, "name: must be letters"),
        ({"base": "tiny.yaml", "variants": VARIANTS}, {"extra": 1}, "extra: unknown field"),
        (7, {}, "parts.0: must be a mapping"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tiny: Path, part: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        run_study(load_study(write(tiny, part, **fields)))
    message = str(caught.value)
    assert words in message and "\n" not in message, message


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1.0e+300", "9" * 30])
def test_published_numbers_are_looked_at_before_anything_is_computed(tmp_path: Path, number: str) -> None:
    variants = f"{{a: {{}}, b: {{arch: mobilevit_xs, published: {{ms: {number}}}}}}}"
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"schema: hvnas.ablation/1\nparts: [{{base: mobilevit_s, variants: {variants}}}]\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"mine\.yaml.*variants\.b\.published\.ms|published\.ms.*mine\.yaml"):
        load_study(path)


def test_what_a_study_names_is_looked_for_under_its_file(tiny: Path) -> None:
    path = write(tiny, {"base": "nothing", "variants": VARIANTS})
    with pytest.raises(ValueError, match=r"mine\.yaml: unknown model 'nothing'"):
        run_study(load_study(path))


def test_what_is_no_study_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("parts: [", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("schema: hvnas.arch/1", encoding="utf-8")
    (tmp_path / "c.yaml").write_text("schema: hvnas.ablation/1\nparts: []", encoding="utf-8")
    for name, words in [("a", "not valid YAML"), ("b", "schema: must be"), ("c", "parts: must be a list")]:
        with pytest.raises(ValueError, match=words):
            load_study(tmp_path / f"{name}.yaml")
    with pytest.raises(ValueError, match="unknown study 'stem'; did you mean 'stems'"):
        load_study("stem")
    with pytest.raises(ValueError, match="unknown study"):
        load_study("../../etc/passwd")
