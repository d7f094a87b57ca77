# SPDX-License-Identifier: Apache-2.0
"""Checks of the chain: the endpoint, the contracts, the coordinator's bond and its coins for gas.

Uses plain JSON-RPC. Needs no web3, no key and no coordinator.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from folkmoot.doctor.check import Check, Finding, failed, ok, warning
from folkmoot.errors import ChainError, RpcError
from folkmoot.ledger import clock, costs, packaged
from folkmoot.ledger.admission import NOBODY, admits
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.packaged import is_runtime_of
from folkmoot.ledger.stakes import MAX_PENDING_ROUNDS, bonded_rounds, rounds_within, standstill
from folkmoot.protocol.policy import NO_VERIFIER, Policy
from folkmoot.rpc.client import LedgerReader, Rpc, VaultReader
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.runtime.units import format_amount, format_duration

MANY_PENDING = 200
"""Number of anchored, not final rounds from which the check warns. With 256, no round can be opened."""

LONG_STANDSTILL = 3_600
"""Seconds for which a run may stand still because of locked bonds before a check says so."""

LARGEST_PROOF_GAS = 16_777_216
"""Gas that a transaction must be allowed to take, or the dearest proofs do not fit (EIP-7825; docs/gas.md)."""

PROBE = bytes.fromhex("5f5f5f5e435f52600143034060205260405ff3")
"""Code that copies memory (Cancun), and returns a block's number and the hash of the block before."""

SHOWN_VOID = 8
"""Number of void rounds that the check of the bond names."""


def chain_checks(rpc: Rpc, deployment: Path, *, account: str | None = None, rounds: int = 10) -> list[Check]:
    """Return the checks of a federation's chain.

    Args:
        deployment: The deployment file.
        account: Account of the intended coordinator; None if unknown.
        rounds: Number of rounds for which the coordinator's account should have coins for gas.
    """
    chain = _Chain(rpc, deployment, account, rounds)
    contracts = ("contracts",)
    several = [Check("endpoints", chain.endpoints, ("chain",))] if rpc.endpoints else []
    return [
        Check("deployment file", chain.file),
        Check("chain", chain.reachable),
        Check("chain id", chain.chain_id, ("deployment file", "chain")),
        Check("clock", chain.clock, ("chain",)),
        Check("EVM", chain.evm, ("chain",)),
        Check("gas limit", chain.gas_limit, ("chain",)),
        Check("contracts", chain.contracts, ("chain id",)),
        Check("finality", chain.finality, contracts),
        Check("genesis", chain.genesis, contracts),
        Check("admission", chain.admission, contracts),
        Check("coordinator's account", chain.appointed, contracts),
        Check("coordinator's bond", chain.bond, contracts),
        Check("gas money", chain.money, contracts),
        Check("pending rounds", chain.pending, contracts),
        Check("verifier", chain.verifier, contracts),
        *several,
    ]


def run_checks(
    rpc: Rpc, deployment: Path, *, rounds: int, expect: int, enrolled: int, moves_clock: bool
) -> list[Check]:
    """Return the checks of what a run of some rounds needs.

    Args:
        deployment: The deployment file.
        rounds: Number of rounds.
        expect: Number of updates that a round waits for.
        enrolled: Number of enrolled accounts.
        moves_clock: Whether the coordinator moves a local chain's clock, so that no bond stays locked.
    """
    chain = _Chain(rpc, deployment, None, rounds, expect)
    bond = [] if moves_clock else [Check("coordinator's bond", chain.bond)]
    return [
        *bond,
        Check("gas money", chain.money),
        Check("pending rounds", chain.pending),
        Check("contributors", lambda: chain.contributors(enrolled)),
    ]


