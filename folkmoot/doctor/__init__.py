# SPDX-License-Identifier: Apache-2.0
"""Says what is wrong with a deployment, and what to do about it: small checks, each with a name.

Here are the checks that anybody can make who has the deployment file: of the chain, of a coordinator's API and of a
SuperLink, and of what a contributor needs. Those of a coordinator's own folder are the coordinator's
(`server.doctor`). Nothing here changes anything.
"""

from folkmoot.doctor.chain import chain_checks
from folkmoot.doctor.check import Check, Finding, Line, State, examine, failed, ok, warning
from folkmoot.doctor.contributor import contributor_checks
from folkmoot.doctor.coordinator import api_checks
from folkmoot.doctor.superlink import superlink_checks

__all__ = [
    "Check",
    "Finding",
    "Line",
    "State",
    "api_checks",
    "chain_checks",
    "contributor_checks",
    "examine",
    "failed",
    "ok",
    "superlink_checks",
    "warning",
]
