# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from folkmoot.runtime.files import write_new, write_whole


def test_a_file_is_replaced_with_the_permissions_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"old")
    write_whole(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["note"]


def test_a_new_file_takes_no_other_files_place(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_new(path, b"first", mode=0o600)
    with pytest.raises(FileExistsError):
        write_new(path, b"second")
    assert path.read_bytes() == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_a_new_file_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    test_a_new_file_takes_no_other_files_place(tmp_path)


def test_what_can_not_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    path = tmp_path / "note"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["note"]


def test_of_several_who_write_a_new_file_at_once_one_has_it_and_all_of_it(tmp_path: Path) -> None:
    writers = 4
    for number in range(25):
        path, start, kept = tmp_path / str(number), threading.Barrier(writers), list[bytes]()

        def write(
            data: bytes, path: Path = path, start: threading.Barrier = start, kept: list[bytes] = kept
        ) -> None:
            start.wait()
            try:
                write_new(path, data)
            except FileExistsError:
                return
            kept.append(data)

        threads = [threading.Thread(target=write, args=(bytes([who]) * 100_000,)) for who in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept == [path.read_bytes()]
