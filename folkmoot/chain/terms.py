# SPDX-License-Identifier: Apache-2.0
"""What a federation is founded on: governance, windows, bounds of later policies, admission, and the profiles.

What no vote may change (who slashes, mints and judges, and the bounds of later policies) is fixed at the deployment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

from folkmoot.errors import ArtifactError, InputError
from folkmoot.ledger.admission import MOST_MEMBERS
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.rpc.client import Contract, Rpc, VaultReader
from folkmoot.runtime.units import UNIT, format_amount

if TYPE_CHECKING:
    from folkmoot.protocol.genesis import Genesis
    from folkmoot.protocol.manifest import Manifest
    from folkmoot.protocol.parent import Parent
    from folkmoot.protocol.policy import Policy
    from folkmoot.protocol.state import State

ZERO_ADDRESS = "0x" + "0" * 40
"""As the executor of the timelock it stands for anybody."""

FIRST_POLICY = 1
"""Number of the policy of the deployment."""

MAX_SUPPLY = 2**96 - 1
"""Most tokens that there can be, in units of 1e-18 (`MootToken.MAX_SUPPLY`): stakes and their sums have 96 bits."""

RAISE = 4
"""By how much later policies may raise the reward and the minimum stake of the first one."""

MINUTE, HOUR, DAY = 60, 3_600, 86_400

MAX_GUARDIAN_TERM = 730 * DAY
"""Longest term of a guardian, in seconds."""


@dataclass(frozen=True, slots=True)
class GenesisRoots:
    """The three hashes of a genesis that go on the chain, 32 bytes each; and the parent, which the manifest names."""

    manifest_hash: bytes
    state_root: bytes
    """State root of the initial model."""
    genesis_hash: bytes
    """keccak256 of the genesis file."""
    parent: Parent | None = None
    """The version of another federation with whose state it starts."""

    @classmethod
    def of(cls, genesis: Genesis, manifest: Manifest, state: State) -> GenesisRoots:
        """Compute the hashes from the files.

        Raises:
            ArtifactError: manifest or state are not those that the genesis file names.
        """
        if (sha256_hex(manifest.to_json()), state.sha256()) != (genesis.manifest, genesis.state):
            raise ArtifactError(
                "The genesis file names another manifest or another state.",
                remedy="Give the files that belong together.",
            )
        return cls(manifest.hash, state.root(manifest.hash), genesis.hash, manifest.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """How the assembly works. Times in seconds, amounts in units of 1e-18 tokens."""

    voting_delay: int
    """From a proposal to the start of its vote."""
    voting_period: int
    """In which votes are taken."""
    threshold: int
    """Votes that a proposer must have."""
    quorum_percent: int
    """Share of the staked total that must vote for or abstain, in percent."""
    vote_extension: int
    """That a vote stays open at least after the quorum is reached."""
    timelock_delay: int
    """From queueing to the earliest execution."""
    unbonding: int
    """From a request to take stake out to its release."""
    seasoning: int = 0
    """For which stake must have been there at a proposal's snapshot to vote; half of the federation's age at most."""
    demand_deposit: int = UNIT
    """What a demand for data costs until it is answered: what an answer takes of gas, and some more."""
    warranty_period: int = 30 * DAY
    """For which tokens stay behind a version, from their posting and from each activation of the version."""
    min_warranty: int = 0
    """What must be behind a version at its first activation, until a vote changes it."""
    guardian: str = ZERO_ADDRESS
    """Who may cancel proposals until its term ends; the zero address for nobody."""
    guardian_term: int = 0
    """From the deployment, in which there may be a guardian."""

    @property
    def deciding(self) -> int:
        """Seconds that a vote takes at most, from the proposal to its execution, if nobody hesitates."""
        return self.voting_delay + self.voting_period + self.vote_extension + self.timelock_delay

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a value is impossible; the message has it.
        """
        bounds: dict[str, tuple[int, int]] = {
            "voting_delay": (0, 2**32 - 1),
            "voting_period": (1, 2**32 - 1),
            "threshold": (0, 2**128 - 1),
            "quorum_percent": (0, 100),
            "vote_extension": (0, self.voting_period),
            "timelock_delay": (0, 2**32 - 1),
            "unbonding": (1, 2**32 - 1),
            "seasoning": (0, 2**32 - 1),
            "demand_deposit": (0, 2**128 - 1),
            "warranty_period": (1, 2**32 - 1),
            "min_warranty": (0, MAX_SUPPLY),
            "guardian_term": (0, MAX_GUARDIAN_TERM),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(
                    f"The governance option {name.replace('_', ' ')} must be from {low} to {high}, got {value}.",
                    remedy="Correct it; the profiles demo, l2 and l1 have values that fit together.",
                    code="invalid-governance",
                )
        if (self.guardian == ZERO_ADDRESS) != (self.guardian_term == 0):
            raise InputError(
                "A guardian needs a term, and a term needs a guardian.",
                remedy="Give both --guardian and --guardian-term, or neither.",
                code="invalid-governance",
            )


@dataclass(frozen=True, slots=True)
class Windows:
    """The times of a round, in seconds."""

    commit: int
    """In which commitments are taken."""
    anchor: int
    """In which the coordinator may anchor after that."""
    challenge: int
    """In which an anchor may be challenged."""
    interval: int = 0
    """From the opening of one round to that of the next, at least."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Times that fit together for one kind of chain."""

    governance: Governance
    """Of the assembly."""
    windows: Windows
    """Of a round."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What no policy of a ledger may go beyond. A vote can't change it."""

    max_reward: int
    """Largest reward of a round, in units of 1e-18 tokens."""
    min_bond: int
    """Least bond of a round, in units of 1e-18 tokens."""
    max_min_stake: int
    """Largest minimum stake of a contributor, in units of 1e-18 tokens."""
    min_commit_window: int
    """Shortest commit window, in seconds."""
    min_challenge_window: int
    """Shortest challenge window, in seconds."""
    min_interval: int
    """Shortest interval from opening to opening, in seconds."""

    @classmethod
    def of(cls, policy: Policy) -> Bounds:
        """Return the bounds that follow from the first policy.

        Four times its reward and minimum stake, and half of its bond, windows and interval.
        """
        return cls(
            min(RAISE * policy.reward, 2**128 - 1),
            policy.bond // 2,
            min(RAISE * policy.min_stake, 2**128 - 1),
            policy.commit_window // 2,
            policy.challenge_window // 2,
            policy.interval // 2,
        )

    def abi_tuple(self) -> tuple[int, ...]:
        """Return the fields in the order of the contract's struct."""
        return astuple(self)


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may enrol. Without both fields everybody may: the federation is open."""

    members: tuple[str, ...] = ()
    """First members of a list that votes change; the deployment makes its contract."""
    contract: str | None = None
    """Address of an admission contract that is there already (`IAdmission`)."""

    def __post_init__(self) -> None:
        """Check the accounts.

        Raises:
            InputError: There are both, too many members, an account twice, or the zero address.
        """
        if self.members and self.contract is not None:
            raise invalid_admission(
                "A ledger asks one contract who may enrol.", "Give a list of members or a contract, not both."
            )
        if len(self.members) > MOST_MEMBERS:
            raise invalid_admission(
                f"There are {len(self.members)} members, and one transaction can list {MOST_MEMBERS}.",
                "Give the others with `folkmoot propose --admit` after the deployment.",
            )
        accounts = [*self.members, *([] if self.contract is None else [self.contract])]
        if ZERO_ADDRESS in accounts:
            raise invalid_admission("The zero address is nobody.", "Leave it out.")
        for account, times in Counter(self.members).items():
            if times > 1:
                raise invalid_admission(f"The member {account} is given {times} times.", "Give it once.")

    @property
    def roles(self) -> tuple[str, ...]:
        """The contracts that are deployed, in the order of their creation."""
        return (*CONTRACTS, "members") if self.members else CONTRACTS

    def address(self, addresses: Mapping[str, str]) -> str:
        """Return the address of the contract that the ledger asks, zero if there is none."""
        return self.contract or addresses.get("members", ZERO_ADDRESS)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"members": list(self.members), "contract": self.contract}


OPEN = Admission()
"""Everybody may enrol who has the stake."""


def invalid_admission(message: str, remedy: str) -> InputError:
    """Return the error of an admission that nobody could enrol with."""
    return InputError(message, remedy=remedy, code="invalid-admission")


PROFILES: Mapping[str, Profile] = {
    # One laptop: everything in minutes.
    "demo": Profile(
        Governance(
            voting_delay=5,
            voting_period=5 * MINUTE,
            threshold=UNIT,
            quorum_percent=20,
            vote_extension=MINUTE,
            timelock_delay=10 * MINUTE,
            unbonding=HOUR,
            warranty_period=HOUR,
        ),
        Windows(commit=10 * MINUTE, anchor=5 * MINUTE, challenge=10 * MINUTE),
    ),
    # A rollup in production: days, so that people in every time zone can answer.
    "l2": Profile(
        Governance(
            voting_delay=12 * HOUR,
            voting_period=3 * DAY,
            threshold=100 * UNIT,
            quorum_percent=20,
            vote_extension=12 * HOUR,
            timelock_delay=2 * DAY,
            unbonding=7 * DAY,
            seasoning=7 * DAY,
            min_warranty=100 * UNIT,
        ),
        Windows(commit=HOUR, anchor=HOUR, challenge=DAY, interval=HOUR),
    ),
    # Ethereum itself: a challenge must outlast a week-end of censorship.
    "l1": Profile(
        Governance(
            voting_delay=2 * DAY,
            voting_period=7 * DAY,
            threshold=100 * UNIT,
            quorum_percent=20,
            vote_extension=2 * DAY,
            timelock_delay=7 * DAY,
            unbonding=21 * DAY,
            seasoning=7 * DAY,
            warranty_period=60 * DAY,
            min_warranty=100 * UNIT,
        ),
        Windows(commit=6 * HOUR, anchor=6 * HOUR, challenge=3 * DAY + 12 * HOUR, interval=6 * HOUR),
    ),
}
"""Governance and windows by kind of chain: `demo`, `l2`, `l1`."""


def answer_window(policy: Policy, governance: Governance) -> int:
    """Return the seconds in which a demand for data must be answered.

    As many as a round may be challenged for, so that a coordinator need not look more often than a challenger; at most
    a fourteenth of the unbonding time, because a conviction has as many again, and up to seven demands lead from a root
    down to a leaf (`DataAvailability.MAX_STEPS`).
    """
    return min(policy.challenge_window, governance.unbonding // 14)


def check_terms(
    policy: Policy, coordinator: str, allocations: Mapping[str, int], governance: Governance
) -> None:
    """Check that what a federation is founded on fits together.

    Raises:
        InputError: It does not: ``invalid-governance``, ``no-allocation``, ``supply-too-large``, or the policy can't
            be afforded.
    """
    windows = policy.commit_window + policy.anchor_window + policy.challenge_window
    if windows > governance.unbonding:
        raise InputError(
            f"The windows of a round take {windows} seconds together, but stake can leave after "
            f"{governance.unbonding}: the stake of a contributor could be gone before it can be slashed.",
            remedy="Choose a longer unbonding time or shorter windows.",
            code="invalid-governance",
        )
    if policy.interval > governance.unbonding:
        raise InputError(
            f"The policy's interval is {policy.interval} seconds, and the ledger takes at most the unbonding time of "
            f"{governance.unbonding}: training would stand still.",
            remedy="Choose a shorter interval.",
            code="invalid-governance",
        )
    if governance.deciding > governance.unbonding:
        raise InputError(
            f"A vote takes {governance.deciding} seconds with all its delays, but stake can leave after "
            f"{governance.unbonding}: a bond could be gone before voters have decided a dispute.",
            remedy="Choose a longer unbonding time or faster votes.",
            code="invalid-governance",
        )
    if governance.deciding > governance.warranty_period:
        raise InputError(
            f"A vote takes {governance.deciding} seconds with all its delays, but a warranty can be taken out after "
            f"{governance.warranty_period}: it could be gone before voters have recalled its version.",
            remedy="Choose a longer warranty period or faster votes.",
            code="invalid-governance",
        )
    if governance.guardian == coordinator != ZERO_ADDRESS:
        raise InputError(
            f"The guardian {coordinator} is the coordinator: it could cancel its own dismissal.",
            remedy="Choose another guardian.",
            code="invalid-governance",
        )
    if coordinator == ZERO_ADDRESS:
        raise InputError("The coordinator can't be the zero address.", remedy="Give its account.")
    if not allocations or any(amount <= 0 for amount in allocations.values()):
        raise InputError(
            "Nobody would have tokens, so nobody could stake.",
            remedy="Give at least one allocation above zero, e.g. --allocate ADDRESS=1000.",
            code="no-allocation",
        )
    supply = sum(allocations.values())
    if supply > MAX_SUPPLY:
        raise InputError(
            f"The first holders would have {format_amount(supply)} tokens together, and the contracts can count "
            f"{format_amount(MAX_SUPPLY)}.",
            remedy="Allocate fewer tokens.",
            code="supply-too-large",
        )
    require_affordable(policy, supply)


def require_affordable(policy: Policy, supply: int) -> None:
    """Check that somebody can have what a policy asks for.

    Args:
        supply: All tokens that there are, in units of 1e-18.

    Raises:
        InputError: `impossible-policy`: the minimum stake or the bond is more than that; the message names the field.
    """
    for field_, amount in (("minStake", policy.min_stake), ("bond", policy.bond)):
        if amount > supply:
            raise InputError(
                f"The policy's {field_} is {format_amount(amount)}, and there are {format_amount(supply)} in all: "
                "nobody can have it at stake.",
                remedy=f"Lower {field_}.",
                code="impossible-policy",
                details={"field": field_},
            )


def read_governance(rpc: Rpc, deployment: Deployment) -> Governance:
    """Return how the assembly of a federation works now. A guardian is left out: its term is the federation's own."""
    governor, timelock = (Contract(rpc, getattr(deployment, role), role) for role in ("governor", "timelock"))
    demands = Contract(rpc, deployment.data_availability, "data_availability")
    registry = Contract(rpc, deployment.registry, "registry")
    return Governance(
        voting_delay=governor.read("votingDelay"),
        voting_period=governor.read("votingPeriod"),
        threshold=governor.read("proposalThreshold"),
        quorum_percent=governor.read("quorumNumerator"),
        vote_extension=governor.read("lateQuorumVoteExtension"),
        timelock_delay=timelock.read("getMinDelay"),
        unbonding=VaultReader(rpc, deployment.vault).unbonding_period(),
        seasoning=governor.read("seasoning"),
        demand_deposit=demands.read("deposit"),
        warranty_period=registry.read("warrantyPeriod"),
        min_warranty=registry.read("minWarranty"),
    )


def governance_to_json(governance: Governance) -> dict[str, Any]:
    """Return the options as JSON, amounts as decimal strings."""
    amounts = ("threshold", "demand_deposit", "min_warranty")
    return {**asdict(governance), **{name: str(getattr(governance, name)) for name in amounts}}
