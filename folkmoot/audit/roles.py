# SPDX-License-Identifier: Apache-2.0
"""Check the roles of the timelock: they are those of the deployment's design, and nobody changed them since.

The other contracts have no roles. `code` checks who slashes, mints, registers and judges; no vote can change it.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from folkmoot.audit.failure import Subject, require
from folkmoot.audit.history import History
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import RoleGranted, RoleRevoked

_CHECK = "roles"
_ADMIN = bytes(32)

Role = tuple[str, bytes, str]
"""Contract, role and account."""


def designed_roles(deployment: Deployment) -> dict[Role, str]:
    """Return the roles of a deployment with their names (contracts/README.md)."""
    return {
        ("timelock", bytes(keccak(text=name)), account): name
        for name, account in (
            ("PROPOSER_ROLE", deployment.governor),
            ("CANCELLER_ROLE", deployment.governor),
            ("EXECUTOR_ROLE", ZERO_ADDRESS),
        )
    }


def check_roles(history: History) -> None:
    """Replay the roles, and compare them with the stored ones and with the design.

    `governance` checks that no role changed after the deployment.

    Raises:
        AuditFailure: The roles differ from the design, or from the storage of the contracts.
    """
    held: set[Role] = set()
    for event in history.events:
        match event:
            case RoleGranted():
                held.add((event.contract, event.role, event.account))
            case RoleRevoked():
                held.discard((event.contract, event.role, event.account))
            case _:
                pass
    design = designed_roles(history.deployment)
    subject = Subject(check=_CHECK)
    require(
        subject,
        "the list of roles",
        {_name(role, design) for role in design},
        {_name(role, design) for role in held},
    )
    for role, has in history.storage.roles.items():
        require(subject, f"whether {_name(role, design)}", role in held, has)


def _name(role: Role, design: dict[Role, str]) -> str:
    names = {known[1]: name for known, name in design.items()} | {_ADMIN: "DEFAULT_ADMIN_ROLE"}
    contract, number, account = role
    return f"{account} has {names.get(number, '0x' + number.hex())} of the {contract}"
