# SPDX-License-Identifier: Apache-2.0
"""Questions about accounts that are contracts: whether one accepts a signature (ERC-1271), and who owns a Safe."""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from folkmoot.errors import ContractRefused, RpcError
from folkmoot.protocol.commitment import COMMITMENT_TYPE, Commitment
from folkmoot.protocol.hashing import keccak
from folkmoot.rpc.client import Rpc

WALLET_GAS = 600_000
"""Most gas of a transaction that records a commitment of a contract, and of each simulation of it. The ledger's part is
about 120,000."""

_MEMBERS = COMMITMENT_TYPE.partition("(")[2].removesuffix(")").split(",")
_TYPES = ("({})".format(",".join(member.split(" ")[0] for member in _MEMBERS)), "bytes")
_FUNCTION = keccak(f"commitUpdateFor({','.join(_TYPES)})".encode())[:4]
_IS_VALID = keccak(b"isValidSignature(bytes32,bytes)")[:4]
_INVALID_SIGNATURE = keccak(b"RoundLedgerInvalidSignature(address)")[:4].hex()


@dataclass(frozen=True)
class Safe:
    """The owners of a Safe."""

    owners: tuple[str, ...]
    """Addresses of the owners, checksummed."""
    threshold: int
    """Number of owners that must sign."""


def accepts(rpc: Rpc, ledger: str, commitment: Commitment, signature: bytes, sender: str) -> bool:
    """Return whether the contributor is a contract that accepts a signature of a commitment now.

    Simulates the ledger's call, which asks the contract. What the ledger says of the round and of the stake is ignored:
    it looks at the signature first.

    Args:
        ledger: Address of the RoundLedger.
        commitment: What is signed.
        signature: The signature, in the contract's own form.
        sender: Account that would send the transaction.
    """
    data = _FUNCTION + encode(_TYPES, (commitment.abi_tuple(), signature))
    call = {"from": sender, "to": ledger, "data": "0x" + data.hex(), "gas": hex(WALLET_GAS)}
    try:
        rpc.call("eth_call", [call, "latest"])
    except ContractRefused as refusal:
        returned = str(refusal.details.get("data", "")).removeprefix("0x")
        return bool(returned) and not returned.startswith(_INVALID_SIGNATURE)
    return True


def accepts_digest(rpc: Rpc, account: str, digest: bytes, signature: bytes) -> bool:
    """Return whether an account is a contract that accepts a signature of a hash (ERC-1271).

    Args:
        digest: What is signed, 32 bytes.
        signature: The signature, in the contract's own form.
    """
    data = _IS_VALID + encode(("bytes32", "bytes"), (digest, signature))
    try:
        return rpc.eth_call(account, data) == _IS_VALID.ljust(32, b"\0")
    except ContractRefused:
        return False
    except RpcError as error:
        if error.code == RpcError.default_code:
            raise
        return False  # As in `read_safe`.


def read_safe(rpc: Rpc, account: str) -> Safe | None:
    """Return the owners of a Safe; None if the account is another contract."""
    try:
        (threshold,) = rpc.read(account, "getThreshold()", ["uint256"])
        (owners,) = rpc.read(account, "getOwners()", ["address[]"])
    except ContractRefused:
        return None
    except RpcError as error:
        if error.code == RpcError.default_code:
            raise
        return None  # Nodes have many errors for code that ends in another way than by a revert.
    return Safe(tuple(str(to_checksum_address(owner)) for owner in owners), threshold)
