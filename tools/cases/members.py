# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 2.2, 6 to 6.3 and 12.1 to 12.3 of docs/protocol.md: members, their budgets and their files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from eth_account import Account

from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import Commitment, Domain, checksum_address
from folkmoot.protocol.deletion import DeletionWish
from tools.cases.group import Group
from tools.cases.values import Values
from tools.vectors.values import CHAIN_ID, KEYS, LEDGER, stream

PRIVACY: dict[str, Any] = {
    "unit": "record", "adjacency": "add-remove", "noise1024": 6369, "steps": 40, "B0": 600, "clip": 1.5, "grid": 3,
    "delta": 1e-4,
}  # fmt: skip


def member_cases() -> list[Group]:
    """All groups of this module."""
    return [
        _privacy(),
        _floor(),
        _bounds(),
        _batch(),
        _closing(),
        _missed(),
        _retention(),
        _wishes(),
    ]


def _privacy() -> Group:
    group = Group(
        "privacySettings",
        "2.2",
        "Training settings with privacy: the cost of a round, and the exponent of each tensor in round 1.",
    )

    def add(comment: str, *, rate: float = 0.1, valid: bool = True, drop: str = "", **changes: Any) -> None:
        privacy = {name: value for name, value in (PRIVACY | changes).items() if name != drop}
        training = json.dumps({"learning_rate": rate, "privacy": privacy})
        (group.valid if valid else group.invalid)(comment, {"training": training})

    add("as it is")
    add("the largest values", noise1024=1 << 20, steps=1000, B0=1 << 32, clip=10**6, grid=6, delta=2.3e-11)
    add("the smallest values", noise1024=1, steps=1, B0=1, clip=1e-9, grid=0, delta=1e-30)
    add("the finest grid", noise1024=1024, grid=16)
    add("steps count by their root", steps=41, noise1024=1000)
    add("a learning rate that is an integer, a clip that is one", rate=1, clip=2)
    add("delta is 1 / (10 B0)", B0=500, delta=1 / 5000)
    add("delta is 0.001", B0=20, delta=0.001)
    add("the exponent is at least -40", rate=1e-9, clip=1e-6, B0=1 << 20, delta=1e-8)
    add("the exponent is at most 4", rate=1000, clip=1000, B0=1)
    refused: dict[str, dict[str, Any]] = {
        "noise of 0": {"noise1024": 0},
        "noise above 2^20": {"noise1024": (1 << 20) + 1},
        "noise that is a float": {"noise1024": 6369.0},
        "noise that is a bool": {"noise1024": True},
        "no steps": {"steps": 0},
        "1,001 steps": {"steps": 1001},
        "B0 of 0": {"B0": 0},
        "B0 above 2^32": {"B0": (1 << 32) + 1, "delta": 1e-12},
        "a clip of 0": {"clip": 0},
        "a clip above 10^6": {"clip": 1000001},
        "a negative grid": {"grid": -1},
        "a grid of 17": {"grid": 17, "noise1024": 1},
        "noise1024 * 2^grid above 2^26": {"grid": 14},
        "delta of 0": {"delta": 0},
        "delta above 0.001": {"B0": 20, "delta": 0.0011},
        "delta above 1 / (10 B0)": {"B0": 500, "delta": 0.00021},
        "another unit": {"unit": "client"},
        "another adjacency": {"adjacency": "replace"},
        "an unknown field": {"seed": 7},
        "a setting that is missing": {"drop": "delta"},
    }
    for comment, changes in refused.items():
        add(comment, valid=False, **changes)
    return group


def _model(elements: Sequence[int], exponents: Sequence[int], dtype: str = "float32", **more: Any) -> Values:
    """A private model, for `_floor` and `_bounds`."""
    settings = {"learning_rate": 0.1, "privacy": PRIVACY} | more
    return {"elements": elements, "exponents": exponents, "dtype": dtype, "training": json.dumps(settings)}


