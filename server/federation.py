# SPDX-License-Identifier: Apache-2.0
"""The facts of a federation that never change while a coordinator runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest


@dataclass(frozen=True)
class Federation:
    """One federation, and the account of the coordinator that runs here."""

    deployment: Deployment
    genesis: Genesis
    manifest: Manifest
    coordinator: str
    """Address of this coordinator's account, checksummed. Another one may be appointed on the chain."""

    @cached_property
    def domain(self) -> Domain:
        """Chain and ledger for which signatures count."""
        return Domain(self.deployment.chain_id, self.deployment.ledger)
