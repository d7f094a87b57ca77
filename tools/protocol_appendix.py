# SPDX-License-Identifier: Apache-2.0
"""Write the appendices of the protocol: phases, policy fields, enums, structs, events, functions and code.

    python tools/protocol_appendix.py            write docs/protocol/appendix.md and appendix-federation.md
    python tools/protocol_appendix.py --check    fail if a page is another one

Appendix A has what the verification of one round reads, appendix B what the audit of a federation reads beside it.
Types, selectors and topics come from the ABIs that the package ships (``folkmoot/ledger/abi``). The ABI has neither the
names of an enum's values nor the meaning of a field; both come from the comments of the Solidity interfaces. What
neither of them says (units, ranges, sections, limits of a phase) stands in the tables of this file, and the tool fails
if these do not name exactly the fields and phases of the contracts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from folkmoot.ledger.packaged import NAMES, named, signature_of, type_of
from folkmoot.protocol.hashing import keccak
from tools import generated

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "protocol"
SOURCES = ROOT / "contracts" / "src"
MARK = "<!-- written by tools/protocol_appendix.py, do not edit -->"

CREATED = ("Odometer", "Attendance")
"""Contracts that the ledger creates, and that it names by `odometer()` and `attendance()`."""

ROUND_EVENTS = (
    "RoundOpened",
    "UpdatesCommitted",
    "RoundAnchored",
    "RoundFinalized",
    "RoundCancelled",
    "RoundSlashed",
    "RewardCredited",
)
"""Events of the ledger that the verification of one round reads."""

ROUND_FUNCTIONS = {
    "RoundLedger": "rounds phase policies genesisHash manifestHash commitUpdate commitUpdateFor commitUpdates",
    "Policies": "policies",
}
"""Functions that the verification of one round calls, or reads the call data of."""

FUNCTIONS = {
    "RoundLedger": "nextRound head coordinator draws hasCommitted isEnrolled hasPlace vault "
    "registry governance verifier odometer attendance admission",
    "Policies": "currentPolicy bounds maxWindows verifier governance",
    "Rewards": "claimable isSettled ledger token",
    "StakeVault": "stakeOf bondOf members unbondings basis totalStaked totalEnrolled unbondingPeriod getVotes "
    "getPastVotes getPastTotalSupply delegates ledger",
    "ModelRegistry": "versions active standing warrantiesOf minWarranty warrantyPeriod token",
    "MootToken": "totalSupply balanceOf minter",
    "MootTimelock": "hasRole getMinDelay",
    "MootGovernor": "proposalSnapshot proposalDeadline proposalEta proposalVotes quorum state votingDelay votingPeriod "
    "proposalThreshold quorumNumerator lateQuorumVoteExtension seasoning launchedAt guardianUntil proposalGuardian "
    "token timelock",
    "Odometer": "spent",
    "Attendance": "missed",
    "MemberList": "admits governance",
    "Arbiter": "judges ledger",
    "DataAvailability": "answerWindow deposit",
    "Disputes": "decisionWindow deposit",
}
"""Functions that the audit of a federation calls beside these."""

POLICY = {
    "rule": (
        "name",
        "1 to 32 printable ASCII characters without spaces, left-aligned, zero bytes behind",
        "8",
        "Name of the rule.",
    ),
    "parameters": (
        "as the rule says",
        "at most {MAX_PARAMETERS}, each a uint32",
        "8, 9",
        "Parameters of the rule, by position.",
    ),
    "maxSumSquares": (
        "squares of q",
        "1 to 2^64 - 1",
        "5, 7",
        "Largest sum of squares of an update: the cap `C`.",
    ),
    "minContributors": (
        "entries",
        "1 to `maxContributors`",
        "6.1",
        "Fewest entries with which a round can be anchored.",
    ),
    "maxContributors": ("entries", "1 to {MAX_CONTRIBUTORS}", "6.1, 7", "Most entries of a round."),
    "width": (
        "bits",
        "8, 4 or 2",
        "4",
        "Bits of one encoded coordinate. The header repeats it; 8, 4 or 2, and 8 with noise.",
    ),
    "meanScale": (
        "1/S of an update's step",
        "1 to {MAX_MEAN} / Q",
        "9",
        "The mean scale S. Q is the largest value of an update: 127, 7 or 1 by `width`.",
    ),
    "rate": ("1/1024", "1 to {MAX_RATE}", "9", "Outer learning rate."),
    "momentum": ("1/1024", "0 to {MAX_MOMENTUM}", "9", "Outer momentum."),
    "commitWindow": ("seconds", "at least 1", "6.1", "From the opening to the commit deadline."),
    "anchorWindow": ("seconds", "at least 1", "6.1", "From the commit deadline to the anchor deadline."),
    "challengeWindow": (
        "seconds",
        "at least 1; the three windows together at most `unbondingPeriod()` of the vault",
        "13",
        "From the anchor to the end of the challenge.",
    ),
    "interval": (
        "seconds",
        "0 for none, at most `unbondingPeriod()` of the vault",
        "6.4",
        "From the opening of a round's base to its own opening, at least.",
    ),
    "minSumSquares": (
        "squares of q",
        "0 to `maxSumSquares`; 0 for none",
        "6.3, 7",
        "Smallest sum of squares of an update: the floor.",
    ),
    "noise1024": (
        "1/1024",
        "0 for no noise, else 1 to 2^32 - 1",
        "6.3",
        "Standard deviation of the noise, in parts of the largest norm that one record can have in a sum of gradients.",
    ),
    "steps": ("steps", "0 without noise, else 1 to {MAX_STEPS}", "6.3", "Noised sums of an update."),
    "privacyCap": (
        "2^-32 of rho",
        "0 without noise, else at least the cost of one update",
        "6.3",
        "Most that a contributor can spend of its privacy budget.",
    ),
    "retainRounds": (
        "rounds",
        "0 for never, else 1 to 2^32 - 1",
        "12.1",
        "Rounds after which updates may be deleted.",
    ),
    "minStake": (
        "1e-18 tokens",
        "1 to 2^128 - 1",
        "6.1, 7, 13",
        "Stake of a contributor when its entry is recorded; what a proven fault takes.",
    ),
    "bond": (
        "1e-18 tokens",
        "`reward` to 2^128 - 1",
        "13",
        "Stake of the coordinator when it opens and when it anchors; what a proven fraud takes.",
    ),
    "reward": ("1e-18 tokens", "0 to `bond`", "16", "Most tokens that a final round mints."),
    "verifier": (
        "address",
        "any; zero for none",
        "13",
        "The contract that may report fraud or a fault, or postpone: the deployment's `Arbiter`.",
    ),
    "bundleHash": (
        "sha256",
        "any; zero for any bundle",
        "6",
        "The only Flower App Bundle that nodes may run. No contract enforces it.",
    ),
}
"""Field of a policy: unit, range (as ``addPolicy`` enforces it), sections that use it, meaning. A name in braces is a
constant of Policies.sol or Budget.sol."""

PHASES = {
    "None": ("There is no such round.", "it opens (`openRound`)"),
    "Open": (
        "Entries are recorded while `t < commitDeadline`.",
        "`t >= commitDeadline`; `closeCommits` may set it to now (section 6.1); `cancelEmpty`",
    ),
    "Committed": (
        "Stored as `Open`; `phase()` derives it where `t >= commitDeadline`. The coordinator may anchor while "
        "`t < anchorDeadline`.",
        "`anchor`; `cancel` by anybody: at once with fewer than `minContributors` entries (`TooFewUpdates`), else "
        "from `t >= anchorDeadline` (`AnchorLate`); `cancelEmpty`",
    ),
    "Anchored": (
        "The head of training. It can be challenged and postponed while it is in this phase, also after its deadline.",
        "`finalize` by anybody where `t >= challengeDeadline` and the base is `Final`; `reportFraud` by the "
        "policy's verifier; cancelled with its base (`BaseVoided`)",
    ),
    "Final": ("A version of the registry. Round 0, the genesis, is `Final` from the deployment on.", "never"),
    "Cancelled": ("It changed nothing.", "never"),
    "Slashed": ("It was proven wrong and changed nothing. The head is its base again.", "never"),
}
"""Phase of a round: what it means, what ends it; ``t`` is the time of the block."""


OPENZEPPELIN = {
    "IGovernor.ProposalState": (
        *("Pending", "Active", "Canceled", "Defeated"),
        *("Succeeded", "Queued", "Expired", "Executed"),
    ),
    "TimelockController.OperationState": ("Unset", "Waiting", "Ready", "Done"),
}
"""Values of the enums of OpenZeppelin's contracts (release 5), in their order."""


