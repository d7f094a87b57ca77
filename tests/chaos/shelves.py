# SPDX-License-Identifier: Apache-2.0
"""The coordinator's store, as the harness sees it from behind: a folder, or a bucket with the copies of its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError

from tests import s3


class RoundFiles(Protocol):
    """Where the artifacts are."""

    @property
    def location(self) -> str:
        """Where an audit finds them: a folder or a URL."""

    def has(self, sha256: str) -> bool:
        """Whether a file is there."""

    def hidden(self, sha256: str) -> Any:
        """A context in which a file is not there."""

    def read(self, sha256: str) -> bytes:
        """A file's bytes, whatever they are."""

    def replace(self, sha256: str, data: bytes | None) -> None:
        """Give a file other bytes, or take it away."""

    def linked(self, keccak: str) -> bool:
        """Whether there is a link by which a file is found by its keccak."""

    def unlink(self, keccak: str) -> None:
        """Take it away."""

    def clear(self) -> None:
        """Take everything away."""


@dataclass(frozen=True)
class FolderShelf:
    """A folder."""

    root: Path

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.root)

    def has(self, sha256: str) -> bool:
        """Whether a file is there."""
        return (self.root / sha256[:2] / sha256).is_file()

    @contextmanager
    def hidden(self, sha256: str) -> Iterator[None]:
        """It is elsewhere meanwhile."""
        place, away = self.root / sha256[:2] / sha256, self.root.parent / "away"
        place.replace(away)
        try:
            yield
        finally:
            away.replace(place)

    def read(self, sha256: str) -> bytes:
        """A file's bytes."""
        return (self.root / sha256[:2] / sha256).read_bytes()

    def replace(self, sha256: str, data: bytes | None) -> None:
        """Another file in its place, so that whoever has opened the old one goes on with it; or none."""
        place, new = self.root / sha256[:2] / sha256, self.root.parent / "new"
        if data is None:
            place.unlink()
        else:
            new.write_bytes(data)
            new.replace(place)

    def linked(self, keccak: str) -> bool:
        """Whether there is a link."""
        return (self.root / "by-keccak" / keccak).exists()

    def unlink(self, keccak: str) -> None:
        """Take a link away."""
        (self.root / "by-keccak" / keccak).unlink()

    def clear(self) -> None:
        """The disk is gone, and another one is there."""
        shutil.rmtree(self.root)
        self.root.mkdir()


class BucketShelf:
    """A bucket that anybody may read.

    Args:
        server: Its server, reached without the line that fails.
        bucket: Its name.
        prefix: What the keys begin with.
        copies: The folder in which the coordinator keeps copies.
    """

    def __init__(self, server: s3.Server, bucket: str, prefix: str, copies: Path) -> None:
        self.location = f"{server.endpoint}/{bucket}/{prefix}"
        self._bucket, self._prefix, self._copies = bucket, prefix, copies
        self._client = server.client()
        server.publish(bucket)

    def has(self, sha256: str) -> bool:
        """Whether a file is there."""
        return self._is_there(self._key(sha256))

    @contextmanager
    def hidden(self, sha256: str) -> Iterator[None]:
        """It is not there meanwhile, and there is no copy."""
        place: Any = {"Bucket": self._bucket, "Key": self._key(sha256)}
        data = self._client.get_object(**place)["Body"].read()
        self._client.delete_object(**place)
        (self._copies / sha256[:2] / sha256).unlink(missing_ok=True)
        try:
            yield
        finally:
            self._client.put_object(Body=data, **place)

    def read(self, sha256: str) -> bytes:
        """A file's bytes."""
        data: bytes = self._client.get_object(Bucket=self._bucket, Key=self._key(sha256))["Body"].read()
        return data

    def replace(self, sha256: str, data: bytes | None) -> None:
        """Another object in its place, or none; there is no copy."""
        place: Any = {"Bucket": self._bucket, "Key": self._key(sha256)}
        if data is None:
            self._client.delete_object(**place)
        else:
            self._client.put_object(Body=data, **place)
        (self._copies / sha256[:2] / sha256).unlink(missing_ok=True)

    def linked(self, keccak: str) -> bool:
        """Whether there is a link."""
        return self._is_there(f"{self._prefix}/by-keccak/{keccak}")

    def unlink(self, keccak: str) -> None:
        """Take a link away."""
        self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}/by-keccak/{keccak}")

    def clear(self) -> None:
        """Another, empty bucket of the same name, and another disk for copies."""
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket):
            for found in page.get("Contents", ()):
                self._client.delete_object(Bucket=self._bucket, Key=found["Key"])
        shutil.rmtree(self._copies)
        self._copies.mkdir()

    def _is_there(self, key: str) -> bool:
        with suppress(ClientError):
            self._client.head_object(Bucket=self._bucket, Key=key)
            return True
        return False

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}/{sha256[:2]}/{sha256}"
