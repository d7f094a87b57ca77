# SPDX-License-Identifier: Apache-2.0
"""Write one line per round and one column per value, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io

from folkmoot.export.rounds import FederationRecord, RoundRecord
from folkmoot.runtime.units import format_amount, format_time

COLUMNS = (
    *("round", "phase", "opened_at", "seconds", "entries", "accepted", "refused", "answered", "failed"),
    *("gas", "reward", "base", "policy"),
)
HASHES = ("state_root", "state", "mean", "verdicts", "header_hash")


def written(record: FederationRecord) -> bytes:
    """Return the file, in UTF-8.

    Columns: `COLUMNS` (amounts in tokens, exact), the metrics by name, `HASHES`, then `weight`, `pay`, `verdict` and
    `reward` of each contributor with the account after a space. An unknown value is empty.
    """
    metrics, accounts = record.metric_names, record.contributors
    personal = [
        f"{kind} {account}" for account in accounts for kind in ("weight", "pay", "verdict", "reward")
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *map(_inert, metrics), *HASHES, *personal])
    for round_ in record.rounds:
        writer.writerow(
            [
                *_plain(round_),
                *("" if name not in round_.metrics else repr(round_.metrics[name]) for name in metrics),
                *(round_.hashes.get(name, "") for name in HASHES),
                *(value for account in accounts for value in _of(round_, account)),
            ]
        )
    return text.getvalue().encode()


def _plain(one: RoundRecord) -> list[object]:
    opened = "" if one.opened_at is None else format_time(one.opened_at)
    counts = (one.seconds, one.entries, one.accepted, one.refused, one.answered, one.failed, one.gas)
    reward = _tokens(one.reward) if one.rewards else ""
    return [one.number, one.phase, opened, *map(_or_empty, counts), reward, one.base, one.policy]


def _of(one: RoundRecord, account: str) -> tuple[object, object, object, object]:
    reward = one.rewards.get(account)
    return (
        _or_empty(one.weights.get(account)),
        _or_empty(one.pays.get(account)),
        one.reasons.get(account, ""),
        "" if reward is None else _tokens(reward),
    )


def _or_empty(value: int | None) -> object:
    return "" if value is None else value


def _tokens(amount: int) -> str:
    return format_amount(amount).partition(" ")[0]


def _inert(name: str) -> str:
    """Return an untrusted name without line ends and other control characters.

    It begins with `server/`, `evaluate/` or `train/`, so no spreadsheet takes it for a formula.
    """
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
