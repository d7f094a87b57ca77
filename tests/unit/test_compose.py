# SPDX-License-Identifier: Apache-2.0
"""What the compose file promises of every service: no root, nothing to write but its volumes, no secret in sight."""

from __future__ import annotations

import copy
import hashlib
import os
import re
import shlex
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.api.limits import CONNECTIONS_PER_CLIENT, PATIENCE
from tests.compose import attack, probe

ROOT = Path(__file__).resolve().parents[2]
FILE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
CONTRIBUTORS = tuple(f"contributor-{number}" for number in (1, 2, 3))
SIGNERS = tuple(f"signer-{number}" for number in (1, 2, 3))


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
    assert 0 < service["pids_limit"] <= 2048
    more = {"cap_add", "privileged", "devices", "pid", "ipc", "userns_mode", "network_mode"} & set(service)
    assert not more or (more == {"network_mode"} and service["network_mode"] == "none")
    assert all("size=" in place for place in service.get("tmpfs", [])), "takes all memory"
    for volume in service.get("volumes", []):
        source, _, target = volume.partition(":")
        assert re.fullmatch(r"[a-z0-9-]+", source) or (
            source.startswith("./deploy/") and target.endswith(":ro")
        )
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
    files = re.findall(
        r"/(?:secrets/[\w-]+|node|signer|socket|federation|public|admitted)(?=/|$|\s)", " ".join(said)
    )
    files += [
        match[0]
        for value in service.get("environment", {}).values()
        if (match := re.match(r"/secrets/[\w-]+", str(value)))
    ]
    assert set(files) <= mounted


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def volumes(name: str) -> dict[str, str]:
    """Return what a service mounts: by source the target, with `:ro` at its end if it may only read."""
    return dict(volume.split(":", 1) for volume in SERVICES[name].get("volumes", []))


def test_a_service_is_in_no_network_but_those_that_it_needs() -> None:
    expected = {
        "storage": {"database", "s3", "bucket", "setup", "coordinator"},
        "inside": {"chain", "setup", "coordinator", "superlink", "admission", "gateway", "train"},
        "outside": {"chain", "gateway", "audit", *SIGNERS, *CONTRIBUTORS},
        "published": {"coordinator", "gateway"},
        "endpoint": {"coordinator", "train"},
        "monitoring": {"coordinator", "prometheus", "grafana"},
    }
    found = {
        network: {name for name in SERVICES if network in networks(name)} for network in FILE["networks"]
    }
    assert found == expected
    for name in ("secrets", "grafana-password"):
        assert SERVICES[name]["network_mode"] == "none"
    assert all(
        SERVICES[name].get("ports") is None or networks(name) & {"published", "monitoring"}
        for name in SERVICES
    )


def test_no_network_has_a_way_out_unless_the_chain_is_elsewhere() -> None:
    for name, how in FILE["networks"].items():
        if name in ("published", "monitoring"):  # Docker publishes no port of an internal network.
            assert how == {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}
        elif name in ("outside", "endpoint"):
            assert how == {"internal": "${OFFLINE:-true}"}
        else:
            assert how == {"internal": True}


def test_contributors_see_no_more_than_another_machine_would() -> None:
    for name in (*SIGNERS, *CONTRIBUTORS):
        assert networks(name) == {"outside"}
        assert "--insecure" not in words(SERVICES[name]["command"])
    for name in CONTRIBUTORS:
        assert "--node-key" in words(SERVICES[name]["command"])
    gateway = (ROOT / "deploy" / "compose" / "gateway.conf").read_text()
    assert f"limit_conn clients {CONNECTIONS_PER_CLIENT};" in gateway, (
        "the coordinator counts none behind a proxy"
    )
    assert f"client_header_timeout {PATIENCE:.0f}s;" in gateway
    assert re.findall(r"location (\S+) \{ proxy_pass \$superlink", gateway) == ["/v1/fleet/"]


def test_a_contributors_key_is_with_its_signer_alone_and_no_code_of_the_coordinator_is_there() -> None:
    for number in (1, 2, 3):
        key, link, node = f"signer-{number}", f"socket-{number}", f"node-{number}"
        having = {name for name in SERVICES if key in volumes(name)}
        assert having == {"setup", f"signer-{number}"}
        assert volumes("setup")[key] == f"/handed-out/contributor-{number}"
        assert volumes(f"signer-{number}")[link] == "/socket"
        assert volumes(f"contributor-{number}")[link] == "/socket:ro"
        assert {name for name in SERVICES if link in volumes(name)} == {key, f"contributor-{number}"}
        assert {name for name in SERVICES if node in volumes(name)} == {"secrets", f"contributor-{number}"}
        told = words(SERVICES[f"contributor-{number}"]["command"])
        assert told[told.index("--signer") + 1] == "/socket/signer.sock"
        assert not {"--keystore", "--password-file", "--without-sandbox"} & set(told)
        told = words(SERVICES[key]["command"])
        for option in ("--keystore", "--password-file", "--record"):
            assert told[told.index(option) + 1].startswith("/signer/")


def test_the_audit_has_no_key_and_the_coordinators_are_where_it_is_needed() -> None:
    assert volumes("audit") == {"public": "/public:ro", "trust": "/secrets/trust:ro"}
    assert {name for name in SERVICES if "federation" in volumes(name)} == {"setup", "coordinator", "train"}
    readers = {
        "database-secret": {"secrets", "database", "setup", "coordinator"},
        "s3-secret": {"secrets", "s3", "bucket", "setup", "coordinator"},
        "grafana-secret": {"secrets", "grafana", "grafana-password"},
        "tls": {"secrets", "superlink", "gateway"},
    }
    for secret, expected in readers.items():
        assert {name for name in SERVICES if secret in volumes(name)} == expected
        for name in expected - {"secrets"}:
            assert volumes(name)[secret].endswith(":ro"), f"{name} may write {secret}"


