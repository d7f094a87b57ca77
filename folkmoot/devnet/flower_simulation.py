# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run --simulation`: Flower's simulation engine (Ray) in the place of SuperNodes.

Ray's workers train; the keys stay in one process, `folkmoot signers`. It imports neither Ray nor either half.
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
"""Variables for Ray: no telemetry, and every node's lines in the log."""


def check_simulation(node_config: Sequence[str] | None) -> None:
    """Check that Flower's simulation engine is installed and can do what is asked for.

    Raises:
        InputError: Ray is not installed, or nodes are to have a config.
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
    """Return the variables that the SuperLink hands on to simulated nodes."""
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
    """Whether the signer agents of all contributors are there."""
    return all((plan.node_home(name) / SOCKET_FILE).exists() for name in plan.names())
