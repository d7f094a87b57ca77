# SPDX-License-Identifier: Apache-2.0
"""An HTTP server with files by sha256, as a mirror's folder is served, whose answers break off or are slow."""

from __future__ import annotations

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class FileServer:
    """Serves files on a free port; a context manager.

    Args:
        files: Bytes by sha256 (64 hex digits).
        ranges: Whether it heeds the header Range.
    """

    def __init__(self, files: dict[str, bytes], *, ranges: bool = True) -> None:
        self.files = files
        self.break_after: list[int] = []
        """Bytes of each of the next answers after which the connection is cut."""
        self.bytes_a_second = 0
        """Speed of the answers; 0 for as fast as possible."""
        self.ranges: list[str | None] = []
        """The header Range of each request for a file that is there."""
        self.sent = 0
        """Bytes of files that were sent."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # Else the end of each answer waits 40 ms for an acknowledgement.

            def do_GET(self) -> None:
                data = owner.files.get(self.path.rpartition("/")[2])
                if data is None or self.path.startswith("/v1/"):
                    self.send_error(404)
                    return
                asked = self.headers.get("Range")
                owner.ranges.append(asked)
                found = re.fullmatch(r"bytes=(\d+)-", asked or "") if ranges else None
                start = int(found[1]) if found else 0
                if found and start >= len(data):
                    self.send_error(416)
                    return
                self.send_response(206 if found else 200)
                self.send_header("Content-Length", str(len(data) - start))
                if found:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                rest = data[start:]
                if owner.break_after:
                    rest = rest[: owner.break_after.pop(0)]
                    self.close_connection = True
                step = max(1, owner.bytes_a_second // 20) if owner.bytes_a_second else len(rest)
                for at in range(0, len(rest), max(1, step)):
                    owner.sent += len(rest[at : at + step])  # Before whoever gets the bytes can ask.
                    self.wfile.write(rest[at : at + step])
                    if owner.bytes_a_second:
                        time.sleep(0.05)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
