# SPDX-License-Identifier: Apache-2.0
"""Deploying a federation: one transaction a contract, of one account, so that the addresses are known beforehand.

The contracts point at each other, so each is given addresses that are computed from the deployer's nonces
(contracts/README.md). The deployer never holds a role. Afterwards every address, role and parameter is read back and
compared. What no vote may change (who slashes, mints and judges, and the bounds of later policies) is fixed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import Web3

from folkmoot.aggregation import policy_file
from folkmoot.chain.client import Chain, chain_errors, earlier, endpoint_of, send, settle
from folkmoot.chain.deploy_plan import Plan
from folkmoot.errors import ArtifactError, ChainError, InputError, RpcError
from folkmoot.ledger import packaged
from folkmoot.ledger.admission import MOST_MEMBERS, admits, members
from folkmoot.ledger.deployment import CONTRACTS, JUDGES, Deployment
from folkmoot.ledger.events import RoleGranted, RoleRevoked
from folkmoot.ledger.scan import scan
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.units import UNIT, format_amount

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.contract import Contract
    from web3.contract.contract import ContractConstructor
    from web3.types import TxReceipt

    from folkmoot.protocol.genesis import Genesis
    from folkmoot.protocol.manifest import Manifest
    from folkmoot.protocol.policy import Policy
    from folkmoot.protocol.state import State

ZERO_ADDRESS = "0x" + "0" * 40
"""As the executor of the timelock it stands for anybody."""

FIRST_POLICY = 1
"""Number of the policy of the deployment."""

RAISE = 4
"""By how much later policies may raise the reward and the minimum stake of the first one."""

MINUTE, HOUR, DAY = 60, 3_600, 86_400

MAX_GUARDIAN_TERM = 730 * DAY
"""Longest term of a guardian, in seconds."""


@dataclass(frozen=True, slots=True)
class GenesisRoots:
    """The three hashes of a genesis that go on the chain, 32 bytes each."""

    manifest_hash: bytes
    """Hash of the manifest."""
    state_root: bytes
    """State root of the initial model."""
    genesis_hash: bytes
    """keccak256 of the genesis file."""

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
        return cls(manifest.hash, state.root(manifest.hash), genesis.hash)


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
    dispute_deposit: int = 50 * UNIT
    """What a dispute costs until a vote has decided it."""
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
            "dispute_deposit": (0, 2**128 - 1),
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
    """The windows of a round, in seconds."""

    commit: int
    """In which commitments are taken."""
    anchor: int
    """In which the coordinator may anchor after that."""
    challenge: int
    """In which an anchor may be challenged."""


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

    @classmethod
    def of(cls, policy: Policy) -> Bounds:
        """Return the bounds that follow from the first policy.

        Four times its reward and minimum stake, and half of its bond and windows.
        """
        return cls(
            min(RAISE * policy.reward, 2**128 - 1),
            policy.bond // 2,
            min(RAISE * policy.min_stake, 2**128 - 1),
            policy.commit_window // 2,
            policy.challenge_window // 2,
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
            raise _invalid_admission(
                "A ledger asks one contract who may enrol.", "Give a list of members or a contract, not both."
            )
        if len(self.members) > MOST_MEMBERS:
            raise _invalid_admission(
                f"There are {len(self.members)} members, and one transaction can list {MOST_MEMBERS}.",
                "Give the others with `folkmoot propose --admit` after the deployment.",
            )
        accounts = [*self.members, *([] if self.contract is None else [self.contract])]
        if ZERO_ADDRESS in accounts:
            raise _invalid_admission("The zero address is nobody.", "Leave it out.")
        for account, times in Counter(self.members).items():
            if times > 1:
                raise _invalid_admission(f"The member {account} is given {times} times.", "Give it once.")

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


def _invalid_admission(message: str, remedy: str) -> InputError:
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
        ),
        Windows(commit=HOUR, anchor=HOUR, challenge=DAY),
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
        ),
        Windows(commit=6 * HOUR, anchor=6 * HOUR, challenge=3 * DAY + 12 * HOUR),
    ),
}
"""Governance and windows by kind of chain: `demo`, `l2`, `l1`."""


@dataclass(slots=True)
class Report:
    """What a deployment did and what was verified afterwards."""

    deployment: Deployment
    """The addresses."""
    gas: dict[str, int] = field(default_factory=dict)
    """Gas used by each contract's creation."""
    facts: list[str] = field(default_factory=list)
    """What was read back from the chain and found right, one sentence each."""


