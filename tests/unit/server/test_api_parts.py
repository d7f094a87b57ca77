# SPDX-License-Identifier: Apache-2.0
"""Small parts of the HTTP interface: cursors, buckets, problems, events on the wire."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.coordinator_api import MAX_EVENT, _parse_events
from folkmoot.errors import ArtifactError, CoordinatorError, InputError, RpcError, UpdateRefused
from server.api import problems
from server.api.codes import CODES
from server.api.limits import REMEMBERED_CLIENTS, Buckets
from server.api.pages import Window, decode, encode
from server.api.problems import Problem, status_of


def test_pages_hold_every_item_once() -> None:
    items, seen, cursor = list(range(25)), [], None
    while True:
        part, cursor = Window(10, cursor).of(items)
        seen += part
        if cursor is None:
            break
    assert seen == items
    assert Window(10, None).of([]) == ([], None)
    assert Window(25, None).of(items) == (items, None)


@pytest.mark.parametrize("cursor", ["", "x", "é", "LTE", encode(2**63)])
def test_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Problem) as found:
        decode(cursor)
    assert found.value.code == "invalid-cursor"


def test_no_cursor_leads_to_a_place_that_a_database_does_not_take() -> None:
    assert Window(10, encode(2**63 - 2)).start == 2**63 - 1
    with pytest.raises(Problem):
        assert Window(10, encode(2**63 - 1)).start


def test_bucket_refills_and_forgets() -> None:
    buckets = Buckets(rate=2, burst=3)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a", 0.0) == pytest.approx(0.5)
    assert buckets.take("b", 0.0) == 0
    assert buckets.take("a", 0.6) == 0
    for number in range(REMEMBERED_CLIENTS + 10):
        buckets.take(str(number), 1.0)
    assert len(buckets._clients) == REMEMBERED_CLIENTS


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UpdateRefused("x", code="wrong-root"), 422),
        (UpdateRefused("x", code="duplicate"), 409),
        (UpdateRefused("x", code="round-unknown"), 404),
        (ArtifactError("x", code="artifact-unknown"), 404),
        (ArtifactError("x", code="artifact-damaged"), 500),
        (InputError("x"), 422),
        (RpcError("x"), 503),
        (Problem("superseded", "x"), 409),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int) -> None:
    assert status_of(error) == status  # type: ignore[arg-type]


def codes_of(path: Path) -> set[str]:
    """Codes of the errors that a module makes."""
    found = set()
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
        given += call.args[:1] if name in ("Problem", "response") else []
        found |= {str(value.value) for value in given if isinstance(value, ast.Constant)}
    return found


OF_NO_REQUEST = {"unknown-cheat", "store-settings", "s3-missing", "event-unknown"}
"""Codes of errors of the start and of the worker, which no request meets."""


def test_every_code_of_a_problem_is_described() -> None:
    folder = Path(problems.__file__).parents[1]
    modules = [
        path for part in ("api", "checks", "store", "rounds") for path in (folder / part).rglob("*.py")
    ]
    found = set().union(*map(codes_of, modules)) - OF_NO_REQUEST
    assert len(found) > 30
    assert found - set(CODES) == set()
    assert {kind.default_code for kind, _ in problems._BY_CLASS} - set(CODES) == set()


def test_events_are_read_from_the_wire() -> None:
    said = (
        b": ping\r\n\r\nretry: 1000\nid: 7\nevent: round-opened\n"
        b'data: {"round":\ndata: "1 \xe2\x82\xac"}\n\ndata: 1'
    )
    for size in (1, 7, len(said)):
        (event,) = _parse_events(said[at : at + size] for at in range(0, len(said), size))
        assert (event.id, event.type, event.data) == (7, "round-opened", {"round": "1 \u20ac"})


@pytest.mark.parametrize("piece", [b"x" * 60_000, b"data: 1\n" * 8_000], ids=["line", "data"])
def test_event_without_end_fills_no_memory(piece: bytes) -> None:
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += len(piece)
            yield piece

    with pytest.raises(CoordinatorError, match="too long"):
        next(_parse_events(pieces()))
    assert taken < 20 * MAX_EVENT
