# SPDX-License-Identifier: Apache-2.0
"""Let `folkmoot train` be killed anywhere and started again, with one run and always one relay.

It notes each step first, in a small file of this user. After an interruption it sends the same signed request again,
which starts at most one run, and follows a relay that still runs. It replaces a relay that ends before its run. It
knows the coordinator only by its HTTP interface.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.coordinator_api import CoordinatorApi, RunView, sign_run
from folkmoot.errors import CoordinatorError, LocalError, sentence
from folkmoot.runtime.backoff import Backoff
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.superlink import SuperLink
from server.relay import flower_run

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.commitment import Domain

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a relay that ended is replaced."""

LOOK_FOR_NODES = 1.0
"""Seconds between two looks how many nodes are connected; each starts a program of Flower's."""

NO_ANSWER = "flower-run"
"""Code of the error that the SuperLink starts no run, or does not say how one ended."""

PASSING = ("grpc.", "httpx.", "folkmoot.errors.CoordinatorError")
"""Beginnings of the types of exceptions for what could not be reached."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Begun:
    """A run that somebody wished for and has not been told the end of."""

    wish: dict[str, Any]
    """The signed request."""
    run: str = ""
    """The coordinator's number of it, once it is known."""
    superlink: str = ""
    """Address of the SuperLink of the relay."""
    flower_run: int = 0
    """Flower's number of the relay; 0 if none is known."""

    def wishes(self, rounds: int, expect: int, patience: int) -> bool:
        """Whether it is a run of this kind."""
        wish = self.wish
        return (wish.get("rounds"), wish.get("expect"), wish.get("patience", 0)) == (rounds, expect, patience)


@dataclass
class Memory:
    """The note of one federation's run that is under way; use `of`."""

    path: Path
    """The file. Losing it costs a second relay or a second question, and no update."""
    begun: Begun | None = None
    """What it says."""

    @classmethod
    def of(cls, deployment: Deployment) -> Memory:
        """Read the note about a federation, if there is one."""
        from platformdirs import user_data_path

        name = f"{deployment.chain_id}-{deployment.ledger[2:].lower()}.json"
        memory = cls(user_data_path("folkmoot") / "runs" / name)
        with contextlib.suppress(OSError, ValueError, TypeError):
            memory.begun = Begun(**json.loads(memory.path.read_text(encoding="utf-8")))
        return memory

    def note(self, begun: Begun) -> None:
        """Write down what is under way."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self.path, json.dumps(asdict(begun)).encode())
        except OSError as error:
            raise LocalError(
                f"The note {self.path} can't be written: {error.strerror or error}.",
                remedy="Check the disk, or set XDG_DATA_HOME to a folder that can be written.",
                code="note-unwritable",
            ) from error
        self.begun = begun

    def forget(self) -> None:
        """The run's end was told."""
        self.path.unlink(missing_ok=True)
        self.begun = None


def await_nodes(superlink: SuperLink, wanted: int, seconds: float, say: Say, *, anyway: bool = False) -> None:
    """Wait until nodes are connected, so that the first round's window does not pass while they start.

    Meanwhile the coordinator opens no round of the run.

    Args:
        superlink: Where they connect.
        wanted: How many are expected.
        seconds: How long to wait for them at most; a run may begin without some of them.
        say: Is told whenever their number changes.
        anyway: Whether it may begin without any.

    Raises:
        LocalError: ``no-nodes``: none is connected after this time.
    """
    end, shown = time.monotonic() + seconds, -1
    while True:
        there = flower_run.online_nodes(superlink)
        if there is None or there >= wanted:
            return
        left = end - time.monotonic()
        if left <= 0:
            if not there and not anyway:
                raise LocalError(
                    f"No node is connected after {seconds:g} s, so the run does not begin.",
                    remedy="Start the nodes with `folkmoot join`, then call this again. For a run that begins without "
                    "nodes, give --anyway; for a longer wait, --wait SECONDS.",
                    code="no-nodes",
                )
            say(f"{there} of {wanted} nodes are connected. The run begins without the others.")
            return
        if there != shown:
            shown = there
            say(
                f"Waiting for nodes: {there} of {wanted} are connected. The run begins with all of them, or with some "
                f"in {left:.0f} s (--wait)."
            )
        time.sleep(LOOK_FOR_NODES)


def begin(
    api: CoordinatorApi,
    memory: Memory,
    rounds: int,
    expect: int,
    account: LocalAccount,
    domain: Domain,
    say: Say,
    *,
    patience: int = 0,
    wait: int = 0,
) -> RunView:
    """Start a run, or go on with the one that is under way or was begun by an interrupted call.

    Args:
        memory: The note of the federation's run.
        rounds: Number of rounds to open.
        expect: Number of contributors after whose updates a round stops waiting.
        account: The coordinator's account.
        domain: Chain and ledger of the federation.
        say: Is told which run is gone on with.
        patience: Seconds for which rounds that are cancelled in a row are tried again. A run that is under way keeps
            its own.
        wait: Seconds for which a new run opens no round, unless `CoordinatorApi.begin_run` ends the wait.

    Returns:
        The run; it may be over, if an interrupted call had begun it.

    Raises:
        CoordinatorError: The coordinator refuses, or can't be reached.
    """
    begun = memory.begun
    if begun is not None and begun.wishes(rounds, expect, patience):
        resumed = _taken_up(api, begun)
        if resumed is not None:
            say(
                f"Going on with the run of an interrupted call: {resumed.completed} of "
                f"{resumed.rounds} rounds are done."
            )
            memory.note(replace(begun, run=resumed.id))
            return resumed
    run = api.run()
    if run is not None and run.state == "running":
        say(f"A run is under way, {run.completed} of {run.rounds} rounds are done: going on with it.")
        if run.patience != patience:
            say(f"It keeps its patience of {run.patience} s. For another one, end it and start a new run.")
        if begun is None or begun.run != run.id:
            memory.note(Begun({"rounds": rounds, "expect": expect, "patience": patience}, run.id))
        return run
    wish = sign_run(rounds, expect, account, domain, patience=patience, wait=wait)
    memory.note(Begun(wish))
    fault_point("cli.run-noted")
    run = api.send_run(wish)
    fault_point("cli.run-started")
    memory.note(Begun(wish, run.id))
    return run


