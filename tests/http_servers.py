# SPDX-License-Identifier: Apache-2.0
"""HTTP servers of one test, on a port of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Prints nothing. A test's own handler has the methods for the requests that it expects."""

    disable_nagle_algorithm = True  # Else the end of each answer waits 40 ms for an acknowledgement.

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def asked(self) -> Any:
        """The JSON document that the client sent."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, document: Any, status: int = 200) -> None:
        """Send a JSON document; bytes are sent as they are."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve while the block runs; yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with started(server):
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def started(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server run while the block does. It does not wait for the clients that are still connected."""
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving_folder(folder: Path) -> Iterator[str]:
    """Serve a folder, as a web server that knows nothing of Folkmoot; yield the URL."""

    class Files(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with serving(partial(Files, directory=str(folder))) as url:
        yield url
