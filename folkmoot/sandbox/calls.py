# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls: what training needs is allowed, and all else of the kernel's table is refused.

The list was made from what Python, numpy, OpenBLAS, OpenMP and torch call while they train, and what programs call that
training code starts. A call that this module does not name is refused, also one of a kernel to come. Some calls are
allowed for certain arguments only: the filter sees their numbers, but nothing that a pointer leads to.

The filter is in the classic BPF of seccomp. A search in halves leads from a number to its answer, and the kernel
remembers which numbers it always allows, so an allowed call costs nothing.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import platform
import socket
from collections.abc import Iterable

from folkmoot.sandbox.rules import gpu_devices

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machines with a filter, and their number in seccomp."""

# The number of each call on x86_64 and on aarch64; a line where there is none.
_NUMBERS = """
# reading and writing
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69
pwritev 296 70, preadv2 327 286, pwritev2 328 287, lseek 8 62, open 2 -, openat 257 56, creat 85 -
close 3 57, close_range 436 436, dup 32 23, dup2 33 -, dup3 292 24, pipe 22 -, pipe2 293 59, fcntl 72 25
ioctl 16 29, flock 73 32, fsync 74 82, fdatasync 75 83, sync_file_range 277 84, truncate 76 45
ftruncate 77 46, fallocate 285 47, fadvise64 221 223, readahead 187 213, sendfile 40 71
copy_file_range 326 285
# names of files
stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291, statfs 137 43, fstatfs 138 44
access 21 -, faccessat 269 48, faccessat2 439 439, readlink 89 -, readlinkat 267 78, getdents 78 -
getdents64 217 61, getcwd 79 17, chdir 80 49, fchdir 81 50, mkdir 83 -, mkdirat 258 34, rmdir 84 -
unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, link 86 -, linkat 265 37
symlink 88 -, symlinkat 266 36, mknod 133 -, mknodat 259 33, umask 95 166, getxattr 191 8, lgetxattr 192 9
fgetxattr 193 10, listxattr 194 11, llistxattr 195 12, flistxattr 196 13, chmod 90 -, fchmod 91 52
fchmodat 268 53, fchmodat2 452 452, utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88
# memory
mmap 9 222, munmap 11 215, mprotect 10 226, mremap 25 216, msync 26 227, madvise 28 233, brk 12 214
mlock 149 228, mlock2 325 284, munlock 150 229, mbind 237 235, set_mempolicy 238 237
get_mempolicy 239 236, move_pages 279 239, membarrier 324 283
# processes and threads
clone 56 220, fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, exit 60 93, exit_group 231 94
wait4 61 260, waitid 247 95, kill 62 129, tkill 200 130, tgkill 234 131, pidfd_open 434 434
pidfd_send_signal 424 424, set_tid_address 218 96, set_robust_list 273 99, rseq 334 293, futex 202 98
futex_waitv 449 449, gettid 186 178, getpid 39 172, getppid 110 173, getpgid 121 155, getpgrp 111 -
setpgid 109 154, getsid 124 156, setsid 112 157, getuid 102 174, geteuid 107 175, getresuid 118 148
getgid 104 176, getegid 108 177, getresgid 120 150, getgroups 115 158, capget 125 90, prctl 157 167
arch_prctl 158 -, restart_syscall 219 128
# the processor's time and limits
sched_yield 24 124, sched_getaffinity 204 123, sched_setaffinity 203 122, sched_getscheduler 145 120
sched_setscheduler 144 119, sched_getparam 143 121, sched_setparam 142 118, sched_getattr 315 275
sched_setattr 314 274, sched_get_priority_max 146 125, sched_get_priority_min 147 126
sched_rr_get_interval 148 127, getpriority 140 141, setpriority 141 140, ioprio_get 252 31
ioprio_set 251 30, getcpu 309 168, getrlimit 97 163, setrlimit 160 164, prlimit64 302 261
getrusage 98 165, times 100 153, sysinfo 99 179, uname 63 160, getrandom 318 278
# signals and time
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136
rt_sigtimedwait 128 137, rt_sigsuspend 130 133, sigaltstack 131 132, signalfd 282 -, signalfd4 289 74
pause 34 -, alarm 37 -, getitimer 36 102, setitimer 38 103, time 201 -, gettimeofday 96 169
clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115, nanosleep 35 101
timer_create 222 107, timer_settime 223 110, timer_gettime 224 108, timer_getoverrun 225 109
timer_delete 226 111, timerfd_create 283 85, timerfd_settime 286 86, timerfd_gettime 287 87
# waiting
poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create 213 -, epoll_create1 291 20
epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -
eventfd2 290 19
# network
socket 41 198, socketpair 53 199, connect 42 203, sendto 44 206, sendmsg 46 211, recvfrom 45 207
recvmsg 47 212, shutdown 48 210, getsockname 51 204, getpeername 52 205, getsockopt 55 209
setsockopt 54 208
# not allowed, and named below
seccomp 317 277, clone3 435 435, io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427
memfd_create 319 279, memfd_secret 447 447, openat2 437 437
"""

_UNSUPPORTED = "clone3 openat2 io_uring_setup io_uring_enter io_uring_register memfd_create memfd_secret"
"""Calls that programs do without if there are none, so they are refused as such. io_uring would pass by the filter, and
clone3 and openat2 hide their flags from it."""

_WITHOUT_EFFECT = "chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat"
"""Calls that Landlock does not guard and that programs expect to work: they return 0 and change nothing."""

_ASKED = "connect fork vfork"
"""Calls that wait for the monitor's answer."""

