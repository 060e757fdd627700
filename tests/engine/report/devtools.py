"""A local Chromium, driven with the DevTools protocol over a pipe: no driver, no port."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

ANSWER = 60.0
"""Seconds for one command: on a busy machine a browser starts slowly."""

KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    " ": (32, " "),
    "End": (35, ""),
    "Home": (36, ""),
    "ArrowLeft": (37, ""),
    "ArrowUp": (38, ""),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
}


class Browser:
    """A headless browser until the block ends; it writes into the folder `profile`."""

    def __init__(self, profile: Path) -> None:
        assert BROWSER is not None
        ours, theirs = _pipe(), _pipe()
        self._to, self._from, self._buffer = ours[1], theirs[0], b""
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            # It reads commands from descriptor 3 and answers on 4. dash knows no descriptor above
            # 9.
            [
                *("bash", "-c", f'exec "$0" "$@" 3<&{ours[0]} 4>&{theirs[1]}', BROWSER),
                *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
                *(f"--user-data-dir={profile}", "--no-first-run", "--window-size=1400,900"),
            ],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.send("Browser.close")
            self._process.wait(ANSWER)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._to)
            os.close(self._from)

    def send(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER
        while (answer := self._message(deadline)).get("id") != number:
            pass  # an event
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def open(self, url: str, *, first: str = "", size: tuple[int, int] = (1400, 900)) -> Page:
        """Open a page in a window of `size`. A narrow window is a phone.

        `first` is a script that runs before the page's own.
        """
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        page.send("Page.enable")
        page.send("Emulation.setFocusEmulationEnabled", enabled=True)
        page.send("Page.addScriptToEvaluateOnNewDocument", source=first)
        page.send(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=size[0] < 600,
        )
        page.send("Page.navigate", url=url)
        return page

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._from], [], [], left)
            assert ready, f"the browser did not answer within {ANSWER:g} s"
            found = os.read(self._from, 1 << 20)
            assert found, "the browser has ended"
            self._buffer += found
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


class Page:
    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def send(self, method: str, **parameters: Any) -> Any:
        return self._browser.send(method, self._session, **parameters)

    def says(self, expression: str) -> Any:
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        for key in keys:
            code, text = KEYS[key]
            given = {"key": key, "windowsVirtualKeyCode": code}
            self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **given)
            self.send("Input.dispatchKeyEvent", type="keyUp", **given)

    def prefers(self, feature: str, value: str) -> None:
        self.send("Emulation.setEmulatedMedia", features=[{"name": feature, "value": value}])

    def heard(self) -> list[dict[str, Any]]:
        """Return what a screen reader hears: role, name, and level of a heading."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "role": node["role"]["value"],
                "name": node.get("name", {}).get("value", ""),
                **{one["name"]: one["value"].get("value") for one in node["properties"]},
            }
            for node in _in_order(nodes)
            if not node["ignored"]
        ]


def _in_order(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = {node["nodeId"]: node for node in nodes}
    found, todo = [], [nodes[0]["nodeId"]]
    while todo:
        node = known.get(todo.pop())
        if node is not None:
            found.append(node)
            todo += reversed(node.get("childIds", []))
    return found


def _pipe() -> tuple[int, int]:
    """Return a pipe whose descriptors differ from those that the browser's shell sets."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
