# SPDX-License-Identifier: Apache-2.0
"""Checks of a contributor before `folkmoot join`: key, stake, enrolment, coins, folder, sandbox. Needs no password."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

from folkmoot.artifacts.federation import Federation
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.doctor.check import Check, Finding, failed, ok, warning
from folkmoot.doctor.files import exposed
from folkmoot.doctor.training import training_checks
from folkmoot.errors import InputError
from folkmoot.flower.contributor import CONTRIBUTOR_FILE, Contributor
from folkmoot.flower.updates import KEEP_UPDATES
from folkmoot.ledger import costs
from folkmoot.ledger.admission import require_admitted
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.stakes import chance_text, next_quota
from folkmoot.protocol.manifest import Manifest
from folkmoot.rpc.client import LedgerReader, Rpc, VaultReader
from folkmoot.runtime import keystore
from folkmoot.runtime.memory import FROZEN, TRAINING, shortage
from folkmoot.runtime.units import format_amount

FREE_BYTES = 1 << 28
"""Minimum free bytes of the disk for logs and Flower's files, in addition to the updates that a node keeps."""

OWN_GAS = 250_000
"""Gas for transactions that a contributor may have to send: enrolment or a commitment, an unbonding, a withdrawal
(docs/gas.md)."""


def contributor_checks(
    rpc: Rpc,
    deployment: Path,
    key: Callable[[], Path],
    home: Callable[[str, str], Path],
    api: CoordinatorApi | None = None,
) -> list[Check]:
    """Return the checks of a contributor's machine and account. They come after `chain_checks` and `api_checks`.

    Args:
        deployment: The deployment file.
        key: Function that returns the path of the key file.
        home: Function that returns the node's folder for an account and a ledger. The folder need not exist.
        api: Client of the coordinator; None to skip it.
    """
    mine = _Contributor(rpc, deployment, key, home, api)
    chain = ("your key", "contracts")
    needs = ("contracts", "coordinator's deployment")
    model = [Check("your model", partial(mine.model, api), needs)] if api is not None else []
    return [
        Check("your key", mine.key_file),
        Check("your stake", mine.stake, chain),
        Check("your enrolment", mine.enrolment, ("your stake",)),
        Check("your coins", mine.coins, ("your stake",)),
        *model,
        Check("your folder", mine.folder, ("your key", "deployment file")),
        Check("your disk", mine.disk, ("your folder",)),
        *training_checks(key, lambda: mine.home),
    ]


