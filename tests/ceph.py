# SPDX-License-Identifier: Apache-2.0
"""A small Ceph cluster on this machine with its S3 gateway: what people run in production, for tests of the store.

Debian: `apt install --no-install-recommends ceph-mon ceph-osd radosgw ceph-common`. One monitor, one OSD that keeps
everything in memory, one RADOS gateway; no authentication between them, S3's own in front. Ready in about ten seconds.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from folkmoot.runtime.processes import Child, free_port, spawn
from tests import s3

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{port}
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr1 = false
ms mon client mode = crc secure
ms mon cluster mode = crc secure
ms mon service mode = crc secure
run dir = {folder}
log file =
log to stderr = true
err to stderr = true
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
mon data = {folder}/mon
mon allow pool size one = true
# by default a monitor does not start on a disk that is 95 % full; this one needs a few MB
mon data avail warn = 0
mon data avail crit = 0
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class dir = {classes}
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
[client]
rgw data = {folder}
rgw frontends = {frontends}
# the gateway asks for `secure` by itself, which needs the authentication that is switched off
ms mon client mode = crc
"""


def why_no_ceph() -> str:
    """Why it can't be used; empty if it can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{missing[0]} is not on the PATH"
    return "" if list(Path("/usr/lib").glob("*/rados-classes")) else "Ceph's object classes are not installed"


@contextmanager
def ceph(folder: Path, *, certificate: tuple[Path, Path] | None = None) -> Iterator[s3.Server]:
    """Run a cluster until it is not needed any more; with a certificate and its key, over TLS.

    Args:
        folder: An empty folder; its path must be short (sockets are made in it).
        certificate: Files of the certificate and its key.
    """
    port, gateway = free_port(), free_port()
    frontends = f"beast endpoint=127.0.0.1:{gateway}"
    if certificate is not None:
        frontends = (
            f"beast ssl_endpoint=127.0.0.1:{gateway} ssl_certificate={certificate[0]} "
            f"ssl_private_key={certificate[1]}"
        )
    fsid, identity = str(uuid.uuid4()), str(uuid.uuid4())
    (classes,) = map(str, Path("/usr/lib").glob("*/rados-classes"))
    place = folder / "ceph.conf"
    place.write_text(
        CONFIGURATION.format(fsid=fsid, port=port, folder=folder, classes=classes, frontends=frontends)
    )
    (folder / "osd").mkdir()
    environment = {**os.environ, "CEPH_CONF": str(place)}

    def call(*command: str) -> None:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    running: list[Child] = []

    def ask(*command: str) -> None:
        """Have the monitor do something, or say what became of the monitor."""
        try:
            call(*command)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{error}\n{running[0].tail(30)}") from error

    def start(name: str, *command: str) -> None:
        running.append(spawn(name, command, folder / f"{name}.log", environment=environment))

    try:
        call(
            *("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{port}]", "--fsid", fsid),
            str(folder / "monmap"),
        )
        call("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(folder / "monmap"))
        start("mon", "ceph-mon", "-i", "a", "-f")
        ask("ceph", "--connect-timeout", "50", "osd", "new", identity)
        call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        start("osd", "ceph-osd", "-i", "0", "-f")
        call(
            *("radosgw-admin", "user", "create", "--uid=tests", "--display-name=Tests"),
            *(f"--access-key={s3.KEY}", f"--secret-key={s3.SECRET}"),
        )
        start("gateway", "radosgw", "-n", "client.admin", "-f")
        end = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", gateway), 1):
                break
            assert all(child.alive for child in running), running[-1].tail(30)
            assert time.monotonic() < end, running[-1].tail(30)
            time.sleep(0.1)
        yield s3.Server(f"{'https' if certificate else 'http'}://localhost:{gateway}", gateway)
    finally:
        for child in reversed(running):
            child.stop(grace=2)
