# SPDX-License-Identifier: Apache-2.0
"""The page docs/economics.md has the tables that the strategies make."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from folkmoot_lab.economics import entries
from folkmoot_lab.economics.rules import PRESENT
from folkmoot_lab.economics.setting import DRAW_GAS, Setting
from folkmoot_lab.economics.table import in_tokens

from folkmoot.cli.policy import default_of
from folkmoot.runtime.units import UNIT
from tools import economics_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_made_from_the_code_and_a_stale_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {name: made_by() for name, made_by in economics_table.BLOCKS.items()}

    def again(name: str) -> Callable[[], list[str]]:
        return lambda: made[name]

    monkeypatch.setattr(economics_table, "BLOCKS", {name: again(name) for name in made})
    assert economics_table.main(["--check"]) == 0, "Remedy: python tools/economics_table.py"
    stale = tmp_path / "economics.md"
    stale.write_text(re.sub(r"\*\*-(\d+\.\d\d)", r"**\1", economics_table.PAGE.read_text(), count=1))
    monkeypatch.setattr(economics_table, "PAGE", stale)
    assert economics_table.main(["--check"]) == 1
    assert economics_table.main([]) == 0
    assert economics_table.main(["--check"]) == 0
    stale.write_text(stale.read_text().replace("<!-- economics: end -->", "", 1))
    with pytest.raises(SystemExit, match="needs a pair of marks"):
        economics_table.main([])


def test_what_the_page_says_of_crowds_is_what_is_played() -> None:
    said = " ".join(economics_table.PAGE.read_text().split())
    hour = [in_tokens(_of_waiting(honest, 3_600)) for honest in (63, 151)]
    assert f"{hour[0]} of 100 tokens a round with 63 honest contributors, and {hour[1]} with 151" in said
    assert max(_of_waiting(honest, 600) for honest in (63, 151)) < UNIT // 100
    few = [in_tokens(_of_the_first(places)) for places in (31, 15, 7, 3)]
    told = (
        f"up to {few[0]} of 100 tokens with 31 places, {few[1]} with 15, {few[2]} with 7 and {few[3]} with 3."
    )
    assert told in said
    assert max(_of_the_first(places) for places in (40, 63)) <= 0
    assert round(31 / PRESENT.quota(63, 131)) == 11


def _of_waiting(honest: int, length: int) -> Fraction:
    """Return what a round more brings a coordinator that waits for other lots, in blocks of 2 s, without commitments.

    Args:
        honest: Honest contributors, with 70 % of the stake.
        length: Seconds of a round, of which its puppets miss a part with each 257 blocks.
    """
    setting = Setting(policy=default_of("l2"), honest=honest)
    lots, reward = entries.draw(setting, setting.puppets), setting.policy.reward
    cost = Fraction(setting.gas(DRAW_GAS), reward) + Fraction(2 * 257, length) * lots.fair
    share, draws = lots.drawn_again(cost)
    return (share - lots.fair - cost * (draws - 1)) * reward


def _of_the_first(places: int) -> Fraction:
    """Return the most that spam brings in, with one or three honest contributors a place."""
    policy = replace(default_of("l2"), max_contributors=places + 1)
    crowds = [Setting(policy=policy, honest=times * places) for times in (1, 3)]
    return max(play.profit for setting in crowds for play in entries.spam(setting))
