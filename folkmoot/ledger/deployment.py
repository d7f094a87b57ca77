# SPDX-License-Identifier: Apache-2.0
"""Where a federation lives on its chain: one small public file that everybody who takes part has.

Knows the file format and nothing else: no network, no web3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address

from folkmoot.errors import InputError
from folkmoot.protocol.hashing import json_name, parse_json
from folkmoot.protocol.parent import Parent
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.units import is_wellformed_address

DEPLOYMENT_FILE = "deployment.json"
"""Name that the file has by convention."""

JUDGES = ("fraud_proofs", "gram_proofs", "contributor_faults", "data_availability", "disputes")
"""The contracts that the arbiter lets speak, in the order of its list, by the names of the fields of `Deployment`."""

CONTRACTS = (
    "token",
    "vault",
    "registry",
    "policies",
    "ledger",
    "rewards",
    "timelock",
    "governor",
    *JUDGES,
    "arbiter",
)
"""The contracts of every deployment in the order of their creation, by the names of the fields of `Deployment`."""

ADMISSION = ("members", "admission")
"""The fields of `Deployment` of which a closed federation has one."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The addresses of one federation."""

    chain_id: int
    """EIP-155 id of the chain."""
    block: int
    """Number of the block with the first deployment transaction: events are read from here."""
    token: str
    """MootToken, checksummed like all addresses here."""
    vault: str
    """StakeVault."""
    registry: str
    """ModelRegistry."""
    policies: str
    """Policies."""
    ledger: str
    """RoundLedger."""
    rewards: str
    """Rewards."""
    timelock: str
    """MootTimelock."""
    governor: str
    """MootGovernor."""
    fraud_proofs: str
    """FraudProofs, a judge, as the next ones."""
    gram_proofs: str
    """GramProofs."""
    contributor_faults: str
    """ContributorFaults."""
    data_availability: str
    """DataAvailability."""
    disputes: str
    """Disputes."""
    arbiter: str
    """Arbiter: the verifier that the first policy names, unless it names another or none."""
    genesis_hash: str
    """keccak256 of the genesis file, 0x-hex (docs/protocol.md section 11)."""
    members: str | None = None
    """MemberList of a closed federation, which votes change; None in every other federation."""
    admission: str | None = None
    """Another admission contract of a closed federation; None in every other federation."""
    parent: Parent | None = None
    """The version of another federation with whose state this one starts, as in the manifest; None if it has none."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The contracts of Folkmoot that this deployment has: `CONTRACTS`, and the list of members if there is one."""
        return CONTRACTS if self.members is None else (*CONTRACTS, "members")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of `deployment.json`, keys in camelCase. It has no keys for what is None."""
        values = {json_name(f.name): getattr(self, f.name) for f in fields(self)}
        return {
            key: value.to_json() if isinstance(value, Parent) else value
            for key, value in values.items()
            if value is not None
        }

    @classmethod
    def from_json(cls, document: Any) -> Deployment:
        """Read the JSON object of `deployment.json`; unknown keys are ignored.

        Raises:
            InputError: a key is missing, or a value is not what it should be.
        """
        if not isinstance(document, dict):
            raise _invalid("it is not a JSON object")
        values: dict[str, Any] = {}
        for name in ("chain_id", "block"):
            value = document.get(json_name(name))
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
                raise _invalid(f"{json_name(name)} must be an integer from 0 to 2^64 - 1, got {value!r}")
            values[name] = value
        if "governor" in document and not {"arbiter", "rewards", "policies"} <= document.keys():
            raise InputError(
                "The deployment file is of an older Folkmoot: it does not name all contracts of this one.",
                remedy="Those contracts can't be added to a deployment: deploy again with this release.",
                code="deployment-outdated",
            )
        given = [name for name in ADMISSION if document.get(name) is not None]
        if len(given) > 1:
            raise _invalid("it has both members and admission, and a ledger asks one contract who may enrol")
        for name in (*CONTRACTS, *given):
            key = json_name(name)
            value = document.get(key)
            if not isinstance(value, str) or not is_wellformed_address(value):
                raise _invalid(f"{key} must be an address, got {value!r}")
            values[name] = to_checksum_address(value)
        genesis_hash = document.get("genesisHash")
        if not isinstance(genesis_hash, str) or not _is_hash(genesis_hash):
            raise _invalid(f"genesisHash must be 32 bytes of 0x-hex, got {genesis_hash!r}")
        try:
            parent = None if document.get("parent") is None else Parent.from_json(document["parent"])
        except InputError as error:
            raise _invalid(error.message.rstrip(".")) from error
        return cls(**values, genesis_hash=genesis_hash.lower(), parent=parent)

    @classmethod
    def load(cls, path: Path | str) -> Deployment:
        """Read a deployment file.

        Raises:
            InputError: the file can't be read or is malformed.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"The deployment file {path} can't be read: {error.strerror}.",
                remedy="Give it by --deployment or FOLKMOOT_DEPLOYMENT; a coordinator has it at /v1/deployment.",
                code="deployment-missing",
            ) from error
        try:
            document = parse_json(data)
        except InputError as error:
            raise _invalid(error.message, path) from error
        return cls.from_json(document)

    def save(self, path: Path | str) -> None:
        """Write the deployment file; its folder is created if needed.

        Raises:
            InputError: the file can't be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, (json.dumps(self.to_json(), indent=2) + "\n").encode())
        except OSError as error:
            raise InputError(
                f"The deployment file {path} can't be written: {error.strerror}.",
                remedy="Choose another --out.",
                code="deployment-unwritable",
            ) from error


def _is_hash(value: str) -> bool:
    if len(value) != 66 or not value.startswith("0x"):
        return False
    try:
        bytes.fromhex(value[2:])
    except ValueError:
        return False
    return True


def _invalid(reason: str, path: Path | None = None) -> InputError:
    where = f" {path}" if path else ""
    return InputError(
        f"The deployment file{where} is malformed: {reason}.",
        remedy="Get it again from the coordinator (/v1/deployment) or from whoever deployed the contracts.",
        code="deployment-malformed",
    )
