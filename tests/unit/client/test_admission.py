# SPDX-License-Identifier: Apache-2.0
"""A node's key, and why a SuperLink did not let it in."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from client.node.admission import NodeLog, make_if_missing, public_file, refusal
from client.node.supernode import LOST, end_with, run_to_the_end
from folkmoot.errors import InputError, LocalError
from folkmoot.runtime.superlink import SuperLink

AWAY = SuperLink("moot.example:9443")
KEY = Path("node.key")


def test_a_key_is_made_once_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    key = tmp_path / "new" / "node.key"
    assert make_if_missing(key, AWAY)
    assert key.stat().st_mode & 0o077 == 0
    secret = serialization.load_ssh_private_key(key.read_bytes(), None)
    public = serialization.load_ssh_public_key(public_file(key).read_bytes())
    assert secret.public_key() == public
    assert not make_if_missing(key, AWAY)


def test_a_key_needs_tls_and_a_place(tmp_path: Path) -> None:
    with pytest.raises(InputError) as plain:
        make_if_missing(tmp_path / "key", SuperLink("127.0.0.1:8000"))
    assert plain.value.code == "node-key-without-tls"
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="can't be written"):
        make_if_missing(tmp_path / "file" / "key", AWAY)


@pytest.mark.parametrize(
    ("log", "key", "code", "remedy"),
    [
        ("[code: 2004] Failed to activate SuperNode.", KEY, "node-unknown", r"node\.key\.pub"),
        ("[code: 2001] SuperNode authentication is enabled.", None, "node-key-missing", "--node-key"),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
            KEY,
            "superlink-tls",
            "renew",
        ),
    ],
)
def test_a_refusal_is_understood(log: str, key: Path | None, code: str, remedy: str) -> None:
    told = refusal(f"INFO: Starting\n{log}\nshutdown\n", AWAY, key)
    assert told is not None
    assert told.code == code
    assert AWAY.address in told.message
    with pytest.raises(LocalError, match=remedy):
        raise told


def test_another_end_is_no_refusal() -> None:
    assert refusal("SuperNode ID: 7\nSuperNode terminated gracefully.\n", AWAY, KEY) is None


def test_only_what_is_new_in_a_log_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert NodeLog(path).text() == ""
    path.write_text("old\n")
    log = NodeLog(path)
    with path.open("a") as file:
        file.write("new\n")
    assert log.text() == "new\n"


@pytest.mark.parametrize("end", [lambda: None, lambda: 1 / 0])
def test_a_supernode_that_lost_its_superlink_ends(end: object, capsys: pytest.CaptureFixture[str]) -> None:
    statuses: list[int] = []
    run_to_the_end(end, statuses.append)  # type: ignore[arg-type]
    assert statuses == [LOST]


def test_a_supernode_whose_executor_was_killed_ends() -> None:
    statuses: list[int] = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as executor:
        waiting = threading.Thread(target=end_with, args=(executor, statuses.append))
        waiting.start()
        assert not statuses
        executor.kill()
        waiting.join(60)
    assert statuses == [LOST]
