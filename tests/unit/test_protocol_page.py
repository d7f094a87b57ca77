# SPDX-License-Identifier: Apache-2.0
"""The protocol's pages say what the contracts are, and have the sections that the code names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.ledger.packaged import NAMES, contract
from folkmoot.protocol.policy import NO_VERIFIER
from folkmoot.protocol.verdict import Reason

ROOT = Path(__file__).resolve().parents[2]
PARTS = ROOT / "docs" / "protocol"
PAGES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "protocol.md", *sorted(PARTS.glob("*.md")))
}
ROUND, FEDERATION = PAGES["appendix"], PAGES["appendix-federation"]


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / tool), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False
    )


@pytest.mark.parametrize("tool", ["protocol_appendix.py", "reason_table.py"])
def test_tables_are_what_the_tool_writes(tool: str) -> None:
    result = run(tool, "--check")
    assert result.returncode == 0, result.stderr


def test_every_event_stands_in_an_appendix_and_those_of_a_round_with_their_topics() -> None:
    abis = [contract(role).abi for role in NAMES]
    for event in [entry for abi in abis for entry in abi if entry["type"] == "event"]:
        name = re.escape(f"`{event['name']}`(")
        topic = "0x" + event_abi_to_log_topic(event).hex()  # type: ignore[arg-type]
        of_a_round = re.search(rf"{name}[^`]*\) \| `{topic}`", ROUND)
        assert of_a_round or re.search(rf"\| {name}", FEDERATION), event["name"]
    assert len(re.findall(r"`0x[0-9a-f]{64}`", ROUND)) == 7


def test_the_functions_of_a_round_have_their_selectors() -> None:
    abi = {one["name"]: one for one in contract("ledger").abi if one["type"] == "function"}
    rows = re.findall(r"^\| RoundLedger \| `(\w+)`\(.*\) \| `(0x[0-9a-f]{8})`", ROUND, re.MULTILINE)
    assert len(rows) >= 8
    for name, selector in rows:
        assert selector == "0x" + function_abi_to_4byte_selector(abi[name]).hex()  # type: ignore[arg-type]


def test_each_field_of_the_policy_is_defined_once() -> None:
    section = ROUND.partition("## A.2 ")[2].partition("## A.3")[0]
    policy = next(e for e in contract("policies").abi if e.get("name") == "PolicyAdded")["inputs"][1]
    names = [part["name"] for part in policy["components"]]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == names


def test_the_page_names_each_field_of_the_deployment_file() -> None:
    fields_ = Deployment(
        1, 1, parent=None, **dict.fromkeys(CONTRACTS, NO_VERIFIER), genesis_hash="0x" + "0" * 64
    ).to_json()
    section = PAGES["formats"].partition("The **deployment file**")[2].partition("\n\n")[0]
    assert set(fields_) <= set(re.findall(r"`(\w+)`", section))


def test_each_reason_is_a_code_of_a_check_or_of_a_weight() -> None:
    checks = PAGES["rules"].partition("## 7. ")[2].partition("## 8. ")[0]
    weights = PAGES["rules"].partition("| reason in a verdict | of |")[2].partition("### 8.1")[0]
    tables = [line for line in (checks + weights).splitlines() if line.startswith("|")]
    named = {code for line in tables for code in re.findall(r"`([a-z-]+)`", line.split("|")[1])}
    assert named == {str(reason) for reason in Reason}


def sections() -> set[str]:
    headings = [line for page in PAGES.values() for line in page.splitlines() if line.startswith("#")]
    return {match[1] for line in headings if (match := re.match(r"#+ (\d+(?:\.\d+)?)\.? ", line))}


@pytest.mark.parametrize("folder", ["folkmoot", "server", "client", "contracts/src", "docs"])
def test_a_section_that_is_named_exists(folder: str) -> None:
    named = re.compile(r"protocol(?:\.md)?\)?,? sections? (\d+(?:\.\d+)?)(?:(?: and| to|,) (\d+(?:\.\d+)?))?")
    files = [path for kind in ("py", "sol", "md") for path in (ROOT / folder).rglob(f"*.{kind}")]
    found = [
        (path.name, number)
        for path in files
        for match in named.finditer(path.read_text(encoding="utf-8"))
        for number in match.groups()
        if number
    ]
    assert found
    assert [one for one in found if one[1] not in sections()] == []


def test_the_index_lists_each_section() -> None:
    table = PAGES["protocol"].partition("## Parts")[2].partition("### Pseudo-code")[0]
    named = set(re.findall(r"\[(\d+(?:\.\d+)?)[ \]]", table))
    assert named | {"13.1", "15"} == sections()


def test_a_verifier_of_a_round_reads_no_more_than_it_did() -> None:
    pages = ("protocol", "arithmetic", "rules", "formats", "appendix")
    assert sum(len(PAGES[name].encode()) for name in pages) <= 68_000
