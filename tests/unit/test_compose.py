# SPDX-License-Identifier: Apache-2.0
"""What the compose file promises of every service: no root, nothing to write but its volumes, no secret in sight."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]


def once(service: dict[str, Any]) -> bool:
    return bool(service["restart"] == "no")


def words(value: str | list[str]) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else value


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "network_mode"} & set(service) or service["network_mode"] == "none"
    user, _ = service["user"].split(":")
    assert int(user) > 0
    for port in service.get("ports", []):
        assert port.startswith(("127.0.0.1:", "${PUBLISH:-127.0.0.1}:")), "open to the network"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert once(service) or (service["restart"] == "unless-stopped" and service["healthcheck"]["test"])
    image, _, tag = service["image"].rpartition(":")
    assert image
    assert tag != "latest"
    for other, how in service.get("depends_on", {}).items():
        ended = how["condition"] == "service_completed_successfully"
        assert ended == once(SERVICES[other]), f"{name} waits for {other} in vain"


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_files_in_the_volumes_of_those_who_need_them(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASS|SECRET|KEY|CREDENTIALS|TOKEN", variable):
            assert str(value).startswith("/secrets/"), variable
        assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value)), f"{variable} has a password"
    said = [*words(service.get("entrypoint", [])), *words(service.get("command", []))]
    mounted = {volume.split(":")[1] for volume in service.get("volumes", [])}
    files = re.findall(r"/(?:secrets/[\w-]+|node|federation|public|admitted)(?=/|$|\s)", " ".join(said))
    files += [
        match[0]
        for value in service.get("environment", {}).values()
        if (match := re.match(r"/secrets/[\w-]+", str(value)))
    ]
    assert set(files) <= mounted


def test_contributors_see_no_more_than_another_machine_would() -> None:
    inside = {name for name, service in SERVICES.items() if service["networks"] == ["inside"]}
    assert {"database", "s3", "coordinator", "superlink"} <= inside
    for name, service in SERVICES.items():
        if name.startswith("contributor-"):
            assert service["networks"] == ["outside"]
            assert "--node-key" in words(service["command"])
            assert "--insecure" not in words(service["command"])
    gateway = (ROOT / "deploy" / "compose" / "gateway.conf").read_text()
    assert re.findall(r"location (\S+) \{ proxy_pass \$superlink", gateway) == ["/v1/fleet/"]


def test_a_contributor_has_its_own_key_and_nobody_elses_and_the_audit_has_none() -> None:
    writing = {
        volume.partition(":")[0] for volume in SERVICES["setup"]["volumes"] if not volume.endswith(":ro")
    }
    with_keys = {name for name in writing if name != "public"}
    assert {f"node-{number}" for number in (1, 2, 3)} | {"federation"} == with_keys
    mounted = {
        name: {volume.partition(":")[0] for volume in service.get("volumes", [])}
        for name, service in SERVICES.items()
    }
    for number in (1, 2, 3):
        name = f"contributor-{number}"
        assert mounted[name] & with_keys == {f"node-{number}"}
        told = words(SERVICES[name]["command"])
        for option in ("--keystore", "--password-file", "--node-key", "--home"):
            assert told[told.index(option) + 1].startswith("/node/")
        assert f"node-{number}:/handed-out/{name}" in SERVICES["setup"]["volumes"]
        assert SERVICES[name]["environment"]["FOLKMOOT_DEPLOYMENT"] == "/node/deployment.json"
    assert not mounted["audit"] & with_keys
    assert SERVICES["audit"]["environment"]["FOLKMOOT_DEPLOYMENT"] == "/public/deployment.json"
    others = {name for name, volumes in mounted.items() if "federation" in volumes}
    assert others == {"setup", "coordinator", "train"}


def test_every_volume_is_used_and_every_file_that_is_mounted_is_there() -> None:
    mounts = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    named = {source for source, *_ in mounts if not source.startswith(".")}
    assert named == set(FILE["volumes"])
    for source, *_ in mounts:
        if source.startswith("."):
            assert (ROOT / source).exists(), source


def test_only_the_service_that_signs_has_the_authoritys_key() -> None:
    having = [
        name
        for name, service in SERVICES.items()
        if any(volume.startswith("authority:") for volume in service.get("volumes", []))
    ]
    assert having == ["secrets"]


def test_every_service_has_the_image_of_its_role() -> None:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for name, service in SERVICES.items():
        if "build" not in service:
            continue
        target = service["build"]["target"]
        assert target in targets
        assert service["image"] == f"folkmoot-{target}:local"
        role = name.partition("-")[0]
        expected = {"contributor": "node", "audit": "watcher", "chain": "trial", "setup": "trial"}
        assert target == expected.get(role, "coordinator"), name
