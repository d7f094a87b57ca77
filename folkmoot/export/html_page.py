# SPDX-License-Identifier: Apache-2.0
"""Write the history as one HTML file with charts and without scripts: for people first, costs and hashes last."""

from __future__ import annotations

from collections import Counter

from folkmoot.evaluation import app_metrics
from folkmoot.export import metric_charts
from folkmoot.export.rounds import FederationRecord, RoundRecord
from folkmoot.runtime.units import UNIT, format_amount, format_time
from folkmoot.web import charts, pages
from folkmoot.web.markup import Markup, tag

MOST_CHARTS = 12
"""Maximum number of charts of metrics other than losses and accuracies."""

_NONE = "\N{EN DASH}"


def written(record: FederationRecord) -> bytes:
    """Return the page, in UTF-8."""
    metrics = {one.number: one.metrics for one in record.rounds}
    notices = [record.outcome.interrupted, record.outcome.failure, *record.warnings]
    return pages.page(
        f"Folkmoot: {record.task or record.ledger}",
        tag(
            "header",
            tag("p", "Folkmoot federation", class_="brand"),
            tag("h1", record.task or "unnamed task"),
            tag("p", _audit(record), class_="now"),
        ),
        tag(
            "main",
            [tag("p", text, class_="notice") for text in notices if text],
            pages.cards(_cards(record)),
            _section("Loss and accuracy", metric_charts.loss_and_accuracy(metrics)),
            _section("Who contributed how much", _contributors(record)),
            _section("Model and audit", _model(record)),
            _section("Rounds", _rounds(record)),
            _section("Other measurements", metric_charts.others(metrics, MOST_CHARTS)),
            _section("What it cost on the chain", _costs(record)),
            _section("Hashes", _files(record)),
        ),
        tag(
            "footer",
            tag(
                "p",
                f"From {record.source}. Chain {record.chain_id}, ledger ",
                pages.short(record.ledger),
                ".",
            ),
        ),
    )


def _section(title: str, content: Markup | None) -> Markup | None:
    return tag("section", tag("h2", title), content) if content else None


def _audit(record: FederationRecord) -> Markup:
    if record.outcome.failure:
        return Markup.of(tag("span", "The audit failed", class_="bad"), ": see below.")
    if record.outcome.audit:
        return Markup.of(tag("span", "The audit passed", class_="good"), f": {record.outcome.audit}.")
    return Markup.of(
        tag("span", "No audit", class_="warn"), " is behind this page: it shows what its source says."
    )


def _cards(record: FederationRecord) -> list[tuple[str, object, object]]:
    rounds = record.rounds
    values: list[tuple[str, object, object]] = []
    last = next((one for one in reversed(rounds) if one.metrics), None)
    if last is not None:
        for name, key in zip(("Loss", "Accuracy"), app_metrics.headline(last.metrics), strict=True):
            if key is not None:
                values.append(
                    (name, app_metrics.shown(key, last.metrics[key]), f"{key}, round {last.number}")
                )
    kept = sum(one.phase in ("anchored", "final") for one in rounds)
    values.append(("Rounds", len(rounds), f"{kept} anchored or final"))
    values.append(("Contributors", len(record.contributors), "with a weight or a reward"))
    if record.outcome.model:
        values.append(
            ("Model", _link(record.outcome.model, "download"), f"SHA-256 {record.outcome.sha256[:10]}…")
        )
    return values


def _contributors(record: FederationRecord) -> Markup:
    """Return a table with each contributor's part of all rounds, and a folded one with the weights by round."""
    judged = [one for one in record.rounds if one.weights]
    if not judged:
        return tag("p", "No round has been computed yet.", class_="soft")
    parts = dict.fromkeys(record.contributors, 0.0)
    for one in judged:
        for account, weight in one.weights.items():
            parts[account] += weight / (sum(one.weights.values()) or 1) / len(judged)
    most = max(parts.values()) or 1.0
    rows, by_round = [], []
    for account in sorted(parts, key=lambda account: -parts[account]):
        entered = [one for one in judged if account in one.weights]
        reasons = Counter(one.reasons.get(account, "") for one in entered)
        told = [f"{reason} {count}x" for reason, count in reasons.items() if reason not in ("", "accepted")]
        rows.append(
            (
                _name(record, account),
                pages.bar(parts[account] / most, f"{parts[account]:.0%}"),
                f"{sum(one.weights[account] > 0 for one in entered)} of {len(judged)}",
                ", ".join(told) or _NONE,
                _amount(sum(one.rewards.get(account, 0) for one in record.rounds)),
            )
        )
        weights = [Markup.of(f"{one.number}: ", _weight(one, account), "  ") for one in entered]
        by_round.append((_name(record, account), Markup.of(weights)))
    return Markup.of(
        pages.folded(
            "Contributors",
            (
                "Contributor",
                "Part of the weight, all rounds",
                "#Rounds that count",
                "Other verdicts",
                "#Rewards",
            ),
            rows,
        ),
        tag(
            "details",
            tag("summary", "Weights by round, in percent of the round's largest"),
            pages.table("Weights by round", ("Contributor", '"Weights'), by_round),
        ),
        tag("p", "Names are the operator's. Addresses are on the chain.", class_="soft")
        if record.names
        else None,
    )


