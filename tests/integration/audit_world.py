# SPDX-License-Identifier: Apache-2.0
"""A federation with a history, played by the library against the real contracts: what the audit's tests audit.

`World` is a coordinator without a server. Each step does what the protocol says; the tests that need a cheat hand in
a function that changes what is about to be anchored.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
from eth_account.signers.local import LocalAccount

from folkmoot.aggregation.lineage import Lineage, PastRound, window
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.chain import governance
from folkmoot.chain.terms import OPEN, Admission, GenesisRoots
from folkmoot.devnet.anvil import Anvil
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import NO_BUNDLE, Commitment, Domain, entries_hash
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate, UpdateReader
from folkmoot.round import RoundOutcome, compute_round
from folkmoot.rpc.abi import encode_call
from folkmoot.runtime.units import UNIT
from tests import carried, factories
from tests.http_servers import Handler, serving

MANIFEST = Manifest(
    "tiny",
    (
        Tensor("body.weight", (40, 40)),
        Tensor("head.weight", (10, 40)),
        carried.TABLE,
        Tensor("head.bias", (10,)),
    ),
)
"""2,010 coordinates in 7 + 2 + 1 leaves."""

EXPONENTS = (-12, -12, -10)

NAMES = ["ada", "ben", "cleo", "dora", "emil"]
"""Contributors of `build_related`."""

ROUNDS = WINDOW + 3
"""Rounds of `build_related`."""

Cheat = Callable[["World", RoundOutcome], Anchor]
"""Stores what it wants to be found and returns what is anchored."""


SEASONING = 100
"""Seconds for which stake must have been there to vote."""


class Folder:
    """A folder of artifacts (docs/protocol.md section 12)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, data: bytes, *, by_keccak: bool = False) -> str:
        """Store a file; return its sha256."""
        name = hashlib.sha256(data).hexdigest()
        self.place(name).parent.mkdir(parents=True, exist_ok=True)
        self.place(name).write_bytes(data)
        if by_keccak:
            pointer = self.path / "by-keccak" / keccak(data).hex()
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.write_text(name)
        return name

    def place(self, sha256: str) -> Path:
        """Return the path of a file."""
        return self.path / sha256[:2] / sha256

    def document(self, keccak256: bytes) -> Path:
        """Return the path of a document by its keccak."""
        return self.place((self.path / "by-keccak" / keccak256.hex()).read_text())


@dataclass(repr=False)
class RoundRecord:
    """What the world remembers of a round."""

    header: RoundHeader
    policy: Policy
    base: int
    commitments: list[Commitment] = field(default_factory=list)
    updates: list[bytes | None] = field(default_factory=list)
    outcome: RoundOutcome | None = None
    anchor: Anchor | None = None

    def readers(self) -> list[UpdateReader | None]:
        """Return readers of the updates, None for what was not delivered."""
        return [None if data is None else MemoryUpdate(data, self.header.width) for data in self.updates]


