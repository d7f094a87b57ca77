# SPDX-License-Identifier: Apache-2.0
"""The coordinator's HTTP interface, from the outside: what the relay, the command line and a node use.

Every file that comes through here was hashed before it is handed on; everything else that a coordinator says
is a claim, to be checked on the chain where it matters. httpx is imported at the first request. Knows nothing
of the coordinator's inside.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from eth_abi.abi import encode
from eth_account.messages import SignableMessage

from folkmoot.errors import ArtifactError, CoordinatorError, InputError, UpdateRefused
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.hashing import canonical_json, keccak, parse_json
from folkmoot.runtime import services, tls

if TYPE_CHECKING:
    import httpx
    from eth_account.signers.local import LocalAccount

DEFAULT_TIMEOUT = 30.0
"""Seconds that the coordinator may take to connect, and between two pieces of an answer."""

UPLOAD_TIMEOUT = 300.0
"""Seconds that it may take to check an update."""

HEARTBEAT_TIMEOUT = 45.0
"""Seconds of silence after which an event stream counts as broken; the coordinator speaks more often."""

SIGNATURE_LIFETIME = 600
"""Seconds for which a signed request is good, by the clock on the wall."""

ANSWER_SECONDS = 600.0
"""Seconds after which what was asked for must be there as a whole, however steadily it comes; not for `download`."""

MAX_ANSWER = 128 << 20
"""Most bytes of an answer that is held in memory. The largest honest ones are manifests."""

MAX_EVENT = 1 << 20
"""Most bytes of an event of the stream, and of a line in it."""

CHUNK = 1 << 20

REFUSALS = frozenset(
    {
        "round-unknown", "round-closed", "wrong-base", "wrong-size", "invalid-encoding", "wrong-root",
        "wrong-norm", "norm-too-large", "invalid-signature", "stake-too-low", "duplicate", "round-full",
        "invalid-commitment",
    }
)  # fmt: skip
"""Codes with which an update is refused: docs/protocol.md section 7, and a commitment that can't be read at
all."""

_UPLOAD_TYPEHASH = keccak(b"Upload(bytes32 sha256,uint64 deadline)")
_RUN_TYPEHASH = keccak(b"Run(uint32 rounds,uint32 expect,uint64 deadline)")
_END_RUN_TYPEHASH = keccak(b"EndRun(bytes16 run,string reason,uint64 deadline)")
_REPORT_TYPEHASH = keccak(b"Report(uint64 round,bytes32 digest,uint64 deadline)")
_COMMITMENT_FIELDS = {
    "contributor": "contributor",
    "round": "round",
    "baseStateRoot": "base_state_root",
    "updateRoot": "update_root",
    "sumSquares": "sum_squares",
    "numExamples": "num_examples",
    "bundleHash": "bundle_hash",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer, all of it."""

    path: str
    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class CurrentRound:
    """The round to train for, as the coordinator says."""

    round: int
    """Its number."""
    phase: str
    """Its phase in lower case: open or committed."""
    header: bytes
    """Encoded header (docs/protocol.md section 4); its hash is on the chain."""
    manifest: str
    """sha256 of the manifest, hex without 0x."""
    base_state: str
    """sha256 of the base's state file, hex without 0x."""
    momentum_root: bytes
    """Root of the base's momentum tree."""
    commit_deadline: int
    """Chain time from which no update is taken."""
    chain_time: int
    """Chain time of the answer."""
    received: int
    """Updates accepted so far."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, as the coordinator says."""

    id: str
    """Its identifier."""
    state: str
    """running, done or failed."""
    rounds: int
    """Rounds asked for."""
    completed: int
    """Rounds anchored."""
    expect: int
    """Contributors after whose answers a round need not wait any longer."""
    error: str | None
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the coordinator's log."""

    id: int
    """Its number; numbers grow."""
    type: str
    """What happened, e.g. round-anchored (docs/architecture.md)."""
    data: dict[str, Any]
    """Values that belong to it."""


