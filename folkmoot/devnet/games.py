# SPDX-License-Identifier: Apache-2.0
"""The attacks with money, time and several accounts that `folkmoot demo --cheat` plays, by name."""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot.devnet.capture import Capture
from folkmoot.devnet.copied_proof import CopiedProof
from folkmoot.devnet.game import Game
from folkmoot.devnet.puppets import Puppets
from folkmoot.devnet.spam import Spam

CLASSES: Mapping[str, type[Game]] = {kind.name: kind for kind in (Puppets, CopiedProof, Spam, Capture)}
"""The class that plays each of `folkmoot.devnet.cheat.GAMES`."""
