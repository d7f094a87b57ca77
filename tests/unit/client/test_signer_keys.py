# SPDX-License-Identifier: Apache-2.0
"""A remote signer gives a signature that the ledger takes, or nothing of its answer is used.

The server here is a real HTTP server that signs with eth_account, from the EIP-712 JSON that it gets. Web3Signer (Java)
and Clef (Go) are not in the test environment. eth_account is a third implementation of EIP-712, of which our code uses
nothing but ECDSA: so a message that it hashes as the ledger does is the message that they hash.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from eth_account import Account

from client.signer.keys import LocalKey, RemoteKey, commitment_message, safe_owner_message
from client.signer.options import RemoteMethod
from folkmoot.errors import InputError
from folkmoot.flower.signing import SignerError
from folkmoot.protocol.commitment import Commitment, Domain
from tests import factories
from tests.http_servers import Handler, serving

ADA = factories.account("ada")
DOMAIN = Domain(31337, "0x" + "a1" * 20)
COMMITMENT = Commitment(
    ADA.address, 2**63 + 1, b"\x01" * 32, b"\x02" * 32, 2**64 - 1, b"\x0a" * 32, b"\x03" * 32
)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

Answer = Callable[[dict[str, Any]], Any]


def signature_of(asked: dict[str, Any], who: Any = ADA) -> str:
    """Sign what was asked for, as its method says."""
    _, message = asked["params"]
    if asked["method"] == RemoteMethod.WEB3SIGNER:
        message = json.loads(message)
    signed = Account.sign_typed_data(who.key, full_message=message)
    return "0x" + bytes(signed.signature).hex()


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteKey]]:
    """Serve answers over HTTP; return a key at the server."""
    with ExitStack() as stack:

        def serve(
            answer: Answer, method: RemoteMethod = RemoteMethod.WEB3SIGNER, **options: Any
        ) -> RemoteKey:
            class Signing(Handler):
                def do_POST(self) -> None:
                    asked = self.asked()
                    assert asked["params"][0] == ADA.address
                    found = answer(asked)
                    if not isinstance(found, bytes):
                        told = found if isinstance(found, dict) else {"result": found}
                        found = json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}).encode()
                    with suppress(BrokenPipeError):  # The key doesn't read an answer that is too long.
                        self.answer(found)

            url = stack.enter_context(serving(Signing))
            return stack.enter_context(RemoteKey(url, ADA.address, method, **options))

        yield serve


@pytest.mark.parametrize("method", list(RemoteMethod))
def test_what_a_remote_signer_signs_is_the_ledgers_message(
    remote: Callable[..., RemoteKey], method: RemoteMethod
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> str:
        asked.append(request)
        return signature_of(request)

    with remote(answer, method) as key:
        assert key.address == ADA.address
        assert key.sign(COMMITMENT, DOMAIN) == LocalKey(ADA).sign(COMMITMENT, DOMAIN)
    assert [one["method"] for one in asked] == [method]
    assert isinstance(asked[0]["params"][1], str) == (method is RemoteMethod.WEB3SIGNER)


def changed(asked: dict[str, Any], change: Callable[[int, int, int], bytes]) -> str:
    """Return the right signature with another r, s or v."""
    raw = bytes.fromhex(signature_of(asked)[2:])
    return "0x" + change(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64]).hex()


def joined(r: int, s: int, v: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v])


BAD: dict[str, tuple[Answer, str]] = {
    "another account": (
        lambda asked: signature_of(asked, factories.account("ben")),
        "remote-signature-invalid",
    ),
    "high s, which recovers too": (
        lambda asked: changed(asked, lambda r, s, v: joined(r, ORDER - s, 55 - v)),
        "remote-signature-invalid",
    ),
    "v of 0 or 1": (
        lambda asked: changed(asked, lambda r, s, v: joined(r, s, v - 27)),
        "remote-signature-invalid",
    ),
    "the other v": (
        lambda asked: changed(asked, lambda r, s, v: joined(r, s, 55 - v)),
        "remote-signature-invalid",
    ),
    "64 bytes": (lambda asked: signature_of(asked)[:-2], "remote-signature-invalid"),
    "66 bytes": (lambda asked: signature_of(asked) + "00", "remote-signature-invalid"),
    "zeros": (lambda asked: "0x" + "00" * 64 + "1b", "remote-signature-invalid"),
    "no hex": (lambda asked: "0xzz", "remote-signature-invalid"),
    "a number": (lambda asked: 7, "remote-signature-invalid"),
    "null": (lambda asked: None, "remote-signature-invalid"),
    "a list": (lambda asked: [signature_of(asked)], "remote-signature-invalid"),
    "HTML": (lambda asked: b"<html>It works!</html>", "remote-signer-unreachable"),
    "nothing": (lambda asked: b"", "remote-signer-unreachable"),
    "denied by a person": (
        lambda asked: {"error": {"code": -32000, "message": "Request denied"}},
        "remote-signer-refused",
    ),
    "an answer to something else": (
        lambda asked: {"id": 99, "result": signature_of(asked)},
        "remote-signer-unreachable",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_refused(remote: Callable[..., RemoteKey], name: str) -> None:
    answer, code = BAD[name]
    with pytest.raises(SignerError) as refused:
        remote(answer).sign(COMMITMENT, DOMAIN)
    assert refused.value.code == code
    assert refused.value.remedy


def test_a_signature_of_another_round_is_refused(remote: Callable[..., RemoteKey]) -> None:
    def answer(asked: dict[str, Any]) -> str:
        message = json.loads(asked["params"][1])
        message["message"]["round"] = "4"
        return signature_of({**asked, "params": [ADA.address, json.dumps(message)]})

    with pytest.raises(SignerError) as refused:
        remote(answer).sign(COMMITMENT, DOMAIN)
    assert refused.value.code == "remote-signature-invalid"


def test_a_remote_signer_that_is_slow_or_gone_is_no_hang(remote: Callable[..., RemoteKey]) -> None:
    def answer(asked: dict[str, Any]) -> str:
        time.sleep(1)
        return signature_of(asked)

    began = time.monotonic()
    for key in (remote(answer, timeout=0.2), RemoteKey("http://127.0.0.1:9", ADA.address)):
        with pytest.raises(SignerError) as refused:
            key.sign(COMMITMENT, DOMAIN)
        assert refused.value.code == "remote-signer-unreachable"
        assert "remote signer" in refused.value.message
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:9000", ""])
def test_an_address_that_is_no_http(url: str) -> None:
    with pytest.raises(InputError, match="is not the address of a remote signer"):
        RemoteKey(url, ADA.address)


def test_the_message_names_every_member_with_its_type() -> None:
    message = commitment_message(COMMITMENT, DOMAIN).typed
    members = [one["name"] for one in message["types"]["Commitment"]]
    assert list(message["message"]) == members
    assert {"name": "sumSquares", "type": "uint64"} in message["types"]["Commitment"]
    assert message["message"]["sumSquares"] == str(2**64 - 1)


@pytest.mark.parametrize("method", list(RemoteMethod))
def test_a_remote_signer_signs_the_message_of_a_safe(
    remote: Callable[..., RemoteKey], method: RemoteMethod
) -> None:
    """eth_account hashes the JSON of the message as the Safe does (tests/integration/test_signer_wallet.py)."""
    message = safe_owner_message("0x" + "c3" * 20, 10**17, COMMITMENT.digest(DOMAIN))
    with remote(signature_of, method) as key:
        assert key.sign_message(message) == LocalKey(ADA).sign_message(message)


def test_the_key_of_drafts_does_not_depend_on_what_the_remote_signer_answers() -> None:
    with (
        RemoteKey("http://127.0.0.1:1", ADA.address) as one,
        RemoteKey("http://127.0.0.1:1", ADA.address) as two,
    ):
        assert one.draft_key == one.draft_key
        assert len(one.draft_key) == 32
        assert one.draft_key != two.draft_key