@dataclass(repr=False)
class World:
    """A federation and its coordinator."""

    federation: factories.Federation
    folder: Folder
    states: dict[int, State]
    exponents: dict[int, tuple[int, ...]]
    policies: list[Policy]
    head: int = 0
    rounds: dict[int, RoundRecord] = field(default_factory=dict)
    manifest: Manifest = MANIFEST

    @classmethod
    def create(
        cls, anvil: Anvil, path: Path, policy: Policy, admission: Admission = OPEN, **options: Any
    ) -> Self:
        """Deploy a federation with a tiny model."""
        rng = np.random.default_rng(1)
        values = {t.name: rng.normal(0, 0.1, t.shape).astype(np.float32) for t in MANIFEST.tensors}
        state = State.genesis(MANIFEST, values)
        genesis = Genesis.of(MANIFEST, state, EXPONENTS)
        folder = Folder(path)
        folder.put(MANIFEST.to_json())
        folder.put(carried.DATA)
        folder.put(state.to_bytes())
        folder.put(genesis.to_json(), by_keccak=True)
        roots = GenesisRoots(MANIFEST.hash, state.root(MANIFEST.hash), genesis.hash)
        made = factories.federation(
            anvil,
            genesis=roots,
            first_policy=policy,
            governance=replace(factories.GOVERNANCE, seasoning=SEASONING, **options),
            admission=admission,
        )
        resolved = policy.resolved(made.deployment.arbiter)
        return cls(made, folder, {0: state}, {0: EXPONENTS}, [resolved], manifest=MANIFEST)

    def copied(self, path: Path) -> World:
        """Return a world that can go another way, with a copy of the artifacts."""
        shutil.copytree(self.folder.path, path)
        made = copy.copy(self)
        made.folder = Folder(path)
        made.states, made.exponents = dict(self.states), dict(self.exponents)
        made.policies, made.rounds = list(self.policies), copy.deepcopy(self.rounds)
        return made

    @property
    def domain(self) -> Domain:
        """What signatures are for."""
        return Domain(self.federation.deployment.chain_id, self.federation.deployment.ledger)

    def send(self, contract: str, function: str, *arguments: Any, by: LocalAccount | None = None) -> Any:
        """Send a transaction, as the coordinator if nobody else is named."""
        call = getattr(getattr(self.federation.chain, contract).functions, function)(*arguments)
        return self.federation.chain.send(call, by or self.federation.coordinator)

    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self.federation.anvil.advance(seconds)

    # The life of a round

    def open(self, *, exponents: Sequence[int] | None = None, header_hash: bytes | None = None) -> int:
        """Open the next round; return its number."""
        number = max(self.rounds, default=0) + 1
        place = self.federation.deployment
        root = self.states[self.head].root(self.manifest.hash)
        header = RoundHeader(
            number,
            self.manifest.hash,
            root,
            len(self.policies),
            self.policies[-1].width,
            derive_seed(place.chain_id, place.ledger, number, root),
            tuple(exponents or self.exponents[self.head]),
        )
        self.send("ledger", "openRound", number, root, header_hash or header.hash)
        self.rounds[number] = RoundRecord(header, self.policies[-1], self.head)
        return number

    def train(self, number: int, name: str) -> tuple[Commitment, bytes]:
        """Let a contributor train: a small, reproducible change of the base."""
        start = self.states[self.rounds[number].base].to_float32()
        seed = int.from_bytes(keccak(f"{name} {number}".encode())[:4], "big")
        noise = np.random.default_rng(seed).normal(0, 16 * 2.0**-12, start.size)
        end = np.where(start != 0, start - noise, 0).astype(np.float32)
        return self.encode(number, name, start, end)

    def encode(self, number: int, name: str, start: F32, end: F32) -> tuple[Commitment, bytes]:
        """Return what a contributor commits to and sends that trained from ``start`` to ``end``, float32[n] both."""
        header, address = self.rounds[number].header, factories.account(name).address
        update = encode_update(
            start, end, header.exponents, self.manifest, header.seed, address, width=header.width
        )
        commitment = Commitment(address, number, header.base_state_root, update.root, update.sum_squares)
        return commitment, update.data

    def commit(
        self, number: int, names: Sequence[str], *, own: Sequence[str] = (), lost: Sequence[str] = ()
    ) -> None:
        """Record a batch of signed commitments, then the `own` ones; the files of `lost` never arrive."""
        record = self.rounds[number]
        trained = {name: self.train(number, name) for name in (*names, *own)}
        batch = [trained[name][0] for name in names]
        signatures = [
            commitment.sign(factories.account(name), self.domain)
            for name, commitment in zip(names, batch, strict=True)
        ]
        if batch:
            self.send("ledger", "commitUpdates", number, NO_BUNDLE, pack_batch(batch, signatures))
        for name in own:
            words = trained[name][0].abi_tuple()
            self.send("ledger", "commitUpdate", words, by=factories.account(name))
        for name in (*names, *own):
            record.commitments.append(trained[name][0])
            record.updates.append(None if name in lost else trained[name][1])

    def lineage(self, number: int) -> Lineage:
        """Return what came before a round."""
        numbers = window(self.rounds[number].base, lambda one: self.rounds[one].base)
        past = []
        for one in numbers:
            record = self.rounds[one]
            updates = record.readers()
            coordinator = self.federation.coordinator.address
            past.append(PastRound.of(record.header, record.commitments, updates, coordinator))
        return Lineage(tuple(past), self.states[self.rounds[numbers[0]].base] if numbers else None)

    def anchor(self, number: int, cheat: Cheat | None = None, lineage: Lineage | None = None) -> RoundOutcome:
        """Wait for the end of the commit window, compute the outcome, publish and anchor it.

        Args:
            number: Of the round.
            cheat: Changes what is anchored.
            lineage: Another one than the round's, for a coordinator that leaves something out.
        """
        record = self.rounds[number]
        self.advance(record.policy.commit_window)
        mean = MeanBytes()
        outcome = compute_round(
            self.manifest,
            record.header,
            record.policy,
            self.states[record.base],
            record.commitments,
            record.readers(),
            coordinator=self.federation.coordinator.address,
            lineage=self.lineage(number) if lineage is None else lineage,
            mean_sink=mean,
        )
        for data in filter(None, record.updates):
            self.folder.put(data)
        self.folder.put(bytes(mean.data))
        self.folder.put(outcome.state.to_bytes())
        self.folder.put(outcome.verdicts_file, by_keccak=True)
        self.folder.put(outcome.artifacts_file, by_keccak=True)
        anchor = cheat(self, outcome) if cheat else outcome.anchor
        if anchor.weights != outcome.weights:  # A lie about weights is one lie, not two.
            pays = [pay if weight else 0 for weight, pay in zip(anchor.weights, anchor.pays, strict=False)]
            root = entries_tree(record.commitments, anchor.weights).root
            anchor = replace(anchor, pays=tuple(pays), entries_root=root)
        self.send("ledger", "anchor", number, entries_hash(record.commitments), anchor.abi_tuple())
        record.outcome, record.anchor = outcome, anchor
        self.states[number], self.exponents[number] = outcome.state, outcome.next_exponents
        self.head = number
        return outcome

    def finalize(self, number: int) -> None:
        """Wait for the end of the challenge window; make the round final and credit its rewards."""
        record = self.rounds[number]
        assert record.anchor is not None
        self.advance(record.policy.challenge_window)
        self.send("ledger", "finalize", number)
        entries = [(c.contributor, c.struct_hash) for c in record.commitments]
        self.send("rewards", "settle", number, entries, record.anchor.abi_tuple())

    def cancel(self, number: int) -> None:
        """Cancel a round that nobody can anchor any more."""
        record = self.rounds[number]
        self.advance(record.policy.commit_window + record.policy.anchor_window)
        self.send("ledger", "cancel", number)

    def play(self, names: Sequence[str], cheat: Cheat | None = None) -> int:
        """Open, commit and anchor a round; return its number."""
        number = self.open()
        self.commit(number, names)
        self.anchor(number, cheat)
        return number

    # The assembly

    def call(self, contract: str, function: str, *arguments: Any) -> governance.Call:
        """Return a call for a proposal."""
        return governance.Call(
            getattr(self.federation.deployment, contract), 0, encode_call(contract, function, *arguments)
        )

    def propose(self, calls: list[governance.Call], text: str) -> int:
        """Propose as Ada; return the proposal's number."""
        number, _ = governance.propose(self.federation.chain, factories.account("ada"), calls, text)
        return number

    def vote(self, number: int, name: str, choice: str) -> None:
        """Vote with a reason."""
        found = governance.find(self.federation.chain, str(number))
        governance.vote(
            self.federation.chain, factories.account(name), found, choice, f"{name} votes {choice}"
        )

    def carry_out(self, number: int) -> None:
        """Wait for the end of the vote, queue, wait, execute. Anybody may."""
        chain, anybody = self.federation.chain, factories.account("outsider")
        found = governance.find(chain, str(number))
        self.advance(found.deadline - chain.rpc.latest_timestamp() + 1)
        governance.queue(chain, anybody, found)
        self.advance(factories.GOVERNANCE.timelock_delay + 1)
        governance.execute(chain, anybody, found)

    def decide(
        self, calls: list[governance.Call], text: str, votes: dict[str, str], *, wins: bool = True
    ) -> int:
        """Propose and vote, and carry out what wins; return the proposal's number."""
        number = self.propose(calls, text)
        self.advance(factories.GOVERNANCE.voting_delay + 1)
        for name, choice in votes.items():
            self.vote(number, name, choice)
        if wins:
            self.carry_out(number)
        return number