def _taken_up(api: CoordinatorApi, begun: Begun) -> RunView | None:
    """The run of an interrupted call; None if there is none and it can't be started by that call's wish."""
    if begun.run:
        return api.run(begun.run)
    try:
        run = api.send_run(begun.wish)
        fault_point("cli.run-started")
        return run
    except CoordinatorError as error:
        if error.code == "signature-used":
            return api.run(str(error.details["run"]))
        if error.code in ("signature-expired", "run-in-progress", "not-authorised"):
            return None
        raise


@dataclass(frozen=True)
class Raised:
    """An exception that ended a relay."""

    text: str
    """Type and text."""
    place: str
    """File and line."""

    def __str__(self) -> str:
        place = f" Place: {self.place}." if self.place else ""
        return f"It raised {sentence(self.text)}{place}"

    @property
    def passing(self) -> bool:
        """Whether something could not be reached: that says nothing about the app."""
        return self.text.startswith(PASSING)

    def same(self, other: Raised | None) -> bool:
        """Return whether it has the type and the place of another one."""
        return other is not None and (self.text.partition(":")[0], self.place) == (
            other.text.partition(":")[0],
            other.place,
        )


@dataclass
class Carrier:
    """Keeps a relay going on a SuperLink as long as a run lasts."""

    superlink: SuperLink
    """Where relays run."""
    memory: Memory
    """Where the relay is noted."""
    settings: dict[str, Any]
    """The relay's run settings."""
    over: Callable[[float], bool]
    """Waits so many seconds for the end of the run, and says whether it is there."""
    say: Say
    """Is told what happens."""
    on_line: Callable[[str], None] | None = None
    """Is given each line of the relays' logs; after an interrupted call, those from the relay's beginning too."""
    app: Path | None = None
    """Folder of the relay; ours if left out."""
    tries: int = 0
    """Relays that may end early, one after the other, before it is given up; 0 for any number. An unavailable SuperLink
    does not count."""
    raised: Callable[[], Raised | None] = lambda: None
    """Returns what the relay that has just ended raised, if its log says so."""
    rounds: Callable[[], int] = lambda: 0
    """Returns the newest round that was made."""
    last: Raised | None = field(default=None, init=False)
    """What the relays raised last, other than for what could not be reached."""
    started: bool = field(default=False, init=False)

    def carry(self) -> None:
        """Run relays, one after the other, until the run is over.

        Raises:
            LocalError: Not even the first could be started, too many ended early, or two raised the same exception
                without a new round in between. The run is still under way.
        """
        backoff, early, made = Backoff(FIRST_PAUSE, LONGEST_PAUSE), 0, -1
        what = "ServerApp" if self.app is not None else "relay"
        while True:
            began, counts, failed = time.monotonic(), True, True
            try:
                result = self._relay()
                why = f"Flower's run {result.run_id} ended as {result.status}."
                failed = not result.completed
            except LocalError as error:
                if not self.started:
                    raise
                why = error.message
                counts = error.code != NO_ANSWER
            except KeyboardInterrupt:  # The relay was ended.
                self._note(0)
                raise
            self._note(0)
            raised, repeated = self.raised(), False
            if not failed:
                self.last = None
            elif raised is not None:
                why = f"{why} {raised}"
                if not raised.passing:
                    repeated = raised.same(self.last) and self.rounds() == made
                    self.last, made = raised, self.rounds()
            if time.monotonic() - began > LONGEST_PAUSE:
                backoff.reset()
                early = 0
            if self.over(FIRST_PAUSE):
                return
            if repeated:
                raise LocalError(
                    f"The {what} failed twice in the same way, without a round in between. {why}",
                    remedy="Correct the app, and start another run.",
                    code="relay-ended",
                )
            early += counts
            if counts and early == self.tries:
                raise LocalError(
                    f"The ServerApp has ended {early} times in a row before the end of the run. {why}",
                    remedy="Correct the app, and start another run.",
                    code="relay-ended",
                )
            pause = backoff.next()
            self.say(f"The {what} has ended before the run. {why} Another {what} starts in {pause:g} s.")
            if self.over(pause):
                return

    def _relay(self) -> flower_run.RunResult:
        begun = self.memory.begun
        if begun is not None and begun.flower_run and begun.superlink == self.superlink.address:
            self.started = True
            return flower_run.follow(self.superlink, begun.flower_run, on_line=self.on_line)
        return flower_run.run(
            self.superlink, self.settings, app=self.app, on_start=self._note, on_line=self.on_line
        )

    def _note(self, number: int) -> None:
        self.started |= number != 0
        if number:
            fault_point("cli.relay-started")
        if self.memory.begun is not None:
            self.memory.note(replace(self.memory.begun, superlink=self.superlink.address, flower_run=number))
