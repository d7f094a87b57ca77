# SPDX-License-Identifier: Apache-2.0
"""A SuperLink with TLS that admits only nodes it knows: strangers stay out, and an expired certificate passes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from folkmoot.devnet.federation import Plan
from folkmoot.runtime.certificates import Authority
from folkmoot.runtime.processes import Supervisor
from tests.e2e.guarded import Guarded, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    plan = Plan(tmp_path_factory.mktemp("guarded"), "digits", 2)
    with Supervisor(plan.logs) as supervisor:
        federation = Guarded(plan, supervisor)
        federation.start_all()
        assert not federation.certificate()["made"], "a good certificate was replaced"
        yield federation


def test_strangers_stay_out_and_an_expired_certificate_passes(guarded: Guarded) -> None:
    ca = guarded.tls / "ca.pem"
    for words, code, said in (
        (["--root-certificates", ca], "node-key-missing", "--node-key"),
        (["--root-certificates", ca, "--node-key", guarded.key(1)], "node-unknown", "superlink --admit"),
    ):
        refused = subprocess.run(
            guarded.join_command(1, *words),
            env=guarded.environment("contributor-1"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        error = json.loads(refused.stdout[refused.stdout.index('{\n  "error"') :])["error"]
        assert (refused.returncode, error["code"]) == (1, code), refused.stdout
        assert said in error["remedy"]
        assert "joined" not in refused.stdout

    assert guarded.admit(guarded.tls / "ca.pem").returncode == 1, "no key"
    first = guarded.admit(guarded.key(1).with_name("1.pub"))
    assert json.loads(first.stdout)["new"] == [str(guarded.key(1)) + ".pub"]
    one = guarded.join(1)
    until(lambda: '"joined"' in one.tail(50))
    two = guarded.join(2)
    until(lambda: not two.alive)
    assert "node-unknown" in two.tail(50)
    guarded.supervisor.stop_one("contributor-2")
    both = json.loads(guarded.admit(guarded.key(1).parent).stdout)
    assert (both["keys"], len(both["new"])) == (2, 1)
    two = guarded.join(2)
    until(lambda: two.tail(50).count('"joined"') == 1)
    with guarded.round(expect=2):
        pass

    # The certificate expires: nodes say so and wait.
    authority = Authority.load(ca, guarded.tls / "ca.key")
    expired = authority.issue("127.0.0.1", not_after=datetime.now(UTC) - timedelta(minutes=1))
    expired.save(guarded.tls / "server.pem", guarded.tls / "server.key")
    guarded.supervisor.stop_one("superlink")
    guarded.start_superlink()
    for node in (one, two):
        until(lambda node=node: "TLS: certificate has expired" in node.tail(50))
        assert node.alive
    refused = guarded.admit(guarded.key(1).parent)
    assert json.loads(refused.stdout)["error"]["code"] == "superlink-tls"
    assert "certificate has expired" in refused.stdout

    # It is renewed: they come back with the keys that the SuperLink kept, and nobody does anything.
    assert guarded.certificate()["made"]
    guarded.supervisor.stop_one("superlink")
    guarded.start_superlink()
    with guarded.round(expect=2):
        pass
    assert one.alive
    assert two.alive
