# SPDX-License-Identifier: Apache-2.0
"""Reverts as people read them: the custom error by its name, its values, and what to do about it.

Whoever has the bytes of a revert can have it explained. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.errors import ContractRefused
from folkmoot.rpc.generated.errors import ERRORS
from folkmoot.runtime.units import format_amount, format_time

PHASES = ("none", "open", "committed", "anchored", "final", "cancelled", "slashed")
"""Names of `IRoundLedger.Phase`, by value."""

PROPOSAL_STATES = ("pending", "active", "canceled", "defeated", "succeeded", "queued", "expired", "executed")
"""Names of `IGovernor.ProposalState`, by value."""

OPEN_STATES = frozenset({"pending", "active", "succeeded", "queued"})
"""States in which a proposal can still come to something."""

SUPPORTS = ("against", "for", "abstain")
"""Words of the kinds of vote, by value (OpenZeppelin's GovernorCountingSimple)."""

ENUMS = {
    "IRoundLedger.Phase": PHASES,
    "IGovernor.ProposalState": PROPOSAL_STATES,
    "IFraudProofs.Lie": ("mean", "outer step", "update", "weight", "header"),
    "IGramProofs.Lie": ("weight", "root", "leaf", "node"),
    "IContributorFaults.Kind": ("two commitments", "false tree", "replay"),
    "IDataAvailability.What": (
        *("update", "mean", "theta", "momentum"),
        *("header", "verdicts file", "artifacts file"),
    ),
    "IDataAvailability.Status": ("none", "open", "answered", "convicted", "returned"),
    "IModelRegistry.Standing": ("candidate", "released", "recalled"),
    "IDisputes.Status": ("none", "open", "upheld", "dismissed", "returned", "undecided"),
}
"""Names of the values of the contracts' enumerations."""

REMEDIES = {
    # StakeVault
    "StakeVaultZeroAmount": "Give an amount above zero.",
    "StakeVaultInsufficientStake": "Ask for at most the stake that is not locked as bonds (`folkmoot balance`). A bond "
    "is unlocked when its round is over; `folkmoot close` unlocks that of a void round.",
    "StakeVaultTooManyUnbondings": "Withdraw what is released with `folkmoot withdraw`, or wait for the next release.",
    "StakeVaultNothingReleased": "Wait for the next release (`folkmoot balance` shows it); zero: nothing is unbonding.",
    "StakeVaultNotLedger": "Only the ledger slashes, locks bonds and enrols; no vote can change that.",
    "StakeVaultZeroAddress": "Give the address of the account.",
    # Policies
    "PoliciesNotGovernance": "Propose it with `folkmoot propose`: only an executed vote may do this.",
    "PoliciesInvalidPolicy": "Correct the field that the error names and propose the policy again. "
    "`windows`: commit, anchor and challenge window together may not exceed the unbonding time. `bond`: at "
    "least four rewards. `reward`, `bond`, `minStake`, `commitWindow`, `challengeWindow` and `verifier` also have "
    "bounds that the deployment fixed (docs/contracts.md).",
    "PoliciesUnknownPolicy": "Policies are numbered from 1; `folkmoot status` shows the current one.",
    "PoliciesZeroAddress": "Give the address of the timelock.",
    # RoundLedger
    "RoundLedgerNotGovernance": "Propose it with `folkmoot propose`: only an executed vote may do this.",
    "RoundLedgerNotCoordinator": "Only the appointed coordinator may do this: check the key, or vote for another.",
    "RoundLedgerUnexpectedRound": "Another round was opened meanwhile; read the next number and open again.",
    "RoundLedgerWrongBase": "The head moved; start again from the present head.",
    "RoundLedgerMalformedBatch": "A batch has 156 bytes an entry (docs/protocol.md section 6); pack it with "
    "`folkmoot.protocol.batch`.",
    "RoundLedgerRoundStillOpen": "Wait until the open round is anchored or cancelled; anybody may cancel a late one.",
    "RoundLedgerTooManyPending": "Finalize rounds whose challenge window is over first.",
    "RoundLedgerTooFewUpdates": "The round can't be anchored; cancel it and open another.",
    "RoundLedgerWrongPhase": "The round has moved on, or is not there yet; look at its phase with `folkmoot status`.",
    "RoundLedgerTooEarly": "Wait until the time that the error names.",
    "RoundLedgerTooLate": "The window is over; take part in the next round.",
    "RoundLedgerStakeTooLow": "Stake more if need be, and enrol with as much: `folkmoot enrol --stake`.",
    "RoundLedgerAlreadyCommitted": "One commitment a round is all; take part in the next round.",
    "RoundLedgerInvalidSignature": "Sign the commitment with the contributor's own key, for this chain and ledger.",
    "RoundLedgerNotContributor": "Send the commitment from the account that it names.",
    "RoundLedgerNormTooLarge": "The update is larger than the policy allows; train with a lower rate or fewer steps.",
    "RoundLedgerNormTooSmall": "The update lacks the noise that the policy asks for; train with it.",
    "RoundLedgerBudgetSpent": "The account has spent its privacy budget; a vote can raise the policy's cap.",
    "RoundLedgerRoundFull": "Take part in the next round.",
    "RoundLedgerLengthMismatch": "Give one signature per commitment and one weight per entry; as many pays, "
    "or none, as the rule of the policy has them.",
    "RoundLedgerInvalidWeights": "The weights must add up to at least 1 and at most what 32-bit lanes carry.",
    "RoundLedgerInvalidPay": "A pay is at most 65,536, and 0 for an entry whose weight is 0.",
    "RoundLedgerZeroRoot": "Give the root; zero stands for none.",
    "RoundLedgerBaseNotFinal": "Finalize the round that it builds on first.",
    "RoundLedgerNotCancellable": "The round has enough updates and time left; let it go on.",
    "RoundLedgerNotVerifier": "Report fraud through the verifier that the round's policy names.",
    "RoundLedgerRecordMismatch": "Give entries and anchor exactly as the events of the round have them.",
    "RewardsRecordMismatch": "Give entries and anchor exactly as the events of the round have them.",
    "RewardsNotFinal": "Make the round final first: `folkmoot close`.",
    "RewardsZeroAddress": "Give the addresses of the ledger and the token.",
    "RewardsAlreadySettled": "Nothing is left to do: the rewards are credited; take them with `folkmoot "
    "withdraw --rewards`.",
    "RewardsNothingToClaim": "Rewards are credited when a round is final and settled; try again then.",
    "RoundLedgerZeroAddress": "Give the address of the account.",
    "RoundLedgerNotCommitted": "Only who has a commitment in the round can be at fault in it.",
    "RoundLedgerAlreadyReported": "Nothing is left to do: one round costs a contributor its minimum stake once.",
    "RoundLedgerMembersMissing": "Wait for the commitments of the enrolled accounts, or for the end of the window.",
    "RoundLedgerNobodyEnrolled": "Wait for the end of the window. Without an enrolled account it ends early only when "
    "all places are taken.",
    "RoundLedgerNotEnrolled": "To take part, enrol with `folkmoot enrol`. To leave, nothing is left to do.",
    "StakeVaultDrawTooEarly": "Try again in a later block: places are drawn from the hash of the block that the error "
    "names, and a new basis can be noted 257 blocks after the last one.",
    "StakeVaultDrawTooOld": "Call `redraw` of the vault, and open the round in a later block.",
    "StakeVaultSeedKept": "Open a round: its places are drawn as before. Another draw comes with the next anchor, or "
    "one unbonding period after the last basis.",
    "RoundLedgerNoPlace": "More stake is enrolled than the round has places, and this account was not drawn. Take part "
    "in the next round; with more stake enrolled the chance is larger (`folkmoot enrol --stake`).",
    "RoundLedgerEnrolledTooLate": "Take part in the next round: what is enrolled counts in the rounds that open later.",
    "RoundLedgerNotAdmitted": "The federation is closed, and its admission contract must admit the account first. If "
    "that is a list of members, ask somebody with votes to run `folkmoot propose --admit ADDRESS`.",
    "RoundLedgerPlacesLeft": "Wait until all places are taken, or for the end of the window: with more stake enrolled "
    "than places, it ends early only when the round is full.",
    "RoundLedgerNotVoid": "Only a round that was anchored on a round proven wrong has a bond to release, once.",
    "RoundLedgerNotAbsent": "Wait. An account with enough enrolled stake can be removed only after it has missed as "
    "many rounds in a row as the error says.",
    "RoundLedgerNotEmpty": "Wait for the end of the round: it has commitments.",
    # The list of members
    "MemberListNotGovernance": "Propose it: `folkmoot propose --admit ADDRESS` or `--remove ADDRESS`.",
    "MemberListZeroAddress": "Give the address of the account.",
    # The arbiter and its judges
    "ArbiterNotJudge": "Bring the proof to one of the arbiter's judges; the deployment file has them.",
    "ArbiterNotHeld": "Only a round that a dispute holds can be resumed.",
    "ArbiterInvalidJudges": "Give 1 to 16 judges, each once.",
    "JudgeNotAnchored": "Only an anchored round that is not final can be challenged; look at its phase with "
    "`folkmoot status`.",
    "JudgeRecordMismatch": "Give entries, anchor, header and layout exactly as the ledger recorded them.",
    "JudgeWrongPath": "Make leaf and path anew from the files that the round's commitments and anchor name.",
    "JudgeOutOfRange": "Count entries, leaves and levels from 0.",
    "JudgeSize": "Make the proof anew; a value has another number of bytes than the protocol's.",
    "FraudProofsNoFraud": "The anchor is right at this place; an honest coordinator can't be struck.",
    "GramProofsNoFraud": "The anchor is right at this place; an honest coordinator can't be struck.",
    "GramProofsRule": "Use the proof that is made for the round's rule.",
    "GramProofsCount": "The rule is too dear to evaluate on chain for so many updates: open a dispute.",
    "GramProofsExponent": "An exponent is out of its range: `proveHeader` is the way.",
    "GramTreeIndexOutOfRange": "Name a node that the tree has.",
    "GramTreePathLength": "Give one sibling for each level of the tree.",
    "ContributorFaultsNoFault": "What was brought shows no fault; suspicion costs weight, never stake.",
    "ContributorFaultsInvalidSignature": "Give the two commitments with the signatures that the contributor made.",
    "DataAvailabilityTooLate": "Roots and files can be demanded until the end of the regular challenge window; what "
    "is on a shown list, for one answer window after it was shown as well.",
    "DataAvailabilityAlreadyDemanded": "Wait for the answer to that demand: it serves all who want it.",
    "DataAvailabilityEmpty": "Nothing is at this place, as the list shows: choose another one.",
    "DataAvailabilityNotDemandable": "Ask for trees and for files by their own functions, and descend from a list.",
    "DataAvailabilityNotDelivered": "Ask for an update that the anchor says arrived.",
    "DataAvailabilityWrongStatus": "An open demand can be answered or decided, and an answered one descended from.",
    "DataAvailabilityWrongTime": "A demand is answered before its time is up, and convicted after.",
    "DataAvailabilityStillJudged": "Wait until the round is over, or the time for a conviction is.",
    "DataAvailabilityNotOpen": "An update can be delivered within the commit window only.",
    "DataAvailabilityAlreadyDelivered": "Deliver the parts that are missing.",
    "DataAvailabilityInvalidPadding": "Fill up the last leaf of each tensor with the byte 0x80.",
    "DataAvailabilityNotCensored": "Deliver all parts within the commit window; only then may the anchor not leave "
    "the update out.",
    "DataAvailabilityInvalidWindow": "Choose an answer window above zero, at most a fourteenth of the unbonding time.",
    "DisputesNotAnchored": "Only an anchored round that is not final can be disputed.",
    "DisputesTooLate": "A dispute must come within the regular challenge window.",
    "DisputesWrongStatus": "Look at what became of the dispute: after a decision its deposits are final.",
    "DisputesAlreadyJoined": "Your deposit is in this dispute already; wait for the vote.",
    "DisputesNotChallenger": "Name an account that opened or joined the dispute and does not have its deposit back.",
    "DisputesNotGovernance": "Only the voters decide: propose it.",
    "DisputesTooEarly": "Wait until the time for a decision is over.",
    "DisputesInvalidWindow": "Choose a decision window above zero, at most the unbonding time.",
    "LayoutInvalid": "Give eight bytes for each tensor of the manifest.",
    "MerkleSumInvalidByte": "The byte 0x00 stands for no coordinate; encode the update anew.",
    "NodeListsSize": "Give a node for each place of the list, empty ones included.",
    "MerkleTreeIndexOutOfRange": "Name a leaf that the tree has.",
    "OpeningsIndexOutOfRange": "Name a leaf that the tree has.",
    "OpeningsLeafSize": "A leaf has 256 bytes.",
    "OpeningsPathLength": "Give one sibling for each level of the tree.",
    "OpeningsSumTooLarge": "Make the path anew: its sums are more than a tree can have.",
    "ClampedSumSize": "A leaf has 256 bytes, and so have the magnitudes of its coordinates.",
    "ClampedSumWrongHint": "Make the magnitudes of the clamped sum anew from the updates that count.",
    "OuterStepExponentOutOfRange": "Exponents are from -40 to 4.",
    # ModelRegistry
    "ModelRegistryAlreadyRegistered": "Nothing is left to do: the version is registered.",
    "ModelRegistryUnknownVersion": "Name a version that `folkmoot status` lists: a round becomes a version once final.",
    "ModelRegistryNoActiveVersion": "Propose one with `folkmoot propose --version N`.",
    "ModelRegistryNeverActive": "Only a version that was active can be recalled; vote against one that was not.",
    "ModelRegistryRecalled": "A recall is for good: release another version. `folkmoot model VERSION` says why.",
    "ModelRegistryNotLedger": "Finalize the round: the ledger registers its version.",
    "ModelRegistryNotGovernance": "Propose it with `folkmoot propose`: only an executed vote may do this.",
    "ModelRegistryZeroAddress": "Give the address of the account.",
    "ModelRegistryZeroAmount": "Give an amount above zero.",
    "ModelRegistryWarrantyTooSmall": "Put more tokens behind the version, then execute the proposal: `folkmoot model "
    "VERSION --warranty TOKENS`. Anybody may.",
    "ModelRegistryForfeited": "Nobody can answer for this version any more: release another one.",
    "ModelRegistryNoWarranty": "Nothing is left to do. `folkmoot model VERSION` says who has what behind it.",
    "ModelRegistryWarrantyHeld": "Wait until the time that the error names: a warranty stays for its whole period.",
    "ModelRegistryZeroRoot": "Give the state root of the genesis.",
    # MootGovernor
    "GovernorAlreadyCastVote": "One vote a proposal is all, and it can't be changed.",
    "GovernorAlreadyQueuedProposal": "Nothing is left to do: execute it once its delay is over.",
    "GovernorDisabledDeposit": "Send nothing to the governor; the timelock holds what governance owns.",
    "GovernorInsufficientProposerVotes": "Stake more with `folkmoot enrol --stake`, or have more stake delegated to "
    "you. "
    "Stake counts once it has been there for the governor's seasoning time.",
    "GovernorInvalidProposalLength": "Give one value and one call for each target.",
    "GovernorInvalidQuorumFraction": "The quorum is a share of at most 100 percent.",
    "GovernorInvalidSignature": "Sign the vote with the voter's own key.",
    "GovernorInvalidVoteParams": "This governor takes no parameters with a vote.",
    "GovernorInvalidVoteType": "Vote for, against or abstain.",
    "GovernorInvalidVotingPeriod": "The voting period must be above zero.",
    "GovernorNonexistentProposal": "List what there is with `folkmoot proposals`.",
    "GovernorOnlyExecutor": "Only an executed proposal may do this; propose it.",
    "GovernorPreventLateQuorumVoteExtensionTooLarge": "Choose a shorter extension.",
    "GovernorProposalQueueingFailed": "Read the proposal's calls; the timelock refused to queue them.",
    "GovernorProposalQueueingNotRequired": "Execute the proposal directly.",
    "GovernorRestrictedProposer": "The text ends with `#proposer=` and another account, which alone can make this "
    "proposal. Make one of your own: `folkmoot propose` ends its text with your account.",
    "GovernorUnableToCancel": "Only its proposer may cancel a proposal, and only before its vote begins. A guardian "
    "may at any time in its term; `folkmoot status` shows it.",
    "MootGovernorInvalidGuardian": "Give a guardian and its term, or neither.",
    "MootGovernorFixed": "No vote can change how votes are taken; a new deployment can.",
    "MootGovernorNoNewGuardian": "A vote can only remove the guardian: `folkmoot propose --remove-guardian`.",
    "GovernorUnexpectedProposalState": "Look at its state and times with `folkmoot proposals`.",
    # MootTimelock
    "MootTimelockFixed": "No vote can change the delay; a new deployment can.",
    "TimelockInsufficientDelay": "Queue with at least the timelock's delay.",
    "TimelockInvalidOperationLength": "Give one value and one payload for each target.",
    "TimelockUnauthorizedCaller": "Only the timelock itself may do this, by an executed proposal.",
    "TimelockUnexecutedPredecessor": "Execute the operation that comes before first.",
    "TimelockUnexpectedOperationState": "Its delay is not over yet, or it was done before; `folkmoot proposals` shows "
    "when it can be executed.",
    "FailedCall": "What the proposal calls fails; `folkmoot proposals` shows what it would do.",
    # Tokens, votes, roles
    "MootTokenZeroAddress": "Give the address of the minter.",
    "MootTokenNotMinter": "Only the contract of rewards mints (`folkmoot withdraw --rewards`); no vote can change "
    "that.",
    "MootTokenSupplyTooLarge": "At the deployment: give fewer tokens to the first holders. At a claim: claim again "
    "after tokens were burnt.",
    "ERC20InsufficientBalance": "Get more tokens, or give a smaller amount; `folkmoot balance` shows what there is.",
    "ERC20InsufficientAllowance": "Approve the amount for the vault first; `folkmoot enrol --stake` does both.",
    "ERC20InvalidApprover": "Use an account other than zero.",
    "ERC20InvalidReceiver": "Use a receiver other than zero.",
    "ERC20InvalidSender": "Use a sender other than zero.",
    "ERC20InvalidSpender": "Use a spender other than zero.",
    "SafeERC20FailedOperation": "The token refused the transfer; check balance and allowance.",
    "ERC2612ExpiredSignature": "Sign a permit with a later deadline.",
    "ERC2612InvalidSigner": "Sign the permit with the owner's key, for this chain and token.",
    "ERC5805FutureLookup": "Votes are known for the past only; ask a second later.",
    "ERC6372InconsistentClock": "The contract's clock is not the expected one; check the deployment.",
    "VotesExpiredSignature": "Sign the delegation with a later expiry.",
    "InvalidAccountNonce": "Sign again with the account's current nonce.",
    "AccessControlUnauthorizedAccount": "Only an account with this role may do it; roles change by a vote.",
    "AccessControlBadConfirmation": "An account can give up its own roles only.",
    "CheckpointUnorderedInsertion": "The chain's clock went backwards; check the node.",
    "ECDSAInvalidSignature": "Sign again.",
    "ECDSAInvalidSignatureLength": "A signature has 65 bytes.",
    "ECDSAInvalidSignatureS": "Sign again with a library that makes signatures in lower-s form.",
    "SafeCastOverflowedUintDowncast": "Give a smaller number.",
    "StringTooLong": "Give a shorter text.",
    "InvalidShortString": "Give a shorter text.",
    # Solidity's own
    "Error": "Read the reason; if it makes no sense, check the deployment file.",
    "Panic": "This is a defect of the contract or of the call; please report it.",
}
"""What to do about each error, by its name."""

PANICS = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "an invalid enum value",
    0x32: "an index out of bounds",
    0x41: "out of memory",
}
"""Meaning of Solidity's panic codes."""

