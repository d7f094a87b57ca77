# SPDX-License-Identifier: Apache-2.0
"""A federation that an older version made goes on: it is audited, restored and served as on the day when it was made.

`tests/older` has what `folkmoot demo --task digits --contributors 3 --rounds 2` left when tokens could answer for
versions: the chain, the coordinator's files and database. New contracts need a new one: the audit compares the code at
each address.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.federation import LocalFederation, Plan
from folkmoot.runtime.commands import run_folkmoot
from folkmoot.runtime.processes import Supervisor
from tools.node_toolchain import node_binary

ARCHIVE = Path(__file__).parents[1] / "older" / "federation-2026-12-06.tar.xz"

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    plan = Plan(tmp_path, task="digits", contributors=3)
    settings = json.loads((plan.coordinator_home / "coordinator.json").read_text())
    settings |= {"keystore": str(plan.keystore("coordinator")), "password_file": str(plan.password_file)}
    (plan.coordinator_home / "coordinator.json").write_text(json.dumps(settings))
    return plan


@pytest.mark.story
def test_an_older_federation_goes_on(plan: Plan, tmp_path: Path) -> None:
    with Supervisor(plan.logs) as supervisor:
        federation = LocalFederation(plan, supervisor)
        federation.start_chain()
        chain = ("--rpc", federation.rpc_url, "--deployment", plan.deployment_file)

        audit = run_folkmoot(["audit", *chain, "--artifacts", plan.artifacts])
        assert (audit["entries"]["signed"], audit["updates"], audit["recomputed"]) == (6, 6, 2)
        assert (audit["votes"], audit["activeVersion"]) == (3, 2)

        evidence = tmp_path / "2.evidence"
        run_folkmoot(
            ["export", "evidence", "--round", "2", "--to", evidence, *chain, "--artifacts", plan.artifacts]
        )
        check = Path(__file__).parents[2] / "folkmoot/web/check.js"
        checked = subprocess.run(
            [node_binary(), check, evidence], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr

        key = ("--keystore", plan.keystore("coordinator"), "--password-file", plan.password_file)
        restored = run_folkmoot(
            ["coordinator", "rebuild", *chain, *key, "--home", tmp_path / "new", "--mirror", plan.artifacts]
        )
        assert (restored["rounds"], restored["head"]) == ({"settled": 2}, 2)

        federation.start_coordinator()
        api = CoordinatorApi(federation.api_url)
        assert [one["step"] for one in api.items("/v1/rounds")] == ["settled", "settled"]
        assert run_folkmoot(["audit", *chain, "--artifacts", federation.api_url])["recomputed"] == 2
        api.close()