def commitment_to_wire(commitment: Commitment, signature: bytes) -> str:
    """Write a signed commitment as the canonical JSON that travels with the update."""
    values = {
        "contributor": commitment.contributor,
        "round": str(commitment.round),
        "baseStateRoot": "0x" + commitment.base_state_root.hex(),
        "updateRoot": "0x" + commitment.update_root.hex(),
        "sumSquares": str(commitment.sum_squares),
        "numExamples": str(commitment.num_examples),
        "bundleHash": "0x" + commitment.bundle_hash.hex(),
        "signature": "0x" + signature.hex(),
    }
    return canonical_json(values).decode()


def commitment_from_wire(text: str) -> tuple[Commitment, bytes]:
    """Read what `commitment_to_wire` wrote: the commitment and its signature.

    Raises:
        InputError: code `invalid-commitment`: a field is missing, unknown or malformed.
    """
    try:
        values = parse_json(text.encode())
        if not isinstance(values, dict) or set(values) != {*_COMMITMENT_FIELDS, "signature"}:
            raise ValueError(f"it has exactly the fields {', '.join([*_COMMITMENT_FIELDS, 'signature'])}")
        if not all(isinstance(value, str) for value in values.values()):
            raise ValueError("all its values are strings")
        signature = _hex_bytes(values["signature"])
        commitment = Commitment.from_json({name: values[wire] for wire, name in _COMMITMENT_FIELDS.items()})
    except (ValueError, InputError) as error:
        raise InputError(
            f"The commitment can't be read: {error}.",
            remedy="Send it as docs/architecture.md says: canonical JSON, integers as decimal strings.",
            code="invalid-commitment",
        ) from error
    return commitment, signature


def upload_message(domain: Domain, sha256: str, deadline: int) -> SignableMessage:
    """What an account signs to publish a report."""
    fields = encode(("bytes32", "bytes32", "uint64"), (_UPLOAD_TYPEHASH, bytes.fromhex(sha256), deadline))
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def run_message(domain: Domain, rounds: int, expect: int, deadline: int) -> SignableMessage:
    """What the coordinator's account signs to start a run."""
    fields = encode(("bytes32", "uint32", "uint32", "uint64"), (_RUN_TYPEHASH, rounds, expect, deadline))
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def end_run_message(domain: Domain, run: str, reason: str, deadline: int) -> SignableMessage:
    """What the coordinator's account signs to end a run.

    Args:
        domain: Chain and ledger of the federation.
        run: Its identifier, 32 digits in hex.
        reason: Why the run ends. The API shows it.
        deadline: Unix time on the wall until which it may be handed in.
    """
    values = (_END_RUN_TYPEHASH, bytes.fromhex(run), keccak(reason.encode()), deadline)
    fields = encode(("bytes32", "bytes16", "bytes32", "uint64"), values)
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def report_message(domain: Domain, round_number: int, digest: bytes, deadline: int) -> SignableMessage:
    """What the coordinator's account signs to report on the nodes of a round.

    Args:
        domain: Chain and ledger of the federation.
        round_number: The round.
        digest: sha256 of the report's canonical JSON without deadline and signature, 32 bytes.
        deadline: Unix time on the wall until which it may be handed in.
    """
    values = (_REPORT_TYPEHASH, round_number, digest, deadline)
    fields = encode(("bytes32", "uint64", "bytes32", "uint64"), values)
    return SignableMessage(b"\x01", domain.separator, keccak(fields))


def report_digest(content: Mapping[str, Any]) -> bytes:
    """Return the sha256 of a round report's content: `round`, `complete`, `nodes` and `metrics`.

    Seconds and metrics are binary64, so a whole number is written with a point, as Python's ``repr`` does.
    """
    return hashlib.sha256(canonical_json(dict(content))).digest()


def sign_report(
    content: Mapping[str, Any], account: LocalAccount, domain: Domain, *, after: int = 0
) -> dict[str, Any]:
    """Make the signed form of a round report.

    Args:
        content: `round`, `complete`, `nodes` and `metrics`, as docs/architecture.md says.
        account: The coordinator's account.
        domain: Chain and ledger of the federation.
        after: Deadline of the report that it replaces; its own is not below.
    """
    deadline = max(int(time.time()) + SIGNATURE_LIFETIME, after)
    message = report_message(domain, content["round"], report_digest(content), deadline)
    signature = "0x" + bytes(account.sign_message(message).signature).hex()
    return {**content, "deadline": deadline, "signature": signature}


