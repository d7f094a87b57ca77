# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot console`: serve the pages of this installation on this machine."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.output import emit

HOST = "127.0.0.1"


def console(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the pages; 0 for a free one.")] = 8790,
) -> None:
    """Serve the pages on which you vote with a wallet, or check a round, until Ctrl-C.

    Pages and addresses are yours: of this installation, and of --deployment. So the coordinator can't change what you
    see of a proposal. Lists and files come from the coordinator; the page checks proposals, and your wallet's node
    says how they stand. Only programs on this machine reach the pages.

    Example: folkmoot console --coordinator https://coordinator.example --deployment deployment.json
    """
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.runtime.processes import require_free_port
    from folkmoot.web import pages

    deployment = Deployment.load(context().deployment).to_json()
    own = {
        "/vote": (*pages.vote_page(), "text/html; charset=utf-8"),
        "/check": (*pages.check_page(fetches=True), "text/html; charset=utf-8"),
        "/v1/deployment": (json.dumps(deployment | {"own": True}).encode(), "", "application/json"),
    }
    source = context().coordinator.rstrip("/")
    if port:
        require_free_port(port, "the pages", HOST)
    with ThreadingHTTPServer((HOST, port), lambda *of: _Pages(own, source, *of)) as server:
        server.daemon_threads = True
        url = f"http://{HOST}:{server.server_port}"
        emit({"url": url}, f"Vote: {url}/vote", f"Check a round: {url}/check", "Ctrl-C ends it.")
        sys.stdout.flush()
        server.serve_forever()


class _Pages(BaseHTTPRequestHandler):
    """Answers with what is this machine's own, and else with what the coordinator answers."""

    def __init__(self, own: dict[str, tuple[bytes, str, str]], source: str, *of: object) -> None:
        self._own, self._source = own, source
        super().__init__(*of)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with suppress(ConnectionError):  # whoever asked has gone
            if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
                self.send_error(
                    421, "Another site's name leads here: open the address that the command printed."
                )
            elif path == "/":
                self._begin(302, {"Location": "/vote", "Content-Length": "0"})
            elif path in self._own:
                self._answer(200, *self._own[path])
            elif path.startswith("/v1/"):
                self._forward()
            else:
                self.send_error(404, "See /vote and /check.")

    def _forward(self) -> None:
        import httpx

        headers = {"Accept": self.headers.get("Accept", "*/*"), "Accept-Encoding": "identity"}
        begun = False
        try:
            with httpx.stream("GET", self._source + self.path, headers=headers, timeout=30.0) as answer:
                kept = ("content-type", "content-length", "content-disposition")
                headers = {name: answer.headers[name] for name in kept if name in answer.headers}
                self._begin(answer.status_code, headers)
                begun = True
                for part in answer.iter_raw():
                    self.wfile.write(part)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if begun:
                return  # the browser sees that the rest is missing
            detail = f"The coordinator {self._source} can't be reached: {error}."
            problem = {"code": "coordinator-away", "detail": detail, "remedy": "Check --coordinator."}
            self._answer(502, json.dumps(problem).encode(), "", "application/problem+json")

    def _answer(self, status: int, body: bytes, policy: str, kind: str) -> None:
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "X-Content-Type-Options": "nosniff",
        }
        self._begin(status, headers | ({"Content-Security-Policy": policy} if policy else {}))
        self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Cache-Control": "no-store", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing: the command's output is its own."""
