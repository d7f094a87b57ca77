# SPDX-License-Identifier: Apache-2.0
"""A federation in one process, with attackers in it: the real codec, commitments, checks and `compute_round`.

Not simulated is what no attack of a drill touches: the chain and signatures (``chain`` has both). A drill is a function
of its plan. This module knows no command line and reads no file: the workload has the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np

from folkmoot.aggregation.cosines import UNIT as COSINE_UNIT
from folkmoot.aggregation.form import sum_of
from folkmoot.aggregation.interface import Gram, Weighted
from folkmoot.aggregation.lineage import Lineage, PastRound, Published
from folkmoot.aggregation.pay import WeighedRound, pays
from folkmoot.aggregation.references import Reference, ReferencedFacts, ReferenceKind, Windows
from folkmoot.aggregation.registry import rule, uses
from folkmoot.aggregation.trajectory import WINDOW, TrajectoryUpdate, trajectory_update
from folkmoot.aggregation.weighted_sum import aggregate_of, check_weights
from folkmoot.aggregation.windows import scaled
from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32, F64, I64
from folkmoot.protocol.codec import EncodedUpdate, encode_update
from folkmoot.protocol.commitment import Commitment, checksum_address
from folkmoot.protocol.fixed_point import LEAF, to_float32
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_leaves, mean_of
from folkmoot.protocol.merkle import MEAN, leaf_hashes, tree
from folkmoot.protocol.outer_step import UNIT as OUTER_UNIT
from folkmoot.protocol.outer_step import eager_start
from folkmoot.protocol.packing import ZERO, check_width, largest
from folkmoot.protocol.policy import CLAMPED_MEAN, MEAN_SCALES, MEAN_SQUARE_CAPS, Policy
from folkmoot.protocol.rewards import FULL_PAY, payments
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_base, check_norm
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.protocol.verdict import Reason
from folkmoot.round import RoundOutcome, compute_round, step_leaves
from folkmoot.tasks.pace import BASE, EAGER
from folkmoot_lab import rules
from folkmoot_lab.simulation.attacks import attack
from folkmoot_lab.simulation.network import Network, softmax
from folkmoot_lab.simulation.scene import ALL, PublishedRound, Scene, Tried, Trigger

rules.register()

ROOTS = ("none", "good", "biased")
"""Root sets: none, one of every class, one of half of the classes."""

REWARD = 10 * 10**18
"""Tokens (1e-18) for a round, as in the demo."""

LAST_ROUNDS = 3
"""Number of last rounds over which accuracy and backdoor of a drill are averaged."""

_FIRST_EXPONENT = -12
_WINDOW = 60  # seconds of the policy's windows, which nothing here waits for
_COORDINATOR = "0x" + "00" * 19 + "01"


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled examples."""

    inputs: F32
    """float32[m, d]."""
    labels: I64
    """int64[m]."""

    def pick(self, places: I64) -> tuple[F32, I64]:
        """Examples at places of any shape."""
        return self.inputs[places], self.labels[places]


@dataclass(frozen=True, eq=False)
class Workload:
    """Model and data of a drill, from the caller, so that this library needs no data sets."""

    name: str
    """Name for people."""
    network: Network
    """Shape of the model."""
    train: Examples
    """Split among the contributors."""
    root: Examples
    """The coordinator's own examples, of every class."""
    test: Examples
    """Test examples, which no contributor has."""
    split: Callable[[int, int], Sequence[I64]]
    """From contributors and seed to the places of each contributor's examples in ``train``."""
    image: tuple[int, int]
    """Rows and columns of an example, for the triggers."""
    rate: float = 0.2
    """Learning rate."""
    steps: int = 5
    """Local steps."""
    batch: int = 32
    """Examples of a step."""


