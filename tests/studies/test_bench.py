"""Strategies on tables of published results: regret, what is refused, and which strategies do well."""

from __future__ import annotations

import itertools
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from hvnas.accuracy.table import read_table
from hvnas.search import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.registry import resolve_strategy, strategy_entry
from hvnas.space import load_space
from hvnas.studies.bench import Curve, TableProblem, bench, outcome, random_needed, run_curve


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,096 networks of six ordered choices, whose top-1 saturates in each and couples two of them."""
    lines = ["a,b,c,d,e,f,top1,flops"]
    for key in itertools.product(range(1, 5), repeat=6):
        x = np.array(key)
        top1 = 80 + (np.sqrt(x) * [1, 2, 3, 1, 2, 0.5]).sum() - 0.8 * (x[0] - x[3]) ** 2
        lines.append(",".join(map(str, (*key, round(float(top1) / 1.2, 3), int(x.sum())))))
    path = tmp_path_factory.mktemp("tables") / "toy.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_regret_is_the_distance_from_the_best_so_far(path: Path) -> None:
    table = read_table(path)
    problem = TableProblem.of(table)
    order = np.argsort(-table.top1)
    for place in (order[9], order[20], order[1], order[0]):
        problem.evaluate(table.rows[place : place + 1])
    gaps = table.top1[order[0]] - table.top1[order]
    expected = [gaps[9], gaps[9], gaps[1], 0, 0]
    assert problem.regret(5) == pytest.approx(np.array(expected))
    curve = Curve("x", 0, problem.regret(5), 0.0)
    assert curve.needed(0.0) == 4 and curve.needed(-1.0) == float("inf")


def test_outcomes_are_medians_over_runs() -> None:
    curves = [Curve("x", i, np.array([r, r / 2]), 1.0) for i, r in enumerate((0.2, 0.4, 1.0))]
    found = outcome(curves, steps=(1, 2, 50), target=0.2)
    assert found.regret == {1: 0.4, 2: 0.2}
    assert (found.needed, found.runs, found.seconds) == (2, 3, 1.0)
    assert outcome(curves, steps=(1,), target=0.01).needed is None


@pytest.mark.parametrize("strategy", ["random", "evolution", "tpe", "nsga2", "predictor", "auto"])
def test_every_strategy_is_asked_one_network_at_a_time_and_none_twice(path: Path, strategy: str) -> None:
    table = read_table(path)
    problem = TableProblem.of(table)
    name = resolve_strategy(problem, 30).name if strategy == "auto" else strategy
    strategy_entry(name).make().run(problem, evals=30, seed=0, progress=Silent(), checkpoint=Checkpoint())
    assert len(problem.asked) == len(set(problem.asked)) == 30
    assert np.array_equal(run_curve(table, strategy, evals=30, seed=0).regret, problem.regret(30))


def test_auto_takes_a_predictor_which_needs_a_third_of_what_random_does(path: Path) -> None:
    """Top-1 alone decides: a batch is then the best of many predictions, not a front of one network."""
    table = read_table(path)
    assert resolve_strategy(TableProblem.of(table), 40).name == "predictor"
    curves = [run_curve(table, "auto", evals=40, seed=seed) for seed in range(5)]
    needed = np.median([curve.needed(0.3) for curve in curves])
    assert needed <= random_needed(table, 0.3) / 3
    assert np.median([curve.regret[-1] for curve in curves]) < 0.1


def test_evolution_of_few_evaluations_beats_random(path: Path) -> None:
    table = read_table(path)
    ends = {
        name: np.median([run_curve(table, name, evals=100, seed=seed).regret[-1] for seed in range(10)])
        for name in ("evolution", "random")
    }
    assert ends["evolution"] < ends["random"] / 2


def test_a_space_tells_strategies_what_the_networks_are(tmp_path: Path) -> None:
    keys = map("".join, itertools.product("012", repeat=8))
    table = tmp_path / "macro.json"
    table.write_text(json.dumps({key: {"test_acc": [50 + key.count("2")]} for key in keys}))
    read, space = read_table(table), load_space("nas-bench-macro")
    problem = TableProblem.of(read, space)
    rows = space.sample(3, rng=np.random.default_rng(0))
    found = problem.evaluate(rows)
    varying = [len(gene.values) > 1 for gene in space.genes]
    assert found.top1.tolist() == [50 + (row[varying] == 2).sum() for row in rows]
    assert found.macs.tolist() == [space.decode(row).lower().macs for row in rows]
    done = bench(table, ["predictor"], space="nas-bench-macro", evals=20, seeds=1)
    assert done.space == "nas-bench-macro" and done.best == 58
    assert list(done.outcomes[0].regret) == [20]


def test_what_does_not_fit_is_refused_before_anything_runs(path: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "part.csv"
    lacking.write_text("a,b,top1\n0,0,1\n1,1,2\n")
    with pytest.raises(ValueError, match=r"part\.csv: holds 2 of 4 combinations"):
        bench(lacking)
    with pytest.raises(ValueError, match="unknown strategy"):
        bench(path, ["none"])
    with pytest.raises(ValueError, match="6 genes where the space nas-bench-macro has 8"):
        bench(path, space="nas-bench-macro")
    for wrong in ({"evals": 0}, {"seeds": 0}, {"target": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            bench(path, **wrong)  # type: ignore[arg-type]


def test_random_needed() -> None:
    class Table:
        top1 = np.array([90.0, 89.9, 80.0, 70.0])

    assert random_needed(Table, 0.2) == pytest.approx(1.0)  # type: ignore[arg-type]
    assert random_needed(Table, 0.0) == pytest.approx(np.log(0.5) / np.log(0.75))  # type: ignore[arg-type]
    assert random_needed(Table, 100.0) == 1.0  # type: ignore[arg-type]


def test_the_script_goes_on_where_it_was_cut(
    path: Path,
    tmp_path: Path,
    repo_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))
    script = import_module("bench_strategies")
    asked = [str(path), "--out", str(tmp_path), "--strategies", "random,evolution,auto,predictor,pymoo"]
    script.main([*asked, "--evals", "10,20", "--seeds", "1"])
    runs = tmp_path / "runs.csv"
    before = runs.read_text(encoding="utf-8")
    # evolution runs for both counts; auto is the predictor, whose run serves both.
    assert before.count("\n") == 1 + 5
    runs.write_text(before[:-12], encoding="utf-8")
    capsys.readouterr()
    script.main([*asked, "--evals", "10,20", "--seeds", "2"])
    after = runs.read_text(encoding="utf-8").splitlines()
    assert after[:5] == before.splitlines()[:5]
    table = read_table(path)
    assert sorted(line.split(",")[1] for line in after[1:]) == sorted(
        ["random", "evolution", "evolution", "predictor", "pymoo"] * 2
    )
    printed = capsys.readouterr().out
    shown = {line.split()[0]: line.split() for line in printed.splitlines() if line.endswith(" 2")}
    assert set(shown) == {"random", "evolution", "auto", "predictor", "pymoo"}
    ends = [run_curve(table, "random", evals=20, seed=seed).regret[-1] for seed in range(2)]
    assert shown["random"][3] == f"{np.median(ends):.3f}"
    assert shown["auto"][1:] == shown["predictor"][1:]
