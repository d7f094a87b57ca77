# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --private`: clinics train with differential privacy until their budgets are spent.

After the last round that the budget allows, another run is started. Each clinic's signer refuses it, and no vote can
change that. The rest is the story of `folkmoot demo`. This module imports neither `server` nor `client`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import FolkmootError, LocalError
from folkmoot.privacy import PrivacySettings
from folkmoot.tasks import load_task
from folkmoot_lab.stories.demo import AGAIN, Demo
from folkmoot_lab.stories.federation import Story, StoryFederation

TASK = "breast-cancer-private"
ROUNDS = 20
"""Rounds for which the noise of the task gives an epsilon of 3."""

REFUSED = frozenset({"own-cap", "budget-spent"})
"""Codes of the signer and of the coordinator for an update beyond a budget."""


class PrivateDemo(Demo):
    """Runs and shows the demo with a privacy budget, which the rounds spend to the end; arguments as `Demo`."""

    def __init__(self, plan: Story, rounds: int, console: Console, *, keep: bool = False) -> None:
        super().__init__(plan, rounds, console, keep=keep)
        self._refusing = 0
        self._left: list[int] = []

    def _intro(self) -> str:
        budget = ""
        if settings := PrivacySettings.of(load_task(self.plan.task).training):
            budget = f"That spends the privacy budget of each: {settings.described(self.rounds)}. "
        return (
            f"{self.plan.contributors} clinics train [bold]{self.plan.task}[/] for {self.rounds} rounds. {budget}"
            "Nobody trusts anybody.\n"
        )

    def run(self) -> dict[str, Any]:
        """Tell the whole story; return a summary.

        Raises:
            FolkmootError: A part failed. All processes have ended.
        """
        summary = super().run()
        return {**summary, "signersThatRefused": self._refusing, "roundsLeft": self._left}

    def _train(self, federation: StoryFederation) -> None:
        super()._train(federation)
        self.console.rule("[bold]One round more than the budget")
        self._overspend(federation)

    def _overspend(self, federation: StoryFederation) -> None:
        """Start another run, show that nobody's update is signed, and end it."""
        federation.supervisor.stop_one("train")  # It ends after its last line.
        federation.start_training(1)
        refusing: set[str] = set()
        api = CoordinatorApi(federation.api_url)
        for event in self._events(federation, api):
            if event.type == "update-received" and int(event.data["round"]) > self.rounds:
                raise LocalError(
                    f"An update was taken in round {event.data['round']}, beyond the privacy budget.",
                    remedy=AGAIN,
                    code="demo",
                )
            if event.type not in ("node-failed", "node-refused") or event.data.get("code") not in REFUSED:
                continue
            if (node := str(event.data["node"])) not in refusing:
                refusing.add(node)
                who, code = self.nodes.get(node, f"node {node}"), escape(str(event.data["code"]))
                self._done(f"{who}: the signer refuses, as the budget is spent ({code})")
            if len(refusing) == self.plan.contributors:
                break
        api.close()
        self._refusing = len(refusing)
        reason = ("The privacy budget is spent.", "--coordinator", federation.api_url)
        try:
            self._command(federation, "train", "--end", *reason, *self._key("coordinator"))
        except FolkmootError as error:
            if error.code != "no-run":  # without a contributor it ends by itself, sooner or later
                raise
        for number, name in enumerate(self.plan.names(), 1):
            account = self._command(federation, "balance", *self._key(name)[:2], who=self._title(number))
            self._left.append(account["privacyRoundsLeft"])
            self.console.print(f"    {account['privacyRoundsLeft']} rounds are left in the budget")

    def _audit(self, federation: StoryFederation) -> dict[str, Any]:
        audit = super()._audit(federation)
        self.console.rule("[bold]What the updates give away")
        page = Path(self.plan.home, "privacy-report.html")
        words = (
            "--rounds",
            str(self.rounds),
            "--contributors",
            str(self.plan.contributors),
            "--runs",
            "1",
            "--alone",
        )
        report = self._command(
            federation, "privacy", "report", "--task", self.plan.task, *words, "--out", page
        )
        found = report["study"]["findings"][0]
        measured = found["strongAdversary"]["severalRounds"]
        area = measured["auc"]
        self.console.print(
            f"    who knows all records but one tells whether that one is there with an AUC of {area['low']:.2f} to "
            f"{area['high']:.2f} ({measured['present']} tries of each); the budget allows {found['limit']['auc']:.2f}\n"
            f"    {page}"
        )
        return audit
