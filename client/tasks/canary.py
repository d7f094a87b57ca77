# SPDX-License-Identifier: Apache-2.0
"""The canary's evaluator: measures each computed state before it is anchored, and signs the result.

Uses tasks and the coordinator's API. `folkmoot.evaluation.canary` computes the verdict. A state is used only if it has
the root that the coordinator announced.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from eth_account.signers.local import LocalAccount

from client.tasks.evaluation import fetch_manifest, fetch_state, measured_state
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import ArtifactError, CoordinatorError, FolkmootError, TaskError
from folkmoot.evaluation import Measurement
from folkmoot.evaluation.canary import NOTHING, CanaryReport, check_public, compared, sign_canary
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.manifest import Files, Manifest, no_files
from folkmoot.runtime.backoff import Backoff
from folkmoot.tasks import Task

TRIES = 5
"""Number of tries to report on a round while the coordinator can't be reached."""
_KEPT = 2  # Measurements in memory: the base of a round is often the previous state.


class Evaluator:
    """Measures rounds for one coordinator.

    Args:
        task: Task of the federation.
        account: Account of the evaluator.
        files: Gives the values of carried files.
        public_records: Whether the task's held-out records are public.

    Raises:
        InputError: The federation declares privacy, and the records are not public (``records-not-public``).
    """

    def __init__(
        self,
        task: Task,
        api: CoordinatorApi,
        account: LocalAccount,
        files: Files = no_files,
        *,
        public_records: bool = False,
    ) -> None:
        self._task, self._api, self._account, self._files = task, api, account, files
        deployment = api.deployment()
        self._domain = Domain(deployment.chain_id, deployment.ledger)
        self._manifest: Manifest = fetch_manifest(api)
        check_public(self._manifest, public_records)
        self._measured: dict[str, Measurement] = {}
        if self._manifest.task != task.name:
            raise TaskError(
                f"The federation trains {self._manifest.task!r}, not {task.name!r}.",
                remedy="Give --task the federation's task.",
            )

    def run(self) -> Iterator[dict[str, Any]]:
        """Report on each computed round, endlessly. Begin with a round that is already waiting.

        Yields:
            ``round``, ``fell``, ``sha256``, ``by`` (accuracy or loss), ``before`` and ``after`` (None: no number); or
            ``round`` and ``error``.
        """
        last = self._api.newest_event()
        newest = self._api.get("/v1/rounds", limit=1)["items"]
        if newest and newest[0]["step"] == "probing":
            yield self._tell(int(newest[0]["round"]))
        for event in self._api.events(last, timeout=float("inf")):
            if event.type == "round-computed":
                yield self._tell(int(event.data["round"]))

    def report(self, number: int) -> dict[str, Any]:
        """Measure a round, sign the report and send it. Return what ``run`` yields.

        Raises:
            FolkmootError: The coordinator can't be reached or refuses the report, a file is damaged, or the task fails.
        """
        view = self._api.get(f"/v1/rounds/{number}")
        if not isinstance(view.get("state"), str):
            raise ArtifactError(f"Round {number} is not computed yet.", remedy="Wait until it is.")
        base, candidate = (
            self._measure(str(view[file]), str(view[root]))
            for file, root in (("baseState", "baseStateRoot"), ("state", "stateRoot"))
        )
        report = CanaryReport(
            round=number,
            task=self._task.name,
            base_state_root=bytes.fromhex(str(view["baseStateRoot"])[2:]),
            state_root=bytes.fromhex(str(view["stateRoot"])[2:]),
            base=base,
            candidate=candidate,
        )
        by = compared(base)
        if not by:
            raise TaskError(
                f"The task {self._task.name!r} measures neither an accuracy nor a loss.", remedy=NOTHING
            )
        signature = sign_canary(report, self._account, self._domain)
        answer = self._api.send_canary(number, report.to_bytes(), signature)
        before, after = (one.accuracy if by == "accuracy" else one.mean_loss for one in (base, candidate))
        return {
            "round": number,
            "fell": bool(answer["fell"]),
            "sha256": str(answer["sha256"]),
            "by": by,
            "before": None if before is None else float(before),
            "after": None if after is None else float(after),
        }

    def _tell(self, number: int) -> dict[str, Any]:
        backoff = Backoff(0.5)
        for tries_left in reversed(range(TRIES)):
            try:
                return self.report(number)
            except CoordinatorError as error:
                if error.code == "coordinator-unreachable" and tries_left:
                    time.sleep(backoff.next())
                    continue
                return {"round": number, "error": str(error)}
            except FolkmootError as error:
                return {"round": number, "error": str(error)}
        raise AssertionError("the last try returns")

    def _measure(self, sha256: str, root: str) -> Measurement:
        if sha256 not in self._measured:
            state = fetch_state(self._api, sha256, self._manifest)
            if "0x" + state.root(self._manifest.hash).hex() != root:
                raise ArtifactError(
                    f"The state {sha256} has not the state root {root}.",
                    remedy="Don't use it; tell the coordinator's operator and the other contributors.",
                )
            while len(self._measured) >= _KEPT:
                del self._measured[next(iter(self._measured))]
            self._measured[sha256] = measured_state(self._task, state, self._manifest, self._files)
        return self._measured[sha256]
