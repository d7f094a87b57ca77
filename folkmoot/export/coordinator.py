# SPDX-License-Identifier: Apache-2.0
"""Read records from a coordinator's `/v1`, without checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import CoordinatorError
from folkmoot.evaluation import app_metrics
from folkmoot.export.rounds import FederationRecord, RoundRecord

T = TypeVar("T")
PAGE = 200
"""Maximum number of items per page."""
TRIES, PAUSE = 30, 2.0
"""Maximum number of tries, and the pause in seconds, while the coordinator limits the rate of requests."""

_ENDED = ("anchored", "final", "slashed")


def read(api: CoordinatorApi) -> FederationRecord:
    """Read all rounds of a federation.

    Raises:
        CoordinatorError: It can't be reached, refuses, or gives an invalid answer.
        ArtifactError: A file has another hash than its name.
    """
    deployment = _with_retries(api.deployment)
    with CoordinatorSource(api.url) as source:
        manifest = Federation.open(deployment, source).manifest
    contributors = list(_items(api, "/v1/contributors"))
    rewards, reasons, weights, pays = _verdicts(
        api, [str(contributor["address"]) for contributor in contributors]
    )
    records = []
    policies: dict[int, dict[str, Any]] = {}
    for view in _items(api, "/v1/rounds"):
        try:
            number, policy = int(view["round"]), int(view["policy"])
            if policy not in policies:
                policies[policy] = _with_retries(partial(api.get, f"/v1/policies/{policy}"))
            report = _or_empty(partial(api.get, f"/v1/rounds/{number}/report"))
            states = [str(node["state"]) for node in report.get("nodes", [])]
            records.append(
                RoundRecord(
                    number=number,
                    phase=str(view["phase"]),
                    base=int(view["base"]),
                    policy=policy,
                    opened_at=view["openedAt"],
                    seconds=_seconds(view, int(policies[policy]["challengeWindow"])),
                    entries=int(view["entries"]),
                    refused=int(view["refused"]),
                    answered=states.count("answered") if states else None,
                    failed=states.count("failed") + states.count("refused") if states else None,
                    gas=int(view["gas"]),
                    weights=weights.get(number, {}),
                    pays=pays.get(number, {}),
                    reasons=reasons.get(number, {}),
                    rewards=rewards.get(number, {}),
                    metrics=app_metrics.flat(report.get("metrics")),
                    hashes=_hashes(view),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CoordinatorError(
                f"The coordinator {api.url} describes a round in a way that can't be read: {error!r}.",
                remedy="Check that it is a Folkmoot coordinator of this release.",
            ) from error
    return FederationRecord(
        task=manifest.task,
        chain_id=deployment.chain_id,
        ledger=deployment.ledger,
        source=api.url,
        rounds=tuple(sorted(records, key=lambda one: one.number)),
        names={
            str(contributor["address"]): str(contributor["name"])
            for contributor in contributors
            if contributor.get("name")
        },
    )


_ByRound = dict[int, dict[str, Any]]


def _verdicts(api: CoordinatorApi, accounts: list[str]) -> tuple[_ByRound, _ByRound, _ByRound, _ByRound]:
    """Return rewards, reasons, weights and pays by round and contributor."""
    rewards: _ByRound = {}
    reasons: _ByRound = {}
    weights: _ByRound = {}
    pays: _ByRound = {}
    for account in accounts:
        for verdict in _items(api, f"/v1/contributors/{account}/verdicts"):
            number = int(verdict["round"])
            weights.setdefault(number, {})[account] = int(verdict["weight"])
            if verdict["payShare"] is not None:
                pays.setdefault(number, {})[account] = int(verdict["payShare"])
            reasons.setdefault(number, {})[account] = str(verdict["reason"])
            if verdict["credited"] is not None:
                rewards.setdefault(number, {})[account] = int(verdict["credited"])
    return rewards, reasons, weights, pays


def _seconds(view: dict[str, Any], challenge_window: int) -> int | None:
    if view["phase"] not in _ENDED or view["challengeDeadline"] is None or view["openedAt"] is None:
        return None
    return max(0, int(view["challengeDeadline"]) - challenge_window - int(view["openedAt"]))


def _hashes(view: dict[str, Any]) -> dict[str, str]:
    names = {
        "state_root": "stateRoot",
        "state": "state",
        "mean": "mean",
        "verdicts": "verdicts",
        "header_hash": "headerHash",
    }
    return {name: str(view[key]) for name, key in names.items() if view.get(key)}


def _items(api: CoordinatorApi, path: str) -> Iterator[dict[str, Any]]:
    """Return all items of a list. Each page is requested again after a rate limit."""
    cursor: dict[str, str] = {}
    while True:
        page = _with_retries(partial(api.get, path, limit=PAGE, **cursor))
        yield from page["items"]
        if not page.get("nextCursor"):
            return
        cursor = {"cursor": str(page["nextCursor"])}


def _or_empty(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the coordinator's answer; an empty one if the object does not exist."""
    try:
        return _with_retries(ask)
    except CoordinatorError as error:
        if error.code in ("no-report", "unknown-path", "round-unknown"):
            return {}
        raise


def _with_retries(ask: Callable[[], T]) -> T:
    """Call a request, and repeat it after a pause if the coordinator's rate limit refused it."""
    for tries_left in range(TRIES, 0, -1):
        try:
            return ask()
        except CoordinatorError as error:
            if error.code != "rate-limited" or tries_left == 1:
                raise
            time.sleep(PAUSE)
    raise AssertionError("the last try returns or raises")
