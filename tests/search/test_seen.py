"""The set of seen keys against Python's set."""

from __future__ import annotations

import numpy as np

from hvnas.search.rows import SeenSet, row_keys


def test_behaves_as_a_set() -> None:
    rng = np.random.default_rng(0)
    ours, plain = SeenSet(), set()
    for _ in range(60):
        keys = rng.integers(1, 20_000, size=rng.integers(0, 900)).astype(np.uint64)
        expected = []
        for key in keys.tolist():
            expected.append(key not in plain)
            plain.add(key)
        assert ours.add(keys).tolist() == expected
        assert len(ours) == len(plain)
    assert set(ours.take_unsaved().tolist()) == plain
    assert len(ours.take_unsaved()) == 0


def test_keys_of_rows_differ() -> None:
    grid = np.indices((9,) * 5).reshape(5, -1).T.astype(np.int16)
    keys = row_keys(grid)
    assert len(np.unique(keys)) == len(grid)
    assert keys.all()


def test_keys_are_the_same_everywhere() -> None:
    keys = row_keys(np.array([[0, 1, 2], [7, 0, 300]], dtype=np.int16))
    assert [f"{key:016x}" for key in keys.tolist()] == ["afb7d79e9b2bcc11", "367e38ee19bcaeb5"]
