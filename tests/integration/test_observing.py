# SPDX-License-Identifier: Apache-2.0
"""What operators see of a real coordinator: its numbers after a round, what a scrape costs, its log."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, func, select

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError, UpdateRefused
from folkmoot.rpc.client import Rpc
from folkmoot.runtime.processes import free_port
from server.api import gauges
from server.db.models import Round, Transaction
from tests import factories
from tests.integration.coordinator_world import (
    Process,
    Running,
    federation,
    make_home,
    open_round,
    running,
    train,
    until,
)

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def world(anvil_process: Anvil) -> Iterator[factories.Federation]:
    snapshot = anvil_process.snapshot()
    made = federation(anvil_process)
    yield made
    made.chain.close()
    anvil_process.revert(snapshot)


@pytest.fixture
def here(
    world: factories.Federation, anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    monkeypatch.setattr(gauges, "OFTEN_SECONDS", 0.1)
    monkeypatch.setattr(gauges, "SELDOM_SECONDS", 0.1)
    with running(tmp_path / "home", world, access_log=True) as found:
        yield found


def scraped(here: Running) -> Numbers:
    text = here.api._client().get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def number(numbers: Numbers, name: str, **labels: str) -> float:
    return numbers[name, frozenset(labels.items())]


def play(here: Running) -> None:
    here.api.start_run(1, 3, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    bad = train(here.world, "cleo", header, state)
    with pytest.raises(UpdateRefused):
        here.api.submit_update(1, bad.wire, bad.data[:5] + bytes([bad.data[5] ^ 1 or 2]) + bad.data[6:])
    until(lambda: (run := here.api.run()) and run.state == "done", what="the run's end")


def test_numbers_tell_what_a_round_did_and_the_log_tells_it_by_round_and_account(
    here: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    play(here)
    until(
        lambda: number(scraped(here), "folkmoot_rounds", step="settled") == 1, what="a look at the database"
    )
    with here.coordinator.storage.database.read() as session:
        gas = session.scalar(select(func.sum(Transaction.gas_used)))
    # One round: the mean is it.
    until(lambda: number(scraped(here), "folkmoot_round_gas") == gas, what="a look at the account")
    seen = scraped(here)
    assert number(seen, "folkmoot_verdicts_total", reason="accepted") == 2
    assert number(seen, "folkmoot_verdicts_total", reason="outlier") == 0
    assert number(seen, "folkmoot_updates_refused_total", reason="wrong-root") == 1
    assert number(seen, "folkmoot_updates_received_total") == 2
    assert number(seen, "folkmoot_aggregation_duration_seconds_count") == 1
    for step in ("opening", "collecting", "computing", "anchoring", "anchored", "settling"):
        assert number(seen, "folkmoot_round_step_duration_seconds_count", step=step) == 1, step
    route = "/v1/rounds/{round_number}/updates"
    assert number(seen, "folkmoot_http_requests_total", method="POST", route=route, status="202") == 2
    assert number(seen, "folkmoot_http_requests_total", method="POST", route=route, status="422") == 1
    assert number(seen, "folkmoot_http_request_duration_seconds_count", method="POST", route=route) == 3
    counted = {labels: value for (name, labels), value in seen.items() if name == "folkmoot_gas_used_total"}
    assert sum(counted.values()) == gas
    assert number(seen, "folkmoot_transactions_total", purpose="anchor", state="confirmed") == 1
    assert (
        number(seen, "folkmoot_outbox_oldest_seconds") == number(seen, "folkmoot_round_overdue_seconds") == 0
    )
    assert number(seen, "folkmoot_head_version") == number(seen, "folkmoot_round_newest") == 1
    assert number(seen, "folkmoot_bond_tokens") == 500
    assert number(seen, "folkmoot_bond_minimum_tokens") == 50
    chain = here.world.chain
    assert number(seen, "folkmoot_account_balance_coins") == pytest.approx(
        chain.rpc.balance(here.world.coordinator.address) / 10**18
    )
    assert number(seen, "folkmoot_account_rounds") > 100
    assert all(
        number(seen, "folkmoot_part_up", part=part) for part in ("database", "chain", "store", "account")
    )
    assert (
        number(seen, "folkmoot_database_bytes") > 0 < number(seen, "folkmoot_disk_free_bytes", folder="store")
    )

    told = [record.__dict__["folkmoot"] for record in caplog.records if "folkmoot" in record.__dict__]
    kinds = {line["event"] for line in told}
    assert {"round-opened", "update-received", "round-computed", "round-anchored", "transaction"} <= kinds
    refused = next(line for line in told if line["event"] == "update-refused")
    expected = {"round": 1, "account": here.world["cleo"].address, "code": "wrong-root"}
    assert expected.items() <= refused.items()
    anchored = [line for line in told if line.get("purpose") == "anchor:1"]
    assert [line["state"] for line in anchored] == ["signed", "confirmed"]
    assert anchored[0]["transaction"] == anchored[1]["transaction"] is not None
    assert any(line["event"] == "request" and line["status"] == 422 for line in told)


def test_a_chain_that_is_gone_leaves_no_number_that_looks_fine(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: ("folkmoot_chain_lag_seconds", frozenset()) in scraped(here), what="the first look")
    monkeypatch.setattr(here.coordinator.chain.rpc, "url", "http://127.0.0.1:9/v2/alcht_0123456789abcdef")
    until(lambda: number(scraped(here), "folkmoot_part_up", part="chain") == 0, what="a look without a chain")
    until(lambda: number(scraped(here), "folkmoot_worker_failing") == 1, what="the worker's failure")
    seen = scraped(here)
    assert ("folkmoot_chain_lag_seconds", frozenset()) not in seen
    assert number(seen, "folkmoot_part_up", part="database") == 1
    error = until(lambda: here.api.health()["error"])
    assert "127.0.0.1:9" in error
    assert "alcht_0123456789abcdef" not in error, "what anybody can read must not have the provider's key"


def test_a_scrape_asks_neither_database_nor_chain_however_large_they_are(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: ("folkmoot_account_rounds", frozenset()) in scraped(here), what="the first look")
    asked: list[str] = []
    mine, call = threading.get_ident(), Rpc.call  # the worker and the thread that looks go on asking

    def counted(self: Rpc, method: str, params: list[Any] | None = None) -> Any:
        if threading.get_ident() == mine:
            asked.append(method)
        return call(self, method, params)

    def query(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if threading.get_ident() == mine:
            asked.append(statement)

    monkeypatch.setattr(Rpc, "call", counted)
    event.listen(here.coordinator.storage.database.engine, "before_cursor_execute", query)
    text = generate_latest(here.coordinator.metrics.registry)
    assert b"folkmoot_store_files" in text
    assert b"folkmoot_account_rounds" in text
    assert asked == []
    with here.coordinator.storage.database.read() as session:
        session.scalar(select(func.count()).select_from(Round))
    assert asked[-1].startswith("SELECT count"), "the listener does hear this thread"


def test_every_line_of_a_coordinators_log_is_json_if_so_chosen(
    world: factories.Federation, anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_home(tmp_path / "home", world, log_format="json", access_log=True)
    process = Process(tmp_path / "home", free_port())
    process.start()
    try:
        until(lambda: '"route": "/v1/health"' in asked(process), what="a request in the log")
    finally:
        process.kill()
    lines = [json.loads(line) for line in process.log().splitlines() if not line.startswith("Coordinator ")]
    assert {"time", "level", "event", "text", "logger"} <= set.intersection(*(set(line) for line in lines))


def asked(process: Process) -> str:
    """Ask for the health, if it can be asked already, and return the log."""
    with CoordinatorApi(process.url) as api, contextlib.suppress(CoordinatorError):
        api.health()
    return process.log()
