# SPDX-License-Identifier: Apache-2.0
"""The demo of a harmful release: a version that misses a class is released in good faith, recalled, and paid for."""

from __future__ import annotations

import json
from typing import Any

from folkmoot.runtime.units import format_amount
from folkmoot_lab.stories.demo import Demo
from folkmoot_lab.stories.federation import StoryFederation

ROUNDS = 1
"""Rounds after which the model is released: too early, so that it misses at least one class."""


class HarmfulDemo(Demo):
    """The demo, with a recall after the release."""

    def _release(self, federation: StoryFederation) -> dict[str, Any]:
        release, version = super()._release(federation), str(self.progresses[-1].number)
        report = self.plan.home / "report.json"
        worst = min(json.loads(report.read_text())["classes"], key=lambda one: float(one["recall"] or 0))
        harm = f"It recognises {worst['correct']} of {worst['support']} examples of class {worst['class']}."
        harmed, key = self._title(2), self._key("contributor-2")

        self.console.rule("[bold]The recall")
        self.console.print(
            f"The report had it, and nobody read it. {harmed} uses version {version}: {harm}\n"
        )
        proposed = self._command(
            federation,
            *("propose", "--recall", version, "--text", harm, "--report", report),
            *("--coordinator", federation.api_url, *key),
            who=harmed,
        )
        self._vote_through(federation, proposed["proposal"], key)
        record = self._command(federation, "model", version)
        taken = record["warranty"]["forfeited"]
        reward, burnt = int(taken["reward"]), int(taken["burnt"])
        paid = (
            f"{self._title(1)}, who answered for it with {format_amount(reward + burnt)}: {format_amount(reward)} went "
            f"to {harmed}, {format_amount(burnt)} were burnt"
        )
        rows = [("recalled by", f"a vote. {harm}"), ("paid by", paid)]
        return {**release, "harm": harm, "record": record, "rows": rows, "active": record["active"]}
