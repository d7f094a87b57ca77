# SPDX-License-Identifier: Apache-2.0
"""Updates and states that are deleted by rule: by a coordinator, a mirror, and seen by an audit, on a real history."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folkmoot_lab.leaks.published import read_own
from sqlalchemy import select

from client.tasks.evaluation import fetch_weights
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.model import model_of
from folkmoot.artifacts.retention import Retention
from folkmoot.artifacts.sources import CoordinatorSource, FolderSource
from folkmoot.artifacts.store import WISHES
from folkmoot.audit import attestations
from folkmoot.audit.audit import Summary, audit
from folkmoot.audit.ledger_state import Expired
from folkmoot.audit.report import rows
from folkmoot.cli.main import run
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ArtifactError, AuditFailure, CoordinatorError, FolkmootError, InputError
from folkmoot.ledger.follower import REORG_DEPTH
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.deletion import DeletionWish, to_file
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.state import State
from folkmoot.rpc.client import Rpc
from folkmoot.runtime.fault_points import VARIABLE
from server.chain.view import ChainView
from server.db.models import Artifact, Entry, LogEntry, Round, Update, Wish
from server.restore.compare import Comparison
from server.restore.deletion import Deletion
from server.restore.repair import is_whole, repair
from server.restore.restore import restore
from server.settings import Settings
from server.storage import Storage
from tests import carried, factories
from tests.fixed_values import other_values
from tests.integration.audit_world import EXPONENTS, MANIFEST, Folder, Related, World
from tests.integration.coordinator_world import Running, make_home, serving, until
from tests.killed import Mortal, folkmoot_command

RETAIN = WINDOW + 1
ROUNDS = 18
EXPIRED = list(range(1, 9))
"""Rounds of `history` with more than RETAIN final rounds above them, once no fault can be proven any more."""
FREE = [9, 10]
"""Rounds with at least WINDOW final rounds above them, and not more than RETAIN. The state of the first is spare."""
ALONE = FREE[1]
"""A round with an update of Ada alone: its file is the mean of the round, too."""
SPARE = [1, 2, 3, 4, 5, 6, 7, 9]
"""Rounds of `history` whose states may be deleted."""
KEPT = 8
"""A round of `history` whose updates expire and whose state stays."""
NAMES = ["ada", "ben"]


@pytest.fixture(scope="module")
def history(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Final rounds under `mean`, of which two are expired, but none before the unbonding period is over."""
    policy = factories.policy(
        min_contributors=1, retain_rounds=RETAIN, commit_window=100, challenge_window=10
    )
    world = World.create(chain, tmp_path_factory.mktemp("history") / "artifacts", policy)
    for number in range(1, ROUNDS + 1):
        world.finalize(world.play(NAMES[:1] if number == ALONE else NAMES))
    yield world
    world.federation.chain.close()


