# SPDX-License-Identifier: Apache-2.0
"""Run a drill in a process of its own, because an attack from a file may crash, hang or flood it.

One process runs all rounds: it starts once, and nothing is copied between processes in a round. It says when it calls
the file (``attack_file``), and this process looks on: at the time, at what the file prints, and at whether the process
still lives. In the end, that process and all that it started are killed (``folkmoot.sandbox.process.keep``).

A file that works against the drill can still falsify its numbers: it is the user's own program, with all its rights.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from typer import Exit

from folkmoot.errors import FolkmootError, InputError
from folkmoot_lab.simulation import attack_file

MOST_OUTPUT = 1 << 20
"""Bytes that a file may print in one call."""

_PAUSE = 0.1  # seconds from look to look
_READ = 1 << 16
_LAST_WORDS = 1.0  # seconds for the process to say where it hangs


@dataclass(frozen=True)
class Link(attack_file.Link):
    """The drill's end of the connection: file descriptors for messages, and for what the file prints."""

    messages: int
    output: int

    @contextmanager
    def call(self, name: str, when: str) -> Iterator[None]:
        """Tell that the file is being called, and lead away what it prints meanwhile."""
        owner, kept = os.getpid(), [os.dup(1), os.dup(2)]
        self.say(call=name, when=when, pid=owner)
        _flush()
        for number in (1, 2):
            os.dup2(self.output, number)
        try:
            with open(self.output, "w", closefd=False) as led, redirect_stdout(led), redirect_stderr(led):
                yield
        finally:
            if os.getpid() != owner:  # the file has split the process in two
                os._exit(0)
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)
            self.say(call="", when=when, pid=owner)

    def say(self, **words: Any) -> None:
        """Send a message."""
        os.write(self.messages, json.dumps(words).encode() + b"\n")


def apart(work: Callable[[], None]) -> None:
    """Run a function that calls attacks from files in a process of its own (Linux; elsewhere in this one).

    Raises:
        FolkmootError: The function raised it; or ``attack-file``: a file ended its process, held it for too long, or
            printed too much.
        Exit: The function raised it.
    """
    if sys.platform != "linux":
        work()
        return
    from folkmoot.sandbox.process import keep

    (messages, their_messages), (output, their_output) = os.pipe(), os.pipe()
    _flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # BLAS has threads, which end well at a fork
        keeper = os.fork()
    if keeper == 0:
        os.close(messages)
        os.close(output)
        keep(partial(_inside, work, Link(their_messages, their_output)))
    os.close(their_messages)
    os.close(their_output)
    watch = _Watch(keeper, messages, output)
    try:
        watch.until_the_end()
    finally:
        watch.end()
        os.close(messages)
        os.close(output)
    watch.settle()


def _inside(work: Callable[[], None], link: Link) -> None:
    """Run the function, and tell how it ended."""
    import faulthandler

    attack_file.LINK = link
    faulthandler.disable()  # an error of the file is told in words
    faulthandler.register(signal.SIGUSR1, file=link.output, all_threads=False)
    end: Mapping[str, Any] = {"exit": 0}
    try:
        work()
    except FolkmootError as error:
        end = {"error": [error.message, error.remedy, error.code, error.details]}
    except Exit as error:
        end = {"exit": error.exit_code}
    except KeyboardInterrupt:
        end = {"exit": 130}
    except Exception:  # a defect, which the other process reports
        end = {"fault": traceback.format_exc()}
    _flush()
    link.say(**end)


