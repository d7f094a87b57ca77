# SPDX-License-Identifier: Apache-2.0
"""The parts of a coordinator that lies: what is false, and what is overridden for it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from folkmoot_lab.lies import Kind, Lie, coordinator
from folkmoot_lab.lies.__main__ import run
from folkmoot_lab.lies.coordinator import require_anvil
from folkmoot_lab.lies.outcome import PLACE, falsify, off_by_one

from folkmoot.artifacts.gather import RoundInputs
from folkmoot.errors import InputError
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.packing import ZERO
from folkmoot.protocol.verdict import Verdicts
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from tests.unit import worlds


@pytest.mark.parametrize(("value", "changed"), [(-127, -126), (-1, 0), (0, 1), (1, 0), (7, 6), (127, 126)])
def test_one_coordinate_of_a_mean_moves_by_one_and_stays_in_range(value: int, changed: int) -> None:
    mean = np.full((2, LEAF), ZERO + value, np.uint8)
    lie = off_by_one(mean)
    assert lie.dtype == np.uint8
    assert int(lie.flat[PLACE]) - ZERO == changed
    assert np.flatnonzero(lie != mean).tolist() == [PLACE]
    assert (mean == ZERO + value).all(), "the true mean is kept"


def test_a_bent_pay_is_in_all_files_and_the_model_is_true() -> None:
    where = worlds.World(worlds.state(worlds.MANIFEST, 1), policy=worlds.policy("clamped_mean", (), 700, 900))
    pairs = [
        where.commit(name, worlds.update_bytes(worlds.MANIFEST, i, 20)) for i, name in enumerate(worlds.NAMES)
    ]
    outcome = where.outcome(pairs)
    entries, updates = zip(*pairs, strict=True)
    inputs = RoundInputs(
        where.manifest,
        where.header,
        where.policy,
        where.state,
        entries,
        updates,
        worlds.account(worlds.COORDINATOR).address,
        where.lineage,
    )
    lie, _ = falsify(Kind.PAY, inputs, outcome)
    bent = [
        (mine, theirs)
        for mine, theirs in zip(outcome.anchor.pays, lie.anchor.pays, strict=True)
        if mine != theirs
    ]
    assert [theirs for _, theirs in bent] == [bent[0][0] // 2]
    assert Verdicts.from_json(lie.verdicts_file).pays == lie.anchor.pays
    assert lie.anchor.verdict_hash == keccak(lie.verdicts_file)
    assert (lie.weights, lie.state_root, lie.mean_root) == (
        outcome.weights,
        outcome.state_root,
        outcome.mean_root,
    )


WRONG = ("", "mean", "mean@0", "mean@x", "@1", "lie@1", "theft@1")


def test_a_lie_is_a_kind_and_a_round() -> None:
    assert Lie.parse("outer-step@12") == Lie(Kind.OUTER_STEP, 12)
    for kind in Kind:
        lie = Lie.parse(f"{kind}@2")
        assert [(other, number) for other in Kind for number in (1, 2) if lie.told(other, number)] == [
            (kind, 2)
        ]
    for text in WRONG:
        with pytest.raises(InputError) as unknown:
            Lie.parse(text)
        assert unknown.value.code == "unknown-cheat"


@pytest.mark.parametrize("words", [[], *([text, "serve"] for text in WRONG)])
def test_a_command_line_without_a_lie_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: There is no cheat ")
    assert "Traceback" not in said


def test_a_lie_overrides_methods_that_the_product_has() -> None:
    """A method that is renamed in the product would be honest again, in silence."""
    liars = [
        one
        for _, one in inspect.getmembers(coordinator, inspect.isclass)
        if one.__module__ == coordinator.__name__
    ]
    assert len(liars) == 8
    for liar in liars:
        base = liar.__base__
        assert base is not None
        assert base.__module__.startswith("server.")
        methods = {name for name, _ in inspect.getmembers(liar, inspect.isfunction) if name in vars(liar)}
        assert methods
        assert methods <= set(dir(base)), liar


class Answers(Rpc):
    """An endpoint that names its client, and knows nothing else."""

    def __init__(self, client: str) -> None:
        super().__init__("http://chain.example")
        self.client = client

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        assert method == "web3_clientVersion"
        return self.client


def test_a_lie_is_told_on_a_local_anvil_only() -> None:
    require_anvil(LOCAL_CHAIN_ID, Answers("anvil/v1.5.0"))
    for chain_id, client in ((1, "anvil/v1.5.0"), (LOCAL_CHAIN_ID, "Geth/v1.16.0"), (LOCAL_CHAIN_ID, "")):
        with pytest.raises(InputError) as elsewhere:
            require_anvil(chain_id, Answers(client))
        assert elsewhere.value.code == "lie-not-local"
