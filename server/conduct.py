# SPDX-License-Identifier: Apache-2.0
"""How a coordinator behaves where it could lie: honestly, unless a setting names another behaviour.

Demonstrations and tests show what becomes of a coordinator that lies: the setting `conduct` names a behaviour by its
module, and is refused on every chain but a local Anvil. Nothing here knows a lie (`folkmoot_lab.lies` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import cast

from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader
from folkmoot.round import RoundOutcome


class Conduct:
    """What a coordinator asks where it could lie. The answers here are honest: no, and what was computed.

    Another conduct has the same methods. It need not be a subclass: demonstrations can't import this package.
    """

    def overlooks(self, number: int, refusal: UpdateRefused) -> bool:
        """Whether to take an update in a round although a check of its bytes failed."""
        return False

    def censors(self, number: int) -> bool:
        """Whether to refuse, in a round, the contributor whose update comes first."""
        return False

    def withholds(self, number: int) -> bool:
        """Whether to keep the updates of a round from others, and leave demands without an answer."""
        return False

    def delays(self, number: int) -> bool:
        """Whether to wait for the end of a round's challenge window even where the clock could be moved."""
        return False

    def publish(
        self,
        manifest: Manifest,
        header: RoundHeader,
        policy: Policy,
        base: State,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
        outcome: RoundOutcome,
    ) -> tuple[RoundOutcome, bytes] | None:
        """Return the outcome to anchor and the mean file, or None for what was computed."""
        return None


def load(name: str) -> Conduct:
    """Return the behaviour that a setting names.

    Args:
        name: Empty for the honest one. ``MODULE:ARGUMENT`` calls the module's function ``conduct`` with the argument.

    Raises:
        InputError: `unknown-conduct`: there is no such module. Whatever the module raises for a wrong argument.
    """
    if not name:
        return Conduct()
    module, _, argument = name.partition(":")
    try:
        make = import_module(module).conduct
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"The setting `conduct` names {module!r}, which is no module with a function `conduct`.",
            remedy="Leave the setting out; it is for demonstrations.",
            code="unknown-conduct",
        ) from error
    return cast("Conduct", make(argument))
