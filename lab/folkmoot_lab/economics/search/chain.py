# SPDX-License-Identifier: Apache-2.0
"""The packaged contracts in an EVM in memory, deployed by the product's own plan.

The only module that knows how the contracts are called. Nothing is mined: who sends a transaction says at which time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from folkmoot.chain.deploy import addresses_from, constructor_arguments, creation_of
from folkmoot.chain.terms import GenesisRoots, Governance
from folkmoot.errors import InputError
from folkmoot.ledger import packaged
from folkmoot.ledger.deployment import CONTRACTS
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.abi import Function

CHAIN_ID = 1
"""The chain of the EVM, which cannot be chosen."""
BLOCK_SECONDS = 12
"""Seconds from block to block."""
LAYOUT = (256).to_bytes(8, "big")
"""Elements of each tensor of the model: one leaf."""
DOCUMENT = keccak(b"manifest of the search")
MANIFEST = keccak(b"\x10", keccak(LAYOUT), DOCUMENT)
GENESIS_STATE = keccak(b"state of the genesis")
HEADER = 4
"""Number of the header among what can be demanded (`IDataAvailability.What`)."""
DEPLOYER = to_checksum_address(b"\xde" * 20)
UNLIMITED = (1 << 256) - 1
BASE_TIME = 1_800_000_000
FIRST_BLOCK = 1_000_000


@dataclass(frozen=True)
class Person:
    """An account with its key."""

    name: str
    signer: LocalAccount

    @cached_property
    def address(self) -> str:
        """The account's address, with its checksum."""
        return str(self.signer.address)


def person(name: str) -> Person:
    """Return the person of a name; the key follows from the name."""
    return Person(name, Account.from_key(keccak(name.encode())))


