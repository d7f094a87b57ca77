# SPDX-License-Identifier: Apache-2.0
"""`folkmoot policy`: write a first policy file for a deployment or a proposal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.options import BUDGET_ROUNDS, GAS_PRICE_DEFAULT, GasPriceInTokens, Width
from folkmoot.cli.output import emit, note, pairs, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.protocol.genesis import Genesis
    from folkmoot.protocol.manifest import Manifest
    from folkmoot.protocol.policy import Policy

DEFAULT_RULE = "clamped_mean"
"""Rule of a policy, where nobody names another. Equal to `folkmoot.protocol.policy.CLAMPED_MEAN`, which is not imported
for a help text."""
DEFAULT_MIN_STAKE = "100"
"""Tokens that a contributor must have at stake, where nobody says otherwise."""
DEFAULT_BOND = "500"
"""Tokens of a bond, where nobody says otherwise: `folkmoot.chain.bonds.least_bond` is below it."""
DEFAULT_REWARD = "100"
"""Tokens for a final round, where nobody says otherwise."""
PLACES = 64
"""Most contributors of a round, where the rule needs no more."""

ARBITER = "arbiter"
"""Equal to `folkmoot.protocol.policy.ARBITER`, which is not imported for a help text."""


def policy(
    genesis: Annotated[Path, typer.Option(metavar="FOLDER", help="Genesis folder of `folkmoot task init`.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Policy file to write.")] = Path("policy.json"),
    profile: Annotated[
        str, typer.Option(help="Windows of a round: demo (minutes), l2 or l1 (hours).")
    ] = "l2",
    commit_window: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="SECONDS", help="Time for training and delivery. Default: the profile's."
        ),
    ] = None,
    anchor_window: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Time for the coordinator to anchor a round. Default: the profile's.",
        ),
    ] = None,
    challenge_window: Annotated[
        int | None,
        typer.Option(min=1, metavar="SECONDS", help="Time for proofs of fraud. Default: the profile's."),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            help=f"Aggregation rule and its parameters, e.g. {DEFAULT_RULE}, {DEFAULT_RULE}:307 (the root set gives "
            "out 307 of 1024 parts of the weight), or multi_krum:1,0."
        ),
    ] = DEFAULT_RULE,
    width: Width = 8,
    min_stake: Annotated[
        str, typer.Option(help="Tokens that a contributor must have at stake.")
    ] = DEFAULT_MIN_STAKE,
    bond: Annotated[
        str,
        typer.Option(help="Tokens that the coordinator must have at stake for each round that is pending."),
    ] = DEFAULT_BOND,
    min_contributors: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Fewest contributors of a round; by default as few as the rule works with, at least 2.",
        ),
    ] = None,
    max_contributors: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Places of a round, each worth its share of the reward; by default {PLACES} or more."
        ),
    ] = None,
    reward: Annotated[
        str, typer.Option(help="Tokens for a final round: equal shares, each paid by pay, or by weight.")
    ] = DEFAULT_REWARD,
    verifier: Annotated[
        str,
        typer.Option(
            metavar="arbiter|none|ADDRESS",
            help="Who may void a round of this policy: the deployment's arbiter, which believes proofs only; nobody; "
            "or a contract of your own.",
        ),
    ] = ARBITER,
    budget_rounds: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="ROUNDS",
            help="Rounds after which a contributor's privacy budget is spent, if the model's task declares privacy. "
            "The noise of a round is the task's.",
        ),
    ] = BUDGET_ROUNDS,
    retain_rounds: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**32 - 1,
            metavar="ROUNDS",
            help="Final rounds after which the update files of a round are deleted; 0 for never.",
        ),
    ] = 0,
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="The only bundle of training code that nodes run; `folkmoot train --bundle -` prints it. Default: "
            "any.",
        ),
    ] = None,
    gas_price: GasPriceInTokens = GAS_PRICE_DEFAULT,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the policy file.")] = False,
) -> None:
    """Write a policy file for a model and a kind of chain. Read it and change it, then deploy or propose it.

    Example: folkmoot policy --genesis genesis/ --profile l2 --rule clamped_mean --out policy.json
    """
    import json

    from folkmoot.aggregation import policy_file
    from folkmoot.chain.bonds import minting, policy_warning
    from folkmoot.privacy.settings import WARNING, PrivacySettings, floor_of
    from folkmoot.protocol.commitment import NO_BUNDLE
    from folkmoot.runtime.units import format_amount, format_duration, parse_amount, parse_bundle

    if out.exists() and not force:
        raise InputError(
            f"There is already a file {out}.",
            remedy="Choose another --out, or give --force.",
            code="file-exists",
        )
    name, parameters = parse_rule(rule)
    suggested = suggest(
        genesis,
        profile,
        name,
        parameters,
        min_stake=parse_amount(min_stake),
        bond=parse_amount(bond),
        reward=parse_amount(reward),
        min_contributors=min_contributors,
        verifier=parse_verifier(verifier),
        budget_rounds=budget_rounds,
        width=width,
    )
    window = commit_window or suggested.commit_window
    suggested = replace(
        suggested,
        commit_window=window,
        anchor_window=anchor_window or suggested.anchor_window,
        challenge_window=challenge_window or suggested.challenge_window,
        max_contributors=max_contributors or suggested.max_contributors,
        interval=window if suggested.interval else 0,
        retain_rounds=retain_rounds,
        bundle_hash=bytes.fromhex(parse_bundle(bundle or "")) or NO_BUNDLE,
    )
    warning = policy_warning(suggested, gas_price=parse_amount(gas_price))
    document = policy_file.to_json(suggested)
    write_file(out, (json.dumps(document, indent=2) + "\n").encode())
    shown = {key: str(value) for key, value in document.items()}
    shown |= {key: format_amount(int(document[key])) for key in ("minStake", "bond", "reward")}
    shown |= {key: format_duration(int(document[key])) for key in document if key.endswith("Window")}
    share = format_amount(suggested.reward // suggested.max_contributors)
    emit(
        {"policy": document, "path": str(out), "warning": warning},
        pairs(shown),
        f"A round has {suggested.max_contributors} places, each worth {share} at most. Nobody is paid for an empty "
        "one: give --max-contributors near the number of contributors that you expect.",
        f"Minted for the rounds of a day, whatever the coordinator does: {minting(suggested)}.",
        f"Written to {out}.",
    )
    if warning:
        note(f"Warning: {warning}")
    if not suggested.noise1024:
        note(f"Warning: {WARNING}")
        return
    first, manifest = _first(genesis)
    if settings := PrivacySettings.of(manifest.training):
        note(
            f"A contributor's budget is for {budget_rounds} rounds: {settings.described(budget_rounds)}.",
        )
    if not suggested.min_sum_squares:
        why = floor_of(manifest, first.exponents, suggested.width).why
        note(f"The policy has no minSumSquares: {why}.")


def suggest(
    genesis: Path,
    profile: str,
    rule: str,
    parameters: tuple[int, ...],
    *,
    min_stake: int,
    bond: int,
    reward: int,
    min_contributors: int | None = None,
    verifier: str = ARBITER,
    budget_rounds: int = BUDGET_ROUNDS,
    width: int = 8,
) -> Policy:
    """Return a policy for a model, with the windows of a profile and a cap on the mean square of an update.

    With eager start, the policy has an outer rate and momentum that hold the contributors' models together.

    If the model's task declares privacy, the policy has its noise and steps, a budget for some rounds, and a floor on
    the sum of squares where there are enough weights for one.

    Args:
        genesis: Genesis folder.
        profile: `demo`, `l2` or `l1`.
        rule: Name of the rule.
        parameters: Parameters of the rule.
        min_stake: Minimum stake of a contributor, in units of 1e-18 tokens.
        bond: Bond of the coordinator, in units of 1e-18 tokens.
        reward: Reward of a round, in units of 1e-18 tokens.
        min_contributors: Minimum number of commitments of a round; None for the rule's minimum, at least 2.
        verifier: Account that may void a round: an address, or `arbiter` for the arbiter of the future deployment.
        budget_rounds: Rounds after which the privacy budget of a contributor is spent.
        width: Bits of an encoded coordinate.

    Raises:
        InputError: The profile or rule is unknown, a value is out of range, or the rule can't work.
        ArtifactError: The genesis is missing or damaged.
    """
    from folkmoot.privacy.settings import PrivacySettings, check_private_width, floor_of
    from folkmoot.protocol.budget import cost_of
    from folkmoot.protocol.genesis import width_warning
    from folkmoot.protocol.outer_step import EAGER_MOMENTUM, EAGER_RATE
    from folkmoot.protocol.packing import check_width
    from folkmoot.protocol.policy import MEAN_SQUARE_CAPS
    from folkmoot.tasks import pace

    first, manifest = _first(genesis)
    policy = of_profile(
        profile,
        rule,
        parameters,
        max_sum_squares=MEAN_SQUARE_CAPS[check_width(width)] * manifest.elements,
        min_stake=min_stake,
        bond=bond,
        reward=reward,
        min_contributors=min_contributors,
        verifier=verifier,
        width=width,
    )
    private = PrivacySettings.of(manifest.training)
    if private is None:
        if other := width_warning(manifest, width):
            raise InputError(
                other,
                remedy="Give the --width that the genesis was made with, or make it again: `folkmoot task init --width "
                f"{width}`.",
                code="other-width",
            )
        if pace.is_eager(manifest.training):
            return replace(policy, rate=EAGER_RATE, momentum=EAGER_MOMENTUM)
        return policy
    check_private_width(width)
    cap = budget_rounds * cost_of(private.noise1024, private.steps)
    return replace(
        policy,
        noise1024=private.noise1024,
        steps=private.steps,
        privacy_cap=cap,
        min_sum_squares=floor_of(manifest, first.exponents, policy.width).least,
    )


def default_of(profile: str) -> Policy:
    """Return the policy of a profile with the defaults of the command, for a model of one weight."""
    from folkmoot.protocol.policy import MEAN_SQUARE_CAPS
    from folkmoot.runtime.units import parse_amount

    return of_profile(
        profile,
        DEFAULT_RULE,
        (),
        max_sum_squares=MEAN_SQUARE_CAPS[8],
        min_stake=parse_amount(DEFAULT_MIN_STAKE),
        bond=parse_amount(DEFAULT_BOND),
        reward=parse_amount(DEFAULT_REWARD),
    )


def of_profile(
    profile: str,
    rule: str,
    parameters: tuple[int, ...],
    *,
    max_sum_squares: int,
    min_stake: int,
    bond: int,
    reward: int,
    min_contributors: int | None = None,
    verifier: str = ARBITER,
    width: int = 8,
) -> Policy:
    """Return a policy with the windows of a profile; arguments as for `suggest`.

    Args:
        profile: `demo`, `l2` or `l1`.
        rule: Name of the rule.
        parameters: Parameters of the rule.
        max_sum_squares: Largest sum of squares of an update.
        min_stake: Minimum stake of a contributor.
        bond: Bond of the coordinator.
        reward: Reward of a round.
        min_contributors: Minimum number of commitments of a round; None for the rule's minimum, at least 2.
        verifier: Account that may void a round.
        width: Bits of an encoded coordinate.

    Raises:
        InputError: The profile or rule is unknown, a value is out of range, or the rule can't work.
    """
    from folkmoot.aggregation.registry import check_policy_rule, fewest_contributors, most_contributors
    from folkmoot.chain.terms import PROFILES
    from folkmoot.protocol.policy import MEAN_SCALES, Policy

    if profile not in PROFILES:
        raise InputError(
            f"There is no profile {profile!r}.",
            remedy=f"Choose one of {', '.join(PROFILES)}.",
            code="unknown-profile",
        )
    fewest = fewest_contributors(rule, parameters) if min_contributors is None else min_contributors
    windows = PROFILES[profile].windows
    policy = Policy(
        rule=rule,
        parameters=parameters,
        max_sum_squares=max_sum_squares,
        min_contributors=fewest,
        max_contributors=min(max(PLACES, fewest), most_contributors(rule)),
        width=width,
        mean_scale=MEAN_SCALES[width],
        rate=1024,
        momentum=0,
        commit_window=windows.commit,
        anchor_window=windows.anchor,
        challenge_window=windows.challenge,
        interval=windows.interval,
        min_stake=min_stake,
        bond=bond,
        reward=reward,
        verifier=verifier,
    )
    check_policy_rule(policy)
    return policy


def parse_verifier(text: str) -> str:
    """Return a policy's verifier from `arbiter`, `none` or an address.

    Raises:
        InputError: The text is none of these.
    """
    from folkmoot.protocol.policy import NO_VERIFIER
    from folkmoot.runtime.units import parse_address

    if text == ARBITER:
        return ARBITER
    return NO_VERIFIER if text == "none" else parse_address(text)


def parse_rule(text: str) -> tuple[str, tuple[int, ...]]:
    """Return a rule's name and parameters from `name` or `name:1,2`.

    Raises:
        InputError: A parameter is not a number.
    """
    name, _, rest = text.partition(":")
    parts = [part for part in rest.split(",") if part]
    if not name or not all(part.isdigit() for part in parts):
        raise InputError(f"{text!r} is not a rule.", remedy="Write a name and numbers, e.g. multi_krum:1,0.")
    return name, tuple(int(part) for part in parts)


def _first(genesis: Path) -> tuple[Genesis, Manifest]:
    """Return the genesis file in a folder, and its manifest."""
    from folkmoot.cli.deploy import first_of

    return first_of(genesis / "genesis.json", genesis)
