# SPDX-License-Identifier: Apache-2.0
"""State files that were deleted: made again from earlier ones, and what happens where a file is missing or wrong."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from folkmoot.artifacts.inventory import Anchored
from folkmoot.artifacts.mirror import Copied, Copier, MirrorFolder
from folkmoot.artifacts.sources import SPARE, CoordinatorSource, FolderSource, SeveralSources
from folkmoot.artifacts.states import RebuildingSource, fetch_state
from folkmoot.errors import ArtifactError, StoreError
from folkmoot.protocol import next_state
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.packing import largest, pack
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts
from folkmoot.round import compute_leaves
from folkmoot.runtime.fault_points import VARIABLE
from tests.unit import worlds
from tests.unit.worlds import MANIFEST

ROUNDS = 11
POLICY = worlds.policy(rate=700, momentum=900)
SIZE = MANIFEST.state_file_size


@dataclass
class Past:
    """A folder with the files of some rounds, and what the rounds listed."""

    folder: Path
    states: list[str]
    """sha256 of the state after each round, the genesis first."""
    rounds: dict[int, Artifacts]
    sources: ExitStack

    def place(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def put(self, data: bytes) -> str:
        name = sha256_hex(data)
        self.place(name).parent.mkdir(parents=True, exist_ok=True)
        self.place(name).write_bytes(data)
        return name

    def drop(self, *rounds: int) -> dict[int, bytes]:
        """Delete the state files of rounds; return their bytes."""
        kept = {number: self.place(self.states[number]).read_bytes() for number in rounds}
        for number in rounds:
            self.place(self.states[number]).unlink()
        return kept

    def source(self, policy: Policy = POLICY, lies: dict[int, Artifacts] | None = None) -> RebuildingSource:
        """Return a source that has learned all rounds."""
        made = self.sources.enter_context(RebuildingSource(FolderSource(self.folder)))
        for artifacts in {**self.rounds, **(lies or {})}.values():
            made.learn(artifacts, policy, MANIFEST)
        return made


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A history, which no test changes."""
    return history(tmp_path_factory.mktemp("past") / "files", POLICY, ROUNDS)


def history(folder: Path, policy: Policy, rounds: int) -> Past:
    """Play rounds under a policy, and write their files."""
    world = worlds.World(worlds.state(MANIFEST, 1), policy=policy)
    made = Past(folder, [], {}, ExitStack())
    made.states.append(made.put(world.state.to_bytes()))
    (made.folder / "by-keccak").mkdir()
    for number in range(1, rounds + 1):
        header, base = world.header, world.state
        pairs = [
            world.commit(name, worlds.update_bytes(MANIFEST, 10 * number + one, largest(policy.width)))
            for one, name in enumerate(worlds.NAMES[:3])
        ]
        outcome = world.play(pairs)
        updates = [update for _, update in pairs]
        part = compute_leaves(MANIFEST, header, policy, base, updates, outcome.weights, 0, MANIFEST.leaves)
        assert made.put(pack(part.mean, policy.mean_width).tobytes()) == outcome.artifacts.mean
        made.states.append(made.put(outcome.state.to_bytes()))
        made.rounds[number] = outcome.artifacts
        made.put(outcome.artifacts_file)
        link = made.folder / "by-keccak" / keccak(outcome.artifacts_file).hex()
        link.write_text(sha256_hex(outcome.artifacts_file))
    return made


@pytest.fixture
def past(original: Past, tmp_path: Path) -> Iterator[Past]:
    """A copy of the history, for one test."""
    shutil.copytree(original.folder, tmp_path / "files")
    with ExitStack() as sources:
        yield replace(original, folder=tmp_path / "files", sources=sources)


@pytest.mark.parametrize(("width", "scale", "share"), [(4, 1, 2), (2, 7, 2), (2, 1, 4), (4, 18, 1)])
def test_states_are_rebuilt_from_packed_means(tmp_path: Path, width: int, scale: int, share: int) -> None:
    policy = replace(POLICY, width=width, mean_scale=scale)
    past = history(tmp_path / "files", policy, 2)
    gone = past.drop(1, 2)
    for artifacts in past.rounds.values():
        assert past.place(artifacts.mean).stat().st_size == MANIFEST.size // share
    with past.sources:
        assert past.source(policy).fetch(past.states[2], SIZE).read_bytes() == gone[2]


