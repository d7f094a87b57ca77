# SPDX-License-Identifier: Apache-2.0
"""Attacks on the own federation, for drills.

A mod inside the anchoring mod changes the result of training; a false claim misstates its norm. Only the node's own
`contributor.json` enables an attack (`folkmoot join --attack`); no message of the coordinator can. This module works on
arrays and does not use rounds or the chain.
"""

from __future__ import annotations

from dataclasses import replace
from logging import WARNING

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.supercore import log

from folkmoot.errors import InputError
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.records import ARRAYS, HOME
from folkmoot.protocol.commitment import Commitment

SIGN_FLIP = "sign-flip"
FALSE_NORM = "false-norm"
"""Attack that claims a quarter of an honest update's sum of squares. Larger updates
would then pass the policy's cap."""


def parse_attack(text: str) -> float | None:
    """Parse the name of an attack.

    Args:
        text: Empty, ``sign-flip``, ``sign-flip:SCALE`` or ``false-norm``.

    Returns:
        Factor for the change of the weights, or None if the change is not modified.

    Raises:
        InputError: No attack has this name.
    """
    if text in ("", FALSE_NORM):
        return None
    name, _, scale = text.partition(":")
    try:
        factor = float(scale) if scale else 1.0
    except ValueError:
        factor = 0.0
    if name != SIGN_FLIP or not np.isfinite(factor) or factor <= 0:
        raise InputError(
            f"There is no attack {text!r}.",
            remedy=f"Use {SIGN_FLIP}, {SIGN_FLIP}:SCALE (for example :3) or {FALSE_NORM}.",
        )
    return -factor


def claim(contributor: Contributor, commitment: Commitment) -> Commitment:
    """Return the commitment with a smaller norm if the node's attack is `FALSE_NORM`, otherwise unchanged."""
    if contributor.attack != FALSE_NORM:
        return commitment
    log(WARNING, "Drill: this node claims a quarter of its update's sum of squares")
    return replace(commitment, sum_squares=commitment.sum_squares // 4)


def drill_mod() -> Mod:
    """Return the mod. It must come after the anchoring mod."""

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
    """Return the new array with its change multiplied by a factor. Integer buffers are returned unchanged."""
    if after.dtype.kind != "f":
        return after
    return (before + np.float32(factor) * (after - before)).astype(np.float32)
