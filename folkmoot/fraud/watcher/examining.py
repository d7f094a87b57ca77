# SPDX-License-Identifier: Apache-2.0
"""Examining rounds for a watcher: their files come from mirrors, and stay for as long as a round needs them.

What a wrong round's proofs are made of stays as well. Knows no deadline, and acts on nothing that it finds.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from dataclasses import replace

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.sources import ArtifactSource, FolderSource, SeveralSources
from folkmoot.errors import ArtifactError
from folkmoot.fraud.contracts.record import Record
from folkmoot.fraud.proofs.case import Case
from folkmoot.fraud.proofs.examine import examine
from folkmoot.fraud.proofs.finding import Finding, Material
from folkmoot.fraud.watcher.journal import Journal, Log
from folkmoot.fraud.watcher.metrics import Metrics
from folkmoot.fraud.watcher.round_files import RoundFiles
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc.client import LedgerReader, Rpc
from folkmoot.runtime.urls import without_secrets


class Examiner:
    """Examines rounds.

    Args:
        deployment: The addresses.
        mirrors: Sources of files by their locations.
        journal: Where states that are right are kept, and answers of the chain are found.
        log: Where failures of mirrors are said.
        metrics: Where they are counted.

    Attributes:
        findings: Rounds that are not right, with all that proofs are made of; who acts on them puts them here.
    """

    def __init__(
        self,
        deployment: Deployment,
        mirrors: Mapping[str, ArtifactSource],
        journal: Journal,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._deployment = deployment
        self._journal = journal
        self._log = log
        self._metrics = metrics
        self._places = ["own", *mirrors]
        own = FolderSource(journal.folder)
        self._source = SeveralSources([own, *mirrors.values()], failed=self._mirror_failed)
        self._round_files: RoundFiles | None = None
        self._materials: dict[int, Material] = {}  # whose files are here, by round
        self.findings: dict[int, Finding] = {}

    def close(self) -> None:
        """Close all connections."""
        self._source.close()

    def known(self, case: Case) -> Finding | None:
        """Return what was found about a round, if it has the same anchor still."""
        finding = self.findings.get(case.round)
        return finding if finding is not None and finding.case.anchor == case.anchor else None

    def examine(self, rpc: Rpc, case: Case, record: Record) -> Finding:
        """Find the files of a round, and examine it.

        Args:
            rpc: Endpoint, asked which genesis and manifest it is.
            case: The round.
            record: What the chain says of it and of what it rests on.
        """
        started = time.monotonic()
        if self._round_files is None:
            reader = LedgerReader(rpc, self._deployment.ledger)
            federation = Federation.open(self._deployment, self._source, reader)
            self._round_files = RoundFiles(self._source, federation.genesis, federation.manifest)
        material = self._round_files.material(case, record.cases)
        self._materials[case.round] = replace(material, base=None, lineage=None)  # those are large
        finding = examine(material)
        took = time.monotonic() - started
        self._metrics.examination_seconds.inc(took)
        if finding.right:
            outcome = finding.outcome
            assert outcome is not None  # noqa: S101  # or it would not be right
            self._round_files.done(material, record.cases, outcome.state)
            del self._materials[case.round]
            self.findings.pop(case.round, None)  # of another anchor, which a reorg took
            self._journal.keep(outcome.artifacts.state, outcome.state.chunks())
        return finding

    def let_go(self, number: int, record: Record) -> None:
        """Let go of a round's files, and of what proofs are made of."""
        self.findings.pop(number, None)
        material = self._materials.pop(number, None)
        if material is not None and self._round_files is not None:
            self._round_files.done(material, record.cases, None)

    def let_go_of_all_but(self, needed: Container[int], record: Record) -> None:
        """Let go of all rounds but some."""
        for number in {*self._materials, *self.findings}:
            if number not in needed:
                self.let_go(number, record)

    def _mirror_failed(self, number: int, error: ArtifactError) -> None:
        where = self._places[number]
        if where == "own":
            return
        self._metrics.failures.labels(without_secrets(where)).inc()
        self._log("mirror-failed", error.message, mirror=where, code=error.code)
