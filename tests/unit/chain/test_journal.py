# SPDX-License-Identifier: Apache-2.0
"""Notes of what is sent. How commands go on with them is in tests/integration/test_killed_commands.py."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from folkmoot.chain.transactions.journal import Intent, Leftover, PendingTx, TransactionJournal
from folkmoot.chain.transactions.sender import Form
from folkmoot.errors import LocalError

INTENT = Intent(31337, "0x" + "11" * 20, "0x" + "22" * 20, "stake 250")
RAW = b"\2\xf8"
FORM = Form(7, "0x" + keccak(RAW).hex(), RAW, 41, 1_700_000_000)
NOTE = PendingTx(INTENT, 7, [FORM])
OTHERS = [
    replace(INTENT, chain_id=1),
    replace(INTENT, sender="0x" + "33" * 20),
    replace(INTENT, contract=""),
    replace(INTENT, purpose="stake 25"),
]


WRITTEN = {**asdict(FORM), "raw": "02f8"}


def noted(**changes: Any) -> str:
    """Return a note as it is written, with changes."""
    document = {"format": "folkmoot/sent/2", **asdict(INTENT), "nonce": 7, "forms": [WRITTEN]}
    return json.dumps({**document, **changes})


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., TransactionJournal]]:
    """Open the notes in a folder, and let go of them after the test."""
    made: list[TransactionJournal] = []

    def open_notes(
        folder: Path = tmp_path, say: Callable[[str], None] = lambda text: None
    ) -> TransactionJournal:
        made.append(TransactionJournal(folder, say))
        return made[-1]

    yield open_notes
    for notes in made:
        notes.close()


def test_a_note_is_found_by_its_intent_and_no_other(opened: Callable[..., TransactionJournal]) -> None:
    first = opened()
    first.write(NOTE, FORM)
    first.close()
    notes = opened()
    assert notes.find(INTENT) == NOTE
    assert [notes.find(other) for other in OTHERS] == [None] * 4
    assert len({intent.name for intent in (INTENT, *OTHERS)}) == 5


def test_a_note_of_an_older_release_is_refused(
    tmp_path: Path, opened: Callable[..., TransactionJournal]
) -> None:
    """It says too little to go on with; to overlook it might do its transaction twice."""
    document = {"format": "folkmoot/sent/1", **asdict(INTENT), "nonce": 7, "forms": [FORM.hash]}
    (tmp_path / INTENT.name).write_text(json.dumps(document))
    with pytest.raises(LocalError, match="another format") as caught:
        opened().find(INTENT)
    assert caught.value.code == "note-damaged"
    assert INTENT.name == "b1b5176646aed46617a622c5610b0fff.json", "the name that the older release gave it"


def test_what_is_not_told_comes_in_the_order_of_nonces(opened: Callable[..., TransactionJournal]) -> None:
    notes, second = opened(), replace(NOTE, intent=OTHERS[3], nonce=6)
    notes.mined(NOTE, "0x1", earlier=True)
    notes.mined(second, "0x2", earlier=False)
    assert list(notes.untold().items()) == [("0x2", second), ("0x1", NOTE)]
    notes.forget(NOTE)
    assert list(notes.untold()) == ["0x2"], "it failed after all"


def test_what_was_left_behind_is_listed_the_oldest_first(
    tmp_path: Path, opened: Callable[..., TransactionJournal]
) -> None:
    notes, second = opened(), replace(NOTE, intent=OTHERS[3])
    assert notes.left() == []
    for age, note in enumerate((NOTE, second)):
        notes.write(note, FORM)
        os.utime(tmp_path / note.intent.name, (1_000 - age, 1_000 - age))
    (tmp_path / OTHERS[0].name).write_bytes((tmp_path / INTENT.name).read_bytes())
    os.utime(tmp_path / OTHERS[0].name, (2_000, 2_000))
    (tmp_path / "plan.json").write_text("{}")
    assert notes.left() == [
        Leftover(second.intent.name, 999, second),
        Leftover(INTENT.name, 1_000, NOTE),
        Leftover(OTHERS[0].name, 2_000, None),
    ], "what is not in its own file says nothing, and a plan is no note"
    notes.remove(notes.left()[2].name)
    assert len(notes.left()) == 2


def test_the_way_out_names_a_folder_that_is_not_the_users_own(
    tmp_path: Path, opened: Callable[..., TransactionJournal]
) -> None:
    assert opened().way_out("0x1") == f"folkmoot account list --forget 0x1 --notes {tmp_path}"
    assert TransactionJournal.of_user().way_out("0x1") == "folkmoot account list --forget 0x1"


def test_only_what_was_mined_and_told_is_forgotten(opened: Callable[..., TransactionJournal]) -> None:
    notes, second = opened(), replace(NOTE, intent=OTHERS[3])
    for note in (NOTE, second):
        notes.write(note, FORM)
    notes.acknowledge()
    assert notes.find(INTENT) == NOTE, "it was not mined"
    notes.mined(NOTE, "0x1", earlier=True)
    notes.mined(second, "0x2", earlier=False)
    assert (notes.is_earlier("0x1"), notes.is_earlier("0x2")) == (True, False)
    notes.acknowledge("0x2")
    assert notes.find(second.intent) is None
    assert notes.find(INTENT) == NOTE
    notes.close()
    notes.acknowledge()
    assert notes.find(INTENT) == NOTE, "its user was not told"
    notes.mined(NOTE, "0x1", earlier=True)
    notes.acknowledge()
    assert notes.find(INTENT) is None


def test_a_note_is_private_and_says_what_it_is_for(
    tmp_path: Path, opened: Callable[..., TransactionJournal]
) -> None:
    notes = opened(tmp_path / "sent")
    notes.write(NOTE, FORM)
    path = tmp_path / "sent" / INTENT.name
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    document = json.loads(path.read_text())
    assert (document["purpose"], document["nonce"], document["forms"]) == (
        "stake 250",
        7,
        [{**asdict(FORM), "raw": "02f8"}],
    )


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            '{"nonce": 1}',
            noted(nonce="1"),
            noted(nonce=8),
            noted(forms=[]),
            noted(forms=["0x1"]),
        ),
        *(
            noted(forms=[{**WRITTEN, name: wrong}])
            for name, wrong in (("raw", 2), ("raw", "0x"), ("hash", 1))
        ),
        *(noted(forms=[{**WRITTEN, name: "2"}]) for name in ("nonce", "block_number", "block_time")),
    ],
)
def test_a_damaged_note_stops_whoever_wants_to_send(
    tmp_path: Path, opened: Callable[..., TransactionJournal], text: str
) -> None:
    (tmp_path / INTENT.name).write_text(text)
    with pytest.raises(LocalError, match="can't be read") as caught:
        opened().find(INTENT)
    assert caught.value.code == "note-damaged"
    assert "stake 250" in caught.value.remedy


def test_what_can_not_be_noted_is_not_sent(tmp_path: Path, opened: Callable[..., TransactionJournal]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError) as caught:
        opened(tmp_path / "file" / "sent").write(NOTE, FORM)
    assert caught.value.code == "note-unwritable"


def test_one_sends_for_an_account_at_a_time(
    tmp_path: Path, opened: Callable[..., TransactionJournal]
) -> None:
    said: list[str] = []
    first, second = opened(), opened(tmp_path, said.append)
    first.find(INTENT)
    found = threading.Event()

    def wait() -> None:
        second.find(INTENT)
        found.set()

    opened().find(OTHERS[1])  # another account does not wait
    thread = threading.Thread(target=wait)
    thread.start()
    assert not found.wait(0.3)
    first.close()
    assert found.wait(10)
    thread.join()
    assert len(said) == 1
    assert "waiting for it" in said[0]
