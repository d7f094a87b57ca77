# SPDX-License-Identifier: Apache-2.0
"""What the interface answers with: camelCase on the wire, amounts and large integers as decimal strings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from folkmoot.coordinator_api import CurrentRound
from folkmoot.explain.reasons import Explanation
from folkmoot.explain.reputation import Reputation
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.parent import Parent
from folkmoot.protocol.policy import Policy
from server.api.codes import CODES
from server.limits import MOST_PATIENCE, MOST_WAIT
from server.waiting import Why

T = TypeVar("T")


class View(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True, from_attributes=True
    )

    @classmethod
    def of(cls, source: object, **others: Any) -> Self:
        """Make it from the attributes of the same names; `others` has those that differ."""
        names = [name for name in cls.model_fields if name not in others and hasattr(source, name)]
        return cls.model_validate({name: getattr(source, name) for name in names} | others)


V = TypeVar("V", bound=View)

Amount = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
"""An integer as a decimal string."""
Hex = Annotated[str, BeforeValidator(lambda value: f"0x{value.hex()}" if isinstance(value, bytes) else value)]
"""Bytes as 0x-hex."""


def made_of(source: type, amounts: Sequence[str] = ()) -> Callable[[type[V]], type[V]]:
    """Give a view the fields of a dataclass, with their docstrings.

    Args:
        source: The dataclass.
        amounts: Its integers that are decimal strings on the wire.
    """
    types = get_type_hints(source)
    (tree,) = ast.parse(inspect.getsource(source)).body
    if not isinstance(tree, ast.ClassDef):
        raise TypeError(f"{source} is no class")
    described = {
        statement.target.id: inspect.cleandoc(str(text.value.value))
        for statement, text in pairwise(tree.body)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }

    def derive(view: type[V]) -> type[V]:
        made: dict[str, Any] = {}
        for field in dataclasses.fields(source):
            if field.name in view.model_fields:
                continue
            kind = Amount if field.name in amounts else types[field.name]
            if (text := described.get(field.name)) is None:
                raise TypeError(f"{source.__name__}.{field.name} has no docstring, which the API needs")
            if field.default is None:
                made[field.name] = kind, Field(None, description=text)
            else:
                made[field.name] = Hex if kind is bytes else kind, Field(description=text)
        return create_model(
            view.__name__, __base__=view, __module__=view.__module__, __doc__=view.__doc__, **made
        )

    return derive


class Page(View, Generic[T]):
    """Part of a list."""

    items: list[T]
    """The items of this page."""
    next_cursor: str | None = None
    """Give it as `cursor` to get the next page; none if this is the last."""


class ProblemView(View):
    """A problem (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    """URI of the kind of problem."""
    title: str
    """The HTTP status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What failed, and why."""
    code: str = Field(json_schema_extra={"enum": [*sorted(CODES)]})
    """Stable identifier of the kind of problem; the description of the document says what each means."""
    remedy: str
    """What to do next."""


class FailingView(View):
    """A background step that fails."""

    step: str
    """Its name: `rounds`, `transactions`, `chain`, ..."""
    error: str
    """What failed when it was last tried."""
    remedy: str
    """What to do about it."""
    since: int
    """Unix time of the first failure in a row."""
    times: int
    """Failures in a row."""


class HealthView(View):
    """State of the coordinator's parts."""

    status: str
    """ok, or degraded if a part is down or a step fails."""
    database: bool
    """Whether the database answers."""
    store: bool
    """Whether the artifact store can be written to."""
    chain: bool
    """Whether the chain answers."""
    indexed_block: int
    """Block up to which events are known."""
    latest_block: int | None
    """The chain's newest block."""
    chain_lag: int | None
    """Blocks between the two."""
    chain_time: int | None
    """The chain's time."""
    coordinator: str
    """Account of this coordinator."""
    code: str | None
    """`chain-rolled-back` while the database goes back with a chain that lost blocks which had their confirmations;
    `deployment-lost` if the contracts are gone with them."""
    error: str | None
    """What went wrong in the last step, and what to do about it."""
    failing: list[FailingView]
    """Background steps that fail: those that failed twice in a row, and defects at once."""
    warnings: list[str]
    """What the operator should know though the work goes on: fees at their ceiling, a node that lags."""
    version: str
    """Release of the software."""


@made_of(
    Policy,
    amounts=("max_sum_squares", "min_sum_squares", "min_stake", "bond", "reward", "privacy_cap"),
)
class PolicyView(View):
    """The rules of a round."""

    id: int
    """Number of the policy."""
    current: bool
    """Whether new rounds pin it."""


class RefusalView(View):
    """An answer that failed a check."""

    round: int
    """Round that it was for."""
    contributor: str
    """Whom the sender claimed to be."""
    authenticated: bool
    """Whether it bore the contributor's signature; if not, anybody may have sent it."""
    reason: str
    """Reason code (docs/protocol.md section 7)."""
    detail: str
    """The reason in words."""
    received_at: datetime
    """When it came, by the clock on the wall."""


@made_of(Explanation)
class ExplanationView(View):
    """A verdict in words."""

    pay: str
    """The pay: its formula with the numbers put in."""


class VerdictView(View):
    """What was decided about one entry of an anchored round, and why."""

    round: int
    """The round."""
    phase: str
    """Phase of the round: anchored (it may still be challenged) or final."""
    position: int
    """Place among the round's entries, from 0."""
    entries: int
    """Number of entries."""
    rule: str
    """Aggregation rule of the round's policy."""
    parameters: list[int]
    """Its parameters."""
    weight: int
    """Weight in the aggregate."""
    largest_weight: int
    """Largest weight of the round."""
    pay_share: int | None
    """What it gets of a full place, in 1/65536; none under a rule that pays by weight."""
    reason: str
    """Reason code (docs/protocol.md sections 7 and 8)."""
    numbers: dict[str, str]
    """The integers behind the verdict."""
    reward: str
    """Most tokens that the policy gives for the round."""
    places: int
    """Shares of the reward: the most contributors that the policy allows."""
    pay: str
    """Tokens for this entry."""
    credited: str | None
    """Tokens that the ledger credited; none before the round is settled."""
    explanation: ExplanationView
    """All of it in words."""


class UpdateView(View):
    """An update of a round, and its verdict."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    round: int
    """Round that it is for."""
    contributor: str
    """Account that committed."""
    status: str
    """received, committed (on the chain), delivered-late, not-delivered, or refused."""
    update_root: str | None = None
    """Root of the update's tree."""
    sum_squares: str | None = None
    """Sum of squares of its integers."""
    memory_hash: str | None = None
    """Hash of the contributor's memory; zero if none."""
    bundle_hash: str | None = None
    """sha256 of the bundle that ran."""
    sha256: str | None = None
    """Name of the file, once it is public."""
    bytes: int | None = None
    """Size of the file."""
    received_at: datetime | None = None
    """When it came, by the clock on the wall."""
    transaction: str | None = None
    """Transaction that recorded the commitment."""
    position: int | None = None
    """Place among the round's entries."""
    weight: int | None = None
    """Weight in the aggregate, once computed."""
    pay_share: int | None = None
    """What it gets of a full place, in 1/65536, once computed; none under a rule that pays by weight."""
    reason: str | None = None
    """Reason code of the verdict or the refusal."""
    detail: str | None = None
    """The reason of a refusal in words."""
    numbers: dict[str, str] | None = None
    """The integers behind the verdict."""


class UpdateDetailView(UpdateView):
    """An update with the refusals that came under the same name."""

    refusals: list[RefusalView]
    """Newest last."""


class CanaryView(View):
    """What the canary said of a round."""

    verdict: str
    """waiting, passed, fell, or missing (no report came in time)."""
    released: bool
    """Whether the operator had it anchored although it fell."""
    evaluator: str
    """Account whose report counts."""
    report: str | None
    """sha256 of the report."""
    signature: str | None
    """The evaluator's EIP-712 signature of `Canary(uint64 round,bytes32 stateRoot,bytes32 report)`."""
    findings: list[str]
    """In what the model fell, in words."""
    report_deadline: int
    """Chain time until which a report is awaited."""


class RoundView(View):
    """A round."""

    round: int
    """Its number."""
    run: str | None
    """Run that it belongs to."""
    phase: str
    """opening, open, committed, anchored, final, cancelled or slashed."""
    step: str
    """What the coordinator does with it now."""
    policy: int
    """Policy that it pins."""
    base: int
    """Round whose state it trains from."""
    base_state_root: str
    """Root of that state."""
    base_state: str
    """sha256 of the base's state file."""
    header: str
    """Encoded header."""
    header_hash: str
    """Its keccak, which is on the chain."""
    exponents: list[int]
    """Exponents of the tensors."""
    opened_at: int | None
    """Chain time of the opening."""
    commit_deadline: int | None
    """Chain time from which no commitment is taken."""
    anchor_deadline: int | None
    """Chain time from which the anchor is late."""
    challenge_deadline: int | None
    """Chain time from which the round may be final."""
    received: int
    """Updates accepted."""
    refused: int
    """Answers refused."""
    entries: int
    """Commitments on the chain, once the window is over."""
    entries_hash: str | None
    """Rolling hash of the entries."""
    weights: list[int] | None
    """One weight an entry, once computed."""
    pays: list[int] | None
    """What each entry gets of a full place, in 1/65536, once computed; empty under a rule that pays by weight."""
    delivered: str | None
    """One bit an entry, in hex: whether its update arrived as it was committed to."""
    mean_root: str | None
    """Root of the mean's tree."""
    state_root: str | None
    """State root after the round."""
    gram_root: str | None
    """Root of the Gram tree, or zeros."""
    verdict_hash: str | None
    """keccak of the verdicts file."""
    artifacts_hash: str | None
    """keccak of the artifacts file."""
    entries_root: str | None
    """Root of the tree over the entries and their weights."""
    mean: str | None
    """sha256 of the mean file."""
    state: str | None
    """sha256 of the new state file."""
    verdicts: str | None
    """sha256 of the verdicts file."""
    artifacts: str | None
    """sha256 of the artifacts file."""
    canary: CanaryView | None
    """What the canary said, if there is one and the round is computed."""
    gas: str
    """Gas that the coordinator spent on the round so far."""
    transactions: dict[str, str]
    """Transactions of the coordinator by what they did."""
    error: str | None
    """What went wrong, if something did."""
    waiting: str | None
    """What it waits for now, and what ends that, in sentences; none if nothing is left to do."""


@made_of(CurrentRound)
class CurrentRoundView(View):
    """The round to train for."""


class AcceptedView(View):
    """An update was taken in."""

    status: str = "accepted"
    """Always accepted."""
    new: bool
    """False if the same update had been accepted before."""
    acknowledgement: str | None
    """The coordinator's signature that it had the update in the commit window (docs/protocol.md section 11.4).

    Null if the update came later."""


class UploadView(View):
    """How much of an update has arrived."""

    offset: int
    """Bytes of the plain file that have arrived; the next try goes on there."""
    size: int
    """Bytes of the whole file."""
    accepted: bool
    """Whether the update was taken in already."""
    acknowledgement: str | None
    """As in the answer to an update, if it was taken in."""


class ContributorView(View):
    """An account with stake, or one that contributed."""

    address: str
    """The account."""
    name: str
    """Its name in the words of the operator; empty if the operator gave none."""
    stake: str
    """Its stake now."""
    member: int
    """Its member number, 0 if it never staked."""
    rounds: int
    """Rounds with a commitment of it."""
    weighted: int
    """Rounds in which it got a weight above 0."""
    refusals: int
    """Refused answers that bore its signature."""
    rewards: str
    """Tokens credited to it."""


@made_of(Reputation, amounts=("earned", "pending"))
class ReputationView(View):
    """What the verdicts on an account add up to, over the anchored rounds that this coordinator led."""

    standing: int
    """From 0 to 1024 (docs/protocol.md section 17). It changes neither weights nor stake."""
    left_out: dict[str, int]
    """Rounds in which it got the weight 0, by reason code."""


class HistoryView(View):
    """One round of a contributor."""

    round: int
    """The round."""
    weight: int | None
    """Weight, once computed."""
    pay_share: int | None
    """What it gets of a full place, in 1/65536, once computed; none under a rule that pays by weight."""
    reason: str | None
    """Reason code of the verdict."""
    numbers: dict[str, str] | None
    """The integers behind it."""
    reward: str | None
    """Tokens credited for the round."""


class ContributorDetailView(ContributorView):
    """A contributor with its history."""

    claimable: str
    """Tokens credited and not yet taken."""
    privacy_spent: str
    """What it has spent of its privacy budget, in units of 2^-32 of rho."""
    privacy_rounds_left: int | None
    """Rounds for which its budget is enough under the current policy; null if that asks for no noise."""
    reputation: ReputationView
    """What its verdicts add up to; each is explained at `/v1/contributors/{address}/verdicts`."""
    history: list[HistoryView]
    """Its latest hundred rounds, newest first."""
    refused: list[RefusalView]
    """The latest hundred refusals under its name, newest first."""


class VersionView(View):
    """A version of the model."""

    version: int
    """Its number: the round that made it."""
    parent: int
    """Version that it was trained from."""
    state_root: str
    """Its state root."""
    status: str
    """active; candidate: no vote made it active; released: it was active before; or recalled."""
    recalled: bool
    """Whether a vote recalled it: do not use it."""
    warranty: str
    """Units of 1e-18 tokens that answer for it: a vote takes them if it does harm."""
    report_hash: str | None
    """sha256 of the evaluation report that the voters saw, if it was ever made active."""
    state: str | None
    """sha256 of its state file."""
    transaction: str
    """Transaction that registered it."""
    sites: int
    """Number of sites that have measured it on their own examples."""
    download: str
    """Where its safetensors file is."""


class VoteView(View):
    """A vote."""

    voter: str
    """Who voted."""
    support: str
    """for, against or abstain."""
    votes: str
    """Its weight: the voter's stake at the snapshot."""
    reason: str
    """What the voter said."""


class ProposalView(View):
    """A proposal."""

    id: str
    """Its number."""
    proposer: str
    """Who proposed it."""
    description: str
    """What it says."""
    state: str
    """pending, active, canceled, defeated, succeeded, queued, expired or executed."""
    vote_start: int
    """Chain time at which stake counts and the vote begins."""
    vote_end: int
    """Chain time at which it ends."""
    votes_for: str
    """Votes for."""
    votes_against: str
    """Votes against."""
    votes_abstain: str
    """Votes to abstain."""
    quorum: str
    """Votes for and abstained that it needs; before the vote, what it would be now."""
    eta: int | None
    """Chain time from which it can be executed, once it is queued."""
    targets: list[str]
    """Contracts that it calls."""
    values: list[str]
    """Wei that go with each call."""
    calldatas: list[str]
    """What it calls them with."""
    transaction: str
    """Transaction that proposed it."""


class ProposalDetailView(ProposalView):
    """A proposal with its votes."""

    votes: list[VoteView]
    """In the order of the chain."""


class StoredView(View):
    """A file was stored."""

    sha256: str
    """Its name."""


class CanaryTakenView(View):
    """A canary report was taken in."""

    sha256: str
    """Name of its file."""
    new: bool
    """False if it was there before."""
    fell: bool
    """Whether the model fell, so that the round is withheld."""


class ReleaseRequest(View):
    """A wish to anchor a withheld round, signed by the coordinator's account."""

    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")
    """EIP-712 signature of `Release(uint64 round,bytes32 stateRoot)`."""


class WishRequest(View):
    """A wish to delete one's update files, signed by the contributor."""

    contributor: str = Field(pattern="^0x[0-9a-fA-F]{40}$")
    """The account that committed them."""
    last_round: int = Field(ge=1, le=2**53 - 1)
    """The files of rounds up to this one are meant."""
    signature: str = Field(pattern="^0x(?:[0-9a-f]{2}){1,2048}$")
    """EIP-712 signature of `DeleteUpdates(address contributor,uint64 lastRound)`, of the account's key or one that its
    contract accepts."""


class WishView(View):
    """The wish that is kept of an account."""

    contributor: str
    """The account."""
    last_round: int
    """The files of rounds up to this one are deleted, each as soon as nothing on the chain can need it."""


NodeNumber = Annotated[str, Field(pattern="^[0-9]{1,20}$")]
Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text."""
Real = Annotated[float, Field(allow_inf_nan=False)]
Measured = Annotated[dict[str, Real], Field(max_length=64)]
"""Numbers by name."""


class NodeReport(View):
    """The state of one node in a round."""

    node: NodeNumber
    """Flower's number of the node, a decimal string."""
    account: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{40}$")
    """The contributor whose update it sent, if it sent one."""
    state: Literal["asked", "answered", "refused", "failed"]
    """asked; answered: its update was accepted; refused: the coordinator refused it; failed: it sent none."""
    code: str = Field(default="", max_length=32, pattern="^[a-z0-9-]*$")
    """Why it was refused or failed, a stable word; empty otherwise."""
    detail: Line = ""
    """The same in words of the node or the coordinator."""
    seconds: Real | None = None
    """Seconds from the question to the accepted answer."""


class RoundMetrics(View):
    """What the app measured: a mean over nodes, each counted once, or a number of the ServerApp's own."""

    train: Measured | None = None
    """While the nodes trained in this round."""
    evaluate: Measured | None = None
    """By nodes, on the model that the round made."""
    server: Measured | None = None
    """By the ServerApp, on the model that the round made."""


class ReportContent(View):
    """What the operator says of the nodes of a round."""

    round: int = Field(ge=0, le=2**53 - 1)
    """Number of the round."""
    complete: bool
    """Whether every node that was asked has answered, been refused or failed."""
    nodes: list[NodeReport] = Field(max_length=10_000)
    """The nodes, each once."""
    metrics: RoundMetrics
    """What was measured."""


class ReportRequest(ReportContent):
    """A report, signed by the coordinator's account."""

    deadline: int = Field(ge=0, le=2**53 - 1)
    """Unix time on the wall until which it may be handed in; not below that of the report before."""
    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")
    """EIP-712 signature of `Report(uint64 round,bytes32 digest,uint64 deadline)`; the digest is the sha256 of the
    canonical JSON of the rest."""


class ReportView(ReportContent):
    """The newest report of the operator on a round. Nobody can check it, and no update depends on it."""

    received_at: datetime
    """When it came."""


class ReportTakenView(View):
    """The report was taken."""

    round: int
    """Number of the round."""


class RunRequest(View):
    """A wish for a run, signed by the coordinator's account."""

    rounds: int = Field(ge=1, le=1_000_000)
    """Rounds to open."""
    expect: int = Field(ge=1, le=65_535)
    """Contributors after whose answers a round need not wait any longer."""
    patience: int = Field(default=0, ge=0, le=MOST_PATIENCE)
    """Seconds for which rounds that are cancelled in a row are tried again."""
    wait: int = Field(default=0, ge=0, le=MOST_WAIT)
    """Seconds for which no round is opened, unless `POST /v1/runs/{run}/begin` ends the wait."""
    salt: str = Field(pattern="^[0-9a-f]{32}$")
    """16 random bytes: two requests with the same numbers in one second start two runs."""
    deadline: int = Field(ge=0, le=2**53 - 1)
    """Unix time on the wall until which the signature is good."""
    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")
    """EIP-712 signature of `Run(uint32 rounds,uint32 expect,uint32 patience,uint32 wait,bytes16 salt,uint64 deadline)`.
    """


class BeginRunRequest(View):
    """A wish to end the wait at the beginning of a run, signed by the coordinator's account."""

    deadline: int = Field(ge=0, le=2**53 - 1)
    """Unix time on the wall until which the signature is good."""
    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")
    """EIP-712 signature of `BeginRun(bytes16 run,uint64 deadline)`."""


class EndRunRequest(View):
    """A wish to end a run, signed by the coordinator's account."""

    reason: str = Field(min_length=1, max_length=300)
    """Why the run ends."""
    deadline: int = Field(ge=0, le=2**53 - 1)
    """Unix time on the wall until which the signature is good."""
    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")
    """EIP-712 signature of `EndRun(bytes16 run,string reason,uint64 deadline)`."""


class CheckView(View):
    """Something that a run needs, and whether it is there."""

    check: str
    """What was looked at."""
    state: str = Field(json_schema_extra={"enum": ["ok", "warning", "failed"]})
    """failed if a run should not be started."""
    text: str
    """What was found, a sentence or more."""
    remedy: str
    """What to do about it; empty if nothing is to be done."""


class RunIdView(View):
    """A run was started."""

    id: str
    """Its identifier."""


class WaitView(View):
    """Something that is waited for."""

    code: str = Field(json_schema_extra={"enum": [*sorted(map(str, Why))]})
    """Stable identifier of the reason."""
    round: int | None
    """Round that waits; none if it is no round."""
    message: str
    """What is waited for, a sentence or two."""
    remedy: str
    """What ends it, or ends it sooner; empty if nothing is to be done."""
    until: int | None
    """Unix time at which it ends by itself, the chain's, and for `cancelled-rounds` and `nodes` on the wall; none if
    nobody knows."""
    normal: bool
    """Whether it belongs to every round. If not, somebody should know of it."""


class RunView(View):
    """A run."""

    id: str
    """Its identifier."""
    state: str
    """running, done or failed."""
    rounds: int
    """Rounds asked for."""
    completed: int
    """Rounds anchored."""
    expect: int
    """Contributors after whose answers a round need not wait any longer."""
    error: str | None
    """Why it failed."""
    patience: int
    """Seconds for which rounds that are cancelled in a row are tried again."""
    cancelled: int
    """Rounds in a row that were cancelled."""
    next_round_at: int | None
    """Unix time on the wall before which no round is opened: nodes are waited for, or rounds were cancelled; none if
    one may be."""
    waiting: str | None
    """What the run waits for now, and what ends that, in sentences; none if it is over or does not wait."""
    waits: list[WaitView]
    """The same, each reason with its code; the first is the one of `waiting`."""


class IndexView(View):
    """A short index: the answer of `/` to programs."""

    name: str
    """Always folkmoot."""
    version: str
    """Release of the software."""
    status: str
    """ok, or degraded if a part is down."""
    task: str
    """Task that the model is for."""
    chain_id: int
    """EIP-155 id of the chain."""
    ledger: str
    """RoundLedger."""
    coordinator: str
    """Account of this coordinator."""
    round: int | None
    """The newest round; none before the first."""
    phase: str | None
    """Its phase."""
    run: RunView | None
    """The newest run."""
    active_version: int | None
    """The active version; none before the first vote, or if all are recalled."""
    links: dict[str, str]
    """Where the rest is, by name."""


@made_of(Parent)
class ParentView(View):
    """The version of another federation with whose state this one starts."""


@made_of(Deployment)
class DeploymentView(View):
    """The addresses of the federation: deployment.json."""

    parent: ParentView | None = None
    """The version of another federation with whose state this one starts; none if it has none."""
