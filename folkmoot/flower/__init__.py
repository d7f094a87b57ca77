# SPDX-License-Identifier: Apache-2.0
"""Anchor a Flower app: unchanged with `anchored_client` and `anchored_server`, or with two lines for mod and strategy.

Each name is imported on first use, so that a node does not load Flower's server side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from folkmoot.flower.client_app import anchored_client
    from folkmoot.flower.mod import folkmoot_mod
    from folkmoot.flower.relay.server_app import anchored_server
    from folkmoot.flower.relay.strategy import FolkmootStrategy

__all__ = ["FolkmootStrategy", "anchored_client", "anchored_server", "folkmoot_mod"]

_PLACES = {
    "FolkmootStrategy": "folkmoot.flower.relay.strategy",
    "anchored_client": "folkmoot.flower.client_app",
    "anchored_server": "folkmoot.flower.relay.server_app",
    "folkmoot_mod": "folkmoot.flower.mod",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
