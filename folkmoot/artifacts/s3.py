# SPDX-License-Identifier: Apache-2.0
"""A store in a bucket: Amazon S3, or any server that speaks its protocol.

Keys are those of the folder (docs/protocol.md section 12), so that a bucket that is served over HTTP is a mirror. Bytes
are written to a folder on this machine first and are kept only when the bucket has them: the server is sent their
SHA-256 with them, and is asked for the object afterwards. What is read is copied into that folder, hashed on the way.

Knows nothing of settings, of rounds, or of credentials: boto3 finds those as it does for every program.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from folkmoot.artifacts.reading import CHUNK, IntactFile
from folkmoot.artifacts.store import FolderStore, Store, Stored, Writer, disk, is_name, linked
from folkmoot.errors import ArtifactError, InputError, StoreError
from folkmoot.runtime.backoff import Backoff
from folkmoot.runtime.fault_points import fault_point

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 4
"""Times that a request is sent, the pauses between them growing: 5xx, throttling and broken connections pass."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
PART = 64 << 20
"""Bytes of a file that are sent in one request; larger files go in parts."""
IN_USE_SECONDS = 3600.0
"""A copy that was asked for within this time is never removed: somebody may be reading it."""
PROBE_SECONDS = 30.0
"""Seconds for which the answer to "can it be written to?" is believed."""

