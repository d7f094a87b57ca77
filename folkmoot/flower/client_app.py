# SPDX-License-Identifier: Apache-2.0
"""Anchor an unchanged `ClientApp`: put the mod before the app's own mods.

    app = anchored_client(somebodys_app)

The metric and config records of the app's reply go to the relay, as without Folkmoot. The arrays stay on the node; the
signed update is sent instead of them.
"""

from __future__ import annotations

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from folkmoot.flower.contributor import Contributor
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.flower.signing import Signer


def anchored_client(
    app: ClientApp,
    *,
    contributor: Contributor | None = None,
    signer: Signer | None = None,
    show_round: bool = False,
) -> ClientApp:
    """Anchor an app's client side. An app that is already anchored is returned unchanged.

    Args:
        app: The app, with its own mods.
        contributor: The contributor; by default the one of the node's ``folkmoot-home``.
        signer: The signer; by default the signer agent of the contributor's folder.
        show_round: Whether the app sees the record ``folkmoot.round``, with the ledger's number of the round.
    """
    if isinstance(app, AnchoredClientApp):
        return app
    mod = folkmoot_mod(contributor=contributor, signer=signer, configs=True, show_round=show_round)
    return AnchoredClientApp(app, mod)


class AnchoredClientApp(ClientApp):
    """Runs an app behind the mod. Use `anchored_client`."""

    def __init__(self, app: ClientApp, mod: Mod) -> None:
        super().__init__()
        self._app = app
        self._mod = mod

    @property
    def original(self) -> ClientApp:
        """The original app."""
        return self._app

    def __call__(self, message: Message, context: Context) -> Message:
        """Handle a message."""
        return self._mod(message, context, self._app)
