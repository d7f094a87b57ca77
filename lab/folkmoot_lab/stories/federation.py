# SPDX-License-Identifier: Apache-2.0
"""A local federation in which the coordinator or contributors run programs of the laboratory, which lie."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from folkmoot.devnet.federation import LocalFederation, Plan
from folkmoot.errors import InputError
from folkmoot.runtime import keystore
from folkmoot_lab.drills.tasks import parse_attack

if TYPE_CHECKING:
    from folkmoot.runtime.processes import Supervisor


PUPPETS = 2
"""Number of contributors who are the coordinator's own where others are left out: the last ones."""


@dataclass(frozen=True, slots=True)
class Story(Plan):
    """Configuration of a local federation, and who lies in it."""

    attackers: Mapping[int, str] = field(default_factory=dict)
    """Attacks by number of the contributor, from 1, e.g. ``{5: "sign-flip"}``."""
    cheat: str = ""
    """Lie of the coordinator, ``KIND@ROUND``; empty for none."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: As for a `Plan`, an attacker is not a contributor, or there is no such attack.
        """
        Plan.__post_init__(self)  # `super()` does not work in a class with slots (cpython issue 90562).
        for number, attack in self.attackers.items():
            parse_attack(attack)
            if not 1 <= number <= self.contributors:
                raise InputError(
                    f"Contributor {number} can't attack: there are {self.contributors}.",
                    remedy="Number them from 1.",
                )


class StoryFederation(LocalFederation):
    """The processes of a `Story`."""

    def __init__(self, plan: Story, supervisor: Supervisor) -> None:
        super().__init__(plan, supervisor)
        self.story = plan

    def coordinator_program(self) -> list[str]:
        """Return the command of the coordinator: one that lies, if the story has a cheat."""
        if not self.story.cheat:
            return super().coordinator_program()
        lie = self.story.cheat
        if lie.startswith("left-out@"):
            friends = [keystore.address_of(self.story.keystore(name)) for name in self.puppets()]
            lie += f":{','.join(friends)}"
        return [sys.executable, "-m", "folkmoot_lab.lies", lie]

    def puppets(self) -> list[str]:
        """Return the names of the contributors who are the coordinator's own."""
        return self.story.names()[-PUPPETS:]

    def node_program(self, name: str) -> list[str]:
        """Return the command of a node: one that attacks, if the story says so."""
        names = self.story.names()
        attacks = {names[number - 1]: attack for number, attack in self.story.attackers.items()}
        if name not in attacks:
            return super().node_program(name)
        return [sys.executable, "-m", "folkmoot_lab.drills.attacker", attacks[name]]
