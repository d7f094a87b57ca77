# SPDX-License-Identifier: Apache-2.0
"""Whether measurements of sites count: signed, by accounts with stake, of the version that the chain has.

A measurement is a claim about data that nobody else sees. Only its sums, its source and its form can be checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from folkmoot.errors import FolkmootError, InputError
from folkmoot.evaluation.sites import MOST_SITES, Commitments, Pooled, Signed, SiteMeasurement
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Domain
from folkmoot.rpc.client import LedgerReader, RegistryReader, Rpc, VaultReader
from folkmoot.rpc.wallets import accepts_digest
from folkmoot.runtime.units import format_amount


def least_stake(rpc: Rpc, deployment: Deployment) -> int:
    """Return the stake that a site needs, in units of 1e-18 tokens: that of a contributor, so that many cost much."""
    ledger = LedgerReader(rpc, deployment.ledger)
    return max(1, ledger.policy(ledger.current_policy()).min_stake)


def require_counts(rpc: Rpc, deployment: Deployment, one: SiteMeasurement, root: bytes, least: int) -> None:
    """Check one measurement.

    Args:
        rpc: An endpoint.
        deployment: Addresses of the contracts.
        one: The measurement.
        root: State root of the version on the chain, 32 bytes.
        least: What the site must have at stake; 0 if that was checked when the measurement was made.

    Raises:
        InputError: ``wrong-measurement``, ``no-stake`` or ``not-authorised``.
    """
    if one.state_root != root:
        raise InputError(
            f"{one.site} measured the state 0x{one.state_root.hex()}, and version {one.version} has 0x{root.hex()}.",
            remedy=f"Measure that version: `folkmoot measure {one.version}`.",
            code="wrong-measurement",
        )
    require_account(rpc, deployment, one, least)


def require_account(rpc: Rpc, deployment: Deployment, one: Signed, least: int) -> None:
    """Check that a site has its stake and signed.

    Raises:
        InputError: ``no-stake`` or ``not-authorised``.
    """
    if least and (stake := VaultReader(rpc, deployment.vault).stake_of(one.site)) < least:
        raise InputError(
            f"{one.site} has {format_amount(stake)} at stake, and a site needs {format_amount(least)}.",
            remedy="Stake with `folkmoot enrol --only-stake AMOUNT`; to measure needs no more than that.",
            code="no-stake",
        )
    if not one.is_signed(Domain(deployment.chain_id, deployment.ledger), partial(accepts_digest, rpc)):
        raise InputError(
            f"The signature is not of {one.site}, and it is no contract that accepts it.",
            remedy="Sign with the site's key: `folkmoot measure`.",
            code="not-authorised",
        )


def counting(
    rpc: Rpc,
    deployment: Deployment,
    version: int,
    measurements: Iterable[SiteMeasurement],
    commitments: Commitments,
    *,
    staked: bool = True,
) -> tuple[Pooled | None, list[FolkmootError]]:
    """Return the sums of the measurements of a version that count, None if none does, and why the others do not.

    Only those of the kind that most sites have are added up (`Pooled.of`). Each table binds its site to the
    list that it names; a commitment without a table must be signed, or nobody is to be called silent for it.

    Raises:
        InputError: ``unknown-version``: the chain has no such version.
    """
    root = RegistryReader(rpc, deployment.registry).version(version).state_root
    least = least_stake(rpc, deployment) if staked else 0
    good: list[SiteMeasurement] = []
    refused: list[FolkmootError] = []
    for place, one in enumerate(measurements):
        try:
            if one.version != version or place >= MOST_SITES:
                raise InputError(
                    f"{one.site} measured version {one.version}, or is beyond {MOST_SITES} sites.",
                    remedy=f"Ask it to run `folkmoot measure {version}`.",
                    code="wrong-measurement",
                )
            require_counts(rpc, deployment, one, root, least)
        except InputError as error:
            refused.append(error)
        else:
            good.append(one)
    if not good:
        return None, refused
    pooled = Pooled.of(good, commitments)
    for silent in pooled.silent:
        if (committed := commitments.of(silent)) is not None:
            try:
                require_account(rpc, deployment, committed, 0)
            except InputError as error:
                refused.append(error)
    kind, sites = pooled.measurements[0].table.kind, {one.site for one in pooled.measurements}
    refused += [
        InputError(
            f"{site} sent a table of another kind than {kind}, which most sites sent.",
            remedy="Ask it to measure with the federation's task.",
            code="wrong-measurement",
        )
        for site in sorted({one.site for one in good} - sites)
    ]
    return pooled, refused
