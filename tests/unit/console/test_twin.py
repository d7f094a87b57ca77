# SPDX-License-Identifier: Apache-2.0
"""The second implementation (`console/`) agrees with the first: shared vectors, random rounds, lies by their names."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from folkmoot.protocol.hashing import sha256_hex
from tests.unit import worlds
from tests.unit.console.played import Played, Told, random_world
from tests.unit.worlds import MANIFEST, NAMES
from tools.node_toolchain import node_binary

ROOT = Path(__file__).resolve().parents[3]
CONSOLE, CHECK = ROOT / "console", ROOT / "folkmoot/web/check.js"
RIGHT, WRONG, CANNOT = 0, 1, 2

built = pytest.mark.skipif(
    not (CONSOLE / "node_modules/esbuild").exists(),
    reason="console/node_modules is not installed: make install",
)


def node(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(node_binary()), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=CONSOLE)


def check(evidence: bytes, folder: Path) -> tuple[int, dict[str, Any]]:
    """The exit status and the report of `node check.js`."""
    file = folder / "round.evidence"
    file.write_bytes(evidence)
    done = node(CHECK, file, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def cause(report: dict[str, Any]) -> tuple[str, str]:
    """The step that is not right, and what it says."""
    (step,) = [one for one in report["steps"] if one["verdict"] in ("wrong", "cannot")]
    return step["name"], step["text"]


@built
def test_what_is_packaged_is_what_the_sources_build() -> None:
    done = node("build.mjs", "--check")
    assert done.returncode == 0, done.stderr


@built
def test_the_shared_vectors(tmp_path: Path) -> None:
    bundle = tmp_path / "vectors.mjs"
    done = node("build.mjs", "--vectors", bundle)
    assert done.returncode == 0, done.stderr
    done = node(bundle, ROOT / "tests/vectors")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {name: one["failed"] for name, one in report["groups"].items() if one["failed"]} == {}
    cases = json.loads((ROOT / "tests/vectors/cases.json").read_text(encoding="utf-8"))
    names = {group["group"] for group in cases["groups"]}
    assert names == {name for name in report["groups"] if "." not in name} | set(report["skipped"])
    # what is not computed is said to be unknown, and is not many
    assert {name for name, one in report["groups"].items() if one["unknown"]} == {"weights", "round"}
    assert sum(one["passed"] for one in report["groups"].values()) > 1_000


@pytest.mark.parametrize("seed", range(12))
def test_random_rounds(seed: int, tmp_path: Path) -> None:
    rounds = 1 + seed % 10
    world = random_world(seed, rounds)
    status, report = check(world.evidence(rounds), tmp_path)
    assert (status, report["verdict"]) == (RIGHT, "right"), cause(report)
    assert {one["verdict"] for one in report["steps"]} <= {"right", "none"}


@pytest.fixture(scope="module")
def world() -> Told:
    """Two honest rounds of five."""
    world = Told(worlds.state(MANIFEST, 1))
    world.policy = dataclasses.replace(
        worlds.policy("clamped_mean", (), 700, 900), reward=10**18, bond=10**19
    )
    for first in (0, 10):
        world.tell(
            [
                world.commit(name, worlds.update_bytes(MANIFEST, first + i, 30 + i))
                for i, name in enumerate(NAMES[:5])
            ]
        )
    return world


def more(values: tuple[int, ...], place: int) -> tuple[int, ...]:
    return tuple(value - (i == place) for i, value in enumerate(values))


def other(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 3]) + data[place + 1 :]


LIES: dict[str, tuple[str, Callable[[Played], Played]]] = {
    "one weight": ("weights", lambda r: r.anchored(weights=more(r.anchor.weights, 1))),
    "one pay": ("pays", lambda r: r.anchored(pays=more(r.anchor.pays, 2))),
    "a signature": (
        "signatures",
        lambda r: dataclasses.replace(r, signatures=[r.signatures[0], other(r.signatures[1], 40), *r.signatures[2:]]),
    ),
    "the signature of somebody else": (
        "signatures",
        lambda r: dataclasses.replace(r, signatures=[r.signatures[1], *r.signatures[1:]]),
    ),
    "the mean": (
        "aggregate",
        lambda r: r.anchored(mean=other(r.mean, 5)).relisted(mean=sha256_hex(other(r.mean, 5))),
    ),
    "the root of the mean": ("aggregate", lambda r: r.anchored(mean_root=bytes(32))),
    "the new state": ("state", lambda r: r.anchored(state_root=bytes(32))),
    "the next exponents": ("exponents", lambda r: r.relisted(next_exponents=(-9, -9, -10))),
    "the name of the new state": ("artifacts", lambda r: r.relisted(state="00" * 32)),
    "the root over entries and weights": ("entries", lambda r: r.anchored(entries_root=bytes(32))),
    "the root of the products": ("weights", lambda r: r.anchored(gram_root=b"\1" * 32)),
    "a reason": (
        "verdicts",
        lambda r: r.anchored(verdicts=r.verdicts.replace(b'"accepted"', b'"outlier"', 1)),
    ),
    "an update that did not arrive": ("updates", lambda r: r.anchored(delivered=r.anchor.delivered ^ 1)),
    "an update of another": (
        "updates",
        lambda r: dataclasses.replace(r, updates=[r.updates[1], *r.updates[1:]]).relisted(
            updates=(json.loads(r.artifacts)["updates"][1], *json.loads(r.artifacts)["updates"][1:])
        ),
    ),
    "the header": (
        "header",
        lambda r: dataclasses.replace(r, header=dataclasses.replace(r.header, exponents=(-9, -9, -8))).relisted(
            header=dataclasses.replace(r.header, exponents=(-9, -9, -8)).encoded
        ),
    ),
}  # fmt: skip
"""What a coordinator may claim, and the step that finds it."""


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named(world: Told, lie: str, tmp_path: Path) -> None:
    step, tell = LIES[lie]
    number = 1 if lie == "the header" else 2  # a header has its exponents from the genesis, or from the base
    liar = dataclasses.replace(world, rounds={**world.rounds, number: tell(world.rounds[number])})
    status, report = check(liar.evidence(number), tmp_path)
    assert (status, cause(report)[0]) == (WRONG, step), cause(report)


def line(evidence: bytes) -> tuple[dict[str, Any], bytes]:
    first, _, rest = evidence.partition(b"\n")
    return json.loads(first), rest


@pytest.mark.parametrize(
    ("event", "byte", "step"),
    [("opened", 95, "events"), ("entries", 130, "events"), ("anchor", 415, "anchor")],
)
def test_a_forged_event_contradicts_what_the_ledger_stores(
    world: Told, event: str, byte: int, step: str, tmp_path: Path
) -> None:
    logs = line(world.evidence(2))[0]["logs"]
    one = logs[{"opened": 4, "entries": 5, "anchor": 7}[event]]  # four events of round 1 come before
    data = bytearray.fromhex(one["data"][2:])
    data[byte] ^= 1  # of the header's hash, of an account, of a weight
    one["data"] = "0x" + data.hex()
    status, report = check(world.evidence(2, logs=logs), tmp_path)
    assert (status, cause(report)[0]) == (WRONG, step), cause(report)


def test_credits_that_do_not_follow(world: Told, tmp_path: Path) -> None:
    logs = line(world.evidence(2))[0]["logs"]
    changed = [*logs[:-1], {**logs[-1], "data": "0x" + "00" * 31 + "07"}]
    status, report = check(world.evidence(2, logs=changed), tmp_path)
    assert (status, cause(report)[0]) == (WRONG, "rewards")
    report = check(world.evidence(2, settled=False, logs=logs[:-5]), tmp_path)[1]
    assert [one["verdict"] for one in report["steps"]][-1] == "none"


@pytest.mark.parametrize("place", [-1, -70_000, -9_000])
def test_one_altered_byte(world: Told, place: int, tmp_path: Path) -> None:
    evidence = bytearray(world.evidence(2))
    evidence[place] ^= 1
    for damaged in (bytes(evidence), world.evidence(2)[:place], world.evidence(2) + b"x"):
        status, report = check(damaged, tmp_path)
        assert (status, report["verdict"], cause(report)[0]) == (CANNOT, "cannot", "file")


def test_what_is_not_there_or_not_known_is_neither_right_nor_wrong(world: Told, tmp_path: Path) -> None:
    updates = json.loads(world.rounds[1].artifacts)["updates"]
    state = world.rounds[2].base.sha256()
    known = dataclasses.replace(world.rounds[2], policy=dataclasses.replace(world.policy, rule="multi_krum"))
    own = dataclasses.replace(world.rounds[2], signed=False)
    cases: list[tuple[bytes, str, str]] = [
        (
            world.evidence(2, without=[updates[3]]),
            "earlier",
            "The update of entry 3 of round 1 is not in this file",
        ),
        (world.evidence(2, without=[state]), "base", "does not have the state"),
        (with_round(world, known).evidence(2), "weights", "does not compute the rule multi_krum"),
        (with_round(world, own).evidence(2), "signatures", "Only the chain can say so"),
        (world.evidence(2, format="folkmoot/evidence/9"), "file", "folkmoot/evidence/9"),
        (world.evidence(2, logs=[]), "events", "The events of round 2 are not in this file"),
        (b"PK\3\4 something else", "file", "not an evidence file"),
        (b"", "file", "not an evidence file"),
    ]
    for evidence, step, text in cases:
        status, report = check(evidence, tmp_path)
        assert (status, report["verdict"]) == (CANNOT, "cannot"), cause(report)
        assert cause(report)[0] == step
        assert text in cause(report)[1]


def with_round(world: Told, round_: Played) -> Told:
    return dataclasses.replace(world, rounds={**world.rounds, 2: round_})


def test_the_command_says_how_it_is_used(tmp_path: Path) -> None:
    for words, said in (((), "Usage"), ((tmp_path / "none",), "ENOENT")):
        done = node(CHECK, *words)
        assert (done.returncode, done.stdout) == (CANNOT, "")
        assert said in done.stderr


_ABIS = """
import { buildSync } from "esbuild";
const options = { bundle: true, write: false, format: "esm", define: { ERRORS: "[]" } };
const text = buildSync({ entryPoints: ["src/vote/contracts.ts"], ...options }).outputFiles[0].text;
const { DECIDED, ...rest } = await import("data:text/javascript," + encodeURIComponent(text));
const listed = { MootGovernor: rest.GOVERNOR, StakeVault: rest.VAULT, MootToken: rest.TOKEN, Rewards: rest.REWARDS };
console.log(JSON.stringify({ listed, decided: DECIDED }));
"""

_CONTRACTS = {
    "registry": "ModelRegistry",
    "policies": "Policies",
    "ledger": "RoundLedger",
    "governor": "MootGovernor",
    "members": "MemberList",
    "disputes": "Disputes",
}


def shape(item: dict[str, Any]) -> tuple[Any, ...]:
    """What decides how a function or an event is called and read: names and types, in their order."""

    def types(fields: list[dict[str, Any]]) -> list[Any]:
        return [(one.get("name", ""), one["type"], types(one.get("components", []))) for one in fields]

    returned = [one[1:] for one in types(item.get("outputs", []))]
    return item["type"], item["name"], types(item["inputs"]), returned, item.get("stateMutability")


@built
def test_what_the_page_of_votes_calls_is_what_the_contracts_have() -> None:
    done = node("--input-type=module", "--eval", _ABIS)
    assert done.returncode == 0, done.stderr
    pages = json.loads(done.stdout)
    listed = [*pages["listed"].items(), *((_CONTRACTS[role], abi) for role, abi in pages["decided"].items())]
    for contract, items in listed:
        abi = json.loads((ROOT / f"folkmoot/ledger/abi/{contract}.json").read_text(encoding="utf-8"))["abi"]
        known = {
            (one["type"], one.get("name")): shape(one) for one in abi if one["type"] in ("function", "event")
        }
        for item in items:
            assert shape(item) == known[item["type"], item["name"]], (contract, item["name"])