@pytest.fixture
def young(history: World, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """The history at its end, for one test: files are copies, the chain is put back."""
    snapshot = chain.snapshot()
    yield history.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


@pytest.fixture
def world(young: World) -> World:
    """The history when files may be deleted."""
    young.advance(factories.GOVERNANCE.unbonding)
    young.federation.anvil.call("anvil_mine", hex(REORG_DEPTH + 1))
    return young


def audited(world: World, **options: Any) -> Summary:
    source = FolderSource(world.folder.path)
    return audit([world.federation.anvil.url], world.federation.deployment, source, **options)


def updates_of(world: World, *numbers: int) -> list[str]:
    """sha256 of the update files of rounds."""
    return [
        sha256_hex(data) for number in numbers for data in world.rounds[number].updates if data is not None
    ]


def states_of(world: World, *numbers: int) -> list[str]:
    """sha256 of the state files of rounds."""
    return [world.states[number].sha256() for number in numbers]


def delete(folder: Folder, names: list[str]) -> None:
    for name in names:
        folder.place(name).unlink()


# The audit


def test_an_audit_counts_rounds_apart_whose_updates_were_deleted_by_rule(world: World) -> None:
    assert (audited(world).recomputed, audited(world).expired) == (ROUNDS, {})
    delete(world.folder, updates_of(world, *EXPIRED))
    found = audited(world)
    assert (found.recomputed, found.expired) == (
        ROUNDS - len(EXPIRED),
        dict.fromkeys(EXPIRED, Expired.RETENTION),
    )
    assert found.to_json()["expired"][0] == {"round": 1, "why": "retention", "attestedBy": []}
    assert rows(found)["expired"].startswith(
        "8 rounds, not recomputed, and checked without the updates: rounds 1-8"
    )


@pytest.mark.long
def test_one_missing_update_is_enough_and_those_that_are_there_are_checked(world: World) -> None:
    gone, there = updates_of(world, 1)
    delete(world.folder, [gone])
    assert audited(world).expired == {1: Expired.RETENTION}
    world.folder.place(there).write_bytes(b"x" * world.folder.place(there).stat().st_size)
    with pytest.raises(AuditFailure, match="Round 1, contributor"):
        audited(world)


@pytest.mark.long
def test_a_file_that_is_missing_before_its_time_is_a_failure(world: World) -> None:
    delete(world.folder, updates_of(world, EXPIRED[-1] + 1)[:1])
    with pytest.raises(AuditFailure) as caught:
        audited(world)
    assert caught.value.details["round"] == EXPIRED[-1] + 1


@pytest.mark.long
def test_no_file_may_be_missing_while_a_fault_can_be_proven(young: World) -> None:
    delete(young.folder, updates_of(young, 1)[:1])
    with pytest.raises(AuditFailure) as caught:
        audited(young)
    assert caught.value.details["round"] == 1


@pytest.mark.long
@pytest.mark.parametrize("what", ["mean", "state", "verdicts"])
def test_the_other_files_of_an_expired_round_must_be_there(world: World, what: str) -> None:
    delete(world.folder, updates_of(world, KEPT))
    outcome = world.rounds[KEPT].outcome
    assert outcome is not None
    delete(world.folder, [getattr(outcome.artifacts, what)])
    with pytest.raises(AuditFailure) as caught:
        audited(world)
    assert caught.value.details["round"] == KEPT


@pytest.mark.long
@pytest.mark.parametrize("from_round", [1, 7])
def test_an_audit_does_not_need_spare_states(world: World, from_round: int) -> None:
    delete(world.folder, states_of(world, *SPARE))
    delete(world.folder, updates_of(world, *EXPIRED))
    found = audited(world, from_round=from_round)
    assert found.recomputed == ROUNDS - len(EXPIRED)
    assert list(found.expired) == EXPIRED[from_round - 1 :]


@pytest.mark.long
def test_an_audit_that_goes_on_after_a_spare_state_rebuilds_it(young: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    audited(young, journal=journal)
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:7]))
    delete(young.folder, states_of(young, *SPARE))
    found = audited(young, journal=journal)
    assert found.journal is not None
    assert (len(found.journal.kept), found.recomputed) == (6, ROUNDS)


@pytest.mark.long
def test_a_state_that_is_missing_before_its_time_is_a_failure(young: World) -> None:
    delete(young.folder, states_of(young, SPARE[-1] + 1))
    with pytest.raises(AuditFailure) as caught:
        audited(young)
    assert caught.value.details["round"] == SPARE[-1] + 1


@pytest.mark.long
def test_a_spare_state_that_cannot_be_rebuilt_is_a_failure_that_names_the_mean(young: World) -> None:
    delete(young.folder, states_of(young, *SPARE))
    outcome = young.rounds[5].outcome
    assert outcome is not None
    delete(young.folder, [outcome.artifacts.mean])
    with pytest.raises(AuditFailure, match="the mean of round 5") as caught:
        audited(young, from_round=7)
    assert caught.value.details["round"] == 6


