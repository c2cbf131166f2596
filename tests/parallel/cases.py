"""What every kind of pool must do; `make_pool` makes one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import work

from hvnas.parallel import BatchFailed, Failure, Pool, WorkersLost

MakePool = Callable[..., Pool[Any, Any]]


class PoolCases:
    """Subclass with a fixture `make_pool(make, *, workers, retries)`."""

    def test_values_come_in_order_and_the_function_is_made_once_per_worker(
        self, make_pool: MakePool, tmp_path: Path
    ) -> None:
        squares = work.Squares(tmp_path)
        with make_pool(squares, workers=2) as pool:
            assert list(pool.map(range(50))) == [x * x for x in range(50)]
            assert list(pool.map([7])) == [49]
        assert squares.makings() <= 2
        assert squares.calls(7) == 2

    def test_a_slow_batch_holds_back_its_followers_only(self, make_pool: MakePool) -> None:
        with make_pool(work.make_slow_first, workers=2) as pool:
            assert list(pool.map(range(12))) == list(range(12))

    def test_few_more_batches_are_taken_than_are_worked_on(self, make_pool: MakePool, tmp_path: Path) -> None:
        taken = itertools.count()

        def endless() -> Iterator[int]:
            for x in itertools.count():
                next(taken)
                yield x

        with make_pool(work.Squares(tmp_path), workers=2) as pool:
            values = pool.map(endless())
            assert [next(values) for _ in range(30)] == [x * x for x in range(30)]
            assert next(taken) <= 30 + 16
            values.close()
            # What was under way for the one call does not disturb the next.
            assert list(pool.map(range(5))) == [0, 1, 4, 9, 16]

    def test_a_lost_worker_loses_nothing(self, make_pool: MakePool, tmp_path: Path) -> None:
        squares = work.Squares(tmp_path, deadly=(3, 11), times=1)
        with make_pool(squares, workers=2) as pool:
            assert list(pool.map(range(20))) == [x * x for x in range(20)]
        assert (squares.calls(3), squares.calls(11)) == (2, 2)

    def test_a_batch_that_kills_its_workers_fails_alone(self, make_pool: MakePool, tmp_path: Path) -> None:
        squares = work.Squares(tmp_path, deadly=(4,))
        with make_pool(squares, workers=2, retries=1) as pool:
            outcomes = list(pool.outcomes(range(10)))
        failure = outcomes.pop(4)
        assert isinstance(failure, Failure)
        assert (failure.index, failure.attempts) == (4, 2)
        assert "worker was lost" in failure.reason
        assert outcomes == [x * x for x in range(10) if x != 4]

    def test_a_fault_is_tried_again_and_then_told(self, make_pool: MakePool, tmp_path: Path) -> None:
        twice = work.Squares(tmp_path, faulty=(2,), times=2)
        with make_pool(twice, workers=1, retries=2) as pool:
            assert list(pool.map(range(4))) == [0, 1, 4, 9]
        always = work.Squares(tmp_path, faulty=(5,))
        with (
            make_pool(always, workers=1, retries=1) as pool,
            pytest.raises(BatchFailed, match=r"batch 1 failed 2 times: no square of 5"),
        ):
            list(pool.map([6, 5]))

    def test_a_function_that_cannot_be_made_ends_it(self, make_pool: MakePool) -> None:
        with (
            make_pool(work.make_nothing, workers=2) as pool,
            pytest.raises(WorkersLost, match="could not be set up: the data set is missing"),
        ):
            list(pool.map([1]))

    def test_workers_that_die_at_their_start_end_it(self, make_pool: MakePool) -> None:
        with make_pool(work.make_suicide, workers=1) as pool, pytest.raises(WorkersLost, match="in a row"):
            list(pool.map([1]))

    def test_large_batches_and_values_pass(self, make_pool: MakePool) -> None:
        batches = [bytes([97 + i]) * 3_000_000 for i in range(6)]
        with make_pool(work.make_lengths, workers=2) as pool:
            assert list(pool.map(batches)) == [batch.upper() for batch in batches]

    def test_a_closed_pool_says_so(self, make_pool: MakePool) -> None:
        pool = make_pool(work.make_lengths, workers=1)
        pool.close()
        pool.close()
        with pytest.raises(ValueError, match="closed"):
            list(pool.map([b"a"]))
