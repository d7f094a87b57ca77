# SPDX-License-Identifier: Apache-2.0
"""An authority of one's own, the command that uses it, and what is said when a certificate is not accepted."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from folkmoot.cli.main import run as folkmoot
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import CoordinatorError, InputError, LocalError, RpcError
from folkmoot.rpc.client import Rpc
from folkmoot.runtime import tls
from folkmoot.runtime.certificates import Authority, names_of
from folkmoot.runtime.superlink import SuperLink


@contextmanager
def listening(certificate: Path, key: Path) -> Iterator[int]:
    """A server that only shakes hands."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with connection, context.wrap_socket(connection, server_side=True):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.create("Test authority")
    made.save(tmp_path / "ca.pem", tmp_path / "ca.key")
    return made


CASES = [
    (["127.0.0.1"], None, ""),
    (["127.0.0.1"], timedelta(minutes=-1), "certificate has expired"),
    (["moot.example"], None, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
]


@pytest.mark.parametrize(("names", "left", "why"), CASES)
def test_everybody_says_what_is_wrong_with_a_certificate(
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    left: timedelta | None,
    why: str,
) -> None:
    pair = authority.issue(*names, not_after=None if left is None else datetime.now(UTC) + left)
    pair.save(tmp_path / "server.pem", tmp_path / "server.key")
    with listening(tmp_path / "server.pem", tmp_path / "server.key") as port:
        unknown = "unable to get local issuer certificate"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        with pytest.raises(CoordinatorError, match=f"TLS fails, ({unknown}|{why or unknown})"):
            CoordinatorApi(f"https://127.0.0.1:{port}").health()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        superlink = SuperLink(f"127.0.0.1:{port}", tmp_path / "ca.pem")
        if not why:
            superlink.check()
            return
        with pytest.raises(LocalError, match=why) as told:
            superlink.check()
        assert told.value.code == "superlink-tls"
        with pytest.raises(CoordinatorError, match=f"TLS fails, {why}") as unreachable:
            CoordinatorApi(f"https://127.0.0.1:{port}").health()
        # Whoever waits for a coordinator waits for its certificate too.
        assert (unreachable.value.code, unreachable.value.remedy) == ("coordinator-unreachable", tls.REMEDY)
        with pytest.raises(RpcError, match=f"TLS fails, {why}"):
            Rpc(f"https://127.0.0.1:{port}").chain_id()


def test_what_is_no_failure_of_tls_has_no_reason() -> None:
    assert tls.reason(OSError("no route")) == ""
    loop = OSError("first")
    loop.__cause__ = OSError("second")
    loop.__cause__.__cause__ = loop
    assert tls.reason(loop) == ""
    assert tls.reason(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")) != ""


def certificate(out: Path, *names: str, days: int = 397) -> int:
    words = [word for name in names for word in ("--certificate", name)]
    return folkmoot(["superlink", *words, "--out", str(out), "--days", str(days), "--json"])


def test_a_certificate_is_made_kept_and_renewed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tls"

    def made(*names: str, days: int = 397) -> bool:
        assert certificate(out, *names, days=days) == 0
        return bool(json.loads(capsys.readouterr().out)["made"])

    assert made("moot.example", "10.0.0.5")
    authority = (out / "ca.pem").read_bytes()
    assert names_of(out / "server.pem")[0] == ["moot.example", "10.0.0.5", "localhost", "127.0.0.1"]
    assert {path.name for path in out.iterdir() if path.stat().st_mode & 0o077} == {"ca.pem", "server.pem"}
    assert not made("moot.example", "10.0.0.5")
    assert made("moot.example"), "for other names"
    Authority.load(out / "ca.pem", out / "ca.key").issue(
        "moot.example", "localhost", "127.0.0.1", days=29
    ).save(out / "server.pem", out / "server.key")
    assert made("moot.example"), "it ends soon"
    (out / "server.pem").write_text("nonsense")
    assert made("moot.example"), "it was damaged"
    assert (out / "ca.pem").read_bytes() == authority


def test_an_authority_that_was_interrupted_after_its_key_goes_on_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certificate(tmp_path, "moot.example") == 0
    key = (tmp_path / "ca.key").read_bytes()
    for name in ("ca.pem", "server.pem", "server.key"):
        (tmp_path / name).unlink()
    assert certificate(tmp_path, "moot.example") == 0
    assert (tmp_path / "ca.key").read_bytes() == key
    Authority.load(tmp_path / "ca.pem", tmp_path / "ca.key")


def test_bad_input_of_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certificate(tmp_path / "tls", "moot.example:8000") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "invalid-address"
    (tmp_path / "tls" / "ca.key").unlink()
    assert certificate(tmp_path / "tls", "moot.example") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "authority"
    Authority.create("Another").save(tmp_path / "other.pem", tmp_path / "tls" / "ca.key")
    assert certificate(tmp_path / "tls", "moot.example") == 1
    assert "is not the key of" in json.loads(capsys.readouterr().out)["error"]["message"]
    (tmp_path / "file").touch()
    assert certificate(tmp_path / "file", "moot.example") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "folder"
    with pytest.raises(InputError, match="no name of a machine"):
        Authority.create("x").issue("mööt.example")
