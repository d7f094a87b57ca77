# SPDX-License-Identifier: Apache-2.0
"""The canary between a round's outcome and its anchor: on a real chain, with reports that are made up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from client.tasks.canary import Evaluator
from folkmoot.cli.main import run as folkmoot
from folkmoot.coordinator_api import CoordinatorApi, Event
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError, FolkmootError, InputError, TaskError
from folkmoot.evaluation import measure
from folkmoot.evaluation.canary import CanaryReport, sign_canary, sign_release
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.runtime.keystore import create
from folkmoot.runtime.processes import free_port
from folkmoot.tasks import HeldOutPredictions
from server.coordinator import open_coordinator
from server.home import open_account
from server.rounds import probe
from tests import carried, factories
from tests.integration.coordinator_world import (
    EXPONENTS,
    MANIFEST,
    Process,
    Running,
    federation,
    first_state,
    make_home,
    measured,
    open_round,
    running,
    serving,
    train,
    until,
)
from tests.unit.privacy.test_settings import GOOD

EVALUATOR = "emil"


@pytest.fixture
def here(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    evaluator = factories.account(EVALUATOR).address
    with running(tmp_path / "home", world, canary=True, canary_evaluator=evaluator) as found:
        yield found


def view(here: Running, number: int) -> dict[str, Any]:
    return here.api.get(f"/v1/rounds/{number}")


def probing(here: Running, number: int) -> dict[str, Any]:
    """Have two contributors do their part, and wait until the round waits for the canary."""
    _, header, state = open_round(here.api, number)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(number, signed.wire, signed.data)
    until(lambda: view(here, number)["step"] == "probing", what="the outcome")
    return view(here, number)


def report(found: dict[str, Any], before: float, after: float, **changes: Any) -> CanaryReport:
    values: dict[str, Any] = {
        "round": found["round"],
        "task": MANIFEST.task,
        "base_state_root": bytes.fromhex(found["baseStateRoot"][2:]),
        "state_root": bytes.fromhex(found["stateRoot"][2:]),
        "base": measured(before),
        "candidate": measured(after),
    }
    return CanaryReport(**{**values, **changes})


def send(api: CoordinatorApi, made: CanaryReport, domain: Domain, who: str = EVALUATOR) -> dict[str, Any]:
    signature = sign_canary(made, factories.account(who), domain)
    return api.send_canary(made.round, made.to_bytes(), signature)


def events_of(here: Running) -> list[Event]:
    newest, found = here.api.newest_event(), list[Event]()
    for event in here.api.events(0):
        found.append(event)
        if event.id >= newest:
            break
    return found


def settled(here: Running, number: int) -> None:
    until(lambda: view(here, number)["step"] == "settled", what="settlement")


def test_a_good_report_anchors_and_a_fallen_model_is_withheld_and_the_run_goes_on(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "TIME_TRAVEL_RELEASE_SECONDS", 0.3)
    chain = here.world.chain
    stakes = [chain.vault.stake_of(here.world[name].address) for name in ("ada", "ben")]
    here.api.start_run(2, 2, here.world.coordinator, here.domain)
    good = report(probing(here, 1), 0.90, 0.91)
    assert view(here, 1)["canary"]["verdict"] == "waiting"
    assert send(here.api, good, here.domain) == {**send(here.api, good, here.domain), "new": True}
    settled(here, 1)
    said = view(here, 1)["canary"]
    assert (said["verdict"], said["findings"], said["released"]) == ("passed", [], False)
    assert CanaryReport.from_bytes(here.api.files.read(said["report"])) == good

    bad = report(probing(here, 2), 0.91, 0.60)
    assert send(here.api, bad, here.domain)["fell"] is True
    until(lambda: view(here, 2)["step"] == "cancelled", what="the cancellation")
    found = view(here, 2)
    assert found["canary"]["verdict"] == "fell"
    assert "The accuracy went from 91.0% to 60.0%" in found["canary"]["findings"][0]
    assert found["error"].startswith("The canary withheld it. The accuracy")
    assert chain.ledger.head().round == 1

    third = probing(here, 3)
    assert third["base"] == 1, "the next round builds on the old base"
    assert third["baseStateRoot"] == view(here, 1)["stateRoot"]
    send(here.api, report(third, 0.91, 0.92), here.domain)
    until(lambda: (run := here.api.run()) and run.state == "done", what="the run's end")
    assert [chain.vault.stake_of(here.world[name].address) for name in ("ada", "ben")] == stakes
    kinds = [event.type for event in events_of(here)]
    assert kinds.count("canary-reported") == 3
    assert kinds.count("round-withheld") == kinds.count("round-cancelled") == 1
    told = next(event.data for event in events_of(here) if event.type == "round-withheld")
    assert told["numbers"][0] == {
        "kind": "accuracy",
        "subject": "",
        "before": 0.91,
        "after": 0.6,
        "allowed": 0.05,
    }


def test_a_report_that_is_late_does_not_stop_the_round(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "TIME_TRAVEL_PROBE_SECONDS", 0.3)
    here.api.start_run(1, 2, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    settled(here, 1)
    assert view(here, 1)["canary"]["verdict"] == "missing"
    warning = next(event.data for event in events_of(here) if event.type == "canary-missing")
    assert "without one" in warning["warning"]
    with pytest.raises(CoordinatorError) as late:
        send(here.api, report(view(here, 1), 0.9, 0.1), here.domain)
    assert late.value.code == "round-not-probed"


def test_reports_that_are_forged_or_about_something_else_are_refused(here: Running) -> None:
    here.api.start_run(1, 2, here.world.coordinator, here.domain)
    found = probing(here, 1)
    good = report(found, 0.9, 0.9)

    def code(made: CanaryReport, who: str = EVALUATOR, number: int = 1) -> str:
        signature = sign_canary(made, factories.account(who), here.domain)
        with pytest.raises(FolkmootError) as refused:
            here.api.send_canary(number, made.to_bytes(), signature)
        return refused.value.code

    assert code(good, "ada") == "invalid-signature"
    assert code(good, "coordinator") == "invalid-signature", "the settings name another evaluator"
    assert code(report(found, 0.9, 0.9, state_root=bytes(32))) == "wrong-report"
    assert code(report(found, 0.9, 0.9, task="other")) == "wrong-report"
    assert code(good, number=2) == "round-unknown"
    assert code(report(found, 0.9, 0.9, base=measure({"error": 1.0}))) == "invalid-report"
    with pytest.raises(FolkmootError) as garbled:
        here.api.send_canary(1, b"{}", bytes(65))
    assert garbled.value.code == "invalid-report"
    other_chain = sign_canary(good, factories.account(EVALUATOR), Domain(1, here.domain.verifying_contract))
    with pytest.raises(FolkmootError) as elsewhere:
        here.api.send_canary(1, good.to_bytes(), other_chain)
    assert elsewhere.value.code == "invalid-signature"
    assert view(here, 1)["canary"]["verdict"] == "waiting", "none of them counted"
    send(here.api, good, here.domain)
    settled(here, 1)
    assert code(report(found, 0.9, 0.1)) == "canary-exists", "the first one counts"


def test_the_operator_may_release_a_withheld_round(
    here: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "TIME_TRAVEL_RELEASE_SECONDS", 100.0)
    here.api.start_run(1, 2, here.world.coordinator, here.domain)
    found = probing(here, 1)
    root = bytes.fromhex(found["stateRoot"][2:])
    with pytest.raises(CoordinatorError) as early:
        here.api.release_round(1, sign_release(1, root, here.world.coordinator, here.domain))
    assert early.value.code == "round-not-withheld"
    send(here.api, report(found, 0.9, 0.5), here.domain)
    until(lambda: view(here, 1)["step"] == "withheld", what="that it is withheld")
    with pytest.raises(CoordinatorError) as stranger:
        here.api.release_round(1, sign_release(1, root, here.world["ada"], here.domain))
    assert stranger.value.code == "not-authorised"
    here.world.deployment.save(tmp_path / "deployment.json")
    words = ["status", "--rpc", here.world.anvil.url, "--deployment", str(tmp_path / "deployment.json")]
    assert folkmoot([*words, "--coordinator", here.api.url]) == 0
    shown = capsys.readouterr().out
    assert "The model fell. The accuracy went from 90.0% to 50.0%" in shown
    assert "close 1 --anchor" in shown
    create(tmp_path / "key.json", factories.PASSWORD, private_key=bytes(here.world.coordinator.key), work=2)
    (tmp_path / "password").write_text(factories.PASSWORD)
    words = ["close", "1", "--anchor", "--coordinator", here.api.url]
    words += ["--keystore", str(tmp_path / "key.json"), "--password-file", str(tmp_path / "password")]
    assert folkmoot(words) == 0
    said = capsys.readouterr()
    assert "The accuracy went from 90.0% to 50.0%" in said.err
    settled(here, 1)
    assert (view(here, 1)["canary"]["released"], view(here, 1)["error"]) == (True, None)
    assert folkmoot(words) == 1
    assert "not withheld" in capsys.readouterr().err


class Tiny:
    """A task for the tiny model: the labels of its examples are what the first model says."""

    name = MANIFEST.task
    training: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self.inputs = torch.from_numpy(random.normal(size=(4000, 20)).astype(np.float32))
        whole = first_state().model(MANIFEST, carried.files)
        first = {key: torch.from_numpy(array) for key, array in whole.items()}
        self.labels = self._guess(first)

    def _guess(self, weights: Any) -> torch.Tensor:
        return (self.inputs @ weights["weight"] + weights["bias"]).argmax(dim=1) % 3

    def model(self) -> torch.nn.Module:
        made = torch.nn.Module()
        made.register_parameter("weight", torch.nn.Parameter(torch.zeros(20, 30)))
        made.register_parameter("bias", torch.nn.Parameter(torch.zeros(30)))
        made.register_buffer("table", torch.zeros(3, 7))
        return made

    def load(self, partition: int, partitions: int, seed: int) -> Any:
        raise AssertionError("an evaluator needs no private data")

    def train(self, model: torch.nn.Module, data: Any, settings: dict[str, Any]) -> int:
        raise AssertionError("an evaluator does not train")

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        return {"loss": 1.0}

    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        return HeldOutPredictions(self.labels, self._guess(model.state_dict()))


@pytest.mark.long
def test_an_evaluator_measures_a_round_that_waits_already_and_those_that_come(here: Running) -> None:
    here.api.start_run(2, 2, here.world.coordinator, here.domain)
    probing(here, 1)
    stranger = Evaluator(Tiny(), here.api, here.world["ada"], carried.files)
    line = next(stranger.run())
    assert line["round"] == 1
    assert "the evaluator of this federation is" in line["error"]
    told = Evaluator(Tiny(), here.api, here.world[EVALUATOR], carried.files).run()
    first = next(told)
    assert (first["round"], first["fell"], first["before"]) == (1, False, 1.0)
    assert 0.9 < first["after"] < 1, "the noise of the training is seen"
    _, header, state = open_round(here.api, 2)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state, scale=2.0, noise_of="ada")  # so that it adds up
        here.api.submit_update(2, signed.wire, signed.data)
    second = next(told)
    assert (second["round"], second["fell"], second["before"]) == (2, True, first["after"])
    until(lambda: view(here, 2)["step"] == "withheld", what="that it is withheld")


def test_a_canary_of_a_private_federation_needs_a_word_on_both_sides(anvil: Anvil, tmp_path: Path) -> None:
    private = replace(MANIFEST, training={"privacy": GOOD, "learning_rate": 1.0})
    start = Genesis.of(private, first_state(), EXPONENTS), private, first_state()
    world = federation(anvil, start)
    settings = make_home(tmp_path / "home", world, start, canary=True)
    with pytest.raises(
        InputError, match="publishes exact counts of the held-out records in each round"
    ) as no:
        open_coordinator(settings, open_account(settings))
    assert no.value.code == "records-not-public"
    open_settings = settings.model_copy(update={"canary_public_records": True})
    with closing(world.chain), serving(open_settings, world) as here:
        with pytest.raises(InputError, match="--public-records") as no:
            Evaluator(Tiny(), here.api, here.world[EVALUATOR], carried.files)
        assert no.value.code == "records-not-public"
        Evaluator(Tiny(), here.api, here.world[EVALUATOR], carried.files, public_records=True)


def test_an_evaluator_needs_the_task_of_the_federation_and_an_accuracy(here: Running) -> None:
    other, dull = Tiny(), Tiny()
    other.name = "other"
    with pytest.raises(TaskError, match="trains 'tests', not 'other'"):
        Evaluator(other, here.api, here.world[EVALUATOR], carried.files)
    dull.examine = None
    dull.evaluate = lambda model: {"error": 1.0}
    here.api.start_run(1, 2, here.world.coordinator, here.domain)
    probing(here, 1)
    assert (
        "measures neither an accuracy nor a loss"
        in next(Evaluator(dull, here.api, here.world[EVALUATOR], carried.files).run())["error"]
    )


@pytest.mark.long
def test_killed_while_it_waits_for_the_canary_it_goes_on_waiting(anvil: Anvil, tmp_path: Path) -> None:
    world = federation(anvil)
    home = tmp_path / "home"
    make_home(home, world, canary=True, canary_evaluator=factories.account(EVALUATOR).address)
    process = Process(home, free_port())
    api = CoordinatorApi(process.url)
    domain = Domain(world.deployment.chain_id, world.deployment.ledger)

    def healthy() -> bool:
        try:
            return api.health()["status"] == "ok"
        except CoordinatorError:
            return False

    def step() -> str:
        return str(api.get("/v1/rounds/1")["step"])

    process.start()
    try:
        until(healthy, what="the start")
        api.start_run(1, 2, world.coordinator, domain)
        _, header, state = open_round(api, 1)
        for name in ("ada", "ben"):
            signed = train(world, name, header, state)
            api.submit_update(1, signed.wire, signed.data)
        until(lambda: step() == "probing", what="the outcome")
        process.kill()
        process.start()
        until(healthy, what="the restart")
        assert step() == "probing"
        send(api, report(api.get("/v1/rounds/1"), 0.9, 0.9), domain)
        until(lambda: step() not in ("probing", "anchoring"), what="the anchor")
        assert api.get("/v1/rounds/1")["canary"]["verdict"] == "passed"
    finally:
        process.kill()
        api.close()
        world.chain.close()


class Numbers(Tiny):
    """A regression on the tiny model: the targets are what the first model says, and noise."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = np.arange(len(self.inputs)) % 2
        whole = first_state().model(MANIFEST, carried.files)
        first = {key: torch.from_numpy(array) for key, array in whole.items()}
        noise = np.random.default_rng(6).normal(scale=0.3, size=len(self.inputs)).astype(np.float32)
        self.targets = self._predict(first) + torch.from_numpy(noise)

    def _predict(self, weights: Any) -> torch.Tensor:
        return (self.inputs @ weights["weight"] + weights["bias"])[:, 0]

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        return {}

    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        found = self._predict(model.state_dict())
        return HeldOutPredictions(targets=self.targets, predictions=found, groups=self.groups)