_AT_ENTRY = "seccomp sendmsg"
"""Calls that a process needs until it has sent its filter's descriptor to the monitor, and never again. Files that wait
in a socket would count in no process."""

_NEWEST = 462
"""Newest number that this module knows of. Programs do without what is newer."""

_FIRST_IS_OWN = "prlimit64 sched_setaffinity sched_setscheduler sched_setparam sched_setattr move_pages"
"""Calls that change another process if their first argument is not 0."""

_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1

_PRCTL = (2, 3, 15, 16, 21, 23, 27, 29, 30, 38, 39, 41, 42, 52, 0x41555856, 0x53564D41)
"""Options of `prctl`: questions, the name, timer slack, huge pages, no new privileges, and names of memory."""

_FCNTL = (0, 1030, 1, 2, 3, 4, 5, 1032, 1034)
"""Commands of `fcntl`: copies, flags, whether there is a lock, the size of a pipe, seals. Leases would keep other
programs from opening a file; owners and signals reach them; nobody can tell who has the locks of an open file."""

_FCNTL_ASKED = (6, 7)
"""Commands that lock a part of a file, which costs the kernel's memory: they wait for the monitor's answer."""

_IOCTL = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5451, 0x5450)
"""Requests of `ioctl`: whether it is a terminal (two), its size, what can be read, blocking, and closing at a start.
Others change the flags of files that may only be read, or tell the network's addresses."""

_GPU_IOCTL = (0, ord("F"), ord("m"), ord("d"), ord("K"))
"""Types of requests to GPUs: NVIDIA's memory, its driver and its screens; DRM; AMD."""

_SOCKET_OPTIONS = (2, 7, 8, 9, 13, 20, 21, 66, 67)
"""Options of a socket: addresses, sizes, keep-alive, linger, timeouts."""

_TCP_OPTIONS = (1, 3, 4, 5, 6, 12, 18)
"""Options of TCP: delay, cork, keep-alive, acknowledgement, timeout. Others connect, or load modules of the kernel."""

_NAMESPACES = 0x7E020000
_CLONE_FILES, _CLONE_PTRACE, _CLONE_PARENT, _CLONE_THREAD = 0x400, 0x2000, 0x8000, 0x10000
_CLOSE_RANGE_UNSHARE = 2
_MSG_FASTOPEN = 0x20000000

Code = list[tuple[int, int, int, int]]
"""Instructions of a filter: operation, jumps if true and if false, operand."""

_ALLOW, _NOTIFY, _ERRNO, _KILL = 0x7FFF0000, 0x7FC00000, 0x00050000, 0x80000000
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _JUMP, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x05, 0x06


def _numbers() -> dict[str, int]:
    """Return the number of each named call that this machine has."""
    machines = list(ARCHITECTURES)
    column = 1 + machines.index(platform.machine()) if platform.machine() in machines else 1
    rows = [row.split() for line in _NUMBERS.splitlines() if line[:1] != "#" for row in line.split(",")]
    return {row[0]: int(row[column]) for row in rows if row and row[column] != "-"}


CALLS = _numbers()
"""The number on this machine of each call that this module names."""


def _argument(number: int) -> tuple[int, int, int, int]:
    """Load the lower half of an argument; both machines are little-endian, and the kernel looks at no more of these."""
    return (_LOAD, 0, 0, 16 + 8 * number)


def _return(value: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, value)


def _refuse(error: int) -> tuple[int, int, int, int]:
    return _return(_ERRNO | error)


