# SPDX-License-Identifier: Apache-2.0
"""Signatures of accounts that are contracts (ERC-1271, docs/protocol.md section 6).

A contract decides itself which signatures it accepts. Two forms are made here: the owner's signature of the
commitment's digest, and a Safe's, whose owners sign the EIP-712 message `SafeMessage(bytes message)` in the Safe's own
domain. The message is the digest of 32 bytes (`CompatibilityFallbackHandler` of the Safe contracts).
"""

from __future__ import annotations

from collections.abc import Mapping

from eth_abi.abi import encode
from eth_account.messages import SignableMessage

from folkmoot.protocol.commitment import canonical_address
from folkmoot.protocol.hashing import keccak

MAX_SIGNATURE = 2_048
"""Bytes of the longest signature of a contract that a coordinator takes: 31 owners of a Safe."""

SAFE_MESSAGE_TYPE = "SafeMessage(bytes message)"

_SAFE_DOMAIN_TYPEHASH = keccak(b"EIP712Domain(uint256 chainId,address verifyingContract)")
_SAFE_MESSAGE_TYPEHASH = keccak(SAFE_MESSAGE_TYPE.encode())


def safe_message(safe: str, chain_id: int, digest: bytes) -> SignableMessage:
    """Return the message that the owners of a Safe sign so that it accepts a digest.

    Args:
        safe: Address of the Safe.
        chain_id: Id of its chain.
        digest: EIP-712 digest of a commitment, 32 bytes.
    """
    domain = keccak(encode(("bytes32", "uint256", "address"), (_SAFE_DOMAIN_TYPEHASH, chain_id, safe)))
    body = keccak(encode(("bytes32", "bytes32"), (_SAFE_MESSAGE_TYPEHASH, keccak(digest))))
    return SignableMessage(b"\x01", domain, body)


def join_signatures(signatures: Mapping[str, bytes]) -> bytes:
    """Join the signatures of a Safe's owners, 65 bytes each, in ascending order of the owners' addresses."""
    return b"".join(signatures[owner] for owner in sorted(signatures, key=canonical_address))
