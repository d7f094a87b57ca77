# SPDX-License-Identifier: Apache-2.0
"""What an examination says of honest and lying anchors, from files alone; that contracts agree, test_watch shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folkmoot.aggregation.gram_tree import matrix_bytes
from folkmoot.artifacts.sources import FolderSource
from folkmoot.errors import ArtifactError, InputError
from folkmoot.fraud.contracts.descend import demandable
from folkmoot.fraud.proofs.case import Case, Kind
from folkmoot.fraud.proofs.examine import examine
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.fraud.proofs.proof import BUILDERS, prove
from folkmoot.fraud.watcher.round_files import RoundFiles
from folkmoot.protocol import merkle
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.merkle import MEAN
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.round import RoundOutcome, compute_leaves, compute_round
from tests.unit.worlds import (
    CHAIN_ID,
    COORDINATOR,
    LEDGER,
    MANIFEST,
    World,
    account,
    policy,
    state,
    update_bytes,
)

NAMES = ("alice", "bob", "carol", "dave")


@dataclass
class Bytes:
    """Takes the bytes of a file."""

    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> None:
        self.data += data


class Published:
    """A round on the genesis, its files in a folder, and its case."""

    def __init__(
        self, folder: Path, rule: str = "mean", parameters: tuple[int, ...] = (), **options: Any
    ) -> None:
        self.folder = folder
        self.world = World(state(MANIFEST, 5), policy=policy(rule, parameters, momentum=900))
        world, header = self.world, self.world.header
        names = options.get("names", NAMES)
        self.pairs = [world.commit(name, update_bytes(MANIFEST, i)) for i, name in enumerate(names)]
        for place, original in options.get("copies", {}).items():
            self.pairs[place] = world.commit(names[place], update_bytes(MANIFEST, original))
        if options.get("lost"):
            self.pairs[options["lost"]] = (self.pairs[options["lost"]][0], None)
        self.mean = Bytes()
        self.outcome: RoundOutcome = compute_round(
            MANIFEST,
            header,
            world.policy,
            world.state,
            [commitment for commitment, _ in self.pairs],
            [update for _, update in self.pairs],
            coordinator=account(COORDINATOR).address,
            lineage=world.lineage,
            mean_sink=self.mean,
        )
        genesis = Genesis.of(MANIFEST, world.state, world.exponents)
        self.put(MANIFEST.to_json())
        self.put(genesis.to_json(), document=True)
        for data in (world.state.to_bytes(), self.outcome.state.to_bytes(), bytes(self.mean.data)):
            self.put(data)
        for _, update in self.pairs:
            if update is not None:
                self.put(update.read(0, MANIFEST.leaves).tobytes())
        self.put(self.outcome.artifacts_file, document=True)
        self.round_files = RoundFiles(FolderSource(folder), genesis, MANIFEST)
        self.case = Case(
            CHAIN_ID,
            LEDGER,
            1,
            1,
            world.policy,
            account(COORDINATOR).address,
            0,
            header.base_state_root,
            header.hash,
            tuple(commitment for commitment, _ in self.pairs),
            self.outcome.anchor,
            2**40,
        )

    def put(self, data: bytes, *, document: bool = False) -> str:
        name = hashlib.sha256(data).hexdigest()
        (self.folder / name[:2]).mkdir(parents=True, exist_ok=True)
        (self.folder / name[:2] / name).write_bytes(data)
        if document:
            (self.folder / "by-keccak").mkdir(exist_ok=True)
            (self.folder / "by-keccak" / keccak(data).hex()).write_text(name)
        return name

    def claim(self, listed: dict[str, Any] | None = None, **anchored: Any) -> Published:
        """Anchor something else; `listed` changes what the artifacts file says."""
        document = replace(self.outcome.artifacts, **(listed or {})).to_json()
        self.put(document, document=True)
        anchor: Anchor = replace(self.outcome.anchor, artifacts_hash=keccak(document), **anchored)
        if "weights" in anchored:  # A lie about weights is one lie, not two.
            anchor = replace(anchor, entries_root=entries_tree(self.case.entries, anchor.weights).root)
        self.case = replace(self.case, anchor=anchor)
        return self

    def opened_with(self, header: bytes) -> Published:
        """Open the round with another header, and publish it."""
        self.case = replace(self.case, header_hash=keccak(header))
        return self.claim({"header": header})

    def examined(self) -> Finding:
        return examine(self.round_files.material(self.case, {1: self.case}))


def kinds(finding: Finding) -> list[str]:
    return [str(suspicion.kind) for suspicion in finding.suspicions]


@pytest.mark.parametrize(
    ("rule", "parameters"),
    [("mean", ()), ("multi_krum", (1, 0)), ("clamped_mean", ())],
)
def test_an_honest_round_is_right(tmp_path: Path, rule: str, parameters: tuple[int, ...]) -> None:
    finding = Published(tmp_path, rule, parameters).examined()
    assert finding.right, finding.to_json()
    assert finding.outcome is not None


def test_a_round_of_one_and_a_lost_update_are_right(tmp_path: Path) -> None:
    assert Published(tmp_path / "one", names=("alice",)).examined().right
    assert Published(tmp_path / "lost", lost=2).examined().right


def mean_lie(published: Published, leaf: int, byte: int) -> Published:
    rows = np.frombuffer(bytes(published.mean.data), np.uint8).reshape(-1, MEAN.leaf_bytes).copy()
    rows[leaf, byte] ^= 1
    root = merkle.tree(MEAN, merkle.leaf_hashes(MEAN, rows)).root
    return published.claim({"mean": published.put(rows.tobytes())}, mean_root=root)


def state_lie(published: Published, part: str, coordinate: int) -> Published:
    values = getattr(published.outcome.state, part).copy()
    values[coordinate] += 1
    lie: State = replace(published.outcome.state, **{part: values})
    return published.claim({"state": published.put(lie.to_bytes())}, state_root=lie.root(MANIFEST.hash))


def header_lie(published: Published, **changes: Any) -> Published:
    return published.opened_with(replace(published.world.header, **changes).encoded)


LIES: dict[str, tuple[Callable[[Published], Published], str, int]] = {
    "mean": (lambda p: mean_lie(p, 2, 17), "mean", 2),
    "theta": (lambda p: state_lie(p, "theta", 300), "outer-step", 1),
    "momentum": (lambda p: state_lie(p, "momentum", 5), "outer-step", 0),
    "heavy": (lambda p: p.claim(weights=(1, 1, 1, 2)), "weight", 3),
    "not delivered": (lambda p: p.claim(delivered=0b1101), "weight", 1),
    "left out": (lambda p: p.claim(weights=(1, 1, 1, 0)), "rule", 3),
    "seed": (lambda p: header_lie(p, seed=bytes(32)), "header", 0),
    "round": (lambda p: header_lie(p, round=2), "header", 0),
    "policy": (lambda p: header_lie(p, policy_id=2), "header", 0),
    "base": (lambda p: header_lie(p, base_state_root=bytes(32)), "header", 0),
    "manifest": (lambda p: header_lie(p, manifest_hash=bytes(32)), "header", 0),
    "width": (lambda p: header_lie(p, width=4), "header", 0),
    "tensors": (lambda p: header_lie(p, exponents=(-9, -9)), "header", 0),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_at_its_place_and_can_be_proven(tmp_path: Path, lie: str) -> None:
    tell, kind, place = LIES[lie]
    finding = tell(Published(tmp_path)).examined()
    assert kinds(finding)[0] == kind
    suspicion = finding.suspicions[0]
    assert suspicion.place == place
    proof = prove(finding, suspicion)
    assert (proof.kind, proof.place, proof.round) == (kind, place, 1)
    assert len(proof.data) % 32 == 4
    floor = 21_000 + 10 * len(proof.data) + 30 * (len(proof.data) - proof.data.count(0))  # EIP-7623
    assert floor < 1 << 24, "a transaction's limit (EIP-7825)"


def moved(published: Published) -> Published:
    """Give the weight of one that is selected to one that is not."""
    weights = list(published.case.anchor.weights)
    taken, given = weights.index(1), weights.index(0)
    weights[taken], weights[given] = 0, 1
    return published.claim(weights=tuple(weights))


@pytest.mark.parametrize("missing", ["nothing", "base-state", "artifacts"])
def test_weights_that_krum_does_not_yield_are_proven_with_what_is_there(tmp_path: Path, missing: str) -> None:
    """Neither the outcome nor the base is needed for that, but the updates are."""
    published = moved(Published(tmp_path, "multi_krum", (1, 2)))
    if missing == "base-state":
        name = published.outcome.artifacts.base_state
        (tmp_path / name[:2] / name).unlink()
    if missing == "artifacts":
        anchor = replace(published.case.anchor, artifacts_hash=keccak(b"nowhere"))
        published.case = replace(published.case, anchor=anchor)
    finding = published.examined()
    found = [one for one in finding.suspicions if one.kind == "rule"]
    assert len(found) == (missing != "artifacts")
    for suspicion in found:
        truth = published.outcome.weights
        wrong = [i for i, weight in enumerate(published.case.anchor.weights) if weight != truth[i]]
        assert list(suspicion.places) == wrong
        tree = published.outcome.gram_tree
        assert tree is not None
        proof = prove(finding, suspicion)
        assert proof.function == "proveKrum"
        assert proof.contract == "GramProofs"
        assert proof.arguments[-1][2] == matrix_bytes(tree.matrix)


@pytest.mark.parametrize(
    ("rule", "parameters"),
    [("mean", ()), ("multi_krum", (1, 0)), ("clamped_mean", ())],
)
def test_a_weight_for_a_copy_is_proven_under_every_rule(
    tmp_path: Path, rule: str, parameters: tuple[int, ...]
) -> None:
    published = Published(tmp_path, rule, parameters, copies={3: 1})
    assert published.examined().right
    weights = (*published.outcome.weights[:3], 1)
    finding = published.claim(weights=weights).examined()
    assert kinds(finding)[0] == "weight"
    assert finding.suspicions[0].places == (3,)
    assert finding.suspicions[0].text.endswith("has the weight 1, but it is a copy of entry 1.")
    assert prove(finding, finding.suspicions[0]).function == "proveWeight"


def test_a_copy_of_an_update_that_did_not_arrive_counts(tmp_path: Path) -> None:
    published = Published(tmp_path, copies={3: 1}, lost=1)
    assert published.outcome.weights == (1, 0, 1, 1)
    finding = published.claim(weights=(1, 0, 1, 0)).examined()
    assert "rule" in kinds(finding)
    (found,) = (one for one in finding.suspicions if one.kind == "rule")
    assert found.places == (3,)
    assert prove(finding, found).function == "proveMeanWeight"


def test_a_vote_is_prepared_for_where_no_judge_knows_the_rule(tmp_path: Path) -> None:
    finding = Published(tmp_path, "multi_krum", (1, 0)).claim(gram_root=bytes(32)).examined()
    assert (kinds(finding), [one.what for one in finding.fallback]) == (["gram-root"], ["gram-root"])
    assert finding.disputes == []


def test_a_gram_root_is_wrong_where_the_rule_has_none_or_another(tmp_path: Path) -> None:
    published = Published(tmp_path / "mean").claim(gram_root=keccak(b"a root"))
    finding = published.examined()
    assert (kinds(finding), [one.what for one in finding.disputes]) == ([], ["gram-root"])
    hidden = Published(tmp_path / "krum", "multi_krum", (1, 0)).claim(gram_root=keccak(b"a root")).examined()
    assert (kinds(hidden), [one.what for one in hidden.disputes]) == ([], ["gram-root"])


def test_a_faulty_update_that_is_said_to_have_arrived_hides_no_weight(tmp_path: Path) -> None:
    """It changes who is weighed, and so the tree: that is computed for the entries that the anchor names."""
    published = moved(Published(tmp_path, "multi_krum", (1, 2)))
    last = published.case.entries[3]
    entries = (*published.case.entries[:3], replace(last, sum_squares=last.sum_squares - 1))
    published.case = replace(published.case, entries=entries)
    finding = published.examined()
    assert "rule" in kinds(finding)


def test_a_tree_of_which_too_little_is_shown_is_not_proven_wrong(tmp_path: Path) -> None:
    published = Published(tmp_path, "multi_krum", (1, 0))
    tree = published.outcome.gram_tree
    assert tree is not None
    garbage = b"\x12"  # a leaf with no matrix at all
    published.put(garbage, document=True)
    finding = published.claim(gram_root=keccak(garbage)).examined()
    assert kinds(finding) == ["gram-leaf"]
    other = b"\x11" + matrix_bytes(tree.matrix)  # no leaf
    published.put(other, document=True)
    assert kinds(published.claim(gram_root=keccak(other)).examined()) == []


def test_an_exponent_out_of_range_is_proven_and_one_within_is_disputed(tmp_path: Path) -> None:
    honest = Published(tmp_path / "range")
    encoded = bytearray(honest.world.header.encoded)
    place = len(encoded) - 32  # the word with the exponents
    encoded[place] = 5
    assert kinds(honest.opened_with(bytes(encoded)).examined()) == ["header"]
    other = header_lie(Published(tmp_path / "within"), exponents=(-9, -9, -8)).examined()
    assert other.disputes[0].what == "exponents"
    assert kinds(other) == ["outer-step"]  # the state that is anchored here does not follow from them


def test_a_header_that_nobody_can_read_is_proven(tmp_path: Path) -> None:
    finding = Published(tmp_path).opened_with(b"no header at all").examined()
    assert kinds(finding) == ["header"]
    assert prove(finding, finding.suspicions[0]).arguments[-1] == b"no header at all"


def test_several_wrong_leaves_are_counted_and_any_can_be_proven(tmp_path: Path) -> None:
    published = Published(tmp_path)
    rows = np.frombuffer(bytes(published.mean.data), np.uint8).reshape(-1, MEAN.leaf_bytes).copy()
    rows[[1, 3]] ^= 1
    root = merkle.tree(MEAN, merkle.leaf_hashes(MEAN, rows)).root
    finding = published.claim({"mean": published.put(rows.tobytes())}, mean_root=root).examined()
    assert finding.suspicions[0].places == (1, 3)
    assert finding.suspicions[0].text.startswith(
        "2 leaves of the mean of round 1, the first of them 1, are not"
    )
    assert prove(finding, finding.suspicions[0], 3).place == 3
    with pytest.raises(InputError, match="There is no place 16"):
        prove(finding, finding.suspicions[0], 16)


def test_the_mean_of_a_clamped_rule_comes_with_its_magnitudes(tmp_path: Path) -> None:
    finding = mean_lie(Published(tmp_path, "clamped_mean"), 0, 3).examined()
    hints = prove(finding, finding.suspicions[0]).arguments[-1]
    counted = zip(finding.material.updates, finding.case.anchor.weights, strict=True)
    leaves = [u.read(0, 1).reshape(-1).astype(int) - 128 for u, weight in counted if u is not None and weight]
    assert hints == bytes(np.sort(np.abs(leaves), axis=0)[(len(leaves) - 1) // 2].tolist())


# What is missing or garbled


@pytest.mark.parametrize("garbage", [b"", b"FMS1", b"x" * 1000, bytes(1024), bytes(64 * 1024)])
@pytest.mark.parametrize("what", ["mean", "state"])
def test_files_that_are_none_count_as_withheld(tmp_path: Path, what: str, garbage: bytes) -> None:
    published = Published(tmp_path)
    root = {f"{what}_root": keccak(b"something else")}
    finding = published.claim({what: published.put(garbage)}, **root).examined()
    assert kinds(finding) == []
    assert [(demand.what, demand.unsure) for demand in finding.demands] == [(what, False)]
    assert [dispute.what for dispute in finding.disputes] == [
        what,
        "artifacts",
    ]  # everybody sees that it is wrong


@pytest.mark.parametrize(
    "garbage", [b"", b"\x81" * 256, b"\x00" * MANIFEST.size, b"\x81" * (MANIFEST.size + 7)]
)
def test_an_update_that_is_another_one_is_demanded(tmp_path: Path, garbage: bytes) -> None:
    published = Published(tmp_path)
    updates = (*published.outcome.artifacts.updates[:3], published.put(garbage))
    finding = published.claim({"updates": updates}).examined()
    assert kinds(finding) == []
    demand = finding.demands[0]
    assert (demand.what, demand.entry, demand.root) == ("update", 3, published.case.entries[3].update_root)


def test_what_the_anchor_calls_undelivered_is_not_demanded(tmp_path: Path) -> None:
    """The contract would refuse it, and the deposit would be spent on nothing."""
    published = Published(tmp_path)
    name = published.outcome.artifacts.updates[3]
    assert name is not None
    (tmp_path / name[:2] / name).unlink()
    assert demandable(published.examined()) == published.examined().demands[0]
    finding = published.claim(delivered=0b0111, weights=(1, 1, 1, 0)).examined()
    assert [demand.what for demand in finding.demands][:1] == ["update"]
    assert demandable(finding) is None


@pytest.mark.parametrize("what", ["mean", "state"])
def test_a_missing_tree_is_demanded_with_what_it_must_be(tmp_path: Path, what: str) -> None:
    published = Published(tmp_path)
    finding = published.claim(None, **{f"{what}_root": keccak(b"something else")}).examined()
    wanted = demandable(finding)
    assert wanted is not None
    assert wanted.what == what
    roots = [tree.root for tree in wanted.truth]
    truth = published.outcome.anchor
    if what == "mean":
        assert roots == [truth.mean_root]
    else:
        assert merkle.state_root(MANIFEST.hash, *roots) == truth.state_root


def test_a_false_root_over_the_entries_is_proven_from_the_events_alone(tmp_path: Path) -> None:
    published = Published(tmp_path).claim(entries_root=keccak(b"other entries"))
    (tmp_path / "by-keccak" / published.case.anchor.artifacts_hash.hex()).unlink()
    finding = published.examined()
    assert kinds(finding) == ["entries"]
    proof = prove(finding, finding.suspicions[0])
    assert (proof.contract, proof.function) == ("FraudProofs", "proveEntries")


def test_without_the_artifacts_file_a_weight_is_still_proven(tmp_path: Path) -> None:
    published = Published(tmp_path)
    weights = (1, 1, 2, 1)
    root = entries_tree(published.case.entries, weights).root
    anchor = replace(
        published.outcome.anchor, artifacts_hash=keccak(b"nowhere"), weights=weights, entries_root=root
    )
    published.case = replace(published.case, anchor=anchor)
    finding = published.examined()
    assert kinds(finding) == ["weight"]
    assert [demand.what for demand in finding.demands] == ["artifacts"]
    assert prove(finding, finding.suspicions[0]).function == "proveWeight"


def test_a_missing_base_is_demanded_and_the_mean_judged_without_it(tmp_path: Path) -> None:
    published = mean_lie(Published(tmp_path), 1, 1)
    name = published.outcome.artifacts.base_state
    (tmp_path / name[:2] / name).unlink()
    finding = published.examined()
    assert kinds(finding) == ["mean"]
    assert [demand.what for demand in finding.demands] == ["base-state"]


def test_an_unknown_rule_is_disputed_not_guessed(tmp_path: Path) -> None:
    published = Published(tmp_path)
    published.case = replace(published.case, policy=replace(published.world.policy, rule="new_rule"))
    finding = published.examined()
    assert kinds(finding) == []
    assert finding.disputes[0].what == "outcome"


def test_weights_of_the_coordinators_choice_are_disputed_with_the_right_ones(tmp_path: Path) -> None:
    published = Published(tmp_path, "clamped_mean")
    weights = (published.outcome.weights[0] - 1, *published.outcome.weights[1:])
    world = published.world
    updates = [update for _, update in published.pairs]
    part = compute_leaves(
        MANIFEST, world.header, world.policy, world.state, updates, weights, 0, MANIFEST.leaves
    )
    after = State(part.theta, part.momentum)
    listed = {
        "mean": published.put(part.mean.tobytes()),
        "state": published.put(after.to_bytes()),
    }
    roots = {
        "mean_root": merkle.tree(MEAN, merkle.leaf_hashes(MEAN, part.mean)).root,
        "state_root": after.root(MANIFEST.hash),
    }
    finding = published.claim(listed, weights=weights, **roots).examined()
    assert kinds(finding) == []
    dispute = next(dispute for dispute in finding.disputes if dispute.what == "weight")
    assert dispute.entry == 0
    assert dispute.expected.startswith(f"{published.outcome.weights[0]} (")
    assert dispute.actual == str(weights[0])


def test_a_wrong_pay_is_disputed_with_the_right_one(tmp_path: Path) -> None:
    published = Published(tmp_path, "clamped_mean")
    (first, *others), entries = published.outcome.anchor.pays, published.case.entries
    finding = published.claim(pays=(first // 2, *others)).examined()
    assert kinds(finding) == []
    assert first > 1
    (dispute,) = finding.disputes
    assert (dispute.what, dispute.entry) == ("pay", 0)
    assert (dispute.expected, dispute.actual) == (str(first), str(first // 2))
    assert dispute.text == (
        f"The pay of entry 0 ({entries[0].contributor}) of round 1 is another one than everybody computes."
    )


def test_one_lie_is_told_once_with_all_its_places(tmp_path: Path) -> None:
    published = Published(tmp_path, "clamped_mean")
    pays = tuple(pay // 2 for pay in published.outcome.anchor.pays)
    finding = published.claim(pays=pays, verdict_hash=keccak(b"other verdicts")).examined()
    assert len(finding.disputes) == len(pays) + 1
    assert finding.disputed.count("Anchored: ") == 1
    rest = ", ".join(map(str, range(1, len(pays))))
    assert finding.disputed.endswith(f"Also different: pay of entry {rest}; verdicts.")


def test_a_wrong_verdicts_file_is_disputed(tmp_path: Path) -> None:
    finding = Published(tmp_path).claim(verdict_hash=keccak(b"other verdicts")).examined()
    assert (kinds(finding), [one.what for one in finding.disputes]) == ([], ["verdicts"])


def test_a_mirror_that_gives_no_answer_leaves_it_open(tmp_path: Path) -> None:
    published = Published(tmp_path)

    class Silent(FolderSource):
        def fetch(self, sha256: str, limit: int) -> Path:
            raise ArtifactError("No answer.", code="artifact-unreachable")

        def document(self, keccak256: str) -> bytes:
            raise ArtifactError("No answer.", code="artifact-unreachable")

    published.round_files.source = Silent(tmp_path)
    finding = published.examined()
    assert {demand.unsure for demand in finding.demands} == {True}
    assert not finding.suspicions
    assert not finding.disputes


def test_every_kind_has_a_builder() -> None:
    assert set(BUILDERS) == set(Kind)


def test_headers_are_decoded_as_the_contract_does(tmp_path: Path) -> None:
    """A header with a byte too many is another hash, and the contract reads it all the same."""
    published = Published(tmp_path)
    header: RoundHeader = replace(published.world.header, seed=bytes(32))
    assert kinds(published.opened_with(header.encoded + bytes(32)).examined()) == ["header"]
