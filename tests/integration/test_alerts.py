# SPDX-License-Identifier: Apache-2.0
"""The alert rules ask for numbers that a real coordinator and a watcher export, and each says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from folkmoot.fraud.metrics import Metrics as WatcherMetrics
from folkmoot.local.anvil import Anvil
from server.observing.gauges import GAUGES
from tests.integration.coordinator_world import federation, running, until

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
OPERATORS = ROOT / "docs" / "operators.md"

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

        texts = [until(looked, what="a look at everything"), WatcherMetrics().text()]
    world.chain.close()
    anvil_process.revert(snapshot)
    families = [family for text in texts for family in text_string_to_metric_families(text)]
    samples = [(sample.name, sample.labels) for family in families for sample in family.samples]
    # Whatever the watcher will ever export is in its text as a TYPE line, whether there is a number yet or not.
    typed = set(re.findall(r"^# TYPE (\S+)", texts[1], re.MULTILINE))
    return {name for name, _ in samples} | typed, samples


def selectors(rule: dict[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Metrics that an expression names, each with its matchers: label, operator, value."""
    found = re.findall(r"\b(folkmoot_\w+|up)\b(?:\{([^}]*)\})?", rule["expr"])
    return [(name, re.findall(r'(\w+)(=~?)"([^"]*)"', inside)) for name, inside in found]


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


def test_every_alert_says_what_to_do_under_a_heading_of_its_own(rules: list[dict[str, Any]]) -> None:
    headings = {
        heading.strip().lower()
        for heading in re.findall(r"^#{2,4} (Folkmoot\w+)$", OPERATORS.read_text(), re.MULTILINE)
    }
    pointed = set()
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (ROOT / page) == OPERATORS
        pointed.add(anchor)
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
    assert pointed == headings


def test_the_jobs_of_the_alerts_are_those_of_the_configuration(rules: list[dict[str, Any]]) -> None:
    found = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    jobs = [job["job_name"] for job in found["scrape_configs"]]
    ((_, [(_, _, pattern)]),) = (each for rule in rules for each in selectors(rule) if each[0] == "up")
    assert jobs
    assert all(re.fullmatch(pattern, job) for job in jobs)
    assert found["rule_files"] == ["alerts.yml"]
