# SPDX-License-Identifier: Apache-2.0
"""`folkmoot doctor` finds nothing on a deployment that is well, and names what was really broken."""

from __future__ import annotations

import json
import shutil
import sqlite3
import ssl
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from folkmoot.cli import main
from folkmoot.devnet.anvil import Anvil
from folkmoot.doctor import chain as chain_doctor
from folkmoot.doctor.training import PROMISES
from folkmoot.errors import LocalError
from folkmoot.flower.contributor import Contributor
from folkmoot.protocol.policy import ARBITER
from folkmoot.runtime import memory
from folkmoot.runtime.certificates import Authority, Pair
from folkmoot.runtime.processes import free_port
from server.coordinator import open_coordinator
from server.db.models import Round, Update
from server.home import open_account
from server.settings import load
from tests import factories, s3
from tests.http_servers import Handler, started
from tests.integration.anchored import anchored_round, prove_wrong
from tests.integration.coordinator_world import (
    MANIFEST,
    Running,
    federation,
    make_home,
    open_round,
    running,
    train,
)
from tests.postgres import postgres
from tests.rpc_proxy import RpcProxy

HOME = (
    "key file", "password file", "database", "database schema", "database writable",
    "database pages", "store", "files of rounds", "database rows", "disk", "model's memory", "evaluator",
)  # fmt: skip
CHAIN = (
    "deployment file", "chain", "chain id", "clock", "EVM", "gas limit", "contracts", "finality", "genesis",
    "admission", "coordinator's account", "coordinator's bond", "gas money", "pending rounds", "verifier",
)  # fmt: skip
API = (
    "coordinator's TLS", "coordinator's API", "coordinator's deployment", "coordinator's health",
    "coordinator's clock", "privacy", "width",
)  # fmt: skip
JOIN = (
    "your key",
    "your stake",
    "your enrolment",
    "your coins",
    "your model",
    "your folder",
    "your disk",
    *PROMISES,
)
SUPERLINK = ("SuperLink's TLS", "SuperLink", "SuperLink's clock")

Told = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def world(anvil_process: Anvil) -> Iterator[factories.Federation]:
    snapshot = anvil_process.snapshot()
    made = federation(anvil_process, verifier=ARBITER)
    yield made
    made.chain.close()
    anvil_process.revert(snapshot)


@pytest.fixture
def here(world: factories.Federation, anvil: Anvil, tmp_path: Path) -> Iterator[Running]:
    """A coordinator at work, with an update in a round that is open."""
    with running(tmp_path / "home", world) as found:
        found.api.start_run(1, 3, world.coordinator, found.domain)
        _, header, state = open_round(found.api, 1)
        signed = train(world, "ada", header, state)
        found.api.submit_update(1, signed.wire, signed.data)
        yield found


