"""What a cut, a full disk or a second run leaves of a table that is being measured."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.latency.measure import run as journals
from hvnas.latency.measure.plan import Plan
from hvnas.latency.measure.run import Journal
from hvnas.latency.measure.table import build_table
from hvnas.latency.tables.op_rows import OpTime, WholeTime, read_op_rows, read_whole_rows
from hvnas.ops import Op
from hvnas.testing.latency import FormulaBackend

OPS = [Op("act", (4, size, size), (4, size, size), variant="relu") for size in range(1, 6)]
ROWS = [OpTime(op, 0.5, 0.01, 9, False) for op in OPS]
NETWORK = WholeTime("network", "abc", 4.0, 0.1, 100)


def test_rows_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.yaml")
    journal.add_ops(ROWS[:2])
    journal.add_whole(NETWORK)
    journal.add_ops(ROWS[2:])
    again = Journal(tmp_path / "x.yaml")
    assert again.ops == journal.ops == tuple(ROWS)
    assert again.wholes == (NETWORK,)
    assert read_op_rows(tmp_path / "x.csv") == tuple(ROWS)


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_a_line_goes(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "x.yaml")
    journal.add_ops(ROWS)
    journal.add_whole(NETWORK)
    for path in (journal.ops_path, journal.whole_path):
        os.truncate(path, path.stat().st_size - min(cut, 10 if path is journal.whole_path else cut))
    assert read_op_rows(journal.ops_path, growing=True) == tuple(ROWS[:-1])
    again = Journal(tmp_path / "x.yaml")
    assert (again.ops, again.wholes) == (tuple(ROWS[:-1]), ())
    again.add_ops(ROWS[-1:])
    again.add_whole(NETWORK)
    assert read_op_rows(journal.ops_path) == tuple(ROWS) and again.wholes == (NETWORK,)


def test_half_a_header_goes(tmp_path: Path) -> None:
    for name in ("x.csv", "x.whole.csv"):
        (tmp_path / name).write_text("op,sh", encoding="utf-8")
    journal = Journal(tmp_path / "x.yaml")
    journal.add_ops(ROWS)
    assert Journal(tmp_path / "x.yaml").ops == tuple(ROWS)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("network,a,1,0,5\nnetwork,a,2,0,5\n", "rows 2 and 3: a twice"),
        ("network,a,-1,0,5\n", "row 2: ms: must be > 0, got -1"),
        ("block,b,-0.01,0,5\nnetwork,a,nan,0,5\n", "row 3: ms: must be a finite number, got nan"),
        ("model,a,1,0,5\n", "row 2: kind: must be block or network, got 'model'"),
        ("network,a,1,0\n", "row 2: 4 fields where the header has 5"),
    ],
)
def test_bad_rows_of_networks(tmp_path: Path, lines: str, says: str) -> None:
    path = tmp_path / "x.whole.csv"
    path.write_text("kind,key,ms,spread,macs\n" + lines, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        read_whole_rows(path)
    assert str(caught.value).startswith(f"{path}: {says}")


def test_nothing_is_measured_twice(plan: Plan, tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def stop(done: int, doing: str) -> None:
        if done == 7:
            raise Cut

    backend, path = FormulaBackend(), tmp_path / "host.yaml"
    with pytest.raises(Cut):
        build_table(plan, backend, path, on_step=stop)
    first = dict(backend.timed)
    steps: list[int] = []
    build_table(plan, backend, path, on_step=lambda done, _: steps.append(done))
    assert 40 < len(first) < len(backend.timed) and steps[0] == 7
    keys = {op.key for op in plan.ops} | {arch.hash for arch in plan.networks}
    assert {key: backend.timed[key] for key in keys} == dict.fromkeys(keys, 1)
    assert all(backend.timed[key.name] == 2 for key in plan.blocks)  # at two depths


def test_a_full_disk_is_one_line_and_keeps_the_rows(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, written = tmp_path / "host.yaml", []

    def sync(file: int) -> None:
        written.append(file)
        if len(written) == 10:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journals.os, "fsync", sync)
        with pytest.raises(ValueError, match="No space left on device; what was measured is kept") as caught:
            build_table(plan, FormulaBackend(), path)
    assert "\n" not in str(caught.value) and str(tmp_path / "host.") in str(caught.value)
    kept = read_op_rows(tmp_path / "host.csv", growing=True)
    assert len(kept) >= 40
    backend = FormulaBackend()
    build_table(plan, backend, path)
    assert not {row.op.key for row in kept} & set(backend.timed)
    assert "complete: true" in path.read_text(encoding="utf-8")


def test_a_file_that_may_grow_no_further(plan: Plan, tmp_path: Path) -> None:
    # The system writes as much as fits and then fails: what a full disk does too.
    path, before = tmp_path / "host.yaml", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(ValueError, match=r"host\.csv: File too large; what was measured is kept"):
            build_table(plan, FormulaBackend(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    table = path.with_suffix(".csv").read_bytes()
    assert len(table) == 5000 and not table.endswith(b"\n")
    kept = read_op_rows(path.with_suffix(".csv"), growing=True)
    assert len(kept) == table.count(b"\n") - 1 >= 40
    assert not load_device(path).latency(load_arch("efficientformer_l1").lower()).inside
    backend = FormulaBackend()
    build_table(plan, backend, path)
    assert not {row.op.key for row in kept} & set(backend.timed)
    assert len(read_op_rows(path.with_suffix(".csv"))) == len(plan.ops)


# Where a process dies: at the n-th time that a file is synced, before or after (the first are headers and
# the YAML), or in the middle of the n-th line to be written.
INSTANTS = ["sync 1", "sync 2", "sync 3", "sync 4", "sync 5", "sync 9", "half 1", "half 6", "sync last"]
PROGRAM = """
import os, pickle, signal, sys
from pathlib import Path
from hvnas.latency.measure import run as journal, table
from hvnas.testing.latency import FormulaBackend