def failure(source: RebuildingSource, sha256: str) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        source.fetch(sha256, SIZE)
    return caught.value


def temporary(source: RebuildingSource) -> set[str]:
    return set() if source._store is None else {path.name for path in source._store.root.glob("??/*")}


def test_a_state_is_made_again_over_several_rounds_and_removed_when_it_is_not_needed(past: Past) -> None:
    gone = past.drop(*range(1, 8), 9, 10)
    source = past.source()
    before = set(past.folder.rglob("*"))
    path = source.fetch(past.states[7], SIZE)
    assert path.read_bytes() == gone[7]
    assert temporary(source) == {past.states[7]}, "what it was made over is removed"
    assert source.fetch(past.states[8], SIZE) == past.place(past.states[8])
    assert source.fetch(past.states[10], SIZE).read_bytes() == gone[10]
    source.discard(past.states[8])
    source.discard(past.states[10])
    source.discard(past.states[7])
    assert temporary(source) == {past.states[7]}, "the last one stays: the next mostly follows from it"
    source.close()
    assert not path.exists()
    assert set(past.folder.rglob("*")) == before


def test_a_computed_state_is_kept_under_its_name(past: Past) -> None:
    source = past.source()
    state = State.open(past.place(past.states[3]), MANIFEST)
    assert source.keep(state) == past.states[3]
    past.drop(3)
    assert source.fetch(past.states[3], SIZE).read_bytes() == state.to_bytes()


def test_a_full_disk_is_said_and_leaves_no_part(past: Past) -> None:
    source = past.source()
    state = State.open(past.place(past.states[1]), MANIFEST)
    past.drop(3)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (lambda: source.fetch(past.states[3], SIZE), lambda: source.keep(state)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, most))
        try:
            with pytest.raises(StoreError) as full:
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        assert full.value.code == "store-full"
        assert temporary(source) == set()


def test_the_next_state_starts_from_the_one_before(past: Past) -> None:
    gone = past.drop(*range(1, 8))
    source = past.source()
    source.fetch(past.states[5], SIZE)
    source.discard(past.states[5])
    for number in range(1, 6):
        past.place(past.rounds[number].mean).unlink()
    assert source.fetch(past.states[6], SIZE).read_bytes() == gone[6]
    source.discard(past.states[6])
    assert temporary(source) == {past.states[6]}


