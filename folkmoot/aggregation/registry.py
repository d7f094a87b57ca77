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
from folkmoot.aggregation.rules import clamped_mean, mean, multi_krum
from folkmoot.errors import InputError
from folkmoot.protocol.policy import BOND_FACTOR, MAX_CONTRIBUTORS, MAX_KRUM_CONTRIBUTORS, Policy

SHIPPED = (mean, clamped_mean, multi_krum)
"""The rules that a federation can have."""

FORMER = frozenset(
    {
        "centered_clipping",
        "clipped_mean",
        "fltrust",
        "geometric_median",
        "guarded_mean",
        "guarded_nnm",
        "guarded_trimmed_mean",
        "guided_mean",
        "majority",
        "nnm",
        "root_cosine",
        "root_guard",
        "root_veto",
        "rooted_mean",
        "trimmed_mean",
        "windowed_mean",
    }
)
"""Rules of earlier releases."""


class Check(Protocol):
    """A rule module's optional ``check`` of its parameters, whose number was checked before."""

    def __call__(self, parameters: Sequence[int], fewest: int, most: int, /) -> None:
        """Refuse parameters that are invalid for rounds of ``fewest`` to ``most`` contributors.

        Raises:
            InputError: ``impossible-policy``, with the reason.
        """


class RuleModule(Protocol):
    """What the module of a rule has.

    It may also have a ``check`` of the type `Check`, and an integer ``OPTIONAL``: how many of its last parameters can
    be left out.
    """

    NAME: str
    """Name of the rule in a policy."""
    PARAMETERS: tuple[str, ...]
    """Names of its parameters, by position."""
    USES: frozenset[ReferenceKind]
    """The references that it uses."""

    @property
    def weigh(self) -> Rule:
        """The rule."""


_MODULES: dict[str, RuleModule] = {}
_CHECKS: dict[str, Check] = {}
_OPTIONAL: dict[str, int] = {}

PARAMETERS: dict[str, tuple[str, ...]] = {}
"""Names of each rule's parameters, by position."""


def register(module: RuleModule) -> None:
    """Let this process find a rule by name. Simulations add rules that no federation can have."""
    _MODULES[module.NAME] = module
    PARAMETERS[module.NAME] = module.PARAMETERS
    _OPTIONAL[module.NAME] = getattr(module, "OPTIONAL", 0)
    if (check := getattr(module, "check", None)) is not None:
        _CHECKS[module.NAME] = check


for _module in SHIPPED:
    register(_module)


def rule(name: str) -> Rule:
    """Return the rule with this name.

    Raises:
        InputError: ``unknown-rule``: there is none; ``former-rule``: no federation can have it any more.
    """
    if name not in _MODULES:
        raise _missing(name)
    return _MODULES[name].weigh


def _missing(name: str) -> InputError:
    known = [module.NAME for module in SHIPPED]
    if name in FORMER:
        return InputError(
            f"The rule {name} is no longer one that a federation can have.",
            remedy=f"Give the policy the rule {clamped_mean.NAME}, which needs no parameters.",
            code="former-rule",
        )
    near = get_close_matches(name, known, 1, 0.5)
    return InputError(
        f"There is no aggregation rule {name!r}.{f' Did you mean {near[0]}?' if near else ''}",
        remedy=f"The rules are {', '.join(known)}; a newer release may have more.",
        code="unknown-rule",
    )


def uses(name: str) -> frozenset[ReferenceKind]:
    """Return the kinds of references that the rule with this name uses.

    Raises:
        InputError: ``unknown-rule``: there is none.
    """
    rule(name)
    return _MODULES[name].USES


def check_policy_rule(policy: Policy) -> None:
    """Check that the rule of a policy exists, that its assumptions hold, and that the ledger can prove and back it.

    The ledger accepts any name and any parameters; it refuses a policy of which the weights can't be proven, or whose
    bond is below four rewards (contracts/src/Policies.sol).

    Raises:
        InputError: ``unknown-rule``, ``former-rule``, ``wrong-parameters``, or ``impossible-policy`` for a rule whose
            assumptions the policy violates, and for what the ledger refuses.
    """
    if policy.rule not in [module.NAME for module in SHIPPED]:
        raise _missing(policy.rule)
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
    most_parameters = len(PARAMETERS[name])
    fewest_parameters = most_parameters - _OPTIONAL[name]
    if not fewest_parameters <= len(parameters) <= most_parameters:
        range_ = f"{fewest_parameters} to " if fewest_parameters < most_parameters else ""
        raise InputError(
            f"The rule {name} has {range_}{most_parameters} parameters, not {len(parameters)}.",
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
