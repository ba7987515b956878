"""A headless Chromium on the DevTools protocol over two pipes: real keys and screens, and no port to guess.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON and end with a NUL byte.
"""

import base64
import json
import os
import select
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.processes import kill, start_python

# The browser reads from descriptor 3 and writes to 4; the pipes' own numbers may be in each other's way until they are moved up.
_LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
_FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"]
_KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowLeft": (37, ""), "ArrowUp": (38, ""), "ArrowRight": (39, "")}
_KEYS |= {"ArrowDown": (40, ""), "End": (35, ""), "Home": (36, ""), "Tab": (9, "")}


class Browser:
    """One tab. Skips the test where there is no chromium."""

    def __init__(self, profile: Path, seconds: float = 60) -> None:
        program = shutil.which("chromium")
        if program is None:
            pytest.skip("no chromium on this machine")
        self.seconds, self.errors = seconds, list[str]()
        self._profile, self._program = profile, program
        self._number, self._session, self._rest = 0, "", b""
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        there, self._write = os.pipe()
        self._read, back = os.pipe()
        launch = ["-c", _LAUNCH, there, back, self._program, *_FLAGS, f"--user-data-dir={self._profile}"]
        self._process = start_python(*launch, "about:blank", pass_fds=(there, back))
        os.close(there)
        os.close(back)
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Page.enable")
        self.send("Runtime.enable")
        self.screen(1280, 900)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)
        os.close(self._read)
        kill(self._process)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._events.append(answer)

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + self.seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            read = os.read(self._read, 1 << 20)
            assert read, "the browser ended"
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))
        return answer

    def screen(self, width: int, height: int, **media: str) -> None:
        """The size of the window, and media features such as prefers_color_scheme="dark"."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.send("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> float:
        """Go to a page; returns the seconds until it has loaded and drawn a frame."""
        self._navigate("about:blank")  # else another hash of the same page would not load it anew
        start = time.monotonic()
        self._navigate(url)
        self.frame()
        return time.monotonic() - start

    def _navigate(self, url: str) -> None:
        self._events.clear()
        self.send("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._receive())

    def run(self, code: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + self.seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.01)

    def frame(self) -> None:
        """Wait until the page is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def press(self, key: str) -> None:
        code, text = _KEYS.get(key, (0, key))
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, text=text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
        self.frame()

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
