# SPDX-License-Identifier: Apache-2.0
"""What `/v1/deployment` answers is a deployment file."""

from __future__ import annotations

import pytest

from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.parent import Parent
from server.api.schemas import DeploymentView

LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
PARENT = Parent(31337, LEDGER, 3, b"\1" * 32, b"\2" * 32, 77, b"\3" * 32)


@pytest.mark.parametrize("parent", [None, PARENT])
def test_the_answer_is_a_deployment_file(parent: Parent | None) -> None:
    made = Deployment(
        1, 2, **dict.fromkeys(CONTRACTS, LEDGER), genesis_hash="0x" + "ab" * 32, members=None, parent=parent
    )
    answer = DeploymentView.of(made).model_dump(by_alias=True)
    assert Deployment.from_json(answer) == made
    assert answer["parent"] == (parent and parent.to_json())
