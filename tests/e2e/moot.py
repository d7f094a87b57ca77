# SPDX-License-Identifier: Apache-2.0
"""A real federation for a Flower app: Anvil, contracts, a coordinator in its own process, SuperLink and SuperNodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.keeper.transfers import Transfers
from folkmoot.chain.terms import GenesisRoots
from folkmoot.cli.main import run as folkmoot
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError
from folkmoot.flower.contributor import Contributor
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.runtime import keystore
from folkmoot.runtime.processes import free_port
from tests import factories
from tests.e2e.flower import Flower


@dataclass
class Moot:
    """A federation that runs."""

    federation: factories.Federation
    api: CoordinatorApi
    flower: Flower
    deployment_file: Path

    @property
    def domain(self) -> Domain:
        return Domain(self.federation.deployment.chain_id, self.federation.deployment.ledger)


def write(folder: Path, manifest: Manifest, state: State, genesis: Genesis) -> None:
    """Write the start of a federation in the layout of a mirror."""
    for data in (manifest.to_json(), state.to_bytes(), genesis.to_json()):
        path = folder / sha256_hex(data)[:2] / sha256_hex(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    link = folder / "by-keccak" / keccak(genesis.to_json()).hex()
    link.parent.mkdir()
    link.write_text(sha256_hex(genesis.to_json()))
    (folder / "genesis.json").write_bytes(genesis.to_json())


@contextmanager
def moot(
    root: Path,
    manifest: Manifest,
    state: State,
    genesis: Genesis,
    names: tuple[str, ...],
    keepers: Mapping[str, Transfers] | None = None,
) -> Iterator[Moot]:
    """Run a federation with one node for each name; some of them show their transfers."""
    write(root / "genesis", manifest, state, genesis)
    password = root / "password"
    password.write_text(factories.PASSWORD)
    key = keystore.create(
        root / "coordinator.json",
        factories.PASSWORD,
        private_key=bytes(factories.account("coordinator").key),
        work=2,
    )
    with Anvil() as anvil, Flower(root) as flower:
        federation = factories.federation(anvil, genesis=GenesisRoots.of(genesis, manifest, state))
        flower.callback(federation.chain.close)
        deployment_file = root / "deployment.json"
        federation.deployment.save(deployment_file)
        home = root / "coordinator"
        status = folkmoot(
            [
                *("coordinator", "init", "--home", str(home), "--rpc", anvil.url),
                *("--deployment", str(deployment_file), "--genesis", str(root / "genesis")),
                *("--keystore", str(key.path), "--password-file", str(password)),
            ]
        )
        assert status == 0
        port = free_port()
        api = CoordinatorApi(f"http://127.0.0.1:{port}")
        flower.callback(api.close)
        flower.supervisor.start(
            "coordinator",
            [
                *(sys.executable, "-m", "folkmoot", "coordinator", "serve", "--home", home, "--time-travel"),
                *("--port", str(port), "--password-file", password),
            ],
            ready=lambda: _answers(api),
            environment=dict(os.environ),
        )
        running = Moot(federation, api, flower, deployment_file)
        for at, name in enumerate(names):
            contributor = Contributor(
                root / name,
                anvil.url,
                api.url,
                federation.deployment.to_json(),
                factories.account(name).address,
                manifest.task,
                at,
                len(names),
            )
            contributor.home.mkdir()
            flower.join(contributor, factories.account(name), keeper=(keepers or {}).get(name))
        yield running


def _answers(api: CoordinatorApi) -> bool:
    try:
        return bool(api.health())
    except CoordinatorError:
        return False
