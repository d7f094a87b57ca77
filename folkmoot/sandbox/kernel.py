# SPDX-License-Identifier: Apache-2.0
"""Put rules into force in the calling process: Landlock, seccomp, capabilities and resource limits of Linux, by ctypes.

What it does can't be undone, and every child inherits it. Files are a matter of Landlock. Network is a matter of
seccomp, because Landlock tells TCP ports apart, but no addresses, and no Unix sockets by path: the process may make
stream sockets only, and each `connect` waits for the monitor, which knows the addresses that are allowed and connects
in the process's place. This module has no rules of its own about what a process may reach.
"""

from __future__ import annotations

import ctypes
import errno
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
from folkmoot.sandbox.rules import DEVICES, SYSTEM, Rules, gpu_devices, python_paths

LEAST_ABI = 3
"""Oldest version of Landlock that guards against writing and truncating: that of Linux 6.2."""

SIGNALS_ABI = 6
"""Version of Landlock that keeps a process from sending signals out of its sandbox: that of Linux 6.12."""

OPEN_FILES = 4096
"""Limit of open files of a process."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_FIFO, _MAKE_SYM = 1 << 10, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract Unix sockets and signals
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH = 1

PDEATHSIG, _CAPBSET_DROP, SUBREAPER, _NO_NEW_PRIVS = 1, 24, 36, 38
_FILTER_WITH_LISTENER = 1 << 3
_ALLOW, _NOTIFY, _ERRNO, _KILL = 0x7FFF0000, 0x7FC00000, 0x00050000, 0x80000000

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machines with a filter, and their number in seccomp."""

# The number of each system call on x86_64 and on aarch64; None where there is none.
CALLS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "prctl": (157, 167),
    "ioctl": (16, 29),
    "prlimit64": (302, 261),
    "seccomp": (317, 277),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}

_WITHOUT_EFFECT = "chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat"
"""Calls that Landlock does not guard and that programs expect to work: they return 0 and change nothing."""

_REFUSED = (
    "bind listen ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise userfaultfd shmget shmat "
    "msgget semget mq_open add_key request_key keyctl bpf perf_event_open unshare setns mount umount2 pivot_root "
    "chroot open_tree move_mount fsopen fsmount mount_setattr open_by_handle_at quotactl inotify_add_watch "
    "fanotify_init fanotify_mark chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr "
    "fremovexattr setxattrat removexattrat file_setattr seccomp"
)
_MISSING = "clone3 io_uring_setup io_uring_enter io_uring_register memfd_create memfd_secret"
"""Calls that programs do without: io_uring would pass by the filter, and clone3 hides its flags from it."""

_ASKED = "connect fork vfork"
"""Calls that wait for the monitor's answer."""

_FIRST_OF_OTHERS = (
    "prlimit64 sched_setaffinity sched_setscheduler sched_setparam sched_setattr migrate_pages move_pages"
)
_SECOND_OF_OTHERS = "setpriority ioprio_set"
"""Calls that change another process if their first or second argument is not 0."""

_NAMESPACES = 0x7E020000
_CLONE_PARENT, _CLONE_THREAD = 0x8000, 0x10000
_MSG_FASTOPEN = 0x20000000
_TIOCSTI = 0x5412

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
    if libc.syscall(number_of("seccomp"), 2, 0, ctypes.byref(action)) != 0:
        return Support(abi, f"Linux {platform.release()} has no seccomp with notifications")
    return Support(abi, "")


def require_support() -> None:
    """Check that this machine can run a sandbox.

    Raises:
        LocalError: It can't.
    """
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
        rules: The rules.
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
    listener = _install_filter(_program())
    socket.send_fds(control, [b"\n"], [listener])
    os.close(listener)


def _limit(rules: Rules) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: rules.disk,
        resource.RLIMIT_NOFILE: OPEN_FILES,
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

    allow([*SYSTEM, *python_paths(), *rules.readable, f"/proc/{os.getpid()}"], _READ)
    allow(rules.listable, _READ_DIR)
    allow(rules.writable, _WRITE)
    # Links and pipes only there: in the other folders, other programs would follow them, or wait for them.
    allow([str(scratch)], _WRITE | _REFER | _MAKE_FIFO | _MAKE_SYM)
    allow(DEVICES, _READ | _WRITE_FILE)
    allow(gpu_devices(), _READ | _WRITE_FILE | _IOCTL_DEV)
    if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise _refused("Landlock", ctypes.get_errno())
    os.close(ruleset)


