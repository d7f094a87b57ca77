# SPDX-License-Identifier: Apache-2.0
"""The aggregation rules by the name that a policy gives.

This module knows the rules' names only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Protocol

from folkmoot.aggregation.interface import Rule
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules import (
    centered_clipping,
    clipped_mean,
    fltrust,
    geometric_median,
    guarded_mean,
    guarded_nnm,
    guarded_trimmed_mean,
    guided_mean,
    majority,
    mean,
    multi_krum,
    nnm,
    root_cosine,
    root_guard,
    root_veto,
    rooted_mean,
    trimmed_mean,
    windowed_mean,
)
from folkmoot.errors import InputError
from folkmoot.protocol.policy import BOND_FACTOR, MAX_CONTRIBUTORS, MAX_KRUM_CONTRIBUTORS, Policy

_MODULES = (
    mean,
    multi_krum,
    clipped_mean,
    nnm,
    geometric_median,
    centered_clipping,
    majority,
    guarded_mean,
    guarded_nnm,
    trimmed_mean,
    guarded_trimmed_mean,
    guided_mean,
    fltrust,
    root_cosine,
    root_guard,
    root_veto,
    rooted_mean,
    windowed_mean,
)
_RULES: dict[str, Rule] = {module.NAME: module.weigh for module in _MODULES}

_USES: dict[str, frozenset[ReferenceKind]] = {module.NAME: module.USES for module in _MODULES}


class Check(Protocol):
    """A rule module's optional ``check`` of its parameters, whose number was checked before."""

    def __call__(self, parameters: Sequence[int], fewest: int, most: int, /) -> None:
        """Refuse parameters that are invalid for rounds of ``fewest`` to ``most`` contributors.

        Raises:
            InputError: ``impossible-policy``, with the reason.
        """


_CHECKS: dict[str, Check] = {
    module.NAME: module.check
    for module in (guarded_nnm, guarded_trimmed_mean, multi_krum, nnm, root_veto, trimmed_mean)
}

PARAMETERS: dict[str, tuple[str, ...]] = {module.NAME: module.PARAMETERS for module in _MODULES}
"""Names of each rule's parameters, by position."""


def rule(name: str) -> Rule:
    """Return the rule with this name.

    Raises:
        InputError: ``unknown-rule``: there is none.
    """
    try:
        return _RULES[name]
    except KeyError:
        near = get_close_matches(name, _RULES, 1, 0.5)
        raise InputError(
            f"There is no aggregation rule {name!r}.{f' Did you mean {near[0]}?' if near else ''}",
            remedy=f"The rules are {', '.join(_RULES)}; a newer release may have more.",
            code="unknown-rule",
        ) from None


def uses(name: str) -> frozenset[ReferenceKind]:
    """Return the kinds of references that the rule with this name uses.

    Raises:
        InputError: ``unknown-rule``: there is none.
    """
    rule(name)
    return _USES[name]


def check_policy_rule(policy: Policy) -> None:
    """Check that the rule of a policy exists, that its assumptions hold, and that the ledger can prove and back it.

    The ledger accepts any name and any parameters; it refuses a policy of which the weights can't be proven, or whose
    bond is below four rewards (contracts/src/libraries/Policies.sol).

    Raises:
        InputError: ``unknown-rule``, ``wrong-parameters``, or ``impossible-policy`` for a rule whose assumptions the
            policy violates, and for what the ledger refuses.
    """
    _check(policy.rule, policy.parameters, policy.min_contributors, policy.max_contributors)
    most = most_contributors(policy.rule)
    if policy.max_contributors > most:
        raise InputError(
            f"The policy's max_contributors is {policy.max_contributors}. With the rule {policy.rule} the ledger takes "
            f"at most {most}, because the weights of more contributors can't be proven.",
            remedy=f"Set max_contributors to {most} or less.",
            code="impossible-policy",
        )
    if policy.bond < BOND_FACTOR * policy.reward:
        raise InputError(
            f"The policy's bond is below {BOND_FACTOR} times its reward, which is the least that the ledger takes.",
            remedy=f"Raise the bond to {BOND_FACTOR} rewards or more, or lower the reward.",
            code="impossible-policy",
        )


def most_contributors(name: str) -> int:
    """Return the most contributors that a policy with this rule can ask for."""
    return MAX_KRUM_CONTRIBUTORS if name == "multi_krum" else MAX_CONTRIBUTORS


def fewest_contributors(name: str, parameters: Sequence[int]) -> int:
    """Return the fewest contributors, at least 2, that a policy with this rule can ask for.

    Raises:
        InputError: As ``check_policy_rule``, where no number of contributors helps.
    """
    _check(name, parameters, _MOST, _MOST)
    return 2 + bisect_left(range(2, _MOST), True, key=lambda fewest: _works(name, parameters, fewest))


_MOST = (1 << 16) - 1  # contributors that a policy can ask for


def _check(name: str, parameters: Sequence[int], fewest: int, most: int) -> None:
    rule(name)
    if len(parameters) != len(PARAMETERS[name]):
        raise InputError(
            f"The rule {name} has {len(PARAMETERS[name])} parameters, not {len(parameters)}.",
            remedy=f"Give them by position: {', '.join(PARAMETERS[name]) or 'none'}.",
            code="wrong-parameters",
        )
    if name in _CHECKS:
        _CHECKS[name](parameters, fewest, most)


def _works(name: str, parameters: Sequence[int], fewest: int) -> bool:
    try:
        _check(name, parameters, fewest, _MOST)
    except InputError:
        return False
    return True
