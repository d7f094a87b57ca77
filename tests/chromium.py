# SPDX-License-Identifier: Apache-2.0
"""A real Chromium without a window, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

CHROMIUM = shutil.which("chromium")
SECONDS = 60.0


class Page:
    """One page."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._session: str | None = None
        self._number = 0
        self.events: list[dict[str, Any]] = []
        self._answering: dict[str, Callable[[Any], Any]] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; events that come meanwhile are kept."""
        number = self._send(method, parameters)
        while True:
            answer: dict[str, Any] = json.loads(self._socket.recv(SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") == "Runtime.bindingCalled":
                self._answer(answer["params"])
            elif "method" in answer and self._session is not None:
                self.events.append(answer)

    def offer(self, name: str, function: Callable[[Any], Any], script: str) -> None:
        """Run a script in each document before its own. In it, ``await call(NAME, value)`` calls a function here."""
        self._answering[name] = function
        self.call("Runtime.addBinding", name=f"__{name}")
        calling = (
            "window.__waiting ??= {}; const call = (name, value) => new Promise(done => {"
            "const id = Math.random().toString(); window.__waiting[id] = done;"
            "window[`__${name}`](JSON.stringify({id, value})); });"
        )
        self.call("Page.addScriptToEvaluateOnNewDocument", source=f"(() => {{ {calling} {script} }})();")

    def _answer(self, asked: dict[str, Any]) -> None:
        payload = json.loads(asked["payload"])
        result = self._answering[asked["name"].removeprefix("__")](payload["value"])
        expression = f"window.__waiting[{json.dumps(payload['id'])}]({json.dumps(result)})"
        self._send("Runtime.evaluate", {"expression": expression})  # nobody looks at what it answers

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        session = {} if self._session is None else {"sessionId": self._session}
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters, **session}))
        return self._number

    def open(self, url: str) -> None:
        """Open a URL, and wait until it is loaded."""
        self.events = []
        self.call("Page.navigate", url=url)
        self.value(
            "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        )

    def value(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise, what it becomes."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def when(self, condition: str) -> None:
        """Wait until an expression is true, which the page's elements decide."""
        shown = self.value(
            "new Promise(done => { const look = () => (" + condition + ") && done(null);"
            f"setTimeout(() => done(document.body.innerText), {1000 * SECONDS / 2});"
            "new MutationObserver(look).observe(document, {subtree: true, childList: true, attributes: true});"
            "look(); })"
        )
        assert shown is None, f"{condition}: it never is; the page says:\n{shown}"

    def drop(self, file: Path) -> None:
        """Drop a file on the page."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=100, y=220, data=data)

    def complaints(self) -> list[str]:
        """Entries of the page's console: errors, and what its content policy refused."""
        self.value("0")
        return [
            json.dumps(one["params"])
            for one in self.events
            if one["method"] in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        ]

    def requests(self) -> list[str]:
        """The URLs that the page has asked for."""
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, file: Path, width: int, *, dark: bool) -> None:
        """Write a picture of the whole page."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.width(width)
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))

    def width(self, pixels: int) -> int:
        """Give the window a width; return how wide the page is in it."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1, mobile=False
        )
        return int(self.value("document.documentElement.scrollWidth"))


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """Start Chromium with a new profile in a folder; yield a page of it."""
    assert CHROMIUM is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    command = [CHROMIUM, *options, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(
                match[1]
                for line in process.stderr
                if (match := re.search("DevTools listening on (ws://.*)", line))
            )
            threading.Thread(target=process.stderr.read, daemon=True).start()  # or it waits for a reader
            with connect(address, max_size=None, open_timeout=SECONDS) as socket:
                yield Page(socket)
        finally:
            process.kill()
