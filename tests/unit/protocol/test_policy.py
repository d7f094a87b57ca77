# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from folkmoot.errors import InputError
from folkmoot.protocol.policy import ARBITER, Policy
from tests.unit import worlds

POLICY = worlds.policy("multi_krum", (1, 0))


def test_abi_reads_back() -> None:
    private = replace(
        POLICY, noise1024=6146, steps=5, privacy_cap=1 << 63, min_sum_squares=7, retain_rounds=9, interval=3
    )
    for policy in (POLICY, replace(private, bundle_hash=b"\x05" * 32)):
        assert Policy.from_abi(policy.abi_tuple()) == policy
    assert POLICY.rule_bytes == b"multi_krum" + bytes(22)


def test_fields_are_the_solidity_structs() -> None:
    source = Path(__file__).resolve().parents[3] / "contracts" / "src" / "interfaces" / "IPolicies.sol"
    struct = re.search(r"struct Policy \{(.*?)\n    \}", source.read_text(encoding="utf-8"), re.DOTALL)
    assert struct is not None
    names = re.findall(r"^\s+[a-z0-9\[\]]+ (\w+);", struct[1], re.MULTILINE)
    ours = [re.sub(r"_(\w)", lambda match: match[1].upper(), field.name) for field in fields(Policy)]
    assert ours == names


@pytest.mark.parametrize(
    "change",
    [
        {"rule": ""},
        {"rule": "x" * 33},
        {"rule": "größe"},
        {"rule": "a\0b"},
        {"parameters": (1 << 32,)},
        {"parameters": (-1,)},
        {"max_sum_squares": 1 << 64},
        {"rate": 1 << 16},
        {"width": -1},
        {"reward": 1 << 128},
        {"min_sum_squares": 1 << 64},
        {"noise1024": 1 << 32},
        {"steps": -1},
        {"privacy_cap": 1 << 64},
        {"retain_rounds": 1 << 32},
        {"interval": 1 << 32},
        {"bundle_hash": bytes(31)},
        {"verifier": "0x1"},
    ],
)
def test_policy_refuses(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(POLICY, **change)  # type: ignore[arg-type]


def test_abi_refuses() -> None:
    values = list(POLICY.abi_tuple())
    with pytest.raises(InputError):
        Policy.from_abi(values[:-1])
    with pytest.raises(InputError):
        Policy.from_abi([b"\xff" * 32, *values[1:]])


def test_the_word_for_the_arbiter_never_gets_onto_a_chain() -> None:
    word, address = replace(POLICY, verifier=ARBITER), "0x" + "11" * 20
    with pytest.raises(InputError) as caught:
        word.abi_tuple()
    assert caught.value.code == "verifier-unresolved"
    assert word.resolved(address) == replace(POLICY, verifier=address)
    assert POLICY.resolved(address) == POLICY
