# SPDX-License-Identifier: Apache-2.0
"""Let the app behind the mod train: it sees the message that Flower would send, and its errors stay on this node.

This module reads no chain, encodes nothing, and keeps nothing.
"""

from __future__ import annotations

import sysconfig
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from logging import ERROR
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.supercore import log
from numpy.typing import NDArray

from folkmoot.errors import FolkmootError, plain, sentence
from folkmoot.flower import clock, frozen, records
from folkmoot.flower.checking import CheckedRound
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.eager import Trained
from folkmoot.flower.memory import SENT_RECORD
from folkmoot.flower.records import RefusedError
from folkmoot.protocol.arrays import F32


class App:
    """The app behind the mod, which may train more than once.

    Args:
        message: The train message as it came.
        context: Flower's context.
        call_next: Calls the app.
        contributor: The contributor.
        checked: The round.
        show_round: As for `folkmoot.flower.folkmoot_mod`.
        whole: As for `folkmoot.flower.folkmoot_mod`.
    """

    def __init__(
        self,
        message: Message,
        context: Context,
        call_next: ClientAppCallable,
        contributor: Contributor,
        checked: CheckedRound,
        show_round: bool,
        whole: bool,
    ) -> None:
        self._message, self._call_next, self._round = message, call_next, checked
        self._show_round, self._whole = show_round, whole
        self._content = message.content
        self.context, self.contributor = context, contributor

    def train_from(self, weights: F32, number: int, state: RecordDict) -> Trained | Message:
        """Let the app train; return what it trained, or its error.

        Args:
            weights: float32[256 n], the weights at the start.
            number: The round.
            state: What an earlier training left.

        Raises:
            RefusedError: The app raised an exception, or its state has a record with a reserved name.
        """
        manifest, files = self._round.manifest, self._round.files
        arrays = manifest.unflatten(weights, dtypes=True, files=files if self._whole else None)
        del weights
        start = manifest.flatten(arrays)  # Half precision: the rounded values that the app sees.
        self._message.content = self._ordinary(arrays, number)
        del arrays  # The message has a copy.
        before, self.context.state = self.context.state, state
        began, processor = time.monotonic(), time.process_time()
        try:
            with frozen.given(frozen.Frozen(manifest, files)):
                reply = self._call()
        finally:
            left, self.context.state = self.context.state, before
            # The arrays that the app started from are not needed any more.
            self._message.content = RecordDict()
        if reply.has_error():
            return reply
        if SENT_RECORD in left:
            raise RefusedError(
                f"the app's state has a record named {SENT_RECORD!r}, a name that Folkmoot uses itself.",
                remedy="Give the record another name.",
                code="wrong-memory",
            )
        span = clock.Span(began, time.monotonic(), time.process_time() - processor)
        return Trained(start, reply.content, left, span)

    def _ordinary(self, arrays: Mapping[str, NDArray[Any]], number: int) -> RecordDict:
        """Return the message as Flower would send it: the app's own records, with its arrays in their place."""
        round_message, ordinary = self._round.message, RecordDict()
        for name, record in self._content.items():
            if name == round_message.arrays_key:
                ordinary[name] = ArrayRecord({key: Array(array) for key, array in arrays.items()})
            elif name != records.ROUND:
                ordinary[name] = record
            elif self._show_round:
                ordinary[name] = replace(round_message, round=number).to_record()
        return ordinary

    def _call(self) -> Message:
        """Call the app. Replace an exception, whose text Flower would send to the server: it may hold private data.

        Raises:
            RefusedError: The app raised an exception. The message names its type and, without a privacy budget, the
                file and line; the text stays on this machine.
                Or it answered with an error of its own, in a federation with a privacy budget: its text stays here,
                too.
        """
        try:
            reply = self._call_next(self._message, self.context)
        except FolkmootError:
            raise
        except Exception as error:
            log(ERROR, "The app failed", exc_info=error)
            reason = sentence(plain(f"{type(error).__name__}: {error}")) if str(error) else ""
            where = "" if self.contributor.private else _place(error)
            raise RefusedError(
                f"training raised {type(error).__name__}{where}.",
                remedy=f"{reason} The traceback is in {self.contributor.log}.",
                code="training-failed",
            ) from error
        if reply.has_error() and self.contributor.private:
            raise RefusedError(
                "the app answered with an error, whose text stays on this node.",
                remedy=sentence(plain(reply.error.reason or "It gives no reason")),
                code="training-failed",
            )
        return reply


def _place(error: Exception) -> str:
    """Return file and line of the innermost frame outside of libraries. No folder: it may tell of this machine."""
    paths = sysconfig.get_paths()
    libraries = (
        *(paths[name] for name in ("stdlib", "purelib", "platlib")),
        str(Path(__file__).parent.parent),
        "<",  # A module of Python that has no file.
    )
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(libraries)
    ]
    return f" at {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