def _floor() -> Group:
    group = Group(
        "floor",
        "6.3",
        "The floor of a private model: its tensors have these elements and this dtype. 0: there is none.",
    )

    def add(comment: str, elements: Sequence[int], exponent: int = -8, width: int = 8, **more: Any) -> None:
        exponents = more.pop("exponents", [exponent] * len(elements))
        group.valid(comment, {**_model(elements, exponents, **more), "width": width})

    noisy: Any = {"privacy": PRIVACY | {"noise1024": 60_000}}
    add("as it is", [5000, 10])
    add("288 weights", [288], -8, **noisy)
    add("287 weights", [287], -8, **noisy)
    add("289 weights: the root is rounded up", [289], -8, **noisy)
    add("it counts no padding", [300, 1, 1], -8, **noisy)
    add("a floor of many weights", [1 << 30], -10)
    add("each step has its own noise: steps do not count", [5000], privacy=PRIVACY | {"steps": 7})
    add("a step above the coarsest grid", [5000], 4)
    add("different exponents", [5000, 10], exponents=[-8, -9])
    add("float16", [5000], dtype="float16")
    add("float64", [5000], dtype="float64")
    add("width 4", [5000], width=4)
    add(
        "s of 32",
        [400],
        -10,
        learning_rate=0.125,
        privacy=PRIVACY | {"noise1024": 204_800, "B0": 800, "clip": 1.0},
    )
    add(
        "s just above 32", [400], -10, privacy=PRIVACY | {"noise1024": 1024 * 200 + 1, "B0": 640, "clip": 1.0}
    )
    return group


def _bounds() -> Group:
    group = Group(
        "privateBounds", "6.3", "Whether a contributor may train: the policy's bounds on the sum of squares, in a "
        "model as in the group floor.",
    )  # fmt: skip
    noisy: Any = {"privacy": PRIVACY | {"noise1024": 60_000}}
    model = {**_model([5000], [-8], **noisy), "width": 8}
    floor = int(_of(_floor_of(model)))
    small = {**_model([200], [-8], **noisy), "width": 8}
    for comment, given, least, most, fits in (
        ("the floor itself", model, floor, 4 * floor, True),
        ("a floor that is too high", model, floor + 1, 1 << 40, False),
        ("less than four times the floor", model, floor, 4 * floor - 1, False),
        ("no floor", model, 0, 5000, True),
        ("a cap below one a weight", model, 0, 4999, False),
        ("too few weights for a floor", small, 1, 1 << 40, False),
        ("too few weights, without a floor", small, 0, 200, True),
    ):
        bounds = {**given, "minSumSquares": least, "maxSumSquares": most}
        (group.valid if fits else group.invalid)(comment, bounds)
    return group


def _floor_of(model: Values) -> Values:
    group = Group("floor", "6.3", "")
    group.valid("", model)
    return dict(group.tests[0]["expected"])


def _of(expected: Values) -> str:
    return str(expected["floor"])


def _batch() -> Group:
    group = Group(
        "batch", "6", "What commitUpdates takes, read with the round, base, bundle, chain and ledger of the call: the "
        "accounts and the commitments' hashes, and what the event lists (without the signatures).",
    )  # fmt: skip
    base, bundle = stream("batch base", 32), stream("batch bundle", 32)
    domain = Domain(CHAIN_ID, LEDGER)
    signed, signatures = [], []
    for i, key in enumerate(KEYS):
        account = Account.from_key(key)
        one = Commitment(
            account.address, 7, base, stream(f"batch root {i}", 32), 1 << 20 * i,
            bytes(32) if i == 1 else stream("m", 32), bundle,
        )  # fmt: skip
        signed.append(one)
        signatures.append(one.sign(account, domain))
    data = pack_batch(signed, signatures)
    call = {
        "round": 7,
        "baseStateRoot": base,
        "bundleHash": bundle,
        "chainId": CHAIN_ID,
        "verifyingContract": LEDGER,
    }
    parities = {signature[64] for signature in signatures}
    if parities != {27, 28}:
        raise SystemExit("The signatures of the batch have one parity: sign other commitments.")
    group.valid("three entries", {**call, "batch": data})
    group.valid("one entry", {**call, "batch": data[156:312]})
    group.valid("no entry", {**call, "batch": b""})

    def flipped(place: int, bit: int = 1) -> bytes:
        return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]

    for comment, changed in {
        "a byte too few": data[:-1],
        "a byte too many": data + b"\0",
        "another parity": flipped(124, 0x80),
        "another account": flipped(19),
        "another root": flipped(21),
        "another sum of squares": flipped(59),
        "another memory": flipped(60),
        "entries of 157 bytes, v apart": b"".join(
            data[at : at + 124] + signature[32:65]
            for at, signature in zip(range(0, len(data), 156), signatures, strict=True)
        ),
    }.items():
        group.invalid(comment, {**call, "batch": changed})
    group.invalid("another bundle", {**call, "batch": data, "bundleHash": bytes(32)})
    group.invalid("another round", {**call, "batch": data, "round": 8})
    group.invalid("another base", {**call, "batch": data, "baseStateRoot": bytes(32)})
    return group


