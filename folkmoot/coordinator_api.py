# SPDX-License-Identifier: Apache-2.0
"""HTTP client of the coordinator's API, for the relay, the command line and the nodes.

The client checks the hash of every file. All other data of a coordinator are claims, which the caller must check on the
chain where they matter. httpx is imported at the first request. This module imports nothing of the coordinator.
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, Self

from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.errors import ArtifactError, CoordinatorError, FolkmootError, InputError, UpdateRefused
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.deletion import DeletionWish
from folkmoot.protocol.hashing import canonical_json, parse_json
from folkmoot.protocol.requests import (
    begin_run_message,
    end_run_message,
    report_digest,
    report_message,
    run_message,
    upload_message,
)
from folkmoot.protocol.verdict import Reason
from folkmoot.runtime import services, tls
from folkmoot.runtime.coding import SAMPLE, coded, pays

if TYPE_CHECKING:
    import httpx
    from eth_account.messages import SignableMessage
    from eth_account.signers.local import LocalAccount

    from folkmoot.evaluation.sites import SiteMeasurement, TableCommitment

DEFAULT_TIMEOUT = 30.0
"""Timeout in seconds for connecting, and between two parts of an answer."""

UPLOAD_TIMEOUT = 300.0
"""Timeout in seconds for the check of an update."""

HEARTBEAT_TIMEOUT = 45.0
"""Timeout in seconds between two messages of an event stream. The coordinator sends heartbeats more often."""

SIGNATURE_LIFETIME = 600
"""Validity of a signed request in seconds of Unix time."""

ANSWER_SECONDS = 600.0
"""Timeout in seconds for a whole answer, even if its parts arrive steadily. It does not apply to `download`."""

MAX_ANSWER = 128 << 20
"""Maximum size in bytes of an answer in memory. The largest honest answers are manifests."""

MAX_EVENT = 1 << 20
"""Maximum size in bytes of an event of the stream, and of a line in it."""

CHUNK = 1 << 18

RESUMED = 1 << 20
"""Size in bytes from which the coordinator is asked how much of an update has arrived before. Smaller ones are sent
anew."""

UNREACHABLE = "coordinator-unreachable"
"""Code of the error that a coordinator gave no answer."""

REFUSALS = frozenset({str(reason) for reason in Reason if reason.refusal} | {"invalid-commitment"})
"""Codes with which an update is refused: those of `Reason`, and one for an unreadable commitment."""

_ANEW = frozenset({"wrong-offset", "invalid-encoding", "wrong-root", "wrong-norm"})
"""Codes after which an update that went on from a part is sent anew: that part may be at fault."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A complete answer."""

    path: str
    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class CurrentRound:
    """The round to train for, according to the coordinator. The API describes the fields with these words."""

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
    """Chain time from which updates are refused."""
    chain_time: int
    """Chain time of the answer."""
    received: int
    """Updates accepted so far."""
    opened_at: int
    """Chain time of the opening: another one if the chain went back, and the round was opened again."""

    @property
    def opening(self) -> tuple[int, int]:
        """Number and chain time of the opening: a chain that went back may open the same round again."""
        return self.round, self.opened_at


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, according to the coordinator."""

    id: str
    state: str
    """running, done or failed."""
    rounds: int
    completed: int
    expect: int
    """Number of contributors after whose updates a round stops waiting."""
    error: str | None
    """Reason of the failure; None if it has not failed."""
    patience: int = 0
    """Seconds for which rounds that are cancelled in a row are tried again."""
    cancelled: int = 0
    """Number of rounds in a row that were cancelled."""
    next_round_at: int | None = None
    """Unix time on the coordinator's wall clock before which it opens no round; None if it does not wait."""
    waiting: str | None = None
    """What keeps it from going on that does not belong to every round, and what ends that; None if there is nothing."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the coordinator's log."""

    id: int
    """Number of the event; numbers increase."""
    type: str
    """Type of the event, e.g. round-anchored (docs/api.md)."""
    data: dict[str, Any]


def commitment_to_wire(commitment: Commitment, signature: bytes) -> str:
    """Return a signed commitment as the canonical JSON that is sent with the update."""
    return canonical_json(commitment.to_json() | {"signature": "0x" + signature.hex()}).decode()