_MISSING = {"404", "NoSuchKey", "NotFound"}
_CAUSES: tuple[tuple[set[str], str, str, str], ...] = (
    (
        {"NoSuchBucket", "InvalidBucketName"},
        "store-bucket",
        "there is no such bucket",
        "Make the bucket, or correct `store`.",
    ),
    (
        {
            "PermanentRedirect",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "301",
            "307",
            "TemporaryRedirect",
        },
        "store-region",
        "the bucket is in another region",
        "Correct `store_region`.",
    ),
    (
        {"RequestTimeTooSkewed", "RequestExpired"},
        "store-clock",
        "the clock of this machine differs too much from the server's",
        "Set this machine's clock (NTP).",
    ),
    (
        {
            "403",
            "AccessDenied",
            "AllAccessDisabled",
            "AccountProblem",
            "ExpiredToken",
            "Forbidden",
            "InvalidAccessKeyId",
            "InvalidToken",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
            "UnrecognizedClientException",
        },
        "store-credentials",
        "the server refuses these credentials",
        "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile, and what they may do with the bucket.",
    ),
    (
        {"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "EntityTooLarge"},
        "store-full",
        "there is no room left",
        "Make room in the bucket or raise its quota.",
    ),
    (
        {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"},
        "store-checksum",
        "the bytes changed on the way",
        "Check the disk and the network in between.",
    ),
)
_T = TypeVar("_T")
_AGAIN = "Nothing was lost, and what failed is tried again."


class _Missing(Exception):
    """The bucket has no such object."""


class _Checked(io.BufferedReader):
    """A file that fails at its end if its bytes changed on this machine's disk since they were hashed."""

    def __init__(self, path: Path, sha256: str) -> None:
        super().__init__(io.FileIO(path))
        self._folder, self._sha256, self._digest = path.parent, sha256, hashlib.sha256()

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; the file is read once, from its beginning to its end."""
        data = super().read(size)
        self._digest.update(data)
        if self.tell() == os.fstat(self.fileno()).st_size and self._digest.hexdigest() != self._sha256:
            raise StoreError(
                f"The file {self._sha256} changed on this machine's disk before it was sent.",
                remedy=f"Check the disk below {self._folder}. {_AGAIN}",
                code="store-checksum",
            )
        return data


class S3Writer(Writer):
    """A file under way on this machine's disk; keeping it is sending it."""

    def __init__(self, store: S3Store, name: str = "") -> None:
        super().__init__(store.cache, name)
        self._bucket = store

    def keep(self) -> Stored:
        """See `Writer`."""
        stored = Stored(self.sha256(), self.size)
        self._bucket.upload(self.path, stored)
        super().keep()
        self._bucket.make_room()
        return stored


class S3Store(Store):
    """A bucket with `PREFIX/ab/abcdef...` and `PREFIX/by-keccak/...`.

    Args:
        bucket: Its name.
        prefix: What all keys begin with; may be empty.
        cache: Folder for copies of the bucket's files.
        cache_bytes: Bytes above which copies that were not used for an hour are removed.
        endpoint: URL of a server other than Amazon's.
        region: Region; empty for that of the environment or profile.

    Raises:
        StoreError: The folder for copies can't be made.
        InputError: Endpoint or region are malformed, or the profile that the environment names is not there.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        cache: Path,
        *,
        cache_bytes: int = 10 << 30,
        endpoint: str = "",
        region: str = "",
    ) -> None:
        super().__init__()
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.location = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self.cache = FolderStore(cache)
        self._limit = cache_bytes
        self._lock = threading.Lock()
        self._probed: tuple[float, StoreError | None] | None = None
        try:
            self._client: S3Client = boto3.Session().client(
                "s3",
                endpoint_url=endpoint or None,
                region_name=region or None,
                config=Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                    max_pool_connections=32,
                    # We send a SHA-256 of our own; what boto3 would add, older servers do not understand.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    # Also over TLS: some servers compare no checksum but the one that is signed.
                    s3={"payload_signing_enabled": True},
                ),
            )
        except (BotoCoreError, ValueError) as exc:
            raise InputError(
                f"The store {self.location} can't be set up: {exc}.",
                remedy="Correct `store_endpoint` and `store_region`, or the AWS_... variables and the profile.",
                code="store-settings",
            ) from exc

    def clear_incoming(self) -> None:
        """Remove what an earlier process left unfinished on this machine."""
        self.cache.clear_incoming()

    def begin(self, name: str = "") -> S3Writer:
        """A file under way on this machine's disk."""
        return S3Writer(self, name)

    def unfinished(self) -> dict[str, int]:
        """Names and sizes of the unfinished files that stay, on this machine's disk."""
        return self.cache.unfinished()

    def forget(self, name: str) -> None:
        """Delete an unfinished file from this machine's disk."""
        self.cache.forget(name)

    def link(self, keccak256: str, sha256: str) -> None:
        """See `Store.link`."""
        key, name = f"by-keccak/{self._name(keccak256)}", self._name(sha256)
        fault_point("coordinator.file-linked.before")
        self._put(key, name.encode())
        fault_point("coordinator.file-linked.after")

    def by_keccak(self, keccak256: str) -> str:
        """See `Store.by_keccak`."""
        name = f"by-keccak/{self._name(keccak256)}"
        try:
            with self._asking(f"read {name}"):
                answer = self._client.get_object(Bucket=self.bucket, Key=self._key(name))
                pointer = answer["Body"].read(128)
        except _Missing:
            raise self._missing(name) from None
        return linked(pointer, keccak256, self.location)

    def has(self, sha256: str) -> bool:
        """Whether the bucket has the file."""
        if not is_name(sha256):
            return False
        return self._size(self._place(sha256)) is not None

    def path(self, sha256: str) -> Path:
        """Where a copy of the file is; fetched, and hashed on the way, if it is not there."""
        place = self.cache.place(self._name(sha256))
        self.cache.use(sha256)
        with disk(self.cache.root):
            if not place.is_file():
                self._fetch(sha256)
        return place

    def open(self, sha256: str) -> IntactFile:
        """Open a copy of the file that was read in full since it last changed."""
        return self._good(sha256, self.cache.open)

    def verified(self, sha256: str) -> Path:
        """Where a copy of the file is, after reading all of it."""
        self._good(sha256, self.cache.check)
        return self.cache.place(sha256)

    def check(self, sha256: str) -> int:
        """Read the object in the bucket and return its size in bytes."""
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks(sha256):
            digest.update(chunk)
            size += len(chunk)
        if digest.hexdigest() != sha256:
            raise self.lacks(self._damaged(sha256, f"its sha256 is {digest.hexdigest()}"))
        return size

    def delete(self, sha256: str) -> None:
        """Delete a file from the bucket, and its copy from this machine."""
        with self._asking(f"delete {self._name(sha256)}"):
            self._client.delete_object(Bucket=self.bucket, Key=self._place(sha256))
        self.cache.delete(sha256)

    def problem(self) -> StoreError | None:
        """Why it can't be written to now; None if it can. The answer may be half a minute old."""
        with self._lock:
            probed = self._probed
        if probed is not None and time.monotonic() - probed[0] < (
            PROBE_SECONDS if probed[1] is None else 5.0
        ):
            return probed[1]
        problem = self.cache.problem()
        if problem is None:
            try:
                self._put("incoming/probe", b"folkmoot")
            except StoreError as exc:
                problem = exc
        with self._lock:
            self._probed = (time.monotonic(), problem)
        return problem

    # For the writer

    def upload(self, path: Path, stored: Stored) -> None:
        """Send a file, and make sure that the bucket has it."""
        key = self._place(stored.sha256)
        fault_point("coordinator.file-sent.before")
        with disk(self.cache.root), self._asking(f"write {stored.sha256}"):
            if stored.size <= PART:
                with path.open("rb") as file:
                    self._client.put_object(
                        Bucket=self.bucket,
                        Key=key,
                        Body=file,
                        ContentLength=stored.size,
                        ChecksumSHA256=base64.b64encode(bytes.fromhex(stored.sha256)).decode(),
                    )
            else:  # one part at a time is in memory, and its SHA-256 is signed with its request
                parts = TransferConfig(
                    PART, multipart_chunksize=PART, use_threads=False, preferred_transfer_client="classic"
                )
                with _Checked(path, stored.sha256) as whole:
                    self._client.upload_fileobj(whole, self.bucket, key, Config=parts)
        size = self._size(key)
        if size != stored.size:
            raise StoreError(
                f"{self.location} has {size or 0} of the {stored.size} bytes of {stored.sha256}.",
                remedy=f"Check the server; it said that all had arrived. {_AGAIN}",
                code="store-checksum",
            )
        fault_point("coordinator.file-sent.after")

    def make_room(self) -> None:
        """Remove copies that were not used for longest while all together are too large; see `IN_USE_SECONDS`."""
        with self._lock:
            self.cache.make_room(self._limit, IN_USE_SECONDS)

    # Inside

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _place(self, sha256: str) -> str:
        return self._key(f"{sha256[:2]}/{sha256}")

    def _size(self, key: str) -> int | None:
        """Bytes of an object; None if there is none."""
        try:
            with self._asking(f"look for {key}"):
                return self._client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
        except _Missing:
            pass
        try:  # the answer to this question has no body: it may be the bucket that is not there
            with self._asking("be asked for its files"):
                self._client.head_bucket(Bucket=self.bucket)
        except _Missing as exc:
            _, code, why, remedy = _CAUSES[0]
            raise self._failed(f"look for {key}", why, remedy, code) from exc
        return None

    def _put(self, name: str, data: bytes) -> None:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        with self._asking(f"write {name}"):
            self._client.put_object(
                Bucket=self.bucket, Key=self._key(name), Body=data, ChecksumSHA256=checksum
            )

    def _fetch(self, sha256: str) -> None:
        with self.cache.writer() as writer:
            for chunk in self._chunks(sha256):
                writer.write(chunk)
            if writer.sha256() != sha256:
                raise self.lacks(self._damaged(sha256, f"its sha256 is {writer.sha256()}"))
            writer.keep()
        self.make_room()

    def _open(self, key: str, start: int) -> StreamingBody:
        if start == 0:  # an empty object has no range
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
        return self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-")["Body"]

    def _chunks(self, sha256: str) -> Iterator[bytes]:
        """The bytes of an object; a transfer that breaks goes on where it was."""
        place = self._place(self._name(sha256))
        done, backoff = 0, Backoff(0.25)
        try:
            for attempts_left in reversed(range(ATTEMPTS)):
                try:
                    with self._asking(f"read {sha256}"):
                        for chunk in self._open(place, done).iter_chunks(CHUNK):
                            done += len(chunk)
                            yield chunk
                    return
                except StoreError as exc:
                    if exc.code != "store-unreachable" or not attempts_left:
                        raise
                    time.sleep(backoff.next())  # boto3 tries again only before the first byte
        except _Missing:
            raise self.lacks(self._missing(sha256)) from None

    def _good(self, sha256: str, look: Callable[[str], _T]) -> _T:
        """Look at a copy. A damaged one says nothing of the bucket: it is fetched anew."""
        path = self.path(sha256)
        try:
            return look(sha256)
        except ArtifactError:
            with disk(self.cache.root):
                path.unlink(missing_ok=True)
            self.path(sha256)
            return look(sha256)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Say clearly why a request failed."""
        try:
            yield
        except ClientError as exc:
            error = exc.response.get("Error", {})
            status = str(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
            answer = str(error.get("Code", "")) or status
            if answer in _MISSING:
                raise _Missing from exc
            for codes, code, why, remedy in _CAUSES:
                if answer in codes or status in codes:
                    raise self._failed(what, f"{why} ({answer})", remedy, code) from exc
            code = "store-unreachable" if status.startswith("5") or status == "429" else "store-failed"
            message = str(error.get("Message", "")).rstrip(".")
            raise self._failed(
                what, f"the server says {answer}: {message}", "Check the server.", code
            ) from exc
        except SSLError as exc:
            if "certificate" not in str(exc).lower():
                raise self._failed(
                    what, str(exc), "Check the endpoint and the network.", "store-unreachable"
                ) from exc
            why = f"TLS fails: {_tls_reason(exc)}"
            remedy = "Renew the server's certificate, or name its authority in AWS_CA_BUNDLE."
            raise self._failed(what, why, remedy, "store-tls") from exc
        except (NoCredentialsError, PartialCredentialsError, ProfileNotFound, TokenRetrievalError) as exc:
            remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            raise self._failed(what, str(exc), remedy, "store-credentials") from exc
        except NoRegionError as exc:
            raise self._failed(what, str(exc), "Set `store_region`.", "store-region") from exc
        except (NoConnectionError, HTTPClientError, IncompleteReadError) as exc:
            remedy = "Check the endpoint and the network."
            raise self._failed(what, str(exc), remedy, "store-unreachable") from exc
        except BotoCoreError as exc:
            raise self._failed(what, str(exc), "Check the server and the settings.", "store-failed") from exc

    def _failed(self, what: str, why: str, remedy: str, code: str) -> StoreError:
        return StoreError(
            f"{self.location} can't {what}: {why.rstrip('.')}.", remedy=f"{remedy} {_AGAIN}", code=code
        )


def _tls_reason(exc: BaseException) -> str:
    """What the TLS library said, below all that boto3 says around it."""
    return str(exc).rsplit("(_ssl.c", 1)[0].rsplit("] ", 1)[-1].strip()