@dataclass
class Contracts:
    """A deployment in an EVM of its own.

    Attributes:
        folder: Packaged contracts; None for those of the checkout.
        policy: Rules of the rounds.
        governance: How the assembly works.
        coordinator: First coordinator.
        allocations: Genesis tokens by account.
    """

    policy: Policy
    governance: Governance
    coordinator: str
    allocations: Mapping[str, int]
    folder: Path | None = None
    time: int = BASE_TIME
    first_block: int = FIRST_BLOCK
    gas: int = 0
    sent: int = 0
    addresses: dict[str, str] = field(default_factory=dict)
    _evm: Any = None
    _block_env: Any = None
    _functions: dict[tuple[str, str], Function] = field(default_factory=dict)
    _encoded: dict[tuple[Any, ...], bytes] = field(default_factory=dict)
    _packed: dict[tuple[Any, ...], bytes] = field(default_factory=dict)
    _start: tuple[Any, int] | None = None

    def __post_init__(self) -> None:
        """Deploy."""
        try:
            import pyrevm
        except ModuleNotFoundError as error:
            raise InputError(
                "The search needs pyrevm, an EVM in memory, which is not installed.",
                remedy="With Python 3.11 or 3.12: pip install 'folkmoot-lab[search]'.",
                code="no-pyrevm",
            ) from error
        self._evm, self._block_env = pyrevm.EVM(spec_id="PRAGUE"), pyrevm.BlockEnv
        self.addresses = addresses_from(DEPLOYER, 0)
        policy = self.policy.resolved(self.addresses["arbiter"])
        roots = GenesisRoots(MANIFEST, GENESIS_STATE, keccak(b"genesis"))
        arguments = constructor_arguments(
            self.addresses, roots, policy, self.coordinator, dict(self.allocations), self.governance
        )
        self._set_block()
        for role in CONTRACTS:
            compiled = self._compiled(role)
            made = self._evm.deploy(DEPLOYER, creation_of(compiled, *arguments[role]).data)
            if to_checksum_address(made) != self.addresses[role]:
                raise RuntimeError(f"the {role} is at {made}")
            for entry in compiled.abi:
                if entry["type"] == "function":
                    outputs = tuple(map(packaged.type_of, entry["outputs"]))
                    inputs = tuple(map(packaged.type_of, entry["inputs"]))
                    known = self._functions.get((role, entry["name"]))
                    if known is None or len(known.inputs) > len(inputs):
                        self._functions[role, entry["name"]] = Function(entry["name"], inputs, outputs)
        self.domain = Domain(CHAIN_ID, self.addresses["ledger"])

    def _compiled(self, role: str) -> packaged.Packaged:
        if self.folder is None:
            return packaged.contract(role)
        name = packaged.NAMES[role]
        path = self.folder / f"{name}.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return packaged.Packaged(name, document["abi"], document["bytecode"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"The contract {path} can't be read: {error}.",
                remedy="Give a folder of packaged contracts, such as folkmoot/ledger/abi of a checkout.",
                code="unreadable-contracts",
            ) from error

    # Time.

    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        self.time += seconds
        self._set_block()

    @property
    def block(self) -> int:
        """Number of the block that is being made: it follows from the time."""
        return self.first_block + (self.time - BASE_TIME) // BLOCK_SECONDS

    def _set_block(self) -> None:
        self._evm.set_block_env(self._block_env(number=self.block, timestamp=self.time))

    def keep(self) -> None:
        """Remember this moment as the start of each play."""
        self._start = (self._evm.snapshot(), self.time)

    def back(self, salt: int) -> None:
        """Go back to the start of the plays.

        Args:
            salt: Blocks have other hashes with another salt.
        """
        if self._start is None:
            raise RuntimeError("no start was kept")
        snapshot, self.time = self._start
        self._evm.revert(snapshot)
        self._start = (self._evm.snapshot(), self.time)
        self.first_block = FIRST_BLOCK + 100_000 * salt
        self._set_block()
        self._evm.message_call(DEPLOYER, self.addresses["vault"], calldata=self._data("vault", "redraw", ()))

    # Calls.

    def _data(self, role: str, name: str, arguments: tuple[Any, ...]) -> bytes:
        key = (role, name, arguments)
        found = self._encoded.get(key)
        if found is None:
            if len(self._encoded) > 100_000:
                self._encoded.clear()
            found = self._encoded[key] = self._functions[role, name].encode(*arguments)
        return found

    def send(self, sender: Person, role: str, name: str, *arguments: Any) -> bool:
        """Send a transaction; return whether it went through. `gas` is then what it used."""
        self.sent += 1
        data = self._data(role, name, arguments)
        try:
            self._output = self._evm.message_call(sender.address, self.addresses[role], calldata=data)
        except RuntimeError:
            self.gas = 0
            return False
        self.gas = int(self._evm.result.gas_used)
        return True

    @property
    def answer(self) -> int:
        """The number that the last transaction returned."""
        return int.from_bytes(bytes(self._output), "big")

    def words(self, role: str, name: str, *arguments: Any) -> list[int]:
        """Return the words that a view returns."""
        data = self._data(role, name, arguments)
        found = bytes(self._evm.message_call(DEPLOYER, self.addresses[role], calldata=data))
        return [int.from_bytes(found[at : at + 32], "big") for at in range(0, len(found), 32)]

    def number(self, role: str, name: str, *arguments: Any) -> int:
        """Return the number, address or truth value that a view returns."""
        return self.words(role, name, *arguments)[0]

    # Token, vault, enrolment.

    def approve(self, who: Person) -> None:
        """Let the contracts that take tokens take all of them."""
        for role in ("vault", "disputes", "data_availability"):
            self.send(who, "token", "approve", self.addresses[role], UNLIMITED)

    def stake(self, payer: Person, account: Person, amount: int) -> bool:
        """Stake tokens of the payer for an account."""
        return self.send(payer, "vault", "stake", account.address, amount)

    def unbond(self, who: Person, amount: int) -> bool:
        """Ask for stake back."""
        return self.send(who, "vault", "requestUnbond", amount)

    def withdraw(self, who: Person) -> bool:
        """Take what is released."""
        return self.send(who, "vault", "withdraw")

    def enrol(self, who: Person, amount: int) -> bool:
        """Enrol so much of the stake."""
        return self.send(who, "ledger", "enrol", amount)

    def leave(self, who: Person) -> bool:
        """Leave the list of the enrolled."""
        return self.send(who, "ledger", "leave")

    def remove(self, who: Person, account: Person) -> bool:
        """Remove an account that was absent."""
        return self.send(who, "ledger", "remove", account.address)

    def redraw(self, who: Person) -> bool:
        """Have others drawn."""
        return self.send(who, "vault", "redraw")

    def tokens(self, who: Person) -> int:
        """Return the tokens of an account that are nowhere else."""
        return self.number("token", "balanceOf", who.address)

    def unlocked(self, who: Person) -> int:
        """Return the stake that is no bond."""
        return self.staked(who) - self.number("vault", "bondOf", who.address)

    def staked(self, who: Person) -> int:
        """Return the stake with the bonds."""
        return self.number("vault", "stakeOf", who.address)

    def unbonding(self, who: Person) -> list[tuple[int, int]]:
        """Return amounts that are leaving, each with its time."""
        _, _, *entries = self.words("vault", "unbondings", who.address)
        return list(zip(entries[::2], entries[1::2], strict=True))

    def claimable(self, who: Person) -> int:
        """Return the rewards that were not claimed."""
        return self.number("rewards", "claimable", who.address)

    def is_enrolled(self, who: Person) -> bool:
        """Return whether an account is enrolled."""
        return bool(self.number("ledger", "isEnrolled", who.address))

    # Rounds.

    def head(self) -> tuple[int, bytes]:
        """Return the newest round that stands, and its state root."""
        round_, root = self.words("ledger", "head")
        return round_, root.to_bytes(32, "big")

    def next_round(self) -> int:
        """Return the number of the next round."""
        return self.number("ledger", "nextRound")

    def phase(self, round_: int) -> int:
        """Return a round's phase."""
        return self.number("ledger", "phase", round_)

    def open(self, who: Person, round_: int, base_root: bytes) -> bool:
        """Open a round."""
        return self.send(who, "ledger", "openRound", round_, base_root, keccak(header_of(round_)))

    def has_committed(self, round_: int, who: Person) -> bool:
        """Whether an account has an entry in a round."""
        return bool(self.number("ledger", "hasCommitted", round_, who.address))

    def has_place(self, round_: int, who: Person) -> bool:
        """Return whether an account has a place in a round."""
        return bool(self.number("ledger", "hasPlace", round_, who.address))

    def commit(self, who: Person, commitment: Commitment) -> bool:
        """Record a commitment of one's own."""
        return self.send(who, "ledger", "commitUpdate", commitment.abi_tuple())

    def record(self, who: Person, round_: int, signed: tuple[tuple[Person, Commitment], ...]) -> bool:
        """Record signed commitments."""
        batch = b"".join(self._signed(contributor, commitment) for contributor, commitment in signed)
        return self.send(who, "ledger", "commitUpdates", round_, signed[0][1].bundle_hash, batch)

    def _signed(self, contributor: Person, commitment: Commitment) -> bytes:
        key = commitment.abi_tuple()
        found = self._packed.get(key)
        if found is None:
            signature = commitment.sign(contributor.signer, self.domain)
            found = self._packed[key] = pack_batch([commitment], [signature])
        return found

    def close(self, who: Person, round_: int) -> bool:
        """End the commit window early."""
        return self.send(who, "ledger", "closeCommits", round_)

    def anchor(self, who: Person, round_: int, entries: bytes, anchor: Anchor) -> bool:
        """Anchor a round."""
        return self.send(who, "ledger", "anchor", round_, entries, _hashable(anchor))

    def cancel(self, who: Person, round_: int, *, empty: bool = False) -> bool:
        """Cancel a round."""
        return self.send(who, "ledger", "cancelEmpty" if empty else "cancel", round_)

    def finalize(self, who: Person, round_: int) -> bool:
        """Make a round final."""
        return self.send(who, "ledger", "finalize", round_)

    def release_void(self, who: Person, round_: int) -> bool:
        """Release the bond of a void round."""
        return self.send(who, "ledger", "releaseVoid", round_)

    def settle(self, who: Person, round_: int, commitments: list[Commitment], anchor: Anchor) -> bool:
        """Credit the rewards of a final round."""
        entries = tuple((made.contributor, made.struct_hash) for made in commitments)
        return self.send(who, "rewards", "settle", round_, entries, _hashable(anchor))

    # Judges.

    def prove_weight(
        self, who: Person, round_: int, anchor: Anchor, commitments: list[Commitment], entry: int
    ) -> bool:
        """Prove that an entry has a weight that no rule gives it."""
        case = (round_, _hashable(anchor), LAYOUT, DOCUMENT)
        entries = tuple(
            (
                made.contributor,
                made.update_root,
                made.sum_squares,
                made.memory_hash,
                made.bundle_hash,
                b"",
                0,
                0,
                b"",
            )
            for made in commitments
        )
        return self.send(who, "fraud_proofs", "proveWeight", case, entries, entry)

    def demand(self, who: Person, round_: int, anchor: Anchor) -> bool:
        """Demand a round's header; `answer` is the demand's number."""
        return self.send(who, "data_availability", "demandFile", round_, _hashable(anchor), HEADER)

    def show(self, who: Person, demand: int, round_: int) -> bool:
        """Answer a demand."""
        return self.send(who, "data_availability", "show", demand, header_of(round_), bytes(32))

    def prove_withheld(self, who: Person, demand: int) -> bool:
        """Prove that nobody answered."""
        return self.send(who, "data_availability", "proveWithheld", demand)

    def release_demand(self, who: Person, demand: int) -> bool:
        """Take a demand's deposit back."""
        return self.send(who, "data_availability", "release", demand)

    def dispute(self, who: Person, round_: int) -> bool:
        """Dispute a round."""
        return self.send(who, "disputes", "open", round_, "")

    def release_dispute(self, who: Person, round_: int, challenger: Person) -> bool:
        """Take a dispute's deposit back."""
        return self.send(who, "disputes", "release", round_, challenger.address)

    # Votes.

    def propose(self, who: Person, decision: str, round_: int, text: str) -> int | None:
        """Propose to `uphold` or `dismiss` a dispute; return the proposal's number."""
        made = self.send(who, "governor", "propose", *self._calls(decision, round_), text)
        return self.answer if made else None

    def _calls(self, decision: str, round_: int) -> tuple[tuple[str], tuple[int], tuple[bytes]]:
        return (self.addresses["disputes"],), (0,), (self._data("disputes", decision, (round_,)),)

    def vote(self, who: Person, proposal: int, *, favour: bool) -> bool:
        """Vote for or against."""
        return self.send(who, "governor", "castVote", proposal, 1 if favour else 0)

    def carry_out(self, who: Person, step: str, decision: str, round_: int, text: str) -> bool:
        """`queue`, `execute` or `cancel` a proposal."""
        return self.send(who, "governor", step, *self._calls(decision, round_), keccak(text.encode()))

    def proposal_state(self, proposal: int) -> int:
        """Return the state of a proposal, as OpenZeppelin numbers them."""
        return self.number("governor", "state", proposal)


def header_of(round_: int) -> bytes:
    """Return the header that coordinators publish here; nobody proves it wrong."""
    return b"header of round %d" % round_


def _hashable(anchor: Anchor) -> tuple[Any, ...]:
    weights, pays, *rest = anchor.abi_tuple()
    return (tuple(weights), tuple(pays), *rest)