def commitment_from_wire(text: str) -> tuple[Commitment, bytes]:
    """Parse the result of `commitment_to_wire`; return the commitment and its signature.

    Raises:
        InputError: code `invalid-commitment`: a field is missing, unknown or malformed.
    """
    try:
        values = parse_json(text.encode())
        if not isinstance(values, dict) or not isinstance(values.get("signature"), str):
            raise ValueError("it is an object with a signature, a string")
        signature = _hex_bytes(values.pop("signature"))
        commitment = Commitment.from_json(values)
    except (ValueError, InputError) as error:
        raise InputError(
            f"The commitment can't be read: {str(error).rstrip('.')}.",
            remedy="Send it as docs/api.md says: canonical JSON, integers as decimal strings.",
            code="invalid-commitment",
        ) from error
    return commitment, signature


def sign_report(
    content: Mapping[str, Any], account: LocalAccount, domain: Domain, *, after: int = 0
) -> dict[str, Any]:
    """Return a round report with deadline and signature.

    Args:
        content: `round`, `complete`, `nodes` and `metrics`, as in docs/api.md.
        account: The coordinator's account.
        domain: Chain and ledger of the federation.
        after: Deadline of the report to be replaced. The new deadline is not lower.
    """
    deadline = max(_deadline(), after)
    message = report_message(domain, content["round"], report_digest(content), deadline)
    return {**content, "deadline": deadline, "signature": _signature(account, message)}


def sign_run(
    rounds: int, expect: int, account: LocalAccount, domain: Domain, *, patience: int = 0, wait: int = 0
) -> dict[str, Any]:
    """Return a signed request that starts a run. It can be used once, within `SIGNATURE_LIFETIME` seconds.

    Args:
        rounds: Number of rounds to open.
        expect: Number of contributors after whose updates a round stops waiting.
        account: The coordinator's account.
        domain: Chain and ledger of the federation.
        patience: Seconds for which rounds that are cancelled in a row are tried again, at most 30 days.
        wait: Seconds for which no round is opened, at most an hour; `CoordinatorApi.begin_run` ends the wait.
    """
    deadline, salt = _deadline(), secrets.token_hex(16)
    signature = _signature(account, run_message(domain, rounds, expect, patience, wait, salt, deadline))
    return {
        "rounds": rounds,
        "expect": expect,
        "patience": patience,
        "wait": wait,
        "salt": salt,
        "deadline": deadline,
        "signature": signature,
    }


def _deadline() -> int:
    return int(time.time()) + SIGNATURE_LIFETIME


def _signature(account: LocalAccount, message: SignableMessage) -> str:
    return "0x" + bytes(account.sign_message(message).signature).hex()


