# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls against the kernel's whole table, in the kernel, and nothing is ever carried out.

A process first installs a filter of its own, which answers with an error of its own to each call whose sixth argument
is a certain number, and lets all others pass. Then it installs the sandbox's. Of two filters that answer with an error,
the newer one's counts. So a call with that argument says whether the sandbox refuses it, and it is not carried out
either way.
"""

from __future__ import annotations

import errno
import fcntl
import json
import platform
import re
import socket
import subprocess
import sys
import termios
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from folkmoot.sandbox import calls, kernel
from folkmoot.sandbox.calls import CALLS
from folkmoot.sandbox.rules import gpu_devices

pytestmark = pytest.mark.skipif(
    bool(kernel.support().missing), reason=kernel.support().missing or "there is a sandbox"
)

ROOT = Path(__file__).resolve().parents[3]

ALLOWED = 0x1F5
"""The error of the test's own filter: the sandbox's did not refuse."""

ANSWERED_BEFORE = {335, 336}
"""Numbers of the kernel's own probes on x86_64, which it ends with SIGILL before a filter is asked."""

NOTHING = 0
"""The answer of a call that returns success and does nothing."""

ASKER = f"""
import ctypes, json, sys
from folkmoot.sandbox import calls, kernel
MAGIC, asked = 0x5EED, json.load(sys.stdin)
kernel._prctl(38, 1)
kernel._install_filter([
    (0x20, 0, 0, 16 + 8 * 5), (0x15, 0, 1, MAGIC), (0x06, 0, 0, 0x00050000 | {ALLOWED}), (0x06, 0, 0, 0x7FFF0000),
])
listener = kernel._install_filter(calls.program(), 1 << 3)
if "open" not in sys.argv:
    kernel._install_filter(calls.closing_program())
def ask(number, *arguments):
    words = [ctypes.c_ulong(word) for word in [*arguments, 0, 0, 0, 0, 0][:5]]
    ctypes.set_errno(0)
    done = kernel.libc.syscall(ctypes.c_long(number), *words, ctypes.c_ulong(MAGIC))
    return ctypes.get_errno() if done == -1 else done
print(json.dumps([ask(*one) for one in asked]))
"""


