# SPDX-License-Identifier: Apache-2.0
"""The artifact store keeps what it was given, and notices when a disk or a bucket does not.

The first part is the contract of every store; the rest is what only a folder or only a bucket can go through.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import EndpointConnectionError

from folkmoot.artifacts import s3 as s3_module
from folkmoot.artifacts.reading import SETTLED_NS, ChangedError, Readings
from folkmoot.artifacts.s3 import S3Store
from folkmoot.artifacts.sources import CoordinatorSource, FolderSource
from folkmoot.artifacts.store import FolderStore, Store
from folkmoot.errors import ArtifactError, InputError, StoreError
from folkmoot.protocol.hashing import keccak
from folkmoot.runtime.certificates import Authority
from server.settings import Settings
from tests import s3
from tests.ceph import ceph as run_ceph
from tests.ceph import why_no_ceph
from tests.line import Line

WORDS = hashlib.sha256(b"words").hexdigest()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    if not s3.OTHER:
        s3.use_keys(monkeypatch)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.moto(tmp_path_factory.mktemp("moto") / "log") as server:
        yield server


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    if reason := s3.why_no_rclone():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("rclone")
    with s3.rclone(folder / "log", folder) as server:
        yield server


@pytest.fixture(scope="module")
def ceph() -> Iterator[s3.Server]:
    if reason := why_no_ceph():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="ceph-") as folder, run_ceph(Path(folder)) as server:
        yield server


@pytest.fixture
def bucket(moto: s3.Server) -> str:
    return moto.make_bucket(f"bucket-{secrets.token_hex(8)}")


@pytest.fixture
def in_bucket(moto: s3.Server, bucket: str, tmp_path: Path) -> S3Store:
    return s3.store(moto.endpoint, bucket, tmp_path / "cache")


def _other(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    bucket, _, prefix = s3.OTHER.removeprefix("s3://").partition("/")
    path = f"{prefix}/{secrets.token_hex(8)}"
    return S3Store(bucket, path, tmp_path / "cache", endpoint=s3.OTHER_ENDPOINT)


def _rclone(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    server: s3.Server = request.getfixturevalue("rclone")
    return s3.store(server.endpoint, server.make_bucket(f"b-{secrets.token_hex(8)}"), tmp_path / "cache")


def _ceph(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    server: s3.Server = request.getfixturevalue("ceph")
    return s3.store(server.endpoint, server.make_bucket(f"b-{secrets.token_hex(8)}"), tmp_path / "cache")


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Store]] = {
    "folder": lambda request, path: FolderStore(path / "artifacts"),
    "moto": lambda request, path: request.getfixturevalue("in_bucket"),
    "rclone": _rclone,
    "ceph": _ceph,
    **({"other": _other} if s3.OTHER else {}),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return STORES[request.param](request, tmp_path)


# The contract


def test_file_is_found_by_its_hash_and_by_its_keccak(store: Store) -> None:
    stored = store.put(b"words")
    assert (stored.sha256, stored.size) == (WORDS, 5)
    assert store.read(WORDS) == b"words"
    assert store.check(WORDS) == 5
    assert store.put(b"words") == stored
    digest = keccak(b"words").hex()
    with pytest.raises(ArtifactError) as unknown:
        store.by_keccak(digest)
    assert unknown.value.code == "artifact-missing"
    store.link(digest, WORDS)
    assert store.by_keccak(digest) == WORDS
    assert store.document(digest) == b"words"
    assert store.fetch(WORDS, 5).read_bytes() == b"words"


def test_what_is_not_there_is_named(store: Store) -> None:
    assert not store.has(WORDS)
    for ask in (store.path, store.verified, store.read, store.check):
        with pytest.raises(ArtifactError, match=WORDS) as missing:
            ask(WORDS)
        assert missing.value.code == "artifact-missing"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "00" * 31])
def test_no_name_leads_out_of_the_store(store: Store, name: str) -> None:
    assert not store.has(name)
    for ask in (store.path, store.check, store.by_keccak, lambda found: store.link(found, "00" * 32)):
        with pytest.raises(ArtifactError):
            ask(name)


def test_file_appears_only_when_it_is_complete(store: Store) -> None:
    with store.writer() as writer:
        writer.write(b"wo")
        assert not store.has(hashlib.sha256(b"wo").hexdigest())
        writer.write(b"rds")
        assert writer.path.read_bytes() == b"words"
        assert (writer.sha256(), writer.size) == (WORDS, 5)
        assert not store.has(WORDS)
        assert writer.keep().sha256 == WORDS
    assert store.has(WORDS)
    with store.writer() as writer:
        writer.write(b"half")
    assert not store.has(hashlib.sha256(b"half").hexdigest())
    assert not writer.path.exists()


def test_copies_of_files_and_nothing_at_all_are_kept(store: Store, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "large").write_bytes(data)
    stored = store.put_file(tmp_path / "large")
    assert stored.size == len(data)
    assert store.verified(stored.sha256).read_bytes() == data
    assert store.read(store.put(b"").sha256) == b""
    assert store.problem() is None


def test_d2_opened_file_is_the_one_that_its_name_promises(store: Store) -> None:
    stored = store.put(b"words")
    file = store.open(stored.sha256)
    assert (file.size, file.read(0, 5), file.read(1, 3), file.read(0, 0)) == (5, b"words", b"ord", b"")
    file.close()
    with pytest.raises(ArtifactError) as missing:
        store.open("00" * 32)
    assert missing.value.code == "artifact-missing"


def test_a_deleted_file_is_gone_with_its_copy_and_can_come_back(store: Store) -> None:
    path = store.verified(store.put(b"words").sha256)
    store.delete(WORDS)
    store.delete(WORDS)
    assert (store.has(WORDS), path.exists()) == (False, False)
    with pytest.raises(ArtifactError) as missing:
        store.read(WORDS)
    assert missing.value.code == "artifact-missing"
    with pytest.raises(ArtifactError):
        store.delete("../../etc/passwd")
    assert store.read(store.put(b"words").sha256) == b"words"


# A folder


@pytest.fixture
def in_folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def test_folder_can_be_read_by_an_auditor_as_it_is(in_folder: FolderStore) -> None:
    digest = keccak(b"words").hex()
    in_folder.link(digest, in_folder.put(b"words").sha256)
    assert FolderSource(in_folder.root).document(digest) == b"words"


def test_truncated_file_is_named_with_what_to_do(in_folder: FolderStore) -> None:
    in_folder.put(b"words")
    in_folder.path(WORDS).write_bytes(b"wor")
    with pytest.raises(
        ArtifactError, match=rf"{WORDS}.*its name promises.*coordinator rebuild files"
    ) as damaged:
        in_folder.verified(WORDS)
    assert damaged.value.code == "artifact-damaged"
    in_folder.put(b"words")
    assert in_folder.read(WORDS) == b"words"


def test_d2_file_is_read_in_full_once_after_each_change(
    in_folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read = Readings._read

    def counted(readings: Readings, path: Path, file: Any) -> Any:
        reads.append(path)
        return read(readings, path, file)

    monkeypatch.setattr(Readings, "_read", counted)
    in_folder.put(b"words")
    time.sleep(2 * SETTLED_NS / 1e9)
    for _ in range(3):
        in_folder.open(WORDS).close()
    assert len(reads) == 1
    path = in_folder.place(WORDS)
    before = path.stat()
    path.write_bytes(b"wards")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # whoever hides a change can't set this time:
    assert path.stat().st_ctime_ns != before.st_ctime_ns
    for _ in range(2):
        with pytest.raises(ArtifactError, match="its name promises") as damaged:
            in_folder.open(WORDS)
        assert damaged.value.details["file"] == WORDS
    in_folder.put(b"words")
    in_folder.open(WORDS).close()


def test_d2_file_that_changed_just_now_is_not_remembered(in_folder: FolderStore) -> None:
    """A second change within one tick of the file system's clock leaves the same times."""
    in_folder.put(b"words")
    path = in_folder.place(WORDS)
    in_folder.open(WORDS).close()
    assert path not in in_folder._readings._remembered


