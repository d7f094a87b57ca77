# SPDX-License-Identifier: Apache-2.0
"""What is known of a run from its events, in whatever order and from whomever they come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.cli.live import View
from folkmoot.cli.progress import _KINDS, RunProgress
from tests import factories

ADA, BEN = (factories.account(name).address for name in ("ada", "ben"))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def round_(progress: RunProgress, clock: Clock, number: int, seconds: float) -> None:
    progress.see("round-opened", {"round": number, "base": number - 1, "secondsLeft": 600})
    clock.now += seconds
    progress.see("round-anchored", {"round": number})


def test_the_bytes_of_a_round_and_their_rate_are_counted(clock: Clock) -> None:
    progress = RunProgress(2, clock=clock)
    assert progress.rate() is None
    progress.see("round-opened", {"round": 1})
    assert progress.rate() is None
    clock.now += 4
    for account in (ADA, BEN):
        progress.see("update-received", {"round": 1, "contributor": account, "bytes": 1000})
    progress.see("update-received", {"round": 7, "contributor": ADA, "bytes": 1000})
    assert (progress.rounds[1].received, progress.rounds[1].bytes, progress.rate()) == (2, 2000, 500.0)
    progress.see("updates-committed", {"round": 1, "contributors": [ADA]})
    headline = View(progress)._headline(progress.left())
    assert "2 received (0.00 MB, 0.001 MB/s), 1 on the chain" in headline
    round_(progress, clock, 2, 1)
    assert progress.rate() is None, "each round counts its own"


def test_why_a_run_waits_is_shown_until_the_next_round(clock: Clock) -> None:
    progress = RunProgress(2, clock=clock)
    progress.see("round-opened", {"round": 1})
    progress.see("round-cancelled", {"round": 1})
    progress.see("run-waiting", {"message": "Waiting until 23:00:10 UTC for the next round."})
    headline = View(progress)._headline(progress.left())
    assert headline == "0 of 2 rounds, waiting until 23:00:10 UTC for the next round"
    progress.see("round-opened", {"round": 2})
    assert "waiting" not in View(progress)._headline(progress.left())


def states(progress: RunProgress) -> list[tuple[str, str]]:
    return [(node.name, node.state) for node in progress.nodes]


def test_a_node_goes_through_its_states(clock: Clock) -> None:
    progress = RunProgress(3, names={ADA: "Ada"}, clock=clock)
    assert states(progress) == [("Ada", "waiting")]
    progress.see("round-opened", {"round": 1})
    progress.see("node-asked", {"round": 1, "nodes": [7]})
    assert ("node 7…", "training") in states(progress)
    progress.see("node-answered", {"round": 1, "node": 7, "account": ADA, "seconds": 2.5})
    assert states(progress) == [("Ada", "answered")], "the node and the contributor are one"
    progress.see("updates-committed", {"round": 1, "contributors": [ADA]})
    assert states(progress) == [("Ada", "committed")]
    progress.see("update-received", {"round": 1, "contributor": ADA, "bytes": 10})
    assert states(progress) == [("Ada", "committed")], "what comes late does not move it back"
    verdicts = [
        {"contributor": ADA, "weight": 512, "pay": 40632, "reason": "accepted"},
        {"contributor": BEN, "weight": 1024, "pay": None, "reason": "accepted"},
    ]
    progress.see("round-computed", {"round": 1, "verdicts": verdicts})
    assert [node.pay for node in progress.nodes] == [40632 / 65536, None]
    assert [(node.state, node.share) for node in progress.nodes] == [("weighed", 0.5), ("weighed", 1.0)]
    assert progress.rounds[1].accepted == 2
    progress.see("round-opened", {"round": 2})
    assert progress.nodes[0].state == "waiting"
    assert progress.nodes[0].share == 0.5, "the weight of the last round stays in sight"
    progress.see("node-asked", {"round": 2, "nodes": [7]})
    assert progress.nodes[0].state == "training", "it is known again"


def test_the_relay_may_be_heard_before_the_coordinator(clock: Clock) -> None:
    progress = RunProgress(3, clock=clock)
    progress.see("node-asked", {"round": 1, "nodes": [7, 8]})
    assert states(progress) == []
    progress.see("round-opened", {"round": 1})
    assert [node.state for node in progress.nodes] == ["training", "training"]
    progress.see("round-opened", {"round": 2})
    assert [node.state for node in progress.nodes] == ["waiting", "waiting"]


def test_a_report_tells_of_its_nodes(clock: Clock) -> None:
    progress = RunProgress(3, clock=clock)
    progress.see("round-opened", {"round": 1})
    nodes = [
        {"node": "7", "account": ADA, "state": "answered", "code": "", "detail": "", "seconds": 2.0},
        {"node": "8", "account": None, "state": "asked", "code": "", "detail": "", "seconds": None},
        {
            "node": "9",
            "account": BEN,
            "state": "refused",
            "code": "wrong-root",
            "detail": "x",
            "seconds": None,
        },
    ]
    metrics = {"train": {"train_loss": 0.5}, "evaluate": None, "server": None}
    progress.see("round-reported", {"round": 1, "complete": False, "metrics": metrics, "nodes": nodes})
    assert [(node.number, node.state) for node in progress.nodes] == [
        (7, "answered"),
        (8, "training"),
        (9, "refused"),
    ]
    assert progress.rounds[1].metrics == {"train/train_loss": 0.5}


def test_who_has_a_name_trains_before_anybody_knows_its_node(clock: Clock) -> None:
    progress = RunProgress(3, names={ADA: "Ada", BEN: "Ben"}, clock=clock)

    def shown() -> list[tuple[str, str]]:
        return [(node.name, node.state) for node in progress.shown()]

    progress.see("round-opened", {"round": 1})
    progress.see("node-asked", {"round": 1, "nodes": [7]})
    assert shown() == [("Ada", "waiting"), ("Ben", "waiting")], "one was asked, and nobody knows which"
    progress.see("node-asked", {"round": 1, "nodes": [7, 8]})
    assert shown() == [("Ada", "training"), ("Ben", "training")]
    progress.see("node-answered", {"round": 1, "node": 8, "account": BEN, "seconds": 1.0})
    assert shown() == [("Ada", "training"), ("Ben", "answered")]
    progress.see(
        "node-failed", {"round": 1, "node": 7, "account": None, "code": "training-failed", "detail": "x"}
    )
    assert shown() == [("Ada", "waiting"), ("Ben", "answered"), ("node 7…", "failed")]


def test_failures_say_why_and_an_answer_after_all_counts(clock: Clock) -> None:
    progress = RunProgress(3, clock=clock)
    progress.see("round-opened", {"round": 1})
    failed = {
        "round": 1,
        "node": 9,
        "account": None,
        "code": "training-failed",
        "detail": "raised ValueError",
    }
    progress.see("node-failed", failed)
    (node,) = progress.nodes
    assert (node.state, node.detail) == ("failed", "training-failed: raised ValueError")
    progress.see("node-answered", {"round": 1, "node": 9, "account": ADA, "seconds": None})
    assert node.state == "answered"


def test_what_bears_no_signature_makes_nobody_known(clock: Clock) -> None:
    progress = RunProgress(3, names={ADA: "Ada"}, clock=clock)
    progress.see("round-opened", {"round": 1})
    for contributor in (ADA, BEN):
        refusal = {"round": 1, "contributor": contributor, "reason": "wrong-root", "authenticated": False}
        progress.see("update-refused", refusal)
    assert states(progress) == [("Ada", "waiting")]
    progress.see(
        "update-refused", {"round": 1, "contributor": ADA, "reason": "wrong-root", "authenticated": True}
    )
    assert states(progress) == [("Ada", "refused")]


def test_the_time_left_is_that_of_the_last_rounds(clock: Clock) -> None:
    progress = RunProgress(10, clock=clock)
    assert (progress.left().run, progress.left().window) == (None, None)
    round_(progress, clock, 1, 100)
    assert progress.left().run == 900.0
    round_(progress, clock, 2, 30)
    assert progress.left().run == 240.0, "the slow first round is forgotten"
    for number in range(3, 8):
        round_(progress, clock, number, 10)
    assert progress.left().run == 30.0
    progress.see("round-opened", {"round": 8, "secondsLeft": 30})
    clock.now += 4
    assert progress.left().run == 26.0
    assert progress.left().window == 26.0
    clock.now += 100
    assert (progress.left().run, progress.left().window) == (0.0, 0.0)


def test_a_run_that_is_gone_on_with_counts_what_was_done(clock: Clock) -> None:
    progress = RunProgress(5, completed=3, clock=clock)
    progress.see("round-anchored", {"round": 4})  # nobody saw it open
    assert progress.completed == 4
    assert progress.rounds[4].seconds is None
    progress.see("round-anchored", {"round": 4})
    assert progress.completed == 4, "told twice, done once"


def test_metrics_of_an_older_round_go_to_that_round(clock: Clock) -> None:
    progress = RunProgress(5, clock=clock)
    round_(progress, clock, 1, 5)
    progress.see("round-opened", {"round": 2})
    progress.see("round-reported", {"round": 1, "complete": True, "metrics": {"server": {"loss": 0.5}}})
    progress.see("round-reported", {"round": 1, "complete": True, "metrics": {"train": {"train_loss": 0.7}}})
    assert progress.rounds[1].metrics == {"server/loss": 0.5, "train/train_loss": 0.7}
    assert progress.rounds[2].metrics == {}


junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "round",
        "contributor",
        "contributors",
        "verdicts",
        "nodes",
        "node",
        "account",
        "metrics",
        "seconds",
        "reason",
    ]
)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(_KINDS)), st.dictionaries(fields, junk, max_size=5)), max_size=20
    )
)
def test_no_event_of_a_stranger_breaks_it(events: list[tuple[str, dict[str, Any]]]) -> None:
    progress = RunProgress(3)
    progress.see("round-opened", {"round": 1})
    for kind, data in events:
        progress.see(kind, data)
    progress.see("__init__", {})
    left = progress.left()
    assert all(seconds is None or seconds >= 0 for seconds in (left.run, left.window))
    progress.see("round-opened", {"round": 10**6})
    assert progress.current is not None
    assert progress.current.number == 10**6