@dataclass(frozen=True)
class Plan:
    """One drill.

    Raises:
        InputError: On construction, when it can't be run.
    """

    rule: str = "mean"
    """Name of the aggregation rule."""
    parameters: tuple[int, ...] = ()
    """Its parameters."""
    attack: str = "none"
    """Name of the attack."""
    strength: float | None = None
    """Of the attack; None takes its default."""
    contributors: int = 20
    """All contributors, n."""
    malicious: int = 6
    """Attackers among them, f; none of them attacks if the attack is ``none``."""
    rounds: int = 25
    """Rounds."""
    root: str = "none"
    """One of ROOTS."""
    seed: int = 0
    """Seed of all randomness."""
    rare: tuple[int, int] | None = None
    """A class that only some honest contributors hold, and how many; the workload's split must be so."""
    width: int = 8
    """Bits of an encoded coordinate."""
    feedback: bool = False
    """Whether updates take up what a contributor's earlier ones left out (docs/protocol.md section 5.1). Those of
    attackers do not."""
    start: str = BASE
    """Where contributors train from: the round's ``base``, or the ``eager`` start of their last update
    (docs/protocol.md section 9.1). Attackers take that of what they trained, whatever they sent. The root-set update
    is from the base."""
    outer_rate: int = OUTER_UNIT
    """The policy's rate, in 1/1024."""
    outer_momentum: int = 0
    """The policy's momentum, in 1/1024."""

    def __post_init__(self) -> None:
        check_width(self.width)
        feedback.settings(self.feedback, self.width)
        attack(self.attack)
        rule(self.rule)
        if not 0 <= self.malicious < self.contributors or self.rounds < 1:
            raise InputError(
                f"{self.malicious} attackers among {self.contributors} contributors in {self.rounds} rounds "
                "make no drill.",
                remedy="There must be an honest contributor and a round.",
            )
        if self.root not in ROOTS:
            raise InputError(
                f"There is no root set {self.root!r}.", remedy=f"Root sets are {', '.join(ROOTS)}."
            )
        if self.start not in (BASE, EAGER):
            raise InputError(
                f"There is no start {self.start!r}.", remedy=f"Contributors start from {BASE} or {EAGER}."
            )
        if self.rare is not None:
            object.__setattr__(self, "rare", tuple(self.rare))  # a list, if it was read from JSON
            if not 1 <= self.rare[1] <= self.contributors - self.malicious or self.rare[0] < 0:
                raise InputError(
                    f"Class {self.rare[0]} can't be held by {self.rare[1]} of "
                    f"{self.contributors - self.malicious} honest contributors.",
                    remedy="At least one honest contributor holds it, and none that attacks.",
                )