def deploy(
    w3: Web3,
    account: LocalAccount,
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    admission: Admission = OPEN,
) -> Deployment:
    """Deploy the contracts and verify everything; see `deploy_and_report`."""
    return deploy_and_report(
        w3, account, genesis, policy, coordinator, allocations, governance, admission=admission
    ).deployment


def deploy_and_report(
    w3: Web3,
    account: LocalAccount,
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    progress: Callable[[str], None] = lambda role: None,
    plan: Plan | None = None,
    admission: Admission = OPEN,
) -> Report:
    """Deploy the contracts and verify every address, role and parameter.

    With a plan, contracts of an interrupted deployment are gone on with; gas that nobody noted is left out then. When
    all are mined, it is waited until they lie as deep as the plan's notes say, and only then verified.

    Args:
        w3: Connection to the chain.
        account: Account that pays. It gets no role and no tokens (unless `allocations` names it).
        genesis: The hashes of the initial model.
        policy: First policy. Where its verifier is the word `arbiter`, the arbiter's address is put in.
        coordinator: First coordinator.
        allocations: Genesis tokens by account, in units of 1e-18.
        governance: How the assembly works.
        progress: Called with a contract's role before its transaction.
        plan: Where it is noted, so that a deployment that is killed can be completed; None notes nothing.
        admission: Who may enrol.

    Raises:
        InputError: the values can't work together; code `other-deployment`: the plan is of another one.
        RpcError: the endpoint failed, or the account can't pay.
        ContractRefused: a constructor refused its arguments.
        ChainError: code `deployment-disturbed`: the account sent something in between, and the contracts are of no
            use; code `deployment-mismatch`: the chain does not say what was deployed; what `Chain.settle` raises.
    """
    _check(policy, coordinator, allocations, governance)
    with chain_errors("the deployment", endpoint_of(w3)):
        chain_id = w3.eth.chain_id
        nonce = int(w3.eth.get_transaction_count(account.address, "pending"))
    if admission.contract is not None:
        _require_answer(w3, admission.contract, coordinator)
    if plan is not None:
        asked = _asked(
            chain_id, account.address, genesis, policy, coordinator, allocations, governance, admission
        )
        nonce = plan.begin(asked, nonce)
    addresses = addresses_from(account.address, nonce, admission.roles)
    policy = policy.resolved(addresses["arbiter"])
    arguments = constructor_arguments(
        addresses, genesis, policy, coordinator, allocations, governance, admission
    )
    receipts: dict[str, TxReceipt] = {}
    for place, role in enumerate(admission.roles):
        compiled = packaged.contract(role)
        factory: type[Contract] = w3.eth.contract(abi=compiled.abi, bytecode=compiled.bytecode)
        creation = _Creation(w3, account, role, addresses[role], nonce + place, plan)
        receipt = creation.carry_out(factory.constructor(*arguments[role]), progress)
        if receipt is not None:
            receipts[role] = receipt
    if plan is not None:
        settled = settle(w3, plan.notes, *receipts.values(), say=plan.say)
        receipts = dict(zip(receipts, settled, strict=True))
    first = receipts.get(CONTRACTS[0])
    deployment = Deployment(
        chain_id=chain_id,
        block=first["blockNumber"] if first is not None else 0,
        genesis_hash="0x" + genesis.genesis_hash.hex(),
        admission=admission.contract,
        **addresses,
    )
    facts = plan.facts if plan is not None else None
    if facts is None:
        facts = verify(
            w3, deployment, account.address, genesis, policy, coordinator, allocations, governance, admission
        )
        if plan is not None:
            plan.verified(facts)
    return Report(deployment, {role: receipt["gasUsed"] for role, receipt in receipts.items()}, facts)


