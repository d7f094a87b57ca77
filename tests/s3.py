# SPDX-License-Identifier: Apache-2.0
"""S3 servers for tests: moto's, over real HTTP, in a process of its own; and whatever else is at hand.

moto comes from PyPI, so that the tests run wherever pip does; it checks signatures against its own IAM, and keeps its
buckets in memory. It does not check the checksums that are sent. `rclone serve s3` (rclone 1.65 or newer) is used if
it is on the PATH, Ceph if it is installed (`tests.ceph`), and FOLKMOOT_TEST_S3=s3://bucket/prefix (with
FOLKMOOT_TEST_S3_ENDPOINT, and credentials as boto3 finds them) names any other server, Amazon's included.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from folkmoot.artifacts.s3 import S3Store
from folkmoot.runtime.processes import free_port
from tests.http_servers import Handler, serving

KEY, SECRET, REGION = "folkmoot-tests", "only-for-tests", "us-east-1"
ENVIRONMENT = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
}
"""With it boto3 finds the keys of the servers here, and no others."""
OTHER = os.environ.get("FOLKMOOT_TEST_S3", "")
OTHER_ENDPOINT = os.environ.get("FOLKMOOT_TEST_S3_ENDPOINT", "")


@dataclass(frozen=True)
class Server:
    """A running S3 server."""

    endpoint: str
    port: int

    def client(self, service: str = "s3", **options: Any) -> Any:
        """A client of its own, for what tests do behind the store's back."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            **{"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, **options},
        )

    def make_bucket(self, name: str) -> str:
        """Make a bucket."""
        self.client(config=Config(retries={"total_max_attempts": 10})).create_bucket(Bucket=name)
        return name

    def publish(self, bucket: str) -> None:
        """Let anybody read what is in a bucket."""
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
        policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": f"arn:aws:s3:::{bucket}/*"}]}
        self.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def use_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores of this process, and of those that it starts, find the keys of the servers here, and no others."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@contextmanager
def process(command: list[str], port: int, log: Path, **environment: str) -> Iterator[Server]:
    """Run a server until it is not needed any more; yield when it listens."""
    with log.open("wb") as file:
        running = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
    try:
        end = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield Server(f"{'https' if '-c' in command else 'http'}://localhost:{port}", port)
    finally:
        running.kill()
        running.wait()


def moto(log: Path, *, certificate: tuple[Path, Path] | None = None, port: int = 0) -> Any:
    """moto's server; with a certificate and its key, over TLS."""
    port = port or free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    if certificate is not None:
        command += ["-c", str(certificate[0]), "-k", str(certificate[1])]
    return process(command, port, log)


def why_no_rclone() -> str:
    """Why `rclone serve s3` can't be used; empty if it can."""
    program = shutil.which("rclone")
    if program is None:
        return "rclone is not on the PATH"
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < (1, 65):
        return f"rclone has no `serve s3` before 1.65; this is {said.splitlines()[0] if said else 'none'}"
    return ""


def rclone(log: Path, folder: Path) -> Any:
    """rclone's server on a folder."""
    port = free_port()
    command = [
        "rclone",
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{KEY},{SECRET}",
        str(folder),
    ]
    return process(command, port, log, RCLONE_CONFIG="/dev/null")


def store(
    endpoint: str, bucket: str, cache: Path, *, cache_bytes: int = 1 << 30, region: str = REGION
) -> S3Store:
    """A store in a bucket of a test server, below the prefix `a/b`."""
    return S3Store(bucket, "a/b", cache, cache_bytes=cache_bytes, endpoint=endpoint, region=region)


@contextmanager
def refusing(status: int, code: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that refuses everything as S3 does: what no server at hand can be brought to say.

    Yields:
        Its address, and the headers of the requests that it got.
    """
    seen: list[dict[str, str]] = []

    class Refusing(Handler):
        protocol_version = "HTTP/1.1"

        def _refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append({name.lower(): value for name, value in self.headers.items()})
            body = f"<Error><Code>{code}</Code><Message>Scripted.</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            if status == 301:
                self.send_header("x-amz-bucket-region", "eu-central-1")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _refuse  # noqa: N815  the names are the library's

    with serving(Refusing) as url:
        yield url, seen