def sources() -> dict[str, str]:
    """Return the text of each Solidity file, by its name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(SOURCES.rglob("*.sol"))}


def selector(entry: dict[str, Any]) -> str:
    """Return topic0 of an event, or the selector of a function or error, in 0x-hex."""
    digest = keccak(signature_of(entry).encode())
    return "0x" + (digest if entry["type"] == "event" else digest[:4]).hex()


def shown_type(parameter: dict[str, Any]) -> str:
    """Return a parameter's type, with the name of its struct or enum where it has one."""
    kind, inner = parameter["type"], parameter.get("internalType", "")
    if kind.startswith("tuple"):
        return _bare(inner)
    return f"{kind} {_bare(inner)}" if inner.startswith("enum ") else str(kind)


def _bare(internal: str) -> str:
    """``struct IRoundLedger.Anchor[]`` as ``RoundLedger.Anchor[]``."""
    name = internal.split(" ", 1)[1]
    owner, _, rest = name.partition(".")
    return f"{owner[1:] if re.match(r'I[A-Z]', owner) else owner}.{rest}"


def parameters(entry: dict[str, Any], key: str = "inputs") -> str:
    """Return the parameters of an entry as a list of types and names."""
    parts = []
    for one in entry.get(key, ()):
        words = [shown_type(one), "indexed" if one.get("indexed") else "", one["name"].rstrip("_")]
        parts.append(" ".join(word for word in words if word))
    return ", ".join(parts)


