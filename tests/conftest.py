# SPDX-License-Identifier: Apache-2.0
"""Fixtures that all tests share: a clean environment, a local chain, and a federation on it.

Chain and federation live as long as the session; each test that uses one gets the chain as it was and leaves it so.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from folkmoot.devnet.anvil import Anvil
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.policy import ARBITER
from tests import factories
from tests.hardhat import local_chain

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets its background jobs ignore Ctrl-C, and so would all that the tests start and then interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup, likewise
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes is decided by what else the machine does; pytest's own limit is enough. The same examples
# every time: a failure comes from the change that is tested. `make test-properties` looks for new ones.
settings.register_profile(
    "fixed", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("fresh", settings.get_profile("fixed"), derandomize=False, print_blob=True)
settings.load_profile("fixed")


_TESTS = itertools.count()
_UNIT = Path(__file__).parent / "unit"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a long run be split over several machines or evenings."""
    parser.addoption(
        "--shard", metavar="K/N", default="1/1", help="run the K-th of N parts of about the same length"
    )


@pytest.hookimpl(trylast=True)  # after pytest-randomly, and after the selection by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the files first that take long, so that at the end the workers have short ones to share; keep one part.

    A test is taken for a twentieth of its timeout; one without, for two seconds, and in `unit` for a tenth of one.
    """
    seconds: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        mark = item.get_closest_marker("timeout")
        usual = 0.1 if item.path.is_relative_to(_UNIT) else 2
        seconds[item.path] += mark.args[0] / 20 if mark else usual
    items.sort(key=lambda item: -seconds[item.path])
    part = _part(config.getoption("--shard"), seconds)
    config.hook.pytest_deselected(items=[item for item in items if item.path not in part])
    items[:] = [item for item in items if item.path in part]


def _part(shard: str, seconds: dict[Path, float]) -> set[Path]:
    """Return the files of a part: the longest first, each goes to the part that has least."""
    number, _, parts = shard.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 0 < int(number) <= int(parts)):
        raise pytest.UsageError(f"--shard {shard}: give K/N, such as 2/6")
    loads = [0.0] * int(parts)
    chosen = set[Path]()
    for path in sorted(seconds, key=lambda path: (-seconds[path], path)):
        least = loads.index(min(loads))
        loads[least] += seconds[path]
        if least == int(number) - 1:
            chosen.add(path)
    return chosen


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Put the process's logging back, which commands set up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take away every variable that would change what Folkmoot or Flower does, this user's files too."""
    for name in list(os.environ):
        if name.startswith(("FOLKMOOT_", "FLWR_")) and name != "FOLKMOOT_ANVIL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / f"config-{next(_TESTS)}"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session")
def session_federation() -> Iterator[factories.Federation]:
    """The federation of the session, on its chain. Use `federation`: it is put back after each test."""
    with local_chain() as anvil:
        made = factories.federation(anvil, first_policy=factories.policy(verifier=ARBITER))
        yield made
        made.chain.close()


@pytest.fixture(scope="session")
def anvil_process(session_federation: factories.Federation) -> Anvil:
    """The chain of the session. Use `anvil`: it is put back after each test.

    The federation is there from the start: a module that puts the chain back at its end would else take it away, if
    one of its tests was the first to ask for it.
    """
    return session_federation.anvil


@pytest.fixture
def anvil(anvil_process: Anvil) -> Iterator[Anvil]:
    """A local chain with instant mining, as it was at the start of the session."""
    # The chain keeps the states of the newest blocks that it made, also of those that it was put back from since. A new
    # block has the state of the start among them, however many blocks earlier tests made.
    anvil_process.call("evm_mine")
    snapshot = anvil_process.snapshot()
    yield anvil_process
    # A revert leaves the pool alone, and what waits there would change the nonces of the next test.
    anvil_process.call("anvil_dropAllTransactions")
    anvil_process.revert(snapshot)


@pytest.fixture
def federation(session_federation: factories.Federation, anvil: Anvil) -> factories.Federation:
    """A deployment on Anvil with a coordinator that has stake and five enrolled contributors."""
    return session_federation


@pytest.fixture
def deployment(federation: factories.Federation) -> Deployment:
    """The addresses of `federation`."""
    return federation.deployment


@pytest.fixture
def deployment_file(deployment: Deployment, tmp_path: Path) -> Path:
    """`deployment.json` of `federation`."""
    path = tmp_path / "deployment.json"
    deployment.save(path)
    return path


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """A file with the password of the test key files."""
    path = tmp_path / "password"
    path.write_text(factories.PASSWORD + "\n")
    return path


@pytest.fixture
def keystore(tmp_path: Path) -> Callable[[str], Path]:
    """Make the key file of a named account, with little work for scrypt, and return its path."""
    from folkmoot.runtime import keystore

    def make(name: str) -> Path:
        path = tmp_path / "keys" / f"{name}.json"
        if not path.exists():
            keystore.create(path, factories.PASSWORD, private_key=bytes(factories.account(name).key), work=2)
        return path

    return make