def _asked(
    chain_id: int,
    deployer: str,
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    admission: Admission,
) -> dict[str, Any]:
    """Return what a plan says is deployed: whoever goes on with it must ask for the same."""
    code = keccak(text="".join(packaged.contract(role).bytecode for role in admission.roles))
    return {
        "chain": chain_id,
        "deployer": deployer,
        "release of the contracts": code.hex(),
        "genesis": [genesis.manifest_hash.hex(), genesis.state_root.hex(), genesis.genesis_hash.hex()],
        "policy": policy_file.to_json(policy),
        "coordinator": coordinator,
        "allocation": [[account, str(amount)] for account, amount in allocations.items()],
        "governance": governance_to_json(governance),
        "admission": admission.to_json(),
    }


@dataclass(frozen=True)
class _Creation:
    """The creation of one contract: with its nonce it is at its address, and only once."""

    w3: Web3
    account: LocalAccount
    role: str
    address: str
    nonce: int
    plan: Plan | None

    def carry_out(
        self, constructor: ContractConstructor, progress: Callable[[str], None]
    ) -> TxReceipt | None:
        """Create the contract unless it is there; return its receipt, None if nobody noted its transaction.

        Raises:
            ChainError: code `deployment-disturbed`: its nonce was used for something else.
        """
        notes = self.plan.notes if self.plan is not None else None
        purpose = f"{self.role} at {self.address}"
        if self._is_there():
            if notes is None:
                return None
            return earlier(self.w3, notes, "", self.account.address, purpose, wait=False, once=True)
        progress(self.role)
        try:
            return send(
                self.w3,
                constructor,
                self.account,
                notes=notes,
                purpose=purpose,
                nonce=self.nonce,
                wait=False,
                once=True,
            )
        except RpcError:
            self._is_there()  # or it says why it can't be
            raise

    def _is_there(self) -> bool:
        """Whether the contract is there.

        Raises:
            ChainError: code `deployment-disturbed`: it is not, and can't be any more.
        """
        with chain_errors("the deployment", endpoint_of(self.w3)):
            # The count first: what is mined between the two questions must not look disturbed.
            used = self.w3.eth.get_transaction_count(self.account.address)
            there = len(self.w3.eth.get_code(to_checksum_address(self.address))) > 0
        if used > self.nonce and not there:
            raise ChainError(
                f"The {self.role} can't be at {self.address} as computed: the account sent another transaction "
                "meanwhile. The contracts point at wrong addresses and are of no use.",
                remedy="Deploy again, with an account that does nothing else.",
                code="deployment-disturbed",
            )
        return there


def addresses_from(deployer: str, nonce: int, roles: Sequence[str] = CONTRACTS) -> dict[str, str]:
    """Return the address of each contract, by role, if the first one is created with this nonce."""
    return {role: predicted_address(deployer, nonce + place) for place, role in enumerate(roles)}