class _Contributor:
    def __init__(
        self,
        rpc: Rpc,
        path: Path,
        key: Callable[[], Path],
        home: Callable[[str, str], Path],
        api: CoordinatorApi | None,
    ) -> None:
        self._rpc = rpc
        self._path = path
        self._key = key
        self._find_home = home
        self._api = api
        self._manifest: Manifest | None = None  # After the coordinator has shown the right one.

    @cached_property
    def _deployment(self) -> Deployment:
        return Deployment.load(self._path)

    @cached_property
    def _account(self) -> str:
        return keystore.address_of(self._key())

    @cached_property
    def home(self) -> Path:
        return self._find_home(self._account, self._deployment.ledger)

    def key_file(self) -> Finding:
        return exposed(self._key()) or ok(f"{self._key()} holds the key of {self._account}.")

    @cached_property
    def _ledger(self) -> LedgerReader:
        return LedgerReader(self._rpc, self._deployment.ledger)

    @cached_property
    def _vault(self) -> VaultReader:
        return VaultReader(self._rpc, self._deployment.vault)

    @cached_property
    def _least(self) -> int:
        return self._ledger.policy(self._ledger.current_policy()).min_stake

    @cached_property
    def _enrolled(self) -> int:
        """Enrolled stake; 0 if the account is not enrolled."""
        if not self._ledger.enrolled(self._account):
            return 0
        return self._vault.members([self._account])[self._account].enrolled

    @cached_property
    def _may_commit(self) -> bool:
        """Whether the account is enrolled with enough stake. The coordinator needs no enrolment."""
        return self._enrolled >= self._least or self._account == self._ledger.coordinator()

    def stake(self) -> Finding:
        stake, locked = self._vault.stake_of(self._account), self._vault.bond_of(self._account)
        text = (
            f"{self._account} has {format_amount(stake)} at stake; the policy asks for "
            f"{format_amount(self._least)}."
        )
        if stake < self._least:
            missing = format_amount(self._least - stake)
            return failed(
                f"{text} Its updates are refused (stake-too-low).",
                f"Stake {missing} more with `folkmoot enrol --stake`, or `folkmoot join --stake {missing.split()[0]}`.",
            )
        return ok(f"{text} {format_amount(locked)} are locked as bonds." if locked else text)

    def enrolment(self) -> Finding:
        if not self._may_commit:
            text = "not enrolled"
            if self._enrolled:
                text = f"enrolled with {format_amount(self._enrolled)}, less than the policy asks for"
            try:
                require_admitted(self._rpc, self._deployment, self._account)
            except InputError as error:
                return failed(f"{self._account} is {text}, and can't enrol. {error.message}", error.remedy)
            return warning(
                f"{self._account} is {text}: no round takes an update of it.",
                "Run `folkmoot join`, which enrols it, or `folkmoot enrol`. Enrolment counts from the next round on.",
            )
        if not self._enrolled:
            return ok(f"{self._account} is the coordinator, which needs none for its root update.")
        text = f"{self._account} is enrolled with {format_amount(self._enrolled)}."
        quota = next_quota(self._ledger, self._vault)
        if self._enrolled < quota:
            chance = chance_text(self._enrolled, quota)
            return ok(
                f"{text} More stake is enrolled than the next round has places: its chance of one is {chance}."
            )
        return ok(text)

    def coins(self) -> Finding:
        balance = self._rpc.balance(self._account)
        price = costs.gas_price(self._rpc)
        text = f"{balance / costs.COIN:.6g} coins for gas."
        remedy = f"Send about {OWN_GAS * price / costs.COIN:.6g} coins of the chain to {self._account}."
        if balance >= OWN_GAS * price:
            return ok(text)
        if not self._may_commit:
            return failed(f"{text} Too few to enrol, and without enrolment no round takes an update.", remedy)
        return warning(
            f"{text} None are needed while the coordinator commits for you; if it leaves you out, you can neither "
            "commit by yourself nor take your stake out.",
            remedy,
        )

    def model(self, api: CoordinatorApi) -> Finding:
        ledger = self._ledger
        self._manifest = manifest = Federation.open(self._deployment, api.files, ledger).manifest
        short = shortage(TRAINING * manifest.size + FROZEN * manifest.file_bytes, "Training")
        if short:
            return failed(short, "Join on a machine with more memory, or end other programs.")
        return ok(f"The coordinator serves the chain's model, {manifest.elements:,} parameters.")

    def folder(self) -> Finding:
        home = self.home
        if not home.exists():
            return ok(f"{home} does not exist yet; `folkmoot join` creates it.")
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            return failed(f"{home} can't be written to.", f"Run: chown -R $USER {home}, or give --home.")
        if not (home / CONTRIBUTOR_FILE).exists():
            return ok(f"{home} can be written to.")
        contributor = Contributor.load(home)
        if (contributor.chain_id, contributor.ledger) != (self._deployment.chain_id, self._deployment.ledger):
            return failed(
                f"{home} is the folder of a node of another federation: ledger {contributor.ledger} on chain "
                f"{contributor.chain_id}.",
                "Give each federation a folder of its own (--home).",
            )
        if contributor.account != self._account:
            return failed(
                f"{home} is of the node of {contributor.account}; your key is that of {self._account}.",
                "Give each account a folder of its own (--home), or the key that belongs to it (--keystore).",
            )
        if self._api is not None and contributor.coordinator.rstrip("/") != self._api.url:
            return warning(
                f"The node of {home} last joined at {contributor.coordinator}, not {self._api.url}.",
                "If the coordinator moved, that is right, and `folkmoot join` notes it.",
            )
        return ok(f"{home} is of this account and federation; it joined with the task {contributor.task}.")

    def disk(self) -> Finding:
        place = next(path for path in (self.home, *self.home.parents) if path.exists())
        free, need = shutil.disk_usage(place).free, FREE_BYTES
        if self._manifest is not None:
            need += KEEP_UPDATES * self._manifest.size + self._manifest.state_file_size
            need += self._manifest.file_bytes
        text = f"{free / 1e9:,.1f} GB are free under {place}; a node takes up to {need / 1e9:,.1f} GB."
        return ok(text) if free >= need else failed(text, "Make room, or give --home on a larger disk.")
