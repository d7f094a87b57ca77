# SPDX-License-Identifier: Apache-2.0
"""Requests to a coordinator's API that an account signs: EIP-712 messages in the domain of the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import SignableMessage

from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.hashing import canonical_json, keccak

_UPLOAD_TYPEHASH = keccak(b"Upload(bytes32 sha256,uint64 deadline)")
_RUN_TYPEHASH = keccak(
    b"Run(uint32 rounds,uint32 expect,uint32 patience,uint32 wait,bytes16 salt,uint64 deadline)"
)
_BEGIN_RUN_TYPEHASH = keccak(b"BeginRun(bytes16 run,uint64 deadline)")
_END_RUN_TYPEHASH = keccak(b"EndRun(bytes16 run,string reason,uint64 deadline)")
_REPORT_TYPEHASH = keccak(b"Report(uint64 round,bytes32 digest,uint64 deadline)")


def upload_message(domain: Domain, sha256: str, deadline: int) -> SignableMessage:
    """Return the message that an account signs to publish a report."""
    fields = encode(("bytes32", "bytes32", "uint64"), (_UPLOAD_TYPEHASH, bytes.fromhex(sha256), deadline))
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def run_message(
    domain: Domain, rounds: int, expect: int, patience: int, wait: int, salt: str, deadline: int
) -> SignableMessage:
    """Return the message that the coordinator's account signs to start a run.

    Args:
        domain: Chain and ledger of the federation.
        rounds: Number of rounds to open.
        expect: Number of contributors after whose updates a round stops waiting.
        patience: Seconds for which rounds that are cancelled in a row are tried again.
        wait: Seconds for which no round is opened, unless `begin_run_message` ends the wait.
        salt: 32 hex digits that tell two equal requests of one second apart.
        deadline: Unix time until which the request is valid.
    """
    values = (_RUN_TYPEHASH, rounds, expect, patience, wait, bytes.fromhex(salt), deadline)
    fields = encode(("bytes32", "uint32", "uint32", "uint32", "uint32", "bytes16", "uint64"), values)
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def begin_run_message(domain: Domain, run: str, deadline: int) -> SignableMessage:
    """Return the message that the coordinator's account signs to end the wait at the beginning of a run.

    Args:
        domain: Chain and ledger of the federation.
        run: Identifier of the run, 32 hex digits.
        deadline: Unix time until which the request is valid.
    """
    fields = encode(("bytes32", "bytes16", "uint64"), (_BEGIN_RUN_TYPEHASH, bytes.fromhex(run), deadline))
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def end_run_message(domain: Domain, run: str, reason: str, deadline: int) -> SignableMessage:
    """Return the message that the coordinator's account signs to end a run.

    Args:
        domain: Chain and ledger of the federation.
        run: Identifier of the run, 32 hex digits.
        reason: Reason for ending the run, shown by the API.
        deadline: Unix time until which the request is valid.
    """
    values = (_END_RUN_TYPEHASH, bytes.fromhex(run), keccak(reason.encode()), deadline)
    fields = encode(("bytes32", "bytes16", "bytes32", "uint64"), values)
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def report_message(domain: Domain, round_number: int, digest: bytes, deadline: int) -> SignableMessage:
    """Return the message that the coordinator's account signs to report on the nodes of a round.

    Args:
        domain: Chain and ledger of the federation.
        round_number: The round.
        digest: sha256 of the report's canonical JSON without deadline and signature, 32 bytes.
        deadline: Unix time until which the request is valid.
    """
    values = (_REPORT_TYPEHASH, round_number, digest, deadline)
    fields = encode(("bytes32", "uint64", "bytes32", "uint64"), values)
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def report_digest(content: Mapping[str, Any]) -> bytes:
    """Return the sha256 of a round report's content: `round`, `complete`, `nodes` and `metrics`.

    Seconds and metrics are binary64, so a whole number is written with a point, as Python's ``repr`` does.
    """
    return hashlib.sha256(canonical_json(dict(content))).digest()
