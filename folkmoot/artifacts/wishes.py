# SPDX-License-Identifier: Apache-2.0
"""Which wishes to delete update files count (docs/protocol.md section 12.3).

Coordinators, mirrors and audits use this one function, so they agree on each file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.deletion import DeletionWish

Accepts = Callable[[str, bytes, bytes], bool]
"""Whether the contract at an address accepts a signature of a hash: address, hash of 32 bytes, signature."""


def counts(wish: DeletionWish, domain: Domain, accepts: Accepts) -> bool:
    """Return whether the contributor signed a wish, with its key or as a contract.

    Raises:
        RpcError: The endpoint that was asked about a contract failed.
    """
    return wish.is_of_key(domain) or accepts(wish.contributor, wish.digest(domain), wish.signature)


class Wishes:
    """The wishes that count, of a list that nobody has to believe.

    Args:
        wishes: The list. Of several wishes of an account, those that were not signed do not hide one that was.
        domain: Chain and ledger of the federation.
        accepts: Asked about contracts, at the block by which is decided.
    """

    def __init__(self, wishes: Iterable[DeletionWish], domain: Domain, accepts: Accepts) -> None:
        self._wishes: dict[str, list[DeletionWish]] = {}
        for wish in wishes:
            self._wishes.setdefault(wish.contributor, []).append(wish)
        self._domain, self._accepts = domain, accepts
        self._counting: dict[str, DeletionWish | None] = {}

    def of(self, contributor: str) -> DeletionWish | None:
        """Return the wish of an account for the most rounds; None without one that counts.

        Raises:
            RpcError: The endpoint that was asked about a contract failed.
        """
        if contributor not in self._counting:
            signed = (
                one for one in self._wishes.get(contributor, ()) if counts(one, self._domain, self._accepts)
            )
            self._counting[contributor] = max(signed, key=lambda one: one.last_round, default=None)
        return self._counting[contributor]

    def cover(self, contributor: str, round_number: int) -> bool:
        """Whether the account wants its update files of a round to be deleted.

        Raises:
            RpcError: As for `of`.
        """
        wish = self.of(contributor)
        return wish is not None and round_number <= wish.last_round

    def counting(self, contributors: Iterable[str]) -> list[DeletionWish]:
        """Return the wishes of these accounts that count.

        Only contributors can have files. Nobody else's wish is checked, so a long list of strangers costs nothing.

        Raises:
            RpcError: As for `of`.
        """
        return [wish for account in contributors if (wish := self.of(account)) is not None]
