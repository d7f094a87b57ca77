# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md says what the contracts and the vectors are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.ledger.packaged import NAMES, contract, entries
from folkmoot.protocol.policy import NO_VERIFIER

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "protocol_appendix.py"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False
    )


def test_the_appendix_is_what_the_tool_writes() -> None:
    result = run("--check")
    assert result.returncode == 0, result.stderr


def test_every_event_stands_in_the_appendix_with_its_topic() -> None:
    for event in entries("event"):
        topic = "0x" + event_abi_to_log_topic(event).hex()  # type: ignore[arg-type]
        assert re.search(rf"`{event['name']}`\([^`]*\) \| `{topic}`", PAGE), event["name"]


@pytest.mark.parametrize("role", [role for role in NAMES if role not in ("token", "timelock", "governor")])
def test_every_function_and_error_stands_in_the_appendix_with_its_selector(role: str) -> None:
    for entry in contract(role).abi:
        if entry["type"] in ("function", "error"):
            selector = "0x" + function_abi_to_4byte_selector({**entry, "type": "function"}).hex()  # type: ignore[arg-type]
            assert re.search(rf"`{entry['name']}`\([^`]*\)( \(reads\))? \| `{selector}`", PAGE), entry["name"]


def test_each_field_of_the_policy_is_defined_once() -> None:
    section = PAGE.partition("### A.2 ")[2].partition("### A.3")[0]
    policy = next(e for e in contract("ledger").abi if e.get("name") == "PolicyAdded")["inputs"][1]
    names = [part["name"] for part in policy["components"]]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == names


def test_the_page_names_each_field_of_the_deployment_file() -> None:
    fields_ = Deployment(
        1, 1, **dict.fromkeys(CONTRACTS, NO_VERIFIER), genesis_hash="0x" + "0" * 64
    ).to_json()
    section = PAGE.partition("The **deployment file**")[2].partition("\n\n")[0]
    assert set(fields_) <= set(re.findall(r"`(\w+)`", section))
