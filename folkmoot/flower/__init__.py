# SPDX-License-Identifier: Apache-2.0
"""What anchors an ordinary Flower app: a mod for its ClientApp and a strategy for its ServerApp.

Either name is imported when it is used, so that a node does not load the server's half of Flower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from folkmoot.flower.mod import folkmoot_mod
    from folkmoot.flower.strategy import FolkmootStrategy

__all__ = ["FolkmootStrategy", "folkmoot_mod"]

_PLACES = {"folkmoot_mod": "folkmoot.flower.mod", "FolkmootStrategy": "folkmoot.flower.strategy"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