@pytest.mark.long
@pytest.mark.parametrize("number", [0, 6, KEPT])
def test_the_model_of_an_old_version_is_the_same_without_its_state(young: World, number: int) -> None:
    expected = young.states[number].to_safetensors(MANIFEST, number, files=carried.files)
    delete(young.folder, states_of(young, *SPARE))
    with Rpc(young.federation.anvil.url) as rpc:
        made = model_of(rpc, young.federation.deployment, FolderSource(young.folder.path), number)
    assert (b"".join(made.chunks()), made.final) == (expected, True)


@pytest.mark.long
def test_a_journal_keeps_why_a_round_was_not_recomputed(world: World, tmp_path: Path) -> None:
    delete(world.folder, updates_of(world, *EXPIRED))
    first = audited(world, journal=tmp_path / "journal")
    again = audited(world, journal=tmp_path / "journal")
    assert again.expired == first.expired == dict.fromkeys(EXPIRED, Expired.RETENTION)
    assert again.journal is not None
    assert len(again.journal.kept) == ROUNDS


# Attestations


def attested(world: World, folder: Path, name: str) -> Path:
    """Let somebody audit, and sign what was found."""
    path = folder / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    found = audited(world)
    attestations.write(attestations.attest(found, world.federation.deployment, factories.account(name)), path)
    return path


@pytest.mark.long
def test_a_contributor_reads_what_it_published_without_spare_states(young: World) -> None:
    ada, source = factories.account("ada").address, FolderSource(young.folder.path)
    with Rpc(young.federation.anvil.url) as rpc:
        before = read_own(rpc, young.federation.deployment, source, ada)
        delete(young.folder, states_of(young, *SPARE))
        after = read_own(rpc, young.federation.deployment, source, ada)
    assert [one.number for one in after.rounds] == list(range(1, ROUNDS + 1))
    for one, other in zip(before.rounds, after.rounds, strict=True):
        assert np.array_equal(one.base, other.base)


@pytest.mark.long
def test_an_attestation_outlives_the_updates(world: World, tmp_path: Path) -> None:
    attested(world, tmp_path / "known", "ada")
    delete(world.folder, updates_of(world, 1))
    attested(world, tmp_path / "known", "ben")
    delete(world.folder, updates_of(world, 2))
    found = audited(world)
    known = attestations.read(tmp_path / "known", world.federation.deployment)
    attestations.compare(known, found)
    ada, ben = (factories.account(name).address for name in NAMES)
    assert found.attested == {1: [ada], 2: [ada, ben]}
    assert f"{ben} attests that it recomputed round 2" in rows(found)["expired"]


