# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol.commitment import Commitment, Domain, canonical_address, entries_hash
from tests.unit import worlds

ALICE, BOB = worlds.account("alice"), worlds.account("bob")
COMMITMENT = Commitment(ALICE.address.lower(), 3, b"\x01" * 32, b"\x02" * 32, 77, b"\x0a" * 32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_contributor_signs() -> None:
    signature = COMMITMENT.sign(ALICE, worlds.DOMAIN)
    assert len(signature) == 65
    assert COMMITMENT.recover(signature, worlds.DOMAIN) == ALICE.address == COMMITMENT.contributor
    COMMITMENT.check_signature(signature, worlds.DOMAIN)


def test_nobody_else_signs() -> None:
    with pytest.raises(InputError, match="can't sign"):
        COMMITMENT.sign(BOB, worlds.DOMAIN)
    foreign = replace(COMMITMENT, contributor=BOB.address).sign(BOB, worlds.DOMAIN)
    with pytest.raises(UpdateRefused) as caught:
        COMMITMENT.check_signature(foreign, worlds.DOMAIN)
    assert caught.value.code == "invalid-signature"


@pytest.mark.parametrize("domain", [Domain(1, worlds.LEDGER), Domain(worlds.CHAIN_ID, BOB.address)])
def test_a_signature_is_for_one_ledger(domain: Domain) -> None:
    with pytest.raises(UpdateRefused):
        COMMITMENT.check_signature(COMMITMENT.sign(ALICE, domain), worlds.DOMAIN)


def test_every_field_is_signed() -> None:
    changes = [
        {"contributor": BOB.address},
        {"round": 4},
        {"base_state_root": bytes(32)},
        {"update_root": bytes(32)},
        {"sum_squares": 78},
        {"memory_hash": b"\x0b" * 32},
        {"bundle_hash": b"\x01" * 32},
    ]
    digests = {replace(COMMITMENT, **change).digest(worlds.DOMAIN) for change in changes}  # type: ignore[arg-type]
    assert len(digests | {COMMITMENT.digest(worlds.DOMAIN)}) == len(changes) + 1


def test_signatures_that_the_ledger_refuses_are_refused() -> None:
    signature = COMMITMENT.sign(ALICE, worlds.DOMAIN)
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    mirrored = r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    for bad in (
        signature[:64],
        signature + b"\0",
        signature[:64] + bytes([v - 27]),
        mirrored,
        bytes(64) + b"\x1b",
        b"",
    ):
        with pytest.raises(UpdateRefused) as caught:
            COMMITMENT.recover(bad, worlds.DOMAIN)
        assert caught.value.code == "invalid-signature"


@pytest.mark.parametrize(
    "change",
    [
        {"contributor": "0x12"},
        {"contributor": "0x" + ALICE.address[2:].swapcase()},
        {"contributor": ALICE.address[2:]},
        {"contributor": bytes(20)},
        {"round": -1},
        {"round": 1 << 64},
        {"sum_squares": 1 << 64},
        {"memory_hash": bytes(31)},
        {"update_root": bytes(31)},
        {"bundle_hash": b""},
    ],
)
def test_commitment_refuses(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(COMMITMENT, **change)  # type: ignore[arg-type]


def test_json_reads_back() -> None:
    value = COMMITMENT.to_json()
    assert Commitment.from_json(value) == COMMITMENT
    for bad in (
        {},
        None,
        value | {"extra": 1},
        value | {"round": "x"},
        value | {"updateRoot": 5},
        value | {"updateRoot": "0xzz"},
    ):
        with pytest.raises(InputError):
            Commitment.from_json(bad)


def test_entries_hash_depends_on_the_order() -> None:
    other = replace(COMMITMENT, contributor=BOB.address)
    assert entries_hash([]) == bytes(32)
    assert entries_hash([COMMITMENT, other]) != entries_hash([other, COMMITMENT])


def test_canonical_address() -> None:
    assert canonical_address(ALICE.address).hex() == ALICE.address[2:].lower()


@pytest.mark.parametrize(
    "module",
    [
        "folkmoot.protocol.commitment",
        "folkmoot.coordinator_api",
        "server.api.app",
        "client.cli.join",
        "folkmoot.cli.audit",
    ],
)
def test_deep_json_of_a_stranger_raises_and_kills_nobody(module: str) -> None:
    code = (
        f"import importlib, json; importlib.import_module({module!r}); import folkmoot.protocol.commitment\n"
        "try:\n    json.loads('[' * 500_000)\nexcept RecursionError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr
