# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 11.1 to 11.4, 12.3, 13.2 and 14 of docs/protocol.md: reports, receipts, lists, model files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from eth_account import Account
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount

from folkmoot.evaluation.canary import CanaryReport
from folkmoot.evaluation.losses import Losses, Regression
from folkmoot.evaluation.report import ClassCount, GroupCount, Measurement, Probe, Report
from folkmoot.protocol.acknowledgement import Acknowledgement
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.attestation import Attestation
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.deletion import DeletionWish, to_file
from folkmoot.protocol.hashing import canonical_json, keccak, sha256_hex
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.receipt import Receipt, entries_tree
from tools.cases.group import Group
from tools.vectors.values import CHAIN_ID, KEYS, LEDGER, state_values, stream

Change = Callable[[Any], None]


def file_cases() -> list[Group]:
    """All groups of this module."""
    return [_documents(), _canary(), _loss_units(), _models()]


def _put(value: Any, *places: Any) -> Change:
    def change(document: Any) -> None:
        for place in places[:-1]:
            document = document[place]
        document[places[-1]] = value

    return change


def _sums(*values: tuple[int, int], unmeasured: int = 0) -> Losses:
    """The losses of examples, each a weight and a loss in units."""
    whole = (
        [w for w, _ in values], [w * loss for w, loss in values], [w * w for w, _ in values],
        [w * w * loss for w, loss in values], [w * w * loss * loss for w, loss in values],
    )  # fmt: skip
    return Losses(len(values) + unmeasured, unmeasured, *map(sum, whole))


def classification(right: int = 7, drawn: int = 2) -> Measurement:
    """Two classes and two groups of 20 examples."""
    return Measurement(
        "classification",
        {"accuracy": round((right + 6) / 20, 6)},
        (ClassCount("2", 10, 10 + right - 6, right), ClassCount("10", 10, 16 - right, 6)),
        (GroupCount("a", 8, 3, None), GroupCount("b", 12, right + 3, None)),
        (Probe("corner", "2", 10, drawn, 1),),
    )


