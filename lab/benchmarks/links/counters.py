# SPDX-License-Identifier: Apache-2.0
"""Bytes that a process has received and sent, by the kernel's counters: of a device, or of its own TCP connections.

A device counts all headers and everything that is sent again. Connections count what they carry.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from folkmoot.errors import LocalError

_RECEIVED, _SENT = 128, 200  # places of tcpi_bytes_received and tcpi_bytes_sent in Linux's struct tcp_info
_TCP_INFO_BYTES = 256


def device_bytes(device: str, path: Path = Path("/proc/self/net/dev")) -> dict[str, int]:
    """Return what a device of a network namespace has received (``down``) and sent (``up``).

    Raises:
        LocalError: ``no-device``: there is no such device.
    """
    for line in path.read_text().splitlines():
        name, _, values = line.partition(":")
        if name.strip() == device:
            numbers = values.split()
            return {"down": int(numbers[0]), "up": int(numbers[8])}
    raise LocalError(
        f"{path} has no device {device!r}.", remedy="Look at `ip link` for its name.", code="no-device"
    )


def connection_bytes() -> dict[str, int]:
    """Return what the TCP connections that this process has open have received (``down``) and sent (``up``)."""
    counted = {"down": 0, "up": 0}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                if connection.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except OSError:
            continue  # the list's own file, or a connection that has just been closed
        if len(info) >= _SENT + 8:
            counted["down"] += struct.unpack_from("=Q", info, _RECEIVED)[0]
            counted["up"] += struct.unpack_from("=Q", info, _SENT)[0]
    return counted


def since(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    """Return how much was counted between two readings."""
    return {name: now[name] - before[name] for name in now}
