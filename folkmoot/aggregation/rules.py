# SPDX-License-Identifier: Apache-2.0
"""The aggregation rules by the name that a policy gives.

This module knows the rules' names only.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation import (
    centered_clipping,
    clipping,
    fltrust,
    geometric_median,
    guarded_mean,
    guarded_nnm,
    guided_mean,
    majority,
    mean,
    multi_krum,
    nnm,
    root_cosine,
    root_guard,
    root_veto,
)
from folkmoot.aggregation.interface import Rule
from folkmoot.errors import InputError

_MODULES = (
    mean,
    multi_krum,
    clipping,
    nnm,
    geometric_median,
    centered_clipping,
    majority,
    guarded_mean,
    guarded_nnm,
    guided_mean,
    fltrust,
    root_cosine,
    root_guard,
    root_veto,
)
_RULES: dict[str, Rule] = {module.NAME: module.weigh for module in _MODULES}

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
        raise InputError(
            f"There is no aggregation rule {name!r}.",
            remedy=f"The rules are {', '.join(_RULES)}; a newer release may have more.",
            code="unknown-rule",
        ) from None


WITHOUT_REFERENCES: dict[str, str] = {
    "fltrust": "guarded_mean",
    "guided_mean": "guarded_mean",
    "root_cosine": "guarded_mean",
    "root_guard": "guarded_mean",
    "root_veto": "guarded_nnm",
}
"""Rules that need a root update or the model's path, and what each is in anchored rounds, which have neither yet."""


def check_policy_rule(name: str, parameters: Sequence[int]) -> None:
    """Check that a policy for anchored rounds can name this rule with these parameters.

    The chain takes any name, so this is the place where people are told.

    Raises:
        InputError: ``unknown-rule``, ``wrong-parameters``, or ``rule-not-live`` for a rule that would not be itself.
    """
    rule(name)
    if len(parameters) != len(PARAMETERS[name]):
        raise InputError(
            f"The rule {name} has {len(PARAMETERS[name])} parameters, not {len(parameters)}.",
            remedy=f"Give them by position: {', '.join(PARAMETERS[name]) or 'none'}.",
            code="wrong-parameters",
        )
    if name in WITHOUT_REFERENCES:
        raise InputError(
            f"The rule {name} needs a root set or the model's path, which anchored rounds do not have yet.",
            remedy=f"Name {WITHOUT_REFERENCES[name]}, which is what it would be; drills can use {name}.",
            code="rule-not-live",
        )
