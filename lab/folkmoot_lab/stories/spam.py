# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat spam`: accounts that fill a round with what nobody trained, and disturb the others' entries.

Each try is a transaction that is mined, or a file that is submitted. The display says what becomes of it and what it
costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eth_utils.crypto import keccak
from rich.table import Table

from folkmoot.devnet.federation import CONTRIBUTOR_STAKE, REWARD, stake
from folkmoot.errors import LocalError
from folkmoot.protocol.batch import ENTRY_BYTES
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.verdict import Reason
from folkmoot.rpc.abi import decode_call
from folkmoot.rpc.local_chain import advance
from folkmoot.runtime.units import format_amount
from folkmoot_lab.stories.federation import Story, StoryFederation
from folkmoot_lab.stories.game import Result, error_of
from folkmoot_lab.stories.game_rounds import Opened, RoundGame, Update

STRANGER, LATE, GARBAGE, THIEF, TWIN, OTHER_TWIN = ATTACKERS = (
    "stranger",
    "latecomer",
    "garbage",
    "thief",
    "twin-1",
    "twin-2",
)
"""Accounts of the attacker: without stake; enrolled while the round is open; with a commitment to nothing; with another
one's root; and two with the same update."""
ENROLLED = (GARBAGE, THIEF, TWIN, OTHER_TWIN)
"""Those that are enrolled before the round."""
ROUND = 1


