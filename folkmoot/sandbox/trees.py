# SPDX-License-Identifier: Apache-2.0
"""Folders that hostile code wrote: measure and remove them, however deep, long, unreadable or many they are.

A folder may get another name while it is measured, but in a sandbox not another place: the folder above tells its
inode, and by that it is found. Where a file system lists other inodes than `stat` tells, as some overlays do, only the
name counts.
Paths in such a folder may be longer than the system takes, and deeper than Python recurses. So both functions open each
folder from the one above, and follow no link.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from folkmoot.sandbox.rules import DEPTH, FILES

LOOKS = 10
"""How often a folder is looked for by its inode."""


@dataclass(frozen=True)
class Size:
    """What is in folders."""

    size: int
    """Bytes on the disk."""
    files: int
    """Number of files and folders, counted up to a little more than `FILES`."""
    depth: int
    """Number of folders inside each other, counted up to one more than `DEPTH`."""
    closed: int
    """Number of folders that this user may not read."""
    renamed: int
    """Number of folders that had another name each time when they were opened."""


def size_of(folders: Iterable[Path]) -> Size:
    """Return what is in folders; what vanishes in the meantime does not count."""
    size = files = depth = closed = renamed = 0
    for folder in folders:
        known = _tells_inodes(str(folder))
        levels: list[tuple[int, list[tuple[str, int]]]] = [(-1, [(str(folder), 0)])]
        while levels:
            above, names = levels[-1]
            if not names or files > FILES or len(levels) > DEPTH + 2:
                levels.pop()
                if above >= 0:
                    os.close(above)
                continue
            try:
                levels.append((_find(*names.pop(), above), []))
                depth = max(depth, len(levels) - 2)
                with os.scandir(levels[-1][0]) as entries:
                    for entry in entries:
                        files += 1
                        if entry.is_dir(follow_symlinks=False):
                            levels[-1][1].append((entry.name, entry.inode() if known else 0))
                        with contextlib.suppress(OSError):
                            size += 512 * entry.stat(follow_symlinks=False).st_blocks
            except PermissionError:
                closed += 1
            except _Renamed:
                renamed += 1
            except OSError:
                pass
    return Size(size, files, depth, closed, renamed)


def remove(folder: Path) -> bool:
    """Remove a folder with all that is in it, while nobody writes there; return whether it is gone. Never raises.

    Each folder in it is moved to the top before it is emptied: so there is no recursion and no long path, and never
    more than three open files.
    """
    with contextlib.suppress(OSError):
        top = _open_fully(str(folder))
        try:
            waiting = ["."]
            while waiting:
                name = waiting.pop()
                with contextlib.suppress(OSError):  # Then this stays, and the rest goes.
                    _empty(name, top, waiting)
                    os.rmdir(name, dir_fd=top)
        finally:
            os.close(top)
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not os.path.lexists(folder)


def _empty(name: str, top: int, moved: list[str]) -> None:
    """Remove the files of a folder, move its folders to the top, and add their new names to a list."""
    at = _open_fully(name, top)
    try:
        folders = []
        with os.scandir(at) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                    continue
                with contextlib.suppress(OSError):
                    os.unlink(entry.name, dir_fd=at)
        for old in folders:
            new = secrets.token_hex(16)
            with contextlib.suppress(OSError):
                os.close(_open_fully(old, at))  # A folder that can't be written can't be moved.
                os.rename(old, new, src_dir_fd=at, dst_dir_fd=top)
                moved.append(new)
    finally:
        os.close(at)


class _Renamed(Exception):
    """A folder has another name each time."""


@lru_cache(16)
def _tells_inodes(folder: str) -> bool:
    """Whether a folder's inode in the folder above, which no sandbox may change, is the one that `stat` tells."""
    path = Path(folder)
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        inode = path.stat().st_ino
        return any(entry.name == path.name and entry.inode() == inode for entry in entries)
    return False


def _find(name: str, inode: int, above: int) -> int:
    """Open a folder of the folder above, also if it has another name by now, or another file has its name.

    Args:
        inode: Its inode; 0 to take whatever has the name.

    Raises:
        FileNotFoundError: It was removed.
        _Renamed: It has another name each time.
    """
    if not inode:
        return _open(name, above)
    for _ in range(LOOKS):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # Links are no folders either.
            at = _open(name, above)
            if os.fstat(at).st_ino == inode:
                return at
            os.close(at)
        with os.scandir(above) as entries:
            names = [entry.name for entry in entries if entry.inode() == inode]
        if not names:
            raise FileNotFoundError(name)
        name = names[0]
    raise _Renamed


def _open(name: str, above: int = -1, flags: int = os.O_RDONLY) -> int:
    return os.open(
        name, flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=None if above < 0 else above
    )


def _open_fully(name: str, above: int = -1) -> int:
    """Open a folder whose owner may do everything with it from now on, if that is this user."""
    path = _open(name, above, os.O_PATH)
    try:
        if os.fstat(path).st_mode & 0o700 != 0o700:
            Path(f"/proc/self/fd/{path}").chmod(0o700)  # By its name it could be another file.
        return _open(".", path)
    finally:
        os.close(path)