def test_d2_open_file_that_changes_gives_no_byte_more(in_folder: FolderStore) -> None:
    in_folder.put(b"words")
    time.sleep(2 * SETTLED_NS / 1e9)
    for change in (lambda path: path.write_bytes(b"wards"), lambda path: os.truncate(path, 2)):
        in_folder.put(b"words")
        time.sleep(2 * SETTLED_NS / 1e9)
        file = in_folder.open(WORDS)
        assert file.read(0, 2) == b"wo"
        change(in_folder.place(WORDS))
        with pytest.raises(ChangedError):
            file.read(2, 3)
        file.close()


def test_d2_open_file_that_is_replaced_by_the_same_bytes_or_removed_stays(in_folder: FolderStore) -> None:
    in_folder.put(b"words")
    file = in_folder.open(WORDS)
    in_folder.put(b"words")
    assert file.read(0, 5) == b"words"
    file.close()


def test_d2_store_tells_of_each_file_that_it_lacks(in_folder: FolderStore) -> None:
    told: list[str] = []
    in_folder.lacking = lambda error: told.append(f"{error.code} {error.details['file']}")
    in_folder.put(b"words")
    in_folder.place(WORDS).write_bytes(b"wards")
    for ask in (in_folder.open, in_folder.check, in_folder.verified):
        with pytest.raises(ArtifactError):
            ask(WORDS)
    with pytest.raises(ArtifactError):
        in_folder.open("00" * 32)
    assert told == 3 * [f"artifact-damaged {WORDS}"] + [f"artifact-missing {'00' * 32}"]


