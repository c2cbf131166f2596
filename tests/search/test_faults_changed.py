"""Runs whose space, device, estimator or configuration changed since."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import yaml
from test_faults import cut, line_of

import hvnas.accuracy.surrogate.own
from hvnas.accuracy import load_estimator
from hvnas.search import resume, search
from hvnas.search.making import estimator_hash, estimator_reference


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, on files of its own for the space, the device and the estimator."""
    home = tmp_path_factory.mktemp("real")
    (home / "own.yaml").write_text("schema: hvnas.space/1\nname: own\nparent: efficientformer\n")
    (home / "own.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hvnas.accuracy.surrogate.own, "load_own", lambda _: load_estimator("surrogate"))
        patched.chdir(home)
        names = {"space": "own.yaml", "device": "iphone12", "estimator": "own.json"}
        search(**names, budget_ms=2.0, strategy="evolution", evals=40, out="run")
        hvnas.accuracy.loading._made.cache_clear()
        assert resume(home / "run").evaluated == 40
    return home


def changed(out: Path, **fields: Any) -> None:
    data = yaml.safe_load((out / "config.yaml").read_text())
    (out / "config.yaml").write_text(yaml.safe_dump(data | fields, sort_keys=False))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"space_hash": "0123"},
            r"^space: /.*own\.yaml has changed since this run began \(hash \w+, was 0123\)",
        ),
        ({"device_hash": "0123"}, r"^device: iphone12 has changed since this run began"),
        ({"device": "nowhere"}, r"unknown device 'nowhere'"),
        ({"estimator_hash": "0123"}, r"^estimator: /.*own\.json has changed since this run began"),
        ({"seed": 5}, r"config\.yaml was changed after the run began"),
    ],
)
def test_what_has_changed_is_named(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], says: str
) -> None:
    monkeypatch.setattr(hvnas.accuracy.surrogate.own, "load_own", lambda _: load_estimator("surrogate"))
    out = tmp_path / "run"
    shutil.copytree(real / "run", out)
    changed(out, **fields)
    before = toy.everything(out)
    with pytest.raises(ValueError, match=says) as caught:
        resume(out)
    line_of(caught)
    assert toy.everything(out) == before


def test_estimators_are_known_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text("1")
    assert estimator_reference("surrogate+a.json") == f"surrogate+{tmp_path / 'a.json'}"
    assert estimator_hash("surrogate") == estimator_hash("train:data=digits,cache=x.json") == ""
    first = estimator_hash("surrogate+a.json")
    Path("a.json").write_text("2")
    assert first != estimator_hash("surrogate+a.json") == estimator_hash(str(tmp_path / "a.json"))


def test_a_changed_evaluation_count_is_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut(out)
    changed(out, evals=4000)
    with pytest.raises(ValueError, match=r"config\.yaml was changed after the run began; put it back"):
        toy.run(out, evals=4000)


# What a configuration may leave out.
WITH_DEFAULTS = "objectives constraints others other_hashes other_margins engine storage".split()


def test_a_configuration_without_the_fields_that_have_defaults_is_taken(real: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(real / "run", out)
    before = toy.outputs(out)
    shutil.rmtree(out / ".state")
    data = yaml.safe_load((out / "config.yaml").read_text()) | {
        "estimator": "surrogate",
        "estimator_hash": "",
    }
    kept = {name: value for name, value in data.items() if name not in WITH_DEFAULTS}
    (out / "config.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))
    (out / ".state").mkdir()
    assert [str(one) for one in resume(out).problem.objectives] == ["top1", "latency_ms"]
    assert toy.outputs(out) == before


def rewrite(out: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Another state in a zip file that is whole: `change` has its arrays and its plain data."""
    path = out / ".state" / "state.npz"
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    meta = json.loads(bytes(arrays.pop("meta")))
    change(arrays, meta)
    whole = io.BytesIO()
    np.savez(whole, meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **arrays)
    path.write_bytes(whole.getvalue())


def drop(meta: dict[str, Any]) -> None:
    """As of an earlier version, which kept no checksum of its arrays."""
    meta.pop("digest")


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "a number": lambda arrays, meta: arrays["front.costs"].__setitem__((0, 0), np.nan),
    "the history": lambda arrays, meta: meta["history"].append([1, float("nan"), 1, 1, 1]),
    "the plain data": lambda arrays, meta: meta.update(evaluated=7),
    "an array without checksum": lambda arrays, meta: (drop(meta), arrays.update({"front.ms": np.zeros(0)})),
    "text without checksum": lambda arrays, meta: (drop(meta), arrays.update(expanded=np.array(["x"]))),
    "infinity without checksum": lambda arrays, meta: (drop(meta), arrays["front.costs"].fill(np.inf)),
    "history without checksum": lambda arrays, meta: (drop(meta), meta.update(history=[[1, 2]])),
    "seconds without checksum": lambda arrays, meta: (
        drop(meta),
        meta.update(history=[[1, float("nan"), 1, 1, 1]]),
    ),
    "no generator": lambda arrays, meta: (drop(meta), meta.update(rng={"bit_generator": 3})),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_state_of_other_contents_is_named(tmp_path: Path, what: str) -> None:
    out = tmp_path / "run"
    cut(out)
    rewrite(out, CHANGES[what])
    with pytest.raises(ValueError, match=r"state\.npz: damaged \(.*\); start the run anew") as caught:
        toy.run(out)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500


@pytest.mark.parametrize(("old", "new"), [("recipe: modern300", "recipe: soup"), ("seed: 0", "seed: true")])
def test_a_wrong_configuration_is_named_on_resume(tmp_path: Path, old: str, new: str) -> None:
    out = tmp_path / "run"
    search("poolformer", budget_ms=3.0, evals=20, strategy="evolution", out=out)
    path = out / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: "):
        resume(out)
