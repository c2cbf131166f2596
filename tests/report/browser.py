"""A headless Chromium spoken to over a pipe: pages at any width and colour scheme, and what they complain of.

The protocol is that of Chromium's own developer tools: JSON messages that end in a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# It looks for updates and guesses at hosts otherwise; as root it has no sandbox.
_QUIET = """
    --headless --no-sandbox --disable-gpu --disable-quic --disable-background-networking --no-first-run
    --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars
    --remote-debugging-pipe
    """.split()
_SECONDS = 60.0


def find_browser() -> str:
    """The browser's program; skips the test where there is none, or fails it where all tests must run."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        give_up = pytest.fail if os.environ.get("HVNAS_REQUIRE_ALL") else pytest.skip
        give_up("no browser is installed: apt-get install chromium")
    return found


@dataclass
class Page:
    """A page; `complaints` are errors and warnings of its console, `fetched` the addresses it asked for."""

    send: int
    receive: int
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    _number: int = 0
    _rest: bytes = b""
    _loaded: bool = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result, taking note of the events before it."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.send, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
        raise AssertionError(f"no answer to {method}")

    def _messages(self) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            while b"\0" in self._rest:
                message, _, self._rest = self._rest.partition(b"\0")
                told = json.loads(message)
                self._note(told)
                yield told
            if select([self.receive], [], [], 1.0)[0]:
                read = os.read(self.receive, 1 << 20)
                assert read, "the browser has ended"
                self._rest += read

    def _note(self, told: dict[str, Any]) -> None:
        method, said = told.get("method"), told.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.fetched.append(said["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path, *, width: int = 1200, dark: bool = False) -> None:
        """Load a file at a width in CSS pixels; below 600 as a phone with a finger."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844 if phone else 900,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        if not self._loaded:
            next(told for told in self._messages() if told.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, as JSON has it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of the first element that a CSS selector finds."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing() -> Iterator[Page]:
    """A page of a browser that ends with the context."""
    program = find_browser()
    to_browser, ours = os.pipe()
    theirs, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(prefix="hvnas-browser-", ignore_cleanup_errors=True) as profile:
        # It reads commands from handle 3 (bash: other shells know handles up to 9) and answers on handle 4.
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        command = ["bash", "-c", shell, program, *_QUIET, f"--user-data-dir={profile}", "about:blank"]
        silent: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        process = subprocess.Popen(
            command, pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL, **silent
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            page = Page(ours, theirs)
            target = page.call("Target.createTarget", url="about:blank")["targetId"]
            page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            yield page
        finally:
            process.kill()
            process.wait()
            os.close(ours)
            os.close(theirs)
