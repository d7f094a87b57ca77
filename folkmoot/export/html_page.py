# SPDX-License-Identifier: Apache-2.0
"""Write the history as one HTML file with charts and without scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from folkmoot.evaluation import app_metrics as measures
from folkmoot.export.rounds import FederationRecord, RoundRecord
from folkmoot.runtime.units import format_amount, format_time
from folkmoot.web import charts, pages
from folkmoot.web.markup import Markup, tag

MOST_CHARTS = 12
"""Maximum number of charts of metrics other than losses and accuracies."""

_NONE = "\N{EN DASH}"


def written(record: FederationRecord) -> bytes:
    """Return the page, in UTF-8."""
    title = f"Folkmoot: {record.task or record.ledger}"
    return pages.page(
        title,
        tag(
            "header",
            tag("p", "Folkmoot federation", class_="brand"),
            tag("h1", record.task or "unnamed task"),
            tag("p", f"Chain {record.chain_id}, ledger ", tag("code", record.ledger), "."),
            tag("p", f"From {record.source}."),
        ),
        tag(
            "main",
            [tag("p", text, class_="notice") for text in record.warnings],
            pages.cards(_cards(record)),
            _charts(record),
            tag("h2", "Rounds"),
            _rounds(record),
            tag("h2", "Weights, in percent of the round's largest weight"),
            _weights(record),
            tag("h2", "Files"),
            _files(record),
        ),
        tag(
            "footer",
            tag("p", "To check the models and weights, run ", tag("code", "folkmoot audit"), "."),
        ),
    )


def _cards(record: FederationRecord) -> list[tuple[str, object, object]]:
    rounds = record.rounds
    kept = sum(one.phase in ("anchored", "final") for one in rounds)
    values: list[tuple[str, object, object]] = [("Rounds", len(rounds), f"{kept} anchored or final")]
    measured = next((one for one in reversed(rounds) if one.metrics), None)
    if measured is not None:
        for name, key in zip(("Loss", "Accuracy"), measures.headline(measured.metrics), strict=True):
            if key is not None:
                shown = measures.shown(key, measured.metrics[key])
                values.append((name, shown, f"{key}, round {measured.number}"))
    values.append(("Contributors", len(record.contributors), "with a weight or a reward"))
    gas = [one.gas for one in rounds if one.gas is not None]
    if gas:
        values.append(("Gas", f"{sum(gas):,}", f"{sum(gas) // len(gas):,} per round"))
    return values


def _charts(record: FederationRecord) -> Markup | None:
    names = record.metric_names
    losses = [name for name in names if measures.is_loss(name)]
    shares = [name for name in names if measures.is_share(name) and name not in losses]
    others = [name for name in names if name not in losses and name not in shares]
    drawn = [_chart("Loss", record, losses, measures.number)]
    drawn += [_chart("Accuracy", record, shares, measures.percent)]
    drawn += [_chart(name, record, [name], measures.number) for name in others[:MOST_CHARTS]]
    for title, value in (("Gas", "gas"), ("Seconds by the chain's clock", "seconds")):
        points = [
            (one.number, float(getattr(one, value)))
            for one in record.rounds
            if getattr(one, value) is not None
        ]
        drawn.append(charts.chart(title, [charts.Line(value, points)], measures.number))
    markup = Markup.of(drawn)
    return Markup.of(tag("h2", "By round"), tag("div", markup, class_="charts")) if markup else None


def _chart(
    title: str, record: FederationRecord, names: Sequence[str], show: Callable[[float], str]
) -> Markup:
    lines = [
        charts.Line(name, [(one.number, one.metrics[name]) for one in record.rounds if name in one.metrics])
        for name in names
    ]
    return charts.chart(title, lines, show)


def _rounds(record: FederationRecord) -> Markup:
    names = record.metric_names
    columns = (
        "Round",
        "Phase",
        *(f"#{name}" for name in names),
        "#Entries",
        "#Accepted",
        "#Refused",
        "#Failed",
    )
    rows = [
        (
            one.number,
            one.phase,
            *(
                _NONE if name not in one.metrics else measures.shown(name, one.metrics[name])
                for name in names
            ),
            one.entries,
            *(
                _NONE if value is None else value
                for value in (one.accepted, one.refused, one.failed, one.seconds)
            ),
            _NONE if one.gas is None else f"{one.gas:,}",
            format_amount(one.reward) if one.rewards else _NONE,
            _NONE if one.opened_at is None else format_time(one.opened_at),
        )
        for one in record.rounds
    ]
    return pages.table("Rounds", (*columns, "#Seconds", "#Gas", "#Rewards", "Opened"), rows)


def _weights(record: FederationRecord) -> Markup:
    accounts = record.contributors
    if not accounts:
        return tag("p", "No round has been computed yet.", class_="soft")
    judged = [one for one in record.rounds if one.weights]
    rows = [(one.number, *(_weight(one, account) for account in accounts)) for one in judged]
    heads = [f"#{account[:10]}…" for account in accounts]
    return pages.table("Weights by contributor", ("Round", *heads), rows)


def _weight(one: RoundRecord, account: str) -> object:
    if account not in one.weights:
        return _NONE
    reason = one.reasons.get(account, "")
    share = f"{one.shares[account]:.0%}"
    return share if reason in ("", "accepted") else tag("span", share, title=reason, class_="warn")


def _files(record: FederationRecord) -> Markup:
    names = ("state_root", "state", "mean", "verdicts")
    rows = [
        (one.number, *(pages.short(one.hashes[name], 18) if name in one.hashes else _NONE for name in names))
        for one in record.rounds
    ]
    return pages.table("Hashes by round", ("Round", *(name.replace("_", " ") for name in names)), rows)
