# SPDX-License-Identifier: Apache-2.0
"""Which store a setting means: a folder, or `s3://BUCKET/PREFIX`. The S3 library is loaded only for the latter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import InputError
from server.store.folder import FolderStore
from server.store.protocol import Store

SCHEME = "s3://"


@dataclass(frozen=True)
class StoreOptions:
    """What a bucket needs beside its name. Credentials are not among it: boto3 finds them (docs/operators.md)."""

    cache: Path
    """Folder for copies of the bucket's files."""
    cache_bytes: int = 10 << 30
    """Bytes above which copies that were not used for an hour are removed."""
    endpoint: str = ""
    """URL of a server other than Amazon's."""
    region: str = ""
    """Region; empty for that of the environment or profile."""


def is_bucket(location: str) -> bool:
    """Whether a store's location is a bucket, and not a folder."""
    return location.startswith(SCHEME)


def open_store(location: str, options: StoreOptions) -> Store:
    """Open the store at a location. A bucket is not asked yet.

    Args:
        location: A folder, or `s3://BUCKET/PREFIX`.
        options: For buckets.

    Raises:
        InputError: The URL has no bucket, or the package for S3 is not installed (`s3-missing`).
        StoreError: A folder can't be made.
    """
    if not is_bucket(location):
        return FolderStore(Path(location))
    bucket, _, prefix = location.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise InputError(f"{location!r} names no bucket.", remedy="Write s3://BUCKET or s3://BUCKET/PREFIX.")
    try:
        from server.store.s3 import S3Store
    except ModuleNotFoundError as exc:
        raise InputError(
            f"A store in a bucket ({location}) needs the package {exc.name}.",
            remedy="Install it: pip install 'folkmoot[s3]'.",
            code="s3-missing",
        ) from exc
    return S3Store(bucket, prefix, options)
