# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run --simulation`: Flower's simulation engine (Ray) instead of SuperNodes.

Ray's workers train; the keys stay in one process, `folkmoot signers`. This module imports neither Ray nor `server` nor
`client`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from folkmoot.errors import InputError
from folkmoot.flower.contributor import HOMES, SOCKET_FILE
from folkmoot.runtime.commands import folkmoot_command

if TYPE_CHECKING:
    from folkmoot.devnet.federation import Plan

RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
"""Environment variables for Ray: no telemetry, and the lines of all nodes in the log."""


def check_simulation(node_config: Sequence[str] | None) -> None:
    """Check that Flower's simulation engine is installed and supports the options.

    Raises:
        InputError: Ray is not installed, or a node configuration is given.
    """
    if find_spec("ray") is None:
        raise InputError(
            "--simulation needs Ray, which is not installed.",
            remedy="Install it with: `pip install 'folkmoot[simulation]'`, or leave out --simulation.",
            code="extra-missing",
        )
    if node_config:
        raise InputError(
            "--node-config can't be used with --simulation: Flower's simulation engine gives a node its partition "
            "and nothing else.",
            remedy="Leave out --simulation, or let the app read that setting from its run config (--run-config).",
        )


def superlink_environment(plan: Plan) -> dict[str, str]:
    """Return the environment variables that the SuperLink passes on to simulated nodes."""
    return {HOMES: str(plan.node_homes), **RAY}


def signers_command(plan: Plan, rpc_url: str, api_url: str) -> list[str]:
    """Return the command that signs for all contributors."""
    return folkmoot_command(
        *("signers", "--nodes", str(plan.contributors), *plan.subject),
        *("--homes", plan.node_homes, "--keys", plan.keys, "--log", plan.app_log),
        *("--layout", plan.layout, "--password-file", plan.password_file),
        *("--rpc", rpc_url, "--coordinator", api_url, "--deployment", plan.deployment_file),
    )


def signs(plan: Plan) -> bool:
    """Return whether the signer agents of all contributors are running."""
    return all((plan.node_home(name) / SOCKET_FILE).exists() for name in plan.names())