@pytest.mark.long
def test_the_command_signs_and_reads_attestations(
    world: World,
    tmp_path: Path,
    keystore: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.federation.deployment.save(tmp_path / "deployment.json")
    monkeypatch.setenv("FOLKMOOT_PASSWORD", factories.PASSWORD)
    words = ["audit", "--rpc", world.federation.anvil.url, "--deployment", str(tmp_path / "deployment.json")]
    words += ["--artifacts", str(world.folder.path), "--json"]
    known = tmp_path / "known"
    known.mkdir()
    assert run([*words, "--attest", str(known / "ada.json"), "--keystore", str(keystore("ada"))]) == 0
    capsys.readouterr()
    delete(world.folder, updates_of(world, *EXPIRED))
    assert run([*words, "--attestations", str(known)]) == 0
    ada = factories.account("ada").address
    assert json.loads(capsys.readouterr().out)["expired"] == [
        {"round": number, "why": "retention", "attestedBy": [ada]} for number in EXPIRED
    ]
    (known / "ada.json").write_bytes((known / "ada.json").read_bytes().replace(b'"block":', b'"block":1'))
    assert run([*words, "--attestations", str(known)]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "invalid-attestation"


@pytest.mark.long
def test_an_attestation_of_another_anchor_does_not_count(world: World, tmp_path: Path) -> None:
    attested(world, tmp_path / "known", "ada")
    delete(world.folder, updates_of(world, *EXPIRED))
    found = audited(world)
    found.anchors[1] = bytes(32)
    attestations.compare(attestations.read(tmp_path / "known", world.federation.deployment), found)
    assert list(found.attested) == EXPIRED[1:]
    assert any("recomputed another anchor of round 1" in note for note in found.notes)


@pytest.mark.long
def test_attestations_of_another_ledger_or_none_are_refused(world: World, tmp_path: Path) -> None:
    deployment = world.federation.deployment
    with pytest.raises(InputError, match="no file that ends with"):
        attestations.read(tmp_path, deployment)
    known = attested(world, tmp_path / "known", "ada").parent
    (tmp_path / "other").mkdir()
    moved = json.loads(json.dumps(deployment.to_json()))
    moved["ledger"] = deployment.vault
    (tmp_path / "other" / "deployment.json").write_text(json.dumps(moved))
    other = type(deployment).load(tmp_path / "other" / "deployment.json")
    with pytest.raises(InputError, match="it is of") as caught:
        attestations.read(known, other)
    assert caught.value.code == "invalid-attestation"


# The coordinator


@pytest.fixture(autouse=True)
def swift_upkeep() -> Iterator[None]:
    with other_values({"server.coordinator.SCRUB_PAUSE": 0.05}):
        yield


def home_of(world: World, folder: Path) -> Settings:
    """Restore a coordinator of a history, with all files that may still be there."""
    start = (Genesis.of(MANIFEST, world.states[0], EXPONENTS), MANIFEST, world.states[0])
    made = make_home(folder, world.federation, start, time_travel=False)
    restore(made, world.federation.coordinator.address, FolderSource(world.folder.path))
    return made


def led(settings: Settings, world: World) -> None:
    """Let a restored coordinator have the states of all rounds, as one that led them has."""
    storage = Storage.open(settings)
    with storage.database.write() as session:
        for number in SPARE:
            row = session.get_one(Artifact, storage.store.put(world.states[number].to_bytes()).sha256)
            row.deleted, row.gone = None, False
    storage.database.close()


def come_of_age(world: World) -> None:
    """Let the time pass in which a fault can be proven."""
    world.advance(factories.GOVERNANCE.unbonding)
    world.federation.anvil.call("anvil_mine", hex(REORG_DEPTH + 1))


def parts(here: Running) -> tuple[Storage, ChainView, Federation]:
    return here.coordinator.storage, here.coordinator.chain, here.coordinator.federation


def in_store(settings: Settings, names: list[str]) -> list[str]:
    store = settings.open_store()
    return [name for name in names if store.has(name)]


def row_of(here: Running, name: str) -> Artifact:
    with here.coordinator.storage.database.read() as session:
        row = session.get_one(Artifact, name)
        session.expunge_all()
    return row


def refusal_of(api: CoordinatorApi, sha256: str) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        api.files.read(sha256)
    return caught.value


def test_a_coordinator_deletes_expired_updates_and_nothing_else(young: World, tmp_path: Path) -> None:
    settings, gone = home_of(young, tmp_path / "home"), updates_of(young, *EXPIRED)
    store, spare = settings.store_folder, states_of(young, *SPARE)
    led(settings, young)
    before = {path.name for path in store.glob("??/*")}
    with serving(settings, young.federation) as here:
        deletion = Deletion(*parts(here))
        deletion()
        assert in_store(settings, gone) == gone, "a fault can still be proven"
        come_of_age(young)
        until(lambda: not in_store(settings, gone), what="the deletion")
        until(lambda: not in_store(settings, spare), what="the deletion of states")
        assert before - {path.name for path in store.glob("??/*")} == {*gone, *spare}
        assert here.api.files.read(updates_of(young, EXPIRED[-1] + 1)[0])
        for name in gone:
            assert refusal_of(here.api, name).code == "expired"
        for name in spare:
            assert refusal_of(here.api, name).code == "spare-state"
        with here.coordinator.storage.database.read() as session:
            rows = list(session.scalars(select(Artifact).where(Artifact.deleted.is_not(None))))
            assert {(row.sha256, row.deleted, row.gone) for row in rows} == {
                *((name, "retention", True) for name in gone),
                *((name, "spare", True) for name in spare),
            }
        comparison = Comparison(*parts(here))
        assert list(comparison.everything(comparison.rounds())) == [], "the rows say rightly what is deleted"
        found = repair(here.coordinator.storage.database, settings.open_store(), None)
        assert (found.lacking, found.files) == ([], len(before) - len(gone) - len(spare))
        assert not any("Missing" in warning for warning in here.worker.warnings)
        with here.coordinator.storage.database.read() as session:
            told = session.scalars(select(LogEntry.data).where(LogEntry.type == "updates-deleted"))
            assert list(told) == [{"round": n, "files": 2, "reason": "retention"} for n in EXPIRED]
            told = session.scalars(select(LogEntry.data).where(LogEntry.type == "state-deleted"))
            assert list(told) == [{"round": n, "reason": "spare"} for n in SPARE]
        with CoordinatorSource(here.api.url) as source:
            summary = audit([young.federation.anvil.url], young.federation.deployment, source)
        assert list(summary.expired) == EXPIRED
        assert summary.models >= ROUNDS


@pytest.mark.long
def test_a_state_that_a_reorg_makes_needed_again_is_rebuilt(young: World, tmp_path: Path) -> None:
    """The rows are those of a coordinator that deleted a state before the chain lost final rounds above it."""
    settings, number = home_of(young, tmp_path / "home"), SPARE[-1] + 1
    (name,) = states_of(young, number)
    storage = Storage.open(settings)
    with storage.database.write() as session:
        row = session.get_one(Artifact, name)
        row.deleted, row.gone = "spare", True
        storage.store.delete(name)
    storage.database.close()
    with serving(settings, young.federation) as here:
        until(lambda: row_of(here, name).deleted is None, what="the state")
        assert State.from_bytes(here.api.files.read(name), MANIFEST).sha256() == name


@pytest.mark.long
def test_a_kept_state_that_no_mirror_has_is_rebuilt(young: World, tmp_path: Path) -> None:
    settings = home_of(young, tmp_path / "home")
    missing, damaged = states_of(young, KEPT, ROUNDS)
    with serving(settings, young.federation) as here:
        store = here.coordinator.storage.store
        store.delete(missing)
        store.path(damaged).write_bytes(b"another file")
        for name in (missing, damaged):
            with pytest.raises(FolkmootError):
                here.api.files.read(name)
            until(partial(is_whole, store, row_of(here, name)), what="the state")
            assert State.from_bytes(here.api.files.read(name), MANIFEST).sha256() == name


class ByRound(Deletion):
    """For rounds 1 and 3 the time is over, as if round 2 had a policy that keeps its updates for ever."""

    def _candidates(self) -> list[int]:
        return [1, 3]

    def retention(self, number: int) -> Retention:
        return Retention(
            number=number, over=True, free_at=0, above=ROUNDS, retain_rounds=0 if number == 2 else 1
        )


@pytest.mark.long
def test_a_file_stays_while_any_round_that_lists_it_is_kept(young: World, tmp_path: Path) -> None:
    settings = home_of(young, tmp_path / "home")
    shared, lone = updates_of(young, 1)
    with serving(settings, young.federation) as here:
        with here.coordinator.storage.database.write() as session:
            for number in (2, 3):
                session.get_one(Entry, (number, 0)).sha256 = shared
        ByRound(*parts(here))()
        assert in_store(settings, [shared, lone]) == [shared]


@pytest.mark.long
@pytest.mark.parametrize("altered", ["artifacts", "every row that names it", "kind", "rounds", "wishes"])
def test_no_row_deletes_a_file_that_the_chain_keeps(altered: str, world: World, tmp_path: Path) -> None:
    settings = home_of(world, tmp_path / "home")
    (name,) = updates_of(world, ALONE + 1)[:1]
    (mean,) = updates_of(world, ALONE)
    storage, old, other = Storage.open(settings), EXPIRED[0], factories.account("cleo").address
    with storage.database.write() as session:
        row = session.get_one(Artifact, name)
        match altered:
            case "artifacts":
                row.deleted = "expired"
            case "every row that names it":
                row.round = old
                for entry in session.scalars(select(Entry).where(Entry.sha256 == name)):
                    entry.sha256 = None
                for update in session.scalars(select(Update).where(Update.sha256 == name)):
                    update.round, update.contributor = old, other
            case "kind":
                for kept in (mean, sha256_hex(MANIFEST.to_json())):
                    values = {"kind": "update", "size": 1, "round": old, "deleted": "expired", "gone": False}
                    session.merge(Artifact(sha256=kept, public_from=0, **values))
                session.get_one(Artifact, world.states[KEPT].sha256()).round = 1
            case "rounds":
                first = session.get_one(Round, ROUNDS)
                values = {column.name: getattr(first, column.name) for column in Round.__table__.columns}
                for number in range(100, 100 + RETAIN):
                    session.add(Round(**{**values, "number": number}))
            case "wishes":
                for account in (factories.account(one).address for one in NAMES):
                    moment = datetime.now(UTC)
                    session.add(
                        Wish(contributor=account, last_round=99, signature="0x12", received_at=moment)
                    )
    storage.database.close()
    before = {path.name for path in settings.store_folder.glob("??/*")}
    with serving(settings, world.federation) as here:
        Deletion(*parts(here))()
        assert before == {path.name for path in settings.store_folder.glob("??/*")}


@pytest.mark.long
def test_a_coordinator_that_is_restored_later_does_not_need_what_was_deleted(
    world: World, tmp_path: Path
) -> None:
    gone, spare = updates_of(world, *EXPIRED), states_of(world, *SPARE)
    delete(world.folder, gone[:1] + spare)
    settings = home_of(world, tmp_path / "home")
    assert in_store(settings, gone) == [], "those that the mirror still has are not brought back"
    assert in_store(settings, spare) == []
    with serving(settings, world.federation) as here:
        assert {refusal_of(here.api, name).code for name in gone} == {"expired"}
        assert {refusal_of(here.api, name).code for name in spare} == {"spare-state"}
        assert here.api.model("6") == world.states[6].to_safetensors(MANIFEST, 6, files=carried.files)
        weights = fetch_weights(here.api, 6, MANIFEST, carried.files)
        expected = world.states[6].model(MANIFEST, carried.files)
        assert weights.keys() == expected.keys()
        assert all(np.array_equal(weights[name].numpy(), array) for name, array in expected.items())
        assert repair(here.coordinator.storage.database, settings.open_store(), None).lacking == []


@pytest.mark.parametrize(
    ("point", "deleted"),
    [("retention.marked", 0), pytest.param("retention.file-deleted:2", 2, marks=pytest.mark.long)],
)
def test_a_coordinator_that_is_killed_while_it_deletes_goes_on(
    young: World, tmp_path: Path, point: str, deleted: int
) -> None:
    settings, gone = home_of(young, tmp_path / "home"), updates_of(young, *EXPIRED)
    spare = states_of(young, *SPARE)
    led(settings, young)
    come_of_age(young)
    words = ("coordinator", "serve", "--home", str(settings.home), "--port", "0")
    died = subprocess.run(
        folkmoot_command(*words),
        env={**os.environ, VARIABLE: f"{point}@{tmp_path / 'died'}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert len(in_store(settings, gone + spare)) == len(gone + spare) - deleted
    with serving(settings, young.federation) as here:
        until(lambda: not in_store(settings, gone + spare), what="the deletion")
        assert {refusal_of(here.api, name).code for name in gone} == {"expired"}


# Wishes


def wish_of(world: World, name: str, last_round: int) -> DeletionWish:
    deployment = world.federation.deployment
    account = factories.account(name)
    wish = DeletionWish(account.address, last_round)
    return wish.signed(account, Domain(deployment.chain_id, deployment.ledger))


@pytest.mark.long
def test_a_free_update_that_its_contributor_wants_gone_may_be_missing(world: World) -> None:
    (world.folder.path / WISHES).write_bytes(to_file([wish_of(world, "ada", FREE[0])]))
    delete(world.folder, updates_of(world, FREE[0])[:1])
    found = audited(world)
    assert (found.recomputed, found.expired) == (ROUNDS - 1, {FREE[0]: Expired.WISH})
    assert any(
        f"of {factories.account('ada').address} in round {FREE[0]} was deleted" in note
        for note in found.notes
    )
    assert (
        f"round {FREE[0]} update files deleted because their contributors wanted it" in rows(found)["expired"]
    )
    forged = replace(wish_of(world, "ada", FREE[0]), signature=wish_of(world, "ben", FREE[0]).signature)
    for wishes in ([], [forged], [wish_of(world, "ada", FREE[0] - 1)], [wish_of(world, "ben", FREE[0])]):
        (world.folder.path / WISHES).write_bytes(to_file(wishes))
        with pytest.raises(AuditFailure) as caught:
            audited(world)
        assert caught.value.details["round"] == FREE[0]
    (world.folder.path / WISHES).write_bytes(b"{}")
    with pytest.raises(ArtifactError, match="not of the format"):
        audited(world)


@pytest.mark.long
def test_a_wish_frees_no_file_before_nothing_can_need_it(world: World) -> None:
    (world.folder.path / WISHES).write_bytes(to_file([wish_of(world, "ada", ROUNDS)]))
    delete(world.folder, updates_of(world, ROUNDS - WINDOW + 1)[:1])
    with pytest.raises(AuditFailure) as caught:
        audited(world)
    assert caught.value.details["round"] == ROUNDS - WINDOW + 1


@pytest.mark.long
def test_a_wish_is_kept_obeyed_and_handed_on(
    young: World,
    tmp_path: Path,
    operator: Mortal,
    keystore: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = home_of(young, tmp_path / "home")
    words = mirror_words(young, operator)
    monkeypatch.setenv("FOLKMOOT_PASSWORD", factories.PASSWORD)
    ada = [updates_of(young, number)[0] for number in [*EXPIRED, FREE[0]]]
    (mean,) = updates_of(young, ALONE)
    ben = updates_of(young, FREE[0])[1]
    with serving(settings, young.federation) as here:
        forged = replace(wish_of(young, "ada", 3), signature=wish_of(young, "ben", 3).signature)
        for wish, code in ((forged, "not-authorised"), (wish_of(young, "emil", 3), "unknown-contributor")):
            with pytest.raises(CoordinatorError) as caught:
                here.api.delete_updates(wish)
            assert caught.value.code == code
        wanted = ("forget", "--coordinator", here.api.url, "--keystore", str(keystore("ada")))
        account = factories.account("ada").address
        assert operator.call(*wanted) == {"contributor": account, "lastRound": ROUNDS}
        assert operator.call(*wanted, "--last-round", "1")["lastRound"] == ROUNDS, "for good"
        Deletion(*parts(here))()
        assert in_store(settings, ada) == ada, "a fault can still be proven"
        come_of_age(young)
        until(lambda: not in_store(settings, ada), what="the deletion")
        assert in_store(settings, [ben, mean]) == [ben, mean]
        assert refusal_of(here.api, ada[-1]).details["reason"] == "wish"
        with CoordinatorSource(here.api.url) as source:
            assert source.wishes() == (wish_of(young, "ada", ROUNDS),)
            summary = audit([young.federation.anvil.url], young.federation.deployment, source)
        assert summary.expired == {
            **dict.fromkeys(EXPIRED, Expired.RETENTION),
            FREE[0]: Expired.WISH,
        }
        mirror = Folder(operator.home / "mirror")
        assert operator.call(*words)["deleted"] == 0, "a mirror that does not know of the wish"
        assert mirror.place(ada[-1]).exists()
        young.folder = mirror
        from_coordinator = [*words[:2], here.api.url, *words[3:]]
        assert operator.call(*from_coordinator)["deleted"] == 1
    assert not any(mirror.place(name).exists() for name in ada + states_of(young, FREE[0]))
    assert mirror.place(ben).exists()
    assert mirror.place(mean).exists()
    again = home_of(young, tmp_path / "again")
    with serving(again, young.federation) as here:
        assert refusal_of(here.api, ada[-1]).details["reason"] == "wish"
        assert refusal_of(here.api, *states_of(young, FREE[0])).code == "spare-state"
        for number in FREE:
            model = young.states[number].to_safetensors(MANIFEST, number, files=carried.files)
            assert here.api.model(str(number)) == model
        Deletion(*parts(here))()
        assert here.api.files.read(ben)
        assert here.api.files.read(mean)
        assert repair(here.coordinator.storage.database, again.open_store(), None).lacking == []
        with CoordinatorSource(here.api.url) as source:
            assert source.wishes() == (wish_of(young, "ada", ROUNDS),)


# The mirror


def mirror_words(world: World, mortal: Mortal) -> tuple[str, ...]:
    world.federation.deployment.save(mortal.home / "deployment.json")
    mortal.set(
        {
            "FOLKMOOT_RPC": world.federation.anvil.url,
            "FOLKMOOT_DEPLOYMENT": str(mortal.home / "deployment.json"),
        }
    )
    return ("mirror", "--from", str(world.folder.path), "--to", str(mortal.home / "mirror"))


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mortal:
    """Who keeps a mirror."""
    return Mortal(tmp_path, capsys, monkeypatch)


@pytest.mark.long
def test_a_mirror_obeys_once_no_reorganisation_changes_it_and_may_be_killed(
    young: World, operator: Mortal
) -> None:
    words, mirror = mirror_words(young, operator), Folder(operator.home / "mirror")
    assert operator.call(*words)["deleted"] == 0
    young.advance(factories.GOVERNANCE.unbonding)
    assert operator.call(*words)["deleted"] == 0
    young.federation.anvil.call("anvil_mine", hex(REORG_DEPTH + 1))
    operator.kill("mirror.file-deleted.before", *words)
    operator.kill("mirror.file-deleted.after:2", *words)
    done = operator.call(*words)
    assert (done["missing"], done["rounds"], done["fetched"]) == ([], ROUNDS, 0)
    assert not any(mirror.place(name).exists() for name in updates_of(young, *EXPIRED))
    there = [
        number
        for number, name in enumerate(states_of(young, *range(ROUNDS + 1)))
        if mirror.place(name).exists()
    ]
    assert there == [number for number in range(ROUNDS + 1) if number not in SPARE]
    assert all(mirror.place(name).exists() for name in updates_of(young, *range(EXPIRED[-1] + 1, ROUNDS + 1)))
    young.folder = mirror
    assert list(audited(young).expired) == EXPIRED


# A rule that looks back


RELATED = 12
OF_RELATED = [1, 2]
"""Rounds of `related` whose updates expire."""


@pytest.fixture(scope="module")
def related(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """RELATED final rounds under a rule that compares with the updates of the last eight."""
    policy = factories.policy(
        rule="clamped_mean", retain_rounds=RETAIN, commit_window=100, challenge_window=10
    )
    with Anvil() as chain:
        world = Related.create(chain, tmp_path_factory.mktemp("related") / "artifacts", policy)
        for _ in range(RELATED):
            world.finalize(world.play([*NAMES, "cleo"]))
        world.advance(factories.GOVERNANCE.unbonding)
        yield world
        world.federation.chain.close()


@pytest.mark.long
def test_rounds_whose_rule_compares_with_deleted_updates_are_not_recomputed(related: World) -> None:
    """Of 12 rounds 9 keep their files. The window of 8 leaves 2 that can be recomputed (docs/protocol.md 12.1)."""
    delete(related.folder, updates_of(related, *OF_RELATED) + states_of(related, 1, 2, 3))
    found = audited(related)
    of_window = range(OF_RELATED[-1] + 1, OF_RELATED[-1] + WINDOW + 1)
    assert found.expired == {
        **dict.fromkeys(OF_RELATED, Expired.RETENTION),
        **dict.fromkeys(of_window, Expired.WINDOW),
    }
    assert found.recomputed == RETAIN - 7 == 2
    assert "rounds 3-10 compared by their rule" in rows(found)["expired"]
    later = audited(related, from_round=11)
    assert (later.recomputed, later.expired) == (2, {})
