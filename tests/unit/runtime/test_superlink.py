# SPDX-License-Identifier: Apache-2.0
"""Where a SuperLink is, and what is said when it can't be talked to."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from folkmoot.errors import InputError, LocalError
from folkmoot.runtime.processes import free_port
from folkmoot.runtime.superlink import SuperLink
from server.relay.flower_run import configure


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:0", "host:65536"])
def test_an_address_has_host_and_port(address: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        SuperLink(address)


def test_only_this_machine_is_spoken_to_without_tls_unless_one_asks() -> None:
    assert SuperLink("127.0.0.1:1").insecure
    assert not SuperLink("moot.example:1").insecure
    assert SuperLink("moot.example:1", plain=True).insecure
    assert not SuperLink("127.0.0.1:1", Path("ca.pem")).insecure


def test_nobody_there() -> None:
    with pytest.raises(LocalError, match="can't be reached") as caught:
        SuperLink(f"127.0.0.1:{free_port()}").check()
    assert caught.value.code == "superlink-unreachable"


def test_something_without_tls_where_tls_is_wanted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        SuperLink(f"127.0.0.1:{port}").check()
        server.accept()[0].close()
        (tmp_path / "words.pem").write_text("words")
        for name in ("missing.pem", "words.pem"):
            with pytest.raises(LocalError, match=name) as caught:
                SuperLink(f"127.0.0.1:{port}", tmp_path / name).check()
            assert caught.value.code == "superlink-tls"


def test_flower_is_told_the_same(tmp_path: Path) -> None:
    configure(tmp_path, SuperLink("127.0.0.1:1"))
    assert "insecure = true" in (tmp_path / "config.toml").read_text()
    configure(tmp_path, SuperLink("moot.example:1", tmp_path / "ca.pem"))
    written = (tmp_path / "config.toml").read_text()
    assert "insecure = false" in written
    assert str(tmp_path / "ca.pem") in written