def predicted_address(deployer: str, nonce: int) -> str:
    """Return the address of the contract that an account creates with its transaction of this nonce."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    # RLP: a byte below 0x80 stands for itself, other short strings and lists have their length before them.
    item = number if len(number) == 1 and nonce < 0x80 else bytes([0x80 + len(number)]) + number
    body = b"\x94" + bytes.fromhex(deployer[2:]) + item
    return str(to_checksum_address(keccak(bytes([0xC0 + len(body)]) + body)[12:]))


def constructor_arguments(
    addresses: Mapping[str, str],
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    admission: Admission = OPEN,
) -> dict[str, list[Any]]:
    """Return the constructor arguments of each contract, as contracts/README.md lists them.

    Raises:
        InputError: the policy's verifier is still a word.
    """
    token, vault, registry = addresses["token"], addresses["vault"], addresses["registry"]
    ledger, timelock, governor = addresses["ledger"], addresses["timelock"], addresses["governor"]
    return {
        "token": [ledger, list(allocations.items())],
        "vault": [token, ledger, governance.unbonding],
        "registry": [timelock, ledger, genesis.state_root],
        "ledger": [
            timelock,
            vault,
            token,
            registry,
            coordinator,
            genesis.manifest_hash,
            genesis.genesis_hash,
            policy.abi_tuple(),
            Bounds.of(policy).abi_tuple(),
            admission.address(addresses),
        ],
        "timelock": [governance.timelock_delay, governor],
        "governor": [
            vault,
            timelock,
            governance.voting_delay,
            governance.voting_period,
            governance.threshold,
            governance.quorum_percent,
            governance.vote_extension,
            governance.seasoning,
            governance.guardian,
            governance.guardian_term,
        ],
        "fraud_proofs": [ledger],
        "gram_proofs": [ledger],
        "contributor_faults": [ledger],
        "data_availability": [
            ledger,
            token,
            vault,
            governance.demand_deposit,
            answer_window(policy, governance),
        ],
        # A dispute waits as long as the bond can be held: the more time voters have to propose.
        "disputes": [ledger, token, vault, timelock, governance.dispute_deposit, governance.unbonding],
        "arbiter": [ledger, [addresses[judge] for judge in JUDGES]],
        "members": [timelock, list(admission.members)],
    }


def answer_window(policy: Policy, governance: Governance) -> int:
    """Return the seconds in which a demand for data must be answered.

    As many as a round may be challenged for, so that a coordinator need not look more often than a challenger; at most
    a fourteenth of the unbonding time, because a conviction has as many again, and up to seven demands lead from a root
    down to a leaf (`DataAvailability.MAX_STEPS`).
    """
    return min(policy.challenge_window, governance.unbonding // 14)


def verify(
    w3: Web3,
    deployment: Deployment,
    deployer: str,
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    admission: Admission = OPEN,
) -> list[str]:
    """Read back every parameter and every role, and return what was found right.

    Raises:
        ChainError: code `deployment-mismatch`, with the fact that does not hold.
        RpcError: the endpoint failed.
    """
    chain = Chain(w3, open_rpc(endpoint_of(w3)), deployment)
    try:
        facts = [
            *_verify_parameters(chain, genesis, policy.resolved(deployment.arbiter), coordinator, governance),
            *_verify_judges(chain, policy, governance),
            *_verify_tokens(chain, allocations),
            *_verify_admission(chain, admission),
            *_verify_roles(chain, deployer),
        ]
    finally:
        chain.close()
    return facts


def _check(policy: Policy, coordinator: str, allocations: Mapping[str, int], governance: Governance) -> None:
    windows = policy.commit_window + policy.anchor_window + policy.challenge_window
    if windows > governance.unbonding:
        raise InputError(
            f"The windows of a round take {windows} seconds together, but stake can leave after "
            f"{governance.unbonding}: the stake of a contributor could be gone before it can be slashed.",
            remedy="Choose a longer unbonding time or shorter windows.",
            code="invalid-governance",
        )
    if governance.deciding > governance.unbonding:
        raise InputError(
            f"A vote takes {governance.deciding} seconds with all its delays, but stake can leave after "
            f"{governance.unbonding}: a bond could be gone before voters have decided a dispute.",
            remedy="Choose a longer unbonding time or faster votes.",
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
    require_affordable(policy, sum(allocations.values()))


def require_affordable(policy: Policy, supply: int) -> None:
    """Check that somebody can have what a policy asks for.

    Args:
        policy: The policy.
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


def _require_answer(w3: Web3, contract: str, account: str) -> None:
    """Check that an admission contract is there and answers, whatever the answer is.

    Raises:
        InputError: `invalid-admission`: It is not, or it does not.
        RpcError: The endpoint failed.
    """
    with open_rpc(endpoint_of(w3)) as rpc:
        if not rpc.code(contract):
            raise _invalid_admission(
                f"There is no contract at {contract}, which would say who may enrol.",
                "Deploy the admission contract first, on the same chain, and give its address.",
            )
        if admits(rpc, contract, account) is None:
            raise _invalid_admission(
                f"The contract at {contract} does not answer `admits(address)` with true or false within 200,000 gas: "
                "nobody could enrol.",
                "Give a contract that has the interface IAdmission (contracts/src/interfaces/IAdmission.sol).",
            )