_AMOUNT_ERRORS = re.compile(
    r"^(StakeVault|ERC20|MootTokenSupplyTooLarge|RoundLedgerStakeTooLow|RoundLedgerNoPlace|GovernorInsufficientProposerVotes)"
)
_AMOUNTS = {
    *("stake", "unlocked", "requested", "required", "balance", "allowance", "needed", "votes", "threshold"),
    *("enrolled", "quota", "supply", "maxSupply"),
}
_TIMES = {
    "time",
    "notBefore",
    "deadline",
    "nextReleaseAt",
    "expiry",
    "until",
    "answerBy",
    "decideBy",
    "since",
    "openedAt",
}
_PREFIX = re.compile(
    r"^(RoundLedger|StakeVault|ModelRegistry|MootToken|Governor|Timelock|AccessControl|ERC20|ERC2612|ERC5805|ERC6372"
    r"|Votes|ECDSA"
    r"|MootGovernor|MootTimelock|MemberList|Policies|Rewards"
    r"|Arbiter|Judge|FraudProofs|GramProofs|ContributorFaults|DataAvailability|Disputes|Openings|ClampedSum)"
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*")


@dataclass(frozen=True, slots=True)
class _Error:
    name: str
    types: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]


def explain(data: bytes | str | None, doing: str = "the call") -> ContractRefused:
    """Turn the bytes of a revert into the refusal that people see.

    Args:
        data: What the call returned when it reverted, bytes or 0x-hex; None or empty if the node says nothing.
        doing: What was refused, for the message, e.g. `stake`.

    Returns:
        The error to raise. Its `details` have `error` (name, None if unknown), `arguments` and `data`.
    """
    raw = _bytes(data)
    known = catalogue().get(raw[:4]) if len(raw) >= 4 else None
    if known is None:
        what = "gave no reason" if not raw else f"gave the unknown error 0x{raw[:4].hex()}"
        return ContractRefused(
            f"The contract refused {doing} and {what}.",
            remedy="Check that the deployment file belongs to this chain and to this release of Folkmoot.",
            details={"error": None, "arguments": {}, "data": "0x" + raw.hex()},
        )
    try:
        values = decode(list(known.types), raw[4:])
    except (DecodingError, OverflowError):
        return ContractRefused(
            f"The contract refused {doing}: {known.name}, with values that can't be read.",
            remedy=REMEDIES.get(known.name, ""),
            details={"error": known.name, "arguments": {}, "data": "0x" + raw.hex()},
        )
    pairs = list(zip(known.inputs, values, strict=True))
    arguments = {entry["name"]: _plain(entry, value) for entry, value in pairs}
    shown = ", ".join(f"{entry['name']} {_human(known.name, entry, value)}" for entry, value in pairs)
    message = f"The contract refused {doing}: {sentence(known.name)}{f' ({shown})' if shown else ''}."
    if known.name == "PoliciesUnknownPolicy":
        message = f"There is no policy {values[0]}."
    return ContractRefused(
        message,
        remedy=REMEDIES.get(known.name, ""),
        details={"error": known.name, "arguments": arguments, "data": "0x" + raw.hex()},
    )