class CoordinatorApi:
    """Client of a coordinator. A context manager; safe to share between threads.

    Every method raises CoordinatorError if there is no answer (code `coordinator-unreachable`) or a problem (with its
    code).

    Args:
        url: URL of the coordinator, e.g. `http://127.0.0.1:8800`.
        timeout: Timeout in seconds for connecting, and between two parts of an answer.
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
        """Close the connections. The next call opens new ones."""
        client, self._http = self._http, None
        if client is not None:
            client.close()
        if (files := self.__dict__.pop("files", None)) is not None:
            files.close()

    # Reading.

    def health(self) -> dict[str, Any]:
        """Return the state of the coordinator's parts, even if one of them is unavailable."""
        response = self._send("GET", "/v1/health")
        return self._object(response)

    def date(self) -> str | None:
        """Return the time of the coordinator's server in the format of HTTP; None if it is not sent."""
        date: str | None = self._send("GET", "/v1/health").headers.get("Date")
        return date

    def deployment(self) -> Deployment:
        """Return the federation that it coordinates."""
        return Deployment.from_json(self.get("/v1/deployment"))

    def current_round(self) -> CurrentRound | None:
        """Return the round to train for; None if no round is open."""
        view = self._get_or_none("/v1/rounds/current", "no-open-round")
        if view is None:
            return None
        try:
            return CurrentRound(
                round=int(view["round"]),
                phase=str(view["phase"]),
                header=_hex_bytes(view["header"]),
                manifest=str(view["manifest"]),
                base_state=str(view["baseState"]),
                momentum_root=_hex_bytes(view["momentumRoot"]),
                commit_deadline=int(view["commitDeadline"]),
                chain_time=int(view["chainTime"]),
                received=int(view["received"]),
                opened_at=int(view["openedAt"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._nonsense("/v1/rounds/current") from error

    def run(self, run_id: str = "current") -> RunView | None:
        """Return a run, by default the newest one; None if there is none."""
        view = self._get_or_none(f"/v1/runs/{run_id}", "unknown-run")
        return None if view is None else self._run_view(view)

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Return any JSON object below the coordinator's URL."""
        return self._object(self._checked(self._send("GET", path, params=parameters)))

    def items(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield all items of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **parameters, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page.get("nextCursor")
            if not cursor:
                return

    # Files.

    @cached_property
    def files(self) -> CoordinatorSource:
        """The coordinator's files by their hash. A failure is not tried again. They are removed by `close`."""
        return CoordinatorSource(self.url, self.timeout, retry_timeout=0)

    def model(self, version: str) -> bytes:
        """Return the model file of a version, which the coordinator makes of its state.

        The version is a number, that of an anchored round, or ``active``.
        """
        return self._checked(self._send("GET", f"/v1/models/{version}/download")).content

    # Writing.

    def submit_update(
        self,
        round_number: int,
        commitment: str,
        update: bytes | Path,
        *,
        moved: Callable[[int, int, int], object] = lambda new, done, total: None,
    ) -> bytes | None:
        """Submit an update: its signed commitment (`commitment_to_wire`) and its file. Repetition is harmless.

        After a broken upload, a large file goes on where it stopped. The body is coded by gzip if that pays.

        `moved` is called with the number of bytes that have just been sent, of all that were sent, and of the file.

        Returns:
            The signature of the coordinator's acknowledgement, which may be false; None if there is none.

        Raises:
            UpdateRefused: A check failed; `code` is the reason.
        """
        header = {"Folkmoot-Commitment": base64.urlsafe_b64encode(commitment.encode()).decode()}
        size = update.stat().st_size if isinstance(update, Path) else len(update)
        start, signature = self._arrived(round_number, header, size) if size >= RESUMED else (0, None)
        if start is None:
            return signature
        try:
            return self._upload(round_number, header, update, size, start, moved)
        except (CoordinatorError, UpdateRefused) as error:
            if not start or error.code not in _ANEW:
                raise
            return self._upload(round_number, header, update, size, 0, moved)

    def _arrived(
        self, round_number: int, header: Mapping[str, str], size: int
    ) -> tuple[int | None, bytes | None]:
        """Return how many bytes of an update have arrived; None, and the acknowledgement, if it was taken in."""
        path = f"/v1/rounds/{round_number}/upload"
        view = self._object(self._checked(self._send("GET", path, headers=header)))
        there, accepted = view.get("offset"), view.get("accepted")
        if type(there) is not int or not 0 <= there <= size or view.get("size") != size:
            raise self._nonsense(path)
        return (None, _acknowledged(view)) if accepted is True else (there, None)

    def _upload(
        self,
        round_number: int,
        header: Mapping[str, str],
        update: bytes | Path,
        size: int,
        start: int,
        moved: Callable[[int, int, int], object],
    ) -> bytes | None:
        with update.open("rb") if isinstance(update, Path) else io.BytesIO(update) as file:
            pack = pays(file.read(SAMPLE), packed=True)
            file.seek(start)
            content = _chunks(file, start, size, moved)
            length = {"Content-Encoding": "gzip"} if pack else {"Content-Length": str(size - start)}
            response = self._send(
                "POST",
                f"/v1/rounds/{round_number}/updates",
                content=coded(content, packed=True) if pack else content,
                headers={
                    **header,
                    **length,
                    "Upload-Offset": str(start),
                    "Content-Type": "application/octet-stream",
                },
                timeout=max(self.timeout, UPLOAD_TIMEOUT),
            )
        return _acknowledged(self._object(self._checked(response)))

    def needs(self, rounds: int, expect: int) -> list[dict[str, str]]:
        """Return what a run of some rounds needs: `check`, `state` (ok, warning, failed), `text`, `remedy` of each."""
        answer = self._checked(
            self._send("GET", "/v1/runs/needs", params={"rounds": rounds, "expect": expect})
        )
        try:
            names = ("check", "state", "text", "remedy")
            return [{name: str(line[name]) for name in names} for line in parse_json(answer.content)]
        except (InputError, ValueError, KeyError, TypeError) as error:
            raise self._nonsense(answer.path) from error

    def start_run(
        self, rounds: int, expect: int, account: LocalAccount, domain: Domain, *, patience: int = 0
    ) -> RunView:
        """Start a run, as the coordinator's account; see `sign_run`."""
        return self.send_run(sign_run(rounds, expect, account, domain, patience=patience))

    def send_run(self, wish: dict[str, Any]) -> RunView:
        """Start a run with a request of `sign_run`.

        Raises:
            CoordinatorError: ``signature-used``: the request was used before, and ``details["run"]`` is its run; or the
                coordinator refuses.
        """
        answer = self._object(self._checked(self._send("POST", "/v1/runs", json=wish)))
        numbers = int(wish["rounds"]), 0, int(wish["expect"])
        return RunView(str(answer["id"]), "running", *numbers, None, patience=int(wish.get("patience", 0)))

    def begin_run(self, run: str, account: LocalAccount, domain: Domain) -> RunView:
        """End the wait at the beginning of a run, as the coordinator's account. Another run does not change."""
        deadline = _deadline()
        body = {
            "deadline": deadline,
            "signature": _signature(account, begin_run_message(domain, run, deadline)),
        }
        return self._run_view(
            self._object(self._checked(self._send("POST", f"/v1/runs/{run}/begin", json=body)))
        )

    def end_run(self, run: str, reason: str, account: LocalAccount, domain: Domain) -> RunView:
        """End an abandoned run, as the coordinator's account. A run that has ended does not change.

        The reason has at most 300 characters.
        """
        deadline = _deadline()
        signature = _signature(account, end_run_message(domain, run, reason, deadline))
        body = {"reason": reason, "deadline": deadline, "signature": signature}
        return self._run_view(
            self._object(self._checked(self._send("POST", f"/v1/runs/{run}/end", json=body)))
        )

    def upload_report(self, report: bytes, account: LocalAccount, domain: Domain) -> str:
        """Publish an evaluation report (JSON), as an account with stake. Return its sha256."""
        sha256 = hashlib.sha256(report).hexdigest()
        deadline = _deadline()
        signature = _signature(account, upload_message(domain, sha256, deadline))
        proof = {"account": account.address, "deadline": str(deadline), "signature": signature}
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
        """Submit a canary report, signed by the evaluator. Return `sha256`, `new` and `fell`."""
        response = self._send(
            "POST",
            f"/v1/rounds/{round_number}/canary",
            content=report,
            headers={"Folkmoot-Canary": "0x" + signature.hex(), "Content-Type": "application/json"},
        )
        return self._object(self._checked(response))

    def release_round(self, round_number: int, signature: bytes) -> dict[str, Any]:
        """Release a withheld round for anchoring, with the coordinator's signature."""
        body = {"signature": "0x" + signature.hex()}
        return self._object(
            self._checked(self._send("POST", f"/v1/rounds/{round_number}/release", json=body))
        )

    def send_measurement(self, measurement: SiteMeasurement) -> None:
        """Publish a site's signed measurement. Again does no harm."""
        self._checked(
            self._send(
                "POST",
                f"/v1/models/{measurement.version}/measurements",
                content=measurement.to_bytes(),
                headers={"Content-Type": "application/json"},
            )
        )

    def commit_measurement(self, commitment: TableCommitment) -> None:
        """Publish a site's commitment to its table. Again does no harm."""
        path = f"/v1/models/{commitment.version}/measurements/commitments"
        self._checked(
            self._send(
                "POST", path, content=commitment.to_bytes(), headers={"Content-Type": "application/json"}
            )
        )

    def measurement_commitments(self, version: int) -> dict[str, Any]:
        """Return the commitments to tables of a version (`Commitments.to_json`), not checked."""
        response = self._send("GET", f"/v1/models/{version}/measurements/commitments")
        return self._object(self._checked(response))

    def measurements(self, version: int) -> bytes:
        """Return the sites' measurements of a version (docs/protocol.md section 11.5), not checked; empty if none."""
        try:
            return self._checked(self._send("GET", f"/v1/models/{version}/measurements")).content
        except CoordinatorError as error:
            if error.code == "not-measured":
                return b""
            raise

    def delete_updates(self, wish: DeletionWish) -> int:
        """Ask for the deletion of one's update files. Return the last round of the wish that the coordinator keeps."""
        response = self._send("POST", "/v1/deletions", json=wish.to_json())
        return int(self._object(self._checked(response))["lastRound"])

    def send_report(self, report: Mapping[str, Any]) -> None:
        """Submit a round report of `sign_report`. It replaces the previous one.

        Raises:
            CoordinatorError: ``report-outdated``: the coordinator has a newer one, and ``details["deadline"]`` is its
                deadline.
        """
        self._checked(self._send("POST", f"/v1/rounds/{report['round']}/report", json=dict(report)))

    def round_report(self, round_number: int) -> dict[str, Any] | None:
        """Return the operator's report on the nodes of a round; None if there is none."""
        return self._get_or_none(f"/v1/rounds/{round_number}/report", "no-report")

    # Events.

    def events(
        self,
        after: int | None = None,
        *,
        timeout: float = 60.0,
        unavailable: Callable[[CoordinatorError], None] = lambda error: None,
    ) -> Iterator[Event]:
        """Yield events as they happen, endlessly. After a broken connection, continue with the next event.

        Args:
            after: Number of the last known event; 0 for all events; None for new events only.
            timeout: Seconds for which requests are repeated while the coordinator or its database is unavailable.
            unavailable: Is given the error of each request that is repeated.
        """
        import httpx

        last = after
        given_up = time.monotonic() + timeout
        while True:
            headers = {} if last is None else {"Last-Event-ID": str(last)}
            limits = httpx.Timeout(self.timeout, read=HEARTBEAT_TIMEOUT)
            try:
                with self._stream("GET", "/v1/events", headers=headers, timeout=limits) as response:
                    for event in _parse_events(response.iter_bytes()):
                        given_up = time.monotonic() + timeout
                        if event.type == "hello":
                            last = event.id if last is None else last
                            continue
                        last = event.id
                        yield event
            except CoordinatorError as error:
                passes = error.code == UNREACHABLE or error.details.get("status") == 503
                if not passes or time.monotonic() >= given_up:
                    raise
                unavailable(error)
            time.sleep(0.5)

    def newest_event(self) -> int:
        """Return the number of the newest event."""
        from folkmoot.runtime.deadlines import within

        with within(ANSWER_SECONDS), self._stream("GET", "/v1/events") as response:
            for event in _parse_events(response.iter_bytes()):
                return event.id
        raise self._nonsense("/v1/events")

    # Internal methods.

    def _client(self) -> httpx.Client:
        import httpx

        from folkmoot.runtime.deadlines import Transport

        if self._http is None:
            self._http = httpx.Client(
                base_url=self.url, timeout=self.timeout, transport=Transport(), follow_redirects=False
            )
        return self._http

    def _send(self, method: str, path: str, **options: Any) -> _Answer:
        import httpx

        try:
            try:
                return self._exchange(method, path, **options)
            except httpx.RemoteProtocolError:
                if method != "GET":
                    raise
                return self._exchange(method, path, **options)  # An idle connection was closed.
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _exchange(self, method: str, path: str, **options: Any) -> _Answer:
        from folkmoot.runtime.deadlines import within

        # Not for uploads: a large update may take long on a slow line.
        end = within(ANSWER_SECONDS) if method == "GET" else nullcontext()
        with end, self._client().stream(method, path, **options) as response:
            return self._whole(response)

    def _whole(self, response: httpx.Response) -> _Answer:
        """Read an answer into memory, at most `MAX_ANSWER` bytes."""
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
            mistake = services.mistaken(self.url, self.url, services.COORDINATOR) if unknown else None
            message, remedy = mistake or (
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

    def _run_view(self, view: dict[str, Any]) -> RunView:
        try:
            return RunView(
                id=str(view["id"]),
                state=str(view["state"]),
                rounds=int(view["rounds"]),
                completed=int(view["completed"]),
                expect=int(view["expect"]),
                error=None if view.get("error") is None else str(view["error"]),
                patience=int(view.get("patience", 0)),
                cancelled=int(view.get("cancelled", 0)),
                next_round_at=None if view.get("nextRoundAt") is None else int(view["nextRoundAt"]),
                waiting=next((_wait(one) for one in view.get("waits", ()) if not one["normal"]), None),
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
            code=UNREACHABLE,
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
    """Yield the lines of a stream without line ends. Unlike httpx's `iter_lines`, limit a line in memory."""
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
        data = parse_json(text.encode())
    except InputError as error:
        raise _no_event() from error
    if not isinstance(data, dict):
        raise _no_event()
    return data


def _no_event() -> CoordinatorError:
    return CoordinatorError(
        "The coordinator sent an event that can't be read, or that is too long.",
        remedy="Check that it is a Folkmoot coordinator of this release.",
    )


def _chunks(
    file: BinaryIO, done: int, size: int, moved: Callable[[int, int, int], object]
) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
        done += len(chunk)
        moved(len(chunk), done, size)


def passing(error: FolkmootError) -> bool:
    """Return whether a retry may help: no connection, or a server that is starting, stopping or busy."""
    if isinstance(error, ArtifactError):
        return error.code == "artifact-unreachable"
    status = error.details.get("status")
    asked = isinstance(error, CoordinatorError)
    return asked and (error.code == UNREACHABLE or status in (429, 502, 503, 504))


def _acknowledged(view: Mapping[str, Any]) -> bytes | None:
    """Return the signature in an answer, if there seems to be one."""
    try:
        return _hex_bytes(view["acknowledgement"])
    except (KeyError, ValueError, AttributeError):
        return None


def _wait(one: Mapping[str, Any]) -> str:
    return f"{one['message']} {one['remedy']}".strip()


def _hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _require(name: str, digest: str) -> None:
    if name != digest:
        raise ArtifactError(
            f"The coordinator's file {name} has the hash {digest}.",
            remedy="Do not use it; get it from another mirror and tell the coordinator.",
            code="artifact-damaged",
        )