def _people(count: int) -> list[str]:
    return [checksum_address("0x" + stream(f"member {i}", 20).hex()) for i in range(count)]


def _closing() -> Group:
    group = Group(
        "closeCommits", "6.1", "Whether the coordinator may end a commit window that is open. since: the accounts that "
        "are enrolled and their since; committed: the accounts with an entry. drawn: places were drawn. counted: the "
        "accounts that count in the round.",
    )  # fmt: skip
    a, b, c, own = _people(4)

    def add(
        comment: str, valid: bool, since: dict[str, int], committed: Sequence[str], *,
        least: int = 1, most: int = 9, drawn: bool = False,
    ) -> None:  # fmt: skip
        given = {
            "openedAt": 1000, "since": since, "committed": committed, "minContributors": least,
            "maxContributors": most, "drawn": drawn,
        }  # fmt: skip
        (group.valid if valid else group.invalid)(comment, given)

    add("all who count have committed", True, {a: 1, b: 999}, [b, a])
    add("one who counts is missing", False, {a: 1, b: 999}, [a])
    add("who enrolled at the opening does not count", True, {a: 1, b: 1000}, [a])
    add("who enrolled later does not count", True, {a: 1, b: 1001}, [a])
    add("nobody counts", False, {a: 1000}, [own])
    add("nobody is enrolled", False, {}, [own])
    add("somebody who does not count has committed too", True, {a: 1}, [a, own])
    add("too few entries", False, {a: 1}, [a], least=2)
    add("as many entries as are needed", True, {a: 1}, [a, own], least=2)
    add("the round is full", True, {a: 1, b: 1, c: 1}, [a, own], most=2)
    add("one place is left", False, {a: 1, b: 1, c: 1}, [a, own], most=3)
    add("drawn: all places but one are taken", True, {a: 1, b: 1, c: 1}, [a, b], most=3, drawn=True)
    add(
        "drawn: a place is left, though all who are enrolled have committed",
        False,
        {a: 1},
        [a],
        most=3,
        drawn=True,
    )
    add("drawn: of one place none", False, {a: 1, b: 1}, [], least=0, most=1, drawn=True)
    add("drawn: of one place one", True, {a: 1, b: 1}, [a], most=1, drawn=True)
    return group


