# SPDX-License-Identifier: Apache-2.0
"""Signing for an account that is a contract (ERC-1271), with the keys of its owners.

Knows two kinds: a Safe, and a contract that accepts its owner's signature of the digest. The kind is found on the
contributor's own RPC endpoint, and the contract must accept the signature there before it leaves. The record and the
checks of the signer agent are those of the contract's account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from client.signer.keys import Message, OwnerKey, commitment_message, safe_owner_message
from folkmoot.errors import ChainError, InputError
from folkmoot.flower.signing import SignerError, chain_unavailable
from folkmoot.protocol.commitment import Commitment, Domain, checksum_address
from folkmoot.protocol.signatures import digest
from folkmoot.protocol.wallets import MAX_SIGNATURE, join_signatures
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.quorum import open_rpc
from folkmoot.rpc.wallets import accepts, accepts_digest, read_safe

TRIAL_ROUND = 0
"""Round of the commitment that is signed for a trial: the genesis, which takes no commitments."""


class WalletKey:
    """A contract account, with the keys of some of its owners.

    Args:
        account: Address of the contract.
        owners: Keys of its owners.
        rpc: URLs of the contributor's own RPC endpoints, as `open_rpc` takes them.
    """

    def __init__(self, account: str, owners: Sequence[OwnerKey], rpc: str) -> None:
        self._account = checksum_address(account)
        self._owners = owners
        self._rpc = rpc

    @property
    def address(self) -> str:
        """The contract's address, checksummed."""
        return self._account

    @property
    def draft_key(self) -> bytes:
        """Key with which the node encrypts updates that are not signed yet: that of the first owner."""
        return self._owners[0].draft_key

    def check(self, domain: Domain) -> None:
        """Check that the contract accepts a signature of these keys: sign a commitment that no ledger takes.

        Raises:
            SignerError: As `sign`.
        """
        zero = bytes(32)
        self.sign(Commitment(self._account, TRIAL_ROUND, zero, zero, 0), domain)

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Sign a commitment of the contract; return a signature that it accepts.

        Raises:
            SignerError: ``not-a-contract``, ``wallet-threshold``, ``wallet-refuses``, ``chain-unavailable``, or the
                error of a key.
        """
        ledger, message = domain.verifying_contract, commitment_message(commitment, domain)
        return self._accepted(
            message, domain, lambda rpc, signature: accepts(rpc, ledger, commitment, signature, self._account)
        )

    def sign_message(self, message: Message, domain: Domain) -> bytes:
        """Sign a message of the contract that is no commitment; return a signature that it accepts.

        Raises:
            SignerError: As `sign`.
        """
        hashed = digest(message.signable)
        return self._accepted(
            message,
            domain,
            lambda rpc, signature: accepts_digest(rpc, self._account, hashed, signature),
        )

    def _accepted(self, message: Message, domain: Domain, accepted: Callable[[Rpc, bytes], bool]) -> bytes:
        try:
            with open_rpc(self._rpc) as rpc:
                for signature in self._signatures(rpc, message, domain):
                    if accepted(rpc, signature):
                        return _bounded(signature)
        except ChainError as error:
            raise chain_unavailable(error) from error
        keys = " and ".join(key.address for key in self._owners)
        raise SignerError(
            f"The contract {self._account} accepts no signature of {keys}, neither of the message's digest nor of a "
            "Safe's message with it.",
            remedy="Give the key of an owner. A Safe needs the fallback handler CompatibilityFallbackHandler or "
            "ExtensibleFallbackHandler. A contract with signatures of another form can't contribute.",
            code="wallet-refuses",
        )

    def _signatures(self, rpc: Rpc, message: Message, domain: Domain) -> Iterator[bytes]:
        """Yield the signatures that the contract may accept, the more likely kind first."""
        if not rpc.code(self._account):
            raise SignerError(
                f"There is no contract at {self._account}.",
                remedy="Correct --wallet. For an account with a key, leave it out.",
                code="not-a-contract",
            )
        safe = read_safe(rpc, self._account)
        if safe is not None:
            keys = {key.address: key for key in self._owners if key.address in safe.owners}
            if len(keys) < safe.threshold:
                raise SignerError(
                    f"The Safe {self._account} needs signatures of {safe.threshold} owners, and this signer has the "
                    f"keys of {len(keys)} of them.",
                    remedy="Give the keys of more owners with --owner, or let the Safe lower its threshold.",
                    code="wallet-threshold",
                )
            wrapped = safe_owner_message(self._account, domain.chain_id, digest(message.signable))
            signing = list(keys.values())[: safe.threshold]
            yield join_signatures({key.address: key.sign_message(wrapped) for key in signing})
        for key in self._owners:
            yield key.sign_message(message)


def check_options(wallet: str | None, owners: Sequence[str] | None) -> None:
    """Check that owners are given for a contract only."""
    if owners and wallet is None:
        raise InputError(
            "--owner needs --wallet: the contract that the owners sign for.",
            remedy="Add --wallet ADDRESS, or leave out --owner.",
        )


def _bounded(signature: bytes) -> bytes:
    if len(signature) > MAX_SIGNATURE:
        raise SignerError(
            f"The signature has {len(signature)} bytes; coordinators take at most {MAX_SIGNATURE}.",
            remedy="Let the Safe lower its threshold: the signature of each owner has 65 bytes.",
            code="wallet-signature-too-long",
        )
    return signature