class _Chain:
    """Reads one chain. Values that several checks need are read once."""

    def __init__(
        self, rpc: Rpc, path: Path, account: str | None, rounds: int, expect: int | None = None
    ) -> None:
        self._rpc = rpc
        self._path = path
        self._account = account
        self._rounds = rounds
        self._expect = expect

    @cached_property
    def _deployment(self) -> Deployment:
        return Deployment.load(self._path)

    @cached_property
    def _ledger(self) -> LedgerReader:
        return LedgerReader(self._rpc, self._deployment.ledger)

    @cached_property
    def _coordinator(self) -> str:
        return self._ledger.coordinator()

    @cached_property
    def _policy(self) -> Policy:
        return self._ledger.policy(self._ledger.current_policy())

    def file(self) -> Finding:
        return ok(f"{self._path}: ledger {self._deployment.ledger} on chain {self._deployment.chain_id}.")

    def reachable(self) -> Finding:
        return ok(f"{self._rpc.name} is at block {self._rpc.block_number()}.")

    def chain_id(self) -> Finding:
        served, expected = self._rpc.chain_id(), self._deployment.chain_id
        if served != expected:
            return failed(
                f"{self._rpc.name} serves chain {served}; the deployment is on chain {expected}.",
                "Give the endpoint of the deployment's chain, or the deployment file of this chain.",
            )
        return ok(f"It is chain {served}.")

    def clock(self) -> Finding:
        if self._rpc.chain_id() == LOCAL_CHAIN_ID:
            return ok("A local chain's clock is moved by hand; it is not compared.")
        newest, now = self._rpc.latest_timestamp(), time.time()
        apart = clock.apart(newest, now)
        if apart is None:
            return ok(f"The newest block is {max(0, now - newest):.0f} seconds old.")
        if apart > 0:
            return failed(
                f"The newest block is {apart:.0f} seconds ahead of this machine's clock: signed requests are refused.",
                "Set the clock: run a time service (chrony, systemd-timesyncd).",
            )
        return warning(
            f"The newest block is {-apart:.0f} seconds old: rounds go by the chain's time, and it may stand still.",
            "Look whether the node of the endpoint follows its chain, and whether this machine's clock is right.",
        )

    def evm(self) -> Finding:
        number = self._rpc.latest().number
        try:
            answer = str(self._rpc.call("eth_call", [{"data": "0x" + PROBE.hex()}, hex(number)]))
        except ChainError as error:
            if error.code == "rpc-unreachable":
                raise
            answer = error.message
        words = bytes.fromhex(answer[2:]) if re.fullmatch("0x[0-9a-f]{128}", answer) else b""
        if not words:
            return failed(
                f"Code of the Ethereum release Cancun does not run here: {answer}",
                "The contracts need it: choose another chain (docs/chains.md), or another endpoint of this one.",
            )
        at, digest = int.from_bytes(words[:32], "big"), "0x" + words[32:].hex()
        before = self._rpc.block_at(at - 1) if at in (number, number + 1) else None
        if before is None or before.hash != digest:
            return warning(
                f"At block {number} a contract sees the number {at}, and a block hash that no block has.",
                "The lots for places come from block hashes: with more enrolled stake than places, who makes blocks "
                "can choose them (docs/chains.md).",
            )
        return ok("Code of the Ethereum release Cancun runs, and sees the hashes of blocks.")

    def gas_limit(self) -> Finding:
        block = self._rpc.call("eth_getBlockByNumber", ["latest", False])
        limit = self._rpc.quantity("gasLimit", block.get("gasLimit"))
        text = f"A block takes {limit:,} gas; the dearest proof takes up to {LARGEST_PROOF_GAS:,}."
        if limit < LARGEST_PROOF_GAS:
            return warning(
                text, "Keep `maxContributors` so low that proofs fit (docs/gas.md), or choose another chain."
            )
        return ok(text)

    def finality(self) -> Finding:
        if self._rpc.chain_id() == LOCAL_CHAIN_ID:
            return ok("A local chain is its operator's own; it is not looked at.")
        nodes = [endpoint.rpc for endpoint in self._rpc.endpoints] or [self._rpc]
        newest, window = self._rpc.latest_timestamp(), self._policy.challenge_window
        try:
            final = [block for node in nodes if (block := node.block_at("finalized"))]
        except RpcError:
            final = []
        if not final:
            return warning(
                f"{self._rpc.name} does not say which blocks are final.",
                "Look up when this chain's blocks are final: the challenge window must be much longer "
                "(docs/chains.md).",
            )
        age = max(0, newest - min(block.timestamp for block in final))
        text = f"Blocks are final after {format_duration(age)}; the challenge window is {format_duration(window)}."
        if 4 * age > window:
            return warning(
                text,
                "A reorganisation could undo an anchor after it was checked: propose a policy with a challenge window "
                "that is at least four times as long.",
            )
        return ok(text)

    def endpoints(self) -> Finding:
        """Check the single endpoints. The other checks use the answer of a majority of them."""
        hosts = Counter(urlsplit(endpoint.rpc.url).hostname for endpoint in self._rpc.endpoints)
        shared = [f"{count} of them are at {host}" for host, count in hosts.items() if count > 1]
        warnings = [*self._rpc.warnings, *(f"{text}: they may fall or lie together." for text in shared)]
        if warnings:
            return warning(" ".join(warnings), "Use endpoints of different operators, one of which you run.")
        return ok(f"All {len(self._rpc.endpoints)} answer, and say the same.")

    def contracts(self) -> Finding:
        missing, other = [], []
        for role in self._deployment.roles:
            name, address = packaged.NAMES[role], getattr(self._deployment, role)
            code = self._rpc.code(address)
            if not code:
                missing.append(f"{name} ({address})")
            elif not is_runtime_of(bytes.fromhex(packaged.contract(role).bytecode[2:]), code):
                other.append(f"{name} ({address})")
        if missing:
            return failed(
                f"There is no contract where these should be: {', '.join(missing)}.",
                "Check the deployment file. A local chain that was restarted has no contracts: deploy again.",
            )
        if other:
            return failed(
                f"These are not the contracts of this release: {', '.join(other)}.",
                "Use the release that they were deployed with, or the deployment file of your federation. Sign nothing "
                "for them before `folkmoot audit` passes.",
            )
        return ok(f"All {len(self._deployment.roles)} have the code of this release.")

    def genesis(self) -> Finding:
        actual = "0x" + self._ledger.genesis_hash().hex()
        if actual != self._deployment.genesis_hash:
            return failed(
                f"The ledger's genesis is {actual}, the file's {self._deployment.genesis_hash}.",
                "The file belongs to another federation; get the right one.",
            )
        return ok(f"The ledger has the file's genesis {actual[:12]}….")

    def admission(self) -> Finding:
        asked, place = self._ledger.admission(), self._deployment
        named = place.members or place.admission or NOBODY
        if asked != named:
            return failed(
                f"The ledger asks {_contract(asked)} who may enrol; the file names {_contract(named)}.",
                "Get the deployment file again from whoever deployed the contracts.",
            )
        if asked == NOBODY:
            return ok("The federation is open: everybody may enrol who has the stake.")
        if place.members is not None:
            return ok(f"The federation is closed: votes change the list of members, {asked}.")
        if admits(self._rpc, asked, self._coordinator) is None:
            return warning(
                f"The federation is closed, and its admission contract {asked} gives no answer: nobody new can enrol.",
                "Ask those who run that contract. Rounds go on, and who is enrolled stays so.",
            )
        return ok(f"The federation is closed: {asked} says who may enrol.")

    def appointed(self) -> Finding:
        if self._account not in (None, self._coordinator):
            return failed(
                f"The ledger's coordinator is {self._coordinator}; this one's key is that of {self._account}.",
                "Use the keystore of the appointed account, or appoint this one by a vote.",
            )
        return ok(f"{self._coordinator} is the ledger's coordinator.")

    def bond(self) -> Finding:
        vault, least = VaultReader(self._rpc, self._deployment.vault), self._policy.bond
        stake, locked = vault.stake_of(self._coordinator), vault.bond_of(self._coordinator)
        text = f"{format_amount(stake)} at stake; the policy asks for {format_amount(least)} for each pending round."
        if stake < least:
            return failed(
                f"The coordinator has {text}",
                f"Stake {format_amount(least - stake)} more with `folkmoot enrol --only-stake`, from "
                f"{self._coordinator}.",
            )
        rounds = rounds_within(stake - locked, least)
        bonded = bonded_rounds(self._ledger, vault, self._coordinator)
        if bonded:
            text += f" {format_amount(locked)} are locked for {_rounds(len(bonded))}."
        text += f" The rest is enough for {_rounds(rounds)}{' more' if bonded else ''}."
        if void := [one for one in bonded if one.void]:
            amount = format_amount(sum(one.bond for one in void))
            numbers = ", ".join(str(one.round) for one in void[:SHOWN_VOID])
            text += f" {amount} of the locked stake are the bonds of void rounds, which answer for nothing."
            return warning(text, f"Anybody may release them: `folkmoot close N`, N being {numbers}.")
        still = standstill(stake, locked, self._policy, self._rounds)
        if still >= LONG_STANDSTILL:
            missing = (self._rounds - rounds) * least
            sentence = (
                f"{_rounds(self._rounds)} lock {format_amount(self._rounds * least)}, each {format_amount(least)} "
                f"until its challenge window of {format_duration(self._policy.challenge_window)} is over. The "
                f"coordinator has {format_amount(stake - locked)} free: enough for {_rounds(rounds)}. A run of "
                f"{_rounds(self._rounds)} stands still for about {format_duration(still)}."
            )
            remedy = (
                f"Stake {format_amount(missing)} more: `folkmoot enrol --only-stake "
                f"{format_amount(missing).split()[0]}` with the "
                f"key of {self._coordinator}. Or train fewer rounds, or use a policy whose challenge window is shorter."
            )
            return warning(sentence, remedy) if self._expect is None else failed(sentence, remedy)
        if rounds == 0:
            return warning(
                f"{text} No round can be opened until one is over.",
                f"Stake more with `folkmoot enrol --only-stake`, from {self._coordinator}, or wait until a round is "
                f"final.",
            )
        return ok(text)

    def money(self) -> Finding:
        balance = self._rpc.balance(self._coordinator)
        most = self._policy.max_contributors
        entries = most if self._expect is None else min(most, self._expect)
        gas = costs.round_gas(entries)
        paid = int(costs.rounds_affordable(balance, gas, costs.gas_price(self._rpc)))
        full = "full rounds" if self._expect is None else f"rounds of {entries} updates"
        text = f"{balance / costs.COIN:.6g} coins pay {paid:,} {full} at the present price of gas."
        remedy = (
            f"Send coins of the chain to {self._coordinator}: without them nothing is anchored or answered."
        )
        if paid < 1:
            return failed(text, remedy)
        return warning(text, remedy) if paid < self._rounds else ok(text)

    def pending(self) -> Finding:
        waiting = self._ledger.pending_rounds()
        text = f"{waiting} anchored rounds are not final; the ledger takes {MAX_PENDING_ROUNDS}."
        remedy = "Anybody may make those final whose challenge window is over: `folkmoot close`."
        if waiting >= MAX_PENDING_ROUNDS:
            return failed(f"{text} No round can be opened.", remedy)
        return warning(text, remedy) if waiting >= MANY_PENDING else ok(text)

    def contributors(self, enrolled: int) -> Finding:
        least, most, expect = self._policy.min_contributors, self._policy.max_contributors, self._expect or 0
        if enrolled < least:
            return warning(
                f"{enrolled} accounts are enrolled, and a round needs updates of {least}: with fewer it is cancelled.",
                "Each contributor stakes and enrols before a round opens: `folkmoot enrol --stake`.",
            )
        if not least <= expect <= most:
            return warning(
                f"A round waits for {expect} updates (--expect), and the policy takes {least} to {most}: each round "
                "lasts until the end of its commit window.",
                f"Give --expect the number of contributors, {least} to {most}.",
            )
        if expect > enrolled + 1:  # one may be of a root set, whose account need not be enrolled
            return warning(
                f"A round waits for {expect} updates (--expect), and {enrolled} accounts are enrolled: it lasts until "
                "the end of its commit window unless more enrol.",
                "Start `train` when all have enrolled, or give a smaller --expect.",
            )
        return ok(f"{enrolled} accounts are enrolled; a round needs {least} to {most}.")

    def verifier(self) -> Finding:
        verifier, arbiter = self._policy.verifier, self._deployment.arbiter
        if verifier == arbiter:
            return ok("The policy names the deployment's arbiter: what is proven wrong is void.")
        remedy = "Propose a policy whose verifier is the word arbiter (`folkmoot propose`)."
        if verifier == NO_VERIFIER:
            return warning(
                "The policy names no verifier: a wrong round can be found, and nobody can void it.", remedy
            )
        return warning(
            f"The policy names {verifier}, not the deployment's arbiter: it voids rounds by rules of its own.",
            remedy,
        )


def _contract(address: str) -> str:
    return "no contract" if address == NOBODY else address


def _rounds(count: int) -> str:
    return f"{count:,} round{'' if count == 1 else 's'}"