class MeanBytes:
    """Collects the mean file."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.data += data


def build(anvil: Anvil, path: Path) -> World:
    """Play a history with everything in it.

    Round 1 final and settled, with an own commitment; 2 cancelled for too few updates; a vote adds a policy; 3 final
    under multi-Krum, with an update that never arrived; a vote activates version 1, another one fails; somebody
    leaves, somebody gives; 4 anchored; 5 open.
    """
    policy = factories.policy(momentum=922, verifier=factories.account("verifier").address)
    world = World.create(anvil, path, policy)
    anvil.fund(factories.account("verifier").address)
    first = world.open()
    world.commit(first, ["ada", "ben", "cleo"], own=["dora"])
    world.anchor(first)
    world.finalize(first)
    world.send("rewards", "claim", factories.account("ada").address)

    second = world.open()
    world.commit(second, ["ada"])
    world.cancel(second)

    krum = replace(policy, rule="multi_krum", parameters=(1, 0))
    votes = {"ada": "for", "ben": "for", "cleo": "for", "coordinator": "abstain"}
    world.decide(
        [governance.policy_change(world.federation.chain, krum)], "Defend against one poisoner", votes
    )
    world.policies.append(krum)

    third = world.open()
    world.commit(third, ["ada", "ben", "cleo", "dora", "emil"], lost=["ben"])
    world.anchor(third)
    world.finalize(third)

    report = hashlib.sha256(b"{}").digest()
    activation = governance.activation(world.federation.chain, 1, report)
    world.decide(
        [activation], "Release version 1", {"ada": "for", "ben": "for", "dora": "for", "emil": "against"}
    )
    other = governance.activation(world.federation.chain, 3)
    world.decide([other], "Release version 3", {"emil": "against"}, wins=False)

    emil = factories.account("emil")
    world.send("vault", "requestUnbond", 20 * UNIT, by=emil)
    world.send(
        "token", "transfer", world.federation.deployment.vault, 3 * UNIT, by=factories.account("newcomer")
    )
    world.send("vault", "delegate", factories.account("ada").address, by=emil)
    world.play(["ada", "ben", "cleo", "dora"])
    fifth = world.open()
    world.commit(fifth, ["ada", "ben"])
    return world


class Related(World):
    """Contributors that go towards one goal, each in its own way."""

    def train(self, number: int, name: str) -> tuple[Commitment, bytes]:
        start = self.states[self.rounds[number].base].to_float32()
        goal = np.random.default_rng(5).normal(0, 0.1, start.size)
        own = np.random.default_rng([number, len(name), ord(name[0])]).normal(0, 0.03, start.size)
        towards = 0.1 * (goal - start) + 0.1 * own
        end = np.where(start != 0, start + towards, 0).astype(np.float32)
        return self.encode(number, name, start, end)


def build_related(anvil: Anvil, path: Path) -> Related:
    """Play more rounds than a window has. The coordinator has a root set in rounds 2 and 5; round 4 is cancelled."""
    # A bond of which the stake covers all of these rounds at once.
    policy = factories.policy(rule="clamped_mean", min_contributors=2, challenge_window=60, bond=40 * 10**18)
    world = Related.create(anvil, path, policy)
    for number in range(1, ROUNDS + 1):
        world.open()
        if number == 4:
            world.commit(number, ["ada"])
            world.cancel(number)
            continue
        names = ["ada", "coordinator", *NAMES[1:]] if number in (2, 5) else NAMES
        world.commit(number, names, lost=["dora"] if number == 3 else ())
        world.anchor(number)
    return world


# Endpoints that lie

Alter = Callable[[str, list[Any], Any], Any]
"""Gets method, parameters and the honest result; returns what is answered."""


@contextmanager
def lying_endpoint(honest: str, alter: Alter) -> Iterator[str]:
    """Serve a JSON-RPC endpoint that changes some answers of an honest one; yield its URL."""
    client = httpx.Client(timeout=30)

    class Lying(Handler):
        def do_POST(self) -> None:
            body = self.asked()
            answer = client.post(honest, json=body).json()
            if "result" in answer:
                answer["result"] = alter(body["method"], body["params"], answer["result"])
            self.answer(answer)

    with client, serving(Lying) as url:
        yield url
