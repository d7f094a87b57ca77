# SPDX-License-Identifier: Apache-2.0
"""An audit that was stopped goes on by its journal, and comes to what an audit in one go comes to."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import Progress, Summary, audit
from folkmoot.audit.report import rows
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import AuditFailure, InputError
from folkmoot.runtime.fault_points import VARIABLE
from tests.integration.audit_world import NAMES, ROUNDS, Related, World, build_related

ALL = list(range(1, ROUNDS + 1))


@pytest.fixture(scope="module")
def history(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Related]:
    """Rounds that each depend on the eight before. Never changed."""
    world = build_related(chain, tmp_path_factory.mktemp("journal") / "artifacts")
    yield world
    world.federation.chain.close()


@pytest.fixture
def world(history: Related, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """The same history, for one test to go on with."""
    snapshot = chain.snapshot()
    yield history.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


def audited(world: World, journal: Path | None, said: list[str] | None = None, **options: Any) -> Summary:
    progress = Progress(say=(said if said is not None else []).append)
    source = FolderSource(world.folder.path)
    place = world.federation
    return audit([place.anvil.url], place.deployment, source, journal=journal, progress=progress, **options)


def report(summary: Summary | dict[str, Any]) -> dict[str, Any]:
    """What an audit says of a history, without what it says of itself."""
    document = summary.to_json() if isinstance(summary, Summary) else dict(summary)
    return {name: value for name, value in document.items() if name not in ("bytes", "journal", "seconds")}


def kept(summary: Summary) -> list[int]:
    assert summary.journal is not None
    return [line.round for line in summary.journal.kept]


def noted(summary: Summary) -> list[int]:
    assert summary.journal is not None
    return summary.journal.noted


def cut(journal: Path, lines: int) -> None:
    """Leave the first line and so many rounds."""
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[: lines + 1]))


def remove_files(world: World, numbers: Sequence[int]) -> None:
    """Lose the updates of some rounds."""
    for number in numbers:
        outcome = world.rounds[number].outcome
        for sha256 in outcome.artifacts.updates if outcome else ():
            if sha256 is not None:
                world.folder.place(sha256).unlink(missing_ok=True)


@pytest.mark.long
def test_a_second_audit_recomputes_nothing_and_says_whose_word_it_is(history: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    first = audited(history, journal)
    assert (kept(first), noted(first)) == ([], ALL)
    assert rows(first)["journal"] == f"rounds 1-{ROUNDS} verified now"
    again = audited(history, journal)
    assert (kept(again), noted(again)) == (ALL, [])
    assert report(again) == report(first) == report(audited(history, None))
    assert again.hashed < first.hashed / 2, "no update was read"
    assert again.journal is not None
    day = again.journal.kept[0].at[:10]
    assert rows(again)["journal"] == (
        f"rounds 1-{ROUNDS} verified on {day} by this journal, and the files not read again"
    )


@pytest.mark.parametrize("lines", [0, 1, 4, ROUNDS - 1])
def test_an_audit_goes_on_after_the_last_line(history: World, tmp_path: Path, lines: int) -> None:
    """The lineage of the next round is read anew: from the files of rounds that the journal vouches for."""
    journal, said = tmp_path / "journal", list[str]()
    whole = audited(history, journal)
    cut(journal, lines)
    rest = audited(history, journal, said)
    assert (kept(rest), noted(rest)) == (ALL[:lines], ALL[lines:])
    assert report(rest) == report(whole)
    assert said == []
    assert len(journal.read_bytes().splitlines()) == ROUNDS + 1


@pytest.mark.long
def test_a_line_that_a_crash_left_unfinished_is_cut_off(history: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    whole, data = audited(history, journal), journal.read_bytes()
    first = len(data.splitlines(keepends=True)[0])
    for size in (0, 1, first - 1, first, len(data) - 1, len(data) - 150):
        said: list[str] = []
        journal.write_bytes(data[:size])
        assert report(audited(history, journal, said)) == report(whole)
        assert bool(said) == (size not in (0, first)), said
        assert [json.loads(line)["round"] for line in journal.read_bytes().splitlines()[1:]] == ALL


def test_a_failure_leaves_the_rounds_before_it_in_the_journal(world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    remove_files(world, [6])
    with pytest.raises(AuditFailure) as caught:
        audited(world, journal)
    assert caught.value.details["round"] == 6
    assert len(journal.read_bytes().splitlines()) == 1 + 5


# What the chain says now


def test_what_a_reorg_took_is_verified_anew_and_said(world: World, chain: Anvil, tmp_path: Path) -> None:
    journal, said = tmp_path / "journal", list[str]()
    number = world.open()
    before = chain.snapshot()
    copy = world.copied(tmp_path / "other")
    world.commit(number, NAMES)
    world.anchor(number)
    assert noted(audited(world, journal))[-1] == number
    chain.revert(before)
    chain.advance(7)
    copy.commit(number, NAMES[1:])
    copy.anchor(number)
    found = audited(copy, journal, said)
    assert (kept(found), noted(found)) == (ALL, [number])
    assert f"something else of round {number}" in said[0]
    assert found.to_json()["journal"]["dropped"] == [number]
    assert report(found) == report(audited(copy, None))


def test_the_same_words_in_another_block_are_another_history(
    world: World, chain: Anvil, tmp_path: Path
) -> None:
    journal, said = tmp_path / "journal", list[str]()
    before = chain.snapshot()
    copy = world.copied(tmp_path / "other")
    world.play(NAMES)
    audited(world, journal)
    chain.revert(before)
    chain.advance(7)
    copy.play(NAMES)
    assert copy.states[copy.head].sha256() == world.states[world.head].sha256()
    assert noted(audited(copy, journal, said)) == [ROUNDS + 1]
    assert len(said) == 1


def test_rounds_that_are_gone_from_the_chain_leave_the_journal(
    world: World, chain: Anvil, tmp_path: Path
) -> None:
    journal, said = tmp_path / "journal", list[str]()
    before = chain.snapshot()
    copy = world.copied(tmp_path / "other")
    world.play(NAMES)
    audited(world, journal)
    chain.revert(before)
    assert kept(audited(copy, journal, said)) == ALL
    assert len(said) == 1
    assert len(journal.read_bytes().splitlines()) == 1 + ROUNDS


def test_an_open_round_is_not_noted_and_is_once_it_is_anchored(world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    number = world.open()
    world.commit(number, NAMES)
    assert noted(audited(world, journal)) == ALL
    world.anchor(number)
    found = audited(world, journal)
    assert (kept(found), noted(found)) == (ALL, [number])
    world.finalize(1)
    assert kept(audited(world, journal)) == [*ALL, number], "that a round became final changes no verdict"


def test_a_wrong_round_after_those_of_the_journal_is_found(world: World, tmp_path: Path) -> None:
    """The rounds before it are not recomputed; the new one is."""
    journal = tmp_path / "journal"
    audited(world, journal)
    number = world.open()
    world.commit(number, NAMES)
    world.anchor(number, lambda _, outcome: replace(outcome.anchor, state_root=b"\7" * 32))
    with pytest.raises(AuditFailure) as caught:
        audited(world, journal)
    assert caught.value.details["round"] == number
    assert len(journal.read_bytes().splitlines()) == 1 + ROUNDS


# Journals of others


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data.replace(b'"updates":5', b'"updates":6', 1), "line 2 is damaged"),
        (lambda data: b"\n".join(data.split(b"\n")[:3] + data.split(b"\n")[4:]), "line 4 does not follow"),
        (lambda data: data.replace(b'"fromRound":1', b'"fromRound":2'), "its fromRound is 2, and here it is 1"),
        (lambda data: data.replace(b'"chainId":', b'"chainId":1'), "another deployment"),
        (lambda data: b"Dear diary\n", "not a journal"),
        (lambda data: b"Dear diary", "not a journal"),
        (lambda data: b"\0" * 100, "not a journal"),
        (lambda data: data + b"\0" * 20 + b"\n", f"line {ROUNDS + 2} is damaged"),
        (lambda data: data + b"{}\n", f"line {ROUNDS + 2} is damaged"),
        (lambda data: data + b"7\n", f"line {ROUNDS + 2} is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_journal_is_refused_and_left_alone(
    history: World, tmp_path: Path, change: Any, why: str
) -> None:
    journal = tmp_path / "journal"
    audited(history, journal)
    journal.write_bytes(data := change(journal.read_bytes()))
    with pytest.raises(InputError, match=why) as caught:
        audited(history, journal)
    assert caught.value.code == "audit-journal"
    assert journal.read_bytes() == data


def test_a_journal_of_another_release_or_start_is_refused(
    history: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal"
    audited(history, journal, from_round=4)
    assert kept(audited(history, journal, from_round=4)) == ALL[3:]
    with pytest.raises(InputError, match="its fromRound is 4, and here it is 1"):
        audited(history, journal)
    with pytest.raises(InputError, match="its readsStates is True, and here it is False"):
        audited(history, journal, from_round=4, reads_states=False)
    monkeypatch.setattr("folkmoot.audit.journal.version", lambda name: "99.0")
    with pytest.raises(InputError, match=r"its folkmoot is .*, and here it is 99\.0"):
        audited(history, journal, from_round=4)


def test_two_audits_do_not_share_a_journal(history: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal"

    def second(done: int, total: int) -> None:
        with pytest.raises(InputError, match="another audit uses it"):
            audited(history, journal)
        raise KeyboardInterrupt

    place, source = history.federation, FolderSource(history.folder.path)
    with pytest.raises(KeyboardInterrupt):
        audit([place.anvil.url], place.deployment, source, journal=journal, progress=Progress(round=second))
    assert noted(audited(history, journal)) == ALL[1:]


def test_a_journal_that_can_not_be_written_is_refused(history: World, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere" / "journal"):
        with pytest.raises(InputError, match="can't be used") as caught:
            audited(history, place)
        assert caught.value.code == "audit-journal"
    with pytest.raises(InputError, match="it is not a file"):
        audited(history, Path("/dev/full"))


def test_a_full_disk_costs_one_round(history: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written of the line is cut off when there is room again."""
    journal, said = tmp_path / "journal", list[str]()
    write, calls = os.write, []

    def full(file: int, data: memoryview) -> int:
        calls.append(file)
        if len(calls) == 4:
            return write(file, data[:40])
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr("folkmoot.audit.journal.os.write", full)
        with pytest.raises(InputError, match="No space left on device"):
            audited(history, journal)
    found = audited(history, journal, said)
    assert (kept(found), noted(found)) == (ALL[:2], ALL[2:])
    assert "unfinished" in said[0]


