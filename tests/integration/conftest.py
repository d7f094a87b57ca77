# SPDX-License-Identifier: Apache-2.0
"""What most integration tests stand on: a federation of the module's own, and a coordinator at work in it.

A module says what its federation is like by FEDERATION, the arguments of `coordinator_world.federation`; and has a
fixture of the same name where it needs another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from tests import factories
from tests.integration import coordinator_world
from tests.integration.audit_world import World
from tests.integration.coordinator_world import Running, running
from tests.integration.fraud_world import judged
from tests.integration.watched import close_all
from tests.killed import Mortal


@pytest.fixture(scope="module")
def module_world(request: pytest.FixtureRequest, anvil_process: Anvil) -> Iterator[factories.Federation]:
    """The federation of the module. Use `world`: it is put back after each test."""
    made = coordinator_world.federation(anvil_process, **getattr(request.module, "FEDERATION", {}))
    yield made
    made.chain.close()


@pytest.fixture
def world(module_world: factories.Federation, anvil: Anvil) -> factories.Federation:
    """The federation of the module, as it was at its start."""
    return module_world


@pytest.fixture
def here(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """A coordinator at work."""
    with running(tmp_path / "home", world) as found:
        yield found


@pytest.fixture(scope="module")
def chain() -> Iterator[Anvil]:
    """A chain of the module's own, whose clock no other test moves."""
    with Anvil() as anvil:
        yield anvil


@pytest.fixture(scope="module")
def _federation_of_its_own(chain: Anvil) -> Iterator[factories.Federation]:
    made = factories.federation(chain)
    yield made
    made.chain.close()


@pytest.fixture
def apart(_federation_of_its_own: factories.Federation, chain: Anvil) -> Iterator[factories.Federation]:
    """A federation on the module's own chain, put back after each test: for tests that make many blocks.

    A chain keeps the states of the blocks that it made last, whatever it was put back to since. Of the session's chain,
    others need those from before.
    """
    snapshot = chain.snapshot()
    yield _federation_of_its_own
    chain.call("anvil_dropAllTransactions")
    chain.revert(snapshot)


@pytest.fixture(scope="module")
def judged_origin(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A federation with judges and an honest first round. Use `judged_world`: it is put back after each test."""
    world = judged(chain, tmp_path_factory.mktemp("origin") / "artifacts")
    world.play(["ada", "ben", "cleo"])
    yield world
    world.federation.chain.close()


@pytest.fixture
def judged_world(judged_origin: World, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """The same, for one test to go on with: files are copies, the chain is put back."""
    snapshot = chain.snapshot()
    yield judged_origin.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


@pytest.fixture
def watchers_closed() -> Iterator[None]:
    """Close the watchers of a test at its end."""
    yield
    close_all()


@pytest.fixture
def mortal(
    federation: factories.Federation,
    deployment_file: Path,
    keystore: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Mortal:
    """Ada's commands."""
    made = Mortal(tmp_path, capsys, monkeypatch)
    made.set(
        {
            "FOLKMOOT_RPC": federation.anvil.url,
            "FOLKMOOT_DEPLOYMENT": str(deployment_file),
            "FOLKMOOT_PASSWORD": factories.PASSWORD,
            "FOLKMOOT_KEYSTORE": str(keystore("ada")),
        }
    )
    return made


@pytest.fixture
def folkmoot(
    world: factories.Federation | World,
    keystore: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """Run a command as somebody, with --json; return what it prints. `fails` is the expected exit status."""
    made = world.federation if isinstance(world, World) else world
    made.deployment.save(tmp_path / "deployment.json")
    monkeypatch.setenv("FOLKMOOT_RPC", made.anvil.url)
    monkeypatch.setenv("FOLKMOOT_DEPLOYMENT", str(tmp_path / "deployment.json"))
    monkeypatch.setenv("FOLKMOOT_PASSWORD", factories.PASSWORD)

    def command(*words: str, by: str = "ada", fails: int = 0) -> dict[str, Any]:
        monkeypatch.setenv("FOLKMOOT_KEYSTORE", str(keystore(by)))
        status = run([*words, "--json"])
        printed = capsys.readouterr()
        assert status == fails, printed.out + printed.err
        assert "Traceback" not in printed.err
        document: dict[str, Any] = json.loads(printed.out)
        return document

    return command
