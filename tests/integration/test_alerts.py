# SPDX-License-Identifier: Apache-2.0
"""Alert rules and dashboard ask for numbers that are really exported, and each alert says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from folkmoot.devnet.anvil import Anvil
from folkmoot.fraud.watcher.metrics import Metrics as WatcherMetrics
from server.api.gauges import GAUGES
from tests.integration.coordinator_world import federation, running, until

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
COMPOSE = ROOT / "deploy" / "compose" / "prometheus.yml"
ALARMS = ROOT / "docs" / "alarms.md"

PROMETHEUS_OWN = {"up", "ALERTS"}
"""Metrics that Prometheus makes itself."""

Samples = list[tuple[str, dict[str, str]]]


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def exported(anvil_process: Anvil, tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], Samples]:
    """All that a coordinator and a watcher name, and the samples that are there before anything happened."""
    snapshot = anvil_process.snapshot()
    world = federation(anvil_process)
    with running(tmp_path_factory.mktemp("alerts") / "home", world) as here:

        def looked() -> str | None:
            text = here.api._client().get("/metrics").text
            there = "\nfolkmoot_account_rounds " in text and "\nfolkmoot_http_requests_total{" in text
            return text if there else None

        texts = [
            until(looked, what="a look at everything"),
            generate_latest(WatcherMetrics().registry).decode(),
        ]
    world.chain.close()
    anvil_process.revert(snapshot)
    families = [family for text in texts for family in text_string_to_metric_families(text)]
    samples = [(sample.name, sample.labels) for family in families for sample in family.samples]
    # Whatever the watcher will ever export is in its text as a TYPE line, whether there is a number yet or not.
    typed = set(re.findall(r"^# TYPE (\S+)", texts[1], re.MULTILINE))
    return {name for name, _ in samples} | typed, samples


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    (board,) = (MONITORING / "dashboards").glob("*.json")
    found = json.loads(board.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def selectors(rule: dict[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Metrics that an expression names, each with its matchers: label, operator, value."""
    found = re.findall(r"\b(folkmoot_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", rule["expr"])
    return [(name, re.findall(r'(\w+)([=!]~?)"([^"]*)"', inside)) for name, inside in found]


def test_every_number_of_an_alert_is_exported_with_the_labels_that_it_asks_for(
    rules: list[dict[str, Any]], exported: tuple[set[str], Samples]
) -> None:
    names, samples = exported
    # There only while a demand is open, or with several endpoints; `Numbers.set` takes no name that is not in the list.
    seldom = {"up", "folkmoot_demand_remaining_seconds", "folkmoot_rpc_disagreements", "folkmoot_rpc_up"}
    names = names | (seldom & {"up", *GAUGES})
    asked = {name for rule in rules for name, _ in selectors(rule)}
    assert len(asked) > 15, "the expressions were not understood"
    assert asked <= names
    for rule in rules:
        for name, matchers in selectors(rule):
            for label, operator, value in matchers:
                if name == "up" or (label, value) == (
                    "status",
                    "5..",
                ):  # Prometheus's own; no error happened here
                    continue
                wanted = value.split("|") if operator == "=~" else [value]
                have = {labels.get(label) for of, labels in samples if of == name}
                assert set(wanted) <= have, (rule["alert"], name, label)


def test_every_number_of_the_dashboard_is_exported_with_the_labels_that_it_asks_for(
    panels: list[dict[str, Any]], exported: tuple[set[str], Samples]
) -> None:
    names, samples = exported
    labels_of: dict[str, set[str]] = {}
    for name, labels in samples:
        labels_of.setdefault(name, set()).update(labels)
    asked = set()
    for panel in panels:
        for target in panel["targets"]:
            for name, matchers in selectors(target):
                asked.add(name)
                if name in PROMETHEUS_OWN:
                    continue
                assert name in names, (panel["title"], name)
                by = [
                    word
                    for group in re.findall(r"by \(([^)]*)\)", target["expr"])
                    for word in group.split(", ")
                ]
                wanted = {label for label, _, _ in matchers} | set(by)
                wanted |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                # There is a number for each endpoint only if there are several, and for each state once there is one.
                if name in labels_of:
                    assert wanted <= labels_of[name], (panel["title"], wanted - labels_of[name])
    assert len(asked) > 25, "the expressions were not understood"


def test_the_dashboard_is_what_grafana_is_told_to_load(panels: list[dict[str, Any]]) -> None:
    source = yaml.safe_load((MONITORING / "grafana" / "datasources" / "prometheus.yml").read_text())
    (uid,) = (each["uid"] for each in source["datasources"])
    assert {target["datasource"]["uid"] for panel in panels for target in panel["targets"]} == {uid}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in compose["volumes"])
    providers = yaml.safe_load((MONITORING / "grafana" / "dashboards" / "folkmoot.yml").read_text())
    assert mounted["./deploy/monitoring/dashboards"] == providers["providers"][0]["options"]["path"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels)
    assert all(panel["description"] for panel in panels)


def test_every_alert_says_what_to_do_under_a_heading_of_its_own(rules: list[dict[str, Any]]) -> None:
    headings = {
        heading.strip().lower()
        for heading in re.findall(r"^#{2,4} (Folkmoot\w+)$", ALARMS.read_text(), re.MULTILINE)
    }
    pointed = set()
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (ROOT / page) == ALARMS
        pointed.add(anchor)
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
    assert pointed == headings


def test_the_jobs_of_the_alerts_are_those_of_the_configuration(rules: list[dict[str, Any]]) -> None:
    files = [yaml.safe_load(path.read_text()) for path in (MONITORING / "prometheus.yml", COMPOSE)]
    jobs = [job["job_name"] for found in files for job in found["scrape_configs"]]
    ((_, [(_, _, pattern)]),) = (each for rule in rules for each in selectors(rule) if each[0] == "up")
    assert jobs
    assert all(re.fullmatch(pattern, job) for job in jobs)
    assert all(found["rule_files"] == ["alerts.yml"] for found in files)