def _documents() -> Group:
    group = Group(
        "files", "11.1 to 11.4, 12.3, 13.2", "Files of each kind. A receipt is for the ledger's anchorHash, an "
        "acknowledgement for the coordinator of its round; the files of the others are canonical JSON.",
    )  # fmt: skip

    def changed(kind: str, data: bytes, changes: dict[str, Change], which: str = "as it is") -> None:
        group.valid(f"{kind}: {which}", {"kind": kind, "data": data})
        for comment, change in changes.items():
            value = json.loads(data)
            change(value)
            group.invalid(f"{kind}: {comment}", {"kind": kind, "data": canonical_json(value)})

    head = ("digits", sha256_hex(b"model"), "7", "0x" + "ab" * 32)
    changed("report", Report(*head, classification()).to_bytes(), {
        "an unknown field": _put(1, "extra"),
        "another format": _put("folkmoot/evaluation/2", "format"),
        "a recall that does not follow": _put(0.71, "classes", 0, "recall"),
        "another worst class": _put("2", "worstClass"),
        "another worst group": _put("b", "worstGroup"),
        "another gap": _put(0.4, "gaps", "meanMinusWorst"),
        "a class with more right than it has": _put(11, "classes", 0, "correct"),
        "groups that do not add up": _put(9, "groups", 0, "support"),
        "an example too many": _put(21, "examples"),
        "a count that is a float": _put(10.0, "classes", 0, "support"),
        "a class twice": _put("2", "classes", 1, "class"),
        "a trigger that is none": _put("edge", "probes", 0, "trigger"),
        "a probe of more than the others": _put(21, "probes", 0, "examples"),
        "a metric of seven decimals": _put(0.1234567, "metrics", "accuracy"),
        "a part of another kind": _put("regression", "kind"),
    }, "a classification")  # fmt: skip
    lost = _sums((3, 5 << 20), (1, 1 << 20), unmeasured=1)
    whole = _sums((3, 5 << 20), (1, 1 << 20), (2, 3))
    parts = (
        GroupCount("x", 1, None, _sums((3, 5 << 20))),
        GroupCount("y", 2, None, _sums((1, 1 << 20), (2, 3))),
    )
    changed("report", Report(*head, Measurement("language-model", {}, (), parts, losses=whole)).to_bytes(), {
        "w below the examples": _put("2", "loss", "sums", "w"),
        "a sum with a leading zero": _put("06", "loss", "sums", "w"),
        "w2 above w squared": _put("100", "loss", "sums", "w2"),
        "another mean": _put(2.0, "loss", "mean"),
        "another perplexity": _put(2.0, "perplexity"),
        "a mean of no number": _put(None, "loss", "mean"),
        "groups that do not add up": _put("0", "groups", 0, "loss", "sums", "wl"),
    }, "a language model")  # fmt: skip
    short = (parts[0], replace(parts[1], losses=_sums((1, 1 << 20), (2, 4))))
    data = Report(*head, Measurement("language-model", {}, (), short, losses=whole)).to_bytes()
    group.invalid("report: groups whose losses do not add up", {"kind": "report", "data": data})
    changed("report", Report(*head, Measurement("language-model", {}, losses=lost)).to_bytes(), {
        "a mean in spite of it": _put(4.0, "loss", "mean"),
    }, "a language model, one example unmeasured")  # fmt: skip
    # targets 1 and 2, predictions 1.5 and 2.25, in units of 2^-20
    unit = 1 << 20
    errors = Regression(False, 3 * unit, 5 * unit**2, 3 * unit // 4, 5 * unit**2 // 16)
    losses = _sums((1, unit // 4), (1, unit // 16))
    changed("report", Report(*head, Measurement("regression", {}, losses=losses, regression=errors)).to_bytes(), {
        "another r2": _put(0.5, "regression", "r2"),
        "squared below absolute": _put("5", "regression", "sums", "squared"),
        "t2 too small for t": _put("1", "regression", "sums", "t2"),
        "losses that are not the squared errors": _put(str(losses.wl + 2), "loss", "sums", "wl"),
        "a loss of another name": _put("huber", "regression", "loss"),
    }, "a regression")  # fmt: skip
    changed("report", Report(*head, Measurement("metrics", {"score": 3.25, "other": None})).to_bytes(), {
        "examples": _put(3, "examples"),
        "infinite": _put("inf", "metrics", "score"),
    }, "metrics")  # fmt: skip
    canary = CanaryReport(
        3, "digits", stream("base", 32), stream("new", 32), classification(), classification(5)
    )
    changed("canary", canary.to_bytes(), {
        "an unknown field": _put(1, "extra"),
        "round 0": _put(0, "round"),
        "a root of 31 bytes": _put("0x" + "ab" * 31, "stateRoot"),
        "a root without 0x": _put("ab" * 32, "stateRoot"),
        "another kind": _put(Measurement("metrics", {"accuracy": 0.5}).to_json(), "candidate"),
        "nothing to compare": lambda value: value.update(
            **dict.fromkeys(("base", "candidate"), Measurement("metrics", {"score": 1.0}).to_json())
        ),
    })  # fmt: skip

    people = [Account.from_key(key) for key in KEYS]
    entries = [
        Commitment(one.address, 3, stream("base", 32), stream(f"root {i}", 32), 1000 + i)
        for i, one in enumerate(people)
    ]
    weights = (5, 0, 65536)
    roots = [stream(f"receipt {i}", 32) for i in range(5)]
    anchor = Anchor(
        weights,
        (9, 0, 65536),
        5,
        roots[0],
        roots[1],
        roots[2],
        roots[3],
        roots[4],
        entries_tree(entries, weights).root,
    )

    def receipt(index: int) -> bytes:
        return json.dumps(Receipt.of(entries, anchor, index).to_json()).encode()

    def wrong(comment: str, change: Change, index: int = 2) -> None:
        value = json.loads(receipt(index))
        change(value)
        given = {"kind": "receipt", "data": json.dumps(value).encode(), "anchorHash": anchor.hash}
        group.invalid(f"receipt: {comment}", given)

    for index in range(3):
        group.valid(
            f"receipt: entry {index}", {"kind": "receipt", "data": receipt(index), "anchorHash": anchor.hash}
        )
    wrong("another weight", _put(65535, "weight"))
    wrong("another index", _put(0, "index"))
    wrong("an index behind the last entry", _put(3, "index"))
    wrong("another number of entries", _put(5, "entries"))
    wrong("another account", lambda value: value["commitment"].update(contributor=people[0].address))
    wrong("another sum of squares", lambda value: value["commitment"].update(sumSquares="1003"))
    wrong("a number that is an integer", lambda value: value["commitment"].update(sumSquares=1002))
    wrong("a number with a sign", lambda value: value["commitment"].update(sumSquares="+1002"))
    wrong("a number with a space", lambda value: value["commitment"].update(round=" 3"))
    wrong("hex without 0x", lambda value: value["commitment"].update(updateRoot=stream("root 2", 32).hex()))
    wrong("an unknown field", _put(1, "extra"))
    wrong("a sibling too few", lambda value: value["siblings"].pop())
    wrong("a word too few", lambda value: value["anchor"].pop())
    wrong("another word", _put("0x" + "00" * 32, "anchor", 2))
    wrong("a weight that is a float", _put(65536.0, "weight"))
    wrong("an address without its checksum", lambda value: value["commitment"].update(
        contributor=value["commitment"]["contributor"].lower()
    ))  # fmt: skip

    domain = Domain(CHAIN_ID, LEDGER)
    _acknowledgements(group, entries[0], people[1], domain)
    wishes = to_file(DeletionWish(one.address, 4 + i).signed(one, domain) for i, one in enumerate(people))
    changed("deletions", wishes, {
        "an unknown field": _put(1, "extra"),
        "another format": _put("folkmoot/deletions/2", "format"),
        "not ascending": lambda value: value["wishes"].reverse(),
        "an account twice": lambda value: value["wishes"].append(value["wishes"][-1]),
        "an address without its checksum": lambda value: value["wishes"][0].update(
            contributor=value["wishes"][0]["contributor"].lower()
        ),
        "round 0": _put(0, "wishes", 0, "lastRound"),
        "a round that is a text": _put("4", "wishes", 0, "lastRound"),
        "a signature without 0x": _put("ab" * 65, "wishes", 0, "signature"),
        "an empty signature": _put("0x", "wishes", 0, "signature"),
    })  # fmt: skip
    group.valid("deletions: none", {"kind": "deletions", "data": to_file(())})
    attested = Attestation(
        domain, 90, stream("block", 32), {3: stream("a", 32), 1: stream("b", 32)}, (2, 5), people[0].address
    )
    changed("attestation", attested.signed(people[0]).to_json(), {
        "another block": _put(91, "block"),
        "another anchor": _put("0x" + "11" * 32, "recomputed", 0, "anchorHash"),
        "rounds that are not ascending": lambda value: value["recomputed"].reverse(),
        "a round in both lists": _put([2, 3], "expired"),
        "another auditor": _put(people[1].address, "auditor"),
        "an unknown field": _put(1, "extra"),
        "another chain": _put(1, "chainId"),
    })  # fmt: skip
    both = json.loads(attested.signed(people[0]).to_json())
    del both["signature"]
    both["expired"] = [2, 3]
    body = keccak(keccak(b"Attestation(bytes32 digest)"), bytes.fromhex(sha256_hex(canonical_json(both))))
    signature = people[0].sign_message(SignableMessage(b"\x01", domain.separator, body)).signature
    data = canonical_json({**both, "signature": "0x" + signature.hex()})
    group.invalid("attestation: a round in both lists, signed", {"kind": "attestation", "data": data})
    return group


def _acknowledgements(group: Group, commitment: Commitment, by: LocalAccount, domain: Domain) -> None:
    """Add the cases of section 11.4."""
    place: dict[str, Any] = {"chainId": CHAIN_ID, "verifyingContract": LEDGER, "coordinator": by.address}
    made = Acknowledgement.of(commitment, by, domain)

    def given(value: Any, **other: Any) -> dict[str, Any]:
        return {"kind": "acknowledgement", "data": json.dumps(value).encode(), **place, **other}

    def wrong(comment: str, change: Change) -> None:
        value = made.to_json()
        change(value)
        group.invalid(f"acknowledgement: {comment}", given(value))

    group.valid("acknowledgement: as it is", given(made.to_json()))
    group.invalid("acknowledgement: another ledger", given(made.to_json(), verifyingContract=by.address))
    group.invalid("acknowledgement: another chain", given(made.to_json(), chainId=CHAIN_ID + 1))
    group.invalid(
        "acknowledgement: another coordinator", given(made.to_json(), coordinator=commitment.contributor)
    )
    commitment_only = (
        "0x"
        + by.sign_message(SignableMessage(b"\x01", domain.separator, commitment.struct_hash)).signature.hex()
    )
    wrong("the coordinator's signature of the commitment", _put(commitment_only, "signature"))
    wrong("another root", lambda value: value["commitment"].update(updateRoot="0x" + "11" * 32))
    wrong("another round", lambda value: value["commitment"].update(round="4"))
    wrong("an unknown field", _put(1, "extra"))
    wrong("another format", _put("folkmoot/acknowledgement/2", "format"))
    wrong("a signature without 0x", _put(made.signature.hex(), "signature"))
    wrong("a signature in capitals", _put("0x" + made.signature.hex().upper(), "signature"))
    wrong("a round that is a number", lambda value: value["commitment"].update(round=3))
    wrong("a round with a sign", lambda value: value["commitment"].update(round="+3"))
    wrong(
        "v is 0 or 1",
        _put("0x" + (made.signature[:64] + bytes([made.signature[64] - 27])).hex(), "signature"),
    )


def _canary() -> Group:
    group = Group(
        "canary", "11.2", "In what a model fell against its base: kind, and the class, group or trigger and class. "
        "base and candidate are what a report says from kind to probes, canonical JSON.",
    )  # fmt: skip
    usual = {
        "accuracyDrop": "0.05", "recallDrop": "0.4", "leastExamples": 10, "triggerRise": "0.3", "lossRise": "0.25",
        "groupLossRise": "1.0",
    }  # fmt: skip

    def add(comment: str, base: Measurement, candidate: Measurement, **limits: Any) -> None:
        sides = {
            name: canonical_json(one.to_json()).decode()
            for name, one in (("base", base), ("candidate", candidate))
        }
        group.valid(comment, {**sides, **usual, **limits})

    def counts(first: int, second: int, size: int = 1000, drawn: int = 0) -> Measurement:
        return Measurement(
            "classification", {},
            (ClassCount("0", size, size + first - second, first), ClassCount("1", size, size + second - first, second)),
            probes=(Probe("corner", "1", size, drawn, size - first),),
        )  # fmt: skip

    add("nothing changed", counts(900, 900), counts(900, 900))
    add("the accuracy fell within two standard errors", counts(900, 900), counts(840, 840))
    add("the accuracy fell", counts(900, 900), counts(820, 820))
    add("the accuracy fell by the limit, of few", counts(9, 9, 10), counts(7, 7, 10))
    add("a class fell", counts(900, 900), counts(300, 900), accuracyDrop="0.9")
    add(
        "a class with too few examples",
        counts(900, 500),
        counts(300, 990),
        accuracyDrop="0.9",
        leastExamples=1001,
    )
    add("what is given to everybody is no recall", counts(900, 600), counts(1000, 0), accuracyDrop="0.9")
    add("a trigger", counts(900, 900, drawn=100), counts(900, 900, drawn=500))
    add("a trigger that the base had", counts(900, 900, drawn=500), counts(900, 900, drawn=500))
    add("a trigger within two standard errors", counts(9, 9, 10, drawn=1), counts(9, 9, 10, drawn=5))

    def losses(*values: tuple[int, int], unmeasured: int = 0, kind: str = "language-model") -> Measurement:
        return Measurement(kind, {}, losses=_sums(*values, unmeasured=unmeasured))

    unit = 1 << 20
    plain = [(1, unit), (1, unit + 100)] * 10
    add("the loss rose", losses(*plain), losses(*[(w, 2 * loss) for w, loss in plain]))
    add("the loss rose by less", losses(*plain), losses(*[(w, loss + loss // 5) for w, loss in plain]))
    wide = [(1, unit // 2), (1, unit + unit // 2)]
    add(
        "the loss rose within two standard errors",
        losses(*wide),
        losses(*[(w, loss + loss // 3) for w, loss in wide]),
    )
    same = [(1, 19 * unit // 10)] * 2
    add("the loss rose within two standard errors of the base", losses(*wide), losses(*same))
    before, after = [(5, unit), (1, 3 * unit)] * 80, [(5, 2 * unit), (1, unit)] * 80
    add("weights count", losses(*before), losses(*after))
    add("unmeasured examples", losses(*plain), losses(*plain[1:], unmeasured=1))
    add("as many unmeasured as before", losses(*plain[1:], unmeasured=1), losses(*plain[1:], unmeasured=1))

    def grouped(first: int, second: int, size: int = 10) -> Measurement:
        parts = [
            GroupCount(n, size, None, _sums(*[(1, loss)] * size)) for n, loss in (("a", first), ("b", second))
        ]
        return Measurement(
            "loss", {}, (), tuple(parts), losses=_sums(*[(1, first)] * size, *[(1, second)] * size)
        )

    add("a group's loss rose", grouped(unit, 9 * unit), grouped(3 * unit, 8 * unit))
    add("a small group's loss rose", grouped(unit, 9 * unit, 9), grouped(3 * unit, 8 * unit, 9))

    def metric(**values: float | None) -> Measurement:
        return Measurement("metrics", values)

    add("a metric accuracy", metric(accuracy=0.9), metric(accuracy=0.84))
    add("a metric accuracy at the limit", metric(accuracy=0.9), metric(accuracy=0.85))
    add("a metric accuracy that is gone", metric(accuracy=0.9), metric(accuracy=None))
    add("a metric loss", metric(loss=-2.0), metric(loss=-1.4))
    add("a metric loss at the limit", metric(loss=-2.0), metric(loss=-1.5))
    add("a metric loss that is gone", metric(loss=2.0), metric(loss=None))
    return group


def _loss_units() -> Group:
    group = Group(
        "lossUnits",
        "11.1",
        "Losses and predicted numbers as binary64, big-endian, and as integers; null: unmeasured.",
    )
    values = [
        0.0, -0.0, 1.0, -1.0, 2.0**-21, 3 * 2.0**-21, -(2.0**-21), 2.0**-22, 5 * 2.0**-22, 2.0**31, -(2.0**31),
        float(np.nextafter(2.0**31, np.inf)), np.inf, -np.inf, np.nan, 1e300, 0.1,
    ]  # fmt: skip
    group.valid(
        "rounded half to even, unmeasured beyond 2^31", {"values": np.array(values, dtype=">f8").tobytes()}
    )
    return group


def _models() -> Group:
    group = Group(
        "model",
        "14",
        "The safetensors file of a state. files has the carried files, in the manifest's order.",
    )

    def add(
        comment: str, arrays: list[dict[str, Any]], version: int = 3, files: list[bytes] | None = None
    ) -> None:
        document = {"format": "folkmoot/manifest/2", "task": "models", "arrays": arrays, "training": {}}
        data = canonical_json(document)
        manifest = Manifest.from_json(data)
        theta = state_values(f"model {comment} theta", manifest, 1 << 30)
        given = {
            "manifest": data.decode(), "theta": theta.astype(">i8").tobytes(), "version": version, "files": files or [],
        }  # fmt: skip
        group.valid(comment, given)

    def tensor(name: str, *shape: int, dtype: str = "float32") -> dict[str, Any]:
        return {"name": name, "shape": list(shape), "dtype": dtype}

    def carried(name: str, dtype: str, *shape: int, data: str) -> dict[str, Any]:
        return {"name": name, "shape": list(shape), "dtype": dtype, "data": data}

    add("names that are not sorted", [tensor("z", 2, 3), tensor("a", 4), tensor("Z", 1)])
    add(
        "names that are not ASCII, or have escapes",
        [tensor("Gewicht ä €", 2), tensor("\U0001f600", 1), tensor('a"b\\c\n', 1)],
    )
    add(
        "tensors of float16 and float64 are float32",
        [tensor("half", 3, dtype="float16"), tensor("double", 2, dtype="float64")],
    )
    add("a scalar, and a tensor of two leaves", [tensor("scalar"), tensor("long", 2, 150)])
    add("carried arrays among the tensors", [
        carried("mask", "bool", 3, data="AQAB"), tensor("w", 2), carried("step", "int64", data="BwAAAAAAAAA="),
        carried("half", "float16", 2, data="AHwAPA=="), carried("bytes", "uint8", 2, 1, data="/wA="),
    ])  # fmt: skip
    frozen = stream("carried file", 24)
    add("a carried file", [
        tensor("w", 2),
        {"name": "frozen", "shape": [2, 3], "dtype": "float32", "hash": sha256_hex(frozen)},
        tensor("b", 1),
    ], 1 << 40, [frozen])  # fmt: skip
    for length in range(1, 9):
        add(f"a name of {length} letters: padding of the header", [tensor("n" * length, 1)])
    return group
