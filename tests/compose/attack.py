# SPDX-License-Identifier: Apache-2.0
"""Attack the running stack of the compose file from inside each of its containers: `make attack-compose`.

In each container, and in the sandbox of the training code, it looks for the secrets of all others by their content,
connects to all that listens, tries to become root, to leave the container, and to write. It prints what worked and must
not, and ends with status 1 if there is anything. It changes nothing in the stack. It needs Docker, and the stack of
`docker compose up --build --detach --wait` in this folder.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROBE = (Path(__file__).parent / "probe.py").read_text()
HELPER = "folkmoot-node:local"
"""Image with Python, for the containers that have none."""

NODES = ("1", "2", "3")

HOLDERS: dict[str, set[str]] = {
    "database-secret": {"database", "coordinator"},
    "s3-secret": {"s3", "coordinator"},
    "grafana-secret": {"grafana"},
    "authority": set(),
    "tls": {"superlink", "gateway"},
    "federation": {"coordinator"},
    **{f"signer-{number}": {f"signer-{number}"} for number in NODES},
    **{f"node-{number}": {f"contributor-{number}"} for number in NODES},
}
"""Services that run all the time and may have the secrets of a volume."""

SECRETS = {"federation": ("keys/", "password"), **{f"node-{number}": ("node.key",) for number in NODES}}
"""Beginnings of the paths of a volume's secrets, where not all of its files are secret."""

PUBLIC = ("public", "trust", "admitted")
"""Volumes whose files are no secrets."""

LARGEST = 1 << 16
"""Size in bytes of the largest secret."""

PORTS = {
    "database": (5432,),
    "s3": (7070,),
    "coordinator": (8800,),
    "superlink": (8000,),
    "chain": (8545,),
    "gateway": (8080, 8443, 9443),
    "prometheus": (9090,),
    "grafana": (3000,),
    **{f"contributor-{number}": (9094,) for number in NODES},
}
"""Ports that services listen on."""

OUTSIDERS = ("gateway", "chain")
REACH: dict[str, tuple[str, ...]] = {
    "database": ("s3", "coordinator"),
    "s3": ("database", "coordinator"),
    "coordinator": ("database", "s3", "superlink", "chain", "gateway", "prometheus", "grafana"),
    "superlink": ("coordinator", *OUTSIDERS),
    "chain": ("coordinator", "superlink", "gateway"),
    "gateway": ("coordinator", "superlink", "chain"),
    "prometheus": ("coordinator", "grafana"),
    "grafana": ("coordinator", "prometheus"),
    **{f"{role}-{number}": OUTSIDERS for role in ("signer", "contributor") for number in NODES},
}
"""Services that each service may connect to."""

ELSEWHERE = (("169.254.169.254", 80), ("1.1.1.1", 443))
"""A cloud's metadata service, and the internet."""

HOST_PORTS = (22, 2375, 2376, 3000, 5432, 8443, 8545, 8800, 9090, 9443)
"""Ports of the machine that runs Docker: its own services, and those that the compose file publishes."""

GATEWAY_PATHS = (
    *(
        (8443, "GET", path)
        for path in ("/metrics", "//metrics", "/metrics/", "/%6detrics", "/v1/../metrics", "/./metrics")
    ),
    *((8443, "GET", path) for path in ("/metrics%2f", "/metrics;x", "/METRICS", "/metrics%00")),
    *((9443, "POST", path) for path in ("/", "/v1/control/list-runs", "/v1/runtime/push-messages")),
    *((9443, "POST", path) for path in ("//v1/control/list-runs", "/v1/fleet/../control/list-runs")),
    (9443, "POST", "/v1/fleet/%2e%2e/control/list-runs"),
)
"""Requests that the gateway must not pass on."""

SCRATCH = "/tmp/folkmoot-sandbox-"
"""Beginning of the temporary folder of training code."""

SANDBOXED = """
import json, os, sys
from pathlib import Path
from client.node.access import training_environment
from folkmoot.sandbox.process import Sandboxed
from folkmoot.sandbox.rules import Rules
lines = (path.read_bytes().split(b"\\0") for path in Path("/proc").glob("[0-9]*/cmdline"))
(words,) = (words for words in lines if b"client.node.supernode" in words)
rules = Rules.from_json(words[words.index(b"--sandbox") + 1].decode())
command = [sys.executable, "-I", "-c", sys.argv[1], sys.argv[2]]
with Sandboxed(command, rules, training_environment(os.environ)) as program:
    program.wait(120)
    print(program.output.splitlines()[-1])
"""
"""Runs the probe as training code: with the rules of the node that runs in the container."""


