# SPDX-License-Identifier: Apache-2.0
"""A version is measured where the data are, in a federation that never trains: five sites, one coordinator, files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.tasks import evaluation
from client.tasks.genesis import start_of, write_genesis
from folkmoot.artifacts.federation import Start
from folkmoot.cli.reports import for_voters
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError
from folkmoot.evaluation.sites import (
    LONGEST,
    MAX_BYTES,
    PAUSE,
    SHORTEST,
    Commitments,
    CountTable,
    Pooled,
    SiteMeasurement,
    TableCommitment,
)
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.hashing import canonical_json
from folkmoot.tasks import load_task
from folkmoot.tasks.training import call_train
from tests import factories
from tests.integration.coordinator_world import Running, federation, running, until

Command = Callable[..., dict[str, Any]]
SITES = factories.CONTRIBUTORS
TASK = "breast-cancer"


def trained() -> dict[str, Any]:
    """Tensors of a model that does its work."""
    task = load_task(TASK)
    model = task.model()
    settings = {**task.training, "local_steps": 40, "seed": 1, "round": 1}
    call_train(task, model, task.load(0, 1, 7), settings, {})
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def start() -> Start:
    return start_of(load_task(TASK), weights=trained())


@pytest.fixture(scope="module")
def module_world(anvil_process: Anvil, start: Start) -> Iterator[factories.Federation]:
    made = federation(anvil_process, (start.genesis, start.manifest, start.state))
    yield made
    made.chain.close()


@pytest.fixture
def here(
    world: factories.Federation, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """A coordinator at work that never opens a round; each test has notes of its own of what left."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with running(tmp_path / "home", world, (start.genesis, start.manifest, start.state)) as found:
        monkeypatch.setenv("FOLKMOOT_COORDINATOR", found.api.url)
        until(lambda: list(found.api.items("/v1/models")), what="the coordinator's reading of version 0")
        yield found


def measure(folkmoot: Command, site: int, *more: str, of: int = 5, fails: int = 0) -> dict[str, Any]:
    words = ("measure", "0", "--task", TASK, "--partition", f"{site}/{of}", "--yes", *more)
    return folkmoot(*words, by=SITES[site % 5], fails=fails)


def close(here: Running, version: int = 0) -> None:
    """Let the chain's time pass until no more commitments are taken."""
    left = (
        Commitments.from_json(here.api.measurement_commitments(version)).closes
        + PAUSE
        - here.world.chain.rpc.latest_timestamp()
    )
    here.world.anvil.advance(left)


def test_five_sites_count_what_the_same_model_does_on_all_their_examples(
    here: Running, folkmoot: Command, start: Start, tmp_path: Path
) -> None:
    """To the last count, by class and by group; a proposal names the sums, and `who` checks them again."""
    for site in range(5):
        made = measure(folkmoot, site, "--min-cell", "1")
        assert (made["committed"], made["sent"]) == (True, False)
    assert measure(folkmoot, 3)["sent"] is False  # Too early: nothing leaves.
    assert folkmoot("measurements", "0", fails=1)["error"]["code"] == "not-measured"
    close(here)
    for site in range(5):
        assert measure(folkmoot, site)["sent"] is True
        assert measure(folkmoot, site)["sent"] is True  # Again does no harm.
    target = tmp_path / "measured.json"
    pooled = folkmoot("measurements", "0", "--out", str(target))
    whole = evaluation.measured_state(load_task(TASK), start.state, start.manifest)
    counted = {cell["name"]: (cell["examples"], cell["correct"]) for cell in pooled["classes"]}
    assert counted == {one.name: (one.support, one.correct) for one in whole.classes}
    counted = {cell["name"]: (cell["examples"], cell["correct"]) for cell in pooled["groups"]}
    assert counted == {one.name: (one.support, one.correct) for one in whole.groups}
    right = sum(one.correct for one in whole.classes)
    assert pooled["total"] == {"examples": whole.examples, "correct": right}
    assert (pooled["sites"], pooled["away"]) == (5, {})
    assert (pooled["uncommitted"], pooled["silent"]) == ([], [])
    assert 2 * right > whole.examples
    assert here.api.get("/v1/models/0")["sites"] == 5
    assert here.api.get("/v1/models/0/measurements") == json.loads(target.read_bytes())

    made = folkmoot("propose", "--version", "0", "--report", str(target), "--title", "Release version 0")
    assert made["reportHash"] == "0x" + hashlib.sha256(target.read_bytes()).hexdigest()
    record = folkmoot("model", "0")
    (decision,) = record["decisions"]
    for measured in (record["measured"], decision["measured"]):
        assert (measured["sites"], measured["total"]) == (5, pooled["total"])
    assert decision["falselyMeasured"] == []

    sums = json.loads(target.read_bytes())
    sums["total"]["correct"] += 1
    target.write_bytes(canonical_json(sums))
    refused = folkmoot(
        "propose", "--version", "0", "--report", str(target), "--title", "Release it", fails=1
    )["error"]
    assert refused["code"] == "invalid-measurement"
    assert for_voters(target.read_bytes())["report"].startswith("WRONG: ")


