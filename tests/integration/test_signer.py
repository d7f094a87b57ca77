# SPDX-License-Identifier: Apache-2.0
"""Hostile code at the signer's socket, and signing records that are not the account's, on Anvil with the contracts.

The code that trains comes from the coordinator. Whatever it requests, it gets no signature that costs the stake.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.signer import checks
from client.signer.agent import SignerAgent
from client.signer.checks import SigningRules
from client.signer.keys import LocalKey
from client.signer.record import RECORD_FILE, SignedRounds, SigningRecord
from folkmoot.cli.main import run as folkmoot
from folkmoot.flower.signing import AgentSigner, SignerError
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import NO_BUNDLE, Commitment
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.merkle import update_tree
from tests import factories
from tests.integration import fraud_world as lies
from tests.integration.audit_world import MANIFEST, World
from tests.integration.watched import Watched, close_all
from tests.rpc_proxy import Lie, RpcProxy, Trouble

DORA = factories.account("dora")
"""A contributor that has committed nothing in the first round."""
BUNDLE = b"\x0b" * 32


@pytest.fixture
def world(judged_world: World) -> World:
    """A federation with judges, an honest first round and an open second one."""
    judged_world.open()
    return judged_world


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    close_all()


def agent_of(world: World, home: Path, name: str = "dora", url: str = "", **rules: Any) -> SignerAgent:
    """Return the agent of a contributor, with socket and record in a folder."""
    made = SigningRules(world.federation.deployment, MANIFEST, **rules)
    key = LocalKey(factories.account(name))
    return SignerAgent(key, made, url or world.federation.anvil.url, home / "signer.sock", home / "signer")


def current(world: World) -> int:
    return max(world.rounds)


def sign(world: World, agent: SignerAgent, name: str = "dora") -> Commitment:
    """Request a signature as an honest node does; return what was signed."""
    commitment, data = world.train(current(world), name)
    signature = AgentSigner(agent.path, commitment.contributor).sign(commitment, world.domain, data)
    commitment.check_signature(signature, world.domain)
    return commitment


def commit(world: World, commitment: Commitment, by: str = "dora") -> None:
    """Record a commitment on the chain, and end the round without an anchor."""
    world.send("ledger", "commitUpdate", commitment.abi_tuple(), by=factories.account(by))


def refused(call: Callable[[], object]) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(SignerError) as caught:
        call()
    assert caught.value.remedy
    return caught.value.code


def test_what_it_signs_the_ledger_takes(world: World, tmp_path: Path) -> None:
    with agent_of(world, tmp_path) as agent:
        commitment, data = world.train(2, "dora")
        signature = AgentSigner(agent.path, DORA.address).sign(commitment, world.domain, data)
        world.send("ledger", "commitUpdates", 2, NO_BUNDLE, pack_batch([commitment], [signature]))
        assert world.federation.chain.ledger.has_committed(2, DORA.address)
        assert sign(world, agent) == commitment, "a request that is repeated after the commitment is answered"


# A hostile trainer (finding D1 of the audit)


@dataclass
class Hostile:
    """Code that trains and can say anything to the agent's socket."""

    world: World
    agent: SignerAgent
    commitment: Commitment
    """The honest commitment."""
    data: bytes
    """The honest update."""

    def ask(self, commitment: Commitment | None = None, data: bytes | None = None, **fields: Any) -> str:
        """Make a request; return the code of the refusal, or fail if there is a signature."""
        made, sent = commitment or self.commitment, self.data if data is None else data
        request = {
            "type": "Commitment",
            "chainId": self.world.domain.chain_id,
            "ledger": self.world.domain.verifying_contract,
            "commitment": made.to_json(),
            "size": len(sent),
            **fields,
        }
        return self.say(json.dumps(request).encode() + b"\n", sent)

    def say(self, line: bytes, data: bytes) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30)
            connection.connect(str(self.agent.path))
            connection.sendall(line)
            answers = connection.makefile()
            answer = json.loads(answers.readline())
            if "send" in answer:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = json.loads(answers.readline())
        assert "signature" not in answer
        assert answer["remedy"]
        return str(answer["code"])

    def of(self, data: bytes, **changes: Any) -> Commitment:
        """Return the commitment to other bytes."""
        tree = update_tree(np.frombuffer(data, np.uint8))
        return replace(self.commitment, update_root=tree.root, sum_squares=tree.sum_squares, **changes)


