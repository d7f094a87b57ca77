# SPDX-License-Identifier: Apache-2.0
"""Find out whether the running app is the Flower App Bundle that the coordinator names."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tomllib
from logging import WARNING
from pathlib import Path
from typing import cast

from flwr.supercore import log

from folkmoot.flower.contributor import HOMES
from folkmoot.protocol.commitment import NO_BUNDLE


def verified_bundle(claimed: bytes) -> bytes:
    """Return the claimed bundle hash if the running app was unpacked from that bundle, else zero.

    Flower checks a bundle's files, unpacks it to a folder with the first digits of its hash in the name, and loads the
    app from there.
    """
    if len(claimed) != len(NO_BUNDLE):
        return NO_BUNDLE
    for entry in sys.path:
        folder = Path(entry)
        if folder.parent.name == "apps" and folder.name.endswith("." + claimed.hex()[:8]):
            if _client_module_in(folder):
                return claimed
            break
    log(WARNING, "The running app is not the bundle that the coordinator names; signing without a bundle")
    return NO_BUNDLE


def _client_module_in(folder: Path) -> bool:
    """Return whether the ClientApp of the bundle in this folder was imported from this folder."""
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        name = str(document["tool"]["flwr"]["app"]["components"]["clientapp"]).partition(":")[0]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError):
        return False
    if os.environ.get(HOMES) and name not in sys.modules:
        # Ray's workers get the ClientApp pickled: they import the modules that it refers to, but not its own module.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    module = sys.modules.get(name)
    origin = cast(str | None, getattr(module, "__file__", None))
    return origin is not None and Path(origin).resolve().is_relative_to(folder.resolve())
