"""A search from its start to the last line printed, for `search` and `resume`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from hvnas._waiting import StopRequest
from hvnas.cli._failure import INFEASIBLE, INTERRUPTED, Failure
from hvnas.cli._progress import Watcher, stopping
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from hvnas.search import InfeasibleBudget, SearchResult
    from hvnas.search.timed import TimedFront


def run_search(search: Callable[[Watcher, Event], SearchResult], *, folder: Path, as_json: bool) -> None:
    """Run `search`, show how it goes, and print what it found.

    Raises Failure where no network meets the budget, and where the search is stopped.
    """
    from hvnas.search import InfeasibleBudget

    # Standard output carries the JSON object and nothing else.
    report = Screen(errors=as_json)
    asked = StopRequest()
    try:
        with stopping(asked), Watcher(report) as watcher:
            result = search(watcher, asked.event)
    except InfeasibleBudget as error:
        if not error.stopped or as_json:
            _print_infeasible(error, as_json=as_json)
        if error.stopped:
            raise Failure(
                f"{_stopped(folder)}; no network is within the budget yet", code=asked.code
            ) from None
        raise Failure(str(error), code=INFEASIBLE) from None
    except KeyboardInterrupt:
        raise Failure(_stopped(folder), code=asked.code or INTERRUPTED) from None
    _print(report, result, as_json=as_json)
    if result.stopped:
        raise Failure(_stopped(folder), code=asked.code)
    if result.timed is not None and result.timed.best is None:
        raise Failure(_none_keeps(result.timed, folder), code=INFEASIBLE)


def _print(report: Screen, result: SearchResult, *, as_json: bool) -> None:
    if as_json:
        print_json(result.to_json())
        return
    from hvnas.cli._outcome import print_outcome

    print_outcome(report, result)


def _none_keeps(timed: TimedFront, folder: Path) -> str:
    count, others = int(timed.timed.sum()), len(timed.timings)
    if not count:
        return (
            f"none of the networks that were timed ({others}) was found by this search; time those that "
            f"hvnas refine {folder} writes"
        )
    return (
        f"none of the {count} networks that were timed keeps {timed.problem.budget_ms:g} ms; time more "
        f"with hvnas refine {folder} or a larger --measure, or give a larger budget"
    )


def _stopped(folder: Path) -> str:
    from hvnas.search.runs.folder import SearchFolder

    if SearchFolder(folder).holds_run:
        return f"stopped; continue with hvnas resume {folder}"
    return "stopped before the search began; nothing was written"


def _print_infeasible(error: InfeasibleBudget, *, as_json: bool) -> None:
    """The fastest network found, or the one that breaks least: on standard error, or as JSON in the place of
    the result.
    """
    if as_json:
        from hvnas.arch import to_dict

        reached = {"latency_ms": error.smallest_ms, "arch": to_dict(error.arch)}
        facts = {"error": str(error), "rule": error.rule, "smallest": reached, "stopped": error.stopped}
        print_json({"best": None, "pareto": [], **facts})
        return
    from hvnas._numbers import ms
    from hvnas.cli._outcome import print_layout

    screen = Screen(errors=True)
    which = "fastest" if error.rule is None else "nearest"
    screen.line(f"The {which} network found takes {ms(error.smallest_ms)} ms:")
    print_layout(screen, error.arch)