def structs(entries: Iterable[dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    """Return each struct of some ABI entries, or of all, by its name (``IRoundLedger.Anchor``), as an ABI parameter."""
    found: dict[str, dict[str, Any]] = {}

    def walk(parameter: dict[str, Any]) -> None:
        inner = parameter.get("internalType", "")
        if inner.startswith("struct "):
            name = re.sub(r"\[\d*\]$", "", inner)
            found.setdefault(name, {**parameter, "type": "tuple", "internalType": name})
        for part in parameter.get("components", ()):
            walk(part)

    for parameter in _parameters(_all_entries() if entries is None else entries):
        walk(parameter)
    return dict(sorted(found.items()))


def _all_entries() -> Iterator[dict[str, Any]]:
    for name in (*NAMES.values(), *CREATED):
        yield from named(name).abi


def _parameters(entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield from entry.get("inputs", ())
        yield from entry.get("outputs", ())


def enums(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Return the enums that some ABI entries name (``IRoundLedger.Phase``)."""
    parts = [part for one in structs(entries).values() for part in one["components"]]
    names = {
        inner.removeprefix("enum ")
        for parameter in [*_parameters(entries), *parts]
        if (inner := parameter.get("internalType", "")).startswith("enum ")
    }
    return sorted(names)


def values_of(enum: str, texts: dict[str, str]) -> list[str]:
    """Return the names of an enum's values in their order."""
    if enum in OPENZEPPELIN:
        return list(OPENZEPPELIN[enum])
    owner, _, name = enum.partition(".")
    body = re.search(rf"enum {name} \{{([^}}]*)\}}", re.sub(r"//.*", "", texts[owner]))
    if body is None:
        raise SystemExit(f"contracts/src has no enum {enum}.")
    return [part.strip() for part in body.group(1).split(",")]


def notices(struct: str, texts: dict[str, str]) -> dict[str, str]:
    """Return the comment of each field of a struct; empty for one of another project."""
    owner, _, name = struct.partition(".")
    body = re.search(rf"    struct {name} \{{\n(.*?)\n    \}}", texts.get(owner, ""), re.DOTALL)
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in body.group(1).split("\n") if body else ():
        text = line.strip()
        if text.startswith("///"):
            comment.append(text.removeprefix("///").strip().removeprefix("@notice ").strip())
        else:
            found[text.rstrip(";").split()[-1]] = " ".join(comment)
            comment = [] if not text.startswith("MerkleSum.Node left") else comment
    return found


def comment_of(entry: dict[str, Any], texts: dict[str, str]) -> str:
    """Return the comment above an event, an error or a function in the interfaces, on one line; empty if none."""
    pattern = re.compile(rf"((?: *///[^\n]*\n)+) *{entry['type']} {re.escape(entry['name'])}\s*\(")
    for name, text in texts.items():
        match = pattern.search(text) if name.startswith("I") or name in _LIBRARIES else None
        if match:
            lines = [line.strip().removeprefix("///").strip() for line in match.group(1).strip().split("\n")]
            return " ".join(lines)
    return ""


def notice_of(entry: dict[str, Any], texts: dict[str, str]) -> str:
    """Return the first sentence of the comment above an event, an error or a function; empty if there is none."""
    notice = comment_of(entry, texts).split(" @")[0].removeprefix("@notice ").strip()
    return notice and notice.split(". ")[0].rstrip(".") + "."


_LIBRARIES = ("Layout", "MerkleSum", "MerkleTree", "OuterStep", "Openings", "WeightedSum", "GramTree")


def _table(head: str, rows: list[str]) -> list[str]:
    columns = head.count("|") + 1
    return ["", f"| {head} |", f"|{' --- |' * columns}", *rows]


def phases(texts: dict[str, str]) -> list[str]:
    """Return the section on phases."""
    names = values_of("IRoundLedger.Phase", texts)
    if names != list(PHASES):
        raise SystemExit(f"The phases of the contract are {names}, those of this tool {list(PHASES)}.")
    rows = [f"| {i} | `{name}` | {PHASES[name][0]} | {PHASES[name][1]} |" for i, name in enumerate(names)]
    return ["", "## A.1 Phases of a round", *_table("number | phase | meaning | ended by", rows)]


def policy(texts: dict[str, str]) -> list[str]:
    """Return the section on the policy."""
    limits = dict(re.findall(r"constant ([A-Z_]+) = (\d+);", texts["Policies"] + texts["Budget"]))
    fields = structs()["struct IPolicies.Policy"]["components"]
    if [field["name"] for field in fields] != list(POLICY):
        raise SystemExit("The fields of the contract's policy are not those of this tool.")
    rows = []
    for field in fields:
        unit, span, sections, meaning = POLICY[field["name"]]
        rows.append(
            f"| `{field['name']}` | {field['type']} | {unit} | {span.format(**limits)} | {sections} | {meaning} |"
        )
    head = "field | type | unit | range | sections | meaning"
    return [
        "",
        "## A.2 Fields of a policy",
        "",
        "In the order of the struct. `addPolicy` reverts on a value out of its range (`PoliciesInvalidPolicy`).",
        *_table(head, rows),
    ]


def enum_tables(title: str, entries: Sequence[dict[str, Any]], texts: dict[str, str]) -> list[str]:
    """Return a section on the enums of some ABI entries."""
    rows = [
        f"| `{_bare('enum ' + name)}` | {', '.join(f'{i} `{v}`' for i, v in enumerate(values_of(name, texts)))} |"
        for name in enums(entries)
    ]
    return ["", f"## {title}", "", "Each is a uint8 in the ABI.", *_table("enum | values", rows)]


def struct_tables(
    title: str, entries: Sequence[dict[str, Any]], texts: dict[str, str], known: Iterable[str] = ()
) -> list[str]:
    """Return a section on the structs of some ABI entries; the policy has its own, and ``known`` stand elsewhere."""
    lines = ["", f"## {title}", "", "A struct is a tuple of its fields, in this order."]
    for name, parameter in structs(entries).items():
        if name in known:
            continue
        shown, comments = _bare(name), notices(name.removeprefix("struct "), texts)
        lines += ["", f"`{shown}` =", f"`{type_of(parameter)}`"]
        if shown == "Policies.Policy":
            lines.append("(A.2)")
            continue
        rows = [
            f"| `{field['name']}` | {shown_type(field)} | {comments.get(field['name'], '')} |"
            for field in parameter["components"]
        ]
        lines += _table("field | type | meaning", rows)
    return lines


def events(chosen: Callable[[str], bool]) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Return the events with a chosen name, each with the contracts that have it, by signature."""
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name in (*NAMES.values(), *CREATED):
        for entry in named(name).abi:
            if entry["type"] == "event" and chosen(entry["name"]):
                found.setdefault(signature_of(entry), (entry, []))[1].append(name)
    return found


def functions(chosen: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the chosen functions, each with its contract; of one name all with that name."""
    found = []
    for contract, names in chosen.items():
        for name in names.split():
            known = [one for one in named(contract).abi if one["type"] == "function" and one["name"] == name]
            if not known:
                raise SystemExit(f"{contract} has no function {name}.")
            found += [(contract, entry) for entry in known]
    return found


def event_tables(
    title: str, chosen: dict[str, tuple[dict[str, Any], list[str]]], texts: dict[str, str], *, topics: bool
) -> list[str]:
    """Return a section on some events, with or without their topics."""
    rows = []
    for entry, names in chosen.values():
        topic = f" `{selector(entry)}` |" if topics else ""
        emitted = notice_of(entry, texts).removeprefix("Emitted ")
        rows.append(f"| {', '.join(names)} | `{entry['name']}`({parameters(entry)}) |{topic} {emitted} |")
    head = f"contract | event | {'topic0 | ' if topics else ''}emitted"
    return ["", f"## {title}", *_table(head, rows)]


def function_tables(title: str, chosen: list[tuple[str, dict[str, Any]]], *, selectors: bool) -> list[str]:
    """Return a section on some functions, with or without their selectors."""
    rows = []
    for contract, entry in chosen:
        shown = f" `{selector(entry)}` |" if selectors else ""
        result = parameters(entry, "outputs") or "-"
        rows.append(f"| {contract} | `{entry['name']}`({parameters(entry)}) |{shown} {result} |")
    return [
        "",
        f"## {title}",
        *_table(f"contract | function | {'selector | ' if selectors else ''}returns", rows),
    ]


def code_table() -> list[str]:
    """Return the section on the code of the contracts."""
    rows = []
    for name in (*NAMES.values(), *CREATED):
        code = bytes.fromhex(named(name).bytecode[2:])
        rows.append(f"| {name} | {len(code)} | `0x{keccak(code).hex()}` |")
    return [
        "",
        "## B.5 Code",
        "",
        "The creation code of each contract, without constructor arguments. The input of the transaction that created",
        "it is this code and the ABI encoding of the arguments (section 13.4); the code of the three last is in that",
        "of the ledger. The code at an address is one part of the creation code: the same bytes, but where the",
        "creation code has a byte 0x7f (PUSH32) and then 32 zero bytes, these 32 bytes are any (an immutable).",
        *_table("contract | bytes | keccak", rows),
    ]


def round_page() -> str:
    """Return appendix A."""
    texts = sources()
    chosen = events(ROUND_EVENTS.__contains__)
    if len(chosen) != len(ROUND_EVENTS):
        raise SystemExit("The events of a round are not those of this tool.")
    called = functions(ROUND_FUNCTIONS)
    entries = [entry for entry, _ in chosen.values()] + [entry for _, entry in called]
    return _page(
        [
            "# Protocol: Appendix A, the chain of one round",
            "",
            "What the verification of one round reads (section 13.1). [Appendix B](appendix-federation.md) has the",
            "rest. `RoundId` is a uint64 and `PolicyId` a uint32. Times are Unix seconds, amounts are in units of",
            "1e-18 tokens. A topic0 is keccak of the canonical signature of an event, in which structs are tuples and",
            "enums uint8. The indexed parameters are topics 1 to 3 in their order, the others the ABI-encoded",
            "data. A selector is the first 4 bytes of keccak of the canonical signature of a function.",
            *phases(texts),
            *policy(texts),
            *enum_tables("A.3 Enums", entries, texts),
            *struct_tables("A.4 Structs", entries, texts),
            *event_tables("A.5 Events", chosen, texts, topics=True),
            *function_tables("A.6 Functions", called, selectors=True),
        ]
    )


def federation_page() -> str:
    """Return appendix B."""
    texts = sources()
    chosen = events(lambda name: name not in ROUND_EVENTS)
    called = functions(FUNCTIONS)
    entries = [entry for entry, _ in chosen.values()] + [entry for _, entry in called]
    first = [entry for entry, _ in events(ROUND_EVENTS.__contains__).values()]
    known = {*structs([*first, *(entry for _, entry in functions(ROUND_FUNCTIONS))])}
    return _page(
        [
            "# Protocol: Appendix B, the other contracts",
            "",
            "What the audit of a federation reads beside [Appendix A](appendix.md), which explains topics and",
            "selectors. An event without a description is OpenZeppelin's. Functions that are not listed, the proofs",
            "among them, and all errors are in the ABI files ([`folkmoot/ledger/abi`](../../folkmoot/ledger/abi), one",
            "JSON per contract, `abi` and `bytecode`); the comments of",
            "[`contracts/src/interfaces`](../../contracts/src/interfaces) say what they do. `odometer()` and",
            "`attendance()` of the ledger are the addresses of the `Odometer` and the `Attendance` that it created.",
            *enum_tables("B.1 Enums", entries, texts),
            *struct_tables("B.2 Structs", entries, texts, known),
            *event_tables("B.3 Events", chosen, texts, topics=False),
            *function_tables("B.4 Functions", called, selectors=False),
            *code_table(),
        ]
    )


def _page(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in [MARK, "", *lines]) + "\n"


if __name__ == "__main__":
    pages = {"appendix.md": round_page, "appendix-federation.md": federation_page}
    sys.exit(max([generated.main(PAGES / name, make, __file__) for name, make in pages.items()]))