class Stack:
    """The containers of the compose file in this folder."""

    def __init__(self) -> None:
        self.project = json.loads(self.docker("compose", "config", "--format", "json"))["name"]
        # Without those of `docker compose run`, which end by themselves.
        labels = (f"project={self.project}", "oneoff=False")
        words = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
        listed = self.docker("ps", "--all", "--quiet", *words)
        found = json.loads(self.docker("inspect", *listed.split())) if listed.strip() else []
        self.containers = {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}
        self.running = {name: one for name, one in self.containers.items() if one["State"]["Running"]}
        self.gateways = set()
        for one in self.running.values():
            for network in one["NetworkSettings"]["Networks"]:
                (facts,) = json.loads(self.docker("network", "inspect", network))
                self.gateways |= {part["Gateway"] for part in facts["IPAM"]["Config"] if "Gateway" in part}

    @staticmethod
    def docker(*words: str) -> str:
        """Run a command of Docker; return what it prints."""
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"docker {words[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def secrets(self) -> dict[str, tuple[int, str, set[str]]]:
        """Return all secrets: by SHA-256 their size, a name, and the services that may have them."""
        code = (
            "import hashlib, json, pathlib; r = pathlib.Path('/v'); print(json.dumps(["
            "[str(p.relative_to(r)), len(b), hashlib.sha256(b).hexdigest(), hashlib.sha256(b.strip()).hexdigest()] "
            f"for p in r.rglob('*') if p.is_file() and p.stat().st_size <= {LARGEST} and (b := p.read_bytes())]))"
        )
        found: dict[str, tuple[int, str, set[str]]] = {}
        known: set[str] = set()
        for volume in (*PUBLIC, *HOLDERS):
            mount = f"{self.project}_{volume}:/v:ro"
            words = ["--network", "none", "--volume", mount, "--entrypoint", "python3", HELPER, "-c", code]
            for path, size, whole, text in json.loads(self.docker("run", "--rm", *words)):
                if volume in PUBLIC:
                    known |= {whole, text}
                elif path.startswith(SECRETS.get(volume, ("",))) and path != "server.pem":
                    for digest in {whole, text} - known:
                        _, _, holders = found.get(digest, (0, "", set()))
                        found[digest] = (size, f"{volume}/{path}", holders | HOLDERS[volume])
        return found

    def probe(self, service: str, given: dict[str, Any], *, sandboxed: bool = False) -> dict[str, Any]:
        """Run the probe in a container, or beside it with the same network, volumes and user if it has no Python."""
        one, document = self.running[service], json.dumps(given)
        if sandboxed:
            return dict(
                json.loads(self.docker("exec", one["Id"], "python3", "-c", SANDBOXED, PROBE, document))
            )
        if one["Config"]["Image"].startswith("folkmoot-"):
            return dict(json.loads(self.docker("exec", one["Id"], "python3", "-c", PROBE, document)))
        groups = [word for group in one["HostConfig"]["GroupAdd"] or [] for word in ("--group-add", group)]
        beside = f"container:{one['Id']}"
        same = [
            "--network",
            beside,
            "--pid",
            beside,
            "--volumes-from",
            one["Id"],
            "--user",
            one["Config"]["User"],
        ]
        closed = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--read-only"]
        command = [*same, *groups, *closed, "--entrypoint", "python3", HELPER, "-c", PROBE, document]
        return dict(json.loads(self.docker("run", "--rm", *command)))

    def ends(self, service: str) -> dict[tuple[str, int], str]:
        """Return what a service can try to connect to, with its name."""
        found = {
            (network["IPAddress"], port): other
            for other, one in self.running.items()
            if other != service
            for network in one["NetworkSettings"]["Networks"].values()
            for port in PORTS.get(other, ())
            if network["IPAddress"]
        }
        found |= {
            (address, port): "the machine that runs Docker"
            for address in self.gateways
            for port in HOST_PORTS
        }
        return found | dict.fromkeys(ELSEWHERE, "elsewhere")


