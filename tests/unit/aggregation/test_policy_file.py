# SPDX-License-Identifier: Apache-2.0
"""Policy files: they round-trip, and every mistake in one is named."""

from __future__ import annotations

import json
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
        ({"bits": 1 << 9}, "bits"),
        ({"parameters": [1.5]}, "parameters"),
        ({"parameters": "1"}, "parameters"),
        ({"rule": 5}, "rule"),
        ({"rule": ""}, "rule"),
        ({"wrong": 1}, "unknown fields wrong"),
        ({"verifier": "0x12"}, "0x12"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        policy_file.from_json({**policy_file.to_json(policy()), **change})
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
