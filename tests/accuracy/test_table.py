"""Tables of published results: what is read of them, what is refused, and the estimator on them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from hvnas.accuracy import load_estimator
from hvnas.accuracy.loading import locate_estimator
from hvnas.accuracy.table import TableEstimator, read_table
from hvnas.arch import load_arch
from hvnas.space import load_space

SPACE = "nas-bench-macro"


def macro(path: Path, *, layers: int = 8) -> Path:
    """A table of NAS-Bench-Macro's form, its top-1 a formula of the digits."""
    keys = map("".join, itertools.product("012", repeat=layers))
    results = {
        key: {"test_acc": [50 + sum(map(int, key)), 51 + sum(map(int, key))], "params": 7, "flops": 5}
        for key in keys
    }
    path.write_text(json.dumps(results), encoding="utf-8")
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_has_a_column_for_each_choice(tmp_path: Path) -> None:
    path = written(
        tmp_path / "t.csv",
        "depth,op,top1,params\n10,conv,60,5\n2,conv,50,4\n10,skip,40,3\n2,skip,30,2\n",
    )
    table = read_table(path)
    assert [(gene.name, gene.values) for gene in table.genes] == [
        ("depth", (2, 10)),
        ("op", ("conv", "skip")),
    ]
    assert table.rows.tolist() == [[1, 0], [0, 0], [1, 1], [0, 1]]
    assert table.top1.tolist() == [60, 50, 40, 30]
    assert table.counts["params"].tolist() == [5, 4, 3, 2]
    assert table.complete and table.sd == 0
    assert table.places(np.array([[0, 1], [1, 0]], dtype=np.int16)).tolist() == [3, 0]


def test_trainings_are_averaged_unless_one_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "op,acc1,acc2,flops\na,60,62,9\nb,50,50,8\n")
    table = read_table(path)
    assert table.top1.tolist() == [61, 50]
    assert table.sd == pytest.approx((2 / 2 / 2) ** 0.5)
    assert table.counts["macs"].tolist() == [9, 8]
    assert read_table(path, value="acc2").top1.tolist() == [62, 50]


def test_characters_of_a_key_are_choices(tmp_path: Path) -> None:
    keys = ["".join(key) for key in itertools.product("1234", repeat=5)]
    lines = "".join(f"{key},{key.count('4')}\n" for key in keys)
    table = read_table(written(tmp_path / "t.csv", f"widths,top1\n{lines}"))
    assert [gene.values for gene in table.genes] == [(1, 2, 3, 4)] * 5
    assert table.top1[table.places(np.full((1, 5), 3))] == 5
    found = read_table(macro(tmp_path / "t.json", layers=3))
    assert len(found) == 27 and found.complete
    assert found.top1[found.places(np.array([[2, 2, 1]]))] == 55.5


def test_what_a_table_lacks_has_no_place(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "t.csv", "a,b,top1\n0,0,1\n1,1,2\n"))
    assert not table.complete
    assert table.places(np.array([[0, 0], [0, 1], [1, 1]])).tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("t.csv", "op,loss\na,1\n", "no column of top-1"),
        ("t.csv", "top1\n1\n", "no column of choices"),
        ("t.csv", "op,top1\na,101\n", "row 2: top1: must be"),
        ("t.csv", "op,top1\na,x\n", "row 2: top1: must be"),
        ("t.csv", "op,top1\n,1\n", "row 2: op: is empty"),
        ("t.csv", "op,top1\na,1\na,2\n", "lists a network twice: op=a"),
        ("t.csv", "k,op,top1\n" + "".join(f"{i}.5,a,1\n" for i in range(300)), "k: holds 300 different"),
        ("t.json", "[]", "must map keys"),
        ("t.json", '{"01": {"test_acc": [1]}, "0": {"test_acc": [1]}}', "has 1 characters where"),
        ("t.json", '{"01": {"acc": 1}, "02": {"loss": 1}}', "'02': acc: missing"),
        ("t.json", '{"01": {"test_acc": [1]}, "02": {"test_acc": [1, 2]}}', "one number of trainings"),
        ("t.json", '{"01": {"test_acc": "high"}}', "'01': test_acc: must be a number"),
        ("t.json", '{"01": {"test_acc": [200]}}', "'01': test_acc: must be"),
        ("t.json", '{"01": {"test_acc": []}}', "at least 1"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(ValueError) as caught:
        read_table(path)
    message = str(caught.value)
    assert said in message and name in message
    assert "\n" not in message and len(message) <= 500


def test_the_estimator_answers_for_members_of_its_space(tmp_path: Path) -> None:
    name = f"table:{macro(tmp_path / 't.json')},space={SPACE}"
    space = load_space(SPACE)
    rows = space.sample(4, rng=np.random.default_rng(0))
    varying = [len(gene.values) > 1 for gene in space.genes]
    estimator = load_estimator(name)
    found = estimator.estimate([space.decode(row) for row in rows])
    assert found.mean.tolist() == [50.5 + row[varying].sum() for row in rows]
    assert found.sd == pytest.approx(np.full(4, 0.5))
    assert "t.json, the mean of 2 trainings" in estimator.meaning
    assert locate_estimator(name).files == ((tmp_path / "t.json").resolve(),)


def test_what_the_estimator_cannot_answer_is_refused(tmp_path: Path) -> None:
    path = macro(tmp_path / "t.json")
    with pytest.raises(ValueError, match="name the space"):
        load_estimator(f"table:{path}")
    with pytest.raises(ValueError, match="8 genes where the space coatnet has 25"):
        load_estimator(f"table:{path},space=coatnet")
    with pytest.raises(ValueError, match="no such file"):
        load_estimator(f"table:{tmp_path / 'none.json'},space={SPACE}")
    space = load_space(SPACE)
    estimator = TableEstimator(read_table(path), space)
    arch = space.decode(space.sample(1, rng=np.random.default_rng(0))[0])
    with pytest.raises(ValueError, match="bare Program"):
        estimator.estimate([arch.lower()])
    with pytest.raises(ValueError, match="does not hold it"):
        estimator.estimate([load_arch("mobilevit_xxs")])


def test_words_are_matched_and_others_refused(tmp_path: Path) -> None:
    words = ("identity", "mb3_k3", "mb6_k5")
    header = ",".join(f"l{i}" for i in range(8)) + ",top1\n"
    row = ",".join([words[2], *[words[0]] * 7])
    table = read_table(written(tmp_path / "t.csv", f"{header}{row},70\n"))
    space = load_space(SPACE)
    best = np.zeros(len(space.genes), dtype=np.int16)
    best[next(i for i, gene in enumerate(space.genes) if len(gene.values) > 1)] = 2
    estimator = TableEstimator(table, space)
    assert estimator.estimate([space.decode(best)]).mean == 70
    with pytest.raises(ValueError, match="does not hold it"):
        estimator.estimate([space.decode(0 * best)])
    other = read_table(written(tmp_path / "o.csv", f"{header}{row.replace('mb6_k5', 'dense')},70\n"))
    with pytest.raises(ValueError, match=r"l0: holds dense where stages\.0\.local\.type"):
        TableEstimator(other, space)