def false_sum(it: Hostile) -> str:
    return it.ask(replace(it.commitment, sum_squares=it.commitment.sum_squares + 1))


def false_root(it: Hostile) -> str:
    return it.ask(replace(it.commitment, update_root=keccak(b"another tree")))


def round_ahead(it: Hostile) -> str:
    return it.ask(replace(it.commitment, round=it.commitment.round + 1))


def closed_round(it: Hostile) -> str:
    it.world.advance(it.world.rounds[2].policy.commit_window)
    return it.ask()


def earlier_round(it: Hostile) -> str:
    return it.ask(replace(it.commitment, round=1))


def other_base(it: Hostile) -> str:
    return it.ask(replace(it.commitment, base_state_root=it.world.rounds[1].header.base_state_root))


def second_digest(it: Hostile) -> str:
    sign(it.world, it.agent)
    return it.ask(replace(it.commitment, memory_hash=b"\x02" * 32))


def other_bundle(it: Hostile) -> str:
    return it.ask(replace(it.commitment, bundle_hash=b"\x0c" * 32))


def oversized_file(it: Hostile) -> str:
    return it.ask(data=it.data + bytes([128]) * LEAF)


def half_file(it: Hostile) -> str:
    return it.ask(data=it.data[: len(it.data) // 2], size=len(it.data))


def changing_file(it: Hostile) -> str:
    """The file changes after half of it was sent: what counts is what arrived."""
    half = len(it.data) // 2
    changed = bytearray(it.data)
    changed[half] ^= 1
    return it.ask(data=it.data[:half] + bytes(changed[half:]))


def junk(it: Hostile) -> str:
    return it.say(b'{"type": "Commitment", \xff\n', b"")


def replaced_record(it: Hostile) -> str:
    sign(it.world, it.agent)
    (it.agent.path.parent / "signer" / RECORD_FILE).write_bytes(SigningRecord(DORA.address).to_json())
    return it.ask(replace(it.commitment, memory_hash=b"\x01" * 32))


def replayed_update(it: Hostile) -> str:
    """An update of an earlier round, of anybody: `proveReplay` takes the stake for it."""
    earlier = it.world.rounds[1].updates[0]
    assert earlier is not None
    return it.ask(it.of(earlier), earlier)


def byte_zero(it: Hostile) -> str:
    return it.ask(data=b"\x00" + it.data[1:])


def padding(it: Hostile) -> str:
    spoiled = bytearray(it.data)
    spoiled[6 * LEAF + 200] = 0x81  # leaf 6 is the last of a tensor of 1,600
    return it.ask(it.of(bytes(spoiled)), bytes(spoiled))


def too_large(it: Hostile) -> str:
    return it.ask(replace(it.commitment, sum_squares=10**9 + 1))


def other_account(it: Hostile) -> str:
    return it.ask(replace(it.commitment, contributor=factories.account("emil").address))


def other_ledger(it: Hostile) -> str:
    return it.ask(ledger="0x" + "b2" * 20)


def other_message(it: Hostile) -> str:
    return it.ask(type="Permit")


ATTACKS: dict[Callable[[Hostile], str], str] = {
    false_sum: "wrong-norm",
    false_root: "wrong-root",
    round_ahead: "round-ahead",
    closed_round: "round-closed",
    earlier_round: "round-closed",
    other_base: "wrong-base",
    second_digest: "already-signed",
    other_bundle: "wrong-bundle",
    oversized_file: "wrong-size",
    half_file: "short-update",
    changing_file: "wrong-root",
    junk: "malformed-request",
    replaced_record: "record-replaced",
    replayed_update: "replayed-update",
    byte_zero: "invalid-encoding",
    padding: "invalid-encoding",
    too_large: "norm-too-large",
    other_account: "wrong-account",
    other_ledger: "wrong-ledger",
    other_message: "wrong-type",
}
LAST = {closed_round, second_digest, replaced_record}
"""Attacks after which no honest request of the round is left to make."""


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_d1_a_hostile_trainer_gets_no_signature(
    world: World, tmp_path: Path, attack: Callable[[Hostile], str]
) -> None:
    commitment, data = world.train(2, "dora")
    bundle = NO_BUNDLE if attack is other_bundle else None
    with agent_of(world, tmp_path, bundle=bundle) as agent:
        assert attack(Hostile(world, agent, commitment, data)) == ATTACKS[attack]
        if attack not in LAST:
            record = SigningRecord.from_json((tmp_path / "signer" / RECORD_FILE).read_bytes(), "it")
            assert not record.of(world.domain).signed
            assert sign(world, agent) == commitment


def test_d1_the_signature_that_is_refused_now_costs_the_stake(world: World, tmp_path: Path) -> None:
    """The agent of before signed `sumSquares + 1` as the account's own key does here."""
    commitment, data = world.train(2, "dora")
    with agent_of(world, tmp_path) as agent:
        assert false_sum(Hostile(world, agent, commitment, data)) == "wrong-norm"
    world.cancel(2)
    before = world.federation.chain.vault.stake_of(DORA.address)
    lies.play_false_norm(world, ["ada", "ben", "dora"], off=1)
    seen = Watched(world, tmp_path / "watch")
    seen.look()
    assert len(seen.said("fault-proven")) == 1
    assert world.federation.chain.vault.stake_of(DORA.address) == before - factories.policy().min_stake


def test_the_bundle_that_is_pinned_is_signed(world: World, tmp_path: Path) -> None:
    made, data = world.train(2, "dora")
    with agent_of(world, tmp_path, bundle=BUNDLE) as agent:
        signer = AgentSigner(agent.path, DORA.address)
        signer.sign(replace(made, bundle_hash=BUNDLE), world.domain, data)
        assert refused(lambda: signer.sign(made, world.domain, data)) == "wrong-bundle"


def test_without_a_place_nothing_is_signed(world: World, tmp_path: Path) -> None:
    with agent_of(world, tmp_path, "newcomer") as agent:
        assert refused(lambda: sign(world, agent, "newcomer")) == "no-place"


# The signing record and the chain


@contextmanager
def committed_in_round_2(world: World, home: Path) -> Iterator[Path]:
    """Let Dora sign and commit in round 2 and yield her record; round 3 is open after that."""
    with agent_of(world, home) as agent:
        commit(world, sign(world, agent))
    world.cancel(2)
    world.open()
    yield home / "signer" / RECORD_FILE


def stored(world: World, **rounds: bytes) -> bytes:
    signed = {int(name.removeprefix("r")): digest.hex() for name, digest in rounds.items()}
    return SigningRecord(DORA.address).with_rounds(world.domain, SignedRounds(0, signed)).to_json()


def test_a_record_that_agrees_with_the_chain_goes_on(world: World, tmp_path: Path) -> None:
    with committed_in_round_2(world, tmp_path), agent_of(world, tmp_path) as agent:
        assert sign(world, agent).round == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda world, path: path.unlink(), "record-behind"),
        (lambda world, path: path.write_bytes(stored(world)), "record-behind"),
        (lambda world, path: path.write_bytes(stored(world, r2=keccak(b"other"))), "record-contradicted"),
        (lambda world, path: path.write_bytes(stored(world, r99=keccak(b"later"))), "record-ahead"),
        (lambda world, path: path.write_bytes(path.read_bytes()[:-40]), "record-damaged"),
        (lambda world, path: path.write_bytes(b""), "record-damaged"),
        (
            lambda world, path: path.write_bytes(SigningRecord(factories.account("ben").address).to_json()),
            "record-other-account",
        ),
    ],
    ids=["removed", "restored", "contradicted", "ahead", "truncated", "empty", "other-account"],
)
def test_a_record_that_is_not_the_accounts_permits_nothing(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[World, Path], None],
    code: str,
) -> None:
    monkeypatch.setattr(checks, "AHEAD_SECONDS", 1.0)
    with committed_in_round_2(world, tmp_path) as path:
        change(world, path)
        assert refused(agent_of(world, tmp_path).__enter__) == code
        assert not (tmp_path / "signer.sock").exists()


