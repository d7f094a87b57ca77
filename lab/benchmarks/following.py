# SPDX-License-Identifier: Apache-2.0
"""What a watcher's history costs it: ``python -m benchmarks.following [--updates 1000 10000 100000] [--each 20]``.

A scripted ledger (`tests/scripted_ledger.py`) in a process of its own serves the logs and the storage of a history;
the real watcher follows it over HTTP with a journal in which every round is right, as after years, so that nothing is
recomputed: what examining a round takes, `benchmarks.watching` says. Times are of the watcher's processor.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.growth.usage import Process, folder_bytes
from folkmoot.fraud.watcher.journal import Checked, Journal
from folkmoot.fraud.watcher.watch import Watcher
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc.client import LedgerReader, Rpc
from tests.logged import log_to
from tests.scripted_ledger import BLOCKS, ScriptedLedger

LOOKS = 5
"""Looks of which the median counts."""


@dataclass(frozen=True)
class Followed:
    """What one watcher took."""

    first: float
    """Processor seconds of its first look."""
    look: float
    """Processor seconds of a look at a chain that has one round more, which the journal was told of."""
    idle: float
    """Processor seconds of a look at a chain that has nothing new."""
    held: float
    """MiB that its process held in the end, beyond what it held before it looked first."""
    peak: float
    """MiB that its process held at most, beyond the same."""
    folder: int
    """Bytes of its folder."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.following", description=__doc__)
    parser.add_argument("--updates", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--each", type=int, default=20, help="updates of a round")
    wanted = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}; processor seconds, MiB beyond what the imports take")
    for updates in wanted.updates:
        with tempfile.TemporaryDirectory() as folder, _served(updates // wanted.each, wanted.each) as served:
            for name in ("from nothing", "started again"):
                found = _in_child(_follow, *served, Path(folder), name == "from nothing")
                print(
                    f"{updates:9,} updates, {name:13}: first look {found.first:7.3f}, one round more {found.look:.4f}, "
                    f"nothing new {found.idle:.4f}; held {found.held:6.1f}, peak {found.peak:6.1f}; "
                    f"folder {found.folder:,} bytes",
                    flush=True,
                )


def _follow(url: str, document: dict[str, Any], folder: Path, fresh: bool) -> Followed:
    """Follow the chain as a watcher does."""
    deployment = Deployment.from_json(document)
    journal = Journal.open(folder, deployment.chain_id, deployment.ledger)
    with Rpc(url) as rpc:
        reader = LedgerReader(rpc, deployment.ledger)
        if fresh:
            _remember(folder, reader, journal)
            journal = Journal.open(folder, deployment.chain_id, deployment.ledger)
        usage = Process(os.getpid())
        reader.next_round()  # what the first request imports is not the history's
        watcher = Watcher([url], deployment, {}, journal, log_to(io.StringIO(), "text"))
        before = usage.forget_peak()
        first = _processor(watcher.look)
        looks, idle = [], []
        for _ in range(LOOKS):
            number = rpc.call("bench_play")
            anchor = reader.round(number).anchor_hash.hex()
            # As when it was examined: a look at a right round ends with this.
            looks.append(_processor(partial(_checked_and_looked, watcher, number, anchor)))
            idle.append(_processor(watcher.look))
        assert watcher.verdict == 0
        watcher.close()
    return Followed(
        first,
        statistics.median(looks),
        statistics.median(idle),
        usage.held() - before,
        usage.peak() - before,
        folder_bytes(folder),
    )


def _remember(folder: Path, reader: LedgerReader, journal: Journal) -> None:
    """Write the journal of a watcher that found all rounds right."""
    journal.note(1, Checked(reader.round(1).anchor_hash.hex(), "right"))
    path = folder / "watch.json"
    written = json.loads(path.read_text())
    for number in range(2, reader.next_round()):
        written["rounds"][str(number)] = {
            **written["rounds"]["1"],
            "anchor": reader.round(number).anchor_hash.hex(),
        }
    path.write_text(json.dumps(written))


def _checked_and_looked(watcher: Watcher, number: int, anchor: str) -> None:
    watcher.journal.note(number, Checked(anchor, "right"))
    watcher.look()


def _processor(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@contextmanager
def _served(rounds: int, each: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Serve a history in another process; give its URL and the deployment file's content."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, rounds, each), daemon=True)
    process.start()
    try:
        yield mine.recv()
    finally:
        process.terminate()
        process.join()


def _serve(told: Connection, rounds: int, each: int) -> None:
    ledger = ScriptedLedger()
    for _ in range(rounds):
        ledger.play(each)
    ledger.mine(BLOCKS)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            play = asked["method"] == "bench_play"
            result = ledger.play(each) if play else ledger.answer(asked["method"], asked["params"])
            ledger.asked.clear()
            data = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.send((f"http://127.0.0.1:{server.server_port}", ledger.deployment.to_json()))
    server.serve_forever()


def _in_child(work: Callable[..., Followed], *arguments: Any) -> Followed:
    """Run in a process of its own, so that no other one's memory counts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


if __name__ == "__main__":
    main()