def test_the_attack_expects_what_the_file_says() -> None:
    for volume, holders in attack.HOLDERS.items():
        mounted = {name for name in SERVICES if volume in volumes(name) and not once(SERVICES[name])}
        assert holders == mounted, volume
    assert set(attack.REACH) == {name for name in SERVICES if not once(SERVICES[name])}
    for name, others in attack.REACH.items():
        joined = {
            other
            for other in attack.PORTS
            if other != name and not other.startswith("contributor-") and networks(other) & networks(name)
        }
        assert set(others) == joined, name


CONTAINER: dict[str, Any] = {
    "Config": {
        "User": "10001:10001",
        "Env": ["PGPASSFILE=/secrets/pgpass"],
        "Cmd": ["serve"],
        "Entrypoint": None,
    },
    "HostConfig": {
        "Privileged": False,
        "CapAdd": None,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "PidMode": "",
        "IpcMode": "private",
        "NetworkMode": "folkmoot_inside",
        "Devices": None,
        "PidsLimit": 2048,
    },
    "Mounts": [{"Type": "bind", "Source": "/srv/folkmoot/deploy/compose", "RW": False}],
}
SECRET_DIGESTS = {hashlib.sha256(b"hunter2").hexdigest(): (7, "signer-1/password", {"signer-1"})}


@pytest.mark.parametrize(
    ("part", "name", "value", "fault"),
    [
        ("Config", "User", "0:10001", "runs as root"),
        ("Config", "User", "", "runs as root"),
        ("Config", "Env", ["PASSWORD=hunter2"], "shows a secret"),
        ("Config", "Cmd", ["--password", "hunter2"], "shows a secret"),
        ("HostConfig", "CapDrop", [], "is privileged"),
        ("HostConfig", "CapAdd", ["SYS_ADMIN"], "is privileged"),
        ("HostConfig", "SecurityOpt", None, "can gain rights"),
        ("HostConfig", "ReadonlyRootfs", False, "has a root file system that it may write"),
        ("HostConfig", "PidMode", "host", "shares a namespace"),
        ("HostConfig", "PidsLimit", 0, "may start any number"),
        ("Mounts", 0, {"Type": "bind", "Source": "/run/docker.sock", "RW": False}, "sees the machine's"),
        ("Mounts", 0, {"Type": "bind", "Source": "/srv/deploy/compose", "RW": True}, "may write"),
    ],
)
def test_the_attack_finds_bad_settings(part: str, name: str | int, value: object, fault: str) -> None:
    assert attack.faults_of_settings("it", CONTAINER, SECRET_DIGESTS) == []
    changed = copy.deepcopy(CONTAINER)
    changed[part][name] = value
    (found,) = attack.faults_of_settings("it", changed, SECRET_DIGESTS)
    assert fault in found


@pytest.mark.parametrize(
    ("what", "value", "fault"),
    [
        ("files", dict.fromkeys(SECRET_DIGESTS, "/signer/password"), "read signer-1/password at /signer"),
        ("words", dict.fromkeys(SECRET_DIGESTS, "1/environ"), "read signer-1/password at 1/environ"),
        ("ends", [["172.18.0.2", 5432]], "connected to database at 172.18.0.2:5432"),
        ("paths", ["GET 8443/metrics: 200"], "got an answer through the gateway"),
        ("rights", ["become root"], "could become root"),
        ("written", ["/etc"], "wrote in /etc"),
    ],
)
def test_the_attack_counts_what_worked(what: str, value: object, fault: str) -> None:
    ends = {("172.18.0.2", 5432): "database", ("172.18.0.3", 8545): "chain"}
    harmless = {
        "files": {},
        "words": {},
        "ends": [["172.18.0.3", 8545]],
        "paths": [],
        "rights": [],
        "written": ["/node/x"],
    }

    def faults(name: str, got: dict[str, Any]) -> list[str]:
        return attack.faults_of_probe(name, got, ends, SECRET_DIGESTS, {"/node"}, ("chain",))

    assert faults("contributor-1", harmless) == []
    (found,) = faults("contributor-1", {**harmless, what: value})
    assert fault in found
    assert faults("signer-1", {**harmless, "files": dict.fromkeys(SECRET_DIGESTS, "/signer/password")}) == []


def test_the_probe_finds_what_there_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ends = [("127.0.0.1", one.getsockname()[1]) for one in (server, closed)]
        assert probe.reached_ends(ends) == ends[:1]
    child = subprocess.Popen(["sleep", "60"], env={"TOKEN": "hunter2", "PATH": os.environ["PATH"]})
    try:
        while not Path(
            f"/proc/{child.pid}/environ"
        ).read_bytes():  # It is empty while the program is being loaded.
            time.sleep(0.01)
        assert set(SECRET_DIGESTS) <= set(probe.found_words())
    finally:
        child.kill()
        child.wait()


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
        expected = {
            "contributor": "node",
            "audit": "watcher",
            "signer": "node",
            "chain": "trial",
            "setup": "trial",
        }
        assert target == expected.get(role, "coordinator"), name
