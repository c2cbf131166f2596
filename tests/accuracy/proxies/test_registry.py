"""Every proxy on every family, the same each time; counts against the Program."""

from __future__ import annotations

import math

import pytest

import hvnas
from hvnas.accuracy.proxies import CountedProxy, list_proxies, load_proxy, registry
from hvnas.accuracy.proxies.estimators import score_table
from hvnas.accuracy.proxies.registry import COUNTED, PROBED

FAMILIES = {
    "coatnet_0": "CoAtNet",
    "efficientformer_l1": "EfficientFormer",
    "efficientformerv2_s0": "EfficientFormerV2",
    "efficientvit_b0": "EfficientViT",
    "mobileformer_26m": "Mobile-Former",
    "mobilevit_xxs": "MobileViT",
    "poolformer_s12": "PoolFormer",
    "poolformer_s12_ppaa": "PoolFormer with attention",
    "poolformer_s12_random": "PoolFormer with a frozen mixer",
    "vit_c_1gf": "ViT",
}


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_runs_under_every_proxy(model: str) -> None:
    arch = hvnas.load_arch(model).shrunk().with_(resolution=128)
    assert all(math.isfinite(load_proxy(name).score(arch)) for name in list_proxies())


@pytest.mark.parametrize("name", PROBED)
def test_the_same_seed_gives_the_same_score(name: str) -> None:
    arch = hvnas.load_arch("efficientformer_l1").shrunk()
    proxy = load_proxy(name)
    assert proxy.score(arch, seed=1) == proxy.score(arch, seed=1)
    assert proxy.score(arch, seed=1) != proxy.score(arch, seed=2)


@pytest.mark.parametrize("name", PROBED)
def test_a_bare_program_is_refused_in_one_line(name: str) -> None:
    program = hvnas.load_arch("poolformer_s12").shrunk().lower()
    with pytest.raises(ValueError, match=f"^{name}: needs a network to run.*pass its Arch$"):
        load_proxy(name).score(program)


def test_counts_are_those_of_the_program() -> None:
    arch = hvnas.load_arch("vit_c_1gf").shrunk()
    program = arch.lower()
    written = sum(op.out_count for op in program.ops if op.kind in ("conv", "linear", "matmul"))
    maps = sum(op.out_count for op in program.ops if op.kind == "matmul")
    assert maps > 0
    assert load_proxy("params").score(program) == program.params
    assert load_proxy("macs").score(arch) == program.macs
    assert load_proxy("acts").score(arch) == written
    assert load_proxy("free").score(arch) == pytest.approx(math.log(program.params) + math.log(written))


def test_names() -> None:
    assert list_proxies()[: len(COUNTED) + len(PROBED)] == (*COUNTED, *PROBED)
    assert all(
        isinstance(load_proxy(name), CountedProxy) == (name in COUNTED) for name in (*COUNTED, *PROBED)
    )
    with pytest.raises(ValueError, match=r"naswto.*naswot"):
        load_proxy("naswto")


@pytest.mark.parametrize("name", [*COUNTED, *PROBED])
def test_docstrings_state_source_failure_and_cost(name: str) -> None:
    proxy = load_proxy(name)
    text = (proxy.combine if isinstance(proxy, CountedProxy) else proxy.probe).__doc__ or ""
    assert all(word in text for word in ("Source:", "Known failure:", "Cost:"))


def test_table_places_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([1.0, float("nan"), 5.0, float("inf")])
    broken = registry.ProbedProxy("broken", lambda subject: next(scores))
    monkeypatch.setitem(registry._PROXIES, "broken", broken)
    arch = hvnas.load_arch("poolformer_s12").shrunk()
    (column,) = score_table([arch] * 4, proxies=["broken"])
    assert column.places == [2, 3, 1, 3]
    assert column.failed == 2
    assert (column.seconds > 0).all()