def _missed() -> Group:
    group = Group(
        "missed", "6.2", "The rounds that an account has missed in a row, with its since and enrolled stake. rounds: "
        "the newest first; phase is the number of the phase, committed whether the account has an entry, and quota, "
        "at and seed those of the draw (quota 0: no places were drawn).",
    )  # fmt: skip
    account = _people(1)[0]

    def add(comment: str, rounds: Sequence[dict[str, Any]], since: int = 500, enrolled: int = 10) -> None:
        whole = [
            {"openedAt": 1000 - i, "phase": 4, "entries": 2, "maxContributors": 5, "committed": False, "quota": 0,
             "at": 0, "seed": 0} | one
            for i, one in enumerate(rounds)
        ]  # fmt: skip
        group.valid(comment, {"account": account, "since": since, "enrolled": enrolled, "rounds": whole})

    gone: dict[str, Any] = {}
    add("three final rounds", [gone, gone, gone])
    add("never more than three", [gone] * 5)
    add("one that is anchored counts", [{"phase": 3}, gone])
    add("an open, a cancelled and a slashed one do not", [{"phase": 1}, {"phase": 5}, {"phase": 6}, gone])
    add("a cancelled one with an entry ends the row", [gone, {"phase": 5, "committed": True}, gone])
    add("up to the last entry", [gone, gone, {"committed": True}, gone])
    add("an entry in the newest round", [{"committed": True}, gone, gone, gone])
    add("of since on", [gone, gone, gone], since=998)
    add("a full round", [{"entries": 5}, gone, {"entries": 6}, gone])
    add("drawn, with the quota", [{"quota": 10, "at": 900}, gone])
    add(
        "drawn, a stake below the quota, and a lot that loses",
        [{"quota": 10**12, "at": 900, "seed": 5}, gone],
    )
    add("drawn, enrolled at the basis", [{"quota": 1, "at": 500}, gone])
    add("drawn, the place of the coordinator is left", [{"quota": 1, "at": 900, "entries": 4}, gone])
    add("drawn, one place in all", [{"quota": 1, "at": 900, "entries": 0, "maxContributors": 1}, gone])
    return group


def _retention() -> Group:
    group = Group(
        "retention", "12.1, 12.2", "What may be deleted of a round. phase is the number of its phase; freeAt, above "
        "and retainRounds as in section 12.1, now the time of the block.",
    )  # fmt: skip

    def add(comment: str, **changes: int) -> None:
        usual = {"round": 5, "phase": 4, "now": 1000, "freeAt": 1000, "above": 9, "retainRounds": 8}
        group.valid(comment, usual | changes)

    add("as it is")
    add("before its time", now=999)
    add("seven final rounds above", above=7, retainRounds=1)
    add("eight final rounds above", above=8, retainRounds=7)
    add("as many rounds above as are retained", above=20, retainRounds=20)
    add("one more than are retained", above=21, retainRounds=20)
    add("retained for ever", above=1000, retainRounds=0)
    for phase in (1, 3, 5, 6):
        add(f"phase {phase}", phase=phase)
    add("every eighth state stays", round=16, above=100)
    add("a fourth state that is no eighth", round=12, above=100)
    add("eight above: the state is not spare", above=8)
    add("the state is spare before the updates are free", now=0)
    add("a round that was cancelled has a spare state", phase=5)
    return group


def _wishes() -> Group:
    group = Group(
        "wish", "12.3", "A wish to delete, with the signature of the account's key; digest is what is signed."
    )
    account = Account.from_key(KEYS[1])
    domain = Domain(CHAIN_ID, LEDGER)
    usual = {
        "contributor": account.address, "lastRound": 12, "chainId": CHAIN_ID, "verifyingContract": LEDGER,
    }  # fmt: skip

    def signature(last: int) -> bytes:
        return DeletionWish(account.address, last).signed(account, domain).signature

    group.valid("as it is", {**usual, "signature": signature(12)})
    group.valid(
        "the largest round", {**usual, "lastRound": (1 << 53) - 1, "signature": signature((1 << 53) - 1)}
    )
    group.invalid("for another round", {**usual, "signature": signature(13)})
    group.invalid("round 0", {**usual, "lastRound": 0, "signature": signature(12)})
    group.invalid("a round from 2^53 on", {**usual, "lastRound": 1 << 53, "signature": signature(12)})
    other = Account.from_key(KEYS[2]).address
    group.invalid("of another account", {**usual, "contributor": other, "signature": signature(12)})
    group.invalid("for another ledger", {**usual, "verifyingContract": other, "signature": signature(12)})
    high = signature(12)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    flipped = (
        high[:32] + (order - int.from_bytes(high[32:64], "big")).to_bytes(32, "big") + bytes([55 - high[64]])
    )
    group.invalid("s in the upper half", {**usual, "signature": flipped})
    return group
