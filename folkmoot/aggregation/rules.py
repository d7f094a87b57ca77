# SPDX-License-Identifier: Apache-2.0
"""The aggregation rules by the name that a policy gives.

This module knows the rules' names only.
"""

from __future__ import annotations

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
