# SPDX-License-Identifier: Apache-2.0
"""An ordinary Flower app, anchored by two lines, on a real chain with a real coordinator; then an audit of it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client.keeper.transfers import DOWN, UP, Transfers
from client.tasks.genesis import start_of
from folkmoot.artifacts.federation import Start
from folkmoot.cli.main import run as folkmoot
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.doctor import examine, superlink_checks
from folkmoot.flower.clock import TrainingTime
from folkmoot.protocol.commitment import Domain
from folkmoot.runtime.flower_internals import build_bundle
from folkmoot.runtime.superlink import SuperLink
from tests import factories
from tests.e2e.flower import Flower, anchored
from tests.e2e.moot import moot as running

PLAIN = Path(__file__).parent / "plain_app"
NAMES = ("ada", "ben")

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class Moot(SimpleNamespace):
    """A federation on the plain app's model: chain, coordinator, SuperLink, two nodes."""

    start: Start
    federation: factories.Federation
    api: CoordinatorApi
    flower: Flower
    deployment_file: Path
    transfers: Transfers


@pytest.fixture(scope="module")
def moot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moot]:
    root = tmp_path_factory.mktemp("moot")
    sys.path.insert(0, str(PLAIN))
    try:
        from plain.task import make_model
    finally:
        sys.path.remove(str(PLAIN))
    task: Any = SimpleNamespace(
        name="plain",
        training={"local_steps": 20, "learning_rate": 0.05, "start": "eager"},
        model=make_model,
    )
    start = start_of(task)
    transfers = Transfers(bar=False)
    with running(root, start.manifest, start.state, start.genesis, NAMES, {"ada": transfers}) as made:
        yield Moot(
            start=start,
            federation=made.federation,
            api=made.api,
            flower=made.flower,
            deployment_file=made.deployment_file,
            root=root,
            transfers=transfers,
        )


def test_the_doctor_finds_a_real_superlink_well(moot: Moot) -> None:
    found = examine(superlink_checks(SuperLink(moot.flower.address)))
    assert [(line.name, line.finding.state) for line in found] == [
        ("SuperLink's TLS", "ok"),
        ("SuperLink", "ok"),
        ("SuperLink's clock", "ok"),
    ], found


