# SPDX-License-Identifier: Apache-2.0
"""What the records of all events have in common; `tools/generate_contracts.py` writes the records themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[_T]) -> type[_T]:
    """Make a class a frozen dataclass with slots, whose fields are given by name."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


@record
class Event:
    """What every event has: its place on the chain."""

    contract: str
    """Contract that emitted it, one of `Deployment.roles`."""
    block: int
    """Number of its block."""
    block_hash: bytes
    """Hash of its block, 32 bytes."""
    transaction: bytes
    """Hash of its transaction, 32 bytes."""
    log_index: int
    """Its place among the logs of its block."""

    @property
    def name(self) -> str:
        """Name of the event in Solidity."""
        return type(self).__name__


def field_name(name: str) -> str:
    """Return the name that a record's field has for a parameter in Solidity."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)
    return "from_" if snake == "from" else snake