def _name(record: FederationRecord, account: str) -> Markup:
    name = record.names.get(account)
    return Markup.of(tag("b", name) if name else None, " ", pages.short(account))


def _weight(one: RoundRecord, account: str) -> object:
    reason = one.reasons.get(account, "")
    share = f"{one.shares[account]:.0%}"
    return share if reason in ("", "accepted") else tag("span", share, title=reason, class_="warn")


def _model(record: FederationRecord) -> Markup:
    outcome = record.outcome
    model = (
        Markup.of(
            tag("p", "The model of the last round: ", _link(outcome.model), "."),
            tag("p", "Its SHA-256: ", tag("code", outcome.sha256, class_="whole-name"), "."),
        )
        if outcome.model
        else None
    )
    if outcome.failure:
        word = "The audit found what does not match. Do not use this model before that is explained."
    elif outcome.audit:
        word = (
            f"An audit recomputed the whole history, without trust in the coordinator: {outcome.audit}. "
            "Losses and accuracies are the app's own numbers. No audit can recompute those."
        )
    else:
        word = "No audit was run for this page. To recompute every model and weight, run "
    command = None if outcome.failure or outcome.audit else Markup.of(tag("code", "folkmoot audit"), ".")
    return tag("div", model, tag("p", word, command), class_="box")


def _link(path: str, words: str = "") -> Markup:
    """Return a link to a file beside the page; the path alone for a file elsewhere."""
    try:
        return tag("a", words or path, href=path)
    except ValueError:
        return tag("code", path)


def _rounds(record: FederationRecord) -> Markup:
    rows = []
    for one in record.rounds:
        loss, accuracy = (
            _NONE if key is None else app_metrics.shown(key, one.metrics[key])
            for key in app_metrics.headline(one.metrics)
        )
        entries = _NONE if one.accepted is None else f"{one.accepted} of {one.entries} accepted"
        lost = (_NONE if value is None else value for value in (one.refused, one.failed))
        rows.append((one.number, one.phase, loss, accuracy, entries, *lost))
    columns = ("Round", "Phase", "#Loss", "#Accuracy", "#Updates", "#Refused", "#Failed nodes")
    return pages.folded("Rounds", columns, rows, first=20)


def _costs(record: FederationRecord) -> Markup | None:
    drawn = []
    for title, value in (("Gas", "gas"), ("Seconds by the chain's clock", "seconds")):
        known = [(one.number, getattr(one, value)) for one in record.rounds]
        points = [(number, float(one)) for number, one in known if one is not None]
        drawn.append(charts.chart(title, [charts.Line(value, points)], app_metrics.number, from_zero=True))
    if not any(drawn):
        return None
    rows = [
        (
            one.number,
            _NONE if one.gas is None else f"{one.gas:,}",
            _NONE if one.seconds is None else f"{one.seconds:,}",
            _amount(one.reward) if one.rewards else _NONE,
            _NONE if one.opened_at is None else format_time(one.opened_at),
        )
        for one in record.rounds
    ]
    table = pages.table("Costs by round", ("Round", "#Gas", "#Seconds", "#Rewards", "Opened"), rows)
    return Markup.of(tag("div", drawn, class_="charts"), tag("details", tag("summary", "By round"), table))


def _amount(amount: int) -> Markup:
    """Return an amount of tokens rounded, with the exact one in its title."""
    return tag("span", f"{amount / UNIT:,.2f} MOOT", title=format_amount(amount))


def _files(record: FederationRecord) -> Markup | None:
    names = ("state_root", "state", "mean", "verdicts")
    rows = [
        (one.number, *(pages.short(one.hashes[name], 12) if name in one.hashes else _NONE for name in names))
        for one in record.rounds
        if one.hashes
    ]
    if not rows:
        return None
    table = pages.table("Hashes by round", ("Round", *(name.replace("_", " ") for name in names)), rows)
    return tag("details", tag("summary", "Roots and files of each round"), table)
