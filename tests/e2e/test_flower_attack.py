# SPDX-License-Identifier: Apache-2.0
"""A hostile bundle through a real SuperLink, on real nodes: in the sandbox, without one, and with a pin."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from folkmoot_lab.drills.tasks import attacking

from client.node.access import Access
from client.signer.agent import RECORD_FOLDER
from client.signer.record import RECORD_FILE
from folkmoot.flower.contributor import MEMORY_FOLDER, Contributor
from folkmoot.protocol.manifest import Manifest
from folkmoot.sandbox.kernel import support
from folkmoot.tasks import load_task
from tests import hostile
from tests.e2e.flower import Flower, anchored
from tests.e2e.test_flower_plain_app import PLAIN, model
from tests.unit.flower.world import World, account
from tests.victims import HARMLESS, SECRET, refused_to_all, results, victims

__all__ = ["model"]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(support().missing), reason=support().missing or "there is a sandbox"),
]

NODES: dict[str, dict[str, Any]] = {
    "ada": {},
    "ben": {"access": Access(sandbox=False)},
    "cleo": {"access": Access(bundle="00" * 32)},
    "dora": {"fork": False},
    "eve": {"fork": False, "access": Access(sandbox=False)},
}
"""The options of each node."""


def hostile_app(target: Path) -> Path:
    """Return an app that attacks when it trains."""
    app = anchored(PLAIN, target)
    shutil.copy(hostile.__file__, app / "plain" / "hostile.py")
    code = app / "plain" / "client_app.py"
    text = code.read_text()
    begin = "    torch.set_num_threads(1)\n"
    assert text.count(begin) == 1
    attack = (
        "    import json\n\n    from plain import hostile\n\n"
        "    got = hostile.attack(json.loads(context.node_config['targets']))\n"
        "    print(hostile.MARK + json.dumps(got), flush=True)\n"
    )
    code.write_text(text.replace(begin, begin + attack))
    return app


def take_task(port: int) -> int:
    """Ask a node for a task, as only its executor may; return the status of the answer."""
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
    from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata

    request = AcquireTaskRequest(supported_task_types=["flwr-clientapp"])
    version = RuntimeVersionMetadata.from_local_component("SuperExec").as_metadata()
    headers = {"content-type": PROTOBUF_MEDIA_TYPE, **dict(version)}
    url = f"http://127.0.0.1:{port}/v1/runtime/acquire-task"
    return httpx.post(url, content=request.SerializeToString(), headers=headers).status_code


@pytest.mark.story
def test_a_hostile_bundle_gets_nothing(
    tmp_path: Path, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    manifest = Manifest.from_arrays("plain", model, {})
    with World(manifest, model, expect=4, rounds=1, exponent=-8) as world, Flower(tmp_path) as flower:
        for name, options in NODES.items():
            home = tmp_path / name
            home.mkdir()
            record = home / RECORD_FOLDER / RECORD_FILE
            fresh = flower.enter_context(victims(tmp_path / f"victim-{name}"))
            who = account(name).address
            contributor = Contributor(home, world.url, world.url, world.deployment, who, "plain", 0, 1)
            other = home / MEMORY_FOLDER / ("ab" * 32) / f"1-{'cd' * 32}.memory"
            other.parent.mkdir(parents=True)
            other.write_text("of another bundle")
            targets = {**fresh(), "record": str(record), "left": str(home / "left"), "memory": str(other)}
            port = flower.join(
                contributor,
                account(name),
                config={"targets": json.dumps(targets)},
                **options,
            )
            assert record.exists()
            assert take_task(port) == 401
        flower.run({"coordinator": world.url}, hostile_app(tmp_path))
        logs = {name: (tmp_path / "logs" / f"node-{name}.log").read_text() for name in NODES}
        end = time.monotonic() + 60
        while not all((tmp_path / name / "left").exists() for name in ("ben", "eve")):
            assert time.monotonic() < end, "without a sandbox, a program that was left behind did nothing"
            time.sleep(0.1)
        left = {name for name in NODES if (tmp_path / name / "left").exists()}
    for name in ("ada", "dora"):
        assert {what for what, worked in results(logs[name]).items() if worked} <= HARMLESS, logs[name]
    for name in ("ben", "eve"):
        assert {what for what, worked in results(logs[name]).items() if not worked} <= refused_to_all()
    assert hostile.MARK not in logs["cleo"]
    assert "Refused: The coordinator sent the bundle" in logs["cleo"]
    assert left == {"ben", "eve"}


@pytest.mark.timeout(600)
def test_a_task_that_lies_is_refused_by_the_signer_of_the_product(tmp_path: Path) -> None:
    """Tasks of the laboratory in the product's own nodes: one spoils its update, the other claims a false norm."""
    task = load_task("digits")
    arrays = {name: value.numpy() for name, value in task.model().state_dict().items()}
    manifest = Manifest.from_arrays(task.name, arrays, {**task.training, "local_steps": 5})
    log = tmp_path / "logs" / "node-cleo.log"
    refusal = "Refused (wrong-norm): The update has the sum of squares"
    with World(manifest, arrays, expect=2, rounds=1) as world, Flower(tmp_path) as flower:
        for place, (name, attack) in enumerate({"ben": "sign-flip:2", "cleo": "false-norm"}.items()):
            home, who = tmp_path / name, account(name).address
            home.mkdir()
            subject = attacking(attack, "digits")
            contributor = Contributor(home, world.url, world.url, world.deployment, who, subject, place, 2)
            flower.join(contributor, account(name))

        def end_the_round() -> None:
            while refusal not in log.read_text():
                time.sleep(0.1)  # a log gives no signal
            with world.lock:
                world.expect = 1
                if world.rounds[1].updates:
                    world.close_round()

        threading.Thread(target=end_the_round, daemon=True).start()
        flower.run({"coordinator": world.url})
        assert world.run_state == "done"
    assert set(world.rounds[1].updates) == {account("ben").address}
