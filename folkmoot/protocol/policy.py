# SPDX-License-Identifier: Apache-2.0
"""The rules of a round, as the contract stores them (struct Policy of IRoundLedger.sol).

This module knows the fields and their ranges; what a rule does is in ``folkmoot.aggregation``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from folkmoot.errors import InputError
from folkmoot.protocol.budget import cost_of
from folkmoot.protocol.commitment import NO_BUNDLE, checksum_address
from folkmoot.protocol.exponents import CUTS
from folkmoot.protocol.hashing import HASH_BYTES
from folkmoot.protocol.packing import WIDTHS, largest

NO_VERIFIER = "0x0000000000000000000000000000000000000000"
"""``verifier`` of a policy that accepts no fraud proof."""

MAX_CONTRIBUTORS = 256
"""Most contributors of a round."""

CLAMPED_MEAN = "clamped_mean"
"""The default rule, the one whose sum clamps each coordinate, and the one that has pays."""

ROOT_SHARE_UNIT = 1024
"""The unit of the root share, the optional parameter of ``clamped_mean``."""

MAX_KRUM_CONTRIBUTORS = 32
"""Most contributors of a round of ``multi_krum``: more of them can't be weighed by a contract."""

BOND_FACTOR = 4
"""Least bond of a policy, in rewards."""

CHALLENGER_DIVISOR = 4
"""Of slashed stake the challenger gets one part in so many. The rest is burnt."""

ARBITER = "arbiter"
"""``verifier`` of a policy for a deployment whose addresses are not known yet: the arbiter of that deployment."""

MEAN_SQUARE_CAPS = {8: CUTS[8] ** 2, 4: CUTS[4] ** 2, 2: 1}
"""``max_sum_squares`` for each weight of the model by width, where nobody says otherwise. An honest update of steady
training stays below it. At width 2 no update is above it."""

MEAN_SCALES = {8: 1, 4: 1, 2: 7}
"""``mean_scale`` by width, where nobody says otherwise. At width 2 the mean of a few updates needs finer steps."""

_BITS = {
    "max_sum_squares": 64,
    "min_contributors": 16,
    "max_contributors": 16,
    "width": 8,
    "mean_scale": 8,
    "rate": 16,
    "momentum": 16,
    "commit_window": 32,
    "anchor_window": 32,
    "challenge_window": 32,
    "interval": 32,
    "min_sum_squares": 64,
    "noise1024": 32,
    "steps": 32,
    "privacy_cap": 64,
    "retain_rounds": 32,
    "min_stake": 128,
    "bond": 128,
    "reward": 128,
}


