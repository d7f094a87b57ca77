# SPDX-License-Identifier: Apache-2.0
"""Contributors that stop, come late, join in the middle, send slowly or send too much, at a real coordinator."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from client.node.node import NodeWatcher
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.updates import KeptUpdate, keep_update
from tests import factories
from tests.integration.coordinator_world import (
    MANIFEST,
    Running,
    Signed,
    open_round,
    running,
    train,
    until,
)

MEBIBYTE = 1 << 20


@pytest.fixture
def here(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """Nobody moves the clock but the test: a round lasts as long as its window."""
    with running(tmp_path / "home", world, time_travel=False) as found:
        found.api.start_run(2, 5, found.world.coordinator, found.domain)
        yield found


@pytest.fixture
def node(here: Running, tmp_path: Path) -> Callable[..., NodeWatcher]:
    """Make what `folkmoot join` watches a node with, without the node."""

    def make(name: str, signed: Signed | None = None) -> NodeWatcher:
        home = tmp_path / name
        home.mkdir()
        deployment = here.world.deployment.to_json()
        contributor = Contributor(
            home,
            here.world.anvil.url,
            here.api.url,
            deployment,
            factories.account(name).address,
            "tiny",
            0,
            1,
        )
        watcher = NodeWatcher(contributor, home / "log")
        if signed is not None:
            keep_update(home, signed.commitment.round, KeptUpdate("00", signed.wire, signed.data))
        return watcher

    return make


def told(watcher: NodeWatcher) -> dict[str, Any]:
    """What a contributor is told of its update, in the end."""
    events: list[dict[str, Any]] = []

    def came() -> dict[str, Any] | None:
        watcher.look(events.append)
        return next((event for event in events if event["event"] != "update"), None)

    with watcher:
        found: dict[str, Any] = until(came, what="word of the update")
    return found


def submit(here: Running, signed: Signed) -> None:
    here.api.submit_update(signed.commitment.round, signed.wire, signed.data)


def end_window(here: Running, number: int, entries: int) -> None:
    """Let the commit window pass; shortly before its end the coordinator records what has come."""
    chain, anvil = here.world.chain, here.world.anvil
    anvil.advance(chain.ledger.round(number).commit_deadline - chain.now() - 20)
    until(lambda: chain.ledger.round(number).entries == entries, what="the commitments")
    anvil.advance(21)
    anvil.call("evm_mine")


def is_anchored(here: Running, number: int) -> bool:
    return str(here.api.get(f"/v1/rounds/{number}")["phase"]) in ("anchored", "final")


def test_a_round_needs_the_policys_minimum_and_tells_stragglers(
    here: Running, node: Callable[..., NodeWatcher]
) -> None:
    """Five are expected. Cleo stops in the middle, Dora comes late, Emil joins in the second round."""
    _, header, state = open_round(here.api, 1)
    ada, ben, cleo, dora = (train(here.world, name, header, state) for name in ("ada", "ben", "cleo", "dora"))
    submit(here, ada)
    submit(here, ben)
    assert told(node("ada", ada)) == {"round": 1, "event": "received"}
    end_window(here, 1, 2)
    until(lambda: is_anchored(here, 1), what="the anchor, with two of five")
    weights = {one["contributor"]: one["weight"] for one in here.api.items("/v1/rounds/1/updates")}
    assert weights == {factories.account(name).address: 1 for name in ("ada", "ben")}

    with pytest.raises(Exception, match=r"Round 1 takes no updates\. Its commit window is over\.") as refused:
        submit(here, dora)
    assert (refused.value.code, refused.value.remedy) == ("round-closed", "Take part in the next round.")  # type: ignore[attr-defined]
    late, lost = told(node("dora", dora)), told(node("cleo", cleo))
    assert (late["event"], late["code"]) == ("refused", "round-closed")
    assert lost["event"] == "missed"
    assert "has not received the update" in lost["detail"]

    _, header, state = open_round(here.api, 2)
    for name in ("ada", "dora", "emil"):
        submit(here, train(here.world, name, header, state))
    end_window(here, 2, 3)
    until(lambda: is_anchored(here, 2), what="the second anchor")
    weights = {one["contributor"]: one["weight"] for one in here.api.items("/v1/rounds/2/updates")}
    assert weights == {factories.account(name).address: 1 for name in ("ada", "dora", "emil")}
    run = here.api.run()
    assert run is not None
    assert run.completed == 2


class Upload:
    """An update that is sent by hand, piece by piece.

    Args:
        here: The coordinator.
        signed: What is sent.
        length: What its header says of its length; chunks of unknown number if None.
    """

    def __init__(self, here: Running, signed: Signed, length: int | None) -> None:
        where = urlsplit(here.api.url)
        self._socket = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)
        self._chunked = length is None
        wire = base64.urlsafe_b64encode(signed.wire.encode()).decode()
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        self._socket.sendall(
            f"POST /v1/rounds/{signed.commitment.round}/updates HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Folkmoot-Commitment: {wire}\r\n{size}\r\n\r\n".encode()
        )

    def send(self, data: bytes) -> None:
        self._socket.sendall(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    def close(self) -> None:
        self._socket.close()

    def answer(self) -> tuple[int, dict[str, Any]]:
        with self._socket, self._socket.makefile("rb") as file:
            status = int(file.readline().split()[1])
            length = 0
            while (line := file.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return status, json.loads(file.read(length))


def test_slow_senders_hold_nobody_up_and_are_heard_until_the_window_ends(
    here: Running, node: Callable[..., NodeWatcher]
) -> None:
    _, header, state = open_round(here.api, 1)
    ada, ben, cleo = (train(here.world, name, header, state) for name in ("ada", "ben", "cleo"))
    within, beyond = (Upload(here, signed, len(signed.data)) for signed in (ada, ben))
    for upload, signed in ((within, ada), (beyond, ben)):
        upload.send(signed.data[:100])
    submit(here, cleo)
    submit(here, train(here.world, "dora", header, state))
    for place in range(100, len(ada.data), 50):
        within.send(ada.data[place : place + 50])
    status, accepted = within.answer()
    assert (status, accepted["new"]) == (202, True)
    assert accepted["acknowledgement"]
    end_window(here, 1, 3)
    until(lambda: is_anchored(here, 1), what="the anchor")
    store = here.coordinator.storage.store
    for name in store.unfinished():  # as the coordinator itself does sooner or later
        store.forget(name)
    beyond.send(ben.data[100:])
    status, problem = beyond.answer()
    assert (status, problem["code"]) == (409, "round-closed")
    assert problem["remedy"] == "Take part in the next round."
    assert told(node("ben", ben))["code"] == "round-closed"
    people = {one["contributor"] for one in here.api.items("/v1/rounds/1/updates") if one["weight"]}
    assert people == {factories.account(name).address for name in ("ada", "cleo", "dora")}


@pytest.mark.parametrize("length", [None, 1 << 40], ids=["no length", "a tebibyte"])
def test_a_huge_update_is_cut_off_where_it_is_too_long_and_leaves_nothing(
    here: Running, node: Callable[..., NodeWatcher], length: int | None
) -> None:
    _, header, state = open_round(here.api, 1)
    ada = train(here.world, "ada", header, state)
    upload, sent = Upload(here, ada, length), 0
    with contextlib.suppress(ConnectionError):
        while sent < 256 * MEBIBYTE:
            upload.send(bytes(MEBIBYTE))
            sent += MEBIBYTE
    upload.close()
    assert sent < 64 * MEBIBYTE, "what the system keeps on the way, and no more"
    fate = told(node("ada", ada))
    assert fate["code"] == "wrong-size"
    assert f"an update of this model has {MANIFEST.size}" in fate["detail"]
    kept = [path for path in here.coordinator.settings.store_folder.rglob("*") if path.is_file()]
    assert all(path.stat().st_size < MEBIBYTE for path in kept)
    submit(here, ada)
    view = here.api.get(f"/v1/rounds/1/updates/{ada.commitment.contributor}")
    assert view["status"] == "received", "the contributor itself may still be heard"
