# SPDX-License-Identifier: Apache-2.0
"""`folkmoot economics`: what every known attack costs and brings in against a policy."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import GAS_PRICE_DEFAULT, GasPriceInTokens
from folkmoot.cli.output import emit, table
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.protocol.policy import Policy
    from folkmoot_lab.economics.setting import Setting
    from folkmoot_lab.economics.table import Row

HEADERS = ("strategy", "attacker's best choice", "gain", "cost", "profit")
"""Headers of the table. Amounts are tokens, for a round or for the whole row of lies."""

NOT_COVERED = (
    "Not covered: what steering the model is worth (--worth), censorship for longer than the windows, a majority of "
    "the votes, bribes for honest people, and work that looks trained and is not."
)
"""What the table leaves out."""


def economics(
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Policy, a JSON file. Default: that of --profile.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="The default policy of `folkmoot policy` for demo, l2 or l1.")
    ] = "l2",
    rules: Annotated[
        str,
        typer.Option(
            help="Rules of the contracts: present; first-come (places go to whoever commits first); "
            "version-1 (the contracts before November 2026)."
        ),
    ] = "present",
    caught: Annotated[
        str,
        typer.Option(
            metavar="PERCENT", help="How likely a lie is proven in time, if a proof brings its gas."
        ),
    ] = "50",
    unseen: Annotated[
        int, typer.Option(min=1, help="Rounds in a row that nobody checks, if one is not checked.")
    ] = 1,
    worth: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="What steering the model in one round is worth to the coordinator, in tokens. Default: nothing.",
        ),
    ] = None,
    watchers: Annotated[
        int, typer.Option(min=0, help="Watchers of each round that take a bribe above a proof's reward.")
    ] = 1,
    share: Annotated[
        str, typer.Option(metavar="PERCENT", help="Attacker's share of the stake of all contributors.")
    ] = "30",
    honest: Annotated[
        int | None,
        typer.Option(
            min=1, help="Honest contributors, each with the least stake. Default: half of a round's places."
        ),
    ] = None,
    honest_votes: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Honest stake that votes, in tokens. Matters where bonds vote. Default: more than these.",
        ),
    ] = None,
    gas_price: GasPriceInTokens = GAS_PRICE_DEFAULT,
) -> None:
    """Play every known attack against a policy, and show the attacker's best profit. Exit status 1 if one pays.

    Nothing is sent and no chain is read. docs/economics.md explains the strategies and what is assumed.

    Example: folkmoot economics --policy policy.json --caught 90 --worth 250
    """
    from folkmoot.runtime.units import format_amount, parse_amount
    from folkmoot_lab.economics.capital import capital
    from folkmoot_lab.economics.lies import percent
    from folkmoot_lab.economics.play import counted
    from folkmoot_lab.economics.rules import RULES
    from folkmoot_lab.economics.setting import Setting
    from folkmoot_lab.economics.table import play_all

    if rules not in RULES:
        raise InputError(
            f"There are no rules {rules!r}.",
            remedy=f"Choose one of {', '.join(RULES)}.",
            code="unknown-rules",
        )
    setting = Setting(
        policy=_policy(policy, profile),
        rules=RULES[rules],
        gas_price=parse_amount(gas_price),
        caught=parse_percent(caught),
        unseen=unseen,
        worth=0 if worth is None else parse_amount(worth),
        watchers=watchers,
        share=parse_percent(share),
        honest=honest,
        honest_votes=None if honest_votes is None else parse_amount(honest_votes),
    )
    rows = play_all(setting)
    paying = [row.strategy for row in rows if row.pays]
    needed = capital(setting.policy, rules=setting.rules)
    document: dict[str, Any] = {
        "assumed": _assumed(setting, rules),
        "strategies": [row.to_json() for row in rows],
        "pays": paying,
        "capital": {"rounds": needed.rounds, "bonds": str(needed.bonds)},
    }
    if setting.rules.bond_for_each_round:
        locked = f"locks {counted(needed.rounds, 'bond')} at once: {format_amount(needed.bonds)}"
        if setting.rules.bonds_vote:
            locked += f", which vote like {counted(needed.bonds // max(1, setting.policy.min_stake), 'minimum stake')}"
    else:
        locked = f"has one bond for {needed.rounds} rounds: {format_amount(needed.bonds)}"
    emit(
        document,
        f"Reward {format_amount(setting.policy.reward)}, bond {format_amount(setting.policy.bond)}, "
        f"{setting.policy.rule}. A lie is proven with {percent(setting.caught)}. {setting.others} honest contributors; "
        f"the attacker has {percent(setting.share)} of the stake.",
        table(HEADERS, [_line(row) for row in rows]),
        "What would have to be true for it to pay:",
        *(f"- {row.strategy}: {row.pays_if}." for row in rows),
        "",
        f"These pay: {', '.join(paying)}." if paying else "None of these strategies pays.",
        f"A coordinator that never waits {locked}.",
        NOT_COVERED,
    )
    if paying:
        raise typer.Exit(1)


def parse_percent(text: str) -> Fraction:
    """Return a part of one from a decimal number of percent.

    Raises:
        InputError: The text is no number.
    """
    try:
        if "/" in text or "_" in text:
            raise ValueError
        return Fraction(text.strip().removesuffix("%").strip()) / 100
    except ValueError as error:
        raise InputError(
            f"{text!r} is not a percentage.",
            remedy="Write a number such as 50 or 12.5.",
            code="invalid-percent",
        ) from error


def _policy(path: Path | None, profile: str) -> Policy:
    from folkmoot.aggregation import policy_file
    from folkmoot.cli.policy import default_of

    return default_of(profile) if path is None else policy_file.load(path)


def _line(row: Row) -> tuple[str, ...]:
    from folkmoot_lab.economics.table import in_tokens

    best = row.best
    return (row.strategy, best.choice, *map(in_tokens, (best.gain, best.cost, best.profit)))


def _assumed(setting: Setting, rules: str) -> dict[str, Any]:
    """Return the assumptions as JSON: amounts in units of 1e-18 tokens, parts of one as fractions."""
    from folkmoot.aggregation import policy_file

    return {
        "policy": policy_file.to_json(setting.policy),
        "rules": rules,
        "gasPrice": str(setting.gas_price),
        "caught": str(setting.caught),
        "unseen": setting.unseen,
        "worth": str(setting.worth),
        "watchers": setting.watchers,
        "share": str(setting.share),
        "honest": setting.others,
        "honestVotes": None if setting.honest_votes is None else str(setting.honest_votes),
    }