@dataclass(frozen=True)
class Policy:
    """The rules of a round. A round pins one policy for its whole life.

    Raises:
        InputError: On construction, when a field does not fit its Solidity type.
    """

    rule: str
    """Name of the aggregation rule, 1 to 32 printable ASCII characters without spaces, e.g. ``mean``."""
    parameters: tuple[int, ...]
    """Parameters of the rule by position, uint32 each."""
    max_sum_squares: int
    """Largest sum of squares that an update may have, in units of the encoded integers."""
    min_contributors: int
    """Fewest commitments with which a round can be anchored."""
    max_contributors: int
    """Most commitments that a round takes."""
    width: int
    """Bits of an encoded coordinate."""
    mean_scale: int = field(default=1, kw_only=True)
    """Steps of the mean in a step of an update, from 1 on."""
    rate: int
    """Outer learning rate in 1/1024."""
    momentum: int
    """Outer momentum in 1/1024."""
    commit_window: int
    """Seconds from the opening in which commitments are taken."""
    anchor_window: int
    """Seconds after the commit window in which the coordinator may anchor."""
    challenge_window: int
    """Seconds after the anchor in which it may be challenged."""
    interval: int = field(default=0, kw_only=True)
    """Seconds from the opening of a round's base to its own opening, at least; 0 for none."""
    min_sum_squares: int = field(default=0, kw_only=True)
    """Smallest sum of squares that an update may have; 0 for none."""
    noise1024: int = field(default=0, kw_only=True)
    """Noise multiplier in 1/1024: the noise's standard deviation over the sensitivity, the largest norm of one record's
    clipped gradient. 0 for no noise."""
    steps: int = field(default=0, kw_only=True)
    """Noised sums of an update; 0 without noise."""
    privacy_cap: int = field(default=0, kw_only=True)
    """Most that a contributor can spend of its privacy budget, in units of 2^-32 of rho; 0 without noise."""
    retain_rounds: int = field(default=0, kw_only=True)
    """Rounds after which updates may be deleted; 0 for never."""
    min_stake: int
    """Stake (1e-18 tokens) that a contributor must have when its commitment is recorded."""
    bond: int
    """Stake (1e-18 tokens) that the coordinator must have; lost when fraud is proven."""
    reward: int
    """Most tokens (1e-18) minted for a final round: each place has an equal share, see ``rewards``."""
    verifier: str = NO_VERIFIER
    """Contract that may void a round of this policy; zero for none. The word ``arbiter`` until ``resolved``."""
    bundle_hash: bytes = NO_BUNDLE
    """sha256 of the only Flower App Bundle that nodes may run, 32 bytes; zero for any."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.rule) <= 32 or not all("!" <= letter <= "~" for letter in self.rule):
            raise InputError(f"The rule's name {self.rule!r} is not 1 to 32 ASCII characters without spaces.")
        if any(not 0 <= value < 1 << 32 for value in self.parameters):
            raise InputError(f"A parameter of {list(self.parameters)} is no uint32.")
        for name, bits in _BITS.items():
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise InputError(f"The policy's {name} is {value}, which is no uint{bits}.")
        if len(self.bundle_hash) != HASH_BYTES:
            raise InputError("The policy's bundle_hash has not 32 bytes.")
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if self.verifier != ARBITER:
            object.__setattr__(self, "verifier", checksum_address(self.verifier))

    @property
    def rule_bytes(self) -> bytes:
        """The rule's name as the contract has it: 32 bytes, left-aligned."""
        return self.rule.encode("ascii").ljust(32, b"\0")

    @property
    def has_pays(self) -> bool:
        """Whether an anchor has pays; under other rules the weights say what a round pays."""
        return self.rule == CLAMPED_MEAN

    @property
    def mean_bound(self) -> int:
        """Largest absolute value of a mean's coordinate: ``S Q``."""
        return self.mean_scale * largest(self.width)

    @property
    def mean_width(self) -> int:
        """Bits of a coordinate in a mean file: the smallest width whose range has the mean's coordinates."""
        return min((width for width in WIDTHS if largest(width) >= self.mean_bound), default=WIDTHS[0])

    @property
    def cost(self) -> int:
        """What an update costs of its contributor's privacy budget, in units of 2^-32 of rho; 0 without noise."""
        return cost_of(self.noise1024, self.steps) if self.noise1024 else 0

    @property
    def minted_per_day(self) -> int | None:
        """Most tokens (1e-18) that rounds of a day are paid, whatever the coordinator does; None without interval."""
        return self.reward * -(-86_400 // self.interval) if self.interval else None

    def rounds_left(self, spent: int) -> int | None:
        """Return how many more updates an account can commit under this policy; None without noise.

        Args:
            spent: What the account has spent of its privacy budget, in units of 2^-32 rho.

        Raises:
            InputError: The policy's steps are out of their range.
        """
        return max(0, self.privacy_cap - spent) // self.cost if self.noise1024 else None

    def resolved(self, arbiter: str) -> Policy:
        """Return the policy for a deployment: with the arbiter's address where the verifier is the word for it."""
        return replace(self, verifier=arbiter) if self.verifier == ARBITER else self

    def abi_tuple(self) -> tuple[Any, ...]:
        """The fields in the order of the Solidity struct.

        Raises:
            InputError: The verifier is still a word.
        """
        if self.verifier == ARBITER:
            raise InputError(
                "The policy's verifier is the arbiter of a deployment, and it is not said of which.",
                remedy="Use `folkmoot deploy` or `folkmoot propose`, which know the address.",
                code="verifier-unresolved",
            )
        return (
            self.rule_bytes,
            list(self.parameters),
            *(getattr(self, name) for name in _BITS),
            self.verifier,
            self.bundle_hash,
        )

    @classmethod
    def from_abi(cls, values: Sequence[Any]) -> Policy:
        """Read the fields in the order of the Solidity struct, as a decoder returns them.

        Raises:
            InputError: A field is missing or out of its range.
        """
        if len(values) != len(_BITS) + 4:
            raise InputError(f"A policy has {len(_BITS) + 4} fields, not {len(values)}.")
        try:
            rule = bytes(values[0]).rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError as error:
            raise InputError("The policy's rule is not ASCII.") from error
        numbers = dict(zip(_BITS, (int(value) for value in values[2:-2]), strict=True))
        parameters = tuple(int(p) for p in values[1])
        verifier, bundle_hash = values[-2:]
        return cls(
            rule=rule, parameters=parameters, verifier=verifier, bundle_hash=bytes(bundle_hash), **numbers
        )