@pytest.fixture(scope="module")
def pattern(world: factories.Federation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to copy."""
    folder = tmp_path_factory.mktemp("doctor") / "home"
    make_home(folder, world, port=free_port())
    return folder


@pytest.fixture
def home(pattern: Path, anvil: Anvil, tmp_path: Path) -> Path:
    """The folder of a coordinator that does not run."""
    return shutil.copytree(pattern, tmp_path / "home")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Told]:
    capsys.readouterr()
    status = main.run([*words, "--json"])
    document = json.loads(capsys.readouterr().out)
    found = {line["check"]: line for line in document["checks"]}
    assert document["well"] == (status == 0)
    return status, found


def diagnose(
    capsys: pytest.CaptureFixture[str], home: Path, api: str | None = None, *more: str
) -> tuple[int, Told]:
    where = ("--coordinator", api) if api else ()
    return told(capsys, "coordinator", "doctor", "--home", str(home), *where, *more)


def states(found: Told, *names: str) -> set[str]:
    return {found[name]["state"] for name in names}


def test_a_coordinator_that_is_well_passes_every_check_from_inside_and_from_outside(
    here: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = here.coordinator.settings.home
    status, found = diagnose(capsys, folder, here.api.url, "--deep")
    assert (status, tuple(found)) == (0, ("settings", *CHAIN, *HOME, *API)), found
    assert states(found, *found) == {"ok"}, found
    assert found["files of rounds"]["text"].startswith("All 4 files"), (
        "manifest, a carried file, state and an update"
    )

    outside = ("--rpc", here.world.anvil.url, "--deployment", str(folder / "deployment.json"))
    assert main.run(["doctor", *outside, "--coordinator", here.api.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:1] for line in lines[:-1]] == ["✓"] * len((*CHAIN, *API))
    assert lines[-1] == f"0 failed, 0 warnings, {len((*CHAIN, *API))} well."


def test_a_missing_or_damaged_file_of_an_open_round_is_named(
    here: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    with here.coordinator.storage.database.read() as session:
        name = session.scalars(select(Update.sha256)).one()
    path = here.coordinator.storage.store.path(name)
    whole = path.read_bytes()
    for break_it in (path.unlink, lambda: path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])):
        break_it()
        status, found = diagnose(capsys, here.coordinator.settings.home, here.api.url)
        assert (status, found["files of rounds"]["state"]) == (1, "failed")
        assert f"update of round 1 ({name})" in found["files of rounds"]["text"]
        assert "mirror" in found["files of rounds"]["remedy"]
    path.write_bytes(whole)
    assert diagnose(capsys, here.coordinator.settings.home, here.api.url)[0] == 0


def write_settings(home: Path, **values: Any) -> None:
    path = home / "coordinator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def write_deployment(home: Path, world: factories.Federation, **values: Any) -> None:
    replace(world.deployment, **values).save(home / "deployment.json")


def other_key(home: Path) -> None:
    from folkmoot.runtime.keystore import create

    (home / "key.json").unlink()
    create(home / "key.json", factories.PASSWORD, private_key=bytes(factories.account("ada").key), work=2)


def older_schema(home: Path) -> None:
    with sqlite3.connect(home / "coordinator.sqlite3") as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    database.close()


def locked_database(home: Path) -> None:
    """A database that refuses to be written, as one on a full or read-only disk; for root too."""
    with sqlite3.connect(home / "coordinator.sqlite3") as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON alembic_version BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    database.close()


def open_files(home: Path) -> None:
    for name in ("key.json", "password"):
        (home / name).chmod(0o644)


def store_is_a_file(home: Path) -> None:
    shutil.rmtree(home / "artifacts")
    (home / "artifacts").write_text("")


Break = Callable[[Path, factories.Federation], Any]

BREAKAGES: dict[str, tuple[str, str, Break]] = {
    "settings": ("settings", "prot", lambda home, _: write_settings(home, prot=1)),
    "open key and password": ("password file", "can read both", lambda home, _: open_files(home)),
    "no key": ("key file", "key.json", lambda home, _: (home / "key.json").unlink()),
    "empty password": ("password file", "is empty", lambda home, _: (home / "password").write_text("")),
    "no password": ("password file", "password", lambda home, _: (home / "password").unlink()),
    "no database": ("database", "no database", lambda home, _: (home / "coordinator.sqlite3").unlink()),
    "no such database": (
        "database",
        "is not a database",
        lambda home, _: (home / "coordinator.sqlite3").write_bytes(b"no database at all" * 100),
    ),
    "old schema": ("database schema", "0001", lambda home, _: older_schema(home)),
    "full database": ("database writable", "no room", lambda home, _: locked_database(home)),
    "no store": ("store", "no folder", lambda home, _: shutil.rmtree(home / "artifacts")),
    "store is a file": ("store", "no folder", lambda home, _: store_is_a_file(home)),
    "no deployment": (
        "deployment file",
        "can't be read",
        lambda home, _: (home / "deployment.json").unlink(),
    ),
    "no chain": (
        "chain",
        "can't be reached",
        lambda home, _: write_settings(home, rpc_url=f"http://127.0.0.1:{free_port()}"),
    ),
    "another chain": ("chain id", "31337", lambda home, world: write_deployment(home, world, chain_id=1)),
    "no contract": (
        "contracts",
        "StakeVault",
        lambda home, world: write_deployment(home, world, vault=factories.account("ada").address),
    ),
    "another contract": (
        "contracts",
        "StakeVault",
        lambda home, world: write_deployment(home, world, vault=world.deployment.token),
    ),
    "another genesis": (
        "genesis",
        "0x" + "11" * 32,
        lambda home, world: write_deployment(home, world, genesis_hash="0x" + "11" * 32),
    ),
    "another key": (
        "coordinator's account",
        factories.account("ada").address,
        lambda home, _: other_key(home),
    ),
    "no bond": (
        "coordinator's bond",
        "the policy asks for 50 MOOT",
        lambda _, world: world.chain.send(
            world.chain.vault.functions.requestUnbond(451 * 10**18), world.coordinator
        ),
    ),
    "no gas money": (
        "gas money",
        "pay 0 full rounds",
        lambda _, world: world.anvil.fund(world.coordinator.address, 10**9),
    ),
    "no coordinator": ("coordinator's API", "can't be reached", lambda _home, _world: None),
}


ALSO = {"open key and password": {"key file"}, "another genesis": {"files of rounds", "model's memory"}}
"""Other checks that the same thing breaks; beside the API's, since nobody serves these folders."""


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_what_is_broken_is_named_with_a_remedy(
    home: Path, world: factories.Federation, capsys: pytest.CaptureFixture[str], breakage: str
) -> None:
    check, words, break_it = BREAKAGES[breakage]
    break_it(home, world)
    there = set(home.rglob("*"))
    status, found = diagnose(capsys, home)
    assert (status, found[check]["state"]) == (1, "failed"), found
    assert words in found[check]["text"]
    assert found[check]["remedy"]
    wrong = {name for name, line in found.items() if line["state"] in ("failed", "warning")}
    assert wrong <= {check, "coordinator's API", *ALSO.get(breakage, ())}, found
    made = {path.name for path in set(home.rglob("*")) - there}
    assert made <= {"coordinator.sqlite3-wal", "coordinator.sqlite3-shm"}, "a doctor makes nothing"


def test_bonds_of_pending_and_void_rounds_are_told(
    federation: factories.Federation, deployment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def bond() -> dict[str, str]:
        where = ("--rpc", federation.anvil.url, "--deployment", str(deployment_file))
        return told(capsys, "doctor", *where)[1]["coordinator's bond"]

    assert bond()["text"].endswith("The rest is enough for 10 rounds.")
    anchored_round(federation)
    pending = bond()
    assert pending["state"] == "ok"
    assert "50 MOOT are locked for 1 round. The rest is enough for 9 rounds more." in pending["text"]
    anchored_round(federation)
    unbond = federation.chain.vault.functions.requestUnbond(400 * 10**18)
    federation.chain.send(unbond, federation.coordinator)
    full = bond()
    assert (full["state"], "No round can be opened" in full["text"]) == ("warning", True)
    prove_wrong(federation, 1, federation["emil"].address)
    void = bond()
    assert (void["state"], "50 MOOT of the locked stake" in void["text"]) == ("warning", True)
    assert void["remedy"].endswith("N being 2.")


def test_little_money_little_room_and_a_wrong_clock_are_told(
    home: Path,
    world: factories.Federation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert diagnose(capsys, home, None, "--rounds", "1000000000")[1]["gas money"]["state"] == "warning"
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    monkeypatch.setattr(chain_doctor, "LOCAL_CHAIN_ID", 1)  # as if this were no chain whose clock is moved
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    world.anvil.advance(86_400)
    status, found = diagnose(capsys, home)
    assert status == 1
    assert states(found, "disk", "model's memory", "clock") == {"failed"}
    assert "0.0 GB are free" in found["disk"]["text"]
    assert "A coordinator needs at least" in found["model's memory"]["text"]
    assert "ahead of this machine's clock" in found["clock"]["text"]
    settings = load(home)
    with pytest.raises(LocalError, match="The coordinator needs at least") as short:
        open_coordinator(settings, open_account(settings))
    assert short.value.code == "memory-short"


def test_what_a_running_coordinator_warns_of_is_passed_on(
    here: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here.coordinator.settings.home
    monkeypatch.setattr(type(here.worker), "warnings", property(lambda _: ["Fees are at their ceiling."]))
    status, found = diagnose(capsys, folder, here.api.url)
    assert (status, found["coordinator's health"]["state"]) == (0, "warning")
    assert "at their ceiling" in found["coordinator's health"]["text"]


def test_what_a_chain_lacks_is_named(
    world: factories.Federation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, window = tmp_path / "deployment.json", world.chain.ledger.policy(1).challenge_window
    replace(world.deployment, chain_id=10).save(path)
    age, block_gas, probed = window // 4, 30_000_000, "0x" + f"{7:064x}" * 2

    def block(params: list[Any]) -> Any:
        made = proxy.truth(
            "eth_getBlockByNumber", ["latest" if params[0] == "finalized" else params[0], False]
        )
        late = age if params[0] == "finalized" else 0
        return {**made, "timestamp": hex(int(made["timestamp"], 16) - late), "gasLimit": hex(block_gas)}

    def look(*names: str) -> list[tuple[str, str]]:
        found = told(capsys, "doctor", "--rpc", proxy.url, "--deployment", str(path))[1]
        return [(found[name]["state"], found[name]["text"]) for name in names]

    with RpcProxy(world.anvil.url) as proxy:
        proxy.change("eth_chainId", lambda _: "0xa")
        proxy.change("eth_getBlockByNumber", block)
        assert {state for state, _ in look("EVM", "gas limit", "finality")} == {"ok"}
        proxy.change("eth_call", lambda params: None if "to" in params[0] else probed)
        age, block_gas = age + 1, 16_000_000
        (evm, numbers), (gas, limit), (finality, text) = look("EVM", "gas limit", "finality")
        assert (evm, gas, finality) == ("warning",) * 3
        assert "a contract sees the number 7" in numbers
        assert "16,000,000" in limit
        assert "Blocks are final after" in text
        probed = "0x"
        ((evm, text),) = look("EVM")
        assert (evm, "Cancun does not run" in text) == ("failed", True)
        proxy.change("eth_getBlockByNumber", lambda params: block(params) if params[0] != "finalized" else {})
        ((finality, text),) = look("finality")
        assert (finality, "does not say which blocks are final" in text) == ("warning", True)


@pytest.mark.parametrize(
    ("code", "remedy"), [("chain-rolled-back", "goes back"), ("deployment-lost", "Start the chain again")]
)
def test_d3_a_coordinator_whose_chain_went_back_is_named(
    here: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: str, remedy: str
) -> None:
    folder = here.coordinator.settings.home
    here.worker.stop()
    here.worker.status.code, here.worker.status.error = code, "The chain has lost its blocks from 5 to 9."
    status, found = diagnose(capsys, folder, here.api.url)
    told = found["coordinator's health"]
    assert (status, told["state"]) == (1, "failed")
    assert code in told["text"]
    assert "from 5 to 9" in told["text"]
    assert remedy in told["remedy"]


def test_a_coordinator_of_another_federation_is_told_apart(
    here: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "deployment.json"
    replace(here.world.deployment, block=here.world.deployment.block + 1).save(path)
    words = ("--rpc", here.world.anvil.url, "--deployment", str(path), "--coordinator", here.api.url)
    status, found = told(capsys, "doctor", *words)
    assert (status, found["coordinator's deployment"]["state"]) == (1, "failed")
    assert "block differ" in found["coordinator's deployment"]["text"]


# From outside: whoever joins, over TLS, and where files and rows are elsewhere


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test authority")


@contextmanager
def https(pair: Pair, folder: Path, api: str = "", late: float = 0.0) -> Iterator[int]:
    """Serve an API over TLS, and /health as a SuperLink does; yield the port. Its clock goes `late` seconds behind."""

    class Api(Handler):
        def do_GET(self) -> None:
            answer = httpx.get(api + self.path) if self.path.startswith("/v1/") else httpx.Response(200)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() - late, usegmt=True)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that does not trust us hangs up."""

    pair.save(folder / "certificate.pem", folder / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    server = Server(("127.0.0.1", 0), Api)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with started(server):
        yield server.server_port


def ends_in(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.mark.parametrize(
    ("days", "state", "words"),
    [(25, "ok", "good until"), (9, "warning", "in 8 days"), (-1, "failed", "has expired")],
)
def test_certificates_of_api_and_superlink_are_looked_after(
    here: Running,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    days: float,
    state: str,
    words: str,
) -> None:
    authority.save(tmp_path / "ca.pem", tmp_path / "ca.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    pair = authority.issue("localhost", not_after=ends_in(days))
    with https(pair, tmp_path, here.api.url) as port:
        place = ("--superlink", f"localhost:{port}", "--root-certificates", str(tmp_path / "ca.pem"))
        folder = here.coordinator.settings.home
        status, found = diagnose(capsys, folder, f"https://localhost:{port}", *place)
    assert status == (state == "failed")
    for name in ("coordinator's TLS", "SuperLink's TLS"):
        assert found[name]["state"] == state
        assert words in found[name]["text"]
        assert bool(found[name]["remedy"]) == (state != "ok")
    following = {*API, *SUPERLINK} - {"coordinator's TLS", "SuperLink's TLS"}
    assert states(found, *following) == ({"skipped"} if state == "failed" else {"ok"}), found


def test_a_certificate_that_nobody_trusts_and_a_clock_that_is_late_are_told(
    here: Running, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority.save(tmp_path / "ca.pem", tmp_path / "ca.key")
    folder = here.coordinator.settings.home
    with https(authority.issue("localhost", not_after=ends_in(20)), tmp_path, late=900) as port:
        trusted = ("--root-certificates", str(tmp_path / "ca.pem"))
        place = ("--superlink", f"localhost:{port}")
        found = diagnose(capsys, folder, here.api.url, *place, *trusted)[1]
        assert (found["SuperLink"]["state"], found["SuperLink's clock"]["state"]) == ("ok", "warning")
        assert "seconds behind this machine" in found["SuperLink's clock"]["text"]
        found = diagnose(capsys, folder, here.api.url, *place, "--root-certificates", str(tmp_path / "no"))[1]
        assert "can't be read" in found["SuperLink's TLS"]["text"]
        status, found = diagnose(capsys, folder, f"https://localhost:{port}")
        assert (status, found["coordinator's TLS"]["state"]) == (1, "failed")
        assert "not trusted" in found["coordinator's TLS"]["text"]
        status, found = diagnose(capsys, folder, here.api.url, *place, "--insecure")
        assert (status, found["SuperLink"]["state"]) == (1, "failed"), "TLS, spoken to without"
    status, found = diagnose(capsys, folder, here.api.url, "--superlink", f"localhost:{free_port()}")
    assert (status, found["SuperLink's TLS"]["state"]) == (1, "failed")
    assert "can't be reached" in found["SuperLink's TLS"]["text"]
    assert states(found, "SuperLink", "SuperLink's clock") == {"skipped"}


@pytest.fixture
def join(
    here: Running, keystore: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, Told]]:
    """Look as somebody who wants to join; return exit status and checks."""
    here.world.deployment.save(tmp_path / "deployment.json")

    def look(name: str, *more: str) -> tuple[int, Told]:
        words = ["--rpc", here.world.anvil.url, "--deployment", str(tmp_path / "deployment.json")]
        words += ["--coordinator", here.api.url, "--join", "--keystore", str(keystore(name))]
        return told(capsys, "doctor", *words, "--home", str(tmp_path / "node"), *more)

    return look


def test_whoever_has_all_that_it_takes_may_join(join: Callable[..., tuple[int, Told]]) -> None:
    status, found = join("ada")
    assert (status, tuple(found)) == (0, (*CHAIN, *API, *JOIN)), found
    assert states(found, *found) == {"ok"}, found
    assert f"{MANIFEST.elements:,} parameters" in found["your model"]["text"]


@pytest.mark.long
def test_what_a_contributor_lacks_is_told(
    join: Callable[..., tuple[int, Told]], here: Running, tmp_path: Path, keystore: Callable[[str], Path]
) -> None:
    status, found = join("newcomer")
    assert (status, found["your stake"]["state"]) == (1, "failed")
    assert "stake-too-low" in found["your stake"]["text"]
    assert "--stake 50" in found["your stake"]["remedy"]
    assert states(found, "your enrolment", "your coins") == {"skipped"}
    keystore("ada").chmod(0o644)
    here.world.anvil.fund(factories.account("ada").address, 10)
    status, found = join("ada")
    assert (status, states(found, "your key", "your coins")) == (0, {"warning"}), found
    assert "chmod 600" in found["your key"]["remedy"]
    chain = here.world.chain
    here.world.anvil.fund(factories.account("ada").address)
    chain.send(chain.ledger.functions.leave(), factories.account("ada"))
    status, found = join("ada")
    assert (status, found["your enrolment"]["state"]) == (0, "warning")
    assert "folkmoot enrol" in found["your enrolment"]["remedy"]
    here.world.anvil.fund(factories.account("ada").address, 10)
    status, found = join("ada")
    assert (status, found["your coins"]["state"]) == (1, "failed"), "it can't enrol"
    status, found = join("ada", "--keystore", str(tmp_path / "nowhere"))
    assert (status, found["your key"]["state"]) == (1, "failed")
    assert states(found, "your stake", "your enrolment", "your coins", "your folder", "your disk") == {
        "skipped"
    }


@pytest.mark.long
def test_the_folder_of_another_node_is_told(
    join: Callable[..., tuple[int, Told]], here: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "node"
    home.mkdir()
    deployment = here.world.deployment.to_json()
    ada, ben = (factories.account(name).address for name in ("ada", "ben"))
    mine = Contributor(home, here.world.anvil.url, here.api.url, deployment, ada, "digits", 0, 1)
    mine.save()
    assert "task digits" in join("ada")[1]["your folder"]["text"]
    replace(mine, coordinator="https://old.example").save()
    assert join("ada")[1]["your folder"]["state"] == "warning"
    for other, words in (
        (replace(mine, account=ben), f"is of the node of {ben}"),
        (replace(mine, deployment={**deployment, "ledger": ada}), "another federation"),
    ):
        other.save()
        status, found = join("ada")
        assert (status, found["your folder"]["state"]) == (1, "failed")
        assert words in found["your folder"]["text"]
    (home / "contributor.json").write_text("{")
    assert join("ada")[1]["your folder"]["state"] == "failed"
    (home / "contributor.json").unlink()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    status, found = join("ada")
    assert (status, found["your disk"]["state"]) == (1, "failed")


def test_a_round_that_was_anchored_without_its_report_is_told(
    here: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = here.coordinator.settings.home
    write_settings(folder, canary=True)
    with here.coordinator.storage.database.write("run-failed") as session:
        session.scalars(select(Round)).one().canary = {"verdict": "missing"}
    found = diagnose(capsys, folder, here.api.url)[1]
    assert found["evaluator"]["state"] == "warning"
    assert "round 1" in found["evaluator"]["text"]


@pytest.mark.long
def test_bucket_and_postgresql_pass_and_what_breaks_there_is_named(
    world: factories.Federation,
    anvil: Anvil,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3.use_keys(monkeypatch)
    with postgres() as rows, s3.moto(tmp_path / "log") as files:
        place = {"store": f"s3://{files.make_bucket('doctor')}/a", "store_endpoint": files.endpoint}
        settings = {"database_url": rows.url, "store_region": s3.REGION, **place}
        with running(tmp_path / "home", world, **settings) as here:
            status, found = diagnose(capsys, tmp_path / "home", here.api.url, "--deep")
            assert (status, states(found, *found)) == (0, {"ok"}), found
            assert "s3://doctor/a" in found["store"]["text"]
            assert "postgresql" in found["database"]["text"]
            there = files.client()
            for one in there.list_objects_v2(Bucket="doctor")["Contents"]:
                there.delete_object(Bucket="doctor", Key=one["Key"])
            shutil.rmtree(tmp_path / "home" / "cache")
            status, found = diagnose(capsys, tmp_path / "home", here.api.url)
            assert (status, found["files of rounds"]["state"]) == (1, "failed")
        rows.stop()
        status, found = diagnose(capsys, tmp_path / "home")
        assert (status, found["database"]["state"]) == (1, "failed")
        assert states(found, "database schema", "database writable", "files of rounds") == {"skipped"}
        rows.start()
    status, found = diagnose(capsys, tmp_path / "home")
    assert (status, found["store"]["state"]) == (1, "failed")
    assert "Could not connect" in found["store"]["text"]
