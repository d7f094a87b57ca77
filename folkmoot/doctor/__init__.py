# SPDX-License-Identifier: Apache-2.0
"""Check a deployment, and say what is wrong and what to do: small checks, each with a name.

This package has the checks that need only the deployment file: of the chain, of a coordinator's API, of privacy
settings, of a SuperLink, and of a contributor's machine. `server.doctor` has the checks of a coordinator's own folder.
No check changes anything.
"""

from folkmoot.doctor.chain import chain_checks, run_checks
from folkmoot.doctor.check import Check, Finding, Line, State, examine, failed, ok, warning
from folkmoot.doctor.contributor import contributor_checks
from folkmoot.doctor.coordinator import api_checks, privacy_checks
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
    "privacy_checks",
    "run_checks",
    "superlink_checks",
    "warning",
]