folder, instants = Path(sys.argv[1]), sys.argv[2:]
plan = pickle.loads((folder / "plan.pickle").read_bytes())

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def run(instant):
    what, which = instant.split()
    count, sync, append = 0, os.fsync, journal._append
    def dying_sync(file):
        nonlocal count
        count += 1
        die() if what == "sync" and str(count) == which else sync(file)
    def dying_append(path, text):
        nonlocal count
        count += 1
        if str(count) != which:
            return append(path, text)
        with open(path, "a") as file:
            file.write(text[: len(text) // 2])
        die()
    def last(*args, **kwargs):
        die()
    if what == "sync":
        os.fsync = dying_sync
    else:
        journal._append = dying_append
    if which == "last":
        table._fit = last
    (folder / instant).mkdir()
    table.build_table(plan, FormulaBackend(), folder / instant / "host.yaml")

for instant in instants:
    child = os.fork()
    if not child:
        run(instant)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def killed(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders by instant, of processes killed in the middle of measuring."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "plan.pickle").write_bytes(pickle.dumps(plan))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *INSTANTS], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.split(), done.stderr) == ([str(-signal.SIGKILL)] * len(INSTANTS), "")
    return folder


@pytest.mark.parametrize("instant", INSTANTS)
def test_killed(killed: Path, instant: str, plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "run" / "host.yaml"
    shutil.copytree(killed / instant, path.parent)
    rows = read_op_rows(path.with_suffix(".csv"), growing=True) if path.exists() else ()
    if rows:
        device = load_device(path)
        found = device.latency(load_arch("efficientformer_l1").lower())
        assert found.ms > 0 and not found.inside and found.reasons
        assert any("the table is not complete; run hvnas latency measure again" in r for r in found.reasons)
    elif path.exists():
        with pytest.raises(ValueError, match="no op is measured yet; run hvnas latency measure again"):
            load_device(path)
    if instant in ("sync 9", "half 6", "sync last"):
        assert rows
    backend = FormulaBackend()
    build_table(plan, backend, path)
    assert not {row.op.key for row in rows} & set(backend.timed)
    assert load_device(path).latency(load_arch("efficientformer_l1").lower()).inside
    assert len(read_op_rows(path.with_suffix(".csv"))) == len(plan.ops)
