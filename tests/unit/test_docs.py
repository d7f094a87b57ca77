# SPDX-License-Identifier: Apache-2.0
"""The pages that state facts of the code: where things live, and the states of a round."""

from __future__ import annotations

import re
from pathlib import Path

from tools import module_graph

ROOT = Path(__file__).resolve().parents[2]
INTERFACE = (ROOT / "contracts/src/interfaces/IRoundLedger.sol").read_text()
CONTRACTS = (ROOT / "docs/contracts.md").read_text()


def test_only_arrows_without_a_detour_are_drawn() -> None:
    straight, circular = module_graph.arrows({"a": {"b", "c"}, "b": {"c"}, "c": {"d"}, "d": {"c"}})
    assert straight == [("a", "b"), ("b", "c")]
    assert circular == [("c", "d"), ("d", "c")]


def test_the_page_of_homes_names_files_and_names_that_exist() -> None:
    """A name belongs to the file before it."""
    rows = [row for row in (ROOT / "docs/homes.md").read_text().splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 40
    for row in rows:
        file = None
        for word in re.findall(r"`([^`]+)`", row):
            if "/" in word and not word.startswith("/"):
                file = ROOT / word
                assert file.exists(), word
            elif word.isidentifier() and file is not None and file.suffix == ".py":
                assert re.search(rf"^(def |class |){word}\b", file.read_text(), re.MULTILINE), (
                    f"{word} in {file}"
                )


def enum(name: str) -> set[str]:
    found = re.search(rf"enum {name} \{{([^}}]*)\}}", INTERFACE)
    assert found is not None
    return set(re.findall(r"\w+", found[1]))


def test_the_diagram_of_a_round_has_the_phases_of_the_ledger() -> None:
    diagram = CONTRACTS.partition("stateDiagram-v2")[2].partition("```")[0]
    arrows = re.findall(r"(\S+) --> (\S+)(?: : (.*))?", diagram)
    assert {state for start, end, _ in arrows for state in (start, end)} - {"[*]"} == enum("Phase") - {"None"}
    drawn = {
        (start, end, call)
        for start, end, calls in arrows
        if end != "[*]"
        for call in re.findall(r"[a-z]\w+(?= |,|$)", calls.replace("of an earlier round", ""))
    }
    assert drawn == {
        (start, end, "commitDeadline" if call == "time" else call) for start, end, call in transitions()
    }


def transitions() -> set[tuple[str, str, str]]:
    """Return from, to and call of each line of the page's table of transitions."""
    rows = [
        re.findall(r"\s*([^|]*?)\s*\|", line[1:]) for line in CONTRACTS.splitlines() if line.startswith("| ")
    ]
    return {
        ("[*]" if start.strip("` ") == "none" else start.strip("` "), end.strip("`"), call.strip("`"))
        for row in rows
        if len(row) == 6 and row[0] not in ("from", "---")
        for starts, end, call in [row[:3]]
        for start in starts.split(",")
    }


def test_the_table_of_transitions_names_calls_and_reasons_of_the_ledger() -> None:
    calls = {call for _, _, call in transitions()} - {"time"}
    assert calls <= set(re.findall(r"function (\w+)\(", INTERFACE))
    assert set(re.findall(r"`RoundCancelled` \(`(\w+)`\)", CONTRACTS)) == enum("CancelReason")
    events = set(re.findall(r"`((?:Round|Commits)[A-Z]\w+)`", CONTRACTS)) - {"RoundLedger"}
    assert events <= set(re.findall(r"event (\w+)\(", INTERFACE))


def test_the_list_of_contracts_is_complete() -> None:
    sources = [*(ROOT / "contracts/src").glob("*.sol"), *(ROOT / "contracts/src/governance").glob("*.sol")]
    concrete = {
        match[1]
        for path in sources
        for match in re.finditer(r"^contract (\w+)", path.read_text(), re.MULTILINE)
    }
    listed = set(re.findall(r"^\| \[(\w+)\]\(", CONTRACTS, re.MULTILINE))
    assert listed == concrete


def test_the_properties_of_the_contracts_name_tests_that_exist() -> None:
    """A name may have stars, and may be a part of a test's name."""
    tests = ROOT / "contracts/test"
    sources = {path.relative_to(tests).as_posix(): path.read_text() for path in tests.rglob("*.sol")}
    functions = set(re.findall(r"function (\w+)\(", "\n".join(sources.values())))
    rows = re.findall(r"^\| .+ \| (.+) \|$", (ROOT / "contracts/PROPERTIES.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w*/.]+)`", row)}
    assert len(named) > 100
    for name in sorted(named):
        pattern = re.compile(name.replace("*", r"\w*"))
        assert name in sources or any(map(pattern.search, functions)), name
