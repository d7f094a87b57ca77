# SPDX-License-Identifier: Apache-2.0
"""Checks of a coordinator through its public API, and of the policy against the genesis that it serves."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from folkmoot.aggregation import policy_file
from folkmoot.artifacts.federation import Federation
from folkmoot.coordinator_api import SIGNATURE_LIFETIME, CoordinatorApi
from folkmoot.doctor import tls
from folkmoot.doctor.check import Check, Finding, failed, ok, warning
from folkmoot.errors import InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.privacy.settings import WARNING, floor_of
from folkmoot.protocol.genesis import width_warning
from folkmoot.rpc.client import LedgerReader, Rpc
from folkmoot.runtime.superlink import is_loopback

LAG_BLOCKS = 20
"""Number of newest blocks whose events a coordinator may not have read yet."""


def api_checks(api: CoordinatorApi, deployment: Path) -> list[Check]:
    """Return the checks of a coordinator's API.

    Args:
        deployment: Deployment file of the federation that it should serve.
    """
    coordinator = _Coordinator(api, deployment)
    return [
        Check("coordinator's TLS", coordinator.certificate),
        Check("coordinator's API", coordinator.reachable, ("coordinator's TLS",)),
        Check("coordinator's deployment", coordinator.deployment, ("coordinator's API", "deployment file")),
        Check("coordinator's health", coordinator.health, ("coordinator's API",)),
        Check("coordinator's clock", coordinator.clock, ("coordinator's API",)),
    ]


class _Coordinator:
    def __init__(self, api: CoordinatorApi, path: Path) -> None:
        self._api = api
        self._path = path

    def certificate(self) -> Finding:
        place = urlsplit(self._api.url)
        host = place.hostname or ""
        if place.scheme == "https":
            return tls.certificate(host, place.port or 443, httpx.create_ssl_context())
        if is_loopback(host):
            return ok("Its API is on this machine, and the connection has no TLS.")
        return warning(
            f"The connection to {self._api.url} has no TLS: others in the network can read and change its data.",
            "Files are hashed and updates signed, so a change is noticed; for the rest put a server with a certificate "
            "before it (docs/operators.md), and use https://.",
        )

    def reachable(self) -> Finding:
        served = self._api.get("/v1/deployment")
        return ok(f"{self._api.url} coordinates the ledger {served.get('ledger')}.")

    def deployment(self) -> Finding:
        theirs, ours = self._api.deployment().to_json(), Deployment.load(self._path).to_json()
        differ = [name for name, value in ours.items() if theirs[name] != value]
        if differ:
            return failed(
                f"The coordinator has another deployment than {self._path}: {', '.join(differ)} differ.",
                "Find out which is right before you take part: ask others for the file, and run `folkmoot audit`.",
            )
        return ok(f"It has the deployment of {self._path}.")

    def clock(self) -> Finding:
        minutes = SIGNATURE_LIFETIME // 60
        why = f"signed requests carry a time, and beyond {minutes} minutes they are refused"
        return tls.clock(self._api.date(), "The coordinator", why)

    def health(self) -> Finding:
        health = self._api.health()
        down = [part for part in ("database", "store", "chain") if not health.get(part)]
        if down:
            return failed(
                f"The coordinator can't use its {' and '.join(down)}.",
                "Its operator sees more in its log, and with `folkmoot coordinator doctor`.",
            )
        if health.get("code"):
            return failed(
                f"Its chain lost blocks that it had counted as settled ({health['code']}): {health['error']}",
                "Wait: it goes back with the chain by itself. After a minute, do what the error says."
                if health["code"] == "chain-rolled-back"
                else "Start the chain again with the state that it had, or deploy the federation anew.",
            )
        for step in health.get("failing", ())[:1]:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(step["since"]))
            return failed(
                f"Its step `{step['step']}` fails since {since} UTC: {step['error']}", step["remedy"]
            )
        if health.get("error"):
            return failed(f"The coordinator's last look failed: {health['error']}", "Its log says more.")
        warnings = health.get("warnings")
        if warnings:
            return warning(f"The coordinator warns: {' '.join(map(str, warnings))}", "Its log says more.")
        lag = int(health.get("chainLag") or 0)
        if lag > LAG_BLOCKS:
            return warning(
                f"The coordinator is {lag} blocks behind its chain.",
                "It should catch up; if it does not, check its log and its endpoint.",
            )
        return ok(f"Release {health.get('version')}, {lag} blocks behind.")


def privacy_checks(rpc: Rpc, deployment: Path, api: CoordinatorApi) -> list[Check]:
    """Return the checks of the privacy settings and of the width. They come after `chain_checks` and `api_checks`.

    Args:
        deployment: The deployment file.
        api: Client of the coordinator, which serves genesis and manifest.
    """
    needed = ("contracts", "coordinator's deployment")
    return [
        Check("privacy", partial(_privacy, rpc, deployment, api), needed),
        Check("width", partial(_width, rpc, deployment, api), needed),
    ]


def _width(rpc: Rpc, deployment: Path, api: CoordinatorApi) -> Finding:
    contracts = Deployment.load(deployment)
    ledger = LedgerReader(rpc, contracts.ledger)
    width = ledger.policy(ledger.current_policy()).width
    if ledger.head().round:
        return ok(
            f"Updates have {width} bits a coordinate, and the votes of rounds have moved the exponents."
        )
    if other := width_warning(Federation.open(contracts, api.files, ledger).manifest, width):
        return warning(other, "Propose a policy with that width, or expect first rounds that teach little.")
    return ok(f"Updates have {width} bits a coordinate, as the genesis was made for.")


def _privacy(rpc: Rpc, deployment: Path, api: CoordinatorApi) -> Finding:
    contracts = Deployment.load(deployment)
    ledger = LedgerReader(rpc, contracts.ledger)
    federation = Federation.open(contracts, api.files, ledger)
    genesis, manifest = federation.genesis, federation.manifest
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