@pytest.mark.long
def test_a_regression_passes_with_honest_noise_and_is_withheld_with_an_attackers_update(
    here: Running,
) -> None:
    here.api.start_run(2, 2, here.world.coordinator, here.domain)
    probing(here, 1)
    told = Evaluator(Numbers(), here.api, here.world[EVALUATOR], carried.files).run()
    first = next(told)
    assert (first["round"], first["fell"], first["by"]) == (1, False, "loss")
    assert first["before"] < first["after"] < 1.25 * first["before"], "the noise of the training is seen"
    _, header, state = open_round(here.api, 2)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state, scale=2.0, noise_of="ada")  # so that it adds up
        here.api.submit_update(2, signed.wire, signed.data)
    second = next(told)
    assert (second["round"], second["fell"], second["before"]) == (2, True, first["after"])
    until(lambda: view(here, 2)["step"] == "withheld", what="that it is withheld")
    said = view(here, 2)["canary"]["findings"]
    assert said[0].startswith("The mean loss went from ")
    assert said[1].startswith("The mean loss of group 0 went from ")


def test_the_settings_say_how_far_a_loss_may_rise(world: factories.Federation, tmp_path: Path) -> None:
    evaluator = factories.account(EVALUATOR).address
    limits = {"loss_rise": 5.0, "group_loss_rise": 0.1}
    with running(
        tmp_path / "home", world, canary=True, canary_evaluator=evaluator, canary_limits=limits
    ) as here:
        here.api.start_run(1, 2, here.world.coordinator, here.domain)
        found = probing(here, 1)
        before, after = (
            measure({}, losses=[1.0] * 30 + [other] * 30, groups=["a"] * 30 + ["b"] * 30)
            for other in (1.0, 3.0)
        )
        told = send(here.api, report(found, 0, 0, base=before, candidate=after), here.domain)
        assert told["fell"]
        assert view(here, 1)["canary"]["findings"] == [
            "The mean loss of group b went from 1 to 3; a rise of 10% is allowed."
        ]