def _one_of(values: Iterable[int], error: int) -> Code:
    """Go on if the loaded value is one of these, else refuse."""
    values = list(values)
    tests = [(_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [*tests, _refuse(error)]


def _if_any_bit(bits: int, then: tuple[int, int, int, int]) -> Code:
    return [(_ANY_BIT, 0, 1, bits), then]


def _answers() -> dict[str, Code]:
    """Return the part of the filter for each named call. Each part ends with a return."""
    parts: dict[str, Code] = {name: [_return(_ALLOW)] for name in CALLS}
    for names, answer in (
        (_WITHOUT_EFFECT, _refuse(0)),
        (_UNSUPPORTED, _refuse(errno.ENOSYS)),
        (
            "fallocate",
            _refuse(errno.EOPNOTSUPP),
        ),  # It fills a disk faster than anybody measures; writing remains.
        (_ASKED, _return(_NOTIFY)),
    ):
        parts |= {name: [answer] for name in names.split()}
    own = [_argument(0), *_one_of([0], errno.EPERM), _return(_ALLOW)]
    parts |= dict.fromkeys(_FIRST_IS_OWN.split(), own)
    for name, kind in (("setpriority", _PRIO_PROCESS), ("ioprio_set", _IOPRIO_WHO_PROCESS)):
        parts[name] = [
            *(_argument(0), *_one_of([kind], errno.EPERM)),
            *(_argument(1), *_one_of([0], errno.EPERM), _return(_ALLOW)),
        ]
    stream = [_argument(1), (_AND, 0, 0, 0xF), *_one_of([socket.SOCK_STREAM], errno.EACCES)]
    families = [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6]
    parts["socket"] = [
        *(_argument(0), *_one_of(families, errno.EACCES), *stream),
        *(_argument(2), *_one_of([0, socket.IPPROTO_TCP], errno.EACCES), _return(_ALLOW)),
    ]
    parts["socketpair"] = [*stream, _return(_ALLOW)]
    of_socket = [_argument(2), *_one_of(_SOCKET_OPTIONS, errno.ENOPROTOOPT), _return(_ALLOW)]
    of_tcp = [_argument(2), *_one_of(_TCP_OPTIONS, errno.ENOPROTOOPT), _return(_ALLOW)]
    parts["setsockopt"] = [
        *(_argument(1), (_EQUAL, 0, len(of_socket), socket.SOL_SOCKET), *of_socket),
        *(*_one_of([socket.IPPROTO_TCP], errno.ENOPROTOOPT), *of_tcp),
    ]
    # With this flag a message to an address connects, without `connect`.
    parts["sendto"] = [_argument(3), *_if_any_bit(_MSG_FASTOPEN, _refuse(errno.EACCES)), _return(_ALLOW)]
    # A thread with open files of its own would hide them from the monitor.
    parts["clone"] = [
        *(_argument(0), *_if_any_bit(_NAMESPACES | _CLONE_PARENT | _CLONE_PTRACE, _refuse(errno.EPERM))),
        *((_ANY_BIT, 1, 0, _CLONE_THREAD), _return(_NOTIFY)),
        *(*_if_any_bit(_CLONE_FILES, _return(_ALLOW)), _refuse(errno.EPERM)),
    ]
    parts["close_range"] = [
        *(_argument(2), *_if_any_bit(_CLOSE_RANGE_UNSHARE, _refuse(errno.EPERM)), _return(_ALLOW))
    ]
    parts["prctl"] = [_argument(0), *_one_of(_PRCTL, errno.EPERM), _return(_ALLOW)]
    parts["fcntl"] = [
        _argument(1),
        *(one for command in _FCNTL_ASKED for one in ((_EQUAL, 0, 1, command), _return(_NOTIFY))),
        *(*_one_of(_FCNTL, errno.EINVAL), _return(_ALLOW)),
    ]
    # A lock that keeps others from reading: the monitor takes it, where the file may be written.
    parts["flock"] = [_argument(1), *_if_any_bit(fcntl.LOCK_EX, _return(_NOTIFY)), _return(_ALLOW)]
    gpu = [(_AND, 0, 0, 0xFF00), *_one_of([kind << 8 for kind in _GPU_IOCTL], errno.ENOTTY), _return(_ALLOW)]
    parts["ioctl"] = [
        _argument(1),
        *(one for request in _IOCTL for one in ((_EQUAL, 0, 1, request), _return(_ALLOW))),
        *(gpu if gpu_devices() else [_refuse(errno.ENOTTY)]),
    ]
    return parts


def _search(ranges: list[tuple[int, Code]]) -> Code:
    """Return code that goes to the answer of the range that the loaded number is in; ranges begin at these numbers."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, rest = _search(ranges[:middle]), _search(ranges[middle:])
    return [(_AT_LEAST, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(below)), *below, *rest]


def _checked(answers: dict[int, Code], default: Code) -> Code:
    """Return a filter with these answers to numbers up to the newest, and this one to the others up to it."""
    known = [(number, answers.get(number, default)) for number in range(_NEWEST + 1)]
    ranges = [next(group) for _, group in itertools.groupby(known, key=lambda one: one[1])]
    unsupported = [_refuse(errno.ENOSYS)]
    return [
        *((_LOAD, 0, 0, 4), (_EQUAL, 1, 0, ARCHITECTURES[platform.machine()]), _return(_KILL)),
        *((_LOAD, 0, 0, 0), *_search([*ranges, (_NEWEST + 1, unsupported)])),
    ]


def program() -> Code:
    """Return the filter, which still allows what sending its descriptor to the monitor needs."""
    answers = {CALLS[name]: part for name, part in _answers().items()}
    return _checked(answers, [_refuse(errno.EPERM)])


def closing_program() -> Code:
    """Return the second filter, which refuses that too."""
    refused = [_refuse(errno.EPERM)]
    return _checked({CALLS[name]: refused for name in _AT_ENTRY.split()}, [_return(_ALLOW)])
