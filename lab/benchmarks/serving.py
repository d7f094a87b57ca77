# SPDX-License-Identifier: Apache-2.0
"""What it costs that a file is checked before it is handed out: ``python -m benchmarks.serving [--size MB]``.

One web server, with the coordinator's protocol class and limits, hands out one file in three ways: as the coordinator
does; as the framework does, which checks nothing; and as the framework does in pieces of the coordinator's size. They
take turns in the same run, the best of each counts, and what is printed are ratios. The time of the first answer, for
which the file is read in full, stands beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import socket
import tempfile
import time
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response

from folkmoot.artifacts.store import FolderStore
from server.api.files import PIECE, Files
from server.api.parts import EventHub
from server.commands.main import http_server, listen
from server.db.engine import Database
from server.settings import Settings
from server.telemetry.metrics import Metrics

RECEIVED = 1 << 18
"""Bytes that the client takes at a time."""


class _LargerPieces(FileResponse):
    """A file that is not checked, in pieces of the size that the coordinator sends."""

    chunk_size = PIECE


def serve(folder: Path, name: str, listener: socket.socket) -> None:
    """Serve one file of a store in both ways."""
    store = FolderStore(folder / "artifacts")
    files = Files(store, 8, Metrics())
    app = FastAPI()
    app.state.hub = EventHub(Database.open(f"sqlite:///{folder / 'none.sqlite3'}"))

    @app.get("/checked")
    def checked(request: Request) -> Response:
        return files.answer(request, name, "state")

    @app.get("/unchecked")
    def unchecked() -> Response:
        return FileResponse(store.path(name))

    @app.get("/pieces")
    def pieces() -> Response:
        return _LargerPieces(store.path(name))

    settings = Settings(home=folder, rpc_url="http://127.0.0.1:1", keystore=Path("key.json"))
    http_server(app, settings).run(sockets=[listener])


def seconds(port: int, way: str, size: int) -> float:
    """Download the file once."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    connection.request("GET", f"/{way}")
    answer, taken = connection.getresponse(), 0
    while piece := answer.read(RECEIVED):
        taken += len(piece)
    assert (answer.status, taken) == (200, size)
    connection.close()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="megabytes (2^20) of the file")
    parser.add_argument("--repeat", type=int, default=15, help="downloads of each kind; the best counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    size = arguments.size << 20
    with tempfile.TemporaryDirectory(prefix="folkmoot-serving-") as name:
        folder = Path(name)
        stored = FolderStore(folder / "artifacts").put(os.urandom(size))
        hashing = min(_hashing(FolderStore(folder / "artifacts").path(stored.sha256)) for _ in range(3))
        listener = listen("127.0.0.1", 0)
        server = multiprocessing.get_context("fork").Process(
            target=serve, args=(folder, stored.sha256, listener)
        )
        server.start()
        port = int(listener.getsockname()[1])
        try:
            first = seconds(port, "checked", size)
            best = dict.fromkeys(("checked", "unchecked", "pieces"), float("inf"))
            for _ in range(arguments.repeat):
                for way in best:
                    best[way] = min(best[way], seconds(port, way, size))
        finally:
            server.terminate()
            server.join()
    found = {
        "megabytes": arguments.size,
        "unchecked": round(best["unchecked"], 4),
        "checked": round(best["checked"], 4),
        "pieces": round(best["pieces"], 4),
        "speed": round(best["unchecked"] / best["checked"], 3),
        "speedOfPieces": round(best["pieces"] / best["checked"], 3),
        "first": round(first, 4),
        "hashing": round(hashing, 4),
        "load": round(os.getloadavg()[0], 1),
    }
    if arguments.json:
        print(json.dumps(found))
        return
    print(
        f"{arguments.size} MiB, seconds: unchecked {best['unchecked']:.3f}, in pieces of the same size "
        f"{best['pieces']:.3f}, checked {best['checked']:.3f}"
    )
    print(f"speed of a checked answer beside an unchecked one: {found['speed']}")
    print(f"beside an unchecked one in pieces of the same size: {found['speedOfPieces']}")
    print(f"first answer, for which the file is read in full: {first:.3f} (hashing alone {hashing:.3f})")
    print(f"load {found['load']}")


def _hashing(path: Path) -> float:
    began = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
