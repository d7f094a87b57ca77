# SPDX-License-Identifier: Apache-2.0
"""Attacks on our own federation, for drills: a mod inside the anchoring one that spoils what training did.

Only the node's own `contributor.json` turns it on (`folkmoot join --attack`); nothing that the coordinator
sends can. It knows arrays and nothing of rounds or the chain.
"""

from __future__ import annotations

from logging import WARNING

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.supercore import log

from folkmoot.errors import InputError
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.records import ARRAYS, HOME

SIGN_FLIP = "sign-flip"


def parse_attack(text: str) -> float | None:
    """Read an attack.

    Args:
        text: Empty, ``sign-flip`` or ``sign-flip:SCALE``.

    Returns:
        By what the change of the weights is multiplied, None for no attack.

    Raises:
        InputError: There is no such attack.
    """
    if not text:
        return None
    name, _, scale = text.partition(":")
    try:
        factor = float(scale) if scale else 1.0
    except ValueError:
        factor = 0.0
    if name != SIGN_FLIP or not np.isfinite(factor) or factor <= 0:
        raise InputError(
            f"There is no attack {text!r}.", remedy=f"Use {SIGN_FLIP} or {SIGN_FLIP}:SCALE, for example :3."
        )
    return -factor


def drill_mod() -> Mod:
    """Build the mod; it must stand after the anchoring one."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if message.metadata.message_type.partition(".")[0] != "train" or HOME not in context.node_config:
            return call_next(message, context)
        factor = parse_attack(Contributor.of_node(context.node_config).attack)
        if factor is None:
            return call_next(message, context)
        before = {name: array.numpy() for name, array in message.content.array_records[ARRAYS].items()}
        reply = call_next(message, context)
        if not reply.has_error():
            log(WARNING, "Drill: the change of the weights is multiplied by %g", factor)
            reply.content[ARRAYS] = ArrayRecord(
                {
                    name: Array(spoil(before[name], array.numpy(), factor))
                    for name, array in reply.content.array_records[ARRAYS].items()
                }
            )
        return reply

    return mod


def spoil(
    before: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    after: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    factor: float,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Multiply a change by a factor; integer buffers stay as they are."""
    if after.dtype.kind != "f":
        return after
    return (before + np.float32(factor) * (after - before)).astype(np.float32)
