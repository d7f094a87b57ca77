# SPDX-License-Identifier: Apache-2.0
"""When files of a round may be deleted, and which wishes to delete them count (docs/protocol.md 12.1 to 12.3).

Coordinators, mirrors and audits use these functions of what is on the chain, so they agree on each file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.deletion import DeletionWish

KEPT_EVERY = 8
"""The state files of rounds whose number is a multiple of this stay."""


class Reason(StrEnum):
    """Why a file was deleted."""

    RETENTION = "retention"
    """The time that the voters set is over."""
    WISH = "wish"
    """Its contributor wanted it, and nothing on the chain can need it any more."""
    SPARE = "spare"
    """It is a state file that is rebuilt where it is needed."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What the deletion of a round's files depends on."""

    number: int

    over: bool
    """Whether the round is final or void. A void round was cancelled or slashed."""
    free_at: int
    """Unix time from which no fault of a contributor can be proven: `openedAt` + the vault's unbonding period."""
    above: int
    """Number of final rounds with a greater number."""
    retain_rounds: int
    """`retainRounds` of the policy that the round pinned; 0 keeps the files for ever."""

    def free(self, now: int) -> bool:
        """Whether nothing on the chain can need the files any more.

        Args:
            now: Unix time of a block.
        """
        return self.over and now >= self.free_at and self.above >= WINDOW

    def expired(self, now: int) -> bool:
        """Whether all of the round's update files may be deleted.

        Args:
            now: Unix time of a block.
        """
        return self.free(now) and 0 < self.retain_rounds < self.above

    def spare(self) -> bool:
        """Whether the round's state file may be deleted.

        More final rounds than a window has are above it, so no round that can be challenged or opened trains from it,
        and no trajectory starts there.
        """
        return self.over and self.above > WINDOW and self.number % KEPT_EVERY != 0


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
