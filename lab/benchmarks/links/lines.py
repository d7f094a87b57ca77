# SPDX-License-Identifier: Apache-2.0
"""Slow lines on one machine: a network namespace a party, joined by a switch, each at the rate of its line.

A party's end and the switch's end of its line are TAP devices. Each sends through `tbf`, so a line has a rate in both
directions, and a thread carries packets from one to the other and holds each back for the line's delay (the kernel has
no `netem` everywhere). Nothing of the machine's own network is changed. A namespace lives as long as its process, which
ends when this one does.

This module knows nothing of what the lines carry.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import selectors
import shutil
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.links.counters import device_bytes
from folkmoot.errors import LocalError

DEVICE = "line"
"""Name of a party's end of its line."""

_SWITCH = "switch"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_TUNSETIFF = 0x400454CA
_TAP = 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI
_FRAME = 2048
_BURST = 8192
_QUEUE = "200ms"
_PRIORITY = -5


@dataclass(frozen=True)
class Line:
    """Rates of a line in Mbit/s, with all headers of Ethernet, IP and TCP."""

    down: float
    up: float


@dataclass
class Party:
    """One end of a line."""

    name: str
    address: str
    """IPv4 address."""
    pid: int
    """Process that holds the namespace."""
    port: str = ""
    """Name of the switch's end of its line."""

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs another one in the namespace."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *words]

    def counted(self) -> dict[str, int]:
        """Return the bytes that the party's device has received (``down``) and sent (``up``)."""
        return device_bytes(DEVICE, Path(f"/proc/{self.pid}/net/dev"))


@dataclass(frozen=True)
class Network:
    """Parties, and the switch that joins them."""

    parties: Mapping[str, Party]
    switch: Party

    def shape(self, name: str, line: Line) -> None:
        """Give a party's line other rates."""
        party = self.parties[name]
        for where, device, rate in ((party, DEVICE, line.up), (self.switch, party.port, line.down)):
            shape = ["rate", f"{rate:g}mbit", "burst", str(_BURST), "latency", _QUEUE]
            _run(where, "tc", "qdisc", "replace", "dev", device, "root", "tbf", *shape)


@contextlib.contextmanager
def joined(names: Sequence[str], delay: float) -> Iterator[Network]:
    """Join parties by lines of a delay in seconds while the block runs. They have no rate until they are shaped.

    Raises:
        LocalError: ``no-namespaces``: this user may not make namespaces or devices, or a program is missing.
    """
    with contextlib.ExitStack() as stack:
        try:
            for program in ("unshare", "nsenter", "ip", "tc"):
                if shutil.which(program) is None:
                    raise OSError(f"the program {program} is missing")
            switch = _namespace(stack, _SWITCH, "10.77.0.254")
            _run(switch, "ip", "link", "add", _SWITCH, "type", "bridge")
            _run(switch, "ip", "link", "set", _SWITCH, "up")
            parties: dict[str, Party] = {}
            carrier = _Carrier(delay)
            for number, name in enumerate(names, 1):
                port = f"port{number}"
                party = parties[name] = _namespace(stack, name, f"10.77.0.{number}", port)
                near, far = _tap(party, DEVICE), _tap(switch, port)
                carrier.add(near, far)
                _run(party, "ip", "address", "add", f"{party.address}/24", "dev", DEVICE)
                _run(switch, "ip", "link", "set", port, "master", _SWITCH)
                for where, device in ((party, DEVICE), (switch, port)):
                    _run(where, "ip", "link", "set", device, "txqueuelen", "10000", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            told = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise LocalError(
                f"The network namespaces of the lines can't be made: {told or error}.",
                remedy="Run it on Linux as root, or as `unshare --map-root-user --net -- python -m benchmarks.links "
                "...`, with iproute2, util-linux and /dev/net/tun. In a container, add the capabilities NET_ADMIN and "
                "SYS_ADMIN. The losses and the tables need no namespaces.",
                code="no-namespaces",
            ) from error
        stack.enter_context(carrier)
        yield Network(parties, switch)


def _namespace(stack: contextlib.ExitStack, name: str, address: str, port: str = "") -> Party:
    """Make a namespace, whose process ends when its input does."""
    holder = subprocess.Popen(
        [str(shutil.which("unshare")), "--net", "--", "sh", "-c", "ip link set lo up && echo && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stack.callback(holder.communicate)
    if holder.stdout is None or not holder.stdout.readline():
        raise OSError(holder.communicate()[1].strip() or "unshare ended")
    return Party(name, address, holder.pid, port)


def _run(party: Party, *words: str) -> None:
    subprocess.run(party.command(words), check=True, capture_output=True, text=True)


def _tap(party: Party, device: str) -> int:
    """Make a TAP device in a namespace; return its file."""
    found: list[int | OSError] = []

    def make() -> None:
        try:
            with Path(f"/proc/{party.pid}/ns/net").open("rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TAP))
            found.append(file)
        except OSError as error:
            found.append(error)

    thread = threading.Thread(
        target=make
    )  # a namespace is a property of a thread; this one ends with the call
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


@dataclass
class _Way:
    """One direction of a line."""

    target: int
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)


class _Carrier:
    """Carries packets between the ends of lines, in a thread, while the block runs."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._ways: dict[int, _Way] = {}
        self._ready = selectors.DefaultSelector()
        self._ends = os.pipe()
        self._ready.register(self._ends[0], selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._carry, name="lines", daemon=True)

    def add(self, one: int, other: int) -> None:
        for source, target in ((one, other), (other, one)):
            self._ways[source] = _Way(target)
            self._ready.register(source, selectors.EVENT_READ)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        os.write(self._ends[1], b"!")
        self._thread.join()
        for file in (*self._ways, *self._ends):
            os.close(file)

    def _carry(self) -> None:
        with contextlib.suppress(
            PermissionError
        ):  # what stands for a cable does not wait for a busy processor
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _PRIORITY)
        while True:
            heads = [way.waiting[0][0] for way in self._ways.values() if way.waiting]
            timeout = max(0.0, min(heads) - time.monotonic()) if heads else None
            for key, _ in self._ready.select(timeout):
                if key.fd == self._ends[0]:
                    return
                way = self._ways[key.fd]
                with contextlib.suppress(BlockingIOError):
                    while True:
                        way.waiting.append((time.monotonic() + self._delay, os.read(key.fd, _FRAME)))
            now = time.monotonic()
            for way in self._ways.values():
                while way.waiting and way.waiting[0][0] <= now:
                    with contextlib.suppress(OSError):  # a full queue drops a packet, as a switch does
                        os.write(way.target, way.waiting.popleft()[1])
