# SPDX-License-Identifier: Apache-2.0
"""The typed records are those of the packaged ABIs, and logs become records."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from folkmoot.errors import RpcError
from folkmoot.ledger import packaged
from folkmoot.ledger.scan import MANY_LOGS, decode_log, scan
from tools import generate_contracts


def test_the_records_are_what_the_packaged_abis_give() -> None:
    assert generate_contracts.main(["--check"]) == 0


def test_a_module_that_is_not_up_to_date_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "events.py").write_text(
        generate_contracts.events_module().replace("policy_id: int", "policy: int")
    )
    monkeypatch.setattr(generate_contracts, "EVENTS", tmp_path / "events.py")
    assert generate_contracts.main(["--check"]) == 1
    assert "Run `python tools/generate_contracts.py`" in capsys.readouterr().err


def test_logs_of_strangers_are_passed_over() -> None:
    log = {"address": "0x" + "11" * 20, "topics": ["0x" + "22" * 32], "data": "0x"}
    assert decode_log(log, {}) is None
    assert decode_log({**log, "topics": []}, {"0x" + "11" * 20: "token"}) is None


@pytest.mark.parametrize(
    "log", [{}, {"address": "x"}, {"address": "0x" + "11" * 20, "topics": [1], "data": "0x"}]
)
def test_a_malformed_log_is_the_endpoints_fault(log: dict[str, Any]) -> None:
    with pytest.raises(RpcError, match="does not have the form"):
        decode_log(log, {})


class _Endpoint:
    """Refuses what is larger than it likes, as public endpoints do."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[tuple[int, int]] = []

    def call(self, method: str, params: list[Any]) -> list[Any]:
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        if last - first + 1 > self.most:
            raise RpcError("query returned more than 10000 results", code="rpc-error")
        self.asked.append((first, last))
        return []


class _Source:
    def __init__(self, most: int) -> None:
        self.rpc: Any = _Endpoint(most)
        addresses = dict.fromkeys(packaged.NAMES, "0x" + "11" * 20)
        self.deployment: Any = type("D", (), {**addresses, "roles": tuple(packaged.NAMES)})()


def test_a_range_that_is_too_large_is_halved_and_no_block_is_skipped() -> None:
    source = _Source(most=300)
    assert list(scan(source, 5, 1_004, step=1_000)) == []
    asked = source.rpc.asked
    assert asked[0][0] == 5
    assert asked[-1][1] == 1_004
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(asked))


@pytest.mark.long
def test_answers_stay_small_where_blocks_are_full() -> None:
    """A long history is not asked for in one answer, however large its endpoint's are."""
    source = _Source(most=10**9)
    log = {"address": "0x" + "22" * 20, "topics": [], "data": "0x"}  # of nobody's: it is not decoded
    empty, sizes = source.rpc.call, []

    def call(method: str, params: list[Any]) -> list[Any]:
        empty(method, params)
        first, last = source.rpc.asked[-1]
        sizes.append(20 * (last - first + 1) if last > 10_000 else 0)
        return [log] * sizes[-1]

    source.rpc.call = call
    assert list(scan(source, 1, 20_000, step=1_000)) == []
    asked = source.rpc.asked
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(asked))
    assert asked[-1][1] == 20_000
    assert max(last - first + 1 for first, last in asked) > 2_000, "where there is nothing, steps grow"
    crowded = [size for size in sizes if size]
    assert max(crowded[1:]) <= MANY_LOGS, "the first one can't be foreseen"


def test_an_endpoint_that_refuses_even_one_block_is_given_up() -> None:
    with pytest.raises(RpcError):
        list(scan(_Source(most=0), 1, 10))
