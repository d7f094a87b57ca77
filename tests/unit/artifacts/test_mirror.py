# SPDX-License-Identifier: Apache-2.0
"""Copying a federation's files from sources that lie, are slow, or have only half of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from folkmoot.artifacts.inventory import Anchored
from folkmoot.artifacts.mirror import Copier, MirrorFolder, Mirroring
from folkmoot.artifacts.sources import CoordinatorSource, FolderSource, SeveralSources, open_sources
from folkmoot.artifacts.store import WISHES
from folkmoot.cli.mirror import parse_rounds
from folkmoot.errors import ArtifactError, InputError, LocalError, StoreError
from folkmoot.protocol.deletion import DeletionWish, to_file
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.manifest import CarriedFile, Manifest, Tensor
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts
from tests.unit import worlds

TABLE = bytes([131]) * 256
"""A carried file, which has the size of an update."""

MANIFEST = Manifest(
    task="tests",
    arrays=(Tensor("weight", (30,)), CarriedFile("table", "uint8", (256,), sha256_hex(TABLE))),
)
STATE = State.genesis(MANIFEST, {"weight": np.ones(30, dtype=np.float32)})
GENESIS = Genesis.of(MANIFEST, STATE, (-8,))
UPDATES = [bytes([index]) * MANIFEST.size for index in range(3)]
MEAN = bytes([128]) * MANIFEST.size
VERDICTS = b'{"format": "what it says does not matter here"}'
REPORT = b'{"accuracy": "0.9"}'


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ARTIFACTS = Artifacts(
    round=1,
    header=b"header",
    manifest=GENESIS.manifest,
    base_state=GENESIS.state,
    updates=(sha(UPDATES[0]), None, sha(UPDATES[1]), sha(UPDATES[2])),
    mean=sha(MEAN),
    state=sha(STATE.to_bytes()),
    verdicts=sha(VERDICTS),
    next_exponents=(-8,),
)
ROUND = Anchored(1, 4, keccak(VERDICTS), keccak(ARTIFACTS.to_json()), void=False, final=True)
FILES = [
    GENESIS.to_json(),
    MANIFEST.to_json(),
    STATE.to_bytes(),
    TABLE,
    *UPDATES,
    MEAN,
    VERDICTS,
    ARTIFACTS.to_json(),
]
DOCUMENTS = [GENESIS.to_json(), VERDICTS, ARTIFACTS.to_json()]


def put(folder: Path, data: bytes) -> Path:
    place = folder / sha(data)[:2] / sha(data)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A folder that has everything."""
    folder = tmp_path / "whole"
    for data in [*FILES, REPORT]:
        put(folder, data)
    (folder / "by-keccak").mkdir()
    for data in DOCUMENTS:
        (folder / "by-keccak" / keccak(data).hex()).write_text(sha(data))
    return folder


@dataclass
class Chain:
    """What stands for the chain: it commits to one round."""

    rounds: dict[int, Anchored] = field(default_factory=lambda: {1: ROUND})
    reports: set[str] = field(default_factory=lambda: {sha(REPORT)})

    over: set[int] = field(default_factory=set)
    old: set[int] = field(default_factory=set)

    def look(self) -> None:
        pass

    @property
    def deployment(self) -> Any:
        return SimpleNamespace(chain_id=worlds.CHAIN_ID, ledger=worlds.LEDGER)

    def expired(self) -> set[int]:
        return self.over

    def free(self) -> set[int]:
        return set(self.rounds)

    def contributors(self, number: int) -> list[str]:
        return [worlds.account(name).address for name in worlds.NAMES[: self.rounds[number].entries]]

    def accepts(self, account: str, digest: bytes, signature: bytes) -> bool:
        return False

    def spare(self) -> set[int]:
        return self.old

    def policy(self, number: int) -> Policy:
        return worlds.policy()

    @property
    def ledger(self) -> Any:
        return SimpleNamespace(genesis_hash=lambda: GENESIS.hash, manifest_hash=lambda: MANIFEST.hash)


def mirroring(to: Path, *sources: Any, chain: Chain | None = None, **options: Any) -> Mirroring:
    source = sources[0] if len(sources) == 1 else SeveralSources(sources)
    return Mirroring(chain or Chain(), MirrorFolder(to), source, **options)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    """Every file that has a final name."""
    return {path.name for path in folder.glob("??/*")}


