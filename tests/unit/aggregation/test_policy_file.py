# SPDX-License-Identifier: Apache-2.0
"""Policy files: they round-trip, and every mistake in one is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from folkmoot.aggregation import policy_file
from folkmoot.errors import InputError
from folkmoot.protocol.policy import ARBITER
from tests.factories import policy


def test_policies_round_trip(tmp_path: Path) -> None:
    original = policy(rule="multi_krum", parameters=(1, 0), min_contributors=3)
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy_file.to_json(original)))
    assert policy_file.load(path) == original


def test_amounts_are_decimal_strings_and_integers_are_taken_too() -> None:
    document = policy_file.to_json(policy())
    assert document["bond"] == str(policy().bond)
    assert policy_file.from_json({**document, "bond": policy().bond}) == policy()
    document["verifier"] = "none"
    assert policy_file.from_json(document) == policy()
    del document["verifier"]
    assert policy_file.from_json(document).verifier == ARBITER
    document["verifier"] = policy().verifier
    assert policy_file.from_json(document) == policy()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rate": "fast"}, "rate"),
        ({"rate": 1.5}, "rate"),
        ({"rate": True}, "rate"),
        ({"bond": "-1"}, "bond"),
        ({"width": 1 << 9}, "width"),
        ({"parameters": [1.5]}, "parameters"),
        ({"parameters": "1"}, "parameters"),
        ({"rule": 5}, "rule"),
        ({"rule": ""}, "rule"),
        ({"wrong": 1}, "unknown fields wrong"),
        ({"bits": 8}, "protocol version 1"),
        ({"bundleHash": "0x12"}, "bundleHash must be"),
        ({"bundleHash": 0}, "bundleHash must be"),
        ({"minSumSquares": -1}, "min_sum_squares"),
        ({"verifier": "0x12"}, "0x12"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        policy_file.from_json({**policy_file.to_json(policy()), **change})
    assert caught.value.code == "policy-malformed"


def test_privacy_may_be_left_out_and_reads_back() -> None:
    names = ("interval", "minSumSquares", "noise1024", "steps", "privacyCap", "retainRounds", "bundleHash")
    document = policy_file.to_json(policy())
    assert (
        policy_file.from_json({key: value for key, value in document.items() if key not in names}) == policy()
    )
    private = replace(policy(), noise1024=2745, steps=1, privacy_cap=2**64 - 1, bundle_hash=b"\x0c" * 32)
    document = policy_file.to_json(private)
    assert (document["privacyCap"], document["bundleHash"]) == (str(2**64 - 1), "0x" + "0c" * 32)
    assert policy_file.from_json(document) == private


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"steps": 1}, "all 0 or all above 0"),
        ({"noise1024": 2745, "privacyCap": "298844372"}, "all 0 or all above 0"),
        ({"noise1024": 2745, "steps": 1, "privacyCap": "298844371"}, "less than the 298844372"),
        ({"noise1024": 2745, "steps": 8192, "privacyCap": str(2**64 - 1)}, "more than 8191"),
        ({"minSumSquares": 2**63, "maxSumSquares": 2**62}, "minSumSquares is above"),
    ],
)
def test_a_budget_that_no_ledger_takes_is_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({**policy_file.to_json(policy()), **change}))
    with pytest.raises(InputError, match=named) as caught:
        policy_file.load(path)
    assert caught.value.code == "policy-malformed"


def test_missing_fields_and_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the fields"):
        policy_file.from_json({"rule": "mean"})
    with pytest.raises(InputError, match="not a JSON object"):
        policy_file.from_json([])
    with pytest.raises(InputError, match="can't be read"):
        policy_file.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        policy_file.load(tmp_path / "bad.json")
