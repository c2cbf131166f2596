"""What ships ready made is what the code works out now, and changes no result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvnas import search
from hvnas._cache import read_facts, read_shipped, ship_facts
from hvnas.accuracy.surrogate.features import COLUMNS
from hvnas.accuracy.surrogate.surrogate import SHIPPED, load_surrogate
from hvnas.arch.files import FACTS, count_models, facts_key, model_facts
from hvnas.latency import list_devices, load_device, registry
from hvnas.latency.rows import fastest_of
from hvnas.ops import MACS, PARAMS
from hvnas.search import make_problem
from hvnas.search.reach import REACH, UNBOUNDED_MS, packed_reach, reach_code, stored_reach
from hvnas.space import FastPath, load_space
from hvnas.space.fastpath import compiled, fastpath, templates
from hvnas.space.sampling import Sampler
from hvnas.space.space import FIXED, encode_models, fixed_key, unpack_fixed

STALE = "out of date: run scripts/compile_tables.py"


@pytest.mark.parametrize("space", ["hybrid-mobile", "coatnet", "mobilevit"])
def test_fixed_points_are_those_of_their_files(space: str) -> None:
    stored = read_shipped(FIXED, fixed_key())
    assert stored is not None, STALE
    loaded = load_space(space)
    names, rows = unpack_fixed(stored, loaded.hash)
    wanted_names, wanted_rows = encode_models(loaded)
    assert names == wanted_names == loaded.fixed_points()
    np.testing.assert_array_equal(rows, wanted_rows)


def test_sizes_are_those_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hybrid-mobile", "coatnet"):
        ready = load_space(name).size
        with monkeypatch.context() as patch:
            patch.setenv("HVNAS_CACHE", "off")
            assert load_space(name).size == ready


def test_facts_of_models_are_those_of_their_files() -> None:
    assert read_facts(FACTS, facts_key()) is not None, STALE
    assert model_facts() == count_models()


def test_facts_of_devices_are_those_of_their_files() -> None:
    stored = read_facts(registry.FACTS, registry.facts_key())
    assert stored is not None, STALE
    assert stored == json.loads(json.dumps(registry.device_facts()))
    assert set(stored) == set(list_devices())


@pytest.mark.parametrize("name", list_devices())
def test_a_device_is_what_its_file_says(name: str) -> None:
    ready, read = load_device(name), registry.read_device(registry.shipped_files()[name])
    assert ready == read
    assert repr(vars(replace(ready, rows=()))) == repr(vars(replace(read, rows=())))
    assert fastest_of(ready.rows) == fastest_of(tuple(read.rows))
    said = registry.summarise_device(name)
    assert (said.name, said.hash, said.info, said.report) == (read.name, read.hash, read.info, read.report)


@pytest.mark.parametrize("damage", ["cut", "other", "none"])
def test_damaged_facts_are_as_good_as_none(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvnas._cache._compiled", lambda: tmp_path)
    path = ship_facts("facts", "key", {"a": [1.5]})
    assert read_facts("facts", "key") == {"a": [1.5]}
    text = path.read_text(encoding="utf-8")
    if damage == "none":
        path.unlink()
    else:
        path.write_text(text[:-1] if damage == "cut" else text.replace("1.5", "2.5"), encoding="utf-8")
    assert read_facts("facts", "key") is None
    assert read_facts("facts", "other key") is None


def test_the_surrogate_is_what_its_evidence_gives() -> None:
    surrogate = load_surrogate()
    stored = read_shipped(SHIPPED, surrogate.shipped_key)
    assert stored is not None, STALE
    shipped, fitted = surrogate.fit, surrogate.refit(surrogate.evidence)
    for found, wanted in zip(
        shipped.predict(surrogate.evidence.features), fitted.predict(surrogate.evidence.features), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", list_devices())
def test_reach_is_known_for_every_device(device: str) -> None:
    assert read_shipped(REACH, reach_code()) is not None, STALE
    problem = make_problem("hybrid-mobile", device, "surrogate", budget_ms=UNBOUNDED_MS)
    assert stored_reach(problem) is not None, STALE


def test_reach_is_what_is_found() -> None:
    problem = make_problem("hybrid-mobile", "iphone12", "surrogate", budget_ms=UNBOUNDED_MS)
    stored, found = read_shipped(REACH, reach_code()), packed_reach(problem)
    assert stored is not None, STALE
    for name, array in found.items():
        np.testing.assert_array_equal(stored[name], array)


def test_reach_is_searched_where_the_budget_asks_for_it() -> None:
    problem = make_problem("hybrid-mobile", "iphone12", "surrogate", budget_ms=0.01)
    assert stored_reach(problem) is None


@pytest.mark.parametrize("device", list_devices())
def test_templates_serve_every_device(device: str) -> None:
    space = load_space("hybrid-mobile")
    path = FastPath(space, [*load_device(device).columns, *COLUMNS, PARAMS, MACS])
    assert path.library.files, STALE
    assert path.library.parts(space.hash) is not None, STALE


def test_templates_give_the_values_that_lowering_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    space = load_space("hybrid-mobile")
    columns = [*load_device("iphone12").columns, *COLUMNS, PARAMS, MACS]
    rows = Sampler(space).propose(300, rng=np.random.default_rng(3))
    ready = FastPath(space, columns)
    monkeypatch.setattr(fastpath, "open_compiled", lambda *_: ())
    lowered = FastPath(space, columns)
    np.testing.assert_array_equal(ready(rows), lowered(rows))
    assert ready.lowered < lowered.lowered / 2


def test_what_a_run_keeps_serves_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVNAS_CACHE", str(tmp_path))
    monkeypatch.setattr(fastpath, "WORTH_KEEPING", 1)
    space = load_space("hybrid-small")
    rows = Sampler(space).propose(60, rng=np.random.default_rng(5))
    columns = [*COLUMNS, PARAMS, MACS]
    compiled.open_compiled.cache_clear()
    first = FastPath(space, columns)
    values = first(rows)
    first.lowered = max(first.lowered, 1)
    assert first.keep()
    compiled.open_compiled.cache_clear()
    second = FastPath(space, columns)
    np.testing.assert_array_equal(second(rows), values)
    assert second.lowered == 0 and sum(part.matched for part in second.parts) == 0
    compiled.open_compiled.cache_clear()


def test_templates_of_other_widths_are_not_taken() -> None:
    path = FastPath(load_space("hybrid-mobile"), [*COLUMNS, PARAMS, MACS])
    files = path.library.files
    assert files, STALE
    key = next(iter(files[0].index))
    assert compiled.Library(files, path.widths).place(key) >= 0
    assert compiled.Library(files, [*path.widths, 10_000]).place(key) == -1


def test_widths_in_that_a_block_rounds_are_no_polynomial() -> None:
    """A block may round what it makes of the channels in, too."""
    _, check = templates._sample_pairs([8, 12, 16, 64], [8, 16, 24, 32, 64], False, known=[])
    assert {i % templates.MODULUS for i, _ in check} >= {4}


def test_a_search_is_the_same_with_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fronts = []
    for name, cache in (("off", "off"), ("first", str(tmp_path / "c")), ("second", str(tmp_path / "c"))):
        monkeypatch.setenv("HVNAS_CACHE", cache)
        compiled.open_compiled.cache_clear()
        out = tmp_path / name
        search("hybrid-small", "iphone12", budget_ms=1.5, evals=400, seed=1, out=out)
        fronts.append([(out / file).read_bytes() for file in ("pareto.csv", "best.yaml")])
    assert fronts[0] == fronts[1] == fronts[2]
