# SPDX-License-Identifier: Apache-2.0
"""The parent of a federation, and the content policy, in the manifest and in the deployment file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from folkmoot.errors import InputError, ManifestError
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json
from folkmoot.protocol.manifest import MAX_CONTENT_POLICY, Manifest, Tensor
from folkmoot.protocol.parent import Parent

LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
PARENT = Parent(31337, LEDGER, 3, b"\1" * 32, b"\2" * 32, 77, b"\3" * 32)
PLAIN = Manifest("two", (Tensor("a", (3,)),))


def test_both_are_in_the_file_and_in_its_hash() -> None:
    made = replace(PLAIN, parent=PARENT, content_policy="Be kind. ☮")
    again = Manifest.from_json(made.to_json())
    assert (again, again.hash) == (made, made.hash)
    assert again.parent == PARENT
    document: Any = parse_canonical_json(made.to_json())
    assert document["parent"] == {
        "chainId": 31337,
        "ledger": LEDGER,
        "version": 3,
        "manifestHash": "0x" + "01" * 32,
        "stateRoot": "0x" + "02" * 32,
        "block": 77,
        "blockHash": "0x" + "03" * 32,
    }
    assert document["contentPolicy"] == "Be kind. ☮"
    hashes = {one.hash for one in (PLAIN, made, replace(made, parent=None), replace(made, content_policy=""))}
    assert len(hashes) == 4
    assert str(PARENT) == f"version 3 of the ledger {LEDGER} on chain 31337"


def test_a_manifest_without_them_has_neither_field() -> None:
    assert b"parent" not in PLAIN.to_json()
    assert b"contentPolicy" not in PLAIN.to_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chainId", True),
        ("chainId", -1),
        ("version", 1 << 64),
        ("version", "3"),
        ("block", None),
        ("ledger", LEDGER.lower()),
        ("ledger", "0x12"),
        ("ledger", 5),
        ("stateRoot", "02" * 32),
        ("manifestHash", "0x" + "0A" * 32),
        ("blockHash", 7),
    ],
)
def test_an_impossible_value_is_refused(field: str, value: Any) -> None:
    document = PARENT.to_json() | {field: value}
    with pytest.raises(InputError, match=f"The parent has the {field}"):
        Parent.from_json(document)
    manifest: Any = parse_canonical_json(PLAIN.to_json())
    with pytest.raises(ManifestError, match=field):
        Manifest.from_json(canonical_json(manifest | {"parent": document}))


@pytest.mark.parametrize("change", [{"extra": 1}, None, "text"])
def test_other_fields_are_refused(change: Any) -> None:
    value = PARENT.to_json() | change if isinstance(change, dict) else change
    with pytest.raises(InputError, match="not exactly the fields"):
        Parent.from_json(value)


def test_an_empty_or_a_long_content_policy_is_no_field() -> None:
    document: Any = parse_canonical_json(PLAIN.to_json())
    for value in ("", 5):
        with pytest.raises(ManifestError):
            Manifest.from_json(canonical_json(document | {"contentPolicy": value}))
    assert replace(PLAIN, content_policy="x" * MAX_CONTENT_POLICY).content_policy
    with pytest.raises(ManifestError) as caught:
        replace(PLAIN, content_policy="é" * (MAX_CONTENT_POLICY // 2) + "x")
    assert caught.value.code == "content-policy-too-long"
    with pytest.raises(ManifestError):
        Manifest.from_json(canonical_json(document | {"parents": []}))


def test_the_deployment_file_has_the_same_object() -> None:
    addresses = dict.fromkeys(CONTRACTS, LEDGER)
    made = Deployment(chain_id=1, block=2, genesis_hash="0x" + "ab" * 32, parent=PARENT, **addresses)
    document = made.to_json()
    assert document["parent"] == PARENT.to_json()
    assert Deployment.from_json(document) == made
    assert Deployment.from_json(document | {"parent": None}).parent is None
    with pytest.raises(InputError, match="not exactly the fields") as caught:
        Deployment.from_json(document | {"parent": {}})
    assert caught.value.code == "deployment-malformed"