# Killed


@pytest.mark.long
def test_killed_anywhere_it_ends_with_the_same_report(world: World, chain: Anvil, tmp_path: Path) -> None:
    """Lines are written, with deaths before and after some; then a reorg takes one, with deaths around the cut."""
    journal = tmp_path / "journal"
    before = chain.snapshot()
    copy = world.copied(tmp_path / "other")
    world.play(NAMES)
    points = ["audit.round-noted.before:2", "audit.round-noted.after:3"]
    assert deaths(world, journal, tmp_path / "died", points) == 2
    assert kept(audited(world, journal)) == [*ALL, ROUNDS + 1]
    chain.revert(before)
    chain.advance(7)
    copy.play(NAMES)
    points = ["audit.lines-dropped.before:1", "audit.lines-dropped.after:1"]
    assert deaths(copy, journal, tmp_path / "died-again", points) == 2
    assert kept(audited(copy, journal)) == [*ALL, ROUNDS + 1]


def deaths(world: World, journal: Path, died: Path, points: Sequence[str]) -> int:
    """Start the command until it comes to its end, with each of the deaths once; return how many there were."""
    died.mkdir()
    world.federation.deployment.save(died / "deployment.json")
    faults = ",".join(f"{point}@{died / str(place)}" for place, point in enumerate(points))
    command = [sys.executable, "-m", "folkmoot", "audit", "--json", "--journal", str(journal)]
    command += ["--rpc", world.federation.anvil.url, "--deployment", str(died / "deployment.json")]
    command += ["--artifacts", str(world.folder.path)]
    count = 0
    while True:
        result = subprocess.run(
            command, env={**os.environ, VARIABLE: faults}, capture_output=True, text=True, check=False
        )
        if result.returncode != -signal.SIGKILL:
            break
        count += 1
    assert result.returncode == 0, result.stderr
    assert report(json.loads(result.stdout)) == report(audited(world, None)) | {"children": []}
    return count
