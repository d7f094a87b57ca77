# SPDX-License-Identifier: Apache-2.0
"""Other machines on this one: Linux network namespaces, each with a cable to this machine, for tests.

A program inside sees its own network and, over its cable, this machine: neither the loopback nor the other hosts. Needs
root, iproute2, and a kernel with veth and tbf. Of this machine's network nothing is changed but for the cables' ends.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

NETWORK = "198.18.{}"
"""Networks of the cables, of those that are set aside for tests (RFC 2544)."""


def why_no_hosts() -> str:
    """Why there can't be any; empty if there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "iproute2 is not installed"
    try:
        with hosts(1) as (one,), socket.create_server((one.here, 0)) as server:
            one.narrow(1000)
            port = server.getsockname()[1]
            code = f"import socket; socket.create_connection(({one.here!r}, {port}), 10).close()"
            _run(*one.prefix, sys.executable, "-c", code)  # a firewall may be in between
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    return ""


@dataclass(frozen=True)
class Host:
    """Another machine, and the cable to it."""

    name: str
    """Of its network namespace."""
    cable: str
    """Name of this machine's end."""
    here: str
    """Address of this machine on that cable."""

    @property
    def prefix(self) -> list[str]:
        """Words before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def pull(self) -> None:
        """Pull the cable there: what is sent is lost, and nobody is told."""
        self._ip("link", "set", "eth0", "down")

    def plug(self) -> None:
        """Plug it in again."""
        self._ip("link", "set", "eth0", "up")

    def narrow(self, kbit: int) -> None:
        """Let no more than so many thousand bits a second through, in each direction."""
        limit = ("root", "tbf", "rate", f"{kbit}kbit", "burst", "4kb", "latency", "2s")
        _run("tc", "qdisc", "replace", "dev", self.cable, *limit)
        _run(*self.prefix, "tc", "qdisc", "replace", "dev", "eth0", *limit)

    def _ip(self, *words: str) -> None:
        _run("ip", "-n", self.name, *words)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Make some, and take them away at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(_host(number)) for number in range(1, count + 1)]


_made = itertools.count(1)


@contextmanager
def _host(number: int) -> Iterator[Host]:
    # A name of an interface has 15 characters at most.
    name = f"fm{os.getpid()}x{next(_made)}"
    network = NETWORK.format(number)
    here = f"{network}.1"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "address", "add", f"{here}/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        for words in (
            ("address", "add", f"{network}.2/24", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
        ):
            _run("ip", "-n", name, *words)
        yield Host(name, name, here)
    finally:
        with suppress(subprocess.CalledProcessError):  # it may not be there yet
            _run("ip", "link", "delete", name)  # else it stays for a moment, with its address
        _run("ip", "netns", "delete", name)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=30)
