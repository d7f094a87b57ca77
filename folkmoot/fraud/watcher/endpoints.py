# SPDX-License-Identifier: Apache-2.0
"""The endpoints that a watcher reads: all of them, what a majority says, and which of them fail or contradict.

Each has a memory of its own (`folkmoot.fraud.contracts.follower`), so that what a liar said counts for no other. Knows
no round's files, and acts on nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from folkmoot.errors import ChainError, LocalError, WrongChainError
from folkmoot.fraud.contracts.follower import Follower
from folkmoot.fraud.contracts.record import Record
from folkmoot.fraud.watcher.journal import Journal, Log
from folkmoot.fraud.watcher.metrics import Metrics
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.pruned import PrunedRounds
from folkmoot.rpc.client import LedgerReader, Phase, Rpc
from folkmoot.rpc.quorum import Quorum, split_urls
from folkmoot.runtime.urls import without_secrets

SAID_AGAIN = 600.0
"""Seconds after which a failure that stays is said again."""


class Endpoints:
    """Where a watcher reads the chain.

    Args:
        urls: What a majority says is read. Where there is none, the first that answers.
        deployment: The addresses.
        journal: Where the endpoints' memories lie, and which rounds are not to be let go of.
        log: Where failures are said.
        metrics: Where they are counted.
        clock: Seconds.
        timeout: Seconds that a request may take.
    """

    def __init__(
        self,
        urls: Sequence[str],
        deployment: Deployment,
        journal: Journal,
        log: Log,
        metrics: Metrics,
        clock: Callable[[], float],
        timeout: float,
    ) -> None:
        self._deployment = deployment
        self._log = log
        self._metrics = metrics
        self._clock = clock
        urls = split_urls(urls)
        self._rpcs: list[Rpc] = [Rpc(url, timeout) for url in urls]
        if len(urls) > 1:
            self._rpcs.insert(0, Quorum(urls, timeout))
        self._pasts = {rpc.url: self._open_past(rpc, journal) for rpc in self._rpcs}
        self._followers = {
            url: Follower(deployment, past, journal.unfinished) for url, past in self._pasts.items()
        }
        self._disagreed: dict[str, int] = {}  # contradictions of each endpoint that were told
        self._last_texts: dict[
            str, tuple[str, float]
        ] = {}  # last failure of each endpoint, and when it was told

    def close(self) -> None:
        """Close all connections and files."""
        for past in self._pasts.values():
            past.close()
        for rpc in self._rpcs:
            rpc.close()

    def held(self, rpc: Rpc) -> int:
        """Return how many rounds and entries are held in memory of what an endpoint said."""
        return self._followers[rpc.url].held

    def read(self) -> tuple[Rpc, Record] | None:
        """Read the chain from the first endpoint that can be believed; None if there is none.

        Raises:
            WrongChainError: the only endpoint serves another chain.
        """
        for rpc in self._rpcs:
            try:
                record = self._followers[rpc.url].read(rpc)
                self._compare(rpc, record)
            except WrongChainError:
                if len(self._rpcs) == 1:
                    raise
                self._failed(rpc, "it serves another chain")
            except ChainError as error:
                self._failed(rpc, error.message)
            except LocalError:  # a full disk is no endpoint's fault
                raise
            except Exception as error:  # whatever an endpoint answers must not end the watch
                self._failed(rpc, repr(error))
            else:
                self._tell_of_single(rpc)
                return rpc, record
        return None

    def _tell_of_single(self, rpc: Rpc) -> None:
        """Say which endpoints were away, or contradicted the majority that was read."""
        for endpoint in rpc.endpoints:
            if not endpoint.up:
                self._failed(endpoint.rpc, endpoint.why)
            if endpoint.disagreed > self._disagreed.get(endpoint.name, 0):
                self._disagreed[endpoint.name] = endpoint.disagreed
                text = f"{endpoint.name} contradicts the others about {endpoint.about}: it lies or is broken."
                self._log("endpoints-differ", text, endpoints=[endpoint.name])

    def _compare(self, rpc: Rpc, record: Record) -> None:
        """Hold the anchors against what the other endpoints store: one that hides a lie would make it final."""
        for other in self._rpcs:
            if other is rpc or rpc.endpoints or other.endpoints:
                continue  # a majority was compared already
            try:
                reader = LedgerReader(other, self._deployment.ledger)
                following = max(record.rounds, default=0) + 1
                if reader.next_round() > following:
                    text = f"{other.name} has more rounds than {rpc.name}: one of them is behind, or lies."
                    self._log("endpoints-differ", text, endpoints=[rpc.name, other.name])
                for case in record.waiting():
                    stored = reader.round(case.round)
                    if stored.phase == Phase.ANCHORED and stored.anchor_hash != case.anchor.hash:
                        text = f"{rpc.name} and {other.name} have different anchors of round {case.round}."
                        self._log(
                            "endpoints-differ", text, round=case.round, endpoints=[rpc.name, other.name]
                        )
            except ChainError as error:
                self._failed(other, error.message)

    def _open_past(self, rpc: Rpc, journal: Journal) -> PrunedRounds:
        name = hashlib.sha256(rpc.url.encode()).hexdigest()[:16]  # a URL may have a secret in it
        owner = f"{self._deployment.ledger} on chain {self._deployment.chain_id}"
        return PrunedRounds.open(journal.folder / "past" / f"{name}.sqlite", owner)

    def _failed(self, rpc: Rpc, why: str) -> None:
        self._metrics.failures.labels(without_secrets(rpc.url)).inc()
        last_text, when = self._last_texts.get(rpc.url, ("", 0.0))
        if last_text == why and self._clock() < when + SAID_AGAIN:
            return  # an endpoint that stays dead is not worth a line a look
        self._last_texts[rpc.url] = why, self._clock()
        if rpc.endpoints:
            self._log("rpc-no-quorum", f"{why} They are read one after the other.")
            return
        self._log("endpoint-failed", f"{rpc.name}: {why}", endpoint=rpc.name)
