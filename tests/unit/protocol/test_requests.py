# SPDX-License-Identifier: Apache-2.0
"""Signed requests are those of another EIP-712 encoder, so that other programs can make them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from eth_account.messages import SignableMessage, encode_typed_data

from folkmoot.protocol import requests
from folkmoot.protocol.commitment import Domain

LEDGER = "0x" + "33" * 20
DOMAIN = Domain(31337, LEDGER)
RUN, DIGEST = "0123456789abcdef" * 2, hashlib.sha256(b"content").digest()

REQUESTS: dict[str, tuple[SignableMessage, str, dict[str, Any]]] = {
    "Upload": (
        requests.upload_message(DOMAIN, DIGEST.hex(), 7),
        "bytes32 sha256,uint64 deadline",
        {"sha256": DIGEST, "deadline": 7},
    ),
    "Run": (
        requests.run_message(DOMAIN, 3, 5, 60, 30, RUN, 7),
        "uint32 rounds,uint32 expect,uint32 patience,uint32 wait,bytes16 salt,uint64 deadline",
        {"rounds": 3, "expect": 5, "patience": 60, "wait": 30, "salt": bytes.fromhex(RUN), "deadline": 7},
    ),
    "BeginRun": (
        requests.begin_run_message(DOMAIN, RUN, 7),
        "bytes16 run,uint64 deadline",
        {"run": bytes.fromhex(RUN), "deadline": 7},
    ),
    "EndRun": (
        requests.end_run_message(DOMAIN, RUN, "the data were wrong", 7),
        "bytes16 run,string reason,uint64 deadline",
        {"run": bytes.fromhex(RUN), "reason": "the data were wrong", "deadline": 7},
    ),
    "Report": (
        requests.report_message(DOMAIN, 2, DIGEST, 7),
        "uint64 round,bytes32 digest,uint64 deadline",
        {"round": 2, "digest": DIGEST, "deadline": 7},
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_that_of_another_encoder(name: str) -> None:
    made, fields, values = REQUESTS[name]
    types = {name: [dict(zip(("type", "name"), field.split(), strict=True)) for field in fields.split(",")]}
    domain = {"name": "Folkmoot", "version": "2", "chainId": 31337, "verifyingContract": LEDGER}
    assert made == encode_typed_data(domain, types, values)


def test_the_digest_of_a_report_follows_from_its_values_alone() -> None:
    content = {"round": 2, "complete": True, "nodes": [], "metrics": {"loss": 1.0}}
    digest = requests.report_digest(content)
    assert digest == requests.report_digest(dict(reversed(content.items())))
    assert digest != requests.report_digest({**content, "metrics": {"loss": 1}})
