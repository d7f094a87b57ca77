# SPDX-License-Identifier: Apache-2.0
"""`folkmoot submit` sends only what the account's signer has signed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client.cli.join import submit
from folkmoot.coordinator_api import commitment_to_wire
from folkmoot.errors import InputError
from folkmoot.flower.updates import KeptUpdate, keep_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.merkle import update_tree
from tests import factories

ADA, BEN = factories.account("ada"), factories.account("ben")
DOMAIN = Domain(31337, "0x" + "a1" * 20)
DATA = np.random.default_rng(1).integers(64, 193, 512, np.uint8).tobytes()
TREE = update_tree(np.frombuffer(DATA, np.uint8))
TRUE = Commitment(ADA.address, 7, bytes(32), TREE.root, TREE.sum_squares)


class SentError(Exception):
    """The command has begun to send."""


@pytest.fixture(autouse=True)
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    def earlier(*_: Any, **__: Any) -> None:
        raise SentError

    addresses = SimpleNamespace(chain_id=DOMAIN.chain_id, ledger=DOMAIN.verifying_contract)

    @contextlib.contextmanager
    def sending(*_: Any) -> Iterator[Any]:
        ledger = SimpleNamespace(
            round=lambda _: SimpleNamespace(policy=1),
            policy=lambda _: factories.policy(width=8),
            has_committed=lambda *_: True,
        )
        yield SimpleNamespace(deployment=addresses, earlier=earlier, ledger=ledger)

    monkeypatch.setenv("FOLKMOOT_COORDINATOR", "http://127.0.0.1:9")
    monkeypatch.setattr("folkmoot.cli.options.sending", sending)
    monkeypatch.setattr("folkmoot.cli.options.unlock", lambda *_: ADA)


def send(home: Path, commitment: Commitment, signature: bytes, data: bytes = DATA) -> None:
    keep_update(home, 7, KeptUpdate("ab", commitment_to_wire(commitment, signature), data))
    submit(7, home)


def test_what_the_signer_signed_is_sent(tmp_path: Path) -> None:
    with pytest.raises(SentError):
        send(tmp_path, TRUE, TRUE.sign(ADA, DOMAIN))


@pytest.mark.parametrize(
    ("commitment", "signature"),
    [
        (replace(TRUE, sum_squares=TRUE.sum_squares + 1), b"\x01" * 65),
        (replace(TRUE, sum_squares=TRUE.sum_squares + 1), TRUE.sign(ADA, DOMAIN)),
        (TRUE, TRUE.sign(ADA, Domain(1, DOMAIN.verifying_contract))),
        (replace(TRUE, contributor=BEN.address), replace(TRUE, contributor=BEN.address).sign(BEN, DOMAIN)),
        (replace(TRUE, round=6), replace(TRUE, round=6).sign(ADA, DOMAIN)),
    ],
    ids=["planted", "changed", "other-chain", "other-account", "other-round"],
)
def test_what_the_signer_did_not_sign_is_not_sent(
    tmp_path: Path, commitment: Commitment, signature: bytes
) -> None:
    with pytest.raises(InputError, match="Nothing was sent") as refused:
        send(tmp_path, commitment, signature)
    assert refused.value.code == "unsigned-update"


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA[:-1] + b"\x00", DATA[:-1] + b"\xff"])
def test_another_file_than_the_signed_update_is_not_sent(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError) as refused:
        send(tmp_path, TRUE, TRUE.sign(ADA, DOMAIN), data)
    assert refused.value.code == "damaged-update"