def ask(asked: Iterable[tuple[int, ...]], *words: str) -> list[int]:
    """Return the answers of the sandbox to calls, each a number with arguments."""
    command = [sys.executable, "-c", ASKER, *words]
    done = subprocess.run(
        command,
        cwd=ROOT,
        input=json.dumps(list(asked)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@cache
def header(machine: str) -> dict[str, int]:
    """Return the kernel's table of a machine, from the header of this system."""
    folders = {
        "x86_64": ("/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm", "/usr/lib/linux/uapi/x86/asm"),
        "aarch64": ("/usr/include/aarch64-linux-gnu/asm", "/usr/lib/linux/uapi/arm64/asm"),
    }
    for folder in folders[machine]:
        if (path := Path(folder, "unistd_64.h")).exists():
            found = re.findall(r"^#define __NR_(\w+) (\d+)$", path.read_text(), re.MULTILINE)
            return {name: int(number) for name, number in found}
    return {}


CONDITIONAL = {
    *(
        "socket",
        "socketpair",
        "setsockopt",
        "sendto",
        "clone",
        "close_range",
        "prctl",
        "fcntl",
        "flock",
        "ioctl",
    ),
    *("setpriority", "ioprio_set", *calls._FIRST_IS_OWN.split()),
}
"""Calls whose answer depends on their arguments."""


def names(words: str) -> set[int]:
    return {CALLS[name] for name in words.split() if name in CALLS}


def test_each_number_is_answered_as_the_list_says() -> None:
    """All numbers of the kernel's table, of kernels to come, of x32, and negative ones."""
    numbers = [*range(4096), *(2**shift + low for shift in range(13, 32) for low in range(600)), -1, -(2**31)]
    numbers = [number for number in numbers if number not in ANSWERED_BEFORE]
    conditional = {CALLS[name] for name in CONDITIONAL if name in CALLS}
    expected: dict[int, int] = {
        **dict.fromkeys(CALLS.values(), ALLOWED),
        **dict.fromkeys(names(calls._WITHOUT_EFFECT), NOTHING),
        **dict.fromkeys(names(calls._UNSUPPORTED), errno.ENOSYS),
        **dict.fromkeys(names(calls._AT_ENTRY), errno.EPERM),
        CALLS["fallocate"]: errno.EOPNOTSUPP,
    }
    for number, answer in zip(numbers, ask((number,) for number in numbers), strict=True):
        default = errno.EPERM if 0 <= number <= calls._NEWEST else errno.ENOSYS
        if number not in conditional:
            assert answer == expected.get(number, default), number


def test_only_the_entry_may_send_descriptors_and_install_filters() -> None:
    asked = [(CALLS[name],) for name in calls._AT_ENTRY.split()]
    assert ask(asked, "open") == [ALLOWED] * len(asked)
    assert ask(asked) == [errno.EPERM] * len(asked)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_numbers_are_those_of_the_kernels_header(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = header(machine)
    if not table:
        pytest.skip(f"this system has no header of {machine}")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    ours = calls._numbers()
    assert {name: table.get(name, number) for name, number in ours.items()} == ours
    lines = [line for line in calls._NUMBERS.splitlines() if line[:1] != "#"]
    named = {row.split()[0] for line in lines for row in line.split(",") if row.strip()}
    newest = max(table.values())
    assert {name for name in named - set(ours) if name in table} == set(), "the machine has it"
    assert newest < calls._NEWEST or all(
        name not in ours for name, number in table.items() if number > calls._NEWEST
    )


WHAT_FELL = (
    "msgrcv msgsnd msgctl msgget shmctl shmget shmat shmdt semctl semop semget semtimedop mq_open mq_unlink "
    "mq_timedsend mq_timedreceive mq_notify mq_getsetattr ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp "
    "process_madvise userfaultfd add_key request_key keyctl bpf perf_event_open unshare setns mount umount2 pivot_root "
    "chroot open_tree move_mount fsopen fsmount mount_setattr open_by_handle_at quotactl inotify_add_watch "
    "fanotify_init fanotify_mark chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr "
    "fremovexattr bind listen accept accept4 splice tee vmsplice sendmmsg statmount listmount get_robust_list "
    "name_to_handle_at syslog personality io_setup io_submit migrate_pages reboot kexec_load init_module acct swapon "
    "settimeofday adjtimex clock_settime clock_adjtime sync syncfs setuid setgid setgroups capset process_mrelease"
)


def test_what_reaches_other_programs_is_refused_by_name() -> None:
    table = header(platform.machine())
    asked = [name for name in WHAT_FELL.split() if name in table]
    answers = ask((table[name],) for name in asked)
    assert {name for name, answer in zip(asked, answers, strict=True) if answer == ALLOWED} == set()


STREAM, CLOEXEC = socket.SOCK_STREAM, socket.SOCK_CLOEXEC
NAMESPACES = {7, 17, 25, 26, 27, 28, 29, 30}  # Bits of CLONE_NEWTIME and the others; 7 is of clone3 only.

GPU = bool(gpu_devices())

ARGUMENTS: dict[str, tuple[Sequence[tuple[int, ...]], Any]] = {
    "ioctl": (
        [(9, request) for request in [*range(1 << 16), 0x802C542A, 0x40086602, 0xC0005401]],
        lambda _, request: request in calls._IOCTL or GPU,
    ),
    "fcntl": (
        [(9, command) for command in range(1 << 12)],
        lambda _, command: command in calls._FCNTL + calls._FCNTL_ASKED,
    ),
    "prctl": (
        [(option,) for option in [*range(1 << 12), 0x53564D41, 0x41555856, 0x59616D61]],
        lambda option: option in calls._PRCTL,
    ),
    "flock": ([(9, operation) for operation in range(16)], lambda *_: True),
    "socket": (
        [
            (family, kind, protocol)
            for family in range(48)
            for kind in range(12)
            for protocol in (*range(20), 58, 132, 136, 255, 262)
        ],
        lambda family, kind, protocol: family in (1, 2, 10) and kind == STREAM and protocol in (0, 6),
    ),
    "socketpair": (
        [(family, kind | flags, 0) for family in (1, 2) for kind in range(12) for flags in (0, CLOEXEC)],
        lambda _, kind, __: kind & 15 == STREAM,
    ),
    "setsockopt": (
        [(9, level, name) for level in range(300) for name in range(100)],
        lambda _, level, name: (
            (level == 1 and name in calls._SOCKET_OPTIONS) or (level == 6 and name in calls._TCP_OPTIONS)
        ),
    ),
    "sendto": ([(9, 0, 0, 1 << bit) for bit in range(32)], lambda *words: words[3] != 0x20000000),
    "clone": (
        [(1 << bit,) for bit in range(32)]
        + [(1 << bit | 0x10000,) for bit in range(32)]
        + [(1 << bit | 0x10400,) for bit in range(32)],
        lambda flags: (
            not any(flags & 1 << bit for bit in NAMESPACES - {7} | {13, 15})
            and (not flags & 0x10000 or bool(flags & 0x400))
        ),
    ),
    "close_range": ([(9, 9, flags) for flags in range(8)], lambda _, __, flags: not flags & 2),
    "setpriority": (
        [(a, b, 5) for a in range(5) for b in (0, 1, 2**32 - 1)],
        lambda a, b, _: (a, b) == (0, 0),
    ),
    "ioprio_set": (
        [(a, b, 5) for a in range(5) for b in (0, 1, 2**32 - 1)],
        lambda a, b, _: (a, b) == (1, 0),
    ),
    **{
        name: ([(pid,) for pid in (0, 1, 2**31, 2**32 - 1)], lambda pid: pid == 0)
        for name in calls._FIRST_IS_OWN.split()
    },
}


def test_every_call_with_conditions_is_tried() -> None:
    assert set(ARGUMENTS) == CONDITIONAL


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_answered_as_the_list_says(name: str) -> None:
    tried, allowed = ARGUMENTS[name]
    answers = ask((CALLS[name], *words) for words in tried)
    wrong = [
        words for words, answer in zip(tried, answers, strict=True) if (answer == ALLOWED) != allowed(*words)
    ]
    assert wrong == []


def test_the_lists_hold_no_command_that_reaches_others() -> None:
    """Leases, owners, signals and notices of files; flags of files; the network's addresses; terminals."""
    assert {fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD_CLOEXEC} < set(calls._FCNTL)
    assert set(calls._FCNTL_ASKED) == {fcntl.F_SETLK, fcntl.F_SETLKW}
    assert {termios.TCGETS, termios.FIONBIO, termios.FIOCLEX, termios.FIONREAD} < set(calls._IOCTL)
    assert not {fcntl.F_SETLEASE, fcntl.F_SETOWN, fcntl.F_SETSIG, fcntl.F_NOTIFY} & set(calls._FCNTL)
    assert not {0x40086602, 0x401C5820, 0x8912, termios.TIOCSTI, 0x8901, 0x5452} & set(calls._IOCTL)
