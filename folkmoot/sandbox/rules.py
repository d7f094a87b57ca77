# SPDX-License-Identifier: Apache-2.0
"""What a sandboxed process may read, write and connect to, and its limits. Depends on no operating system."""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

GIB = 1 << 30

PROCESSES = 64
"""Default limit of processes at a time."""

THREADS = 1024
"""Limit of threads at a time, of all processes together."""

FILES = 100_000
"""Limit of files that a process may make."""

DEPTH = 128
"""Limit of folders inside each other, below a folder that a process may write."""

DISK = 10 * GIB
"""Default limit of the files that a process may write."""

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone"),
    *("/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd"),
    *("/etc/group", "/etc/hosts", "/etc/os-release", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat"),
    *("/proc/loadavg", "/proc/version", "/proc/filesystems", "/proc/sys/vm", "/sys/devices/system"),
    *("/proc/driver/nvidia", "/proc/modules", "/sys/bus/pci", "/sys/module/nvidia"),
)
"""Programs, libraries and facts of the machine that every process may read."""

VARIABLES = frozenset(
    {
        *("PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "LANG", "LANGUAGE", "TZ"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
        *(
            "CUDA_VISIBLE_DEVICES",
            "NVIDIA_VISIBLE_DEVICES",
            "FLWR_TELEMETRY_ENABLED",
            "FLWR_DISABLE_UPDATE_CHECK",
        ),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL",
    }
)
"""Environment variables that the training code gets."""

OF_ITSELF = (
    *("auxv", "cmdline", "comm", "environ", "fd", "fdinfo", "limits", "maps", "numa_maps", "smaps"),
    *("smaps_rollup", "stat", "statm", "status"),
)
"""What a process may read of itself below /proc. Other names there tell the network's connections and the mounts."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
"""Devices that every process may read and write."""

GPUS = ("nvidia*", "nvidia-caps/*", "dri/*", "kfd")
"""Devices below /dev for training on a GPU."""


@dataclass(frozen=True)
class Rules:
    """What a process may do. What is not named here it may not."""

    readable: tuple[str, ...] = ()
    """Files, and folders with all that is in them, that it may read and execute."""
    listable: tuple[str, ...] = ()
    """Folders of which it may read the names of files, not their content."""
    writable: tuple[str, ...] = ()
    """Files and folders that it may read and write, beside its temporary folder."""
    hosts: tuple[tuple[str, int], ...] = ()
    """Hosts and TCP ports that it may connect to."""
    sockets: tuple[str, ...] = ()
    """Paths of Unix sockets that it may connect to."""
    memory: int = 4 * GIB
    """Limit of its memory in bytes, of all its processes together."""
    disk: int = DISK
    """Limit of the files that it writes in bytes."""
    processes: int = PROCESSES
    """Limit of processes at a time."""

    def to_json(self) -> str:
        """Return the rules as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Rules:
        """Return the rules of `to_json`."""
        document = json.loads(text)
        return cls(
            readable=tuple(document["readable"]),
            listable=tuple(document["listable"]),
            writable=tuple(document["writable"]),
            hosts=tuple((str(host), int(port)) for host, port in document["hosts"]),
            sockets=tuple(document["sockets"]),
            memory=int(document["memory"]),
            disk=int(document["disk"]),
            processes=int(document["processes"]),
        )


def python_paths() -> list[str]:
    """Return the folders of this Python and its packages."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    paths.update(
        [str(Path(sys.executable).resolve().parent), *site.getsitepackages(), site.getusersitepackages()]
    )
    return sorted(path for path in paths if Path(path).is_dir())


def gpu_devices() -> list[str]:
    """Return the GPU devices of this machine."""
    return sorted(str(path) for pattern in GPUS for path in Path("/dev").glob(pattern) if not path.is_dir())


def half_of_memory() -> int:
    """Return half of this machine's memory in bytes: the default limit."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def without(folder: Path, hidden: Sequence[Path]) -> Iterator[Path]:
    """Yield paths that together hold all that is in a folder now, apart from hidden paths and what is in them."""
    if not any(path == folder or path.is_relative_to(folder) for path in hidden):
        yield folder
    elif folder not in hidden and folder.is_dir():
        for child in sorted(folder.iterdir()):
            yield from without(child, hidden)


def real(paths: Iterable[str | Path]) -> list[Path]:
    """Return paths without symbolic links."""
    return [Path(path).expanduser().resolve() for path in paths]