def sign_run(rounds: int, expect: int, account: LocalAccount, domain: Domain) -> dict[str, Any]:
    """Make the signed request that starts a run, once, within `SIGNATURE_LIFETIME` seconds.

    Args:
        rounds: Rounds to open.
        expect: Contributors after whose answers a round need not wait any longer.
        account: The coordinator's account.
        domain: Chain and ledger of the federation.
    """
    deadline = int(time.time()) + SIGNATURE_LIFETIME
    signed = account.sign_message(run_message(domain, rounds, expect, deadline))
    signature = "0x" + bytes(signed.signature).hex()
    return {"rounds": rounds, "expect": expect, "deadline": deadline, "signature": signature}


class CoordinatorApi:
    """A coordinator behind a URL. A context manager; safe to share between threads.

    Every method raises CoordinatorError when there is no answer (code `coordinator-unreachable`) or a problem
    (its code).

    Args:
        url: Address, e.g. `http://127.0.0.1:8800`.
        timeout: Seconds for connecting, and between two pieces of an answer.
    """

    def __init__(self, url: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._http: httpx.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._http = self._http, None
        if client is not None:
            client.close()

    # Reading.

    def health(self) -> dict[str, Any]:
        """State of the coordinator's parts; also when one of them is down."""
        response = self._send("GET", "/v1/health")
        return self._object(response)

    def date(self) -> str | None:
        """What its server says that the time is, in the form of HTTP; None if it does not say."""
        date: str | None = self._send("GET", "/v1/health").headers.get("Date")
        return date

    def deployment(self) -> Deployment:
        """The federation that it coordinates."""
        return Deployment.from_json(self.get("/v1/deployment"))

    def current_round(self) -> CurrentRound | None:
        """The round to train for, None if none is open."""
        found = self._get_or_none("/v1/rounds/current", "no-open-round")
        if found is None:
            return None
        try:
            return CurrentRound(
                round=int(found["round"]),
                phase=str(found["phase"]),
                header=_hex_bytes(found["header"]),
                manifest=str(found["manifest"]),
                base_state=str(found["baseState"]),
                momentum_root=_hex_bytes(found["momentumRoot"]),
                commit_deadline=int(found["commitDeadline"]),
                chain_time=int(found["chainTime"]),
                received=int(found["received"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._nonsense("/v1/rounds/current") from error

    def run(self, run_id: str = "current") -> RunView | None:
        """A run; by default the newest one. None if there is none."""
        found = self._get_or_none(f"/v1/runs/{run_id}", "unknown-run")
        return None if found is None else self._run_view(found)

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Any JSON object below the coordinator's URL."""
        return self._object(self._checked(self._send("GET", path, params=parameters)))

    def items(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **parameters, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page.get("nextCursor")
            if not cursor:
                return

    # Files.

    def artifact(self, sha256: str) -> bytes:
        """A file's bytes. For small files; `download` is for large ones.

        Raises:
            ArtifactError: The bytes are not what the name promises.
        """
        data = self._checked(self._send("GET", f"/v1/artifacts/{sha256}")).content
        _require(sha256, hashlib.sha256(data).hexdigest())
        return data

    def document(self, keccak256: str) -> bytes:
        """A file by its keccak (hex without 0x).

        Raises:
            ArtifactError: The bytes are not what the name promises.
        """
        data = self._checked(self._send("GET", f"/v1/artifacts/by-keccak/{keccak256}")).content
        _require(keccak256, keccak(data).hex())
        return data

    def download(self, sha256: str, target: Path, size: int) -> Path:
        """Stream a file to a path; it appears there only when all of it arrived and is right.

        Args:
            sha256: Its name.
            target: Where it goes.
            size: Bytes that it has. Whoever sends more does not fill the disk.

        Raises:
            ArtifactError: The bytes are not what the name promises, or more.
        """
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".incoming-")
        digest, left = hashlib.sha256(), size
        try:
            with os.fdopen(handle, "wb") as file, self._stream("GET", f"/v1/artifacts/{sha256}") as response:
                for chunk in response.iter_bytes(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise ArtifactError(
                            f"The coordinator {self.url} sends more than the {size:,} bytes of {sha256}.",
                            remedy="Tell the others, and use another mirror.",
                        )
                    digest.update(chunk)
                    file.write(chunk)
            _require(sha256, digest.hexdigest())
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
        return target

    # Writing.

    def submit_update(self, round_number: int, commitment: str, update: bytes | Path) -> None:
        """Hand in an update: its signed commitment (`commitment_to_wire`) and its file. Again does no harm.

        Raises:
            UpdateRefused: A check failed; `code` is the reason.
        """
        header = base64.urlsafe_b64encode(commitment.encode()).decode()
        content: Any = _chunks(update) if isinstance(update, Path) else update
        size = update.stat().st_size if isinstance(update, Path) else len(update)
        response = self._send(
            "POST",
            f"/v1/rounds/{round_number}/updates",
            content=content,
            headers={
                "Folkmoot-Commitment": header,
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size),
            },
            timeout=max(self.timeout, UPLOAD_TIMEOUT),
        )
        self._checked(response)

    def start_run(self, rounds: int, expect: int, account: LocalAccount, domain: Domain) -> RunView:
        """Start a run, as the coordinator's account.

        Args:
            rounds: Rounds to open.
            expect: Contributors after whose answers a round need not wait any longer.
            account: The coordinator's account.
            domain: Chain and ledger of the federation.
        """
        return self.send_run(sign_run(rounds, expect, account, domain))

    def send_run(self, wish: dict[str, Any]) -> RunView:
        """Start the run that a request of `sign_run` wishes for.

        Raises:
            CoordinatorError: ``signature-used``: it did so before, and ``details["run"]`` is that run; or it refuses.
        """
        answer = self._object(self._checked(self._send("POST", "/v1/runs", json=wish)))
        return RunView(str(answer["id"]), "running", int(wish["rounds"]), 0, int(wish["expect"]), None)

    def end_run(self, run: str, reason: str, account: LocalAccount, domain: Domain) -> RunView:
        """End a run that nobody will go on with, as the coordinator's account. One that is over stays as it is.

        Args:
            run: Its identifier.
            reason: Why, at most 300 characters.
            account: The coordinator's account.
            domain: Chain and ledger of the federation.
        """
        deadline = int(time.time()) + SIGNATURE_LIFETIME
        signed = account.sign_message(end_run_message(domain, run, reason, deadline))
        body = {
            "reason": reason,
            "deadline": deadline,
            "signature": "0x" + bytes(signed.signature).hex(),
        }
        return self._run_view(
            self._object(self._checked(self._send("POST", f"/v1/runs/{run}/end", json=body)))
        )

    def upload_report(self, report: bytes, account: LocalAccount, domain: Domain) -> str:
        """Publish an evaluation report (JSON), as an account with stake; return its sha256."""
        sha256 = hashlib.sha256(report).hexdigest()
        deadline = int(time.time()) + SIGNATURE_LIFETIME
        signed = account.sign_message(upload_message(domain, sha256, deadline))
        proof = {
            "account": account.address,
            "deadline": str(deadline),
            "signature": "0x" + bytes(signed.signature).hex(),
        }
        header = base64.urlsafe_b64encode(canonical_json(proof)).decode()
        response = self._send(
            "POST",
            "/v1/artifacts",
            content=report,
            headers={"Folkmoot-Upload": header, "Content-Type": "application/json"},
        )
        answer = self._object(self._checked(response))
        _require(sha256, str(answer.get("sha256")))
        return sha256

    def send_canary(self, round_number: int, report: bytes, signature: bytes) -> dict[str, Any]:
        """Hand in a canary report, signed by the evaluator; return `sha256`, `new` and `fell`."""
        response = self._send(
            "POST",
            f"/v1/rounds/{round_number}/canary",
            content=report,
            headers={"Folkmoot-Canary": "0x" + signature.hex(), "Content-Type": "application/json"},
        )
        return self._object(self._checked(response))

    def release_round(self, round_number: int, signature: bytes) -> dict[str, Any]:
        """Have a withheld round anchored after all, signed by the coordinator."""
        body = {"signature": "0x" + signature.hex()}
        return self._object(
            self._checked(self._send("POST", f"/v1/rounds/{round_number}/release", json=body))
        )

    def send_report(self, report: Mapping[str, Any]) -> None:
        """Hand in a round report that `sign_report` made; it replaces the one before.

        Raises:
            CoordinatorError: ``report-outdated``: a newer one is there, and ``details["deadline"]`` is its deadline.
        """
        self._checked(self._send("POST", f"/v1/rounds/{report['round']}/report", json=dict(report)))

    def round_report(self, round_number: int) -> dict[str, Any] | None:
        """What the operator reports of the nodes of a round; None if nothing."""
        return self._get_or_none(f"/v1/rounds/{round_number}/report", "no-report")

    # Events.

    def events(self, after: int | None = None, *, patience: float = 60.0) -> Iterator[Event]:
        """Events as they happen, without end; a broken connection is taken up where it broke.

        Args:
            after: Number of the last event that is known; 0 for all there are; None for new ones only.
            patience: Seconds for which a coordinator that is unreachable, or whose database is, is tried again.
        """
        import httpx

        last = after
        given_up = time.monotonic() + patience
        while True:
            headers = {} if last is None else {"Last-Event-ID": str(last)}
            timeout = httpx.Timeout(self.timeout, read=HEARTBEAT_TIMEOUT)
            try:
                with self._stream("GET", "/v1/events", headers=headers, timeout=timeout) as response:
                    for event in _parse_events(response.iter_bytes()):
                        given_up = time.monotonic() + patience
                        if event.type == "hello":
                            last = event.id if last is None else last
                            continue
                        last = event.id
                        yield event
            except CoordinatorError as error:
                passes = error.code == "coordinator-unreachable" or error.details.get("status") == 503
                if not passes or time.monotonic() >= given_up:
                    raise
            time.sleep(0.5)

    def newest_event(self) -> int:
        """Number of the newest event: what comes after it is news."""
        from folkmoot.runtime.deadlines import within

        with within(ANSWER_SECONDS), self._stream("GET", "/v1/events") as response:
            for event in _parse_events(response.iter_bytes()):
                return event.id
        raise self._nonsense("/v1/events")

    # Inside.

    def _client(self) -> httpx.Client:
        import httpx

        from folkmoot.runtime.deadlines import Transport

        if self._http is None:
            self._http = httpx.Client(base_url=self.url, timeout=self.timeout, transport=Transport())
        return self._http

    def _send(self, method: str, path: str, **options: Any) -> _Answer:
        import httpx

        try:
            try:
                return self._exchange(method, path, **options)
            except httpx.RemoteProtocolError:
                if method != "GET":
                    raise
                return self._exchange(method, path, **options)  # an idle connection had been closed
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _exchange(self, method: str, path: str, **options: Any) -> _Answer:
        from folkmoot.runtime.deadlines import within

        # Not for what is sent: a large update takes the time that its line needs.
        end = within(ANSWER_SECONDS) if method == "GET" else nullcontext()
        with end, self._client().stream(method, path, **options) as response:
            return self._whole(response)

    def _whole(self, response: httpx.Response) -> _Answer:
        """Read an answer into memory, up to `MAX_ANSWER` bytes of it."""
        data = bytearray()
        for part in response.iter_bytes():
            data += part
            if len(data) > MAX_ANSWER:
                raise CoordinatorError(
                    f"The coordinator {self.url} answered {response.url.path} with more than {MAX_ANSWER >> 20} MiB.",
                    remedy="No honest answer is that large: tell the others, and use another mirror.",
                )
        return _Answer(response.url.path, response.status_code, response.headers, bytes(data))

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        import httpx

        try:
            with self._client().stream(method, path, **options) as response:
                if response.status_code >= 400:
                    self._checked(self._whole(response))
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _checked(self, answer: _Answer) -> _Answer:
        if answer.status >= 400:
            self._raise_problem(answer)
        return answer

    def _raise_problem(self, answer: _Answer) -> NoReturn:
        try:
            problem = parse_json(answer.content)
            code, detail = str(problem["code"]), str(problem["detail"])
        except (InputError, KeyError, TypeError) as error:
            unknown = answer.status in services.UNKNOWN_PATH
            found = services.mistaken(self.url, self.url, services.COORDINATOR) if unknown else None
            message, remedy = found or (
                f"The coordinator {self.url} answered with HTTP {answer.status}.",
                "Check that the address is that of a Folkmoot coordinator.",
            )
            raise CoordinatorError(message, remedy=remedy, details={"status": answer.status}) from error
        standard = {"type", "title", "detail", "code", "remedy"}
        details = {key: value for key, value in problem.items() if key not in standard}
        kind = UpdateRefused if code in REFUSALS else CoordinatorError
        raise kind(detail, remedy=str(problem.get("remedy") or ""), code=code, details=details)

    def _get_or_none(self, path: str, code: str) -> dict[str, Any] | None:
        try:
            return self.get(path)
        except CoordinatorError as error:
            if error.code == code:
                return None
            raise

    def _object(self, answer: _Answer) -> dict[str, Any]:
        try:
            value = parse_json(answer.content)
        except InputError as error:
            raise self._nonsense(answer.path) from error
        if not isinstance(value, dict):
            raise self._nonsense(answer.path)
        return value

    def _run_view(self, found: dict[str, Any]) -> RunView:
        try:
            return RunView(
                id=str(found["id"]),
                state=str(found["state"]),
                rounds=int(found["rounds"]),
                completed=int(found["completed"]),
                expect=int(found["expect"]),
                error=None if found.get("error") is None else str(found["error"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._nonsense("/v1/runs") from error

    def _unreachable(self, error: Exception) -> CoordinatorError:
        refused = tls.reason(error)
        why = f"TLS fails, {refused}" if refused else str(error) or type(error).__name__
        return CoordinatorError(
            f"The coordinator {self.url} can't be reached: {why}.",
            remedy=tls.REMEDY
            if refused
            else "Check the address (--coordinator or FOLKMOOT_COORDINATOR) and that it is running.",
            code="coordinator-unreachable",
        )

    def _nonsense(self, path: str) -> CoordinatorError:
        return CoordinatorError(
            f"The coordinator {self.url} gave an answer for {path} that can't be read.",
            remedy="Check that it is a Folkmoot coordinator of this release.",
        )


def _parse_events(pieces: Iterable[bytes]) -> Iterator[Event]:
    number, kind, data = 0, "message", ""
    for line in _lines(pieces):
        if not line:
            if data:
                yield Event(number, kind, _event_data(data))
            kind, data = "message", ""
        elif line.startswith("id:"):
            try:
                number = int(line[3:])
            except ValueError as error:
                raise _no_event() from error
        elif line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
            if len(data) > MAX_EVENT:
                raise _no_event()


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream, without their ends: httpx's own `iter_lines` keeps a line in memory however long it is.

    Raises:
        CoordinatorError: One has more than `MAX_EVENT` bytes, and no end yet.
    """
    line = bytearray()
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            yield (line + piece[start:end]).decode("utf-8", "replace").rstrip("\r")
            line.clear()
            start = end + 1
        line += piece[start:]
        if len(line) > MAX_EVENT:
            raise _no_event()
    yield line.decode("utf-8", "replace").rstrip("\r")


def _event_data(text: str) -> dict[str, Any]:
    try:
        found = parse_json(text.encode())
    except InputError as error:
        raise _no_event() from error
    if not isinstance(found, dict):
        raise _no_event()
    return found


def _no_event() -> CoordinatorError:
    return CoordinatorError(
        "The coordinator sent an event that can't be read, or that is too long.",
        remedy="Check that it is a Folkmoot coordinator of this release.",
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _require(name: str, digest: str) -> None:
    if name != digest:
        raise ArtifactError(
            f"The coordinator's file {name} has the hash {digest}.",
            remedy="Do not use it; get it from another mirror and tell the coordinator.",
            code="artifact-damaged",
        )
