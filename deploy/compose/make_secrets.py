# SPDX-License-Identifier: Apache-2.0
"""Passwords, keys and certificates of the compose file: made once, each in the volume of those who need it.

Run by the service `secrets`, before everything else; what is there stays, except for a certificate that ends soon.
Files belong to user and group 10001; a service that runs as somebody else is in that group. No secret is printed.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import certifi

from client.node.admission import make_if_missing, public_file
from folkmoot.cli.main import run
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.superlink import SuperLink

ROOT = Path("/secrets")
CONTRIBUTORS = 3
GROUP_READS = 0o440


def keep(path: Path, text: str, mode: int) -> str:
    """Write a file unless it is there; return what is in it."""
    if not path.exists():
        write_whole(path, text.encode(), mode=mode)
    return path.read_text()


def main(names: list[str]) -> int:
    """Make what is missing; return the exit status."""
    password = keep(ROOT / "database/password", secrets.token_urlsafe(32), GROUP_READS)
    keep(ROOT / "database/pgpass", f"*:*:*:*:{password}\n", 0o400)  # libpq takes none that others may read
    key = keep(ROOT / "s3/access-key", secrets.token_hex(10), GROUP_READS)
    secret = keep(ROOT / "s3/secret-key", secrets.token_urlsafe(32), GROUP_READS)
    keep(
        ROOT / "s3/credentials",
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n",
        0o400,
    )
    keep(ROOT / "grafana/password", secrets.token_urlsafe(24), GROUP_READS)

    authority, tls, trust = ROOT / "authority", ROOT / "tls", ROOT / "trust"
    wanted = [word for name in ("superlink", "gateway", *names) for word in ("--name", name)]
    if status := run(["superlink", "certificate", *wanted, "--out", str(authority)]):
        return status
    for name in ("ca.pem", "server.pem", "server.key"):  # and not ca.key, which no service needs
        write_whole(tls / name, (authority / name).read_bytes(), mode=GROUP_READS)
    certificate = (authority / "ca.pem").read_bytes()
    write_whole(trust / "ca.pem", certificate)
    # For web clients, which also have to trust the endpoint of a public chain.
    write_whole(trust / "all.pem", Path(certifi.where()).read_bytes() + certificate)

    superlink = SuperLink("superlink:8000", trust / "ca.pem")
    for number in range(1, CONTRIBUTORS + 1):
        node = ROOT / f"node-{number}" / "node.key"
        make_if_missing(node, superlink)
        write_whole(ROOT / "admitted" / f"contributor-{number}.pub", public_file(node).read_bytes())
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main([name for name in sys.argv[1:] if name]))
