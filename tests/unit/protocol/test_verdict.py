# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from folkmoot.errors import ArtifactError
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.verdict import Artifacts, Reason, Verdict, Verdicts
from tests.unit import worlds

ALICE = worlds.account("alice").address
VERDICTS = Verdicts(
    4,
    "multi_krum",
    (1, 0),
    (
        Verdict(0, ALICE, 1, Reason.ACCEPTED, {"sumSquares": 10**30, "krumScore": 5}),
        Verdict(1, worlds.account("bob").address, 0, Reason.NOT_DELIVERED, {"sumSquares": 1}),
    ),
)
ARTIFACTS = Artifacts(
    4, b"\x01\x02", "a" * 64, "b" * 64, ("c" * 64, None), "d" * 64, "e" * 64, "f" * 64, (-3, 4)
)


def entry(index: int, pay: object) -> dict[str, object]:
    return {
        "index": index,
        "contributor": ALICE,
        "weight": 1,
        "pay": pay,
        "reason": "accepted",
        "numbers": {},
    }


def test_pays_are_those_of_all_entries_or_of_none() -> None:
    paid = replace(
        VERDICTS, verdicts=tuple(replace(one, pay=FULL_PAY * one.weight) for one in VERDICTS.verdicts)
    )
    assert Verdicts.from_json(paid.to_json()) == paid
    assert (paid.pays, VERDICTS.pays) == ((FULL_PAY, 0), ())
    assert paid.weights == VERDICTS.weights == (1, 0)


def test_files_read_back() -> None:
    assert Verdicts.from_json(VERDICTS.to_json()) == VERDICTS
    assert Artifacts.from_json(ARTIFACTS.to_json()) == ARTIFACTS
    assert ARTIFACTS.files() == ["a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64, "f" * 64]


def test_numbers_are_decimal_strings() -> None:
    value = parse_canonical_json(VERDICTS.to_json())
    assert value["verdicts"][0]["numbers"]["sumSquares"] == str(10**30)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "folkmoot/verdicts/1"},
        {"extra": 1},
        {"round": "4"},
        {"round": True},
        {"parameters": [1.5]},
        {"parameters": [1 << 32]},
        {"round": -1},
        {
            "verdicts": [
                {
                    "index": 1,
                    "contributor": ALICE,
                    "weight": 1,
                    "pay": None,
                    "reason": "accepted",
                    "numbers": {},
                }
            ]
        },
        {
            "verdicts": [
                {
                    "index": 0,
                    "contributor": ALICE,
                    "weight": -1,
                    "pay": None,
                    "reason": "accepted",
                    "numbers": {},
                }
            ]
        },
        {
            "verdicts": [
                {
                    "index": 0,
                    "contributor": ALICE,
                    "weight": 1 << 32,
                    "pay": None,
                    "reason": "accepted",
                    "numbers": {},
                }
            ]
        },
        {"verdicts": [{"index": 0, "contributor": ALICE, "weight": 1, "reason": "accepted", "numbers": {}}]},
        *({"verdicts": [entry(0, pay)]} for pay in (-1, FULL_PAY + 1, 1.0, "1", True)),
        {"verdicts": [entry(0, 1), entry(1, None)]},
        {"verdicts": [{}]},
        {"verdicts": [5]},
        {
            "verdicts": [
                {
                    "index": 0,
                    "contributor": ALICE,
                    "weight": 1,
                    "pay": None,
                    "reason": "because",
                    "numbers": {},
                }
            ]
        },
        {
            "verdicts": [
                {
                    "index": 0,
                    "contributor": ALICE,
                    "weight": 1,
                    "pay": None,
                    "reason": "outlier",
                    "numbers": {"a": " 1"},
                }
            ]
        },
        {
            "verdicts": [
                {
                    "index": 0,
                    "contributor": ALICE.lower(),
                    "weight": 1,
                    "pay": None,
                    "reason": "outlier",
                    "numbers": {},
                }
            ]
        },
        {
            "verdicts": [
                {
                    "index": 0,
                    "contributor": ALICE,
                    "weight": 1,
                    "pay": None,
                    "reason": "outlier",
                    "numbers": {},
                    "x": 1,
                }
            ]
        },
    ],
)
def test_verdicts_refuse(change: dict[str, object]) -> None:
    value = parse_canonical_json(VERDICTS.to_json()) | change
    with pytest.raises(ArtifactError):
        Verdicts.from_json(canonical_json(value))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"header": "0x0102"},
        {"header": "AB"},
        {"header": 5},
        {"manifest": "a" * 63},
        {"updates": ["A" * 64]},
        {"updates": 5},
        {"nextExponents": ["1"]},
        {"nextExponents": [5]},
        {"round": -1},
        {"round": 1 << 64},
        {"state": None},
    ],
)
def test_artifacts_refuse(change: dict[str, object]) -> None:
    value = parse_canonical_json(ARTIFACTS.to_json()) | change
    with pytest.raises(ArtifactError):
        Artifacts.from_json(canonical_json(value))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff"])
def test_other_bytes_are_refused(data: bytes) -> None:
    for kind in (Verdicts, Artifacts):
        with pytest.raises(ArtifactError):
            kind.from_json(data)


def test_every_refusal_of_the_protocol_has_its_code() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "protocol" / "rules.md").read_text(
        encoding="utf-8"
    )
    table = page[page.index("## 7.") : page.index("## 8.")]
    codes = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert codes <= {str(reason) for reason in Reason}
    assert len(codes) == 16
