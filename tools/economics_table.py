# SPDX-License-Identifier: Apache-2.0
"""Write the tables of ``docs/economics.md`` from what the strategies bring in against the default policies.

``--check`` writes nothing and fails if the page differs. A pair of marks is around each table of the page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from folkmoot_lab.economics import entries, lies
from folkmoot_lab.economics.capital import capital, most_minted
from folkmoot_lab.economics.rules import FIRST_COME, PRESENT
from folkmoot_lab.economics.setting import Setting
from folkmoot_lab.economics.table import in_tokens, play_all

from folkmoot.chain.terms import PROFILES
from folkmoot.cli.policy import default_of
from folkmoot.runtime.units import UNIT, format_duration
from tools import generated

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "economics.md"
_BLOCK = re.compile(r"(<!-- economics: (\w+)\. Written by [^>]*-->\n).*?(<!-- economics: end -->)", re.DOTALL)

CROWDS = (31, 63, 151)
"""Honest contributors of the table of crowds; the rounds have 63 places for contributors."""

FACTORS = (1, 2, 4, 5, 8, 16)
"""Bonds of the table of bounds, in rewards."""


def setting_of(profile: str) -> Setting:
    """Return the game of a profile's default policy and deposits."""
    governance = PROFILES[profile].governance
    return Setting(
        policy=default_of(profile),
        demand_deposit=governance.demand_deposit,
    )


def profits() -> list[str]:
    """Return the tables of what each strategy brings in, one for all profiles of which it says the same."""
    tables: dict[tuple[str, ...], list[str]] = {}
    for profile in PROFILES:
        setting = setting_of(profile)
        policy = setting.policy
        terms = (
            f"reward {policy.reward // UNIT}, bond {policy.bond // UNIT}, minimum stake "
            f"{policy.min_stake // UNIT}, rule `{policy.rule}`."
        )
        tables.setdefault((terms, *_strategies(setting)), []).append(f"`{profile}`")
    shown: list[str] = []
    for (terms, *lines), profiles in tables.items():
        shown += ["", f"{', '.join(profiles)}: {terms}", "", *lines]
    return shown


def crowds() -> list[str]:
    """Return the table of what a coordinator's puppets bring in when the accounts outnumber the places."""
    policy = default_of("l2")
    variants = {
        "first come, first served": FIRST_COME,
        "**quota over three quarters of the places, drawn once: the contracts**": PRESENT,
    }
    lines = []
    for name, rules in variants.items():
        cells = []
        for honest in CROWDS:
            best = max(
                entries.puppets_of_coordinator(Setting(policy=policy, rules=rules, honest=honest)),
                key=lambda play: play.profit,
            )
            cells.append(in_tokens(best.profit))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    heads = " | ".join(f"{honest} honest" for honest in CROWDS)
    return ["", f"| places | {heads} |", f"| --- |{' --: |' * len(CROWDS)}", *lines]


def bounds() -> list[str]:
    """Return the table of what would have to be true for a lie to pay, by the bond."""
    reward = 100 * UNIT
    lines = []
    for factor in FACTORS:
        policy = replace(default_of("l2"), bond=factor * reward, reward=reward)
        at = {caught: Setting(policy=policy, caught=Fraction(caught, 100)) for caught in (50, 90)}
        cells = [lies.percent(lies.chance_to_pay(at[50]))]
        for setting in at.values():
            worth, unseen = lies.worth_to_pay(setting), lies.unseen_to_pay(setting)
            cells += [in_tokens(max(Fraction(0), worth or Fraction(0)) / reward * UNIT), str(unseen)]
        lines.append(f"| {factor} R | {' | '.join(cells)} |")
    return [
        "",
        "| bond | proven with less than | or, at 50 %: worth of steering | or rounds unseen | or, at 90 %: worth of "
        "steering | or rounds unseen |",
        f"| --: |{' --: |' * 5}",
        *lines,
    ]


def capitals() -> list[str]:
    """Return the table of the bonds that a coordinator needs, and of what a majority can have minted."""
    lines = []
    for profile in PROFILES:
        policy, governance = default_of(profile), PROFILES[profile].governance
        plain, held = capital(policy), capital(policy, held=governance.unbonding)
        minting = most_minted(policy)
        lines.append(
            f"| `{profile}` | {format_duration(policy.commit_window)} | {plain.rounds} | {_whole(plain.bonds)} | "
            f"{plain.bonds // policy.min_stake} | {held.rounds} | {_whole(held.bonds)} | {_whole(minting.minted)} | "
            f"{_whole(minting.bonds)} |"
        )
    return [
        "",
        "| profile | a round lasts | bonds at once | tokens | as many minimum stakes | bonds, with a "
        "dispute | tokens | a majority mints a day | with bonds of |",
        f"| --- |{' --: |' * 8}",
        *lines,
    ]


BLOCKS: Mapping[str, Callable[[], list[str]]] = {
    "profits": profits,
    "crowds": crowds,
    "bounds": bounds,
    "capital": capitals,
}
"""Tables by the name in their mark."""


def page(text: str) -> str:
    """Return the page with the tables in place.

    Raises:
        SystemExit: The page lacks a pair of marks, or has one twice.
    """
    if sorted(match[2] for match in _BLOCK.finditer(text)) != sorted(BLOCKS):
        raise SystemExit(f"{PAGE} needs a pair of marks for each of: {', '.join(BLOCKS)}")
    return _BLOCK.sub(lambda match: "\n".join([match[1].rstrip(), *BLOCKS[match[2]](), "", match[3]]), text)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; return the exit status."""
    return generated.main(PAGE, lambda: page(PAGE.read_text(encoding="utf-8")), __file__, arguments)


def _strategies(setting: Setting) -> list[str]:
    lines = [
        f"| {row.strategy} | {row.best.choice} | {in_tokens(row.best.gain)} | {in_tokens(row.best.cost)} | "
        f"**{in_tokens(row.best.profit)}** | {row.pays_if} |"
        for row in play_all(setting)
    ]
    return [
        "| strategy | attacker's best choice | gain | cost | profit | what would have to be true for it to pay |",
        "| --- | --- | --: | --: | --: | --- |",
        *lines,
    ]


def _whole(amount: int) -> str:
    return f"{amount // UNIT:,}"


if __name__ == "__main__":
    sys.exit(main())