def faults_of_settings(name: str, container: dict[str, Any], secrets: dict[str, Any]) -> list[str]:
    """Return what is wrong with the settings that the engine gave a container."""
    host, config = container["HostConfig"], container["Config"]
    wrong = {
        "runs as root": config["User"].partition(":")[0] in ("", "0", "root"),
        "is privileged": host["Privileged"] or bool(host["CapAdd"]) or host["CapDrop"] != ["ALL"],
        "can gain rights": "no-new-privileges:true" not in (host["SecurityOpt"] or []),
        "has a root file system that it may write": not host["ReadonlyRootfs"],
        "shares a namespace with the machine": "host"
        in (host["PidMode"], host["IpcMode"], host["NetworkMode"]),
        "has devices": bool(host["Devices"]),
        "may start any number of processes": not 0 < (host["PidsLimit"] or 0) <= 2048,
    }
    for mount in container["Mounts"]:
        if mount["Type"] == "bind":
            wrong[f"may write {mount['Source']}"] = mount["RW"]
            wrong[f"sees the machine's {mount['Source']}"] = "/deploy/" not in mount["Source"]
    said = [*config["Env"], *(config["Cmd"] or []), *(config["Entrypoint"] or [])]
    parts = [part for word in said for part in (word, word.partition("=")[2])]
    wrong["shows a secret to `docker inspect`"] = any(
        hashlib.sha256(part.encode()).hexdigest() in secrets for part in parts
    )
    return [f"{name} {what}" for what, is_wrong in wrong.items() if is_wrong]


def faults_of_probe(
    name: str,
    got: dict[str, Any],
    ends: dict[tuple[str, int], str],
    secrets: dict[str, tuple[int, str, set[str]]],
    written: set[str],
    reach: tuple[str, ...],
) -> list[str]:
    """Return what worked in a container and must not, and what must work and did not."""
    faults = []
    for digest, where in {**(got["files"] or {}), **(got["words"] or {})}.items():
        if digest in secrets and name not in secrets[digest][2]:
            faults.append(f"{name} read {secrets[digest][1]} at {where}")
    reached = [(address, port) for address, port in got["ends"] or [] if ends[address, port] not in reach]
    faults += [f"{name} connected to {ends[end]} at {end[0]}:{end[1]}" for end in reached]
    faults += [f"{name} got an answer through the gateway: {answer}" for answer in got["paths"] or []]
    faults += [f"{name} could {right}" for right in got["rights"] or []]
    faults += [f"{name} wrote in {place}" for place in got["written"] or [] if not _inside(place, written)]
    return faults


def _inside(place: str, folders: set[str]) -> bool:
    return any(Path(place).is_relative_to(folder) for folder in folders)


def main(chosen: list[str]) -> int:
    """Attack from all services or from those that are chosen; return 1 if anything worked that must not."""
    stack = Stack()
    if lacking := sorted(
        {"coordinator", *(f"contributor-{number}" for number in NODES)} - set(stack.running)
    ):
        print(
            f"These services do not run: {', '.join(lacking)}. Start them: docker compose up --detach --wait"
        )
        return 2
    secrets = stack.secrets()
    faults = [
        fault for name, one in stack.containers.items() for fault in faults_of_settings(name, one, secrets)
    ]
    seen: dict[str, set[str]] = {}
    for name, one in sorted(stack.running.items()):
        if chosen and name not in chosen:
            continue
        ends = stack.ends(name)
        given = {"sizes": sorted({size for size, _, _ in secrets.values()}), "ends": list(ends), "paths": []}
        if "outside" in {
            network.removeprefix(f"{stack.project}_") for network in one["NetworkSettings"]["Networks"]
        }:
            given["paths"] = [] if name == "gateway" else GATEWAY_PATHS
        written = {mount["Destination"] for mount in one["Mounts"] if mount["RW"]} | set(
            one["HostConfig"]["Tmpfs"] or {}
        )
        got = stack.probe(name, given)
        seen[name] = {secrets[digest][1] for digest in got["files"] or {} if digest in secrets}
        new = faults_of_probe(name, got, ends, secrets, written | {"/dev/shm", "/dev/mqueue"}, REACH[name])
        blind = [what for what in ("files", "ends", "rights") if got[what] is None]
        new += [f"The probe is blind: {name} could not try {what}" for what in blind]
        what = f"{len(seen[name])} secrets of its own, {len(got['ends'] or [])} of {len(ends)} ends"
        print(f"{name}: {what}: {len(new)} faults", flush=True)
        faults += new
        if name.startswith("contributor-"):
            ours = f"the training code of {name}"
            got = stack.probe(name, given, sandboxed=True)
            got["written"] = [place for place in got["written"] or [] if not place.startswith(SCRATCH)]
            new = faults_of_probe(ours, got, ends, secrets, set(), ("chain",))
            print(f"{ours}: {len(got['ends'] or [])} of {len(ends)} ends: {len(new)} faults", flush=True)
            faults += new
    for volume, holders in HOLDERS.items():
        for name in holders & set(seen):
            if not any(secret.startswith(f"{volume}/") for secret in seen[name]):
                faults.append(f"The probe is blind: {name} did not find its own secrets of {volume}")
    for fault in faults:
        print(f"FAULT {fault}")
    names = {path for _, path, _ in secrets.values()}
    print(f"{len(faults)} faults in {len(stack.containers)} containers, with {len(names)} secrets.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
