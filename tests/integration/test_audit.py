# SPDX-License-Identifier: Apache-2.0
"""The audit against a real history on Anvil: it passes, and each kind of tampering is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak as keccak_of

from folkmoot.artifacts.sources import CoordinatorSource, FolderSource
from folkmoot.audit.audit import Progress, Summary, audit
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import KEPT_STATES, Anvil
from folkmoot.errors import ArtifactError, AuditFailure, RpcError, WrongChainError
from folkmoot.ledger import packaged
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import LISTED_BYTES, pack_batch
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.merkle import MEAN, leaf_hashes, tree
from folkmoot.protocol.packing import pack
from folkmoot.protocol.places import EVERYBODY
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate
from folkmoot.round import RoundOutcome, step_leaves
from folkmoot.runtime.units import UNIT
from tests import carried, factories
from tests.integration.audit_world import MANIFEST, SEASONING, Alter, World, build, lying_endpoint

ADA, BEN, CLEO = (factories.account(name).address for name in ("ada", "ben", "cleo"))


@pytest.fixture(scope="module")
def history(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The history of this module, honest from the first to the last transaction. Never changed."""
    world = build(chain, tmp_path_factory.mktemp("history") / "artifacts")
    yield world
    world.federation.chain.close()


@pytest.fixture
def world(history: World, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """The same history, for one test to go on with as it likes: files are copies, the chain is put back."""
    snapshot = chain.snapshot()
    yield history.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


def audited(world: World, *urls: str, **options: Any) -> Summary:
    source = FolderSource(world.folder.path)
    return audit(urls or [world.federation.anvil.url], world.federation.deployment, source, **options)


def failure_of(world: World, *urls: str) -> AuditFailure:
    with pytest.raises(AuditFailure) as caught:
        audited(world, *urls)
    return caught.value


def artifacts_of(world: World, number: int) -> Any:
    outcome = world.rounds[number].outcome
    assert outcome is not None
    return outcome.artifacts


# What is right passes


def test_an_honest_history_passes_and_is_counted(history: World) -> None:
    steps: list[str] = []
    rounds: list[tuple[int, int]] = []
    found = audited(history, progress=Progress(steps.append, lambda *done: rounds.append(done)))
    assert found.rounds == {"final": 2, "cancelled": 1, "anchored": 1, "open": 1}
    assert (found.recomputed, found.updates) == (3, 4 + 4 + 4)
    assert (found.entries.signed, found.entries.own, found.entries.relied) == (15, 1, 0)
    assert (found.policies, found.proposals, found.votes) == (2, 3, 9)
    assert found.active is not None
    assert found.active[0] == 1
    assert (found.model_head, found.state_root) == (4, history.states[4].root(MANIFEST.hash))
    assert found.rewards == factories.policy().reward // factories.policy().max_contributors
    verifier = factories.account("verifier").address
    assert found.notes[0] == "3 MOOT lie in the vault without being staked: a gift."
    assert [note.partition(",")[0] for note in found.notes[1:]] == [
        f"Policy {number} names the verifier {verifier}" for number in (1, 2)
    ]
    assert found.hashed > 12 * MANIFEST.size
    assert rounds == [(number, 5) for number in range(1, 6)]
    assert "genesis" in steps


def test_a_batch_may_have_commitments_that_are_recorded_before(world: World) -> None:
    """The ledger passes over them: somebody has committed a part of the batch before it."""
    before = audited(world).entries.signed
    names = ["ada", "cleo", "ben", "dora", "cleo"]
    made = {name: world.train(5, name)[0] for name in names}
    signatures = [made[name].sign(factories.account(name), world.domain) for name in names]
    batch = pack_batch([made[name] for name in names], signatures)
    world.send("ledger", "commitUpdates", 5, made["ada"].bundle_hash, batch)
    assert world.federation.chain.ledger.round(5).entries == 4
    assert audited(world).entries.signed == before + 2


def test_a_node_may_forget_the_state_of_the_audited_block_meanwhile(world: World) -> None:
    def step(what: str) -> None:
        if not what.startswith(("events", "storage")):
            world.federation.anvil.call("anvil_mine", hex(KEPT_STATES + 1))

    assert audited(world, progress=Progress(step)).rounds["final"] == 2


def test_two_endpoints_that_agree_pass(history: World) -> None:
    url = history.federation.anvil.url
    assert audited(history, url, f"{url}/?other").recomputed == 3


def test_a_coordinator_serves_the_artifacts_as_well(history: World) -> None:
    """Files are fetched over HTTP, and copies removed when they are not needed any more."""
    kept: list[int] = []

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/v1/models/"):
            return httpx.Response(404)  # a web server with files hands out none
        kept.append(sum(path.stat().st_size for path in source._store.root.glob("??/*")))
        *_, parent, name = request.url.path.split("/")
        folder = history.folder
        path = folder.document(bytes.fromhex(name)) if parent == "by-keccak" else folder.place(name)
        return httpx.Response(200, content=path.read_bytes())

    with CoordinatorSource("http://coordinator.test", transport=httpx.MockTransport(serve)) as source:
        found = audit([history.federation.anvil.url], history.federation.deployment, source)
    assert (found.recomputed, found.updates) == (3, 12)
    assert max(kept) < 0.8 * found.hashed


def test_an_audit_can_start_later(history: World) -> None:
    found = audited(history, from_round=4)
    assert (found.recomputed, found.updates) == (1, 4)
    assert "before round 4 were not recomputed" in found.notes[0]


def test_the_command_prints_a_summary_or_one_json_document(
    history: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history.federation.deployment.save(tmp_path / "deployment.json")
    command = ["audit", "--rpc", history.federation.anvil.url, "--artifacts", str(history.folder.path)]
    command += ["--deployment", str(tmp_path / "deployment.json")]
    assert run(command) == 0
    text = capsys.readouterr().out
    assert "nothing wrong" in text
    assert "5 (1 anchored, 1 cancelled, 2 final, 1 open)" in text
    assert run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert document["activeVersion"] == 1
    assert document["updates"] == 12


def test_the_command_exits_with_1_and_names_the_failure(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = artifacts_of(world, 1).updates[1]
    world.folder.place(name).unlink()
    world.federation.deployment.save(tmp_path / "deployment.json")
    command = ["audit", "--rpc", world.federation.anvil.url, "--artifacts", str(world.folder.path)]
    command += ["--deployment", str(tmp_path / "deployment.json")]
    assert run(command) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"error: Round 1, contributor {BEN}, file {name}: the update file is not what" in captured.err
    assert "Traceback" not in captured.err
    assert run([*command, "--json"]) == 1
    details = json.loads(capsys.readouterr().out)["error"]["details"]
    assert (details["check"], details["round"], details["contributor"]) == ("updates", 1, BEN)
    assert details["artifact"] == name


# Artifacts that were tampered with


def test_one_byte_of_a_stored_update_is_found(world: World) -> None:
    name = artifacts_of(world, 3).updates[2]
    path = world.folder.place(name)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    failure = failure_of(world)
    assert failure.details["round"] == 3
    assert failure.details["contributor"] == CLEO
    assert failure.details["artifact"] == name
    assert "its sha256 is" in failure.message


def test_a_deleted_update_is_found(world: World) -> None:
    name = artifacts_of(world, 4).updates[0]
    world.folder.place(name).unlink()
    failure = failure_of(world)
    assert f"Round 4, contributor {ADA}, file {name}" in failure.message
    assert f"Found: at {world.folder.path} nothing." in failure.message


def test_one_weight_in_a_stored_verdicts_file_is_found(world: World) -> None:
    path = world.folder.place(artifacts_of(world, 1).verdicts)
    path.write_bytes(path.read_bytes().replace(b'"weight":1', b'"weight":2', 1))
    failure = failure_of(world)
    assert failure.details["check"] == "verdicts"
    assert failure.details["round"] == 1
    assert failure.details["artifact"] == artifacts_of(world, 1).verdicts


def test_a_replaced_artifacts_file_is_found(world: World) -> None:
    outcome = world.rounds[1].outcome
    assert outcome is not None
    other = replace(outcome.artifacts, mean="00" * 32).to_json()
    name = world.folder.put(other)
    (world.folder.path / "by-keccak" / outcome.anchor.artifacts_hash.hex()).write_text(name)
    failure = failure_of(world)
    assert "Round 1" in failure.message
    assert "the artifacts file is not what it must be" in failure.message
    assert outcome.anchor.artifacts_hash.hex() in failure.message
    assert f"its keccak is {keccak(other).hex()}" in failure.message


@pytest.mark.parametrize("kind", ["mean", "state"])
def test_a_missing_mean_or_state_is_found(world: World, kind: str) -> None:
    name = getattr(artifacts_of(world, 4), kind)
    world.folder.place(name).unlink()
    failure = failure_of(world)
    assert f"Round 4, file {name}: the {kind} file" in failure.message


def test_another_genesis_state_is_found(world: World) -> None:
    path = world.folder.place(artifacts_of(world, 1).base_state)
    data = bytearray(path.read_bytes())
    data[4] ^= 1
    path.write_bytes(data)
    failure = failure_of(world)
    assert failure.details["check"] == "genesis"
    assert f"file {path.name}: the first state" in failure.message


@pytest.mark.parametrize("data", [None, b"", carried.DATA[:-1], bytes(len(carried.DATA))])
def test_a_carried_file_that_is_missing_or_another_is_found(world: World, data: bytes | None) -> None:
    path = world.folder.place(carried.TABLE.sha256)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    failure = failure_of(world)
    assert failure.details["check"] == "genesis"
    assert f"file {path.name}: the file of the carried array 'table'" in failure.message


def test_another_genesis_in_the_deployment_file_is_found(world: World) -> None:
    wrong = replace(world.federation.deployment, genesis_hash="0x" + "11" * 32)
    with pytest.raises(AuditFailure, match="genesis in the deployment file") as caught:
        audit([world.federation.anvil.url], wrong, FolderSource(world.folder.path))
    assert caught.value.details["found"] == "0x" + "11" * 32


def test_no_genesis_at_all_is_named(world: World) -> None:
    genesis_hash = world.federation.deployment.genesis_hash[2:]
    (world.folder.path / "by-keccak" / genesis_hash).unlink()
    assert "the genesis file is not what it must be" in failure_of(world).message


def test_a_mirror_that_gives_no_answer_is_no_audit_failure(world: World) -> None:
    class Silent(FolderSource):
        def fetch(self, sha256: str, limit: int) -> Path:
            raise ArtifactError("No answer.", code="artifact-unreachable")

    with pytest.raises(ArtifactError, match="No answer"):
        audit([world.federation.anvil.url], world.federation.deployment, Silent(world.folder.path))


# Coordinators that cheat. Each cheat anchors on the chain what follows from it, consistently.


def cheat_weight(world: World, outcome: RoundOutcome) -> Anchor:
    """Give the second entry twice the weight, and publish a verdicts file that says so."""
    verdicts = list(outcome.verdicts.verdicts)
    verdicts[1] = replace(verdicts[1], weight=2)
    file = replace(outcome.verdicts, verdicts=tuple(verdicts)).to_json()
    artifacts = replace(outcome.artifacts, verdicts=world.folder.put(file, by_keccak=True)).to_json()
    world.folder.put(artifacts, by_keccak=True)
    weights = tuple(verdict.weight for verdict in verdicts)
    return replace(
        outcome.anchor, weights=weights, verdict_hash=keccak(file), artifacts_hash=keccak(artifacts)
    )


def cheat_reason(world: World, outcome: RoundOutcome) -> Anchor:
    """Tell lies about the numbers behind a verdict."""
    verdicts = list(outcome.verdicts.verdicts)
    verdicts[2] = replace(verdicts[2], numbers={**verdicts[2].numbers, "sumSquares": 7})
    file = replace(outcome.verdicts, verdicts=tuple(verdicts)).to_json()
    artifacts = replace(outcome.artifacts, verdicts=world.folder.put(file, by_keccak=True)).to_json()
    world.folder.put(artifacts, by_keccak=True)
    return replace(outcome.anchor, verdict_hash=keccak(file), artifacts_hash=keccak(artifacts))


def cheat_mean(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor and publish a mean that is off by one in one coordinate, and the state that follows from it."""
    record = world.rounds[outcome.verdicts.round]
    width = record.policy.mean_width
    mean = FileUpdate(world.folder.place(outcome.artifacts.mean), width).read(0, MANIFEST.leaves)
    mean[1, 7] += 1 if mean[1, 7] <= 128 else -1
    part = step_leaves(MANIFEST, record.header, record.policy, world.states[record.base], mean, 0)
    state = State(part.theta, part.momentum)
    listed: dict[str, Any] = {
        "mean": world.folder.put(pack(mean, width).tobytes()),
        "state": world.folder.put(state.to_bytes()),
    }
    artifacts = replace(outcome.artifacts, **listed).to_json()
    world.folder.put(artifacts, by_keccak=True)
    return replace(
        outcome.anchor,
        mean_root=tree(MEAN, leaf_hashes(MEAN, mean)).root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=keccak(artifacts),
    )


def cheat_mean_root(world: World, outcome: RoundOutcome) -> Anchor:
    return replace(outcome.anchor, mean_root=keccak(b"another mean"))


def cheat_outer_step(world: World, outcome: RoundOutcome) -> Anchor:
    """Publish and anchor a state that is off by one unit in one coordinate."""
    theta = outcome.state.theta.copy()
    theta[3] += 1
    state = replace(outcome.state, theta=theta)
    artifacts = replace(outcome.artifacts, state=world.folder.put(state.to_bytes())).to_json()
    world.folder.put(artifacts, by_keccak=True)
    return replace(outcome.anchor, state_root=state.root(MANIFEST.hash), artifacts_hash=keccak(artifacts))


def cheat_next_exponents(world: World, outcome: RoundOutcome) -> Anchor:
    artifacts = replace(outcome.artifacts, next_exponents=(4, 4, 4)).to_json()
    world.folder.put(artifacts, by_keccak=True)
    return replace(outcome.anchor, artifacts_hash=keccak(artifacts))


def cheat_other_file(world: World, outcome: RoundOutcome) -> Anchor:
    """List a file that is there, but is not what the contributor committed to."""
    name = world.folder.put(bytes([0x81]) * MANIFEST.size)
    updates = (name, *outcome.artifacts.updates[1:])
    artifacts = replace(outcome.artifacts, updates=updates).to_json()
    world.folder.put(artifacts, by_keccak=True)
    return replace(outcome.anchor, artifacts_hash=keccak(artifacts))


@pytest.mark.parametrize(
    ("cheat", "check", "what", "contributor"),
    [
        (cheat_weight, "verdicts", "the weight", BEN),
        (cheat_reason, "verdicts", "the numbers in the verdicts file", CLEO),
        (cheat_mean, "mean", "the root of the mean", None),
        (cheat_mean_root, "mean", "the root of the mean", None),
        (cheat_outer_step, "mean", "the state root", None),
        (cheat_next_exponents, "mean", "the next exponents", None),
        (cheat_other_file, "updates", "the update file", ADA),
    ],
)
def test_a_cheating_coordinator_is_found(
    world: World,
    cheat: Callable[[World, RoundOutcome], Anchor],
    check: str,
    what: str,
    contributor: str | None,
) -> None:
    world.commit(5, ["cleo"])
    world.anchor(5, cheat)
    details = failure_of(world).details
    assert (details["check"], details["round"], details["what"]) == (check, 5, what)
    assert details.get("contributor") == contributor


def test_wrong_exponents_in_a_header_are_found_by_the_hash_alone(world: World) -> None:
    world.cancel(5)
    world.open(exponents=(-11, -12, -10))
    failure = failure_of(world)
    assert failure.details["round"] == 6
    assert "the hash of the header" in failure.message
    assert "RoundOpened" in failure.message


def test_wrong_exponents_are_named_where_the_header_is_published(world: World) -> None:
    world.cancel(5)
    number = world.open(exponents=(-11, -12, -10))
    world.commit(number, ["ada", "ben"])
    world.anchor(number)
    failure = failure_of(world)
    assert "Round 6" in failure.message
    assert "the exponents in the header" in failure.message
    assert failure.details["found"] == "[-11, -12, -10]"


def test_a_header_hash_of_nothing_is_found(world: World) -> None:
    world.cancel(5)
    world.open(header_hash=keccak(b"no header"))
    failure = failure_of(world)
    assert failure.details["round"] == 6
    assert failure.details["found"] == "0x" + keccak(b"no header").hex()


def test_a_wrong_round_that_is_final_fails_for_ever(world: World) -> None:
    world.commit(5, ["cleo"])
    world.anchor(5, cheat_outer_step)
    world.finalize(4)
    world.finalize(5)
    assert failure_of(world).details["round"] == 5


# Slashed rounds


def test_a_slashed_round_and_what_was_built_on_it_change_nothing(world: World) -> None:
    verifier = factories.account("verifier")
    world.commit(5, ["cleo"])
    world.anchor(5, cheat_mean_root)
    world.play(["ada", "ben"])
    world.open()
    world.send("ledger", "reportFraud", 5, factories.account("outsider").address, by=verifier)
    world.head = 4
    world.play(["dora", "cleo"])
    assert audited(world).rounds["cancelled"] == 3
    world.send("ledger", "releaseVoid", 6, by=factories.account("outsider"))
    found = audited(world)
    assert found.rounds == {"final": 2, "cancelled": 3, "anchored": 2, "slashed": 1}
    assert found.model_head == 8
    assert "Round 5 was slashed; recomputing it fails as well." in found.notes[0]
    assert "the root of the mean" in found.notes[0]
    assert found.notes[1:3] == [
        f"Round {number} is void: it was built on a round that was slashed." for number in (6, 7)
    ]


def test_an_honest_round_that_was_slashed_is_a_warning(world: World) -> None:
    world.send(
        "ledger", "reportFraud", 4, factories.account("outsider").address, by=factories.account("verifier")
    )
    found = audited(world)
    assert found.model_head == 3
    assert "Warning: round 4 was slashed, but its anchor is right" in found.notes[0]


# A crowd


def test_places_are_drawn_in_a_crowd(chain: Anvil, tmp_path: Path) -> None:
    """600 MOOT are enrolled and four places for contributors: the quota is 200. Ada has it, the others have lots."""
    snapshot = chain.snapshot()
    policy = factories.policy(max_contributors=5, min_contributors=1, challenge_window=60)
    world = World.create(chain, tmp_path / "artifacts", policy)
    ledger = world.federation.chain.ledger
    contributors = ["ada", "ben", "cleo", "dora", "emil"]
    try:
        # The first basis is the vault's creation: nobody had enrolled, and nobody has a place.
        first = world.open()
        assert ledger.draw(first).quota == EVERYBODY
        assert not any(ledger.has_place(first, factories.account(name).address) for name in contributors)
        world.cancel(first)
        factories.stake(world.federation.chain, factories.account("ada"), factories.STAKE)
        factories.enrol(world.federation.chain, factories.account("ada"), 2 * factories.STAKE)
        world.advance(1)
        chain.call("anvil_mine", hex(258))
        redraw = world.federation.chain.vault.functions.redraw()
        world.federation.chain.send(redraw, factories.account("outsider"))
        world.advance(1)
        for number in range(2, 6):
            chain.call(
                "anvil_mine"
            )  # gas is estimated in the newest block, whose hash is not known in itself
            world.open()
            assert ledger.draw(number).quota == 200 * UNIT
            has = [name for name in contributors if ledger.has_place(number, factories.account(name).address)]
            world.commit(number, [*has[:4], "coordinator"])
            world.anchor(number)
        assert audited(world).recomputed == 4
        for place, value, what in (
            (0, 5, "the quota of a place"),
            (1, 5, "the time of the draw's basis"),
            (2, 5, "the seed of the draw"),
        ):
            alter = alter_log(
                "ledger", "PlacesDrawn", ["uint96", "uint40", "uint120"], set_to(place, value), which=2
            )
            with lying_endpoint(chain.url, alter) as url:
                failure = failure_of(world, url)
            assert (failure.details["round"], failure.details["what"]) == (3, what)
    finally:
        world.federation.chain.close()
        chain.revert(snapshot)


# Governance


def test_what_votes_changed_is_followed(world: World) -> None:
    newcomer = factories.account("newcomer").address
    policy = factories.policy(verifier=factories.account("verifier").address, max_contributors=7)
    calls = [
        world.call("ledger", "appointCoordinator", newcomer),
        world.call("policies", "addPolicy", policy.abi_tuple()),
        world.call("registry", "activate", 3, bytes(32)),
    ]
    world.decide(calls, "Change everything", {"ada": "for", "ben": "for", "cleo": "for", "dora": "for"})
    assert world.federation.chain.ledger.coordinator() == newcomer
    assert audited(world).votes == 13


def test_votes_weigh_the_least_of_seasoned_past_and_present_stake(world: World) -> None:
    chain = world.federation.chain
    newcomer, emil, dora = (factories.account(name) for name in ("newcomer", "emil", "dora"))
    factories.stake(chain, newcomer, 10 * UNIT)
    world.advance(SEASONING - 20)
    number = world.propose([world.call("registry", "activate", 3, bytes(32))], "Young, old, leaving")
    world.advance(factories.GOVERNANCE.voting_delay + 1)
    world.send("vault", "requestUnbond", 30 * UNIT, by=dora)
    factories.stake(chain, emil, 5 * UNIT)
    before = chain.read(chain.governor.functions.proposalVotes(number))
    for voter in (newcomer, dora):
        world.send("governor", "castVote", number, 1, by=voter)
    after = chain.read(chain.governor.functions.proposalVotes(number))
    assert (before[1], after[1]) == (0, factories.STAKE - 30 * UNIT)
    assert audited(world).votes == 11


def test_a_late_quorum_prolongs_the_vote(world: World) -> None:
    chain, rules = world.federation.chain, factories.GOVERNANCE
    number = world.propose([world.call("registry", "activate", 3, bytes(32))], "Late")
    world.advance(rules.voting_delay + rules.voting_period - rules.vote_extension // 2)
    world.vote(number, "dora", "for")
    world.vote(number, "coordinator", "for")
    assert audited(world).votes == 11
    assert chain.read(chain.governor.functions.proposalDeadline(number)) > chain.rpc.latest_timestamp() + 50


# Endpoints that lie. Each changes one answer of the honest chain.


def topic(role: str, event: str) -> str:
    entry = next(e for e in packaged.contract(role).abi if e["type"] == "event" and e["name"] == event)
    return "0x" + keccak_of(text=packaged.signature_of(entry)).hex()


def alter_log(
    role: str, event: str, types: list[str], change: Callable[[list[Any]], None], which: int = 0
) -> Alter:
    """Change the data of one log."""
    wanted = topic(role, event)

    def alter(method: str, params: list[Any], result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        logs = [log for log in result if log["topics"][0] == wanted]
        values = list(decode(types, bytes.fromhex(logs[which]["data"][2:])))
        change(values)
        logs[which]["data"] = "0x" + encode(types, values).hex()
        return result

    return alter


def drop_log(role: str, event: str) -> Alter:
    wanted = topic(role, event)

    def alter(method: str, params: list[Any], result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        last = max(i for i, log in enumerate(result) if log["topics"][0] == wanted)
        return result[:last] + result[last + 1 :]

    return alter


def alter_call(role: str, signature: str, place: int, value: int) -> Alter:
    """Change one word of what a view function returns."""
    selector = "0x" + keccak_of(text=signature)[:4].hex()

    def alter(method: str, params: list[Any], result: Any) -> Any:
        if method != "eth_call" or not params[0]["data"].startswith(selector):
            return result
        data = bytearray.fromhex(result[2:])
        data[32 * place : 32 * place + 32] = value.to_bytes(32, "big")
        return "0x" + data.hex()

    return alter


def set_to(place: int, value: Any) -> Callable[[list[Any]], None]:
    return lambda values: values.__setitem__(place, value)


def set_listed(entry: int, offset: int, value: bytes) -> Callable[[list[Any]], None]:
    """Set bytes of an entry that an event lists."""

    def change(values: list[Any]) -> None:
        start = LISTED_BYTES * entry + offset
        values[2] = values[2][:start] + value + values[2][start + len(value) :]

    return change


COMMITTED = ["uint16", "bytes32", "bytes"]
VOTE = ["uint256", "uint8", "uint256", "string"]
ANCHOR = "(uint32[],uint32[],uint256,bytes32,bytes32,bytes32,bytes32,bytes32,bytes32)"


@pytest.mark.parametrize(
    ("alter", "check", "what"),
    [
        (
            alter_log("ledger", "UpdatesCommitted", COMMITTED, set_listed(0, 52, (5).to_bytes(8, "big"))),
            "entries",
            "the sum squares in the event",
        ),
        (
            alter_log("ledger", "UpdatesCommitted", COMMITTED, set_listed(0, 20, bytes(31) + b"\1")),
            "entries",
            "the update root in the event",
        ),
        (
            alter_log(
                "ledger",
                "RoundAnchored",
                [ANCHOR, "uint40"],
                lambda values: values.__setitem__(0, ([2, 1, 1, 1], *values[0][1:])),
            ),
            "rounds",
            "the stored anchor hash",
        ),
        (
            alter_log("governor", "VoteCast", VOTE, set_to(2, 999 * UNIT)),
            "governance",
            "the weight of the vote",
        ),
        (alter_log("governor", "VoteCast", VOTE, set_to(1, 0)), "governance", "the votes against"),
        (alter_log("vault", "Staked", ["uint256"], set_to(0, 999 * UNIT)), "stakes", "the votes of"),
        (
            alter_log("rewards", "RewardCredited", ["uint256"], set_to(0, 10**18)),
            "rewards",
            "the claimed rewards",
        ),
        (drop_log("ledger", "RoundOpened"), "bonds", "the reason of the bond"),
        (drop_log("vault", "BondLocked"), "stakes", "the votes of"),
        (drop_log("ledger", "Enrolled"), "entries", "the enrolled stake of"),
        (drop_log("ledger", "UpdatesCommitted"), "rounds", "the stored entries"),
        (drop_log("registry", "VersionActivated"), "registry", "the active version"),
        (drop_log("governor", "VoteCast"), "governance", "the votes against"),
        (alter_call("governor", "proposalVotes(uint256)", 1, 10**21), "governance", "the votes for"),
        (alter_call("vault", "getPastVotes(address,uint256)", 0, 1), "governance", "the voter's stake"),
        (alter_call("vault", "stakeOf(address)", 0, 1), "stakes", "the stake of"),
        (alter_call("vault", "members(address[])", 3, 1), "stakes", "the enrolled stake of"),
        (alter_call("vault", "members(address[])", 5, 1), "stakes", "since when"),
        (alter_call("vault", "bondOf(address)", 0, 1), "stakes", "the bonds of"),
        (alter_call("vault", "totalEnrolled()", 0, 1), "stakes", "the sum of all enrolled stake"),
        (alter_call("vault", "basis()", 0, 1), "rounds", "the basis of the next draw"),
        (alter_call("ledger", "draws(uint64)", 0, 1), "rounds", "the stored draw of places"),
        (alter_call("ledger", "bounds()", 1, 1), "contracts", "the bounds of policies"),
        (alter_call("ledger", "admission()", 0, 1), "contracts", "who admits accounts"),
        (alter_call("token", "totalSupply()", 0, 1), "supply", "the supply"),
        (alter_call("policies", "currentPolicy()", 0, 1), "policies", "policy 2"),
        (alter_call("registry", "active()", 0, 3), "registry", "the active version"),
        (alter_call("registry", "standing(uint64)", 0, 2), "registry", "the stored version"),
    ],
)
def test_a_lying_endpoint_is_found(world: World, alter: Alter, check: str, what: str) -> None:
    with lying_endpoint(world.federation.anvil.url, alter) as url:
        failure = failure_of(world, url)
    assert failure.details["check"] == check
    assert failure.details["what"].startswith(what)


def test_other_code_of_the_policies_is_found(world: World) -> None:
    policies = world.federation.deployment.policies

    def alter(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getCode" and params[0].lower() == policies.lower():
            return result[:-2] + "ff"
        return result

    with lying_endpoint(world.federation.anvil.url, alter) as url:
        failure = failure_of(world, url)
    assert failure.details["what"] == f"the code of the policies at {policies}"


def test_an_altered_entry_is_named_with_its_contributor_and_transaction(world: World) -> None:
    alter = alter_log("ledger", "UpdatesCommitted", COMMITTED, set_listed(1, 52, (5).to_bytes(8, "big")))
    with lying_endpoint(world.federation.anvil.url, alter) as url:
        failure = failure_of(world, url)
    assert f"Round 1, contributor {BEN}, event UpdatesCommitted in transaction 0x" in failure.message
    assert failure.details["found"] == "5"


def test_an_altered_vote_is_named_with_its_voter_and_proposal(world: World) -> None:
    alter = alter_log("governor", "VoteCast", VOTE, set_to(2, 999 * UNIT))
    with lying_endpoint(world.federation.anvil.url, alter) as url:
        failure = failure_of(world, url)
    assert f"Voter {ADA}, proposal" in failure.message
    assert failure.details["expected"] == str(factories.STAKE)


def test_other_code_at_an_address_is_found(world: World) -> None:
    def alter(method: str, params: list[Any], result: Any) -> Any:
        return result[:-2] + "00" if method == "eth_getCode" else result

    with lying_endpoint(world.federation.anvil.url, alter) as url:
        failure = failure_of(world, url)
    assert failure.details["check"] == "contracts"
    assert "The code of the token" in failure.message


def test_contracts_of_two_federations_do_not_go_together(world: World) -> None:
    other = factories.federation(world.federation.anvil)
    other.chain.close()
    mixed = replace(world.federation.deployment, token=other.deployment.token)
    with pytest.raises(AuditFailure, match="hat the token was created with") as caught:
        audit([world.federation.anvil.url], mixed, FolderSource(world.folder.path))
    assert other.deployment.rewards in caught.value.details["found"]


@pytest.mark.parametrize("place", ["input", "from"])
def test_an_altered_transaction_is_named(world: World, place: str) -> None:
    """Not even the sender of an own commitment can be made up: transactions prove themselves."""
    dora = factories.account("dora").address.lower()
    altered: list[str] = []

    def alter(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getTransactionByHash" and result["from"] == dora:
            result[place] = result[place][:-1] + ("0" if result[place][-1] != "0" else "1")
            altered.append(params[0])
        return result

    with lying_endpoint(world.federation.anvil.url, alter) as url:
        failure = failure_of(world, url)
    assert failure.details["check"] == "transactions"
    assert altered[0] in failure.message


@pytest.mark.parametrize("honest", [1, 2])
def test_the_endpoint_that_differs_is_named(world: World, honest: int) -> None:
    alter = alter_log("governor", "VoteCast", VOTE, set_to(2, 999 * UNIT))
    good = world.federation.anvil.url
    with lying_endpoint(good, alter) as bad:
        failure = failure_of(world, bad, *(f"{good}/?{place}" for place in range(honest)))
    assert failure.details["check"] == "endpoints"
    assert bad in failure.message
    assert "VoteCast" in failure.message
    if honest == 2:  # the majority is right
        assert f"at {bad} is not what it must be" in failure.message


def test_another_block_is_named(world: World) -> None:
    """A fork: the last block has another hash, in blocks and logs alike."""
    number = world.federation.chain.rpc.block_number()
    real = world.federation.anvil.call("eth_getBlockByNumber", hex(number), False)["hash"]

    def alter(method: str, params: list[Any], result: Any) -> Any:
        return json.loads(json.dumps(result).replace(real, "0x" + "33" * 32))

    good = world.federation.anvil.url
    with lying_endpoint(good, alter) as bad:
        assert f"Block {number} at {bad}" in failure_of(world, good, bad).message


def test_a_chain_without_the_contracts_is_the_wrong_one(world: World) -> None:
    empty = replace(world.federation.deployment, vault=factories.account("outsider").address)
    with pytest.raises(WrongChainError, match="has its vault"):
        audit([world.federation.anvil.url], empty, FolderSource(world.folder.path))
    other = replace(world.federation.deployment, chain_id=1)
    with pytest.raises(WrongChainError, match="chain 31337"):
        audit([world.federation.anvil.url], other, FolderSource(world.folder.path))


def test_an_endpoint_that_is_not_there_is_no_audit_failure(world: World) -> None:
    with pytest.raises(RpcError, match="can't be reached"):
        audited(world, "http://127.0.0.1:9")
