# SPDX-License-Identifier: Apache-2.0
"""The keeper: keeps the base state of rounds and the carried files on the contributor's disk, and sends files by HTTP.

It is a part of `folkmoot join` outside of the sandbox. The training code requests the base of a round, and the delivery
of a signed update, over a Unix socket (`folkmoot.flower.keeping`). For a base, the keeper has the state already, or it
applies the means since an older one, or it fetches a full state; it chooses the fewest bytes. The names of files come
from the coordinator, the files from mirrors or the coordinator. Neither is trusted: the state root is compared with the
one on the chain, which the keeper reads itself. This module holds no key.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.keeper.delivery import Delivery
from client.keeper.kept import KEEPER, KeptStates, require_room
from client.keeper.left_out import LeftOut
from client.keeper.transfers import DOWN, At, Transfers
from client.signer.sockets import REQUEST_SECONDS, listening, send
from folkmoot.artifacts.sources import (
    ArtifactSource,
    CoordinatorSource,
    FolderSource,
    SeveralSources,
    fetch_into,
)
from folkmoot.artifacts.states import ABSENT, Recipe
from folkmoot.artifacts.store import FolderStore
from folkmoot.coordinator_api import CoordinatorApi, passing
from folkmoot.errors import ArtifactError, FolkmootError, InputError, LocalError, StoreError
from folkmoot.flower.chain import AWAY
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.keeping import BASE_TYPE, CARRIED_TYPE, DELIVER_TYPE, MOMENTUM_TYPE, KeeperError
from folkmoot.flower.signing import read_line
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, parse_json
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import MAGIC
from folkmoot.rpc.client import LedgerReader, Phase, RoundView
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.backoff import Backoff, retry

KEEPER_FOLDER = "keeper"
"""Folder of the states, in the node's folder."""

LONGEST_WAY = 1024
"""Maximum number of means from the newest full state that a source has to a base."""

MIRROR_SECONDS = 15.0
"""Timeout in seconds for a mirror's answer, and for the pauses of one file, before the next source is asked: a mirror
that is down must not cost a round."""

CARRIED_FOLDER = "carried"
"""Folder of the carried files, in that of the states."""

_WEB = ("http://", "https://")
_SEND_SECONDS = 60.0
"""Time in seconds in which the training code must take a part of a base."""
_REQUESTS = 4
"""Maximum number of requests at a time."""
_ANSWER_SECONDS = 120.0
"""Timeout in seconds for the pauses while the coordinator, or the chain, does not answer."""
_WRONG_BASE = "wrong-base"
_TELL = "Nothing was trained. Tell the others, and use another coordinator or mirror."


@dataclass(frozen=True)
class _Step:
    """A round on the way to a base."""

    number: int
    view: RoundView


