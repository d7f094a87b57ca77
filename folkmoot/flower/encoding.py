# SPDX-License-Identifier: Apache-2.0
"""Make an update of what an app replied, and take out of the reply what need not leave the node.

This module reads no chain, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from logging import INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from flwr.supercore import log
from numpy.typing import NDArray

from folkmoot.errors import EncodingError, ManifestError
from folkmoot.flower import records
from folkmoot.flower.memory import Sent
from folkmoot.flower.records import RefusedError
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import EncodedUpdate, encode_update
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Carried, Files, Manifest
from folkmoot.protocol.packing import largest
from folkmoot.runtime.flower_internals import pack

MAX_CONFIGS = 64 << 10
"""Maximum size in bytes of the config records that are sent with an update: enough for settings, not for weights or
data."""

MOST_COUNTERS = 8
"""Training may change a carried array with at most this many values without a warning: it is a counter."""


def end_of(content: RecordDict, arrays_key: str, manifest: Manifest, files: Files) -> F32:
    """Return the weights after training, float32[256 n], from the arrays of the app's reply."""
    if reason := failure(content):
        raise RefusedError(
            "the app's client says that its training failed.",
            remedy=f"It says: {reason}",
            code="training-failed",
        )
    trained = content.array_records.get(arrays_key)
    if trained is None:
        if len(content.array_records) != 1:
            raise RefusedError(
                f"the app replied with {len(content.array_records)} array records, none of them {arrays_key!r}.",
                remedy=f"Reply with the trained weights as the ArrayRecord {arrays_key!r}.",
                code="wrong-reply",
            )
        trained = next(iter(content.array_records.values()))
    values = records.ArraysOf(trained)
    try:
        end = manifest.flatten(values, check_finite=False)
    except ManifestError as error:
        raise RefusedError(error.message, remedy=error.remedy, code="wrong-reply") from error
    _check_carried(values, manifest, files)
    return end


def failure(content: RecordDict) -> str:
    """Return why a client of Flower's old interface says that its training failed; empty for all other replies."""
    status = content.config_records.get("fitres.status", ConfigRecord())
    return str(status.get("message") or "no message") if status.get("code", 0) else ""


def encoded(
    start: F32,
    end: F32,
    header: RoundHeader,
    manifest: Manifest,
    account: str,
    cap: int,
    *,
    feeds_back: bool,
    residual: F32 | None,
) -> tuple[EncodedUpdate, Sent | None]:
    """Encode a change, scaled to the policy's cap on the sum of squares; also return what error feedback keeps."""
    given, sent = (start, end, header.exponents, manifest, header.seed, account), None
    try:
        if feeds_back:
            update, change = feedback.encode(*given, residual=residual, max_sum_squares=cap)
            sent = Sent(change, update.data, header.exponents)
        else:
            update = encode_update(*given, width=header.width, max_sum_squares=cap)
    except EncodingError as error:
        code = "non-finite-update" if error.code == "not-finite" else error.code
        raise RefusedError(error.message, remedy=error.remedy, code=code) from error
    log(INFO, "Round %d: %s", header.round, _shortened(update, manifest))
    return update, sent


def _shortened(update: EncodedUpdate, manifest: Manifest) -> str:
    """Return a log line on the share of the update that was clamped, and the reason."""
    share = (
        f"{100 * update.clamped / manifest.elements:.2f}% of the coordinates were clamped to ±{update.bound}"
    )
    if update.bound == largest(update.width):
        return share
    return (
        f"the update was above the policy's cap (maxSumSquares), so {share}. The exponents rise in the next rounds, "
        "which makes room for larger changes"
    )


def _check_carried(values: Mapping[str, NDArray[Any]], manifest: Manifest, files: Files) -> None:
    """Check how training changed the carried arrays, which are not part of an update.

    Counters, such as a BatchNorm's number of batches, and states of generators may change. A change of a larger array
    means that the app trains it.

    Raises:
        RefusedError: An array has another shape, or a larger array has changed.
    """
    for buffer in manifest.carried:
        if buffer.name not in values:
            continue
        before = buffer.array() if isinstance(buffer, Carried) else files(buffer)
        after = np.asarray(values[buffer.name])
        if after.shape != before.shape:
            raise RefusedError(
                f"Array {buffer.name!r} has the shape {list(after.shape)}, not {list(before.shape)}.",
                remedy="The app's model must keep its layout from round to round.",
                code="wrong-reply",
            )
        if before.size > MOST_COUNTERS and not np.array_equal(
            before, after, equal_nan=before.dtype.kind == "f"
        ):
            raise RefusedError(
                f"The app changed the array {buffer.name!r} of {before.dtype}, which the federation does not train.",
                remedy="To train it, make it a float array and start a federation for that model. "
                "Otherwise leave it out of the reply.",
                code="wrong-reply",
            )


def hide_examples(content: RecordDict) -> None:
    """Replace each number of examples by 1. It says how much data a node has, and the chain needs it for nothing.

    Flower's strategies weigh metrics by it and refuse replies without it, so it is not left out.
    """
    for record, metrics in content.metric_records.items():
        legacy = record.endswith(f".{records.LEGACY_EXAMPLES}")
        name = records.LEGACY_EXAMPLES if legacy else records.NUM_EXAMPLES
        if name in metrics:
            metrics[name] = 1


def sent_records(content: RecordDict, *, configs: bool) -> RecordDict:
    """Return the records of the app's reply that are sent with the signed update."""
    leaving = RecordDict(dict(content.metric_records))
    settings = RecordDict(dict(content.config_records)) if configs else RecordDict()
    size = len(pack(settings))
    if size <= MAX_CONFIGS:
        leaving.update(settings)
    else:
        log(
            WARNING,
            "The config records of the app's reply have %d bytes, more than %d. They stay on this node",
            size,
            MAX_CONFIGS,
        )
    return leaving