def test_a_plain_app_is_anchored_and_its_history_audits(
    moot: Moot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = moot.federation.deployment
    domain = Domain(deployment.chain_id, deployment.ledger)
    app = anchored(PLAIN, tmp_path)
    trainings, runs = [], []
    for count in (2, 1):
        runs.append(moot.api.start_run(count, len(NAMES), factories.account("coordinator"), domain).id)
        result, lines = moot.flower.run({"coordinator": moot.api.url}, app)
        assert result.completed, "\n".join(lines)
        ended = moot.api.run(runs[-1])
        assert ended is not None
        assert (ended.state, ended.completed) == ("done", count)
        trainings += re.findall(
            r"'trainings': ([0-9.]+)", next(line for line in lines if "metrics {" in line)
        )
        if count == 2:
            moot.flower.restart(NAMES[0])
    assert trainings == ["0.0", "1.0", "2.0"], "the apps' state went on, also after a SuperNode had ended"

    manifest = moot.start.manifest
    full, small = manifest.state_file_size, manifest.size
    assert moot.transfers.bytes == {DOWN: full + 2 * small, UP: 3 * small}, "a full state, then means"
    bundle = "0x" + hashlib.sha256(build_bundle(app)).hexdigest()
    people = {factories.account(name).address for name in NAMES}
    rounds = sorted(found["round"] for found in moot.api.items("/v1/rounds") if found["run"] in runs)
    assert len(rounds) == 3
    hashes = set()
    for number in rounds:
        updates = list(moot.api.items(f"/v1/rounds/{number}/updates"))
        assert {update["contributor"] for update in updates} == people
        assert {update["bundleHash"] for update in updates} == {bundle}
        assert {update["weight"] for update in updates} == {1}
        hashes |= {update["memoryHash"] for update in updates}
    assert moot.federation.chain.ledger.head().round == max(rounds)
    assert len(hashes - {"0x" + bytes(32).hex()}) == 3 * len(NAMES)
    for name in NAMES:
        kept = list((moot.root / name / "memory" / bundle[2:]).glob("*.memory"))
        assert {path.name.partition("-")[0] for path in kept} == {str(number) for number in rounds[1:]}
        assert {"0x" + path.stem.partition("-")[2] for path in kept} < hashes

    ahead = {name: (moot.root / "logs" / f"node-{name}.log").read_text() for name in NAMES}
    assert f"Round {rounds[1]}: training went on since round {rounds[0]} already" in ahead["ada"]
    for log in ahead.values():
        spent = [one for line in log.splitlines() if (one := TrainingTime.in_line(line)) is not None]
        assert [one.round for one in spent] == rounds
        assert [one.since is not None and one.seconds <= one.since for one in spent] == [False, True, True]

    status = folkmoot(
        [
            *("audit", "--rpc", moot.federation.anvil.url, "--deployment", str(moot.deployment_file)),
            *("--artifacts", moot.api.url, "--json"),
        ]
    )
    said = capsys.readouterr()
    assert status == 0, said
    assert json.loads(said.out)["memories"] == 3 * len(NAMES)


def test_contributors_hand_in_without_flower(
    moot: Moot, keystore: Callable[[str], Path], password_file: Path, tmp_path: Path
) -> None:
    """Nobody carries their updates, so they commit by their own transactions."""
    from folkmoot.coordinator_api import commitment_to_wire
    from folkmoot.flower.contributor import SOCKET_FILE
    from folkmoot.flower.signing import AgentSigner
    from folkmoot.flower.updates import KeptUpdate, keep_update
    from folkmoot.protocol.codec import encode_update
    from folkmoot.protocol.commitment import Commitment
    from folkmoot.protocol.header import RoundHeader
    from folkmoot.protocol.state import State

    deployment, manifest = moot.federation.deployment, moot.start.manifest
    domain = Domain(deployment.chain_id, deployment.ledger)
    run = moot.api.start_run(1, len(NAMES), factories.account("coordinator"), domain)
    current = _wait(moot.api.current_round)
    header = RoundHeader.decode(current.header)
    state = State.from_bytes(moot.api.files.read(current.base_state), manifest)
    start = state.to_float32()
    for name in NAMES:
        account = factories.account(name)
        update = encode_update(start, start, header.exponents, manifest, header.seed, account.address)
        commitment = Commitment(
            account.address, current.round, header.base_state_root, update.root, update.sum_squares
        )
        # By the node's own signer: it refuses to go on beside another one, whose signatures it does not know.
        signer = AgentSigner(moot.root / name / SOCKET_FILE, account.address)
        wire = commitment_to_wire(commitment, signer.sign(commitment, domain, update.data))
        home = tmp_path / name
        home.mkdir()
        keep_update(home, current.round, KeptUpdate(header.hash.hex(), wire, update.data))
        status = folkmoot(
            [
                *("submit", str(current.round), "--home", str(home), "--coordinator", moot.api.url),
                *("--rpc", moot.federation.anvil.url, "--deployment", str(moot.deployment_file)),
                *("--keystore", str(keystore(name)), "--password-file", str(password_file)),
            ]
        )
        assert status == 0
        assert moot.federation.chain.ledger.has_committed(current.round, account.address)

    def ended() -> Any:
        found = moot.api.run(run.id)
        return found if found is not None and found.state != "running" else None

    done = _wait(ended)
    assert (done.state, done.completed) == ("done", 1)
    updates = list(moot.api.items(f"/v1/rounds/{current.round}/updates"))
    assert [update["weight"] for update in updates] == [1, 0], (
        "both sent nothing, and equal updates share one share"
    )


def _wait(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.1)
    raise AssertionError("nothing came in a minute")


@pytest.mark.parametrize(
    ("who", "change", "code"),
    [
        ("outsider", {}, "stake-too-low"),
        ("ada", {"--task": "digits"}, "wrong-task"),
        ("ada", {"--coordinator": "http://127.0.0.1:9"}, "coordinator-unreachable"),
        ("ada", {"--rpc": "http://127.0.0.1:9"}, "rpc-unreachable"),
        ("ada", {"--partition": "5/5"}, "invalid-input"),
        ("ada", {"--data": "/"}, "home-in-data"),
        ("ada", {"--data": "/nowhere"}, "no-data"),
        ("ada", {"--set": "bundle=0x12"}, "invalid-input"),
    ],
)
def test_join_says_what_is_wrong(
    moot: Moot,
    keystore: Callable[[str], Path],
    password_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    who: str,
    change: dict[str, str],
    code: str,
) -> None:
    options = {
        "--rpc": moot.federation.anvil.url,
        "--deployment": str(moot.deployment_file),
        "--coordinator": moot.api.url,
        "--superlink": moot.flower.address,
        "--task": "mnist",
        "--home": str(tmp_path / "home"),
        "--keystore": str(keystore(who)),
        "--password-file": str(password_file),
        **change,
    }
    status = folkmoot(["join", "--json", *(word for option in options.items() for word in option)])
    told = json.loads(capsys.readouterr().out)["error"]
    assert (status, told["code"]) == (1, code)
    assert told["remedy"]
    assert not (tmp_path / "home").exists()
