# SPDX-License-Identifier: Apache-2.0
"""Keep the records of a finished run in its folder, so that they can be exported when nothing runs any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from folkmoot.errors import InputError
from folkmoot.export.rounds import FederationRecord, Outcome, RoundRecord
from folkmoot.runtime.files import write_whole

FILE = "history.json"
"""Name of the file in a run's folder."""


def write(record: FederationRecord, folder: Path) -> None:
    """Write the records."""
    write_whole(folder / FILE, json.dumps(asdict(record), indent=1).encode())


def read(folder: Path) -> FederationRecord:
    """Read the records of a folder.

    Raises:
        InputError: There are none (`history-missing`), or the file is damaged (`history-damaged`).
    """
    path = folder / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rounds = tuple(RoundRecord(**_fitting(one, ROUND)) for one in document.pop("rounds"))
        outcome = Outcome(**_fitting(document.pop("outcome"), Outcome().__dict__))
        warnings = tuple(str(one) for one in document.pop("warnings"))
        plain = _fitting(document, PLAIN)
        return FederationRecord(rounds=rounds, outcome=outcome, warnings=warnings, **plain)
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} has no {FILE}.",
            remedy="Give the folder of a `folkmoot run`, or a source of another kind: --coordinator, or --artifacts.",
            code="history-missing",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} can't be read: {error}.",
            remedy="Copy it again from where the run was made, or use another source: --coordinator, or --artifacts.",
            code="history-damaged",
        ) from error


def beside(record: FederationRecord, folder: Path, page: Path) -> FederationRecord:
    """Return the record of a folder with the path of its model as a page elsewhere has to give it."""
    model = record.outcome.model
    if not model or page.absolute().parent == folder.absolute():
        return record
    return replace(record, outcome=replace(record.outcome, model=str(folder / model)))


ROUND = {
    "number": 0,
    "phase": "",
    "base": 0,
    "policy": 0,
    "opened_at": 0,
    "seconds": 0,
    "entries": 0,
    "refused": 0,
    "answered": 0,
    "failed": 0,
    "gas": 0,
    "weights": {"": 0},
    "pays": {"": 0},
    "reasons": {"": ""},
    "rewards": {"": 0},
    "metrics": {"": 0.0},
    "hashes": {"": ""},
}
"""Examples of the values of a round."""

PLAIN = {"task": "", "chain_id": 0, "ledger": "", "source": "", "names": {"": ""}}
"""The same of a federation's plain values."""


def _fitting(values: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose types are those of the examples."""
    for name, value in values.items():
        example = like[name]
        parts = value.values() if isinstance(value, dict) else [value]
        wanted = next(iter(example.values()), "") if isinstance(example, dict) else example
        kinds = (int, float) if isinstance(wanted, float) else type(wanted)
        fits = isinstance(value, dict) == isinstance(example, dict)
        if value is not None and not (fits and all(isinstance(part, kinds) for part in parts)):
            raise TypeError(f"{name} has another type")
    return dict(values)
