# SPDX-License-Identifier: Apache-2.0
"""Put rules into force in the calling process: Landlock, seccomp, capabilities and resource limits of Linux, by ctypes.

What it does can't be undone, and every child inherits it. Files are a matter of Landlock. Network is a matter of
seccomp, because Landlock tells TCP ports apart, but no addresses, and no Unix sockets by path: the process may make
stream sockets only, and each `connect` waits for the monitor, which knows the addresses that are allowed and connects
in the process's place. This module has no rules of its own about what a process may reach.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import LocalError
from folkmoot.sandbox.calls import ARCHITECTURES, CALLS, Code, closing_program, program
from folkmoot.sandbox.rules import DEVICES, OF_ITSELF, SYSTEM, Rules, gpu_devices, python_paths

LEAST_ABI = 3
"""Oldest version of Landlock that guards against writing and truncating: that of Linux 6.2."""

SIGNALS_ABI = 6
"""Version of Landlock that keeps a process from sending signals out of its sandbox: that of Linux 6.12."""

OPEN_FILES = 4096
"""Limit of open files of a process."""

SIGNALS = 1024
"""Limit of waiting signals and timers, which count for all programs of a user together."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_FIFO, _MAKE_SYM = 1 << 10, 1 << 12
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract Unix sockets and signals
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH = 1

PDEATHSIG, _CAPBSET_DROP, SUBREAPER, _NO_NEW_PRIVS = 1, 24, 36, 38
_FILTER_WITH_LISTENER = 1 << 3
_NOTIFY = 0x7FC00000

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Support:
    """What this machine's kernel offers."""

    abi: int
    """Version of Landlock; 0 without it."""
    missing: str
    """Why there can be no sandbox; empty if there can."""

    @property
    def signals(self) -> bool:
        """Whether a process can be kept from sending signals out of its sandbox."""
        return self.abi >= SIGNALS_ABI


def support() -> Support:
    """Return what this machine's kernel offers."""
    if sys.platform != "linux":
        return Support(0, f"the sandbox needs Linux, and this is {platform.system()}")
    if platform.machine() not in ARCHITECTURES:
        return Support(
            0, f"the sandbox knows {' and '.join(ARCHITECTURES)}, and this is {platform.machine()}"
        )
    abi = max(0, int(libc.syscall(_CREATE_RULESET, None, 0, 1)))
    if abi < LEAST_ABI:
        return Support(abi, f"Linux {platform.release()} has no Landlock of version {LEAST_ABI} or newer")
    action = ctypes.c_uint32(_NOTIFY)
    if libc.syscall(CALLS["seccomp"], 2, 0, ctypes.byref(action)) != 0:
        return Support(abi, f"Linux {platform.release()} has no seccomp with notifications")
    return Support(abi, "")


def require_support() -> None:
    """Check that this machine can run a sandbox."""
    missing = support().missing
    if missing:
        raise LocalError(
            f"There can be no sandbox for the training code: {missing}.",
            remedy="Use Linux 6.2 or newer on x86_64 or aarch64, for example in a virtual machine. Or let the code "
            "do all that your account may do, with --without-sandbox.",
            code="no-sandbox",
        )


def enter(rules: Rules, scratch: Path, control: socket.socket) -> None:
    """Put rules into force in this process. It must have one thread.

    Args:
        scratch: Its temporary folder, which it may write.
        control: Connection to the monitor, which gets the descriptor of the filter.

    Raises:
        LocalError: The kernel refused. The process must then end.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise _refused("a process with several threads", 0)
    _limit(rules)
    _prctl(PDEATHSIG, signal.SIGKILL)
    _prctl(SUBREAPER, 1)
    _drop_capabilities()
    _prctl(_NO_NEW_PRIVS, 1)
    _restrict_files(rules, scratch)
    listener = _install_filter(program(), _FILTER_WITH_LISTENER)
    socket.send_fds(control, [b"\n"], [listener])
    _install_filter(closing_program())
    os.close(listener)


def _limit(rules: Rules) -> None:
    limits = {
        resource.RLIMIT_CORE: 1,  # With 0, a crash reports its memory to a program that collects dumps (core(5)).
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_FSIZE: rules.disk,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: SIGNALS,
    }
    if not gpu_devices():  # A GPU's driver reserves far more than it uses. The monitor counts what is used.
        limits[resource.RLIMIT_DATA] = rules.memory
    for which, value in limits.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def _drop_capabilities() -> None:
    """Give up all capabilities, which only an administrator has. A program that is executed later gets none either."""
    for number in range(64):
        # Without capabilities it fails, and there is nothing to give up.
        libc.prctl(_CAPBSET_DROP, number, 0, 0, 0)
    header = struct.pack("=Ii", 0x20080522, 0)
    if libc.capset(header, bytes(24)) != 0:
        raise _refused("dropping capabilities", ctypes.get_errno())


def _restrict_files(rules: Rules, scratch: Path) -> None:
    abi = support().abi
    handled = (1 << (16 if abi >= 5 else 15)) - 1
    attributes = struct.pack("=Q", handled)
    if abi >= 4:
        attributes += struct.pack("=Q", _TCP)
    if abi >= SIGNALS_ABI:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        raise _refused("Landlock", ctypes.get_errno())

    def allow(paths: Iterable[str], rights: int) -> None:
        for path in paths:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue  # Not on this machine.
            wanted = rights & handled
            if not Path(path).is_dir():
                wanted &= _OF_FILES
            rule = struct.pack("=Qi", wanted, descriptor)
            if libc.syscall(_ADD_RULE, ruleset, _RULE_PATH, rule, 0) != 0:
                raise _refused(f"Landlock, for {path}", ctypes.get_errno())
            os.close(descriptor)

    own = (f"/proc/{os.getpid()}/{name}" for name in OF_ITSELF)
    allow([*SYSTEM, *python_paths(), *rules.readable, *own], _READ)
    allow(rules.listable, _READ_DIR)
    allow(rules.writable, _WRITE)
    # Links and pipes only there: in the other folders, other programs would follow them, or wait for them. Nowhere may
    # a file move to another folder (LANDLOCK_ACCESS_FS_REFER): nobody could measure what always moves.
    allow([str(scratch)], _WRITE | _MAKE_FIFO | _MAKE_SYM)
    allow(DEVICES, _READ | _WRITE_FILE)
    allow(gpu_devices(), _READ | _WRITE_FILE | _IOCTL_DEV)
    if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise _refused("Landlock", ctypes.get_errno())
    os.close(ruleset)


def _install_filter(code: Code, flags: int = 0) -> int:
    """Install a filter; return the descriptor on which the kernel asks about calls, if the flags ask for one."""
    packed = b"".join(struct.pack("=HBBI", *one) for one in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    installed = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    descriptor = int(libc.syscall(CALLS["seccomp"], 1, flags, installed))
    if descriptor < 0:
        raise _refused("seccomp", ctypes.get_errno())
    return descriptor


def _prctl(option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise _refused(f"prctl {option}", ctypes.get_errno())


def _refused(what: str, number: int) -> LocalError:
    reason = f": {os.strerror(number)}" if number else ""
    return LocalError(
        f"The sandbox can't be put into force: the kernel refused {what}{reason}.",
        remedy="Nothing of the training code ran. Check with `folkmoot doctor --join`; in a container, allow the "
        "system calls of Landlock and seccomp.",
        code="no-sandbox",
    )
