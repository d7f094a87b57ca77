# SPDX-License-Identifier: Apache-2.0
"""Log lines: the same fields for people and machines, and never a secret."""

from __future__ import annotations

import io
import json
import logging

import pytest

from folkmoot.errors import InputError, RpcError
from folkmoot.rpc.client import Rpc
from folkmoot.runtime import logs
from folkmoot.runtime.urls import secrets_of, without_secrets

PROVIDER = "http://user:pass%20word@127.0.0.1:9/v2/alcht_0123456789abcdef?token=0123456789abcdef"


def written(log_format: str, text: str, *arguments: object, **about: object) -> str:
    stream = io.StringIO()
    logs.setup(log_format, hidden=secrets_of(PROVIDER), stream=stream)
    extra = logs.fields("update-refused", **about) if about else None
    logging.getLogger("server.somewhere").warning(text, *arguments, extra=extra)
    return stream.getvalue()


def test_a_line_for_machines_has_time_level_event_text_and_what_it_is_about() -> None:
    line = json.loads(written("json", "refused %s", "it", round=7, account="0xA", code=None))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "update-refused",
        "text": "refused it",
        "round": 7,
        "account": "0xA",
        "logger": "server.somewhere",
    }


def test_a_line_for_people_says_the_rest_once_and_stays_one_line() -> None:
    line = written("text", "round 7:\x1b[31m\n2026 error forged", round=7, account="0xA")
    assert line.endswith("Z warning update-refused: round 7:�[31m�2026 error forged [account=0xA]\n")
    assert line.count("\n") == 1
    assert " warning server.somewhere: plain\n" in written("text", "plain")


@pytest.mark.parametrize("log_format", logs.FORMATS)
def test_a_secret_of_an_endpoint_is_in_no_line_and_no_error(log_format: str) -> None:
    line = written(log_format, "asking %s", PROVIDER, url=PROVIDER)
    with Rpc(PROVIDER) as rpc, pytest.raises(RpcError) as failed:
        rpc.chain_id()
    said = line + str(failed.value) + json.dumps(failed.value.details) + without_secrets(PROVIDER)
    for secret in ("alcht_0123456789abcdef", "token=0123456789abcdef", "pass%20word", "pass word"):
        assert secret not in said
    assert "127.0.0.1:9" in line, "people must still see which endpoint it is"
    assert (
        secrets_of("http://127.0.0.1:8545", "https://rpc.example/rpc", "postgresql://db/folkmoot-coordinator")
        == []
    )


def test_a_defect_brings_its_trace_into_the_one_line() -> None:
    stream = io.StringIO()
    logs.setup("json", stream=stream)
    try:
        raise KeyError("what")
    except KeyError:
        logging.getLogger("server").exception("a defect", extra=logs.fields("defect"))
    line = json.loads(stream.getvalue())
    assert (line["level"], line["event"]) == ("error", "defect")
    assert "KeyError: 'what'" in line["trace"]


def test_the_format_comes_from_the_option_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logs.chosen(None) == "text"
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "json")
    assert (logs.chosen(None), logs.chosen("text")) == ("json", "text")
    with pytest.raises(InputError, match="is no log format"):
        logs.chosen("xml")