def test_everything_is_copied_once_and_any_source_of_the_audit_takes_the_folder(
    whole: Path, tmp_path: Path
) -> None:
    made = mirroring(tmp_path / "to", FolderSource(whole))
    done = dict(made.step())
    assert names(tmp_path / "to") == {sha(data) for data in [*FILES, REPORT]}
    assert (done[0].fetched, done[1].fetched, done[1].missing) == (5, len(FILES) - 4, [])
    source = FolderSource(tmp_path / "to")
    for data in DOCUMENTS:
        assert source.document(keccak(data).hex()) == data
    assert [number for number, _ in made.step()] == [0], "a round that is whole is not looked at again"
    again = dict(mirroring(tmp_path / "to", FolderSource(tmp_path / "nowhere")).step())
    assert (again[0].fetched, again[1].fetched, again[1].missing) == (0, 0, [])
    assert again[0].kept + again[1].kept == len(FILES) + 1


def test_a_copy_goes_on_where_it_was_and_puts_right_what_is_damaged(whole: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    dict(mirroring(to, FolderSource(whole)).step())
    (to / sha(UPDATES[0])[:2] / sha(UPDATES[0])).unlink()
    (to / sha(MEAN)[:2] / sha(MEAN)).write_bytes(MEAN[:-1] + b"!")
    (to / "by-keccak" / ROUND.artifacts_hash.hex()).write_text("nonsense")
    done = dict(mirroring(to, FolderSource(whole)).step())
    assert (done[1].fetched, done[1].missing) == (3, [])
    assert FolderSource(to).fetch(sha(MEAN), len(MEAN)).read_bytes() == MEAN


def test_a_source_with_half_is_named_file_by_file_and_another_fills_the_gaps(
    whole: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    for data in FILES:
        if data not in (UPDATES[1], MEAN):
            put(half, data)
    (half / "by-keccak").mkdir()
    for data in DOCUMENTS:
        (half / "by-keccak" / keccak(data).hex()).write_text(sha(data))
    to = tmp_path / "to"
    made = mirroring(to, FolderSource(half))
    done = dict(made.step())
    assert [(each.what, each.file, each.round) for each in done[1].missing] == [
        ("the update file of entry 2", sha(UPDATES[1]), 1),
        ("the mean", sha(MEAN), 1),
    ]
    assert str(half) in done[1].missing[0].why
    assert [(each.what, each.needed) for each in done[0].missing] == [("an evaluation report", False)]
    assert 1 not in made.whole, "it is tried again at the next look"
    asked: list[str] = []

    class Second(FolderSource):
        def fetch(self, sha256: str, limit: int) -> Path:
            asked.append(sha256)
            return super().fetch(sha256, limit)

    done = dict(mirroring(to, FolderSource(half), Second(whole)).step())
    assert done[1].missing == []
    assert asked == [sha(REPORT), sha(UPDATES[1]), sha(MEAN)], "only for what the first has not"


def test_a_lying_source_gets_nothing_into_the_folder(whole: Path, tmp_path: Path) -> None:
    liar = tmp_path / "liar"
    for path in whole.rglob("*"):
        if path.is_file():
            target = liar / path.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (liar / sha(UPDATES[2])[:2] / sha(UPDATES[2])).write_bytes(UPDATES[1])
    (liar / sha(MEAN)[:2] / sha(MEAN)).write_bytes(MEAN + bytes(1))
    to = tmp_path / "to"
    done = dict(mirroring(to, FolderSource(liar)).step())
    assert [each.file for each in done[1].missing] == [sha(UPDATES[2]), sha(MEAN)]
    assert f"its sha256 is {sha(UPDATES[1])}" in done[1].missing[0].why
    assert f"more than {len(MEAN)} bytes" in done[1].missing[1].why
    assert not names(to) & {sha(UPDATES[2]), sha(MEAN)}
    assert dict(mirroring(to, FolderSource(liar), FolderSource(whole)).step())[1].missing == []


def test_bytes_that_change_while_they_are_copied_never_get_a_name(whole: Path, tmp_path: Path) -> None:
    class Changing(FolderSource):
        def fetch(self, sha256: str, limit: int) -> Path:
            path = super().fetch(sha256, limit)
            if sha256 == sha(UPDATES[0]):
                path.write_bytes(b"something else")
            return path

    to = tmp_path / "to"
    done = dict(mirroring(to, Changing(whole)).step())
    assert [each.file for each in done[1].missing] == [sha(UPDATES[0])]
    assert sha(UPDATES[0]) not in names(to)
    assert list((to / "incoming").iterdir()) == []


def test_a_carried_file_that_nobody_had_is_copied_later(whole: Path, tmp_path: Path) -> None:
    place = whole / sha(TABLE)[:2] / sha(TABLE)
    place.write_bytes(bytes(256))
    made = mirroring(tmp_path / "to", FolderSource(whole))
    (missing,) = dict(made.step())[0].missing
    assert (missing.what, missing.file, missing.needed) == (
        "the file of the carried array 'table'",
        sha(TABLE),
        True,
    )
    place.write_bytes(TABLE)
    assert dict(made.step())[0].missing == []
    assert (tmp_path / "to" / sha(TABLE)[:2] / sha(TABLE)).read_bytes() == TABLE


def test_what_an_interrupted_copy_left_is_removed_and_two_do_not_fill_one_folder(tmp_path: Path) -> None:
    folder = MirrorFolder(tmp_path / "to")
    leftover = tmp_path / "to" / "incoming" / "half.part"
    leftover.write_bytes(b"half")
    made = tmp_path / "to" / "incoming" / "folder"
    made.mkdir()
    (made / "part").write_bytes(b"half")
    with folder.held():
        assert not leftover.exists()
        assert not made.exists()
        with pytest.raises(LocalError) as caught, MirrorFolder(tmp_path / "to").held():
            pass
        assert caught.value.code == "already-running"
    with pytest.raises(StoreError, match="can't be used"):
        MirrorFolder(leftover.parent / "lock" / "x")


def test_without_a_genesis_nothing_is_copied(whole: Path, tmp_path: Path) -> None:
    (whole / GENESIS.manifest[:2] / GENESIS.manifest).unlink()
    with pytest.raises(ArtifactError, match="Without the manifest") as caught:
        dict(mirroring(tmp_path / "to", FolderSource(whole)).step())
    assert caught.value.code == "mirror-incomplete"


def test_the_chain_says_which_manifest_it_is(whole: Path, tmp_path: Path) -> None:
    copier = Copier(MirrorFolder(tmp_path / "to"), FolderSource(whole))
    with pytest.raises(ArtifactError, match="not the one that the ledger names"):
        copier.genesis(GENESIS.hash, bytes(32))


@pytest.mark.parametrize(
    ("anchored", "why"),
    [
        (replace(ROUND, number=2), "that of another round"),
        (replace(ROUND, entries=5), "that of another round"),
        (replace(ROUND, artifacts_hash=keccak(VERDICTS)), "not a folkmoot/artifacts/2"),
    ],
)
def test_an_artifacts_file_must_be_the_rounds_own(
    whole: Path, tmp_path: Path, anchored: Anchored, why: str
) -> None:
    chain = Chain({anchored.number: anchored}, set())
    done = dict(mirroring(tmp_path / "to", FolderSource(whole), chain=chain).step())
    assert [why in each.why for each in done[anchored.number].missing] == [True]


def test_files_of_void_rounds_are_wanted_and_not_needed(whole: Path, tmp_path: Path) -> None:
    (whole / sha(MEAN)[:2] / sha(MEAN)).unlink()
    chain = Chain({1: replace(ROUND, void=True)}, set())
    done = dict(mirroring(tmp_path / "to", FolderSource(whole), chain=chain).step())
    assert [(each.file, each.needed) for each in done[1].missing] == [(sha(MEAN), False)]


def test_only_the_rounds_that_are_wanted(whole: Path, tmp_path: Path) -> None:
    done = dict(mirroring(tmp_path / "to", FolderSource(whole), rounds=range(2, 4)).step())
    assert list(done) == [0]
    assert parse_rounds("3..7") == range(3, 8)
    assert parse_rounds("3") == range(3, 4)
    assert parse_rounds(None) is None
    for text in ("", "0..1", "7..3", "a..b", "1..", "-1..2"):
        with pytest.raises(InputError):
            parse_rounds(text)


class Silent:
    """A source that never answers."""

    def __init__(self) -> None:
        self.asked = 0

    def fetch(self, sha256: str, limit: int) -> Path:
        self.asked += 1
        raise ArtifactError("no answer", code="artifact-unreachable", details={"source": "silent"})

    def document(self, keccak256: str) -> bytes:
        self.asked += 1
        raise ArtifactError("no answer", code="artifact-unreachable", details={"source": "silent"})

    def wishes(self) -> tuple[DeletionWish, ...]:
        raise ArtifactError("no answer", code="artifact-unreachable", details={"source": "silent"})

    def discard(self, sha256: str) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_silent_source_is_left_in_peace_while_others_answer(whole: Path, tmp_path: Path) -> None:
    now = [0.0]
    silent = Silent()
    source = SeveralSources([silent, FolderSource(whole)], rest=60, clock=lambda: now[0])
    assert dict(mirroring(tmp_path / "to", source).step())[1].missing == []
    assert silent.asked == 1
    now[0] = 61
    source.fetch(sha(REPORT), 100)
    assert silent.asked == 2


def test_where_nobody_answers_the_copy_ends_soon(whole: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    copier = Copier(MirrorFolder(to), FolderSource(whole))
    _, manifest = copier.genesis(GENESIS.hash, MANIFEST.hash)
    for data in (VERDICTS, ARTIFACTS.to_json()):
        copier._folder.put_document(data)
    silent = Silent()
    with pytest.raises(ArtifactError, match="3 files in a row") as caught:
        Copier(MirrorFolder(to), silent).round(ROUND, manifest)
    assert silent.asked == 3
    assert [each["file"] for each in caught.value.details["missing"]] == [sha(data) for data in UPDATES]


def test_several_sources_say_what_each_of_them_said(whole: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (whole / sha(REPORT)[:2] / sha(REPORT)).write_bytes(b"another report")
    source = open_sources([str(empty), str(whole)])
    with pytest.raises(ArtifactError, match="any of 2 sources") as caught:
        source.fetch(sha(REPORT), 100)
    assert caught.value.code == "artifact-damaged"
    assert str(empty) in caught.value.message
    assert str(whole) in caught.value.message
    with pytest.raises(ArtifactError) as caught:
        SeveralSources([Silent(), FolderSource(whole)]).document("00" * 32)
    assert caught.value.code == "artifact-unreachable", "nobody knows what the silent one has"
    source.discard(sha(REPORT))
    source.close()
    with pytest.raises(ArtifactError, match="no folder"):
        open_sources([str(whole), str(tmp_path / "nowhere")])


def test_one_who_dribbles_is_given_up() -> None:
    now = [0.0]

    def dribble() -> Iterator[bytes]:
        while True:
            now[0] += 10
            yield b"."

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=dribble()))
    with (
        CoordinatorSource("http://slow.test", transport=transport, clock=lambda: now[0]) as source,
        pytest.raises(ArtifactError, match="it sent 4 bytes in 40 s") as caught,
    ):
        source.fetch("00" * 32, 10**9)
    assert caught.value.code == "artifact-unreachable"


def test_a_web_server_with_the_folder_is_a_source_too(whole: Path) -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        path = whole / request.url.path.removeprefix("/mirror/")
        if request.url.path.startswith("/mirror/") and path.is_file():
            return httpx.Response(200, content=path.read_bytes())
        return httpx.Response(404, headers={"Content-Type": "text/html"})

    with CoordinatorSource("http://web.test/mirror/", transport=httpx.MockTransport(handle)) as source:
        assert source.fetch(sha(REPORT), 100).read_bytes() == REPORT
        assert source.document(ROUND.artifacts_hash.hex()) == ARTIFACTS.to_json()
        assert asked[0].endswith(f"/v1/artifacts/{sha(REPORT)}")
        assert not any("/v1/" in path for path in asked[1:]), "once it is known, /v1 is not asked for"
        with pytest.raises(ArtifactError) as caught:
            source.fetch("00" * 32, 100)
        assert caught.value.code == "artifact-missing"
        (whole / "by-keccak" / ROUND.artifacts_hash.hex()).write_text("../../etc/passwd")
        with pytest.raises(ArtifactError, match="does not hold a sha256"):
            source.document(ROUND.artifacts_hash.hex())


def test_a_coordinator_that_has_not_a_file_is_asked_once() -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(404, headers={"Content-Type": "application/problem+json"}, content=b"{}")

    with (
        CoordinatorSource("http://coordinator.test", transport=httpx.MockTransport(handle)) as source,
        pytest.raises(ArtifactError) as caught,
    ):
        source.fetch("00" * 32, 100)
    assert (caught.value.code, len(asked)) == ("artifact-missing", 1)


SECOND = replace(ARTIFACTS, round=2, updates=(sha(UPDATES[0]), None, None, None))
AGAIN = replace(ROUND, number=2, artifacts_hash=keccak(SECOND.to_json()))
"""A round in which the first update of round 1 was committed again."""


@pytest.fixture
def two(whole: Path) -> Chain:
    """A chain with both rounds, whose files are in the folder."""
    put(whole, SECOND.to_json())
    (whole / "by-keccak" / AGAIN.artifacts_hash.hex()).write_text(sha(SECOND.to_json()))
    return Chain({1: ROUND, 2: AGAIN})


def test_expired_updates_are_deleted_except_those_of_a_round_that_keeps_them(
    whole: Path, tmp_path: Path, two: Chain
) -> None:
    to = tmp_path / "to"
    made = mirroring(to, FolderSource(whole), chain=two)
    dict(made.step())
    before = names(to)
    two.over = {1}
    assert [(number, done.deleted) for number, done in made.step()] == [(0, 0), (1, 2)]
    assert before - names(to) == {sha(UPDATES[1]), sha(UPDATES[2])}
    assert [number for number, _ in made.step()] == [0], "what was deleted is not looked at again"
    two.over = {1, 2}
    assert [(number, done.deleted) for number, done in made.step()] == [(0, 0), (2, 1)]
    assert before - names(to) == {sha(data) for data in UPDATES}


def test_a_round_that_lists_other_files_as_updates_makes_no_mirror_delete_them(
    whole: Path, tmp_path: Path
) -> None:
    """The anchor of a void round may name any list."""
    others = [data for data in FILES if data not in UPDATES][: len(ARTIFACTS.updates)]
    lie = replace(ARTIFACTS, round=2, updates=tuple(sha(data) for data in others))
    put(whole, lie.to_json())
    (whole / "by-keccak" / keccak(lie.to_json()).hex()).write_text(sha(lie.to_json()))
    to = tmp_path / "to"
    chain = Chain({1: ROUND, 2: replace(ROUND, number=2, artifacts_hash=keccak(lie.to_json()), void=True)})
    made = mirroring(to, FolderSource(whole), chain=chain)
    dict(made.step())
    before = names(to)
    chain.over = {2}
    assert sum(done.deleted for _, done in made.step()) == 0
    assert names(to) == before


@pytest.mark.parametrize("over", [{2}, {1, 2}], ids=["the liar's round", "both rounds"])
def test_a_mean_that_is_listed_as_an_update_stays(whole: Path, tmp_path: Path, over: set[int]) -> None:
    """A mean has the size of an update, and the bytes of one if that alone has a weight."""
    lie = replace(ARTIFACTS, round=2, updates=(sha(MEAN), None, None, None), mean=sha(UPDATES[0]))
    put(whole, lie.to_json())
    (whole / "by-keccak" / keccak(lie.to_json()).hex()).write_text(sha(lie.to_json()))
    to = tmp_path / "to"
    chain = Chain({1: ROUND, 2: replace(ROUND, number=2, artifacts_hash=keccak(lie.to_json()), void=True)})
    made = mirroring(to, FolderSource(whole), chain=chain)
    dict(made.step())
    before = names(to)
    chain.over = over
    dict(made.step())
    assert before - names(to) == ({sha(data) for data in UPDATES} if 1 in over else set())
    assert sha(MEAN) in names(to)


def test_an_update_that_is_its_rounds_mean_stays(whole: Path, tmp_path: Path, two: Chain) -> None:
    alone = replace(ARTIFACTS, mean=sha(UPDATES[0]))
    put(whole, alone.to_json())
    (whole / "by-keccak" / keccak(alone.to_json()).hex()).write_text(sha(alone.to_json()))
    to = tmp_path / "to"
    chain = Chain({1: replace(ROUND, artifacts_hash=keccak(alone.to_json()))})
    made = mirroring(to, FolderSource(whole), chain=chain)
    dict(made.step())
    chain.over = {1}
    assert [(number, done.deleted) for number, done in made.step()] == [(0, 0), (1, 2)]
    assert sha(UPDATES[0]) in names(to)
    chain.rounds[2] = replace(two.rounds[2], void=True)  # lists it as an update, later
    dict(made.step())
    chain.over = {1, 2}
    assert sum(done.deleted for _, done in made.step()) == 0
    assert sha(UPDATES[0]) in names(to)


def test_a_new_mirror_does_not_fetch_expired_updates_and_lacks_nothing(
    whole: Path, tmp_path: Path, two: Chain
) -> None:
    two.over = {1}
    done = dict(mirroring(tmp_path / "to", FolderSource(whole), chain=two).step())
    assert (done[1].missing, done[2].missing) == ([], [])
    assert {sha(data) for data in UPDATES} & names(tmp_path / "to") == {sha(UPDATES[0])}


def test_a_mirror_deletes_what_a_contributor_wants_gone_and_hands_the_wish_on(
    whole: Path, tmp_path: Path, two: Chain
) -> None:
    """Alice's file of round 1 is listed in round 2, too, which her wish does not name."""
    to, alice, carol = tmp_path / "to", worlds.account("alice"), worlds.account("carol")
    made = mirroring(to, FolderSource(whole), chain=two)
    dict(made.step())
    before = names(to)
    signed = [DeletionWish(one.address, 1).signed(one, worlds.DOMAIN) for one in (alice, carol)]
    forged = replace(signed[0], contributor=worlds.account("dave").address)
    (whole / WISHES).write_bytes(to_file([*signed, forged]))
    assert [(number, done.deleted) for number, done in made.step()] == [(0, 0), (1, 1)]
    assert before - names(to) == {sha(UPDATES[1])}
    assert set(FolderSource(to).wishes()) == set(signed)
    (whole / WISHES).unlink()
    later = mirroring(to, FolderSource(whole), chain=two)
    assert sum(done.fetched for _, done in later.step()) == 0, "it knows the wishes from its own list"


def test_a_mirror_that_was_killed_while_it_deleted_goes_on(whole: Path, tmp_path: Path, two: Chain) -> None:
    to = tmp_path / "to"
    dict(mirroring(to, FolderSource(whole), chain=two).step())
    (to / sha(UPDATES[1])[:2] / sha(UPDATES[1])).unlink()
    two.over = {1, 2}
    dict(mirroring(to, FolderSource(tmp_path / "nowhere"), chain=two).step())
    assert not {sha(data) for data in UPDATES} & names(to)


# States that are rebuilt (docs/protocol.md section 12.2)


@dataclass
class Line:
    """Rounds 1 to 5 on each other, of which each has another state."""

    chain: Chain
    states: list[bytes]
    means: list[bytes]


def other_state(seed: int) -> bytes:
    return State.genesis(MANIFEST, {"weight": np.full(30, seed, dtype=np.float32)}).to_bytes()


@pytest.fixture
def line(whole: Path) -> Line:
    states = [STATE.to_bytes(), *(other_state(seed) for seed in range(2, 7))]
    means = [bytes([200 + number]) * MANIFEST.size for number in range(6)]
    chain = Chain({})
    for number in range(1, 6):
        listed = replace(
            ARTIFACTS,
            round=number,
            base_state=sha(states[number - 1]),
            mean=sha(means[number]),
            state=sha(states[number]),
        )
        add(whole, chain, listed, base=number - 1)
        for data in (states[number], means[number]):
            put(whole, data)
    return Line(chain, states, means)


def add(folder: Path, chain: Chain, listed: Artifacts, **changes: Any) -> None:
    """Anchor a round, and put its artifacts file into a folder."""
    put(folder, listed.to_json())
    (folder / "by-keccak" / keccak(listed.to_json()).hex()).write_text(sha(listed.to_json()))
    found = replace(ROUND, number=listed.round, artifacts_hash=keccak(listed.to_json()), **changes)
    chain.rounds[listed.round] = found


def states_in(folder: Path, line: Line) -> list[int]:
    """Rounds whose states are there."""
    return [number for number, data in enumerate(line.states) if sha(data) in names(folder)]


def test_spare_states_are_deleted_and_never_fetched_again(whole: Path, tmp_path: Path, line: Line) -> None:
    made = mirroring(tmp_path / "to", FolderSource(whole), chain=line.chain)
    dict(made.step())
    before = names(tmp_path / "to")
    line.chain.old = {1, 2, 4}
    assert [(number, done.deleted) for number, done in made.step() if number] == [(1, 1), (2, 1), (4, 1)]
    assert before - names(tmp_path / "to") == {sha(line.states[number]) for number in (1, 2, 4)}
    assert [number for number, _ in made.step()] == [0], "what was deleted is not looked at again"
    for to in (tmp_path / "to", tmp_path / "new"):
        done = dict(mirroring(to, FolderSource(whole), chain=line.chain).step())
        assert not any(each.missing for each in done.values())
        assert states_in(to, line) == [0, 3, 5]


def test_a_state_stays_while_another_round_left_it_as_it_was(whole: Path, tmp_path: Path, line: Line) -> None:
    idle = replace(ARTIFACTS, round=6, base_state=sha(line.states[2]), state=sha(line.states[2]))
    again = replace(ARTIFACTS, round=7, state=GENESIS.state)
    add(whole, line.chain, idle, base=2)
    add(whole, line.chain, again, base=6)
    made = mirroring(tmp_path / "to", FolderSource(whole), chain=line.chain)
    dict(made.step())
    line.chain.old = {1, 2, 7}
    dict(made.step())
    assert states_in(tmp_path / "to", line) == [0, 2, 3, 4, 5]


def test_a_void_round_that_lists_another_file_as_its_state_makes_no_mirror_delete_it(
    whole: Path, tmp_path: Path, line: Line
) -> None:
    document = b"{" + bytes(MANIFEST.state_file_size - 1)
    report = sha(document)
    put(whole, document)
    line.chain.reports = {report}
    add(whole, line.chain, replace(ARTIFACTS, round=6, state=report), base=5, void=True)
    made = mirroring(tmp_path / "to", FolderSource(whole), chain=line.chain)
    dict(made.step())
    line.chain.old = {6}
    dict(made.step())
    assert report in names(tmp_path / "to")


def test_a_mirror_of_some_rounds_has_what_their_first_state_is_rebuilt_from(
    whole: Path, tmp_path: Path, line: Line
) -> None:
    line.chain.old = {2, 3}
    done = dict(mirroring(tmp_path / "to", FolderSource(whole), chain=line.chain, rounds=range(4, 6)).step())
    assert not any(each.missing for each in done.values())
    assert list(done) == [0, 2, 3, 4, 5]
    assert states_in(tmp_path / "to", line) == [0, 1, 4, 5]
    there = [number for number, data in enumerate(line.means) if sha(data) in names(tmp_path / "to")]
    assert there == [2, 3, 4, 5]


def test_a_round_that_lists_a_mean_as_an_update_makes_no_mirror_delete_it(
    whole: Path, tmp_path: Path, line: Line
) -> None:
    lie = replace(ARTIFACTS, round=6, updates=(sha(line.means[3]), None, None, None))
    add(whole, line.chain, lie, base=5, void=True)
    made = mirroring(tmp_path / "to", FolderSource(whole), chain=line.chain)
    dict(made.step())
    line.chain.over = {6}
    dict(made.step())
    assert sha(line.means[3]) in names(tmp_path / "to")


def test_what_a_coordinator_deleted_by_rule_is_told_apart_from_what_it_lacks() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        gone = request.url.path.endswith(sha(UPDATES[0]))
        headers = {"Content-Type": "application/problem+json"}
        return httpx.Response(
            410 if gone else 404, headers=headers, json={"code": "expired" if gone else "x"}
        )

    with CoordinatorSource("http://c.test", transport=httpx.MockTransport(answer)) as source:
        for data, code in ((UPDATES[0], "expired"), (UPDATES[1], "artifact-missing")):
            with pytest.raises(ArtifactError) as caught:
                SeveralSources([source]).fetch(sha(data), 10_000)
            assert caught.value.code == code


def test_a_410_of_a_web_server_is_no_deletion_by_rule() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(410, text="Gone"))
    with CoordinatorSource("http://c.test", transport=transport) as source:
        with pytest.raises(ArtifactError) as caught:
            source.fetch(sha(UPDATES[0]), 10_000)
        assert caught.value.code == "artifact-unreachable"