class Keeper:
    """Serves bases and deliveries on a Unix socket while the block runs; a context manager.

    Args:
        contributor: Configuration of the contributor; its folder must exist.
        others: Further nodes of this machine, which it serves in their own folders from the same states.
        left_out: Whether the signers of the nodes record commitments that the coordinator has not recorded.
        manifest: The federation's manifest, checked against the chain.
        genesis: The federation's genesis, checked against the chain.
        mirrors: URLs or folders of mirrors. They are asked before the coordinator.
        transfers: Shows the transfers. Its ``say`` gets further events.

    Raises:
        InputError: ``no-mirror``: the folder of a mirror does not exist.
    """

    def __init__(
        self,
        contributor: Contributor,
        manifest: Manifest,
        genesis: Genesis,
        mirrors: Sequence[str] = (),
        transfers: Transfers | None = None,
        others: Sequence[Contributor] = (),
        *,
        left_out: bool = False,
    ) -> None:
        self._contributor, self._manifest, self._genesis = contributor, manifest, genesis
        self._mirrors = list(mirrors)
        for place in self._mirrors:
            if not place.startswith(_WEB) and not Path(place).expanduser().is_dir():
                raise InputError(
                    f"There is no folder of a mirror at {place}.",
                    remedy="Give the folder or the URL of a mirror by --set mirror=.",
                    code="no-mirror",
                )
        self._transfers = transfers or Transfers()
        self._api = CoordinatorApi(contributor.coordinator)
        self._deployment = Deployment.from_json(contributor.deployment)
        self._folder = contributor.home / KEEPER_FOLDER
        self._deliveries = [
            (
                node.keeper,
                Delivery(
                    node.home,
                    node.account,
                    self._deployment,
                    node.rpc,
                    node.coordinator,
                    self._transfers,
                    manifest,
                ),
            )
            for node in (contributor, *others)
        ]
        self._left_out = [
            LeftOut(node, delivery, lambda event: self._transfers.say(event))
            for node, (_, delivery) in zip((contributor, *others), self._deliveries, strict=True)
            if left_out
        ]
        self._stopped = threading.Event()
        self._at: At = lambda new, done, total: None
        self._size = 0
        self._lock = threading.Lock()
        self._servers: list[socket.socket] = []
        self._cleanup = contextlib.ExitStack()

    # Both are made when they are used first, in `_disk`: `join` makes no folder before its checks.

    @functools.cached_property
    def _states(self) -> KeptStates:
        return KeptStates(self._folder, self._manifest)

    @functools.cached_property
    def _carried(self) -> FolderStore:
        return FolderStore(self._folder / CARRIED_FOLDER, KEEPER)

    # The socket

    def __enter__(self) -> Keeper:
        """Start serving."""
        with contextlib.ExitStack() as stack:
            for path, _ in self._deliveries:
                try:
                    server = stack.enter_context(listening(path, stack, code="keeper-socket"))
                except OSError as error:
                    raise LocalError(
                        f"The keeper's socket {path} can't be created: {error.strerror}.",
                        remedy="Give a --home on a local disk.",
                        code="keeper-socket",
                    ) from error
                self._servers.append(server)
                stack.callback(path.unlink, missing_ok=True)
            self._cleanup = stack.pop_all()
        for server, (_, delivery) in zip(self._servers, self._deliveries, strict=True):
            threading.Thread(target=self._serve, args=(server, delivery), name="keeper", daemon=True).start()
        for left_out in self._left_out:
            threading.Thread(
                target=left_out.watch, args=(self._stopped,), name="keeper-left-out", daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving and remove the socket. Transfers that are under way end with the process."""
        self._stopped.set()
        while self._servers:
            with contextlib.suppress(OSError):
                self._servers.pop().shutdown(socket.SHUT_RDWR)
        self._cleanup.close()

    def _serve(self, server: socket.socket, delivery: Delivery) -> None:
        requests = threading.BoundedSemaphore(_REQUESTS)
        while True:
            requests.acquire()
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(
                target=self._handle,
                args=(connection, delivery, requests),
                name="keeper-request",
                daemon=True,
            ).start()

    def _handle(
        self, connection: socket.socket, delivery: Delivery, requests: threading.BoundedSemaphore
    ) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                try:
                    self._answer(connection, delivery)
                except FolkmootError as refused:
                    self._say("keeper-failed", detail=str(refused), code=refused.code)
                    send(
                        connection,
                        {"error": refused.message, "remedy": refused.remedy, "code": refused.code},
                    )
        finally:
            requests.release()

    def _answer(self, connection: socket.socket, delivery: Delivery) -> None:
        """Answer a request."""
        kind, what = _asked(read_line(connection, REQUEST_SECONDS))
        if isinstance(what, str):
            with self.carried(what).open("rb") as file:
                send(connection, {}, [file.fileno()])
            return
        number = what
        if kind == DELIVER_TYPE:
            delivery.deliver(number, self._failed)
            send(connection, {})
            return
        momentum = kind == MOMENTUM_TYPE
        size = 8 * self._manifest.size
        path = retry(
            lambda: self.base(number, closed=momentum),
            Backoff(1, 10, jitter=0.2),
            _ANSWER_SECONDS,
            lambda error: error.code in AWAY,
            self._failed,
        )
        with path.open("rb") as file:
            send(connection, {"size": size})
            connection.settimeout(_SEND_SECONDS)
            connection.sendfile(file, offset=len(MAGIC) + (size if momentum else 0), count=size)

    # Carried files

    def fetch_carried(self) -> None:
        """Fetch the carried files that are not there.

        Raises:
            ArtifactError: A file is not available, or has another size than its array.
            LocalError: The disk failed, or is full.
        """
        with self._lock, self._disk():
            store = self._carried
            missing = [entry for entry in self._manifest.files if not _is_intact(store, entry.sha256)]
            if not missing:
                return
            require_room(store, missing)
            before, total = 0, sum(entry.size for entry in missing)
            with self._source(store) as source, self._transfers.transfer("frozen arrays", DOWN) as at:
                self._at = lambda new, done, _: at(new, before + done, total)
                for entry in missing:
                    entry.open(fetch_into(store, source, entry.sha256, entry.size))
                    before += entry.size

    def carried(self, sha256: str) -> Path:
        """Return a carried file of the manifest. Raises as `fetch_carried` does, and KeeperError for another name."""
        if sha256 not in {entry.sha256 for entry in self._manifest.files}:
            raise KeeperError(
                f"The federation's manifest has no file {sha256!r:.80}.",
                remedy="Start the node with the manifest of its federation.",
                code="unknown-file",
            )
        with self._lock, self._disk():
            intact = _is_intact(self._carried, sha256)
        if not intact:
            self.fetch_carried()
        return self._carried.place(sha256)

    # States

    def base(self, number: int, *, closed: bool = False) -> Path:
        """Return the state file of an open round's base. It has the state root that the chain has.

        Args:
            closed: Whether the round may be closed.

        Raises:
            KeeperError: ``round-closed``: the round takes no updates. ``wrong-base``: the coordinator's files lead to
                another state root than the chain's.
            LocalError: The disk failed, or is full.
        """
        with open_rpc(self._contributor.rpc) as rpc:
            ledger = LedgerReader(rpc, self._deployment.ledger)
            if not closed and ledger.phase(number) is not Phase.OPEN:
                raise KeeperError(
                    f"Round {number} takes no updates.",
                    remedy="The next round comes by itself.",
                    code="round-closed",
                )
            return self._after(ledger, ledger.round(number).base)

    def head(self) -> Path:
        """Return the state file of the chain's head, which the next round starts from. Raises as `base` does."""
        with open_rpc(self._contributor.rpc) as rpc:
            ledger = LedgerReader(rpc, self._deployment.ledger)
            return self._after(ledger, ledger.head().round)

    def _after(self, ledger: LedgerReader, number: int) -> Path:
        """Return the state file after a round."""
        target = _Step(number, ledger.round(number))
        with self._lock, self._disk(), contextlib.closing(self._api):
            kept = self._states.find(target.view.state_root)
            if kept is None:
                with self._source(self._states) as source:
                    kept = self._by_means(ledger, source, target) or self._by_state(ledger, source, target)
                self._states.tidy()
            return kept

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Make the folder, and turn a failure of the disk into an error while the block runs."""
        needed = 4 * self._manifest.state_file_size + self._manifest.file_bytes
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield
        except (OSError, StoreError) as error:
            cause = error.__cause__ if isinstance(error, StoreError) else error
            why = cause.strerror if isinstance(cause, OSError) else error
            raise LocalError(
                f"A file can't be kept in {self._folder}: {why}.",
                remedy=f"Make room there: the keeper needs {needed / 1e6:,.1f} MB. What is there is kept, and the next "
                "try continues.",
                code="keeper-disk",
            ) from error

    @contextlib.contextmanager
    def _source(self, store: FolderStore) -> Iterator[ArtifactSource]:
        """Open the mirrors and the coordinator, in this order. They write to a store."""

        def moved(new: int, done: int, total: int | None) -> None:
            self._at(new, done, self._size)  # A coded answer does not tell the file's size.

        sources: list[ArtifactSource] = [
            CoordinatorSource(place, MIRROR_SECONDS, retry_timeout=MIRROR_SECONDS, store=store, moved=moved)
            if place.startswith(_WEB)
            else FolderSource(Path(place).expanduser())
            for place in self._mirrors
        ]
        source = SeveralSources(
            [*sources, CoordinatorSource(self._contributor.coordinator, store=store, moved=moved)]
        )
        try:
            yield source
        finally:
            source.close()

    def _by_means(self, ledger: LedgerReader, source: ArtifactSource, target: _Step) -> Path | None:
        """Apply the means since a state that is kept; None if there is none, or a full state has fewer bytes."""
        steps, size = [target], 0
        while steps[-1].number:
            size += self._manifest.update_file_size(ledger.policy(steps[-1].view.policy).mean_width)
            if size >= self._manifest.state_file_size:
                return None
            before = _before(ledger, steps[-1])
            if (kept := self._states.find(before.view.state_root)) is not None:
                try:
                    return self._follow(ledger, source, steps, kept)
                except (ArtifactError, KeeperError) as error:
                    text = f"{error.message} The full state is fetched instead."
                    self._say("means-failed", detail=text, code=error.code)
                    return None
            steps.append(before)
        return None

    def _by_state(self, ledger: LedgerReader, source: ArtifactSource, target: _Step) -> Path:
        """Fetch the full state; if sources do not have it any more, an earlier one, and apply the means since then."""
        steps = [target]
        while True:
            step = steps[-1]
            try:
                path = self._full(ledger, source, step)
                break
            except ArtifactError as error:
                if error.code not in ABSENT or not step.number or len(steps) > LONGEST_WAY:
                    raise
            steps.append(_before(ledger, step))
        return self._follow(ledger, source, steps[:-1], path)

    def _full(self, ledger: LedgerReader, source: ArtifactSource, step: _Step) -> Path:
        name = self._genesis.state if not step.number else self._names(step).state
        size = self._manifest.state_file_size
        path = self._fetch(source, name, size, f"state after round {step.number}")
        if not self._states.take(path, step.view.state_root):
            raise KeeperError(
                f"The state {name}, which the coordinator names for round {step.number}, does not have the state root "
                f"0x{step.view.state_root.hex()} of the chain.",
                remedy=_TELL,
                code=_WRONG_BASE,
            )
        return path

    def _fetch(self, source: ArtifactSource, name: str, size: int, what: str) -> Path:
        """Fetch a file, after removing what is there of others.

        Else a coordinator that names another file each time, and breaks off, would fill the disk.
        """
        for other in self._states.unfinished().keys() - {name}:
            self._states.forget(other)
        self._size = size
        with self._transfers.transfer(what, DOWN) as self._at:
            return fetch_into(self._states, source, name, size)

    def _follow(
        self, ledger: LedgerReader, source: ArtifactSource, steps: Sequence[_Step], path: Path
    ) -> Path:
        """Apply the means of rounds, the newest first in the list, to the state before the oldest."""
        for step in reversed(steps):
            names, policy = self._names(step), ledger.policy(step.view.policy)
            if names.mean is None:
                raise ArtifactError(
                    f"The coordinator names no mean of round {step.number}.",
                    remedy=_TELL,
                    code="artifact-missing",
                )
            recipe = Recipe(
                step.number,
                names.state,
                path.name,
                names.mean,
                names.header.exponents,
                policy,
                self._manifest,
            )
            self._fetch(source, names.mean, recipe.mean_size, f"mean of round {step.number}")
            path = self._states.follow(recipe, path)
            if not self._states.take(path, step.view.state_root):
                raise KeeperError(
                    f"The mean {names.mean}, which the coordinator names for round {step.number}, does not lead to the "
                    f"state root 0x{step.view.state_root.hex()} of the chain.",
                    remedy=_TELL,
                    code=_WRONG_BASE,
                )
        return path

    def _names(self, step: _Step) -> _Names:
        """Ask the coordinator for the names of a round's files. The header is checked against the chain."""
        view = retry(
            lambda: self._api.get(f"/v1/rounds/{step.number}"),
            Backoff(1, 10, jitter=0.2),
            _ANSWER_SECONDS,
            passing,
            self._failed,
        )
        try:
            header = bytes.fromhex(str(view["header"]).removeprefix("0x"))
            if keccak(header) != step.view.header_hash:
                raise ValueError("it is not the one on the chain")
            mean = view.get("mean")
            return _Names(
                RoundHeader.decode(header), _name(view["state"]), None if mean is None else _name(mean)
            )
        except (KeyError, ValueError, InputError) as error:
            raise KeeperError(
                f"What the coordinator says of round {step.number} can't be used: {error}.",
                remedy=_TELL,
                code=_WRONG_BASE,
            ) from error

    def _failed(self, error: FolkmootError, pause: float) -> None:
        self._say("transfer-repeats", detail=f"{error.message} Trying again in {pause:.0f} s.")

    def _say(self, event: str, **values: object) -> None:
        self._transfers.say({"event": event, **values})


@dataclass(frozen=True)
class _Names:
    """A round's files, according to the coordinator."""

    header: RoundHeader
    """Its header, which the chain has."""
    state: str
    """sha256 of the state file."""
    mean: str | None
    """sha256 of the mean file."""


def _is_intact(store: FolderStore, sha256: str) -> bool:
    try:
        store.intact(sha256)
    except ArtifactError:
        return False
    return True


def _before(ledger: LedgerReader, step: _Step) -> _Step:
    return _Step(step.view.base, ledger.round(step.view.base))


def _name(value: object) -> str:
    """Return the name of a file, which the coordinator gives."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{value!r:.80} is not the sha256 of a file")
    return value


def _asked(line: bytes) -> tuple[str, int | str]:
    """Return the type of a request, and its round or its file."""
    try:
        asked = parse_json(line)
        kind = asked["type"]
        if kind == CARRIED_TYPE:
            return kind, str(asked["file"])
        number = asked["round"]
        if kind in (BASE_TYPE, MOMENTUM_TYPE, DELIVER_TYPE) and type(number) is int and 0 <= number < 1 << 64:
            return kind, number
    except (InputError, KeyError, TypeError):
        pass
    raise KeeperError(
        "The request can't be read.",
        remedy="Only folkmoot's mod speaks to the keeper; start the node with `folkmoot join`.",
        code="malformed-request",
    )