# The filter of system calls, in the classic BPF of seccomp.

_Code = list[tuple[int, int, int, int]]
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06


def number_of(name: str) -> int:
    """Return the number of a system call on this machine."""
    number = CALLS[name][list(ARCHITECTURES).index(platform.machine())]
    if number is None:
        raise ValueError(f"{platform.machine()} has no system call {name}")
    return number


def _argument(number: int, half: int = 0) -> tuple[int, int, int, int]:
    """Load the lower or the upper half of an argument; both machines are little-endian."""
    return (_LOAD, 0, 0, 16 + 8 * number + 4 * half)


def _return(value: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, value)


def _refuse(error: int) -> tuple[int, int, int, int]:
    return _return(_ERRNO | error)


def _one_of(values: Iterable[int], error: int) -> _Code:
    """Go on if the loaded value is one of these, else refuse."""
    values = list(values)
    tests = [(_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [*tests, _refuse(error)]


def _if_any_bit(bits: int, then: tuple[int, int, int, int]) -> _Code:
    return [(_ANY_BIT, 0, 1, bits), then]


def _answers() -> dict[str, _Code]:
    """Return the part of the filter for each system call that it does not just allow. Each part ends with a return."""
    parts: dict[str, _Code] = {}
    for names, answer in (
        (_WITHOUT_EFFECT, _refuse(0)),
        (_REFUSED, _refuse(errno.EPERM)),
        (_MISSING, _refuse(errno.ENOSYS)),
        (_ASKED, _return(_NOTIFY)),
    ):
        parts |= {name: [answer] for name in names.split()}
    for names, which in ((_FIRST_OF_OTHERS, 0), (_SECOND_OF_OTHERS, 1)):
        own = [_argument(which), *_one_of([0], errno.EPERM), _return(_ALLOW)]
        parts |= dict.fromkeys(names.split(), own)
    stream = [_argument(1), (_AND, 0, 0, 0xF), *_one_of([socket.SOCK_STREAM], errno.EACCES)]
    families = [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6]
    parts["socket"] = [
        *(_argument(0), *_one_of(families, errno.EACCES), *stream),
        *(_argument(2), *_one_of([0, socket.IPPROTO_TCP], errno.EACCES), _return(_ALLOW)),
    ]
    parts["socketpair"] = [*stream, _return(_ALLOW)]
    for name, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        # With this flag a message to an address connects, without `connect`.
        parts[name] = [_argument(flags), *_if_any_bit(_MSG_FASTOPEN, _refuse(errno.EACCES)), _return(_ALLOW)]
    parts["clone"] = [
        *(_argument(0), *_if_any_bit(_NAMESPACES | _CLONE_PARENT, _refuse(errno.EPERM))),
        *(*_if_any_bit(_CLONE_THREAD, _return(_ALLOW)), _return(_NOTIFY)),
    ]
    kept = [PDEATHSIG, SUBREAPER]
    parts["prctl"] = [
        _argument(0),
        *((_EQUAL, 2 - at, 0, value) for at, value in enumerate(kept)),
        *(_return(_ALLOW), _refuse(errno.EPERM)),
    ]
    parts["ioctl"] = [_argument(1), (_EQUAL, 1, 0, _TIOCSTI), _return(_ALLOW), _refuse(errno.EPERM)]
    return parts


def _program() -> _Code:
    machine = platform.machine()
    code: _Code = [
        *((_LOAD, 0, 0, 4), (_EQUAL, 1, 0, ARCHITECTURES[machine]), _return(_KILL)),
        # Refuse x86_64's second set of calls, whose numbers begin at 2^30.
        *((_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, 1 << 30), _refuse(errno.ENOSYS)),
    ]
    for name, part in _answers().items():
        number = CALLS[name][list(ARCHITECTURES).index(machine)]
        if number is not None:
            code += [(_EQUAL, 0, len(part), number), *part]
    return [*code, _return(_ALLOW)]


def _install_filter(code: _Code) -> int:
    """Install the filter; return the descriptor on which the kernel asks about calls."""
    packed = b"".join(struct.pack("=HBBI", *one) for one in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    listener = int(libc.syscall(number_of("seccomp"), 1, _FILTER_WITH_LISTENER, program))
    if listener < 0:
        raise _refused("seccomp", ctypes.get_errno())
    return listener


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