def _equal(what: str, found: Any, expected: Any, shown: str | None = None) -> str:
    if found != expected:
        raise ChainError(
            f"The deployment is wrong: {what} is {found!r}, not {expected!r}.",
            remedy="Don't use it; deploy again.",
            code="deployment-mismatch",
            details={"what": what, "found": str(found), "expected": str(expected)},
        )
    return f"{what} is {shown if shown is not None else expected}"


def _verify_parameters(
    chain: Chain, genesis: GenesisRoots, policy: Policy, coordinator: str, governance: Governance
) -> list[str]:
    place = chain.deployment
    bounds = Bounds.of(policy)
    ledger, vault, registry = chain.ledger.functions, chain.vault.functions, chain.registry.functions
    governor, read = chain.governor.functions, chain.read
    manifest_hash, state_root = genesis.manifest_hash, genesis.state_root
    head = chain.head()
    return [
        _equal("the ledger's vault", read(ledger.vault()), place.vault),
        _equal("the ledger's token", read(ledger.token()), place.token),
        _equal("the ledger's registry", read(ledger.registry()), place.registry),
        _equal(
            "the ledger's manifest hash",
            read(ledger.manifestHash()),
            manifest_hash,
            "0x" + manifest_hash.hex(),
        ),
        _equal("the ledger's genesis hash", "0x" + read(ledger.genesisHash()).hex(), place.genesis_hash),
        _equal("the head", head.round, 0),
        _equal("the head's state root", head.state_root, state_root, "0x" + state_root.hex()),
        _equal("the next round", chain.next_round(), 1),
        _equal("the coordinator", chain.coordinator(), coordinator),
        _equal("the current policy", chain.current_policy(), FIRST_POLICY),
        _equal("the first policy", chain.policy(FIRST_POLICY), policy, f"{policy.rule} as given"),
        _equal("who adds policies", read(ledger.governance()), place.timelock),
        _equal("the verifier of all policies", read(ledger.verifier()), policy.verifier),
        _equal("the bounds of all policies", chain.bounds(), bounds.abi_tuple()),
        _equal("who slashes", read(vault.ledger()), place.ledger),
        _equal("who mints", read(chain.token.functions.minter()), place.ledger),
        _equal("who registers versions", read(registry.ledger()), place.ledger),
        _equal("who makes versions active", read(registry.governance()), place.timelock),
        _equal("the registry's version 0", chain.version(0).state_root, state_root, "0x" + state_root.hex()),
        _equal("the active version", chain.active(), None),
        _equal("the vault's token", read(vault.token()), place.token),
        _equal("the unbonding time", chain.unbonding_period(), governance.unbonding),
        _equal("the governor's votes", read(governor.token()), place.vault),
        _equal("the governor's timelock", read(governor.timelock()), place.timelock),
        _equal("the voting delay", read(governor.votingDelay()), governance.voting_delay),
        _equal("the voting period", read(governor.votingPeriod()), governance.voting_period),
        _equal("the proposal threshold", read(governor.proposalThreshold()), governance.threshold),
        _equal("the quorum in percent", read(governor.quorumNumerator()), governance.quorum_percent),
        _equal("the quorum's whole", read(governor.quorumDenominator()), 100),
        _equal(
            "the extension of a late quorum",
            read(governor.lateQuorumVoteExtension()),
            governance.vote_extension,
        ),
        _equal("the seasoning of votes", read(governor.seasoning()), governance.seasoning),
        _equal(
            "the guardian",
            read(governor.proposalGuardian()),
            governance.guardian,
            None if governance.guardian_term else "nobody",
        ),
        _equal(
            "the guardian's term in seconds",
            read(governor.guardianUntil()) - read(governor.launchedAt()),
            governance.guardian_term,
        ),
        _equal(
            "the timelock's delay", read(chain.timelock.functions.getMinDelay()), governance.timelock_delay
        ),
    ]