@dataclass
class _Watch:
    """What is known of the process."""

    keeper: int
    messages: int
    output: int
    name: str = ""
    """The file that was called last."""
    when: str = ""
    pid: int = 0
    since: float | None = None
    """When it was called; None while it is not."""
    printed: int = 0
    heard: bytes = b""
    said: dict[str, Any] = field(default_factory=dict)
    """How the function ended."""
    status: int | None = None
    open: list[int] = field(default_factory=list)
    """What can still be read."""

    def __post_init__(self) -> None:
        self.open = [self.messages, self.output]

    def until_the_end(self) -> None:
        """Look on.

        Raises:
            InputError: ``attack-file``: the file holds the process for too long, or prints too much.
        """
        while not self.said and self.status is None:
            ended, status = os.waitpid(self.keeper, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if ended else None
            self.look(0 if ended else _PAUSE)
            limit = attack_file.LIMIT + attack_file.GRACE
            if self.since is not None and time.monotonic() - self.since > limit:
                raise attack_file.no_answer(self.name, self.when, self.where())
            if self.printed > MOST_OUTPUT:
                raise _wrong(
                    f"The attack {self.name} printed more than {MOST_OUTPUT >> 20} MiB {self.when}.",
                    "Let it print less, or into a file.",
                )

    def look(self, seconds: float, shown: bool = True) -> bytes:
        """Read what the process says, and pass on and return what the file prints."""
        printed, wait = b"", seconds
        while self.printed <= MOST_OUTPUT:
            ready = select.select(self.open, [], [], wait)[0] if self.open else []
            wait = 0
            for number in ready:
                data = os.read(number, _READ)
                if not data:
                    self.open.remove(number)
                elif number == self.output:
                    self.printed, printed = self.printed + len(data), printed + data
                else:
                    self._hear(data)
            if not ready:
                break
        if not self.open:  # the file has closed both ends, and `select` has nothing to wait for
            time.sleep(seconds)
        if shown and printed:
            sys.stderr.write(printed.decode(errors="replace"))
            sys.stderr.flush()
        return printed

    def _hear(self, data: bytes) -> None:
        *lines, self.heard = (self.heard + data).split(b"\n")
        for line in lines:
            try:
                words = json.loads(line)
            except ValueError:  # the file has written into the wrong place
                continue
            if "call" not in words:
                self.said = words
            elif words["call"]:
                self.name, self.when, self.pid = words["call"], words["when"], words["pid"]
                self.since, self.printed = time.monotonic(), 0
            else:
                self.since = None

    def where(self) -> str:
        """Return where the file holds the process, as text; empty if it does not say so."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGUSR1)
        path = re.escape(attack_file.path_of(self.name))
        told, until = b"", time.monotonic() + _LAST_WORDS
        while time.monotonic() < until:
            told += self.look(_PAUSE, shown=False)
            if found := re.search(rf'File "{path}", line (\d+)', told.decode(errors="replace")):
                return attack_file.line_text(attack_file.path_of(self.name), int(found[1]))
        return ""

    def end(self) -> None:
        """End the process and all that it started."""
        if self.status is None:
            with suppress(OSError):
                os.kill(self.keeper, signal.SIGTERM)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.keeper, 0)[1])

    def settle(self) -> None:
        """Raise what the function raised, or that there is no word of how it ended."""
        if "error" in self.said:
            message, remedy, code, details = self.said["error"]
            raise FolkmootError(message, remedy=remedy, code=code, details=details)
        if "fault" in self.said:
            raise RuntimeError(self.said["fault"])
        if "exit" not in self.said:
            status = self.status or 0
            number = -status if status < 0 else status - 128  # the keeper itself was ended, or what it kept
            how = f"by {signal.Signals(number).name}" if number > 0 else f"with status {status}"
            when = self.when
            if self.since is None:
                when = when.replace("while", "after") if "loaded" in when else f"after its answer {when}"
            raise _wrong(f"The attack {self.name} ended the drill's process {when}, {how}.", "Correct it.")
        if self.said["exit"]:
            raise Exit(self.said["exit"])


def _flush() -> None:
    with suppress(Exception):  # the file may have closed them
        sys.stdout.flush()
        sys.stderr.flush()


def _wrong(message: str, remedy: str) -> InputError:
    return InputError(message, remedy=remedy, code="attack-file")