def test_leftovers_of_a_killed_process_are_removed(in_folder: FolderStore) -> None:
    (in_folder.incoming / "leftover").write_bytes(b"of a killed process")
    in_folder.clear_incoming()
    assert list(in_folder.incoming.iterdir()) == []


def test_what_another_process_is_writing_stays(in_folder: FolderStore) -> None:
    """`coordinator rebuild files` beside a coordinator that starts."""
    with in_folder.writer() as writer:
        writer.write(b"words")
        FolderStore(in_folder.root).clear_incoming()
        assert writer.keep().sha256 == WORDS
    assert in_folder.read(WORDS) == b"words"
    assert list(in_folder.incoming.iterdir()) == []


def test_folder_that_is_gone_says_nothing_about_its_files(in_folder: FolderStore) -> None:
    in_folder.put(b"words")
    shutil.move(in_folder.root, in_folder.root.with_name("unmounted"))
    for ask in (in_folder.has, in_folder.path, in_folder.read):
        with pytest.raises(StoreError, match="can't be used"):
            ask(WORDS)
    assert in_folder.problem() is not None
    shutil.move(in_folder.root.with_name("unmounted"), in_folder.root)
    assert in_folder.read(WORDS) == b"words"


class _Full:
    """A file on a disk that is full from some byte on."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: memoryview) -> int:
        if self._room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written: int = self._file.write(data[: self._room])
        self._room -= written
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("name", ["folder", "moto"])
def test_full_disk_keeps_nothing_and_goes_on_when_there_is_room(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = STORES[name](request, tmp_path)
    with store.writer() as writer:
        writer._file = _Full(writer._file, 3)  # type: ignore[assignment]
        with pytest.raises(StoreError, match="no room left") as full:
            writer.write(b"words")
    assert full.value.code == "store-full"
    assert not writer.path.exists()
    assert not store.has(WORDS)
    assert store.put(b"words").sha256 == WORDS


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a disk")
def test_really_full_disk(tmp_path: Path) -> None:

    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        store = FolderStore(folder / "artifacts")
        kept = store.put(os.urandom(1 << 18))
        with pytest.raises(StoreError) as full:
            store.put(os.urandom(1 << 20))
        assert full.value.code == "store-full"
        assert store.check(kept.sha256) == 1 << 18
        assert list(store.incoming.iterdir()) == [], "what did not fit takes no room"
        filler = folder / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(1 << 20))
        problem = store.problem()
        assert problem is not None
        assert problem.code == "store-full"
        filler.unlink()
        assert store.problem() is None
        store.put(os.urandom(1 << 18))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# A bucket


def test_bucket_has_the_keys_of_a_mirror(moto: s3.Server, bucket: str, in_bucket: S3Store) -> None:
    digest = keccak(b"words").hex()
    in_bucket.link(digest, in_bucket.put(b"words").sha256)
    keys = {item["Key"] for item in moto.client().list_objects_v2(Bucket=bucket)["Contents"]}
    assert keys == {f"a/b/{WORDS[:2]}/{WORDS}", f"a/b/by-keccak/{digest}"}
    moto.client().put_bucket_policy(Bucket=bucket, Policy=_public(bucket))
    source = CoordinatorSource(f"{moto.endpoint}/{bucket}/a/b")
    try:
        assert source.document(digest) == b"words"
        assert source.fetch(WORDS, 100).read_bytes() == b"words"
    finally:
        source.close()


def _public(bucket: str) -> str:
    return (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", '
        f'"Resource": "arn:aws:s3:::{bucket}/*"}}]}}'
    )


def test_server_is_sent_the_hash_of_what_it_must_have_got(tmp_path: Path) -> None:
    with s3.refusing(400, "BadDigest") as (endpoint, seen):
        store = s3.store(endpoint, "bucket", tmp_path / "cache")
        with pytest.raises(StoreError, match="changed on the way") as found:
            store.put(b"words")
    assert found.value.code == "store-checksum"
    assert base64.b64decode(seen[-1]["x-amz-checksum-sha256"]).hex() == WORDS
    assert not store.cache.has(WORDS)


def test_damage_in_the_bucket_is_found_and_never_handed_out(
    moto: s3.Server, bucket: str, tmp_path: Path
) -> None:
    store = s3.store(moto.endpoint, bucket, tmp_path / "cache")
    store.put(b"words")
    key = f"a/b/{WORDS[:2]}/{WORDS}"
    moto.client().put_object(Bucket=bucket, Key=key, Body=b"wor")
    assert store.read(WORDS) == b"words", "there is a good copy"
    with pytest.raises(ArtifactError) as damaged:
        store.check(WORDS)
    assert damaged.value.code == "artifact-damaged"
    elsewhere = s3.store(moto.endpoint, bucket, tmp_path / "another")
    for ask in (elsewhere.path, elsewhere.read, elsewhere.check):
        with pytest.raises(ArtifactError, match="its name promises"):
            ask(WORDS)
    store.put(b"words")
    assert elsewhere.read(WORDS) == b"words"


def test_damaged_copy_is_fetched_anew(in_bucket: S3Store) -> None:
    in_bucket.put(b"words")
    in_bucket.path(WORDS).write_bytes(b"wards")
    assert in_bucket.read(WORDS) == b"words"
    in_bucket.path(WORDS).write_bytes(b"wards")
    file = in_bucket.open(WORDS)
    assert file.read(0, 5) == b"words"
    in_bucket.path(WORDS)  # a use is no change
    assert file.read(0, 5) == b"words"
    file.close()


def test_copies_stay_within_their_bound_but_for_those_in_use(
    moto: s3.Server, bucket: str, tmp_path: Path
) -> None:
    store = s3.store(moto.endpoint, bucket, tmp_path / "cache", cache_bytes=2500)
    names = [store.put(bytes([number]) * 1000).sha256 for number in range(4)]

    def copies() -> set[str]:
        return {path.name for path in store.cache.root.glob("??/*")}

    assert copies() == set(names), "all are in use"
    for age, name in enumerate(reversed(names)):
        used = time.time() - s3_module.IN_USE_SECONDS - 60 * (age + 1)
        os.utime(store.cache.place(name), (used, used))
    store.path(names[0])  # the one that was not used for longest is used now
    store.make_room()
    assert copies() == {names[0], names[3]}
    assert [store.read(name)[0] for name in names] == [0, 1, 2, 3], "the bucket has them all"


def test_large_file_goes_in_parts(in_bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "PART", 5 << 20)
    data = os.urandom(12 << 20)
    stored = in_bucket.put(data)
    assert in_bucket.check(stored.sha256) == len(data)
    with in_bucket.writer() as writer:  # the disk loses a bit between writing and sending
        writer.write(data + b"x")
        with writer.path.open("r+b") as file:
            file.write(b"\0" if data[:1] != b"\0" else b"\1")
        with pytest.raises(StoreError, match="changed on this machine's disk"):
            writer.keep()
        assert not in_bucket.has(writer.sha256())
    uploads = in_bucket._client.list_multipart_uploads(Bucket=in_bucket.bucket)
    assert not uploads.get("Uploads"), "parts that stay cost money"


def test_broken_transfer_goes_on_where_it_was(moto: s3.Server, bucket: str, tmp_path: Path) -> None:
    data = os.urandom(6 << 20)
    stored = s3.store(moto.endpoint, bucket, tmp_path / "cache").put(data)
    line = Line(moto.port)
    try:
        store = s3.store(line.url, bucket, tmp_path / "another")
        line.break_after(3 << 20)
        assert store.path(stored.sha256).read_bytes() == data
    finally:
        line.close()


def test_store_that_is_away_says_nothing_about_its_files(
    moto: s3.Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "ATTEMPTS", 1)
    line = Line(moto.port)
    try:
        store = s3.store(line.url, bucket, tmp_path / "cache")
        with store.writer() as writer:
            writer.write(b"words")
            line.fail()
            with pytest.raises(StoreError) as away:
                writer.keep()
            assert away.value.code == "store-unreachable"
            for ask in (store.has, store.path, store.check, store.by_keccak):
                with pytest.raises(StoreError, match="is tried again"):
                    ask(WORDS)
            problem = store.problem()
            assert problem is not None
            assert problem.code == "store-unreachable"
            line.mend()
            assert writer.keep().sha256 == WORDS, "the same bytes go when it is back"
        assert store.has(WORDS)
    finally:
        line.close()


def test_bucket_that_is_not_there_is_not_a_missing_file(moto: s3.Server, tmp_path: Path) -> None:
    store = s3.store(moto.endpoint, f"nowhere-{secrets.token_hex(4)}", tmp_path / "cache")
    for ask in (lambda: store.put(b"words"), lambda: store.has(WORDS), lambda: store.path(WORDS)):
        with pytest.raises(StoreError, match="no such bucket") as found:
            ask()
        assert found.value.code == "store-bucket"


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (301, "PermanentRedirect", "store-region"),
        (400, "AuthorizationHeaderMalformed", "store-region"),
        (403, "RequestTimeTooSkewed", "store-clock"),
        (403, "InvalidAccessKeyId", "store-credentials"),
        (403, "SignatureDoesNotMatch", "store-credentials"),
        (400, "ExpiredToken", "store-credentials"),
        (507, "XMinioStorageFull", "store-full"),
        (503, "SlowDown", "store-unreachable"),
        (500, "InternalError", "store-unreachable"),
        (405, "MethodNotAllowed", "store-failed"),
    ],
)
def test_each_refusal_has_its_code(
    status: int, said: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "ATTEMPTS", 1)
    with s3.refusing(status, said) as (endpoint, _):
        store = s3.store(endpoint, "bucket", tmp_path / "cache")
        for ask in (lambda: store.put(b"words"), lambda: store.path(WORDS)):
            with pytest.raises(StoreError, match=said) as found:
                ask()
            assert found.value.code == code
            assert found.value.remedy


def test_wrong_credentials_are_named_and_right_ones_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = s3.free_port()
    command = [s3.sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with s3.process(command, port, tmp_path / "log", INITIAL_NO_AUTH_ACTION_COUNT="4") as server:
        server.make_bucket("guarded")
        iam = server.client("iam")
        iam.create_user(UserName="coordinator")
        policy = (
            '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
        )
        iam.put_user_policy(UserName="coordinator", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="coordinator")["AccessKey"]
        refused = s3.store(server.endpoint, "guarded", tmp_path / "cache")
        with pytest.raises(StoreError, match="refuses these credentials") as found:
            refused.put(b"words")
        assert found.value.code == "store-credentials"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        assert s3.store(server.endpoint, "guarded", tmp_path / "cache").put(b"words").sha256 == WORDS
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(StoreError, match="Set AWS_ACCESS_KEY_ID") as none:
            s3.store(server.endpoint, "guarded", tmp_path / "none").put(b"words")
        assert none.value.code == "store-credentials"


def test_expired_or_unknown_certificate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.create("Test authority")
    authority.save(tmp_path / "ca.crt", tmp_path / "ca.key")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for name, until in (("good", None), ("expired", yesterday)):
        authority.issue("localhost", not_after=until).save(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    for name in ("good", "expired"):
        pair = (tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        with s3.moto(tmp_path / "log", certificate=pair) as server:
            monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
            with pytest.raises(
                StoreError, match=r"TLS fails: .*\. Renew the server's certificate"
            ) as unknown:
                s3.store(server.endpoint, "bucket", tmp_path / "cache").put(b"words")
            assert unknown.value.code == "store-tls"
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.crt"))
            store = s3.store(server.endpoint, "bucket", tmp_path / "cache")
            if name == "good":
                server.make_bucket("bucket")
                assert store.put(b"words").sha256 == WORDS
            else:
                with pytest.raises(StoreError, match="certificate has expired"):
                    store.put(b"words")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_digest_is_signed_with_the_request(scheme: str, tmp_path: Path) -> None:
    """Every server compares what is signed; some pass over the header with the checksum."""
    store = s3.store(f"{scheme}://127.0.0.1:9", "bucket", tmp_path / "cache")
    seen: list[str] = []

    def look(request: Any, **_: object) -> None:
        seen.append(request.headers["x-amz-content-sha256"].decode())
        raise EndpointConnectionError(endpoint_url=request.url)

    store._client.meta.events.register("before-send.s3.PutObject", look)
    with pytest.raises(StoreError):
        store.put(b"words")
    assert set(seen) == {WORDS}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_digest_of_each_part_is_signed_with_its_request(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "PART", 5 << 20)
    store = s3.store(f"{scheme}://127.0.0.1:9", "bucket", tmp_path / "cache")
    seen: list[str] = []

    class Begun:
        def stream(self) -> Iterator[bytes]:
            yield b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"

    def begin(request: Any, **_: object) -> Any:
        return AWSResponse(request.url, 200, HTTPHeaders(), Begun())

    def look(request: Any, **_: object) -> None:
        seen.append(request.headers["x-amz-content-sha256"].decode())
        raise EndpointConnectionError(endpoint_url=request.url)

    store._client.meta.events.register("before-send.s3.CreateMultipartUpload", begin)
    store._client.meta.events.register("before-send.s3.UploadPart", look)
    store._client.meta.events.register("before-send.s3.AbortMultipartUpload", begin)
    data = secrets.token_bytes(6 << 20)
    with pytest.raises(StoreError):
        store.put(data)
    assert set(seen) == {hashlib.sha256(data[: 5 << 20]).hexdigest()}


# What a server that is run in production says


def test_ceph_compares_what_it_is_sent_and_takes_large_files_in_parts(
    ceph: s3.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = ceph.make_bucket(f"b-{secrets.token_hex(8)}")
    store = s3.store(ceph.endpoint, bucket, tmp_path / "cache")
    monkeypatch.setattr(s3_module, "PART", 5 << 20)
    data = secrets.token_bytes(12 << 20)
    stored = store.put(data)
    assert s3.store(ceph.endpoint, bucket, tmp_path / "another").read(stored.sha256) == data

    def damage(request: Any, **_: object) -> None:
        request.body = b"Words"

    store._client.meta.events.register("before-send.s3.PutObject", damage)
    with pytest.raises(StoreError, match="the bytes changed on the way") as refused:
        store.put(b"words")
    assert refused.value.code == "store-checksum"
    assert not s3.store(ceph.endpoint, bucket, tmp_path / "another").has(WORDS)


def test_ceph_names_wrong_keys_and_buckets(
    ceph: s3.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = ceph.make_bucket(f"b-{secrets.token_hex(8)}")
    with pytest.raises(StoreError, match="no such bucket") as nowhere:
        s3.store(ceph.endpoint, "nowhere", tmp_path / "cache").put(b"words")
    assert nowhere.value.code == "store-bucket"
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(variable, "wrong")
        store = s3.store(ceph.endpoint, bucket, tmp_path / "cache")
        for ask in (partial(store.put, b"words"), partial(store.has, WORDS)):
            with pytest.raises(StoreError, match="refuses these credentials") as wrong:
                ask()
            assert wrong.value.code == "store-credentials"


@pytest.mark.long
@pytest.mark.timeout(200)
def test_ceph_with_an_expired_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_no_ceph():
        pytest.skip(reason)
    authority = Authority.create("Test authority")
    authority.save(tmp_path / "ca.pem", tmp_path / "ca.key")
    authority.issue("localhost", not_after=datetime.now(UTC) - timedelta(days=1)).save(
        tmp_path / "crt.pem", tmp_path / "key.pem"
    )
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    pair = (tmp_path / "crt.pem", tmp_path / "key.pem")
    with (
        tempfile.TemporaryDirectory(prefix="ceph-") as folder,
        run_ceph(Path(folder), certificate=pair) as server,
    ):
        with pytest.raises(StoreError, match="certificate has expired") as expired:
            s3.store(server.endpoint, "bucket", tmp_path / "cache").put(b"words")
        assert expired.value.code == "store-tls"


def test_location_says_which_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, rpc_url="http://127.0.0.1:1", keystore=tmp_path / "key.json")

    def opened(location: str, **options: str) -> Store:
        return settings.model_copy(update={"store": location, **options}).open_store()

    assert isinstance(opened(str(tmp_path / "folder")), FolderStore)
    bucket = opened("s3://bucket/pre/fix/", store_region="eu-central-1")
    assert isinstance(bucket, S3Store)
    assert (bucket.bucket, bucket.prefix, bucket.location) == ("bucket", "pre/fix", "s3://bucket/pre/fix")
    with pytest.raises(InputError, match="names no bucket"):
        opened("s3://")
    with pytest.raises(InputError, match="can't be set up"):
        opened("s3://bucket", store_endpoint="nonsense")
