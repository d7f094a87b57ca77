# SPDX-License-Identifier: Apache-2.0
"""The pay and the reputation in words, and what the command makes of a coordinator that talks nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from folkmoot.cli.main import run
from folkmoot.explain.reputation import Part, Reputation
from folkmoot.explain.why import judge, reputation_text, weighed_in
from folkmoot.protocol.verdict import Reason, Verdict
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.http_servers import Handler, serving

ADA, COORDINATOR = factories.account("ada").address, factories.account("coordinator").address


def pay_text(
    weight: int, credited: int | None, *, final: bool = True, root: bool = False, share: int | None = None
) -> str:
    reason = Reason.ROOT if root else Reason.ACCEPTED if weight else Reason.OUTLIER
    part = Part(7, weight, reason, 65536, 5, 10 * UNIT, final, root, share)
    verdict = Verdict(0, ADA, weight, reason, {"sumSquares": 9})
    return judge(part, verdict, factories.policy(), entries=5, credited=credited).pay_text


def test_the_pay_is_told_as_a_formula_with_its_standing() -> None:
    formula = (
        "Pay = floor(reward * weight / (places * largest weight)) = floor(10 MOOT * 39321 / (5 * 65536))"
    )
    amount = 10 * UNIT * 39321 // (5 * 65536)
    assert pay_text(39321, amount) == f"{formula} = 1.199981689453125 MOOT, credited by the ledger."
    assert pay_text(39321, None).endswith("when somebody settles the round.")
    assert pay_text(39321, None, final=False).endswith("it may still be challenged.")
    assert pay_text(0, 0).endswith("= 0 MOOT.")
    assert "never paid" in pay_text(0, 0, root=True)


def test_a_pay_apart_from_the_weight_is_told_as_a_part_of_a_place() -> None:
    amount = 10 * UNIT * 16384 // (5 * 65536)
    assert pay_text(65536, amount, share=16384) == (
        "The anchor gives it 25.0 % of a full place, apart from its weight. Pay = floor(reward * share / (places * "
        "65536)) = floor(10 MOOT * 16384 / (5 * 65536)) = 0.5 MOOT, credited by the ledger."
    )
    assert pay_text(1, None, share=65536, final=False).endswith(
        "= 2 MOOT, once the round is final; it may still be challenged."
    )
    assert pay_text(0, 0, share=0).endswith("= 0 MOOT.")
    assert "never paid" in pay_text(0, 0, root=True, share=0)


def test_a_ledger_that_credited_something_else_is_told() -> None:
    assert pay_text(65536, UNIT).endswith("= 2 MOOT; but the ledger credited 1 MOOT: run `folkmoot audit`.")
    assert "but the ledger credited 0 MOOT" in pay_text(65536, 0)
    assert "but the ledger credited 2 MOOT" in pay_text(0, 2 * UNIT)


def test_a_reputation_in_words() -> None:
    left_out = {Reason.COPY: 1, Reason.OUTLIER: 2}
    found = Reputation(4, 1, 4, left_out, 1, 2 * UNIT, UNIT, 300)
    assert reputation_text(found.to_json()) == (
        "Standing 300 of 1024: 4 rounds, 4 delivered, 1 counted, 3 left out (copy 1, outlier 2); earned 2 MOOT, "
        "1 MOOT more if no challenge succeeds; led 1 round with an entry of its own."
    )
    assert reputation_text(Reputation(1, 1, 1).to_json()).startswith(
        "Standing 0 of 1024: 1 round, 1 delivered"
    )


def test_what_the_rule_weighs() -> None:
    reasons = [(ADA, Reason.COPY), (COORDINATOR, Reason.ROOT), ("0x1", Reason.NOT_DELIVERED)]
    verdicts = [Verdict(index, who, 0, reason) for index, (who, reason) in enumerate(reasons)]
    assert weighed_in(verdicts, COORDINATOR) == [ADA]
    equal = Verdict(3, "0x2", 0, Reason.COPY, {"copyOfEntry": 0})
    assert weighed_in([*verdicts, equal], COORDINATOR) == [ADA]


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[str]:
    """Serve JSON by the end of the path; anything else gets an empty object."""

    class Answering(Handler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            self.answer(next((value for end, value in answers.items() if path.endswith(end)), {}))

    with serving(Answering) as url:
        yield url


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {ADA: {"refused": []}},
        {ADA: {"refused": [], "reputation": {}}, "/verdicts": {"items": [{}]}},
        {ADA: {"refused": [], "reputation": {}}, "/verdicts": {"items": 5}},
        {ADA: {"refused": [7], "reputation": {}}, "/verdicts": {"items": []}},
        {
            ADA: {"refused": [], "reputation": {**Reputation().to_json(), "leftOut": [1]}},
            "/verdicts": {"items": [{}]},
        },
        {ADA: {"refused": [], "reputation": Reputation().to_json()}, "/verdicts": {"items": ["?"]}},
    ],
)
def test_a_coordinator_that_talks_nonsense(answers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(answers) as url:
        assert run(["why", ADA, "--coordinator", url]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: The coordinator {url} gave an answer"), printed
    assert len(printed.splitlines()) == 1
