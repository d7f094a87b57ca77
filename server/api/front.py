# SPDX-License-Identifier: Apache-2.0
"""Render the page at `/` from an overview: words, tables and two charts. Reads no database and no chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from folkmoot.evaluation import app_metrics as measures
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.runtime.units import format_amount, format_duration, format_time
from folkmoot.web import charts, pages
from folkmoot.web.markup import Markup, tag
from server.api.overview import Overview
from server.api.schemas import ProposalView, RoundView

SHOWN = 12
"""Rounds in the table; the charts have more."""

LONGEST = 240
"""Characters of a text that are shown."""

_NONE = "\N{EN DASH}"
"""In place of a value that is not there."""

_TONES = {
    "ok": "good",
    "final": "good",
    "anchored": "good",
    "executed": "good",
    "succeeded": "good",
    "accepted": "good",
    "running": "good",
    "done": "good",
    "degraded": "bad",
    "slashed": "bad",
    "failed": "bad",
    "cancelled": "warn",
    "defeated": "warn",
    "expired": "warn",
}
"""Colour of each state. The page shows the word too."""


def front(found: Overview, url: str, reload: int, links: Mapping[str, str]) -> bytes:
    """Return the page as HTML in UTF-8.

    Args:
        found: The state of the federation.
        url: The coordinator's URL, safe for a command line.
        reload: Seconds between two reloads; 0 for never.
        links: Paths of the other pages, by name.
    """
    title = f"Folkmoot: {found.task}"
    return pages.page(
        title,
        _header(found),
        tag(
            "main",
            _warnings(found),
            _cards(found),
            _charts(found),
            _section("Rounds", _rounds(found)),
            _section(_weights_title(found), _weights(found)),
            _section("Models and votes", _decided(found)),
            _section("Check this yourself", _check(found, url)),
            _section("More", _links(links)),
        ),
        _footer(found, reload),
        reload=reload or None,
    )


def _header(found: Overview) -> Markup:
    local = ", a local test chain" if found.chain_id == LOCAL_CHAIN_ID else ""
    return tag(
        "header",
        tag("p", "Folkmoot federation", class_="brand"),
        tag("h1", found.task),
        tag(
            "p",
            "Coordinator ",
            pages.short(found.health.coordinator, 42),
            " is ",
            _state(found.health.status),
            ".",
        ),
        tag("p", f"Chain {found.chain_id}{local}, ledger ", pages.short(found.ledger, 42), "."),
    )


def _warnings(found: Overview) -> Markup:
    said = [found.health.error, *found.health.warnings]
    if found.run is not None:
        said.append(found.run.waiting)
    if not found.health.chain:
        said.append("The chain does not answer. This page lacks the values that come from the chain.")
    return Markup.of(tag("p", text, class_="notice", role="status") for text in said if text)


def _cards(found: Overview) -> Markup:
    newest = found.rounds[0] if found.rounds else None
    measured = max(found.metrics, default=None)
    metrics = found.metrics[measured] if measured is not None else {}
    loss, accuracy = measures.headline(metrics)
    values: list[tuple[str, object, object]] = [
        (
            "Current round" if newest and newest.phase in ("opening", "open", "committed") else "Last round",
            newest.round if newest else "none yet",
            _standing(newest, found.health.chain_time)
            if newest
            else "The operator starts one with folkmoot train",
        )
    ]
    for name, key in (("Loss", loss), ("Accuracy", accuracy)):
        if key is not None:
            values.append((name, measures.shown(key, metrics[key]), f"{key}, round {measured}"))
    run = found.run
    values += [
        (
            "Run",
            f"{run.completed} of {run.rounds}" if run else "none yet",
            Markup.of("rounds, ", _state(run.state)) if run else None,
        ),
        ("Contributors", found.contributors, "accounts that have ever staked"),
        (
            "Active model",
            f"version {found.active.version}" if found.active else "none yet",
            tag("a", "download", href="/v1/models/active/download")
            if found.active
            else "a vote activates a version",
        ),
    ]
    return pages.cards(values)


def _standing(round_: RoundView, now: int | None) -> Markup:
    deadline = {
        "open": ("takes updates until", round_.commit_deadline),
        "committed": ("must be anchored by", round_.anchor_deadline),
        "anchored": ("can be challenged until", round_.challenge_deadline),
    }.get(round_.phase)
    words, until = deadline or ("", None)
    if until is None:
        return Markup.of(_state(round_.phase))
    left = "" if now is None else f" ({format_duration(until - now)} left)" if until > now else " (over)"
    return Markup.of(_state(round_.phase), f", {words} ", _time(until), left)


def _charts(found: Overview) -> Markup | None:
    groups = (
        ("Loss", measures.is_loss, measures.number),
        ("Accuracy", measures.is_share, measures.percent),
    )
    names = sorted({name for metrics in found.metrics.values() for name in metrics}, key=measures.rank)
    drawn = []
    for title, belongs, show in groups:
        lines = [
            charts.Line(
                name,
                [
                    (number, found.metrics[number][name])
                    for number in sorted(found.metrics)
                    if name in found.metrics[number]
                ],
            )
            for name in names
            if belongs(name)
        ]
        drawn.append(charts.chart(title, lines, show))
    made = Markup.of(drawn)
    if not made:
        return None
    word = "The operator reports these numbers. Nobody can recompute them. The audit below checks models and weights."
    return _section(
        "Loss and accuracy", Markup.of(tag("div", made, class_="charts"), tag("p", word, class_="soft"))
    )


def _rounds(found: Overview) -> Markup:
    if not found.rounds:
        return tag("p", "No round has opened yet.", class_="soft")
    rows = [_round(round_, found.metrics.get(round_.round, {})) for round_ in found.rounds[:SHOWN]]
    columns = ("Round", "Phase", "#Loss", "#Accuracy", "#Entries", "#Accepted", "#Refused", "Opened", "#Gas")
    return Markup.of(
        pages.table("Rounds, newest first", columns, rows),
        tag("p", tag("a", "All rounds", href="/v1/rounds"), class_="soft")
        if len(found.rounds) > SHOWN
        else None,
    )


def _round(round_: RoundView, metrics: Mapping[str, float]) -> Sequence[object]:
    counted = round_.weights is not None and round_.phase not in ("opening", "open")
    accepted = sum(weight > 0 for weight in round_.weights) if counted and round_.weights else None
    loss, accuracy = measures.headline(metrics)
    return (
        tag("a", round_.round, href=f"/v1/rounds/{round_.round}"),
        Markup.of(
            _state(round_.phase), tag("span", _cut(round_.error), class_="note") if round_.error else None
        ),
        _NONE if loss is None else measures.shown(loss, metrics[loss]),
        _NONE if accuracy is None else measures.shown(accuracy, metrics[accuracy]),
        round_.entries if round_.entries or counted else f"{round_.received} received",
        _NONE if accepted is None else accepted,
        round_.refused,
        _NONE if round_.opened_at is None else _time(round_.opened_at),
        f"{int(round_.gas):,}",
    )


def _weights_title(found: Overview) -> str:
    return "Contributors" if found.judged is None else f"Weights in round {found.judged}"


def _weights(found: Overview) -> Markup:
    if found.judged is None:
        return tag(
            "p",
            f"{found.contributors} accounts have staked. No round has been computed yet. ",
            tag("a", "All contributors", href="/v1/contributors"),
            class_="soft",
        )
    rows = []
    for share in found.shares:
        part = share.weight / share.largest if share.largest else 0.0
        compared = share.reason == "root"
        rows.append(
            (
                tag("a", pages.short(share.contributor, 18), href=f"/v1/contributors/{share.contributor}"),
                "compared only" if compared else Markup.of(pages.bar(part), f"{part:.0%}"),
                _state(share.reason),
            )
        )
    return Markup.of(
        pages.table(
            f"Weights in round {found.judged}", ("Contributor", "Weight (of the largest)", "Verdict"), rows
        ),
        tag(
            "p",
            "To see why an update got its weight: ",
            tag("code", f"folkmoot why ACCOUNT --round {found.judged} --coordinator URL"),
            ". ",
            tag("a", "All contributors", href="/v1/contributors"),
            class_="soft",
        ),
    )


def _decided(found: Overview) -> Markup:
    active = found.active
    if active is None:
        model = tag(
            "p",
            "No vote has activated a version yet. You can download the model of each anchored round: ",
            tag("code", "/v1/models/ROUND/download"),
            ".",
        )
    else:
        model = tag(
            "p",
            f"Version {active.version} is active: ",
            tag("a", "download it", href="/v1/models/active/download"),
            " as a safetensors file; no account is needed. State root ",
            pages.short(active.state_root, 18),
            ".",
        )
    if found.proposals is None:
        votes = tag("p", "The page can't show proposals while the chain does not answer.", class_="notice")
    elif not found.proposals:
        votes = tag("p", "There are no proposals yet.", class_="soft")
    else:
        columns = ("Proposal", '"Description', "State", "Vote ends", "#For", "#Against")
        votes = pages.table("Proposals, newest first", columns, [_proposal(one) for one in found.proposals])
    return Markup.of(tag("div", model, class_="box"), votes)


def _proposal(proposal: ProposalView) -> Sequence[object]:
    words = proposal.description.strip()
    return (
        tag("a", pages.short(proposal.id), href=f"/v1/proposals/{proposal.id}"),
        _cut(words),
        _state(proposal.state),
        _time(proposal.vote_end),
        format_amount(int(proposal.votes_for)),
        format_amount(int(proposal.votes_against)),
    )


def _check(found: Overview, url: str) -> Markup:
    rpc = found.rpc or f"RPC_OF_CHAIN_{found.chain_id}"
    commands = (
        f"curl -fsS {url}/v1/deployment > deployment.json\n"
        f"folkmoot audit --rpc {rpc} --deployment deployment.json --artifacts {url}"
    )
    where = (
        ""
        if found.rpc
        else f" Replace RPC_OF_CHAIN_{found.chain_id} by the URL of a JSON-RPC endpoint that you trust."
    )
    return tag(
        "div",
        tag(
            "p",
            "You need not trust this coordinator. These commands recompute every round and compare it with the chain.",
        ),
        tag("pre", commands, tabindex=0),
        tag(
            "p",
            f"First compare deployment.json with the file of another member of the federation.{where}",
            class_="soft",
        ),
        class_="box",
    )


def _links(links: Mapping[str, str]) -> Markup:
    names = {"documentation": "API documentation", "openapi": "OpenAPI", "deployment": "deployment.json"}
    return tag(
        "ul",
        [tag("li", tag("a", names.get(name, name), href=place)) for name, place in links.items()],
        class_="links",
    )


def _footer(found: Overview, reload: int) -> Markup:
    turn = (
        Markup.of(f"This page reloads every {reload} s. ", tag("a", "Stop reloading", href="?reload=0"), ". ")
        if reload
        else Markup.of(tag("a", "Reload this page every 15 s", href="/"), ". ")
    )
    moment = "" if found.health.chain_time is None else f"Chain time {format_time(found.health.chain_time)}. "
    return tag("footer", tag("p", moment, turn, f"Folkmoot {found.health.version}."))


def _section(title: str, content: Markup) -> Markup:
    return tag("section", tag("h2", title), content)


def _state(word: str) -> Markup:
    return tag("span", word, class_=_TONES.get(word))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _time(seconds: int) -> Markup:
    written = format_time(seconds)
    return tag("time", written.replace("T", " ").removesuffix("Z")[:16] + " UTC", datetime=written)
