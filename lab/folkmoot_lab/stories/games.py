# SPDX-License-Identifier: Apache-2.0
"""The attacks with money, time and several accounts that `folkmoot demo --cheat` plays, by name."""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot_lab.stories.capture import Capture
from folkmoot_lab.stories.copied_proof import CopiedProof
from folkmoot_lab.stories.game import Game
from folkmoot_lab.stories.puppets import Puppets
from folkmoot_lab.stories.spam import Spam

CLASSES: Mapping[str, type[Game]] = {kind.name: kind for kind in (Puppets, CopiedProof, Spam, Capture)}
"""The class that plays each of `folkmoot_lab.stories.cheat.GAMES`."""
