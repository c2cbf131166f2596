"""The search for EfficientFormer's layouts, and random members of equal latency."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvnas.space import load_space
from hvnas.studies.rediscovery import rediscover_efficientformer
from hvnas.studies.rediscovery.efficientformer import Rediscovery, RefitWithFamily, blamed
from hvnas.studies.rediscovery.members import BAND, percentile, random_peers
from hvnas.studies.rediscovery.output import to_csv, to_json, write
from hvnas.studies.rediscovery.patterns import PATTERNS, LayoutOf, forced, patterns_of, shares


def test_it_searches_at_the_model_s_latency_under_every_gate(study: Rediscovery) -> None:
    (model,) = study.models
    assert [finding.gate for finding in model.findings] == ["on", "others", "off"]
    for finding in model.findings:
        assert finding.found.ms <= model.paper.ms
        assert finding.found.top1 > 70
        assert len(finding.seeds) == 2 and finding.front > 5
        assert finding.distance.depth >= 0 and finding.distance.width >= 1


def test_the_gate_keeps_attention_in_the_last_stage(study: Rediscovery) -> None:
    (model,) = study.models
    on, _, off = model.findings
    assert not any(on.found.layout.attending[:3])
    assert on.peers and on.peers.shares["stages 1-2 local"] == 1
    assert off.peers and off.peers.shares["stages 1-2 local"] < 1


def test_missing_patterns_are_searched_for_with_the_family_again(study: Rediscovery) -> None:
    for finding in study.models[0].findings:
        assert bool(finding.blame) == (bool(finding.missing) and finding.gate != "others")
        assert set(blamed(finding)) == (set(finding.missing) if finding.blame else set())


@pytest.mark.parametrize(
    ("back", "said"),
    [
        ({(True, False), (True, True)}, "the surrogate"),
        ({(False, True)}, "the latency"),
        ({(True, False), (False, True)}, "surrogate or latency"),
        ({(True, True)}, "surrogate and latency"),
        (set(), "not what was left out"),
    ],
)
def test_blame_lies_with_what_brings_the_pattern_back(back: set, said: str, study: Rediscovery) -> None:
    finding = study.models[0].findings[0]
    name = next(iter(PATTERNS))
    layout = finding.found.layout
    blame = tuple(
        RefitWithFamily(s, latency, layout, dict.fromkeys(PATTERNS, float((s, latency) in back)))
        for s, latency in ((True, False), (False, True), (True, True))
    )
    lacking = replace(finding, held={**finding.held, name: False}, blame=blame)
    assert blamed(lacking)[name].startswith(said)


def test_peers_lie_in_the_band_and_the_gate_each_once(study: Rediscovery) -> None:
    problem = study.setting.problem(2.0, "on")
    rows = random_peers(problem, ms=2.0, n=150, seed=1, steps=50)
    found = problem.evaluate(rows)
    assert len(rows) == len(np.unique(rows, axis=0)) > 100
    assert (np.abs(np.log(found.ms / 2.0)) <= np.log1p(BAND) + 1e-12).all()
    assert found.inside.all()
    # An empty run weighs as much as all depths together: both are common.
    attending = [sum(LayoutOf.of(problem.space.decode(row)).attending) > 0 for row in rows]
    assert 0.2 < np.mean(attending) < 0.98
    assert np.array_equal(rows, random_peers(problem, ms=2.0, n=150, seed=1, steps=50))


def test_no_member_that_slow_is_said(study: Rediscovery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvnas.studies.rediscovery.members._WAIT", 5)
    with pytest.raises(ValueError, match=r"holds no network of 900\.000 ms"):
        random_peers(study.setting.problem(900.0, "on"), ms=900.0, n=5, seed=0)


def test_percentile_counts_ties_half() -> None:
    assert percentile(2.0, np.array([1.0, 2.0, 2.0, 3.0])) == 50.0


def test_it_becomes_plain_data_a_table_and_a_figure(study: Rediscovery, tmp_path: Path) -> None:
    data = to_json(study)
    assert data["left_out"]["results"] > 20 and data["left_out"]["measurements"] > 5
    assert set(data["models"][0]["paper"]["patterns"].values()) == {True}
    rows = list(csv.DictReader(io.StringIO(to_csv(study))))
    assert [row["network"] for row in rows] == ["paper", "found", "found", "found"]
    assert float(rows[1]["latency_ms"]) <= float(rows[0]["latency_ms"])
    table, figure, stages, slimming = write(study, tmp_path / "out")
    assert table.read_text() == to_csv(study) and figure.stat().st_size > 10_000
    assert [stages.name, slimming.name] == [
        "rediscover-efficientformer-stages.csv",
        "rediscover-efficientformer-slimming.csv",
    ]
    told = list(csv.DictReader(io.StringIO(stages.read_text())))
    assert [(row["gate"], row["stage"]) for row in told] == [
        (g, str(i)) for g in ("on", "off") for i in range(1, 5)
    ]
    assert [row["depth paper"] for row in told[:4]] == ["3", "2", "6", "4"]
    assert len(list(csv.DictReader(io.StringIO(slimming.read_text())))) == sum(
        len(path.stops) for path in study.paths
    )


def test_every_pattern_has_a_probability_over_the_near_optimal(study: Rediscovery) -> None:
    on, others, off = study.models[0].findings
    assert others.near is None
    data = to_json(study)["models"][0]["gates"]
    for finding, written in ((on, data[0]), (off, data[2])):
        near = finding.near
        assert near is not None and len(near) > 10
        assert set(near.patterns) == {*PATTERNS, "all four"}
        assert all(0 <= p <= 1 for p in near.patterns.values())
        assert near.patterns["all four"] <= min(near.patterns[name] for name in PATTERNS)
        for stage, told in zip(near.stages, written["near_optimal"]["stages"], strict=True):
            assert stage.depth.low <= stage.depth.median <= stage.depth.high
            assert told["width"]["median"] == stage.width.median
        assert written["near_optimal"]["networks"] == len(near)
    assert on.near and on.near.patterns["stages 1-2 local"] == 1


def test_the_paper_s_own_space_is_slimmed_to_the_model_s_latency(study: Rediscovery) -> None:
    paper = study.models[0].paper
    assert [path.gate for path in study.paths] == ["on", "off"]
    for path, written in zip(study.paths, to_json(study)["paper_space"], strict=True):
        (stop,) = path.stops
        assert stop.model == "efficientformer_l1" and stop.found.ms <= paper.ms == stop.budget_ms
        assert path.start.ms > stop.found.ms and stop.steps > 10
        assert all(width % 16 == 0 for width in stop.found.layout.widths)
        assert not any(stop.found.layout.attending[:2])
        assert patterns_of(path.start.layout)["4D before 3D"]
        assert written["found"][0]["stages"] == stop.found.layout.stage_texts
    on, off = study.paths
    assert on.start.layout.attending == (0, 0, 0, 8) and off.start.layout.attending == (0, 0, 24, 8)


@pytest.mark.parametrize("field", ["evals", "peers", "seeds"])
def test_counts_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: must be >= 1, got 0"):
        rediscover_efficientformer(**{field: 0})


def test_what_is_missing_has_a_price(study: Rediscovery) -> None:
    for finding in study.models[0].findings:
        assert (finding.price is None) == (finding.blame == ())
        if finding.price is None:
            continue
        price = finding.price
        assert all(patterns_of(price.held.layout).values()) and price.held.ms <= study.models[0].paper.ms
        assert price.points == pytest.approx(finding.found.top1 - price.held.top1, abs=1e-6)
        assert price.sd > 0 and (price.chance > 0.5) == (price.points > 0)


def test_every_network_of_the_forced_space_has_the_four_patterns() -> None:
    whole = load_space("metaformer")
    space = forced(whole)
    rng = np.random.default_rng(0)
    layouts = [LayoutOf.of(space.decode(row)) for row in space.sample(200, rng=rng)]
    assert shares(layouts) == dict.fromkeys((*PATTERNS, "all four"), 1.0)
    for row in space.sample(20, rng=rng):
        whole.encode(space.decode(row))


def test_a_space_without_the_patterns_is_refused() -> None:
    with pytest.raises(ValueError, match="space poolformer: no network of it has all four patterns"):
        forced(load_space("poolformer"))
