# SPDX-License-Identifier: Apache-2.0
"""Which steps count as failing, since when, and what the log says of them."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from folkmoot.errors import RpcError
from server.telemetry.failing import Failing


def away() -> RpcError:
    return RpcError("The endpoint gives no answer.", remedy="Check it.", code="rpc-unreachable")


def test_an_expected_error_counts_from_the_second_time_on_and_a_defect_at_once() -> None:
    failing = Failing()
    failing.failed("events", away())
    assert failing.lasting == []
    failing.failed(
        "rounds", IntegrityError("DELETE FROM rounds", {}, Exception("FOREIGN KEY constraint failed"))
    )
    failing.failed("events", away())
    events, rounds = failing.lasting
    assert (events.step, events.error, events.remedy, events.times) == (
        "events",
        "The endpoint gives no answer.",
        "Check it.",
        2,
    )
    assert events.since <= rounds.since
    assert rounds.error == "A defect stopped it: IntegrityError."
    assert "FOREIGN KEY" not in str(rounds), "everybody reads health, and a text may have a key in it"
    assert "start the coordinator again" in rounds.remedy
    failing.passed("rounds")
    assert [one.step for one in failing.lasting] == ["events"]
    failing.passed("events")
    failing.failed("events", away())
    assert failing.lasting == [], "it begins anew"


def test_the_log_says_what_is_new_only(caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing()
    for _ in range(3):
        failing.failed("rounds", ValueError("one"))
    failing.failed("rounds", ValueError("two"))
    failing.passed("rounds")
    failing.failed("rounds", ValueError("two"))
    assert [
        record.exc_info[1].args for record in caplog.records if record.exc_info and record.exc_info[1]
    ] == [
        ("one",),
        ("two",),
        ("two",),
    ]
