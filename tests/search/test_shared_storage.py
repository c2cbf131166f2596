"""Storages of shared studies: what names them, what is shown of them, and what happens when they fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sharing import LANDSCAPE, at, proposer, step

from hvnas.search.evaluations import Evaluations
from hvnas.search.shared import storage as optuna_storage
from hvnas.search.shared.journal import StorageError
from hvnas.search.shared.storage import masked, parse_storage
from hvnas.search.shared.trials import EVALUATION, ROW, finished_trial, from_plain, to_plain


class TestStorageThatFails:
    """One line, nothing corrupted, and the search goes on when the storage is back."""

    def test_a_journal_that_goes_away(self, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        run = proposer(f"journal:{path}")
        step(run)
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(
            StorageError, match=r"journal:.*study\.journal: does not serve.*No such file"
        ) as e:
            run.ask()
        assert "\n" not in str(e.value)
        run.close()
        (tmp_path / "elsewhere").rename(path)
        assert proposer(f"journal:{path}").archive.evaluated == 1

    def test_a_journal_whose_place_is_taken(self, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        run = proposer(f"journal:{path}")
        claimed = run.ask()
        assert claimed is not None
        path.rename(tmp_path / "elsewhere")
        path.touch()
        with pytest.raises(StorageError, match="another file has taken its place"):
            run.tell(claimed, LANDSCAPE.problem().evaluate(claimed.row))
        assert path.read_bytes() == b""

    def test_a_database_that_goes_away(self, tmp_path: Path) -> None:
        run = proposer(at("sqlite", tmp_path))
        step(run)
        (tmp_path / "study.db").unlink()
        with pytest.raises(StorageError, match=r"sqlite:///.*study\.db: does not serve any more \(.+\)") as e:
            for _ in range(3):
                step(run)
        assert "\n" not in str(e.value)

    def test_a_full_disk(
        self, tmp_path: Path, limited_to: Callable[[int], AbstractContextManager[None]]
    ) -> None:
        path = tmp_path / "study.journal"
        run = proposer(f"journal:{path}")
        step(run)
        before = path.read_bytes()
        with (
            limited_to(len(before) + 100),
            pytest.raises(StorageError, match=r"No space left|File too large"),
        ):
            run.ask()
        assert path.read_bytes() == before
        assert len(step(run)) == 1

    def test_a_writer_that_died_within_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        run = proposer(f"journal:{path}")
        step(run)
        with path.open("ab") as file:
            file.write(b'{"op_code":4,"worker')
        step(run)
        assert proposer(f"journal:{path}").archive.evaluated == 2

    def test_a_distribution_that_does_not_divide(self, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        step(proposer(f"journal:{path}"))
        of_numbers = {
            "name": "IntDistribution",
            "attributes": {"log": False, "step": 999, "low": 0, "high": 5},
        }
        told = json.dumps(json.dumps(of_numbers)).strip('"')
        damaged, count = re.subn(
            r'\{\\"name\\": \\"Categorical.*?\]\}\}', lambda _: told, path.read_text(), count=1
        )
        assert count
        path.write_text(damaged)
        with pytest.raises(StorageError, match=r"study\.journal: line \d+: not a record of Optuna"):
            proposer(f"journal:{path}")

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for storage in (f"journal:{tmp_path}/file/s.journal", f"sqlite:///{tmp_path}/none/s.db"):
            with pytest.raises(StorageError, match="cannot be opened"):
                proposer(storage)

    def test_a_file_that_is_no_journal(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.log"
        path.write_text("not a journal\nat all\n")
        with pytest.raises(StorageError, match=r"notes\.log: line 1: not JSON; this is not an Opt"):
            proposer(str(path))
        assert path.read_text() == "not a journal\nat all\n"


class TestAddress:
    """What names a storage, and what of it is shown."""

    @pytest.mark.parametrize(
        "text", ["runs/study", "study.db", "redis://host", "journal:", "ftp://a/b", "://"]
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(StorageError, match=r"give journal:PATH, sqlite:///PATH, or a postgresql"):
            parse_storage(text)

    def test_files_are_named_by_their_whole_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert masked("s.journal") == masked("journal:s.journal") == f"journal:{tmp_path}/s.journal"
        assert masked("sqlite:///s.db") == f"sqlite:///{tmp_path}/s.db"
        assert parse_storage(masked("s.log")).journal == tmp_path / "s.log"

    @pytest.mark.parametrize(
        "text",
        [
            "postgresql+psycopg2://ann:s3cr%40t@127.0.0.1:1/hvnas",
            "mysql+pymysql://ann:s3cr%40t@127.0.0.1:1/hvnas",
            "postgresql+psycopg2://127.0.0.1:1/hvnas?user=ann&password=s3cr%40t",
            "postgres://ann:s3cr%40t@127.0.0.1:1/hvnas",
        ],
    )
    def test_a_password_is_never_shown(self, text: str) -> None:
        storage = parse_storage(text)
        assert "***" in masked(text)
        with pytest.raises(StorageError) as error:
            proposer(text)
        for shown in (masked(text), repr(storage), str(error.value)):
            assert "s3cr" not in shown
        assert storage.masked("wrong password s3cr@t for ann") == "wrong password *** for ann"

    def test_a_broken_url_shows_no_password(self) -> None:
        with pytest.raises(StorageError) as error:
            parse_storage("postgresql://ann:s3cret@host:port:1/hvnas")
        assert "s3cret" not in str(error.value)

    def test_a_password_that_was_hidden_is_read_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = "postgresql+psycopg2://ann:s3cret@host/hvnas"
        url = parse_storage(masked(whole)).url
        assert url is not None and url.password is None
        monkeypatch.setenv(optuna_storage.ENVIRONMENT, whole)
        url = parse_storage(masked(whole)).url
        assert url is not None and str(url.password) == "s3cret"
        monkeypatch.setenv(optuna_storage.ENVIRONMENT, "postgresql+psycopg2://ann:s3cret@other/hvnas")
        url = parse_storage(masked(whole)).url
        assert url is not None and url.password is None

    def test_a_missing_driver_is_named_as_pip_calls_it(self) -> None:
        pytest.importorskip("sqlalchemy")
        with pytest.raises(StorageError, match=r"pip install 'mysql-connector-python'"):
            proposer("mysql+mysqlconnector://ann:s3cret@127.0.0.1/hvnas")


def test_an_evaluation_is_kept_to_the_last_bit() -> None:
    rows = LANDSCAPE.space.sample(1, rng=np.random.default_rng(0))
    evaluation = LANDSCAPE.problem().evaluate(rows)
    odd = replace(
        evaluation,
        top1=np.array([np.nan]),
        costs=np.array([[np.inf, 0.1 + 0.2]]),
        more=np.array([[-np.inf, 1e-300]]),
    )
    for whole in (evaluation, odd):
        found = from_plain(to_plain(whole)).arrays()
        for name, array in whole.arrays().items():
            assert np.array_equal(found[name], array, equal_nan=True), name
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
    assert isinstance(from_plain(to_plain(odd)), Evaluations)


@pytest.mark.parametrize(
    "damage",
    [
        {"system_attrs": 3.0},
        {"user_attrs": {ROW: [0, 0]}},
        {"datetime_complete": None},
        {"costs": [1.0]},
        {"costs": [[1.0, 2.0]]},
        {"costs": 1.0},
        {"more": [1.0]},
        {"ms": [1.0, 2.0]},
    ],
    ids=str,
)
def test_a_damaged_trial_is_named(damage: dict[str, Any]) -> None:
    rows = LANDSCAPE.space.sample(1, rng=np.random.default_rng(0))
    plain = to_plain(LANDSCAPE.problem().evaluate(rows))
    whole = {"user_attrs": {ROW: rows[0].tolist(), EVALUATION: plain}, "system_attrs": {}}
    whole |= {"datetime_start": datetime.now(), "datetime_complete": datetime.now()}
    genes, costs, more = rows.shape[1], len(plain["costs"]), len(plain["more"])
    trial = SimpleNamespace(number=7, **whole)
    assert finished_trial(trial, genes, costs=costs, more=more).row.tolist() == rows.tolist()
    if set(damage) <= set(whole):
        trial = SimpleNamespace(number=7, **(whole | damage))
    else:
        plain.update(damage)
    with pytest.raises(ValueError, match=r"^trial 7: \w+: "):
        finished_trial(trial, genes, costs=costs, more=more)
