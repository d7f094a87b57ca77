# SPDX-License-Identifier: Apache-2.0
"""Checks of a contributor before `folkmoot join`: key, stake, coins, folder. Needs no password."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.doctor.check import Check, Finding, failed, ok, warning
from folkmoot.doctor.files import exposed
from folkmoot.flower.contributor import CONTRIBUTOR_FILE, KEEP_UPDATES, Contributor
from folkmoot.ledger import costs
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest
from folkmoot.rpc.client import LedgerReader, Rpc, VaultReader
from folkmoot.runtime import keystore
from folkmoot.runtime.units import format_amount

FREE_BYTES = 1 << 28
"""Minimum free bytes of the disk for logs and Flower's files, in addition to the updates that a node keeps."""

OWN_GAS = 250_000
"""Gas for transactions that a contributor may have to send: a commitment, an unbonding, a withdrawal (docs/gas.md)."""


def contributor_checks(
    rpc: Rpc,
    deployment: Path,
    key: Callable[[], Path],
    home: Callable[[str, str], Path],
    api: CoordinatorApi | None = None,
) -> list[Check]:
    """Return the checks of a contributor's machine and account. They come after `chain_checks` and `api_checks`.

    Args:
        rpc: The endpoint.
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
        Check("your coins", mine.coins, ("your stake",)),
        *model,
        Check("your folder", mine.folder, ("your key", "deployment file")),
        Check("your disk", mine.disk, ("your folder",)),
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
    def _home(self) -> Path:
        return self._find_home(self._account, self._deployment.ledger)

    def key_file(self) -> Finding:
        return exposed(self._key()) or ok(f"{self._key()} holds the key of {self._account}.")

    def stake(self) -> Finding:
        ledger = LedgerReader(self._rpc, self._deployment.ledger)
        least = ledger.policy(ledger.current_policy()).min_stake
        stake = VaultReader(self._rpc, self._deployment.vault).stake_of(self._account)
        text = f"{self._account} has {format_amount(stake)} at stake; the policy asks for {format_amount(least)}."
        if stake < least:
            missing = format_amount(least - stake)
            return failed(
                f"{text} Its updates are refused (stake-too-low).",
                f"Stake {missing} more with `folkmoot stake`, or `folkmoot join --stake {missing.split()[0]}`.",
            )
        return ok(text)

    def coins(self) -> Finding:
        balance = costs.balance_of(self._rpc, self._account)
        price = costs.gas_price(self._rpc)
        text = f"{balance / costs.COIN:.6g} coins for gas."
        if balance < OWN_GAS * price:
            return warning(
                f"{text} None are needed while the coordinator commits for you; if it leaves you out, you can neither "
                "commit by yourself nor take your stake out.",
                f"Send about {OWN_GAS * price / costs.COIN:.6g} coins of the chain to {self._account}.",
            )
        return ok(text)

    def model(self, api: CoordinatorApi) -> Finding:
        ledger = LedgerReader(self._rpc, self._deployment.ledger)
        genesis = Genesis.from_json(api.document(ledger.genesis_hash().hex()))
        manifest = Manifest.from_json(api.artifact(genesis.manifest))
        if manifest.hash != ledger.manifest_hash():
            return failed(
                "The coordinator serves another manifest than the chain's.",
                "Do not train for it: run `folkmoot audit`, and tell the others.",
            )
        self._manifest = manifest
        return ok(f"The coordinator serves the chain's model, {manifest.elements:,} parameters.")

    def folder(self) -> Finding:
        home = self._home
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
        place = next(path for path in (self._home, *self._home.parents) if path.exists())
        free, need = shutil.disk_usage(place).free, FREE_BYTES
        if self._manifest is not None:
            need += KEEP_UPDATES * self._manifest.size + self._manifest.state_file_size
        text = f"{free / 1e9:,.1f} GB are free under {place}; a node takes up to {need / 1e9:,.1f} GB."
        return ok(text) if free >= need else failed(text, "Make room, or give --home on a larger disk.")
