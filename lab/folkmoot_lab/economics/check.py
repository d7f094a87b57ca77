# SPDX-License-Identifier: Apache-2.0
"""The check of a policy that `folkmoot policy`, `deploy` and `propose` call: does a known attack pay against it?"""

from __future__ import annotations

from folkmoot.protocol.policy import Policy
from folkmoot_lab.economics.lies import tokens
from folkmoot_lab.economics.setting import Setting
from folkmoot_lab.economics.table import play_all


def paying_strategies(policy: Policy, *, gas_price: int, demand_deposit: int) -> str | None:
    """Return which strategies pay against a policy, in words; None if none does. `folkmoot.chain.bonds` calls it."""
    setting = Setting(policy=policy, gas_price=gas_price, demand_deposit=demand_deposit)
    paying = [row for row in play_all(setting) if row.pays]
    if not paying:
        return None
    listed = "; ".join(
        f"{row.strategy} ({row.best.choice}: {tokens(row.best.profit)} a round)" for row in paying
    )
    return f"These strategies pay against the policy: {listed}. See `folkmoot economics --policy FILE`."