def test_the_numbers_do_not_depend_on_how_many_leaves_are_in_memory(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = past.drop(1, 2, 3)
    monkeypatch.setattr(next_state, "LEAVES", 2)
    assert past.source().fetch(past.states[3], SIZE).read_bytes() == gone[3]


def test_a_file_that_is_no_known_state_is_missing_as_before(past: Past) -> None:
    source = past.source()
    assert failure(source, "ab" * 32).code == "artifact-missing"
    update = past.rounds[3].mean
    past.place(update).unlink()
    assert failure(source, update).code == "artifact-missing"


def test_a_damaged_mean_is_named_and_nothing_is_left(past: Past) -> None:
    past.drop(1, 2, 3)
    mean = past.place(past.rounds[2].mean)
    whole = mean.read_bytes()
    mean.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    source = past.source()
    error = failure(source, past.states[3])
    assert error.code == "artifact-damaged"
    assert "at round 2. What fails is the mean of round 2" in error.message
    assert past.rounds[2].mean in error.message
    mean.write_bytes(whole)
    assert sha256_hex(source.fetch(past.states[3], SIZE).read_bytes()) == past.states[3]


@pytest.mark.parametrize("field", ["rate", "momentum", "mean_scale"])
def test_a_wrong_policy_leads_to_another_state_and_is_found(past: Past, field: str) -> None:
    past.drop(1, 2)
    source = past.source(replace(POLICY, **{field: getattr(POLICY, field) + 1}))
    error = failure(source, past.states[2])
    assert (error.code, error.details["round"]) == ("artifact-damaged", 1)
    assert "round 1 leads to the state" in error.message
    assert temporary(source) == set()


def test_a_lie_about_the_mean_names_the_round_that_lies(past: Past) -> None:
    past.drop(1, 2, 3, 4)
    lie = replace(past.rounds[3], mean=past.rounds[2].mean)
    error = failure(past.source(lies={3: lie}), past.states[4])
    assert (error.code, error.details["round"]) == ("artifact-damaged", 3)


def test_a_lie_about_the_size_of_a_mean_is_found_before_it_is_read(past: Past) -> None:
    past.drop(1)
    lie = replace(past.rounds[1], mean=past.put(b"short"))
    error = failure(past.source(lies={1: lie}), past.states[1])
    assert "the mean of round 1 has 5 bytes" in error.message


def test_artifacts_files_that_lead_in_a_circle_end(past: Past) -> None:
    past.drop(1, 2)
    lies = {1: replace(past.rounds[1], base_state=past.states[2])}
    assert failure(past.source(lies=lies), past.states[2]).code == "artifact-missing"


@pytest.mark.parametrize("link", ["base", "mean"])
def test_a_missing_link_is_named(past: Past, link: str) -> None:
    past.drop(0, 1, 2, 3) if link == "base" else past.drop(1, 2, 3)
    if link == "mean":
        past.place(past.rounds[2].mean).unlink()
    error = failure(past.source(), past.states[3])
    assert error.code == "artifact-missing"
    assert (
        f"the state before round 1: The file {past.states[0]}" if link == "base" else past.rounds[2].mean
    ) in (error.message)


def test_a_round_that_left_the_state_as_it_was_does_not_hide_how_it_is_made(past: Past) -> None:
    gone = past.drop(1, 2)
    idle = replace(past.rounds[3], base_state=past.states[2], state=past.states[2])
    source = past.source(lies={3: idle})
    assert source.fetch(past.states[2], SIZE).read_bytes() == gone[2]


def test_an_artifacts_file_without_a_header_of_the_manifest_is_refused(past: Past) -> None:
    with pytest.raises(ArtifactError, match="round 1 does not say how its state is made"):
        past.source(lies={1: replace(past.rounds[1], header=b"header")})


def test_a_source_without_an_answer_is_no_missing_file(past: Past) -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    source = CoordinatorSource("http://a", retry_timeout=0, transport=httpx.MockTransport(silent))
    states = RebuildingSource(source)
    states.learn(past.rounds[1], POLICY, MANIFEST)
    assert failure(states, past.states[1]).code == "artifact-unreachable"
    states.close()


def test_what_a_coordinator_deleted_by_rule_is_made_again(past: Past) -> None:
    gone = past.drop(1)

    def deleted(request: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "application/problem+json"}
        return httpx.Response(410, headers=headers, json={"code": SPARE})

    coordinator = CoordinatorSource("http://a", transport=httpx.MockTransport(deleted))
    with pytest.raises(ArtifactError, match="was deleted by rule at http://a") as caught:
        coordinator.fetch(past.states[1], SIZE)
    assert (caught.value.code, "section 12.2" in caught.value.remedy) == (SPARE, True)
    states = RebuildingSource(SeveralSources([coordinator, FolderSource(past.folder)]))
    states.learn(past.rounds[1], POLICY, MANIFEST)
    past.sources.callback(states.close)
    assert states.fetch(past.states[1], SIZE).read_bytes() == gone[1]


_KILLED = """
import sys
from pathlib import Path
from folkmoot.artifacts.sources import FolderSource
from folkmoot.artifacts.states import RebuildingSource
from folkmoot.protocol.verdict import Artifacts
from tests.unit.artifacts.test_states import MANIFEST, POLICY, SIZE

folder, wanted, *names = sys.argv[1:]
source = RebuildingSource(FolderSource(Path(folder)))
for name in names:
    source.learn(Artifacts.from_json((Path(folder) / name[:2] / name).read_bytes()), POLICY, MANIFEST)
with source:
    source.fetch(wanted, SIZE)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_the_files_as_they_were(
    past: Past, tmp_path: Path
) -> None:
    gone = past.drop(1, 2, 3)
    before = {path: path.read_bytes() for path in past.folder.rglob("*") if path.is_file()}
    (tmp_path / "tmp").mkdir()
    listed = [sha256_hex(past.rounds[number].to_json()) for number in (1, 2, 3)]
    died = subprocess.run(
        [sys.executable, "-c", _KILLED, str(past.folder), past.states[3], *listed],
        env={
            **os.environ,
            "TMPDIR": str(tmp_path / "tmp"),
            VARIABLE: "states.rebuilt:2" + f"@{tmp_path / 'died'}",
        },
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert {path: path.read_bytes() for path in past.folder.rglob("*") if path.is_file()} == before
    assert past.source().fetch(past.states[3], SIZE).read_bytes() == gone[3]


# By the chain


def commitments(past: Past) -> Any:
    """What stands for the chain."""
    rounds = {
        number: Anchored(
            number, 3, bytes(32), keccak(one.to_json()), void=False, final=True, base=number - 1, policy=1
        )
        for number, one in past.rounds.items()
    }
    return SimpleNamespace(rounds=rounds, policy=lambda number: POLICY)


def test_a_state_of_the_chain_is_had_wherever_it_is(past: Past) -> None:
    gone = past.drop(*range(1, 8), 9, 10)
    chain = commitments(past)
    source = past.sources.enter_context(RebuildingSource(FolderSource(past.folder)))
    assert fetch_state(source, chain, MANIFEST, 11) == past.place(past.states[11])
    for number in (7, 9, 10):
        assert fetch_state(source, chain, MANIFEST, number).read_bytes() == gone[number]
    past.drop(8)
    with pytest.raises(ArtifactError, match=past.states[8]):
        fetch_state(source, chain, MANIFEST, 8)


# By a mirror


def mirrored(past: Past, to: Path, rounds: dict[int, Artifacts], *spare: int) -> dict[int, Copied]:
    """Copy rounds from the folder of the past into a folder that has the first state."""
    mirror = MirrorFolder(to)
    mirror.put_file(past.place(past.states[0]))
    done = {}
    with Copier(mirror, FolderSource(past.folder)) as copier:
        for number, one in rounds.items():
            copier.copied = Copied()
            anchored = Anchored(
                number, 3, bytes(32), keccak(one.to_json()), void=False, final=True, base=number - 1
            )
            copier.round(anchored, MANIFEST, POLICY, unwanted=range(3), spare=spare)
            done[number] = copier.copied
    assert not list((to / "incoming").iterdir())
    return done


def lacking(done: Copied) -> set[str]:
    return {missing.what for missing in done.missing} & {"the state", "the base state", "the mean"}


def test_a_mirror_makes_the_states_that_it_would_fetch(past: Past, tmp_path: Path) -> None:
    """Also those that no source has any more. Of each round it fetches the artifacts file and the mean."""
    past.drop(2, 3, 8)
    done = mirrored(past, tmp_path / "to", past.rounds)
    for number, one in past.rounds.items():
        assert (done[number].made, lacking(done[number])) == (1, set())
        mean = past.place(one.mean).stat().st_size
        assert done[number].bytes == mean + len(one.to_json())
        assert FolderSource(tmp_path / "to").fetch(past.states[number], SIZE).stat().st_size == SIZE


def test_a_new_mirror_makes_a_state_over_the_spare_ones(past: Past, tmp_path: Path) -> None:
    past.drop(8)
    done = mirrored(past, tmp_path / "to", past.rounds, *range(1, 8))
    assert [number for number in done if done[number].made] == [8, 9, 10, 11]
    there = [number for number, name in enumerate(past.states) if list((tmp_path / "to").glob(f"*/{name}"))]
    assert there == [0, 8, 9, 10, 11]


def test_a_mirror_fetches_the_state_that_it_can_not_make(past: Past, tmp_path: Path) -> None:
    """Its base or its mean is missing, or the anchor names another state than the round leads to."""
    other = past.put(State.open(past.place(past.states[9]), MANIFEST).to_bytes()[:-1] + b"\x01")
    lie = replace(past.rounds[2], state=other)
    past.put(lie.to_json())
    (past.folder / "by-keccak" / keccak(lie.to_json()).hex()).write_text(sha256_hex(lie.to_json()))
    past.place(past.rounds[3].mean).unlink()
    done = mirrored(past, tmp_path / "to", {1: past.rounds[1], 2: lie, 3: past.rounds[3], 5: past.rounds[5]})
    assert [one.made for one in done.values()] == [1, 0, 0, 1], "round 5 starts from a base that was fetched"
    assert [lacking(one) for one in done.values()] == [set(), set(), {"the mean"}, set()]
    for name in (other, past.states[3], past.states[5]):
        assert FolderSource(tmp_path / "to").fetch(name, SIZE).stat().st_size == SIZE


def test_states_of_the_tests_move() -> None:
    """Else the tests above would show nothing."""
    world = worlds.World(worlds.state(MANIFEST, 1), policy=POLICY)
    first = world.state
    world.play([world.commit("alice", worlds.update_bytes(MANIFEST, 3))])
    assert isinstance(world.state, State)
    assert np.count_nonzero(world.state.theta - first.theta) > 100