@functools.cache
def catalogue() -> dict[bytes, _Error]:
    """Return every error of the packaged contracts and of Solidity, by its four-byte selector."""
    solidity = {
        "Error": [{"name": "reason", "type": "string"}],
        "Panic": [{"name": "panic", "type": "uint256"}],
    }
    known = {}
    for name, inputs in [*solidity.items(), *ERRORS]:
        types = tuple(entry["type"] for entry in inputs)
        selector = keccak(text=f"{name}({','.join(types)})")[:4]
        known[selector] = _Error(name, types, tuple(inputs))
    return known


def sentence(name: str) -> str:
    """Return an error's name in words: `RoundLedgerStakeTooLow` becomes `stake too low`."""
    rest = _PREFIX.sub("", name) or name
    return " ".join(
        word if word.isupper() and len(word) > 1 else word.lower() for word in _WORDS.findall(rest)
    )


def _bytes(data: bytes | str | None) -> bytes:
    if isinstance(data, bytes):
        return bytes(data)
    try:
        return bytes.fromhex((data or "").removeprefix("0x"))
    except ValueError:
        return b""


def _enum(entry: dict[str, Any], value: Any) -> str | None:
    names: tuple[str, ...] = ENUMS.get(entry.get("internalType", "").removeprefix("enum "), ())
    return names[value] if isinstance(value, int) and value < len(names) else None


def _plain(entry: dict[str, Any], value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if entry["type"] == "address":
        return to_checksum_address(value)
    name = _enum(entry, value)
    if name is not None:
        return name
    # By type, not by value, so that a reader can rely on it.
    return str(value) if entry["type"] in ("uint128", "uint256") else value


def _human(error: str, entry: dict[str, Any], value: Any) -> str:
    name = entry["name"]
    if name == "expectedStates" and error.startswith("Governor") and isinstance(value, bytes):
        bits = int.from_bytes(value, "big")
        return (
            " or ".join(state for place, state in enumerate(PROPOSAL_STATES) if bits >> place & 1) or "none"
        )
    if error == "Panic":
        return PANICS.get(value, f"0x{value:02x}")
    if name in _AMOUNTS and _AMOUNT_ERRORS.match(error) and isinstance(value, int):
        return format_amount(value)
    if name in _TIMES and isinstance(value, int) and value > 0:
        return format_time(value)
    plain = _plain(entry, value)
    if name == "proposalId":
        return str(plain)[:10] + "…"
    return str(plain)
