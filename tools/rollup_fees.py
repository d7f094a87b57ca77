# SPDX-License-Identifier: Apache-2.0
"""What the transactions of a round cost on a rollup of the OP Stack, for ``docs/gas.md`` (``tools/gas_table.py``).

A transaction pays for its gas on the rollup, and for its bytes on Ethereum. The second part is estimated from the size
that FastLZ makes of the signed transaction (Fjord; ``SOURCE``). The transactions are real ones: the call data of the
packaged ABIs and signatures of a fixed key, with digests as incompressible as a round's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.chain.terms import PROFILES
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.rpc.abi import encode_call

SOURCE = "https://specs.optimism.io/protocol/fjord/exec-engine.html"
"""Where the formula and its constants are published."""
INTERCEPT, FASTLZ_COEFFICIENT, LEAST_BYTES = -42_585_600, 836_500, 100
"""Constants of the formula: the first two in millionths of a byte, the last in bytes."""
ENTRIES = 100
CHAIN_ID = 10
SNAPSHOTS = Path(__file__).resolve().parent.parent / "contracts" / "snapshots"
WINDOW, FIRST_HASH, HASH_BITS = 8192, 2_654_435_769, 13
"""FastLZ, level 1: how far a match may be back, and the hash of three bytes."""
L1_FEES = 1, 10, 50
"""Prices of a unit of gas on Ethereum that are shown, in gwei."""
SCALARS = 2_000, 1_000_000
L1_FEE, BLOB_FEE, ROLLUP_FEE = 10**9, 10**9, 10**6
"""The example: scalars for the base fee and the blob base fee, and base fees in wei."""


def fastlz_size(data: bytes) -> int:
    """Return the number of bytes that FastLZ (level 1) makes of some bytes."""
    places = [0] * (1 << HASH_BITS)
    end = len(data) - 13  # the last bytes are never the beginning of a match
    size = done = 0
    at = 2

    def slot(place: int) -> int:
        value = int.from_bytes(data[place : place + 3], "little")
        return ((FIRST_HASH * value) & 0xFFFFFFFF) >> (32 - HASH_BITS)

    while at < end:
        index = slot(at)
        earlier, places[index] = places[index], at
        if at - earlier >= WINDOW or data[earlier : earlier + 3] != data[at : at + 3]:
            at += 1
            continue
        size += _literals(at - done)
        # The byte that ends a match is counted with it, up to nine bytes before the end of all.
        length, most = 0, end + 9 - (at + 3)
        while length < most:
            length += 1
            if data[earlier + 2 + length] != data[at + 2 + length]:
                break
        size += _match(length)
        for place in (at + length, at + length + 1):
            places[slot(place)] = place
        at = done = at + length + 2
    return size + _literals(len(data) - done)


def _literals(count: int) -> int:
    """Bytes that so many literals take: one more for each 32, or a part of that."""
    return count + -(-count // 32)


def _match(length: int) -> int:
    """Bytes that a match takes."""
    whole, rest = divmod(length - 1, 262)
    return 3 * whole + (3 if rest >= 6 else 2)


def estimated_bytes(fastlz: int) -> float:
    """Return the bytes that a transaction of a FastLZ size is charged for."""
    return max(LEAST_BYTES, (INTERCEPT + FASTLZ_COEFFICIENT * fastlz) / 10**6)


@dataclass(frozen=True)
class Sent:
    """A transaction of a round."""

    name: str
    raw: bytes
    """Signed and encoded."""
    gas: int
    """Gas that it takes on the rollup."""

    @property
    def charged(self) -> float:
        """Bytes that it is charged for."""
        return estimated_bytes(fastlz_size(self.raw))


def round_of(entries: int = ENTRIES) -> list[Sent]:
    """Return the transactions of a coordinator for one round."""
    gas: dict[str, str] = {}
    for name in ("RoundLedger", "Rewards"):
        gas |= json.loads((SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"))
    digests = _digests()
    ledger = to_checksum_address(next(digests)[:20])
    root, header, bundle = next(digests), next(digests), next(digests)
    domain, commitments, signatures = Domain(CHAIN_ID, ledger), [], []
    for _ in range(entries):
        account = Account.from_key(next(digests))
        squares = 10**8 + int.from_bytes(next(digests)[:3], "big")
        made = Commitment(account.address, 7, root, next(digests), squares, next(digests), bundle)
        commitments.append(made)
        signatures.append(made.sign(account, domain))
    weights = tuple(1024 - place for place in range(entries))
    pays = tuple(65_536 - 64 * place for place in range(entries))
    anchor = Anchor(weights, pays, (1 << entries) - 1, *(next(digests) for _ in range(6))).abi_tuple()
    named = [(made.contributor, made.struct_hash) for made in commitments]
    rewards = to_checksum_address(next(digests)[:20])
    calls: list[tuple[str, str, tuple[Any, ...]]] = [
        ("openRound", "openRound", (7, root, header)),
        (
            f"commitUpdates, {entries} signed",
            "commitUpdates",
            (7, bundle, pack_batch(commitments, signatures)),
        ),
        (f"closeCommits, {entries} enrolled", "closeCommits", (7,)),
        (f"anchor, {entries} entries", "anchor", (7, next(digests), anchor)),
        ("finalize", "finalize", (7,)),
    ]
    sent = [
        (name, ledger, encode_call("ledger", function, *arguments)) for name, function, arguments in calls
    ]
    settlement = encode_call("rewards", "settle", 7, named, anchor)
    sent.append((f"settle, {entries} entries", rewards, settlement))
    return [
        Sent(name, _signed(to, data, place), int(gas[name])) for place, (name, to, data) in enumerate(sent)
    ]


def own_commitment() -> list[str]:
    """Return the lines of the page on an update that a node records by itself."""
    gas = json.loads((SNAPSHOTS / "RoundLedger.json").read_text(encoding="utf-8"))
    first, later = (int(gas[f"commitUpdate, {name}"]) for name in ("the first of a round", "a later one"))
    digests = _digests()
    address = to_checksum_address(next(digests)[:20])
    commitment = Commitment(address, 7, next(digests), next(digests), 10**8, next(digests), next(digests))
    raw = _signed(address, encode_call("ledger", "commitUpdate", commitment.abi_tuple()), 0)
    charged = estimated_bytes(fastlz_size(raw))
    rollup = first * ROLLUP_FEE + charged * (16 * SCALARS[0] * L1_FEE + SCALARS[1] * BLOB_FEE) / 10**6
    prices = ", ".join(f"{first * fee / 10**9:.4f} coins at {fee} gwei" for fee in L1_FEES)
    return [
        "",
        "## An update that a node records by itself",
        "",
        "The account of the contributor pays for `commitUpdate`, and only in a round in which the coordinator has left",
        f"its update out: {first:,} gas as the first of a round, {later:,} as a later one. At most, that is",
        "",
        f"- on Ethereum {prices}.",
        "  Above the setting `max-fee-gwei`, 50 by default, nothing is sent;",
        f"- on an OP Stack rollup {rollup / 10**9:,.0f} gwei with the example of the next section, of which it takes",
        f"  {len(raw)} bytes ({charged:,.0f} charged);",
        "- on a local chain nothing that is worth anything.",
        "",
        "A transaction that comes after the coordinator's in one block fails, for about 53,000 gas (measured by",
        "`tests/integration/test_left_out.py`).",
    ]


def _digests() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield keccak(text=f"digest {number}")


def _signed(to: str, data: bytes, place: int) -> bytes:
    fields = {
        "type": 2,
        "chainId": CHAIN_ID,
        "nonce": 1_000 + place,
        "to": to,
        "value": 0,
        "data": data,
        "gas": 3_000_000,
        "maxPriorityFeePerGas": 10**6,
        "maxFeePerGas": 10**9,
    }
    return bytes(Account.from_key(keccak(text="coordinator")).sign_transaction(fields).raw_transaction)


def section() -> list[str]:
    """Return the lines of the page."""
    sent = round_of()
    windows = PROFILES["l2"].windows
    gas, charged = sum(one.gas for one in sent), sum(one.charged for one in sent)
    per_byte = (16 * SCALARS[0] * L1_FEE + SCALARS[1] * BLOB_FEE) / 10**6
    shares = gas * ROLLUP_FEE, charged * per_byte
    lines = [
        "",
        "## A round on an OP Stack rollup",
        "",
        f"The coordinator's transactions of a round with {ENTRIES} entries (`tools/rollup_fees.py`), with the gas of",
        "the tables above. Bytes are those of the signed transactions. *Charged* is what a rollup charges of them for",
        "Ethereum since its release Fjord, `max(100, 0.8365 * FastLZ - 42.5856)`",
        f"([specification]({SOURCE})).",
        "",
        "| transaction | gas | bytes | FastLZ | charged bytes |",
        "| --- | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {one.name} | {one.gas:,} | {len(one.raw):,} | {fastlz_size(one.raw):,} | {one.charged:,.0f} |"
        for one in sent
    ]
    lines += [
        f"| **all** | {gas:,} | {sum(len(one.raw) for one in sent):,} | | {charged:,.0f} |",
        "",
        "With the base fee `f` of the rollup, the base fee `b` and the blob base fee `c` of Ethereum in wei, and the",
        "rollup's scalars `s` and `t` (`baseFeeScalar`, `blobBaseFeeScalar` of its `GasPriceOracle`), a round costs",
        "",
        f"    {gas:,} * f + {charged:,.0f} * (16 * s * b + t * c) / 1,000,000   wei",
        "",
        "Priority fees, and an operator fee where a rollup has one (Isthmus), come on top. An example, and no price of",
        f"any chain: `f` = {ROLLUP_FEE / 10**9:g} gwei, `b` = `c` = {L1_FEE / 10**9:g} gwei, `s` = {SCALARS[0]:,} and "
        f"`t` = {SCALARS[1]:,} make",
        f"{shares[0] / 10**9:,.0f} + {shares[1] / 10**9:,.0f} = {sum(shares) / 10**9:,.0f} gwei a round.",
        "",
        f"Windows of the profile `l2`: {windows.commit // 3600} h to commit, {windows.anchor // 3600} h to anchor, "
        f"{windows.challenge // 3600} h to challenge. A challenge must",
        "outlast the time for which a sequencer can keep a transaction out, until it is forced in through Ethereum:",
        "the sequencing window, which the rollup's configuration says.",
    ]
    return lines
