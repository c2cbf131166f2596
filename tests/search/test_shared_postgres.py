"""Several searches on one PostgreSQL, a server of its own that the test starts where one is installed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sharing import LANDSCAPE, check_shared, in_processes, proposer, step

from hvnas.search.shared.journal import StorageError

pytestmark = pytest.mark.slow
_PASSWORD = "s3cret-of-the-test"


@dataclass
class Server:
    """A server on a socket in a folder; the folder and the programs belong to `user`, who is not root."""

    programs: Path
    folder: Path
    user: str

    @property
    def url(self) -> str:
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"
        return f"postgresql+{driver}://hvnas:{_PASSWORD}@/postgres?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        if os.geteuid() == 0:
            other = [f"--reuid={self.user}", f"--regid={_group(self.user)}", "--clear-groups"]
            command = ["setpriv", *other, *command]
        # Not a pipe: the server keeps it open, and reading would not end.
        with (self.folder / "output").open("w+") as output:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            output.seek(0)
            assert done.returncode == 0, output.read()

    def make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(_PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, self.user, _group(self.user))
        data = str(self.folder / "data")
        options = ["--auth=scram-sha-256", "--username=hvnas", f"--pwfile={secret}", "--no-sync"]
        self.run("initdb", f"--pgdata={data}", *options)

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        log = str(self.folder / "log")
        self.run("pg_ctl", "start", "--wait", f"--pgdata={self.folder}/data", f"--log={log}", "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "--wait", f"--pgdata={self.folder}/data", "--mode=immediate")


def _group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


def _programs() -> Path | None:
    """Where initdb, pg_ctl and postgres lie together; Debian keeps them off the path."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which("initdb")
    if found is not None:
        places += [Path(found).parent, Path(found).resolve().parent]
    names = ("initdb", "pg_ctl", "postgres")
    return next((place for place in places if all((place / name).is_file() for name in names)), None)


def _lacking() -> str | None:
    """What the test needs and does not find."""
    if _programs() is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    if not any(importlib.util.find_spec(name) for name in ("psycopg", "psycopg2")):
        return "no driver of PostgreSQL is installed: pip install 'psycopg[binary]'"
    return None


def _user() -> str:
    names = [entry.pw_name for entry in pwd.getpwall()]
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    lacking = _lacking()
    if lacking is not None:
        give_up = pytest.fail if os.environ.get("HVNAS_REQUIRE_ALL") else pytest.skip
        give_up(lacking)
    programs = _programs()
    assert programs is not None
    # Not tmp_path: the server's user may not read it, and a socket's path has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="hvnas-pg-") as folder:
        running = Server(programs, Path(folder), _user())
        running.make()
        running.start()
        try:
            yield running
        finally:
            running.stop()


def test_processes_share_a_study_without_duplicates(server: Server) -> None:
    # The tables are made by three at once, too.
    check_shared(in_processes(server.url, 3, evals=30, pause=0.02), evals=30)


def test_a_wrong_password_is_refused_and_not_shown(server: Server) -> None:
    with pytest.raises(StorageError, match=r"cannot be opened .*password authentication failed") as error:
        proposer(server.url.replace(_PASSWORD, "wr0ng-one"))
    assert "wr0ng" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_goes_away_and_comes_back(server: Server) -> None:
    run = proposer(server.url, evals=41)
    known = run.archive.evaluated
    step(run)
    claimed = run.ask()
    assert claimed is not None
    server.stop()
    with pytest.raises(StorageError, match=r"postgresql.*\*\*\*.*does not serve any more") as error:
        run.tell(claimed, LANDSCAPE.problem().evaluate(claimed.row))
    assert _PASSWORD not in str(error.value)
    assert "\n" not in str(error.value)
    state = run.state()
    run.close()
    server.start()
    again = proposer(server.url, evals=41)
    again.replay(state)
    assert again.archive.evaluated == known + 1
    step(again)
    assert again.finish().evaluated == known + 2
