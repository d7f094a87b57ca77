# SPDX-License-Identifier: Apache-2.0
"""Check that the policy suits the model: noise and floor are those of its privacy settings, the width is its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from folkmoot.aggregation import policy_file
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.doctor.check import Check, Finding, failed, ok, warning
from folkmoot.errors import InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.privacy.floor import floor_of
from folkmoot.privacy.settings import WARNING
from folkmoot.protocol.genesis import Genesis, width_warning
from folkmoot.protocol.manifest import Manifest
from folkmoot.rpc.client import LedgerReader, Rpc


def privacy_checks(rpc: Rpc, deployment: Path, api: CoordinatorApi) -> list[Check]:
    """Return the checks of the privacy settings and of the width. They come after `chain_checks` and `api_checks`.

    Args:
        rpc: The endpoint.
        deployment: The deployment file.
        api: Client of the coordinator, which serves genesis and manifest.
    """
    needed = ("contracts", "coordinator's deployment")
    return [
        Check("privacy", partial(_privacy, rpc, deployment, api), needed),
        Check("width", partial(_width, rpc, deployment, api), needed),
    ]


def _model(ledger: LedgerReader, api: CoordinatorApi) -> tuple[Genesis, Manifest]:
    genesis = Genesis.from_json(api.document(ledger.genesis_hash().hex()))
    return genesis, Manifest.from_json(api.artifact(genesis.manifest))


def _width(rpc: Rpc, deployment: Path, api: CoordinatorApi) -> Finding:
    ledger = LedgerReader(rpc, Deployment.load(deployment).ledger)
    width = ledger.policy(ledger.current_policy()).width
    if ledger.head().round:
        return ok(
            f"Updates have {width} bits a coordinate, and the votes of rounds have moved the exponents."
        )
    if other := width_warning(_model(ledger, api)[1], width):
        return warning(other, "Propose a policy with that width, or expect first rounds that teach little.")
    return ok(f"Updates have {width} bits a coordinate, as the genesis was made for.")


def _privacy(rpc: Rpc, deployment: Path, api: CoordinatorApi) -> Finding:
    ledger = LedgerReader(rpc, Deployment.load(deployment).ledger)
    genesis, manifest = _model(ledger, api)
    policy = ledger.policy(ledger.current_policy())
    try:
        low = policy_file.check_privacy(policy, genesis, manifest)
        floor = floor_of(manifest, genesis.exponents, policy.width)
    except InputError as error:
        return failed(error.message, "Propose a policy that fits (`folkmoot policy`, `folkmoot propose`).")
    if not manifest.private:
        return ok(f"The model's task declares none. {WARNING}")
    if low:
        return warning(low, "Propose a policy with that floor.")
    text = f"noise of {policy.noise1024}/1024 in {policy.steps} steps, as the manifest declares"
    rest = f"no floor, as {floor.why}" if floor.why else f"a floor of {floor.least} on the sum of squares"
    return ok(f"The policy has {text}, and {rest}.")
