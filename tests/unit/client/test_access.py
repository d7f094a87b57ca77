# SPDX-License-Identifier: Apache-2.0
"""What a node's training code may reach, from the options of `join`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.node.access import (
    Access,
    check_apart,
    check_direct,
    check_options,
    described,
    parse_limit,
    pinned,
    privacy_of,
    rules_of,
    training_environment,
)
from client.node.executor import TrainingExecutor
from client.node.task import Task, check_bundle
from client.signer.record import SignedRounds
from folkmoot.errors import InputError
from folkmoot.flower.contributor import Contributor
from folkmoot.privacy.accountant import epsilon_of, rho_of
from folkmoot.privacy.settings import WARNING
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.runtime.units import parse_bundle
from folkmoot.sandbox.rules import Rules, without
from tests.unit.privacy.test_settings import GOOD

HASH = "ab" * 32


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "node"
    made.mkdir()
    return made


def contributor(home: Path, task: str = "digits", rpc: str = "http://127.0.0.1:8545") -> Contributor:
    return Contributor(home, rpc, "http://coordinator", {}, "0x1", task, 0, 1)


@pytest.mark.parametrize(("place", "code"), [("inside", "data-in-home"), ("around", "home-in-data")])
def test_data_and_the_nodes_folder_are_apart(home: Path, place: str, code: str) -> None:
    data = home / "data" if place == "inside" else home.parent
    data.mkdir(exist_ok=True)
    for access in (Access(data=(data,)), Access(writable=(data,)), Access().with_config({"path": str(data)})):
        with pytest.raises(InputError) as refused:
            check_apart(home, access)
        assert refused.value.code == code
        assert refused.value.remedy
    link = home.parent.parent / f"link-{home.parent.name}-{place}"
    link.symlink_to(data)
    with pytest.raises(InputError, match=r"inside|contains"):
        check_apart(home, Access(data=(link,)))


def test_data_without_the_key_is_taken_and_data_with_it_is_not(home: Path) -> None:
    data = home.parent / "data"
    data.mkdir()
    key = data / "key.json"
    key.write_text("{}")
    check_apart(home, Access(data=(data,)))
    with pytest.raises(InputError, match="contains the key or password file"):
        check_apart(home, Access(data=(data,), secrets=(key,)))
    with pytest.raises(InputError, match="There is no"):
        check_apart(home, Access(data=(data / "missing",)))


def test_a_key_in_a_folder_of_the_system_is_refused(home: Path) -> None:
    for place in (Path("/usr/share/key.json"), Path(sys.prefix) / "key.json"):
        with pytest.raises(InputError) as refused:
            check_apart(home, Access(secrets=(place,)))
        assert refused.value.code == "home-in-system"


def test_the_rules_name_what_the_trainer_needs_and_not_the_home(home: Path) -> None:
    data = home.parent / "data"
    data.mkdir()
    rules = rules_of(
        contributor(home, rpc="https://one.example/key,http://two.example:8545"), Access(data=(data,))
    )
    assert str(data) in rules.readable
    assert str(home / "contributor.json") in rules.readable
    assert str(home) not in (*rules.readable, *rules.listable, *rules.writable)
    assert rules.writable == (str(home / "updates"),)
    assert rules.hosts == (("one.example", 443), ("two.example", 8545))
    assert rules.sockets == (str(home / "signer.sock"), str(home / "keeper.sock"))
    assert Rules.from_json(rules.to_json()) == rules


def test_a_task_of_ones_own_is_readable_without_the_keys_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    (folder / "node").mkdir(parents=True)
    for name in ("own_task_beside_keys.py", "test.csv", "me.json"):
        (folder / name).write_text("")
    monkeypatch.syspath_prepend(str(folder))
    rules = rules_of(
        contributor(folder / "node", "own_task_beside_keys:task"), Access(secrets=(folder / "me.json",))
    )
    names = {Path(path).name for path in rules.readable if Path(path).is_relative_to(folder)}
    assert names == {"own_task_beside_keys.py", "test.csv", "contributor.json"}
    assert str(folder) in rules.listable


def test_keys_and_records_beside_a_task_are_hidden_though_nobody_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, text in (
        ("own_task_of_a_signer.py", "task = 1"),
        ("settings.json", "{}"),
        ("signing-record.json", "{}"),
        ("deep/key", json.dumps({"version": 3, "Crypto": {}})),
        ("deep/node.key", "-----BEGIN EC PRIVATE KEY-----"),
        ("deep/data.csv", "1"),
        ("prices.jsonl", '{"crypto": 1}\n{"crypto": 2}'),
        ("agent/signing-record.json", "{}"),
        ("agent/notes", "1"),
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    rules = rules_of(contributor(tmp_path / "node", "own_task_of_a_signer:task"), Access())
    names = {Path(path).name for path in rules.readable if Path(path).is_relative_to(tmp_path)}
    assert names == {
        "own_task_of_a_signer.py",
        "settings.json",
        "prices.jsonl",
        "data.csv",
        "contributor.json",
    }


def test_the_certificates_of_the_environment_are_readable_unless_a_key_is_among_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = home.parent / "trust" / "all.pem", home.parent / "more"
    for made in (file.parent, folder):
        made.mkdir()
    file.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", f"{folder}{os.pathsep}{home}")
    assert {str(file), str(folder)} <= set(rules_of(contributor(home), Access()).readable)
    with pytest.raises(InputError) as refused:
        check_apart(home, Access())
    assert refused.value.code == "home-in-system"


def test_code_that_runs_without_a_sandbox_is_not_writable(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = home.parent / "work"
    for name in ("out", "json", "path/inner", "../app/src"):
        (work / name).mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PYTHONPATH", str(work / "path" / "inner"))
    check_apart(home, Access(writable=(Path("out"),)))
    package = Path(rules_of.__code__.co_filename).parent
    places = [work, work / "json", work / "path", package, Path(sys.prefix), Path("/usr/share")]
    for place in [*places, work / "../app", work / "../app/src"]:
        with pytest.raises(InputError) as refused:
            check_apart(home, Access(writable=(place,)), [work / "../app"])
        assert refused.value.code == "writable-code", place
        assert refused.value.remedy


def test_options_that_can_not_be_used(home: Path) -> None:
    check_options(Access())
    for access in (
        Access(memory=-1),
        Access(disk=0),
        Access(disk=-1),
        Access(environment=("FOLKMOOT_PASSWORD",)),
    ):
        with pytest.raises(InputError, match=r"too small|secret"):
            check_options(access)
    with pytest.raises(InputError, match="no limit"):
        parse_limit(float("nan"))
    file = home.parent / "file"
    file.write_text("")
    with pytest.raises(InputError) as refused:
        check_apart(home, Access(writable=(file,)))
    assert refused.value.code == "writable-file"


def test_an_endpoint_behind_a_proxy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "near.example")
    check_direct(["https://near.example"])
    with pytest.raises(InputError) as refused:
        check_direct(["https://near.example", "https://far.example/key"])
    assert refused.value.code == "rpc-behind-proxy"
    assert "/key" not in str(refused.value)


def test_everything_but_hidden_paths(tmp_path: Path) -> None:
    for name in ("a/b/hidden/x", "a/b/seen", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    hidden = [tmp_path / "a" / "b" / "hidden"]
    assert list(without(tmp_path, hidden)) == [tmp_path / "a" / "b" / "seen", tmp_path / "c"]
    assert list(without(tmp_path, [tmp_path])) == []
    assert list(without(tmp_path, [])) == [tmp_path]


def test_the_environment_is_a_list_of_names() -> None:
    base = {"PATH": "/bin", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x", "SSH_AUTH_SOCK": "y", "MINE": "z"}
    assert training_environment(base) == {"PATH": "/bin", "LC_ALL": "C"}
    assert training_environment(base, ["MINE"])["MINE"] == "z"


@pytest.mark.parametrize("text", [HASH, "0x" + HASH, HASH.upper()])
def test_a_bundles_hash(text: str) -> None:
    assert parse_bundle(text) == HASH


@pytest.mark.parametrize("text", ["ab", HASH + "0", "g" * 64])
def test_what_is_no_bundles_hash(text: str) -> None:
    with pytest.raises(InputError, match="not the hash of a bundle"):
        parse_bundle(text)


def test_only_the_pinned_and_announced_bundle_is_unpacked() -> None:
    content = b"bundle"
    found = hashlib.sha256(content).hexdigest()
    task = Task("127.0.0.1:1", "token", found, found, "/nowhere", "")
    check_bundle(content, task)
    check_bundle(content, replace(task, bundle=None, pinned=""))
    for other in (replace(task, pinned=HASH), replace(task, bundle=HASH, pinned="")):
        with pytest.raises(InputError) as refused:
            check_bundle(content, other)
        assert refused.value.code == "wrong-bundle"


def test_other_tasks_of_flower_are_not_started(tmp_path: Path) -> None:
    """Flower would start them without a sandbox."""
    from flwr.supercore.constant import TaskType
    from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResultStatus

    executor = TrainingExecutor(tmp_path, tmp_path / "memory", fork=False)
    assert executor.get_eligible_capacity(set(TaskType)) == ({TaskType.CLIENT_APP}, set())
    for kind, bundle in ((TaskType.AGENT_APP, HASH), (TaskType.CLIENT_APP, "../../elsewhere")):
        spec = ExecutionSpec(kind, "127.0.0.1:1", "token", True, None, False, None, False, 1, bundle)
        assert executor.launch(spec).status is LaunchResultStatus.FAILED
    assert not list(tmp_path.iterdir())


def test_the_screen_says_what_the_code_may_do(home: Path) -> None:
    access = Access(data=(home.parent,), bundle=HASH, environment=("MINE",))
    text = "\n".join(described(rules_of(contributor(home), access), access))
    for part in (f"only {HASH}", str(home.parent), "127.0.0.1:8545", "no UDP", "GB of memory", "MINE"):
        assert part in text
    assert len(text.splitlines()) <= 12
    assert described(None, access)[0].startswith("WITHOUT A SANDBOX")
    agent = home.parent / "agent.sock"
    assert str(agent) in "\n".join(described(rules_of(contributor(home), access), access, agent))


def test_the_policys_bundle_is_the_only_one(home: Path) -> None:
    voted = bytes.fromhex(HASH)
    for access in (Access(), Access(bundle=HASH)):
        granted = pinned(access, voted)
        assert granted.bundle == HASH
        assert f"only {HASH}, which the voters chose" in "\n".join(described(None, granted))
    assert pinned(Access(bundle=HASH), bytes(32)) == Access(bundle=HASH)
    with pytest.raises(InputError) as refused:
        pinned(Access(bundle="cd" * 32), voted)
    assert refused.value.code == "wrong-bundle"


def test_the_screen_says_what_the_privacy_budget_is_and_join_ends_where_it_is_spent() -> None:
    model = {"weight": np.zeros((2, 100), np.float32)}
    manifest = Manifest.from_arrays("digits", model, {"privacy": GOOD})
    policy = Policy("mean", (), 10**6, 1, 8, 8, 1024, 0, 600, 600, 600, 0, 0, 0)
    private = replace(policy, noise1024=GOOD["noise1024"], steps=GOOD["steps"])
    private = replace(private, privacy_cap=20 * private.cost)
    text = privacy_of(manifest, private, 5 * private.cost)
    spent_epsilon = epsilon_of(rho_of(GOOD["noise1024"], 5, 1), GOOD["delta"])
    assert 1 < spent_epsilon < 1.5, "a quarter of the rho has about half of the epsilon"
    assert text == (
        "epsilon 3.00 at delta 1e-05 by the policy for whether a record is there, 6.71 for what the record of "
        f"someone known to be there says; spent {spent_epsilon:.2f} by the ledger, 0 by the signer, which also counts "
        "trainings that the ledger never saw; 15 rounds are left. The signer has no cap of its own (`folkmoot signer "
        "record --cap`)"
    )
    own = SignedRounds(other_costs=6 * private.cost, cap=10 * private.cost)
    text = privacy_of(manifest, private, 5 * private.cost, own)
    assert "4 rounds are left. The signer spends at most epsilon 2.03, which no vote raises" in text
    assert privacy_of(Manifest.from_arrays("digits", model), policy, 0) == f"none. {WARNING}"
    for spent, noise, code in ((20, private.noise1024, "budget-spent"), (0, 1, "wrong-privacy")):
        with pytest.raises(InputError) as refused:
            privacy_of(manifest, replace(private, noise1024=noise), spent * private.cost)
        assert refused.value.code == code


def test_paths_in_the_node_config_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "part").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = {
        "absolute": str(tmp_path / "data"),
        "relative": "data/part",
        "word": "data",
        "number": 3,
        "missing": "/nowhere/at/all",
        "text": '{"a": "/"}' * 1000,
        "null": "/\0",
    }
    assert Access().with_config(config).data == (tmp_path / "data", Path("data/part"))
    assert Access().with_config(config).with_config(config) == Access().with_config(config)