class Spam(RoundGame):
    """Plays and shows entries without work."""

    name = "spam"

    @classmethod
    def staged(cls, plan: Story) -> Story:
        """Return the plan of a federation with six accounts of an attacker."""
        return replace(plan, others=dict.fromkeys(ATTACKERS, CONTRIBUTOR_STAKE))

    def _arrange(self) -> None:
        self.attackers = list(ATTACKERS)
        for name in ENROLLED:
            self._enrol(name)
        advance(self.chain.rpc, 1)  # who enrols in the second of an opening comes too late

    def _play(self, federation: StoryFederation) -> dict[str, Any]:
        chain, functions = self.chain, self.chain.ledger.functions
        contributors = self.plan.names()
        self.console.rule("[bold red]The tries")
        self._start(
            federation, ROUND, len(contributors) + 2
        )  # who trained and both twins; the commitment to nothing is no answer
        opened, tried = self._open(ROUND), dict[str, str]()

        nothing = self._nothing(opened, STRANGER)
        tried["no stake"] = error_of(self._refused(functions.commitUpdate(nothing.abi_tuple()), STRANGER))
        self._enrol(LATE)
        late = self._nothing(opened, LATE)
        tried["enrolled once the round is open"] = error_of(
            self._refused(functions.commitUpdate(late.abi_tuple()), LATE)
        )
        chain.send(functions.commitUpdate(self._nothing(opened, GARBAGE).abi_tuple()), self.accounts[GARBAGE])

        made = self._train_all(opened, [TWIN, *contributors])
        made[OTHER_TWIN] = self._copy(made[TWIN], OTHER_TWIN)
        batch = self._disturb(made)
        self._steal(made[contributors[-1]], tried)
        self._await_step(ROUND, "settled")
        reasons = self._reasons()
        self._show_tries(tried, reasons, batch)
        missing = [
            name for name in contributors if not chain.ledger.has_committed(ROUND, self.addresses[name])
        ]
        if missing or not batch["status"]:
            raise LocalError(
                f"The batch of the coordinator failed, or has not {', '.join(missing) or 'nobody'}.",
                remedy="This is a hole: report it to the maintainers (SECURITY.md).",
                code="demo-attack-paid",
            )
        return {
            "entries": chain.ledger.round(ROUND).entries,
            "places": chain.ledger.policy(1).max_contributors,
            "tries": tried,
            "reasons": reasons,
            "batch": batch,
        }

    def _judge(self, result: Result, outcome: Mapping[str, Any]) -> tuple[int, str]:
        return REWARD // outcome["places"], "one share, for the one update that it trained"

    def _enrol(self, name: str) -> None:
        stake(self.chain, self.accounts[name], CONTRIBUTOR_STAKE)
        self.chain.send(self.chain.ledger.functions.enrol(CONTRIBUTOR_STAKE), self.accounts[name])

    def _nothing(self, opened: Opened, name: str) -> Commitment:
        """Return a commitment to an update that there is not."""
        root = opened.header.base_state_root
        return Commitment(self.addresses[name], ROUND, root, keccak(text=name), 1)

    def _disturb(self, made: Mapping[str, Update]) -> dict[str, Any]:
        """Commit an entry of the coordinator's batch, and another one's root, before the batch; describe the batch."""
        chain, ledger = self.chain, self.chain.deployment.ledger
        with self._holding_blocks():
            for update in made.values():
                self._submit(update)
            seen = self._await(
                lambda: self._pooled(self.addresses["coordinator"], ledger), "the coordinator's batch"
            )
            sent = decode_call("ledger", bytes.fromhex(seen["input"][2:]))
            if sent is None:
                raise AssertionError("the batch is a call of the ledger")
            _, bundle, batch = sent.arguments
            again = "0x" + chain.ledger.functions.commitUpdates(ROUND, bundle, batch[:ENTRY_BYTES]).data.hex()
            stolen = self._stolen(made[self.plan.names()[-1]]).commitment
            root = "0x" + chain.ledger.functions.commitUpdate(stolen.abi_tuple()).data.hex()
            self._send_first(STRANGER, ledger, again, seen)
            self._send_first(THIEF, ledger, root, seen)
            chain.rpc.call("evm_mine")
        receipt = chain.w3.eth.get_transaction_receipt(seen["hash"])
        return {
            "commitments": len(batch) // ENTRY_BYTES,
            "status": receipt["status"],
            "place": receipt["transactionIndex"],
            "gas": receipt["gasUsed"],
        }

    def _stolen(self, update: Update) -> Update:
        """Return somebody's update as the thief commits to it."""
        return self._copy(update, THIEF)

    def _steal(self, update: Update, tried: dict[str, str]) -> None:
        """Get the file of another contributor once it is public, and submit it as the thief."""
        self._await(
            lambda: self.api.get(f"/v1/rounds/{ROUND}")["step"] != "collecting" or None,
            "the end of the window",
        )
        data = self.api.files.read(sha256_hex(update.data))
        tried["another one's file, once it is public"] = self._submit(
            replace(self._stolen(update), data=data)
        )

    def _reasons(self) -> dict[str, str]:
        """Return the reason of each entry's weight, by account."""
        by_account = {address: name for name, address in self.addresses.items()}
        items = [
            item for item in self.api.items(f"/v1/rounds/{ROUND}/updates") if item["status"] != "refused"
        ]
        return {by_account[item["contributor"]]: str(item["reason"]) for item in items}

    def _show_tries(
        self, tried: Mapping[str, str], reasons: Mapping[str, str], batch: Mapping[str, Any]
    ) -> None:
        money = {name: self._money([name]) for name in ATTACKERS}
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for column in ("try", "what came of it", "earned"):
            table.add_column(column, justify="right" if column == "earned" else "left")

        def earned(name: str) -> str:
            return format_amount(money[name].claimable)

        first, second, third = tried
        table.add_row(f"{first}: a commitment to nothing", tried[first], earned(STRANGER))
        table.add_row(f"{second}: the same", tried[second], earned(LATE))
        table.add_row("enrolled: a commitment to nothing", f"weight 0, {reasons[GARBAGE]}", earned(GARBAGE))
        table.add_row("another one's root, committed before it", f"weight 0, {reasons[THIEF]}", earned(THIEF))
        table.add_row(third, f"refused, {tried[third]}", earned(THIEF))
        table.add_row("an update that was trained", reasons[TWIN], earned(TWIN))
        table.add_row(
            "the same bytes from a second account", f"weight 0, {reasons[OTHER_TWIN]}", earned(OTHER_TWIN)
        )
        table.add_row(
            "an entry of the coordinator's batch, committed before it",
            f"the batch of {batch['commitments']} succeeds and skips it",
            earned(STRANGER),
        )
        self.console.print(table)
        pay = self._money([self.plan.names()[0]]).claimable
        places = self.chain.ledger.policy(1).max_contributors
        self.console.print(
            f"\n{self._title(1)} earned {format_amount(pay)}: the round's {format_amount(REWARD)} are cut into "
            f"{places} shares, one for each place. Entries that earn nothing take nothing from the others."
        )
        wrong = {GARBAGE: Reason.NOT_DELIVERED, THIEF: Reason.NOT_DELIVERED, OTHER_TWIN: Reason.COPY}
        if found := {name: reasons[name] for name, reason in wrong.items() if reasons[name] != reason}:
            raise LocalError(
                f"Entries without work have other reasons than they must: {found}.",
                remedy="This is a hole: report it to the maintainers (SECURITY.md).",
                code="demo-attack-paid",
            )
