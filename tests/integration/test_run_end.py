# SPDX-License-Identifier: Apache-2.0
"""A run whose relay is dead and will not come again is ended by the operator, and another one can begin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from folkmoot.cli.main import run as folkmoot
from folkmoot.errors import CoordinatorError
from folkmoot.protocol.requests import end_run_message
from tests import factories
from tests.integration.coordinator_world import Running, open_round


def test_only_the_coordinators_account_ends_a_run(here: Running) -> None:
    run = here.api.start_run(3, 2, here.world.coordinator, here.domain)
    open_round(here.api, 1)
    with pytest.raises(CoordinatorError) as caught:
        here.api.end_run(run.id, "I wish it.", factories.account("ada"), here.domain)
    assert caught.value.code == "not-authorised"
    with pytest.raises(CoordinatorError) as caught:
        here.api.end_run("f" * 32, "Which one?", here.world.coordinator, here.domain)
    assert caught.value.code == "unknown-run"
    assert here.api.run(run.id) == here.api.run("current")
    assert (here.api.run(run.id) or run).state == "running"

    ended = here.api.end_run(run.id, "The app fails.", here.world.coordinator, here.domain)
    assert (ended.state, ended.error) == ("failed", "The operator ended it: The app fails.")
    again = here.api.end_run(run.id, "Twice.", here.world.coordinator, here.domain)
    assert again == ended
    # Its open round goes on to its own end, and the next run waits for nobody's leave.
    assert here.api.start_run(1, 2, here.world.coordinator, here.domain).id != run.id


def test_a_signature_for_another_reason_or_an_old_one_is_none(here: Running) -> None:
    run = here.api.start_run(1, 2, here.world.coordinator, here.domain)
    for deadline, reason, code in ((1, "Said.", "signature-expired"), (2**40, "Other.", "not-authorised")):
        signed = here.world.coordinator.sign_message(end_run_message(here.domain, run.id, reason, deadline))
        body = {"reason": "Said.", "deadline": deadline, "signature": "0x" + bytes(signed.signature).hex()}
        answer = httpx.post(f"{here.api.url}/v1/runs/{run.id}/end", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, code)


def test_the_command(
    here: Running,
    keystore: Callable[[str], Path],
    password_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [
        *("--coordinator", here.api.url, "--keystore", str(keystore("coordinator"))),
        *("--password-file", str(password_file), "--json", "train", "--end", "The app fails."),
    ]
    assert folkmoot(words) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "no-run"
    run = here.api.start_run(1, 2, here.world.coordinator, here.domain)
    assert folkmoot(words) == 0
    assert json.loads(capsys.readouterr().out) == {"run": run.id, "state": "failed", "completed": 0}