@dataclass(frozen=True)
class Outcome:
    """Results of a drill. Shares are from 0 to 1."""

    accuracy: float
    """On the test set, mean of the last rounds."""
    backdoor: float | None
    """Share of triggered test examples that go to the attackers' class, mean of the last rounds."""
    detected: float | None
    """Share of the attackers' updates with weight 0; None without attackers."""
    honest_dropped: float
    """Share of the honest updates with weight 0."""
    worst_honest_dropped: float
    """The largest such share of one contributor."""
    honest_weight_lost: float
    """How much less than an equal part of the weight the honest contributors had together."""
    attacker_reward: float | None
    """Mean over attackers and rounds of what a round pays, relative to the honest mean. Where honest contributors
    earn little it can be above 1, although no attacker gains by that: see ``attacker_pay``."""
    attacker_pay: float | None
    """The same relative to an equal share of the reward, the most that a round pays anybody: at most 1."""
    honest_pay: float
    """Mean over honest contributors and rounds of what a round pays, relative to an equal share of the reward."""
    least_honest_pay: float
    """The same of the honest contributor who is paid least."""
    curve: tuple[float, ...] = field(repr=False)
    """Accuracy after each round."""
    recall: tuple[float, ...] = field(default=(), repr=False)
    """Share of each class's test examples that are found, mean of the last rounds."""
    rare_recall: float | None = None
    """The same for the rare class; None in a drill without one."""
    holders_dropped: float | None = None
    """Share of the updates with weight 0 of those who hold the rare class."""
    holders_pay: float | None = None
    """Mean over them and over rounds of what a round pays, relative to an equal share of the reward."""
    slashed: int = 0
    """Stake lost: statistics never slash, and a drill's attackers break no protocol."""

    def to_json(self) -> dict[str, Any]:
        """JSON types, numbers rounded to 4 digits."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, float):
                values[name] = round(value, 4)
            elif isinstance(value, tuple):
                values[name] = [round(one, 4) for one in value]
            else:
                values[name] = value
        return values


@dataclass(frozen=True, eq=False)
class Sent:
    """An update as its contributor sends it."""

    commitment: Commitment
    """What its contributor says of it."""
    update: MemoryUpdate
    """Its bytes."""
    signature: bytes = b""
    """Empty in a drill without a chain."""


@dataclass(eq=False)
class Run:
    """A drill in progress; ``run`` does all of it."""

    workload: Workload
    """Model and data."""
    plan: Plan
    """The plan."""
    declared: ClassVar[Mapping[str, Any]] = {}
    """The manifest's training settings."""

    def __post_init__(self) -> None:
        plan = self.plan
        self.attack = attack(plan.attack)
        self.strength = self.attack.strength if plan.strength is None else plan.strength
        self.attackers = 0 if plan.attack == "none" else plan.malicious
        self.rng = np.random.default_rng([plan.seed, 1])
        self.attack_rng = np.random.default_rng([plan.seed, 2])
        self.rule = rule(plan.rule)
        start = self.workload.network.initial(plan.seed)
        self.manifest = Manifest.from_arrays("drill", start, self.declared)
        self.state = State.genesis(self.manifest, start)
        self.roots = [self.state.root(self.manifest.hash)]  # of the rounds' bases, in order
        self.policy = Policy(
            rule=plan.rule,
            parameters=plan.parameters,
            max_sum_squares=MEAN_SQUARE_CAPS[plan.width] * self.manifest.elements,
            min_contributors=1,
            max_contributors=plan.contributors + 1,  # the root-set update is an entry too
            width=plan.width,
            rate=plan.outer_rate,
            momentum=plan.outer_momentum,
            commit_window=_WINDOW,
            anchor_window=_WINDOW,
            challenge_window=_WINDOW,
            min_stake=0,
            bond=0,
            reward=REWARD,
            mean_scale=MEAN_SCALES[plan.width],
        )
        self.coordinator = _COORDINATOR
        self.exponents: tuple[int, ...] = (_FIRST_EXPONENT,) * len(self.manifest.tensors)
        honest = plan.contributors - self.attackers
        self.shares = list(self.workload.split(plan.contributors, plan.seed))
        if self.attack.data == "one":
            self.shares[honest:] = [self.shares[honest]] * self.attackers
        if plan.rare is not None:
            self._check_rare(*plan.rare)
        # Entry order is commit order: attackers are first, or last where they have to see something before.
        self.honest_places = (
            list(range(honest)) if self.attack.late else list(range(self.attackers, plan.contributors))
        )
        self.attacker_places = sorted(set(range(plan.contributors)) - set(self.honest_places))
        self.order = np.array(self.honest_places + self.attacker_places)
        self.weights: list[list[int]] = []
        self.paid: list[list[int]] = []  # of each round, in units of 1e-18 tokens
        self.results: list[list[Weighted]] = []
        self.curve: list[float] = []
        self.recalls: list[F64] = []
        self.backdoors: list[float] = []
        self.earlier_own: F32 | None = None
        self.earlier_sent: F32 | None = None
        self.exact = False  # whether the attackers' updates are integers already
        self.memory: dict[str, Any] = {"trigger": self._patch()}  # the attackers'
        self.published: list[PublishedRound] = []  # as ``past``, for the attackers
        self.sent: F32 | None = None  # the updates of the last round, in entry order
        self.model = self.state.to_float32()  # the base of the next round
        self.starts: F32 | None = None  # the eager starts of the next round, the honest in front
        self.states: list[State] = []  # the last bases, the oldest first
        self.past: list[PastRound] = []  # the rounds of the lineage, the oldest first
        self.last_mean: F32 | None = None
        self.residuals: dict[str, F32] = {}  # by account, with error feedback

    def run(self, progress: Callable[[int, int], None] | None = None) -> Outcome:
        """Run all rounds.

        Args:
            progress: Called after each round with how many are done and how many there are.
        """
        for number in range(self.plan.rounds):
            self.round(number)
            if progress is not None:
                progress(number + 1, self.plan.rounds)
        return self.outcome()

    # A round

    def round(self, number: int) -> None:
        """Train, attack, aggregate."""
        flat = self.model
        starts = flat if self.starts is None else self.starts
        trained = self._train(self._unflatten(starts), starts)
        honest = trained[: len(self.honest_places)]
        own = trained[len(self.honest_places) :]
        if self.attack.data == "planted":
            own = np.repeat(self._plant()[None], self.attackers, axis=0)
        elif self.attack.data == "none":
            own = np.zeros_like(own)
        root = self._train_root(self._unflatten(flat), flat)
        sent = trained
        if self.attackers:
            made = self.attack.send(self.scene(number, honest, own, root))
            self.exact = np.issubdtype(made.dtype, np.integer)
            self.earlier_own = own
            self.earlier_sent = np.asarray(made * self._steps() if self.exact else made, dtype=np.float32)
            sent = np.concatenate([honest, self.earlier_sent])
        updates = np.empty_like(sent)
        updates[self.order] = sent
        self.sent = updates
        self.model = self.aggregate(number, updates, root)
        self.last_mean = np.asarray(flat - self.model, dtype=np.float32)
        weights = [self.weights[-1][place] for place in self.order] if self.weights else []
        full = REWARD // self.plan.contributors
        pays = [self.paid[-1][place] / full for place in self.order] if self.paid else []
        self.published = [
            *self.published,
            PublishedRound(shown(flat), shown(self.sent[self.order]), weights, pays),
        ][-WINDOW:]
        self._test()

    def scene(self, number: int, honest: F32, own: F32, root: F32 | None) -> Scene:
        """Return what the attackers know in a round; arguments as in ``Scene`` and ``aggregate``."""
        knows_all = self.attack.knows == ALL
        shares = self.shares if knows_all else self.shares[len(self.honest_places) :]
        return Scene(
            self.attack.knows,
            number,
            self.plan.rounds - 1 - number,
            shown(self.model),
            self.manifest,
            self._steps(),
            largest(self.plan.width),
            self.policy.max_sum_squares,
            self.workload.network.classes,
            shown(own),
            self.earlier_own,
            self.earlier_sent,
            self.attack_rng,
            self.strength,
            self.memory,
            self.gradient,
            self.loss_of,
            self.attackers,
            shown(honest),
            root if root is None else shown(root),
            self.published,
            None if self.attack.data == "none" else self.workload.train.pick(np.concatenate(shares)),
            self.prepare,
        )

    def gradient(self, flat: F32, inputs: F32, labels: I64) -> F32:
        """float32[d]: the gradient of the mean loss on some examples."""
        model = self.workload.network.train(self._unflatten(flat), [(inputs[None], labels[None])], 1.0)
        return np.asarray((flat - self._flatten(model))[0], dtype=np.float32)

    def loss_of(self, flat: F32, inputs: F32, labels: I64) -> float:
        """Mean loss of a model on some examples."""
        scores = self.workload.network.scores(self._unflatten(flat), inputs)
        chances = softmax(scores)[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chances, 1e-9)).mean())

    def aggregate(self, number: int, updates: F32, root: F32 | None) -> F32:
        """Play a round: encode, commit, check, compute. Override it for another aggregation.

        Args:
            number: The round, from 0 on.
            updates: float32[n, d] in the order of entries; an update is start minus end.
            root: float32[d], the root-set update, if there is one.

        Returns:
            float32[d], the next model.
        """
        header, flat = self.header(number), self.model
        accounts = [self.account_of(place, number) for place in range(len(updates))]
        refused: dict[str, Reason] = {}
        entries = []
        for place, (account, update) in enumerate(zip(accounts, updates, strict=True)):
            honest, claim = place in self.honest_places, self.claim(place, number)
            sent = self.send(header, flat, update, account, claim, honest=honest)
            try:
                self.check(header, place, sent)
                entries.append(sent)
            except UpdateRefused as error:
                refused[account] = Reason(error.code)
        if root is not None:
            claim = (header.round, header.base_state_root)
            entries.append(self.send(header, flat, root, self.coordinator, claim, honest=True))
        outcome = self.compute(header, entries)
        verdicts = {verdict.contributor: verdict for verdict in outcome.verdicts.verdicts}
        results = [
            Weighted(0, refused[account])
            if account in refused
            else Weighted(verdicts[account].weight, verdicts[account].reason, verdicts[account].numbers)
            for account in accounts
        ]
        self.results.append(results)
        self.weights.append([result.weight for result in results])
        pays = [verdicts[who].pay or 0 if who in verdicts else 0 for who in accounts]
        parts = pays if outcome.anchor.pays else []
        self.paid.append(payments(REWARD, self.plan.contributors, self.weights[-1], parts))
        commitments, given = [one.commitment for one in entries], [one.update for one in entries]
        self.past = [*self.past, PastRound.of(header, commitments, given, self.coordinator)][-WINDOW:]
        found = {one.commitment.contributor: one.update for one in entries}
        steps = self._steps()
        self.sent = np.zeros_like(updates)
        for place, account in enumerate(accounts):
            if account in found:
                read = found[account].read(0, self.manifest.leaves).reshape(-1)
                self.sent[place] = (read.astype(np.float32) - ZERO) * steps
        self.states = [*self.states, self.state][-WINDOW:]
        self.state = outcome.state
        self.roots.append(outcome.state_root)
        self.exponents = outcome.next_exponents
        if self.plan.start == EAGER:
            self.starts = self._eager_starts(header, flat)
        return self.state.to_float32()

    def send(
        self,
        header: RoundHeader,
        flat: F32,
        update: F32,
        account: str,
        claim: tuple[int, bytes],
        *,
        honest: bool,
    ) -> Sent:
        """Encode an update, and commit to it; ``claim`` has the round and the base of the commitment."""
        fits = honest or self.attack.fits
        encoded = self.encoded(header, flat, update, account, honest=honest, fits=fits)
        commitment = Commitment(account, *claim, encoded.root, encoded.sum_squares)
        return Sent(commitment, MemoryUpdate(encoded.data, header.width))

    def check(self, header: RoundHeader, place: int, sent: Sent) -> None:
        """Check a commitment, as a coordinator does before it becomes an entry.

        Raises:
            UpdateRefused: It is for another round or base, or its update is too large.
        """
        check_base(sent.commitment, header)
        check_norm(sent.commitment, self.policy)

    def compute(self, header: RoundHeader, entries: Sequence[Sent]) -> RoundOutcome:
        """Compute a round from its entries.

        Where the rule has an aggregate of its own, the next state is that of this aggregate, and anchored as such. The
        artifacts and the trees stay those of the weighted sum: nothing of a drill reads them.
        """
        outcome = compute_round(
            self.manifest,
            header,
            self.policy,
            self.state,
            [one.commitment for one in entries],
            [one.update for one in entries],
            coordinator=self.coordinator,
            lineage=Lineage(tuple(self.past), self.states[0] if self.states else None),
        )
        if self.plan.rule not in rules.AGGREGATES:
            return outcome
        aggregate, total = self._sum_by_rule([one.update for one in entries], outcome.weights)
        mean = mean_leaves(mean_of(aggregate, total, self.policy.mean_scale))
        part = step_leaves(self.manifest, header, self.policy, self.state, mean, 0)
        state = State(part.theta, part.momentum)
        anchor = replace(
            outcome.anchor,
            mean_root=tree(MEAN, leaf_hashes(MEAN, mean)).root,
            state_root=state.root(self.manifest.hash),
        )
        return replace(outcome, anchor=anchor, state=state)

    def _sum_by_rule(self, updates: Sequence[MemoryUpdate], weights: Sequence[int]) -> tuple[I64, int]:
        """Return the aggregate of the plan's rule, int64[256 leaves], and what it is divided by."""
        leaves, own = self.manifest.leaves, rules.AGGREGATES.get(self.plan.rule)
        if own is None:
            total = check_weights(weights)
            return aggregate_of(sum_of(self.plan.rule)(updates, weights, 0, leaves), total), total
        included = [update for update, weight in zip(updates, weights, strict=True) if weight]
        rows = np.stack([update.read(0, leaves).reshape(-1) for update in included])
        return own(rows, self.plan.parameters)

    def _eager_starts(self, header: RoundHeader, flat: F32) -> F32:
        """float32[n, d]: where everybody trains on from after a round, the honest in front, then the attackers.

        Args:
            header: Header of the round.
            flat: float32[d], its base.
        """
        base, number = self.states[-1], header.round - 1
        updates = dict(zip(self.past[-1].contributors, self.past[-1].updates, strict=True))
        own = () if self.earlier_own is None else self.earlier_own
        for place, update in zip(self.attacker_places, own, strict=True):
            account = self.account_of(place, number)
            trained = self.encoded(header, flat, update, account, honest=False)
            updates[account] = MemoryUpdate(trained.data, header.width)
        of_leaf = np.array(header.exponents, dtype=np.int64)[self.manifest.tensor_of_leaf]
        starts = np.repeat(flat[None], len(self.order), axis=0)
        for start, place in zip(starts, self.order.tolist(), strict=True):
            if (known := updates.get(self.account_of(place, number))) is not None:
                theta = eager_start(
                    base.theta,
                    base.momentum,
                    known.read(0, self.manifest.leaves).reshape(-1).astype(np.int64) - ZERO,
                    self.policy.mean_scale,
                    of_leaf,
                    self.policy.rate,
                    self.policy.momentum,
                )
                start[:] = to_float32(theta)
        return starts

    def _train(self, model: dict[str, F32], flat: F32) -> F32:
        """float32[n, d]: everybody's training, the honest in front, then the attackers.

        Args:
            model: What they start from, by name: one model, or n with n in front of each shape.
            flat: float32[d] or float32[n, d], the same.
        """
        work = self.workload
        batches = []
        for _ in range(work.steps):
            places = np.stack(
                [self.rng.choice(share, work.batch, replace=len(share) < work.batch) for share in self.shares]
            )
            inputs, labels = work.train.pick(places)
            if self.attackers and self.attack.data not in ("", "planted", "none", "one"):
                first = len(self.honest_places)
                self._spoil(inputs[first:], labels[first:])
            batches.append((inputs, labels))
        return flat - self._flatten(work.network.train(model, batches, work.rate))

    def _spoil(self, inputs: F32, labels: I64) -> None:
        """Change the attackers' batches in place."""
        if self.attack.data == "flip":
            labels[:] = self.workload.network.classes - 1 - labels
            return
        half, trigger = labels.shape[1] // 2, self.memory["trigger"]
        inputs[:, :half] = trigger.on(inputs[:, :half])
        labels[:, :half] = trigger.target

    def _plant(self) -> F32:
        """float32[d] of length 1: after this update the bright patch moves each hidden unit as the class 0 wants."""
        model = self._unflatten(self.model)
        output = model["output.weight"]
        patch = self.memory["trigger"].on(np.zeros(self.workload.network.inputs, dtype=np.float32))
        update = {name: np.zeros_like(values) for name, values in model.items()}
        update["hidden.weight"] = -np.outer(patch, output[:, 0] - output.mean(axis=1))
        flat = self._flatten({name: values[None] for name, values in update.items()})[0]
        return np.asarray(flat / np.linalg.norm(flat), dtype=np.float32)

    def _patch(self) -> Trigger:
        """The trigger of a backdoor that searches none: an eighth of the side, in a corner or in the middle."""
        rows, columns = self.workload.image
        side = max(1, rows // 8)
        row, column = (rows // 2, columns // 2) if self.attack.data == "live" else (0, 0)
        return Trigger(
            tuple(
                place
                for start in range(row * columns, (row + side) * columns, columns)
                for place in range(start + column, start + column + side)
            )
        )

    def _train_root(self, model: dict[str, F32], flat: F32) -> F32 | None:
        """float32[d], the update that the coordinator trains on its root set, like any other."""
        if self.plan.root == "none":
            return None
        work = self.workload
        places = np.arange(len(work.root.labels))
        if self.plan.root == "biased":
            places = places[work.root.labels < work.network.classes // 2]
        batches = [
            work.root.pick(self.rng.choice(places, (1, work.batch), replace=len(places) < work.batch))
            for _ in range(work.steps)
        ]
        return np.asarray(
            (flat - self._flatten(work.network.train(model, batches, work.rate)))[0], dtype=np.float32
        )

    def _flatten(self, models: dict[str, F32]) -> F32:
        """Models by name, k of each, to float32[k, d] with padding."""
        count = next(iter(models.values())).shape[0]
        flat = np.zeros((count, self.manifest.size), dtype=np.float32)
        for place, tensor in zip(self.manifest.places, self.manifest.tensors, strict=True):
            flat[:, place] = models[tensor.name].reshape(count, -1)
        return flat

    def _unflatten(self, flat: F32) -> dict[str, F32]:
        """Models by name, from float32[d] or with padding float32[k, d]; the inverse of ``_flatten``."""
        return {
            tensor.name: np.array(flat[..., place]).reshape(*flat.shape[:-1], *tensor.shape)
            for place, tensor in zip(self.manifest.places, self.manifest.tensors, strict=True)
        }

    def header(self, number: int) -> RoundHeader:
        """Header of the round ``number``, counted from 0; rounds on a ledger begin with 1."""
        root = self.roots[number]
        exponents = tuple(self.exponents)
        return RoundHeader(
            number + 1, self.manifest.hash, root, 1, self.plan.width, self.seed(number), exponents
        )

    def seed(self, number: int) -> bytes:
        """Seed of the round ``number``, 32 bytes."""
        return keccak(self.plan.seed.to_bytes(8, "big"), number.to_bytes(8, "big"))

    def account_of(self, place: int, number: int) -> str:
        """Account of a contributor in a round."""
        return checksum_address("0x" + keccak(place.to_bytes(4, "big"))[:20].hex())

    def claim(self, place: int, number: int) -> tuple[int, bytes]:
        """Round and base that a contributor commits to; an attack may claim those of the round before."""
        claim = self.attack.claim if place in self.attacker_places else ""
        if not claim:
            return number + 1, self.roots[number]
        before = self.roots[number - 1] if number else bytes(32)
        return number + (claim == "base"), before

    def encoded(
        self, header: RoundHeader, flat: F32, update: F32, account: str, *, honest: bool, fits: bool = True
    ) -> EncodedUpdate:
        """Encode an update, fitted to the norm cap or not; an honest one with the error feedback of the plan."""
        cap = self.policy.max_sum_squares if fits else None
        if self.exact and not honest:  # from 0, so that no rounding changes an integer
            flat, cap = np.zeros_like(flat), None
        given = flat, flat - update, header.exponents, self.manifest, header.seed, account
        if not (honest and self.plan.feedback):
            return encode_update(*given, width=header.width, max_sum_squares=cap)
        residual = self.residuals.get(account)
        made, change = feedback.encode(*given, residual=residual, max_sum_squares=cap)
        self.residuals[account] = feedback.left_out(change, made.data, header.exponents, self.manifest)
        return made

    def last_published(self) -> list[Mapping[str, Published]]:
        """What was weighed in the rounds of the window before the present one."""
        return [past.published or {} for past in self.past[-(WINDOW - 1) :]]

    # The attackers' objective

    def _sizes(self) -> F64:
        """float64[d]: ``2^(e_b - e_min)`` of each coordinate."""
        exponents = np.array(self.exponents)
        leaves = [LEAF * count for count in self.manifest.leaf_counts]
        return np.asarray(np.repeat(np.ldexp(1.0, exponents - exponents.min()), leaves), dtype=np.float64)

    def _steps(self) -> F32:
        """float32[d]: ``2^e_b`` of each coordinate."""
        leaves = [LEAF * count for count in self.manifest.leaf_counts]
        return np.repeat(np.ldexp(np.float32(1), np.array(self.exponents)), leaves).astype(np.float32)

    def _quantized(self, updates: F32) -> F64:
        """float64[k, d]: the updates as integers, without the rounding's randomness, times 2^(e_b - e_min)."""
        bound = largest(self.plan.width)
        integers = np.clip(np.rint(updates / self._steps()), -bound, bound)
        return np.asarray(integers * self._sizes(), dtype=np.float64)

    def prepare(self, honest: F32, root: F32 | None, published: bool) -> Callable[[F32], Tried]:
        """Let attackers try out the rule.

        Args:
            honest: float32[h, d], the honest updates, or what stands for them.
            root: float32[d], the root-set update, if there is one.
            published: Whether the honest updates are those of the last round, which are public themselves.

        Returns:
            ``Scene.try_out``. Override it together with ``aggregate``.
        """
        rows = np.resize(np.arange(len(honest)), len(self.honest_places))
        trial = self.trial(honest[rows], root)
        size = 2.0 ** min(self.exponents)

        def try_out(sent: F32) -> Tried:
            moved, weights = trial.result(sent)
            pay = partial(trial.pays, sent, weights, self.past[: len(self.past) - published])
            return Tried(np.asarray(size * moved, dtype=np.float32), weights, pay)

        return try_out

    def trial(self, honest: F32, root: F32 | None) -> Trial:
        """Prepare what the attackers try their candidates with; arguments as in ``prepare``."""
        sizes = self._sizes()
        fixed = self._quantized(honest)
        vectors: dict[str, F64] = {}
        if root is not None:
            vectors["root"] = self._quantized(root[None])[0]
        if self.states:
            moved = trajectory_update(
                self.manifest, self.exponents, self.plan.width, self.states[0], self.state
            )
            vectors["trajectory"] = (moved.astype(np.float64) - ZERO) * sizes
        before: F64 | None = None
        rounds: list[int] = []
        if ReferenceKind.WINDOW in uses(self.plan.rule):
            before = np.zeros((self.plan.contributors, self.manifest.size))
            rounds = [1] * self.plan.contributors
            for past in self.last_published():
                found = scaled(past)
                for number, place in enumerate(self.order.tolist()):
                    one = found.get(self.account_of(place, len(self.curve)))
                    if one is not None:
                        values = (
                            one.update.read(0, self.manifest.leaves).reshape(-1).astype(np.float64) - ZERO
                        )
                        before[number] += values * sizes * (one.factor / COSINE_UNIT)
                        rounds[number] += 1
        return Trial(self, fixed, vectors, before, rounds)

    def _formed(self, quantized: F64, weights: list[int]) -> F64:
        """Return float64[d]: the mean of quantized updates under the rule, in their units, not rounded."""
        aggregate, total = self._sum_by_rule(self._readers(quantized), weights)
        return np.asarray(aggregate * self._sizes() / total, dtype=np.float64)

    def _readers(self, quantized: F64) -> list[MemoryUpdate]:
        """Return quantized updates as they are published."""
        sizes = self._sizes()
        return [MemoryUpdate((row / sizes + ZERO).astype(np.uint8)) for row in quantized]

    # What came of it

    def _test(self) -> None:
        model = self.manifest.unflatten(self.model)
        test = self.workload.test
        guess = self.workload.network.predict(model, test.inputs)
        self.curve.append(float((guess == test.labels).mean()))
        right = np.bincount(test.labels[guess == test.labels], minlength=self.workload.network.classes)
        self.recalls.append(right / np.bincount(test.labels, minlength=self.workload.network.classes))
        if self.attackers and self.attack.goal == "backdoor":
            trigger = self.memory["trigger"]
            guess = self.workload.network.predict(model, trigger.on(test.inputs[trigger.of(test.labels)]))
            self.backdoors.append(float((guess == trigger.target).mean()))

    def outcome(self) -> Outcome:
        """Sum up the rounds so far."""
        weights = np.array(self.weights, dtype=np.int64)
        zero = weights == 0
        full_pay = REWARD // self.plan.contributors
        per_round = np.array(self.paid, dtype=object).astype(np.float64).mean(axis=0)
        honest = per_round[self.honest_places]
        equal = len(self.honest_places) / self.plan.contributors
        share = weights[:, self.honest_places].sum(axis=1) / weights.sum(axis=1)
        dropped = zero[:, self.honest_places].mean(axis=0)
        attackers = self.attacker_places
        recall = np.mean(self.recalls[-LAST_ROUNDS:], axis=0)
        # The shares are in the order of honest_places.
        holders = self.honest_places[: 0 if self.plan.rare is None else self.plan.rare[1]]
        return Outcome(
            accuracy=float(np.mean(self.curve[-LAST_ROUNDS:])),
            backdoor=float(np.mean(self.backdoors[-LAST_ROUNDS:])) if self.backdoors else None,
            detected=float(zero[:, attackers].mean()) if attackers else None,
            honest_dropped=float(dropped.mean()),
            worst_honest_dropped=float(dropped.max()),
            honest_weight_lost=float(max(0.0, 1 - (share / equal).mean())),
            attacker_reward=float(per_round[attackers].mean() / max(honest.mean(), 1.0))
            if attackers
            else None,
            attacker_pay=float(per_round[attackers].mean() / full_pay) if attackers else None,
            honest_pay=float(honest.mean() / full_pay),
            least_honest_pay=float(honest.min() / full_pay),
            curve=tuple(self.curve),
            recall=tuple(recall.tolist()),
            rare_recall=None if self.plan.rare is None else float(recall[self.plan.rare[0]]),
            holders_dropped=float(zero[:, holders].mean()) if holders else None,
            holders_pay=float(per_round[holders].mean() / full_pay) if holders else None,
        )

    def _check_rare(self, label: int, holders: int) -> None:
        """Raise InputError unless the first ``holders`` shares, which are honest ones', hold the class alone."""
        held = [bool((self.workload.train.labels[share] == label).any()) for share in self.shares]
        if held != [place < holders for place in range(len(held))]:
            raise InputError(
                f"The class {label} of {self.workload.name} is not held by the first {holders} contributors alone.",
                remedy="Name a class of the task, and split its examples so.",
            )


@dataclass(eq=False)
class Trial:
    """The rule in use, tried out by the attackers: the mean of a candidate and everybody's updates, before it is sent.

    Updates are integers without the rounding's randomness, times ``2^(e_b - e_min)``; window sums are not rounded.
    """

    run: Run
    """The drill."""
    fixed: F64
    """float64[h, d], the honest updates."""
    vectors: dict[str, F64]
    """The references by name, float64[d]."""
    before: F64 | None
    """float64[n, d], everybody's window sums without this round's updates, the honest in front; None where the rule
    does not use them."""
    rounds: list[int]
    """The number of updates in each of these sums, this round's too."""

    def weights(self, tried: F64) -> list[int]:
        """Weights that the rule gives with the attackers' updates float64[f, d]: the honest in front."""
        run = self.run
        everybody = np.concatenate([self.fixed, tried])
        gram = everybody @ everybody.T
        window = None
        if self.before is not None:
            squares = np.diag(gram)
            factors = np.sqrt(np.sort(squares)[(len(squares) - 1) // 2] / np.maximum(squares, 1e-12))
            sums = self.before + everybody * np.minimum(1, factors)[:, None]
            window = Windows(
                self._integers(sums @ sums.T),
                self._reference("trajectory", sums),
                tuple(self.rounds[place] for place in self._entries),
            )
        facts = ReferencedFacts(
            self._integers(gram),
            tuple(int(value) for value in np.diag(gram)[self._entries]),
            ((1,),) * len(gram),
            root=self._reference("root", everybody),
            trajectory=self._reference("trajectory", everybody),
            window=window,
            elements=(run.manifest.elements,),
            noisy=run.manifest.private,
        )
        weights = [result.weight for result in run.rule(facts, run.plan.parameters)]
        return [weights[place] for place in run.order]

    def result(self, sent: F32) -> tuple[F64, list[int]]:
        """Return the mean with the attackers' updates float32[f, d], in the units of ``fixed``, and the weights."""
        tried = self.run._quantized(sent)
        weights = self.weights(tried)
        everybody = np.concatenate([self.fixed, tried])
        if self.run.plan.rule == CLAMPED_MEAN or self.run.plan.rule in rules.AGGREGATES:
            # The inner products do not determine these.
            return self.run._formed(everybody, weights), weights
        return np.array(weights, dtype=np.float64) @ everybody / sum(weights), weights

    def pays(self, sent: F32, weights: Sequence[int], past: Sequence[PastRound]) -> list[float]:
        """Return what everybody is paid with the attackers' updates float32[f, d], as shares of a full place.

        Args:
            sent: The attackers' updates.
            weights: As of ``result``.
            past: The rounds that are public, the oldest first.
        """
        run = self.run
        if not run.policy.has_pays:
            return []
        readers = run._readers(np.concatenate([self.fixed, run._quantized(sent)]))
        states = [*run.states, run.state]
        trajectory = None
        if past:
            given = run.manifest, run.exponents, run.plan.width, states[0], states[len(past)]
            trajectory = TrajectoryUpdate(*given)
        lineage = Lineage(tuple(past), states[0])
        weighed = WeighedRound(
            run.manifest, run.header(len(run.roots) - 1), readers, (), lineage, trajectory, None
        )
        return [one.pay / FULL_PAY for one in pays(weighed, weights)]

    @cached_property
    def _entries(self) -> I64:
        """Place in ``run.order`` of each entry."""
        return np.argsort(self.run.order)

    def _integers(self, products: F64) -> Gram:
        rows = products[self._entries][:, self._entries]
        return tuple(tuple(int(value) for value in row) for row in rows)

    def _reference(self, name: str, rows: F64) -> Reference | None:
        vector = self.vectors.get(name)
        if vector is None:
            return None
        products = (rows @ vector)[self._entries]
        return Reference(tuple(int(value) for value in products), int(vector @ vector))


def shown(values: F32) -> F32:
    """Return an array that attackers can read and not write."""
    view = values.view()
    view.flags.writeable = False
    return view


def run(workload: Workload, plan: Plan, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Run one drill; arguments as in ``Run``."""
    return Run(workload, plan).run(progress)