def test_a_start_waits_for_a_round_that_the_chain_has_lost_and_the_coordinator_opens_again(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = world.federation.anvil.snapshot()
    world.cancel(2)
    world.open()
    with agent_of(world, tmp_path) as agent:
        assert sign(world, agent).round == 3
    world.federation.anvil.revert(snapshot)  # The chain's machine has crashed.
    del world.rounds[3]
    waiting = agent_of(world, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(waiting.__enter__)
        while not caplog.messages:
            assert not started.done()
            time.sleep(0.02)
        assert "Waiting at most 30 s for a ledger that has it." in caplog.text
        world.cancel(2)
        world.open()
        started.result(60).__exit__(None, None, None)


def test_a_commitment_that_another_signer_of_the_account_made_stops_this_one(
    world: World, tmp_path: Path
) -> None:
    """While both run: the second one sees the commitment of the open round."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with agent_of(world, first) as one, agent_of(world, second) as two:
        commit(world, sign(world, one))
        assert refused(lambda: sign(world, two)) == "record-behind"


def test_a_lost_record_is_started_anew_above_the_newest_round(
    world: World, tmp_path: Path, deployment_of: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with committed_in_round_2(world, tmp_path) as path:
        path.unlink()
        words = ["--record", str(path.parent), "--account", DORA.address, "--deployment", str(deployment_of)]
        words += ["--rpc", world.federation.anvil.url]
        assert folkmoot(["signer", "restore", "--raise", "3", *words]) == 0
        assert "signs nothing up to round 3" in capsys.readouterr().out
        assert folkmoot(["signer", "restore", "--raise", "2", *words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["lowWaterMark"] == 3, "a mark never falls"
        with agent_of(world, tmp_path) as agent:
            assert refused(lambda: sign(world, agent)) == "below-mark"
            world.cancel(3)
            world.open()
            assert sign(world, agent).round == 4


def test_a_record_moves_to_another_machine(
    world: World, tmp_path: Path, deployment_of: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with agent_of(world, here) as agent:
        sign(world, agent)
    of_dora = ["--account", DORA.address]
    out = ["--out", str(tmp_path / "exported.json")]
    assert folkmoot(["signer", "record", "--record", str(here / "signer"), *of_dora, *out]) == 0
    assert folkmoot(["signer", "record", "--out", "-", "--record", str(here / "signer"), *of_dora]) == 0
    assert (tmp_path / "exported.json").read_text() in capsys.readouterr().out
    taken = ["signer", "restore", str(tmp_path / "exported.json"), "--record", str(there / "signer")]
    for _ in range(2):
        assert folkmoot([*taken, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [one["round"] for one in document["ledgers"][0]["signed"]] == ["2"]
    made, data = world.train(2, "dora")
    with agent_of(world, there) as agent:
        assert sign(world, agent) == made
        other = replace(made, memory_hash=b"\x01" * 32)
        signer = AgentSigner(agent.path, DORA.address)
        assert refused(lambda: signer.sign(other, world.domain, data)) == "already-signed"
    for words, code in (
        (["record", "--out", "-", "--record", str(tmp_path / "none"), *of_dora], "record-missing"),
        (["restore", str(tmp_path / "none.json"), "--record", str(there / "signer")], "invalid-input"),
        ([*taken[1:], "--account", factories.account("ben").address], "record-other-account"),
    ):
        assert folkmoot(["signer", *words, "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["error"]["code"] == code


@pytest.fixture
def deployment_of(world: World, tmp_path: Path) -> Path:
    """The deployment file."""
    path = tmp_path / "deployment.json"
    world.federation.deployment.save(path)
    return path


# The chain can't be read


@pytest.mark.parametrize("trouble", [Trouble.AWAY, Trouble.GARBAGE, Trouble.NONSENSE])
def test_nothing_is_signed_without_a_look_at_the_chain(
    world: World, tmp_path: Path, trouble: Trouble
) -> None:
    with RpcProxy(world.federation.anvil.url) as proxy:
        proxy.become(trouble)
        with agent_of(world, tmp_path, url=proxy.url) as agent:
            assert refused(lambda: sign(world, agent)) == "chain-unavailable"
            proxy.become(Trouble.NONE)
            sign(world, agent)


def test_another_chain_is_refused(world: World, tmp_path: Path) -> None:
    with RpcProxy(world.federation.anvil.url) as proxy:
        with agent_of(world, tmp_path, url=proxy.url) as agent:
            proxy.tell(Lie.CHAIN)
            assert refused(lambda: sign(world, agent)) == "wrong-chain"
        assert refused(agent_of(world, tmp_path, url=proxy.url).__enter__) == "wrong-chain"
