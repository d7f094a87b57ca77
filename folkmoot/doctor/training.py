# SPDX-License-Identifier: Apache-2.0
"""Checks of what docs/joining.md promises of the training code, one for each sentence, in a sandbox on this machine."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from folkmoot.doctor.check import Check, Finding, failed, ok, warning
from folkmoot.errors import FolkmootError, LocalError
from folkmoot.sandbox import probe
from folkmoot.sandbox.kernel import require_support, support
from folkmoot.sandbox.process import Sandboxed
from folkmoot.sandbox.rules import Rules

SANDBOX = "sandbox"
"""Name of the check that all others need."""

PROMISES = {
    SANDBOX: "The training code runs in a sandbox of the Linux kernel, which this machine has.",
    "files": "The training code can't read your home folder, your key file or the node's folder, apart from what "
    "`join` shows.",
    "writing": "The training code can't write outside of the folders that `join` shows, change the flags of files "
    "there, or keep your other programs from reading them.",
    "environment": "The training code gets none of your environment variables that you did not name, apart from the "
    "search paths of programs and Python, language, time zone, certificates, and settings of threads, GPUs and Flower.",
    "network": "The training code can't connect to an address that `join` does not show, send UDP, or open a port, and "
    "does not see your network's connections and interfaces, or the mounts.",
    "sockets": "The training code can't connect to Unix sockets of your other programs.",
    "programs": "The training code can't read the memory of your other programs, change their priority, or use the "
    "queues, semaphores and shared memory that they have with each other, and can't send them signals.",
    "processes": "The training code can't start more processes than its limit.",
    "memory": "The training code is ended when it uses more memory than its limit.",
    "disk": "The training code is ended when it writes more than its limit, also in files that it has removed.",
    "leftovers": "The training code is ended with all that it started when its message is done.",
}
"""The sentences of docs/joining.md, by the name of their check."""

TIMEOUT = 60.0
"""Seconds that the probe may take."""

_REMEDY = "Do not join on this machine. Tell the authors of Folkmoot, with the kernel's version (`uname -r`)."
_LIMIT = 128 << 20


def training_checks(key: Callable[[], Path], home: Callable[[], Path]) -> list[Check]:
    """Return the checks of the sandbox: of the kernel with the strictest rules, not with the options of `join`.

    They need no key file and no node's folder. Those that are there are tried.

    Args:
        key: Function that returns the path of the key file. It may raise a FolkmootError.
        home: Function that returns the node's folder, which need not exist. It may raise a FolkmootError.
    """
    training = _Training(key, home)
    own = {
        SANDBOX: training.sandbox,
        "memory": training.memory,
        "disk": training.disk,
        "leftovers": training.leftovers,
    }
    return [
        Check(name, own.get(name, partial(training.tried, name)), () if name == SANDBOX else (SANDBOX,))
        for name in PROMISES
    ]


class _Training:
    def __init__(self, key: Callable[[], Path], home: Callable[[], Path]) -> None:
        self._key = key
        self._home = home

    def sandbox(self) -> Finding:
        require_support()
        return ok(PROMISES[SANDBOX])

    def tried(self, name: str) -> Finding:
        worked = self._probed[name]
        if name == "programs" and worked == [probe.SIGNAL] and not support().signals:
            return warning(
                f"{PROMISES[name]} This does not hold for signals: this kernel is older than Linux 6.12, so the code "
                "can end your other programs.",
                "Use Linux 6.12 or newer, or join in a virtual machine.",
            )
        if worked:
            return failed(f"{PROMISES[name]} This does not hold. It could: {', '.join(worked)}.", _REMEDY)
        return ok(PROMISES[name])

    def memory(self) -> Finding:
        code = f"import mmap\nblock = mmap.mmap(-1, {4 * _LIMIT})\nblock.write(bytes({4 * _LIMIT}))\nwhile True: pass"
        reason, output = self._at_limit(code)
        return self._ended("memory", "memory" in reason or "MemoryError" in output)

    def disk(self) -> Finding:
        code = (
            "import tempfile\nfiles = [tempfile.TemporaryFile(buffering=0) for _ in range(8)]\n"
            f"for file in files: file.write(bytes({_LIMIT // 4}))\nwhile True: pass"
        )
        return self._ended("disk", "wrote" in self._at_limit(code)[0])

    def _at_limit(self, code: str) -> tuple[str, str]:
        """Return why the sandbox ended code, and what it printed."""
        command = [sys.executable, "-I", "-c", code]
        with Sandboxed(command, Rules(memory=_LIMIT, disk=_LIMIT), {}) as program:
            program.wait(TIMEOUT)
            return program.monitor.reason, program.output

    def _ended(self, name: str, ended: bool) -> Finding:
        return ok(PROMISES[name]) if ended else failed(f"{PROMISES[name]} This does not hold.", _REMEDY)

    def leftovers(self) -> Finding:
        left = int(self._probed["left"])
        if Path(f"/proc/{left}").exists():
            return failed(f"{PROMISES['leftovers']} This does not hold: process {left} still runs.", _REMEDY)
        return ok(PROMISES["leftovers"])

    @cached_property
    def _probed(self) -> dict[str, Any]:
        """What the probe could do, by check, and the process that it left behind."""
        home, key = _given(self._home), _given(self._key)
        hidden = [Path.home(), *(path for path in (*home, *key) if path.exists())]
        folders = [
            path for path in (Path.home(), Path.cwd(), Path(tempfile.gettempdir()), *home) if path.is_dir()
        ]
        with tempfile.TemporaryDirectory(prefix="folkmoot-probe-") as folder:
            port, abstract, path = (
                socket.socket(family) for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
            )
            with port, abstract, path:
                port.bind(("127.0.0.1", 0))
                abstract.bind(f"\0{folder}")
                path.bind(f"{folder}/socket")
                for server in (port, abstract, path):
                    server.listen()
                given = {
                    "pid": os.getpid(),
                    "port": port.getsockname()[1],
                    "abstract": folder,
                    "unix": f"{folder}/socket",
                    "hidden": [str(path) for path in hidden],
                    "folders": [str(path) for path in folders],
                    "variable": next(iter(set(os.environ) - {"PATH", "HOME", "TMPDIR", "LC_CTYPE"}), "USER"),
                }
                file = str(Path(probe.__file__).resolve())
                rules = Rules(readable=(file,), processes=probe.FORKS // 2)
                command = [sys.executable, "-I", file, json.dumps(given)]
                with Sandboxed(command, rules, {"PATH": os.defpath}) as program:
                    status = program.wait(TIMEOUT)
        if status != 0:
            raise LocalError(
                f"The probe of the sandbox ended with status {status}: {program.output.strip()[-300:] or 'no output'}.",
                remedy=_REMEDY,
                code="probe-failed",
            )
        return dict(json.loads(program.output.splitlines()[-1]))


def _given(find: Callable[[], Path]) -> list[Path]:
    """Return the path that a function finds, if it finds one: an earlier check has reported a missing one."""
    try:
        return [find()]
    except FolkmootError:
        return []
