# SPDX-License-Identifier: Apache-2.0
"""The coordinator's store, as the harness sees it from behind: a folder, or a bucket with the copies of its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError

from tests import s3


class Shelf(Protocol):
    """Where the artifacts are."""

    @property
    def location(self) -> str:
        """Where an audit finds them: a folder or a URL."""

    def has(self, sha256: str) -> bool:
        """Whether a file is there."""

    def hidden(self, sha256: str) -> Any:
        """A context in which a file is not there."""


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
        with suppress(ClientError):
            self._client.head_object(Bucket=self._bucket, Key=self._key(sha256))
            return True
        return False

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

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}/{sha256[:2]}/{sha256}"
