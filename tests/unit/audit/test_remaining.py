# SPDX-License-Identifier: Apache-2.0
"""What the audit finds in a round whose updates were deleted by rule: the mean's root, range and padding, the step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.files import Files
from folkmoot.audit.remaining import check_remaining
from folkmoot.errors import AuditFailure
from folkmoot.ledger.entries import UpdateCommitted
from folkmoot.ledger.events import AnchorRecord, RoundAnchored, RoundOpened
from folkmoot.ledger.replay import Round
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.merkle import MEAN, leaf_hashes, tree
from folkmoot.protocol.state import State
from folkmoot.round import step_leaves
from tests.unit.worlds import MANIFEST, World, policy, state, update_bytes

PLACE: dict[str, Any] = {
    "contract": "ledger",
    "block": 1,
    "block_hash": bytes(32),
    "transaction": bytes(32),
    "log_index": 0,
}


@dataclass
class Expired:
    """A round of three, and a folder with all its files but the updates."""

    folder: Path

    def __post_init__(self) -> None:
        self.world = World(state(MANIFEST, 3), policy=policy(momentum=900))
        pairs = [
            self.world.commit(name, update_bytes(MANIFEST, i))
            for i, name in enumerate(("ada", "ben", "cleo"))
        ]
        self.entries = [entry for entry, _ in pairs]
        self.outcome = self.world.outcome(pairs)
        values = np.stack([update.read(0, MANIFEST.leaves) for _, update in pairs]).astype(np.int64) - 128
        sums = values.sum(axis=0)
        self.mean: U8 = ((2 * sums + 3) // 6 + 128).astype(np.uint8)  # each weight and the mean scale are 1
        assert sha256_hex(self.mean.tobytes()) == self.outcome.artifacts.mean
        self.artifacts = self.outcome.artifacts
        for data in (self.mean.tobytes(), self.outcome.state.to_bytes()):
            self.put(data)
        for data in (self.outcome.verdicts_file, self.outcome.artifacts_file):
            self.put(data, document=True)
        self.anchor = self.outcome.anchor

    def put(self, data: bytes, *, document: bool = False) -> str:
        name = sha256_hex(data)
        (self.folder / name[:2]).mkdir(parents=True, exist_ok=True)
        (self.folder / name[:2] / name).write_bytes(data)
        if document:
            (self.folder / "by-keccak").mkdir(exist_ok=True)
            (self.folder / "by-keccak" / keccak(data).hex()).write_text(name)
        return name

    def claim(self, mean: U8, state_: State | None = None) -> None:
        """Publish and anchor another mean, and another state, if there is one."""
        listed: dict[str, Any] = {"mean": self.put(mean.tobytes())}
        root = tree(MEAN, leaf_hashes(MEAN, mean)).root
        self.anchor = replace(self.anchor, mean_root=root)
        if state_ is not None:
            listed["state"] = self.put(state_.to_bytes())
            self.anchor = replace(self.anchor, state_root=state_.root(MANIFEST.hash))
        self.artifacts = replace(self.artifacts, **listed)

    def stepped(self, mean: U8) -> State:
        """The state that follows from a mean."""
        part = step_leaves(MANIFEST, self.world.header, self.world.policy, self.world.state, mean, 0)
        return State(part.theta, part.momentum)

    def checked(self) -> State:
        anchor = {field.name: getattr(self.anchor, field.name) for field in fields(AnchorRecord)}
        opened: dict[str, Any] = dict.fromkeys(
            (field.name for field in fields(RoundOpened) if field.name not in PLACE), 0
        )
        opened |= {"round": 1, "policy_id": 1, "base_state_root": self.world.header.base_state_root}
        commits = [
            UpdateCommitted(
                **PLACE,
                round=1,
                contributor=entry.contributor,
                index=index,
                update_root=entry.update_root,
                sum_squares=entry.sum_squares,
                memory_hash=entry.memory_hash,
                bundle_hash=entry.bundle_hash,
            )
            for index, entry in enumerate(self.entries)
        ]
        replayed = Round(
            RoundOpened(**PLACE, **opened), self.world.policy, commits=commits,
            anchored=RoundAnchored(**PLACE, round=1, anchor=AnchorRecord(**anchor), challenge_deadline=0),
        )  # fmt: skip
        files = Files(FolderSource(self.folder))
        return check_remaining(files, MANIFEST, self.world.header, replayed, self.artifacts, self.world.state)


@pytest.fixture
def expired(tmp_path: Path) -> Expired:
    return Expired(tmp_path)


def off_by_one(mean: U8) -> U8:
    mean = mean.copy()
    mean[1, 7] += 1 if mean[1, 7] <= 128 else -1
    return mean


def failure_of(expired: Expired) -> dict[str, Any]:
    with pytest.raises(AuditFailure) as caught:
        expired.checked()
    assert caught.value.details["round"] == 1
    assert caught.value.details["check"] == "mean"
    return caught.value.details


def test_an_honest_round_passes_without_its_updates(expired: Expired) -> None:
    assert expired.checked().root(MANIFEST.hash) == expired.outcome.state_root


def test_a_mean_file_that_is_off_by_one_is_found_by_its_root(expired: Expired) -> None:
    expired.artifacts = replace(expired.artifacts, mean=expired.put(off_by_one(expired.mean).tobytes()))
    assert failure_of(expired)["what"] == "the root of the mean"


def test_a_mean_that_is_off_by_one_does_not_lead_to_the_state(expired: Expired) -> None:
    expired.claim(off_by_one(expired.mean))
    assert failure_of(expired)["what"] == "the state root"


def test_a_state_that_does_not_follow_from_the_mean_is_found(expired: Expired) -> None:
    expired.claim(expired.mean, expired.stepped(off_by_one(expired.mean)))
    assert failure_of(expired)["what"] == "the state root"


def test_what_follows_from_the_updates_alone_is_not_found(expired: Expired) -> None:
    """As the protocol page says: who recomputed the round in time has to attest it."""
    other = off_by_one(expired.mean)
    expired.claim(other, expired.stepped(other))
    expired.checked()


def _beyond(mean: U8) -> None:
    mean[0, 0] = 0


def _padding(mean: U8) -> None:
    mean[-1, 200] = 129


@pytest.mark.parametrize("change", [_beyond, _padding])
def test_what_no_updates_can_give_is_found(expired: Expired, change: Callable[[U8], None]) -> None:
    other = expired.mean.copy()
    change(other)
    expired.claim(other, expired.stepped(other))
    assert failure_of(expired)["what"] == "the mean file"


def test_a_mean_file_of_another_size_is_found(expired: Expired) -> None:
    expired.artifacts = replace(expired.artifacts, mean=expired.put(expired.mean[1:].tobytes()))
    assert failure_of(expired)["what"] == "the size of the mean file"