def _verify_judges(chain: Chain, policy: Policy, governance: Governance) -> list[str]:
    place, read = chain.deployment, chain.read
    judges = [getattr(place, judge) for judge in JUDGES]
    facts = [
        _equal(f"the ledger of the {role}", read(getattr(chain, role).functions.ledger()), place.ledger)
        for role in (*JUDGES, "arbiter")
    ]
    demands, disputes = chain.data_availability.functions, chain.disputes.functions
    facts += [
        _equal("the token of demands", read(demands.token()), place.token),
        _equal("the deposit of a demand", read(demands.deposit()), governance.demand_deposit),
        _equal("the time for an answer", read(demands.answerWindow()), answer_window(policy, governance)),
        _equal("the token of disputes", read(disputes.token()), place.token),
        _equal("the deposit of a dispute", read(disputes.deposit()), governance.dispute_deposit),
        _equal("the time for a decision", read(disputes.decisionWindow()), governance.unbonding),
        _equal("who decides disputes", read(disputes.governance()), place.timelock),
        _equal("the arbiter's judges", list(read(chain.arbiter.functions.judges())), judges),
    ]
    for judge in judges:
        _equal(f"whether {judge} is a judge", read(chain.arbiter.functions.isJudge(judge)), True)
    return facts


def _verify_tokens(chain: Chain, allocations: Mapping[str, int]) -> list[str]:
    total = sum(allocations.values())
    supply = chain.read(chain.token.functions.totalSupply())
    return [
        _equal("the supply", supply, total, format_amount(total)),
        *(
            _equal(f"the balance of {account}", chain.balance_of(account), amount, format_amount(amount))
            for account, amount in allocations.items()
        ),
    ]


def _verify_admission(chain: Chain, admission: Admission) -> list[str]:
    place, read = chain.deployment, chain.read
    expected = place.members or admission.contract or ZERO_ADDRESS
    shown = "nobody: all may enrol" if expected == ZERO_ADDRESS else None
    facts = [_equal("who admits contributors", read(chain.ledger.functions.admission()), expected, shown)]
    if place.members is None:
        return facts
    listed = members(chain, chain.block_number())
    return [
        *facts,
        _equal("who changes the list of members", read(chain.members.functions.governance()), place.timelock),
        _equal("the list of members", listed, sorted(admission.members), f"as given ({len(listed)})"),
    ]


def _verify_roles(chain: Chain, deployer: str) -> list[str]:
    """Compare everybody who ever got a role, as the events say, with who must have it and nobody else."""
    place = chain.deployment

    def role(name: str) -> bytes:
        return bytes(keccak(text=name))

    expected = {
        ("timelock", role("PROPOSER_ROLE"), place.governor),
        ("timelock", role("CANCELLER_ROLE"), place.governor),
        ("timelock", role("EXECUTOR_ROLE"), ZERO_ADDRESS),
    }
    held: set[tuple[str, bytes, str]] = set()
    for event in scan(chain, place.block, chain.block_number()):
        if isinstance(event, RoleGranted):
            held.add((event.contract, event.role, event.account))
        elif isinstance(event, RoleRevoked):
            held.discard((event.contract, event.role, event.account))
    facts = [_equal("who holds which role", held, expected, f"as designed ({len(expected)} roles)")]
    for contract, name, account in sorted(expected):
        has = chain.read(getattr(chain, contract).functions.hasRole(name, account))
        _equal(f"role 0x{name.hex()[:8]} of {account} in the {contract}", has, True)
    owned = sorted(contract for contract, _, account in held if account == deployer)
    facts.append(_equal("what the deployer holds", owned, [], "no role"))
    return facts


def governance_to_json(governance: Governance) -> dict[str, Any]:
    """Return the options as JSON, amounts as decimal strings."""
    amounts = ("threshold", "demand_deposit", "dispute_deposit")
    return {**asdict(governance), **{name: str(getattr(governance, name)) for name in amounts}}