def test_small_cells_never_leave(
    folkmoot: Command, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site has about 23 examples, so that few of its classes and groups have ten."""
    write_genesis(load_task(TASK), tmp_path / "genesis", weights=trained())
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(tmp_path / "genesis"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = ("--out", str(tmp_path / "table.json"))
    made = measure(folkmoot, 0, *file)["measurement"]
    full = evaluation.site_table(load_task(TASK), trained(), 1, groups=True, partitions=5)[0]
    assert full.total.support == made["table"]["total"]["examples"]
    for cells in (made["table"]["classes"], made["table"]["groups"]):
        assert all(cell["examples"] >= 10 for cell in cells)
        left = full.total.support - sum(cell["examples"] for cell in cells)
        assert left == 0 or left >= 10
    assert len(made["table"]["groups"]) < len(full.groups)
    again = measure(folkmoot, 0, *file)["measurement"]
    assert again == made  # The same examples and the same model: nothing new leaves.

    refused = folkmoot("measure", "0", "--task", TASK, "--partition", "0/5", *file, fails=1)["error"]
    assert refused["code"] == "not-confirmed"
    refused = measure(folkmoot, 0, "--min-cell", "5", *file, fails=1)["error"]
    assert refused["code"] == "other-examples"
    refused = measure(folkmoot, 5, *file, of=6, fails=1)["error"]  # Ada again, on other examples.
    assert refused["code"] == "other-examples"
    assert "--new-examples" in refused["remedy"]
    assert measure(folkmoot, 5, "--new-examples", *file, of=6)["measurement"]["number"] == 2
    assert measure(folkmoot, 1, "--min-cell", "500", *file, fails=1)["error"]["code"] == "too-few-examples"
    assert folkmoot("measurements", "0", "--file", file[1])["sites"] == 1
    refused = folkmoot("measure", "0", "--task", "mnist", "--yes", *file, fails=1)["error"]
    assert refused["code"] == "wrong-task"


def test_files_are_enough(
    world: factories.Federation,
    folkmoot: Command,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No coordinator runs: the genesis is a folder, and the tables go from hand to hand. One that lies is named."""
    write_genesis(load_task(TASK), tmp_path / "genesis", weights=trained())
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(tmp_path / "genesis"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    files = [tmp_path / f"{site}.json" for site in range(5)]
    for site, file in enumerate(files):
        assert measure(folkmoot, site, "--out", str(file))["sent"] is False
    named = [word for file in files for word in ("--file", str(file))]
    pooled = folkmoot("measurements", "0", *named)
    assert (pooled["sites"], pooled["away"]) == (5, {})
    assert len(pooled["uncommitted"]) == 5  # Who came last saw the others': the sums say so.

    domain = Domain(world.deployment.chain_id, world.deployment.ledger)
    honest = SiteMeasurement.from_bytes(files[4].read_bytes())
    none_right = replace(honest.table, total=replace(honest.table.total, correct=0), classes=(), groups=())
    files[4].write_bytes(signed("emil", replace(honest, table=none_right), domain).to_bytes())
    assert folkmoot("measurements", "0", *named)["away"] == {honest.site: ["all examples"]}

    odd = CountTable(
        "loss", 10, replace(honest.table.total, correct=None, losses=LOSSES(honest.table.total.support))
    )
    files[4].write_bytes(signed("emil", replace(honest, table=odd), domain).to_bytes())
    assert "another kind" in folkmoot("measurements", "0", *named, fails=1)["error"]["message"]

    chain, outsider = world.chain, factories.account("outsider").address
    chain.send(chain.token.functions.approve(chain.deployment.vault, 1), world.coordinator)
    chain.send(chain.vault.functions.stake(outsider, 1), world.coordinator)  # What costs nothing is no stake.
    for bad, code in (
        (replace(honest, state_root=bytes(32)), "wrong-measurement"),
        (replace(honest, version=9), "wrong-measurement"),
        (replace(honest, site=outsider), "no-stake"),
        (replace(honest, number=2), "not-authorised"),
    ):
        files[4].write_bytes(bad.to_bytes())
        refused = folkmoot("measurements", "0", *named, fails=1)["error"]
        assert refused["code"] == code
        assert refused["remedy"]
    files[4].write_bytes(b"{}")
    assert folkmoot("measurements", "0", *named, fails=1)["error"]["code"] == "invalid-measurement"
    assert folkmoot("measurements", "7", *named[:2], fails=1)["error"]["code"]


def signed(name: str, one: SiteMeasurement, domain: Domain) -> SiteMeasurement:
    made = replace(one, site=factories.account(name).address, signature=b"")
    signature = factories.account(name).sign_message(made.message(domain)).signature
    return replace(made, signature=bytes(signature))


def test_the_coordinator_takes_the_committed_table_of_each_site_and_refuses_the_rest(
    here: Running, start: Start
) -> None:
    table, _ = evaluation.site_table(load_task(TASK), trained(), 10, groups=False, partitions=2)
    root, api, domain = start.state.root(start.manifest.hash), here.api, here.domain
    nobody = here.world.coordinator.address
    tables = {
        name: SiteMeasurement(nobody, 0, root, 1, table, salt=name.encode().ljust(32)) for name in SITES
    }
    odd = CountTable("loss", 10, replace(table.total, correct=None, losses=LOSSES(table.total.support)))
    tables["cleo"] = replace(tables["cleo"], table=odd)
    closes = here.world.chain.rpc.latest_timestamp() + 2 * SHORTEST

    def commitment(name: str, closes: int = closes, version: int = 0, **other: Any) -> TableCommitment:
        site = factories.account(name).address
        made = TableCommitment(site, version, replace(tables[name], site=site).commitment, closes)
        return sealed(name, replace(made, **other), domain)

    def code(version: int, body: TableCommitment | bytes) -> str:
        return refused(api, "POST", version, body, at="/commitments")

    tables["outsider"] = tables["ada"]
    assert refused(api, "GET", 0) == "not-measured"
    assert refused(api, "GET", 5) == "unknown-version"
    assert refused(api, "GET", 5, at="/commitments") == "unknown-version"
    assert Commitments.from_json(api.measurement_commitments(0)).entries == ()
    assert refused(api, "POST", 0, signed("ada", tables["ada"], domain)) == "not-committed"
    for far in (closes - 2 * SHORTEST + 60, closes + LONGEST):
        assert code(0, commitment("ada", far)) == "other-closing"
    api.commit_measurement(commitment("ada"))
    api.commit_measurement(commitment("ada"))  # An answer was lost: again does no harm.
    assert code(0, commitment("ada", hash=root)) == "measurement-exists"
    assert code(0, commitment("ben", closes + 1)) == "other-closing"
    assert code(3, commitment("ben", version=3)) == "unknown-version"
    assert code(0, commitment("ben", version=3)) == "wrong-measurement"
    assert code(0, replace(commitment("ben"), hash=root)) == "not-authorised"
    assert code(0, commitment("outsider")) == "no-stake"
    assert code(0, b"{}") == "invalid-measurement"
    for name in ("ben", "cleo"):
        api.commit_measurement(commitment(name))
    api.commit_measurement(commitment("dora", hash=commitment("ada").hash))  # She copies Ada's.
    listed = Commitments.from_json(api.measurement_commitments(0))

    def shown(name: str, **other: Any) -> SiteMeasurement:
        return signed(name, replace(tables[name], **{"commitments": listed.hash, **other}), domain)

    first = shown("ada")
    assert refused(api, "POST", 0, first) == "commitments-open"
    close(here)
    assert code(0, commitment("emil")) == "commitments-closed"
    assert Commitments.from_json(api.measurement_commitments(0)) == listed

    smaller = replace(table, total=replace(table.total, correct=0), classes=())
    for lie in (
        shown("ada", table=smaller),  # Another table than it committed, after it saw others.
        shown("ada", salt=root),
        shown("ada", commitments=root),  # Signed under another list.
        shown("emil"),  # It never committed.
        signed("dora", first, domain),  # Ada's table and salt, which she sees, fit the hash that she copied.
        replace(shown("emil"), site=nobody),
    ):
        assert refused(api, "POST", 0, lie) in ("not-committed", "no-stake", "not-authorised")
    assert refused(api, "POST", 3, first) == "wrong-measurement"
    assert refused(api, "POST", 3, shown("ben", version=3)) == "unknown-version"
    assert refused(api, "POST", 0, shown("ben", state_root=bytes(32))) == "wrong-measurement"
    assert refused(api, "POST", 0, replace(first, number=2)) == "not-authorised"
    assert refused(api, "POST", 0, signed("outsider", first, domain)) == "no-stake"
    assert refused(api, "POST", 0, b"x" * (MAX_BYTES + 1)) == "invalid-measurement"
    assert refused(api, "POST", 0, b"x" * (2 << 20)) == "too-large"
    impossible = json.loads(first.to_bytes())
    impossible["table"]["total"]["correct"] = 10**6
    assert refused(api, "POST", 0, json.dumps(impossible).encode()) == "invalid-measurement"
    for one in (first, first, shown("ben"), shown("ben", number=2), shown("cleo")):
        api.send_measurement(one)
    pooled = Pooled.from_bytes(api.measurements(0))
    assert len(pooled.measurements) == 2  # Cleo's is of another kind, and hides nobody.
    assert pooled.uncommitted == []
    assert factories.account("dora").address in pooled.silent
    assert api.get("/v1/models/0")["sites"] == 3


def test_a_coordinator_that_changes_the_closed_list_is_found(
    here: Running, folkmoot: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It collects a table, adds a friend who has seen it, and shows the new list to everybody."""
    made = SiteMeasurement.from_json(measure(folkmoot, 0)["measurement"])
    (entry,) = Commitments.from_json(here.api.measurement_commitments(0)).entries
    early = Commitments((replace(entry, closes=1),))  # To see the table while others can still commit.
    with monkeypatch.context() as patch:
        patch.setattr(CoordinatorApi, "measurement_commitments", lambda *_: early.to_json())
        assert measure(folkmoot, 0, fails=1)["error"]["code"] == "other-closing"
    close(here)
    honest = Commitments.from_json(here.api.measurement_commitments(0))
    assert measure(folkmoot, 0)["sent"] is True
    pooled = Pooled.from_bytes(here.api.measurements(0))
    friend = replace(made, site=factories.account("ben").address)
    late = TableCommitment(friend.site, 0, friend.commitment, honest.closes)
    late = sealed("ben", late, here.domain)
    longer = Commitments(tuple(sorted((*honest.entries, late), key=lambda one: one.site)))
    told = signed("ben", replace(friend, commitments=longer.hash), here.domain)
    assert Pooled.of([*pooled.measurements, told], longer).uncommitted == [
        made.site
    ]  # One signed another list.
    assert Pooled.of([*pooled.measurements, told], honest).uncommitted == [friend.site]

    monkeypatch.setattr(CoordinatorApi, "measurement_commitments", lambda *_: longer.to_json())
    assert measure(folkmoot, 0, fails=1)["error"]["code"] == "other-commitments"
    monkeypatch.setattr(CoordinatorApi, "measurement_commitments", lambda *_: Commitments((late,)).to_json())
    assert measure(folkmoot, 0, fails=1)["error"]["code"] == "commitments-closed"  # It left Ada out.
    changed = replace(honest.entries[0], hash=bytes(32))
    monkeypatch.setattr(
        CoordinatorApi, "measurement_commitments", lambda *_: Commitments((changed,)).to_json()
    )
    assert measure(folkmoot, 0, fails=1)["error"]["code"] == "not-committed"


def sealed(name: str, one: TableCommitment, domain: Domain) -> TableCommitment:
    return replace(one, signature=bytes(factories.account(name).sign_message(one.message(domain)).signature))


def LOSSES(examples: int) -> Any:
    from folkmoot.evaluation.losses import Losses

    return Losses(examples, 0, examples, 0, examples, 0, 0)


def refused(api: CoordinatorApi, method: str, version: int, body: Any = b"", at: str = "") -> str:
    """Ask for something, and return the code with which it is refused."""
    content = body if isinstance(body, bytes) else body.to_bytes()
    with pytest.raises(CoordinatorError) as caught:
        api._checked(api._send(method, f"/v1/models/{version}/measurements{at}", content=content))
    assert caught.value.remedy
    return caught.value.code
