# SPDX-License-Identifier: Apache-2.0
"""Check the roles of the timelock: they are those of the deployment's design, and only votes changed them.

The other contracts have no roles. `code` checks who slashes, mints, registers and judges; no vote can change it.

`governance` checks that changes were voted for, as for all governed acts. This module replays the roles, compares them
with the storage of the contracts, and reports differences from the design.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.history import History
from folkmoot.chain.deploy import ZERO_ADDRESS
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import RoleAdminChanged, RoleGranted, RoleRevoked

_CHECK = "roles"
_ADMIN = bytes(32)

Role = tuple[str, bytes, str]
"""Contract, role and account."""


def designed_roles(deployment: Deployment) -> dict[Role, str]:
    """Return the roles of a deployment with their names (contracts/README.md)."""
    timelock, governor = deployment.timelock, deployment.governor
    return {
        (contract, bytes(keccak(text=name)) if name else _ADMIN, account): name or "DEFAULT_ADMIN_ROLE"
        for contract, name, account in (
            ("timelock", "", timelock),
            ("timelock", "PROPOSER_ROLE", governor),
            ("timelock", "CANCELLER_ROLE", governor),
            ("timelock", "EXECUTOR_ROLE", ZERO_ADDRESS),
        )
    }


def check_roles(history: History) -> list[str]:
    """Replay the roles, and compare them with the stored ones and with the design.

    Returns:
        One sentence for each role that a later vote granted or revoked.

    Raises:
        AuditFailure: A constructor granted roles outside of the design, or the stored roles differ.
    """
    created: dict[str, bytes] = {}
    for event in history.events:
        created.setdefault(event.contract, event.transaction)
    first: set[Role] = set()
    held: set[Role] = set()
    for event in history.events:
        match event:
            case RoleGranted():
                held.add((event.contract, event.role, event.account))
                if event.transaction == created[event.contract]:
                    first.add((event.contract, event.role, event.account))
            case RoleRevoked():
                held.discard((event.contract, event.role, event.account))
            case RoleAdminChanged():  # None of the contracts can do this.
                raise mismatch(
                    Subject(check=_CHECK, event=event),
                    "the administrator of a role",
                    "never changed",
                    "changed",
                )
            case _:
                pass
    design = designed_roles(history.deployment)
    subject = Subject(check=_CHECK)
    require(subject, "the roles that the deployment gave", _named(set(design), design), _named(first, design))
    for role, has in history.storage.roles.items():
        require(subject, f"whether {_name(role, design)}", role in held, has)
    taken = [f"A vote revoked this role: {_name(role, design)}." for role in sorted(set(design) - held)]
    return [f"A vote gave this: {_name(role, design)}." for role in sorted(held - set(design))] + taken


def _named(roles: set[Role], design: dict[Role, str]) -> set[str]:
    return {_name(role, design) for role in roles}


def _name(role: Role, design: dict[Role, str]) -> str:
    names = {known[1]: name for known, name in design.items()}
    contract, number, account = role
    return f"{account} has {names.get(number, '0x' + number.hex())} of the {contract}"
