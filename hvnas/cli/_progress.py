"""How a long job goes: a bar on a terminal, now and then a line elsewhere, both on standard error."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from hvnas import _numbers as numbers
from hvnas._waiting import StopRequest, is_waiting, stops_by
from hvnas.cli._failure import INTERRUPTED, Failure
from hvnas.cli._screen import Screen, clean, is_quiet

if TYPE_CHECKING:
    from hvnas.search.evaluations import Archive
    from hvnas.search.reach import Reach
    from hvnas.search.timed import TimedFront
    from hvnas.train.request import Workers
    from hvnas.train.trainer import Progress, TrainResult

_SECONDS_BETWEEN_LINES = 5.0
# Whoever waits for a search hears of it this soon.
_SECONDS_TO_FIRST_LINE = 0.5


class _Bar:
    """How much of a job is done: a bar on a terminal, elsewhere a line at times. A context."""

    def __init__(self, noun: str, *, with_time: bool = False) -> None:
        self._noun, self._with_time = noun, with_time
        self._screen = Screen(errors=True)
        self._bar: Any = None
        self._task: Any = None
        self._last = self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, done: int, total: int | None, *, text: str, line: str) -> None:
        """Move the bar, with `text` beside it, or print `line` where the last one is some seconds old."""
        if self._screen.is_terminal:
            self._move(done, total, clean(text))
        elif time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._screen.line(line)

    def _move(self, done: int, total: int | None, text: str) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn(self._noun),
                BarColumn(),
                MofNCompleteColumn(),
                *([TimeElapsedColumn()] if self._with_time else []),
                TextColumn("{task.fields[text]}", markup=False),
                console=self._screen.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._noun, total=total, text="")
        self._bar.update(self._task, completed=done, total=total, text=text)


class Watcher(_Bar):
    """Shows a search's progress; the range of reachable latencies goes to `report` before it starts.

    On a terminal it says at once that the search is being prepared.
    """

    def __init__(self, report: Screen) -> None:
        super().__init__("searching", with_time=True)
        self._report = report
        self._preparing: Any = None

    def __enter__(self) -> Self:
        if self._screen.is_terminal and not is_quiet():
            self._preparing = self._screen.console.status("preparing the search")
            self._preparing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._prepared()
        super().__exit__()

    def _prepared(self) -> None:
        if self._preparing is not None:
            self._preparing.stop()
            self._preparing = None

    def chosen(self, strategy: str, reason: str) -> None:
        """Say which strategy the search is left to, and why."""
        self._prepared()
        self._report.remark(f"Strategy: {strategy} ({reason})")

    def reachable(self, reach: Reach) -> None:
        """Say what latencies are to be had at all, and start the clock."""
        self._prepared()
        self._report.remark(
            f"Latencies within reach: {numbers.ms(reach.min_ms)} to {numbers.ms(reach.max_ms)} ms"
        )
        self._last = time.monotonic() - max(_SECONDS_BETWEEN_LINES - _SECONDS_TO_FIRST_LINE, 0.0)

    def failed(self, row: object, reason: str) -> None:
        """Say it at once: a failure is not to be found in a log only."""
        self._prepared()
        self._screen.line(f"a network could not be evaluated: {reason}")

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """Show how many of `evals` networks are evaluated, and the best so far."""
        self._prepared()
        if is_quiet():
            return
        done, best = archive.evaluated, _best(archive)
        share = numbers.percent(done / evals)
        self._show(done, evals, text=best, line=f"{done:,} of {evals:,} evaluated ({share}); {best}")

    def timed(self, front: TimedFront, count: int) -> None:
        """Show how many networks are timed, of at most `count`, and the best that keeps the budget so far."""
        if is_quiet():
            return
        done, best = len(front.timings), front.best
        text = "none keeps the budget yet"
        if best is not None:
            text = f"best measured so far {numbers.ms(float(front.ms[best]))} ms"
        self._show(done, count, text=text, line=f"{done} of up to {count} networks timed; {text}")


def _best(archive: Archive) -> str:
    best = archive.best
    if best is None:
        return "nothing within the budget yet"
    mean, sd = float(best.top1[0]), float(best.sd[0])
    accuracy = f"top-1 {numbers.points(mean, sd)}" if sd else f"score {mean:.4g}"
    return f"best so far {accuracy} at {numbers.ms(float(best.ms[0]))} ms"


class Steps(_Bar):
    """Progress of a job of `total` steps, with the time left.

    `noun` is what is counted: ``models``. Steps that were done before the job began do not count as fast.
    A `total` that is known only later comes with `at`; another one begins another count.
    """

    def __init__(self, noun: str, total: int | None = None) -> None:
        super().__init__(noun)
        self._total = total
        self._first: int | None = None

    def at(self, done: int, doing: str, *, total: int | None = None) -> None:
        """`done` steps are done, and `doing` is next."""
        if is_quiet():
            return
        if total not in (None, self._total):
            self._total, self._first = total, None
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = done, now
        left = self._left(done, now)
        line = f"{done} of {self._total} {self._noun}; {left}; next {doing}"
        self._show(done, self._total, text=f"{left}  {doing}", line=line)

    def _left(self, done: int, now: float) -> str:
        assert self._first is not None and self._total is not None
        if done == self._first:
            return "time left unknown"
        return f"{duration((now - self._started) / (done - self._first) * (self._total - done))} left"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


# Signals: the first SIGINT or SIGTERM asks a long job to stop at its next rest; a second ends it at once.
Result = TypeVar("Result")


@contextmanager
def stopping(request: StopRequest) -> Iterator[None]:
    """While it lasts signals ask for a stop; afterwards they do what they did before.

    The second one raises KeyboardInterrupt, and so does the first where the job waits for something.
    """

    def ask(number: int, _: FrameType | None) -> None:
        at_once = request.code != 0 or is_waiting()
        request.code = 128 + number
        # Before the event: who sees that must not signal once more.
        request.raised = at_once
        request.event.set()
        if at_once:
            raise KeyboardInterrupt
        # A signal may come in the middle of another line that is being written.
        with suppress(RuntimeError):
            Screen(errors=True).line("stopping after the current batch; a second signal stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with stops_by(request):
            yield
    finally:
        for number, handler in before.items():
            # None: it was not set from Python, and cannot be set again from there.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def until_stopped(job: Callable[[Callable[[], bool]], Result | None], *, again: str) -> Result:
    """What `job` comes to. It is given what to ask whether to stop, and returns None where it did.

    Raises Failure with `again`, which says what goes on with it, where it is stopped.
    """
    asked = StopRequest()
    try:
        with stopping(asked):
            result = job(asked.event.is_set)
    except KeyboardInterrupt:
        result = None
    if result is None:
        raise Failure(f"stopped; {again}", code=asked.code or INTERRUPTED)
    return result


def in_steps(
    name: str,
    job: Callable[[Callable[[int, int, str], None], Callable[[], bool]], Result | None],
    *,
    again: str,
) -> Result:
    """What `job` comes to, shown in steps called `name`: it is given what to tell them, and when to stop.

    What it tells is how many are done, of how many, and which is next. Raises Failure as `until_stopped`.
    """

    def stepped(stop: Callable[[], bool]) -> Result | None:
        with Steps(name) as steps:
            return job(lambda done, total, doing: steps.at(done, doing, total=total), stop)

    return until_stopped(stepped, again=again)


# What the commands that train share: how a training goes, and how it ends.
def check_device(workers: Workers) -> None:
    """Raise ValueError, before anything is written, where a training here cannot use the device."""
    if workers.engine == "local":
        from hvnas.train.state import device_of

        device_of(workers.device)


class Trained(Protocol):
    """What a training came to."""

    @property
    def result(self) -> TrainResult:
        """Its epochs, and whether it is through."""


Came = TypeVar("Came", bound=Trained)


class TrainingSteps(Steps):
    """Progress of a training; `of` says whose top-1 it is, where that is not plain."""

    def __init__(self, *, of: str = "") -> None:
        super().__init__("steps")
        self._of = of

    def step(self, at: Progress) -> None:
        """A step is done."""
        if at.top1 is None:
            what = f"{at.images_per_s:.0f} images/s"
        else:
            what = f"val top-1{self._of} {numbers.points(at.top1)}"
        self.at(
            (at.epoch - 1) * at.steps + at.step,
            f"epoch {at.epoch} of {at.epochs}, loss {at.loss:.3f}, {what}",
            total=at.epochs * at.steps,
        )


def run_training(train: Callable[..., Came], *, again: str, of: str = "") -> Came:
    """What ``train(progress=…, stop=…)`` comes to, shown as it goes; `of` as in `TrainingSteps`.

    Raises Failure where it is stopped, with `again`, the command that goes on, or its workers are lost.
    """
    from hvnas.parallel import WorkersLost

    def job(stop: Callable[[], bool]) -> Came | None:
        with TrainingSteps(of=of) as steps:
            came = train(progress=steps.step, stop=stop)
        return came if came.result.finished else None

    try:
        return until_stopped(job, again=f"continue with {again}")
    except WorkersLost as error:
        raise Failure(str(error)) from None
