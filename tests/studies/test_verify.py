"""verify: the fixed points agree with what was published, and whatever does not is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import hvnas.studies.verify as verify_module
from hvnas.arch import Arch, list_models, load_arch, save_arch
from hvnas.space import Space
from hvnas.studies.published import last_digit, params_agree, read_published
from hvnas.studies.verify import (
    MISMATCH,
    MISPRINT,
    OK,
    UNPUBLISHED,
    build_without_weights,
    fill_weights,
    forward_problem,
    verify,
    verify_arch,
)

# One or two of each family, every counting rule, and every kind of misprint.
FAST = """
    coatnet_0_dws efficientformer_l1 efficientformerv2_s0 efficientvit_b0 efficientvit_b1@r288
    mobileformer_26m mobilevit_xxs mobilevit_s_p3 mobilevit_xs_p842 poolformer_s12 poolformer_s12_pppf
    vit_c_1gf vit_rel vit_s1_4gf
""".split()


def changed(name: str, **facts: Any) -> Arch:
    """A fixed point of which something else is said to be published."""
    arch = load_arch(name)
    return replace(arch, published={**(arch.published or {}), **facts})


@pytest.mark.parametrize("name", FAST)
def test_a_model_of_each_family(name: str, hybrid: Space) -> None:
    row = verify_arch(load_arch(name), space=hybrid)
    assert row.mismatches == ()
    assert row.checks["forward"] == row.checks["trace"] == row.checks["space"]
    assert row.published.source
    assert (row.verdict == MISPRINT) == ("misprint" in (load_arch(name).published or {}))


@pytest.mark.slow
def test_all() -> None:
    rows = list(verify())
    assert [row.name for row in rows] == list(list_models())
    assert {row.name: row.mismatches for row in rows if not row.ok} == {}
    assert {row.name for row in rows if row.on_meta} == {"coatnet_5", "coatnet_6", "coatnet_7"}


def test_exact_counts_are_exact(hybrid: Space) -> None:
    row = verify_arch(changed("efficientvit_b0", params=3_410_009), space=hybrid)
    assert row.verdict == MISMATCH
    assert row.mismatches == ("params: 3,410,008 against 3,410,009 (-0.00 %)",)


def test_a_misprint_excuses_what_is_printed_and_nothing_else(hybrid: Space) -> None:
    row = verify_arch(load_arch("mobilevit_s_p3"), space=hybrid)
    assert (row.ok, row.verdict, row.checks["params"].verdict) == (True, MISPRINT, MISPRINT)
    assert row.checks["params"].detail == "5,578,632 against 5,700,000 (-2.13 %)"
    row = verify_arch(changed("mobilevit_s_p3", params=5_578_631), space=hybrid)
    assert (row.ok, row.verdict) == (False, MISMATCH)
    row = verify_arch(changed("mobilevit_xs_p842", misprint_in="params"), space=hybrid)
    assert row.checks["macs"].verdict == MISMATCH


@pytest.mark.parametrize("factor, verdict", [(1.045, MISMATCH), (1.04, OK), (0.97, OK), (0.955, MISMATCH)])
def test_macs_within_four_percent(factor: float, verdict: str, hybrid: Space) -> None:
    row = verify_arch(load_arch("efficientvit_b0"), space=hybrid)
    published = replace(row.published, macs=row.macs * factor)
    assert verify_module._check_macs(row.macs, published).verdict == verdict


def test_where_nothing_is_published_nothing_is_claimed(hybrid: Space) -> None:
    row = verify_arch(load_arch("vit_rel"), space=hybrid)
    assert row.checks["params"].verdict == row.checks["macs"].verdict == UNPUBLISHED
    assert row.ok


def test_the_stem_ablation_compares_stems(hybrid: Space) -> None:
    assert verify_arch(load_arch("vit_s2_4gf"), space=hybrid).checks["stem"].verdict == OK
    row = verify_arch(changed("vit_s2_4gf", stem_macs=389e6), space=hybrid)
    assert row.mismatches[0].startswith("stem: ")


def test_a_network_outside_the_space(hybrid: Space) -> None:
    arch = load_arch("efficientvit_b0")
    row = verify_arch(arch.with_(resolution=225), space=hybrid)
    assert row.checks["space"].verdict == MISMATCH
    assert "resolution" in row.checks["space"].detail


def test_a_module_that_differs_from_its_lowering(hybrid: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_arch("efficientvit_b0").with_(classes=10)
    monkeypatch.setattr(verify_module, "build_without_weights", lambda arch: build_without_weights(other))
    row = verify_arch(load_arch("efficientvit_b0"), space=hybrid)
    assert row.checks["trace"].detail == "1 traced ops not lowered, 1 lowered ops not traced"
    assert row.checks["forward"].verdict == OK  # as many logits as that network has classes


def test_large_networks_run_on_meta(hybrid: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "META_ABOVE", 1_000_000)
    monkeypatch.setattr(verify_module, "fill_weights", None)
    row = verify_arch(load_arch("efficientvit_b0"), space=hybrid)
    assert row.on_meta and row.ok


def test_forward_sees_what_is_not_finite() -> None:
    model = build_without_weights(load_arch("efficientvit_b0"))
    fill_weights(model)
    assert forward_problem(model) is None
    with torch.no_grad():
        next(model.stem.parameters()).fill_(float("inf"))
    assert forward_problem(model) == "logits that are not finite"


def test_cheap_weights_leave_buffers_alone() -> None:
    """Index tables must be the real ones, and the hook must be gone."""
    model = build_without_weights(load_arch("efficientformer_l1"))
    tables = {name: b for name, b in model.named_buffers() if "index" in name}
    assert tables and all(table.device.type == "cpu" and table.max() == 48 for table in tables.values())
    assert all(p.is_meta for p in model.parameters())
    fill_weights(model)
    assert not any(p.is_meta for p in model.parameters())
    assert not torch.nn.Linear(2, 2).weight.is_meta


@pytest.mark.parametrize(
    "printed, ours, agree",
    [
        (11.9e6, 11_850_001, True),  # half a unit of the last digit
        (11.9e6, 11_960_001, False),  # neither that nor 0.5 %
        (168e6, 166_966_264, False),
        (42e6, 42_225_776, True),
        (1470e6, 1_471_125_232, True),
        (25, 25, True),
        (25, 26, False),
    ],
)
def test_params(printed: float, ours: int, agree: bool) -> None:
    assert params_agree(ours, printed) is agree


def test_last_digit() -> None:
    assert [last_digit(v) for v in (11.9e6, 1470e6, 25e6, 0.6)] == [1e5, 1e7, 1e6, 0.1]


@pytest.mark.parametrize(
    "facts, message",
    [
        (
            {"params": "many"},
            r"published\.params: must be a number > 0 and at most 1e\+15, got 'many' \(efficientvit_b0\)",
        ),
        ({"macs": float("nan")}, r"published\.macs: must be a number > 0 and at most 1e\+15, got nan"),
        ({"macs_rule": None}, r"published\.macs_rule: missing beside macs"),
        ({"macs_rule": "guess"}, r"unknown macs_rule 'guess'"),
    ],
)
def test_bad_facts_are_named(facts: dict[str, Any], message: str, hybrid: Space) -> None:
    with pytest.raises(ValueError, match=message):
        verify_arch(changed("efficientvit_b0", **facts), space=hybrid)


def test_a_file_of_ones_own(tmp_path) -> None:
    arch = load_arch("efficientvit_b0").with_(classes=10, name="mine")
    save_arch(arch, tmp_path / "mine.yaml")
    (row,) = verify([str(tmp_path / "mine.yaml")])
    assert (row.name, row.ok, row.checks["params"].verdict) == ("mine", True, UNPUBLISHED)


def test_names_are_looked_up_before_any_work() -> None:
    with pytest.raises(ValueError, match="unknown model"):
        verify(["coatnet_7", "nothing"])


def test_published_block_is_read_whole() -> None:
    published = read_published(load_arch("coatnet_3"))
    assert (published.params, published.params_printed, published.misprint_in) == (
        166_966_264,
        168e6,
        "params",
    )
    assert published.macs_resolution == 224
