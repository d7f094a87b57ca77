# SPDX-License-Identifier: Apache-2.0
"""Render the page at `/` from an overview: words, tables and two charts. Reads no database and no chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from folkmoot.evaluation import app_metrics
from folkmoot.export import metric_charts
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.runtime.units import format_amount, format_duration, format_time
from folkmoot.web import pages
from folkmoot.web.markup import Markup, tag
from server.api.overview import Overview, Person
from server.api.schemas import ProposalView, RoundView, WaitView
from server.waiting import Why

SHOWN = 12
"""Rounds in the table; the charts have more."""

LONGEST = 240
"""Characters of a text that are shown."""

_NONE = "\N{EN DASH}"
"""In place of a value that is not there."""

_TONES = {
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
    "refused": "bad",
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
            _section("Contributors", _people(found)),
            _charts(found),
            _section("Rounds", _rounds(found)),
            _section("Models and votes", _decided(found)),
            _section("Check this yourself", _check(found, url)),
            _section("Addresses", _addresses(found)),
            _section("More", _links(links)),
        ),
        _footer(found, reload),
        reload=reload or None,
    )


def _header(found: Overview) -> Markup:
    return tag(
        "header",
        tag("p", "Folkmoot federation", class_="brand"),
        tag("h1", found.task),
        tag("p", _now(found), class_="now", role="status"),
    )


def _now(found: Overview) -> Markup:
    """Say what happens now, or what is waited for, and for how long."""
    run, newest = found.run, found.rounds[0] if found.rounds else None
    if found.health.status != "ok":
        return Markup.of(_state("degraded"), ": a part of the coordinator is down.")
    if (stall := _stall(found)) is not None:
        now, until = found.health.chain_time, None if stall.code == Why.CANCELLED_ROUNDS else stall.until
        left = f" ({format_duration(until - now)} left)" if now and until and until > now else ""
        return Markup.of(tag("span", "waiting", class_="warn"), f": {stall.message}{left} {stall.remedy}")
    people = f"{found.contributors} {'contributor' if found.contributors == 1 else 'contributors'}"
    if run is None:
        enrolled = sum(bool(one.enrolled) for one in found.people)
        ready = f"{enrolled} of {people} enrolled"
        if any(one.enrolled is None for one in found.people):
            ready = f"{people} staked"
        return Markup.of(
            tag("span", "waiting", class_="warn"), ": for the operator to start a run. ", ready, " so far."
        )
    if run.state == "running":
        if newest is None or newest.run != run.id:
            return Markup.of(_state("running"), f": the first of {run.rounds} rounds is being opened.")
        place = min(run.completed + (newest.phase in _OPEN), run.rounds)
        standing = _standing(newest, found.health.chain_time)
        return Markup.of(f"Round {newest.round} ({place} of {run.rounds} in this run): ", standing, ".")
    ended = Markup.of(_state(run.state), f": {run.completed} of {run.rounds} rounds of the last run.")
    return Markup.of(ended, f" {_cut(run.error)}" if run.error else None)


_OPEN = ("opening", "open", "committed")


def _stall(found: Overview) -> WaitView | None:
    """Return what keeps the run from going on, if that is more than a matter of time."""
    waits = found.run.waits if found.run is not None else ()
    return next((one for one in waits if not one.normal), None)


def _warnings(found: Overview) -> Markup:
    stall = _stall(found) if found.health.status == "ok" else None
    shown = None if stall is None else f"{stall.message} {stall.remedy}".strip()  # at the top of the page
    said = [text for text in (found.health.error, *found.health.warnings) if text != shown]
    if not found.health.chain:
        said.append("The chain does not answer. This page lacks the values that come from the chain.")
    return Markup.of(tag("p", text, class_="notice", role="status") for text in said if text)


def _cards(found: Overview) -> Markup:
    newest = found.rounds[0] if found.rounds else None
    last = max(found.metrics, default=None)
    metrics = found.metrics[last] if last is not None else {}
    run = found.run
    of_run = f"{run.completed} of {run.rounds} in this run" if run else "none yet in a run"
    values: list[tuple[str, object, object]] = [
        (
            "Current round" if newest and newest.phase in _OPEN else "Last round",
            newest.round if newest else "none yet",
            f"{of_run} done" if run and newest else "the operator starts one with folkmoot train",
        )
    ]
    for name, key in zip(("Loss", "Accuracy"), app_metrics.headline(metrics), strict=True):
        if key is not None:
            values.append((name, app_metrics.shown(key, metrics[key]), f"{key}, round {last}"))
    answers = [one.answer for one in found.people]
    answered = f"{answers.count('accepted')} answered this round" if newest else "without the coordinator"
    values += [
        ("Contributors", found.contributors, answered),
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
    made = metric_charts.loss_and_accuracy(found.metrics)
    if not made:
        return None
    word = "The operator reports these numbers. Nobody can recompute them. The audit below checks models and weights."
    return _section("Loss and accuracy", Markup.of(made, tag("p", word, class_="soft")))


def _rounds(found: Overview) -> Markup:
    if not found.rounds:
        return tag("p", "No round has opened yet.", class_="soft")
    rows = [_round(round_, found.metrics.get(round_.round, {})) for round_ in found.rounds[:SHOWN]]
    columns = ("Round", "Phase", "#Loss", "#Accuracy", "#Updates", "#Refused", "Opened")
    return Markup.of(
        pages.table("Rounds, newest first", columns, rows),
        tag("p", tag("a", "All rounds", href="/v1/rounds"), class_="soft")
        if len(found.rounds) > SHOWN
        else None,
    )


def _round(round_: RoundView, metrics: Mapping[str, float]) -> Sequence[object]:
    counted = round_.weights is not None and round_.phase not in ("opening", "open")
    accepted = sum(weight > 0 for weight in round_.weights) if counted and round_.weights else None
    loss, accuracy = app_metrics.headline(metrics)
    return (
        tag("a", round_.round, href=f"/v1/rounds/{round_.round}"),
        Markup.of(
            _state(round_.phase), tag("span", _cut(round_.error), class_="note") if round_.error else None
        ),
        _NONE if loss is None else app_metrics.shown(loss, metrics[loss]),
        _NONE if accuracy is None else app_metrics.shown(accuracy, metrics[accuracy]),
        f"{round_.received} received" if accepted is None else f"{accepted} of {round_.entries} accepted",
        round_.refused,
        _NONE if round_.opened_at is None else _time(round_.opened_at),
    )


def _people(found: Overview) -> Markup:
    """Return a table of the contributors: the answer to the newest round, and the last weight and verdict."""
    if not found.people:
        return tag("p", "Nobody has staked yet. To take part: folkmoot join.", class_="soft")
    newest = found.rounds[0] if found.rounds else None
    columns = ["Contributor", f"Answer to round {newest.round}" if newest else "Enrolled"]
    if found.judged is not None:
        columns += [f"Weight in round {found.judged}", "Verdict"]
    rows = [_person(one, found, newest) for one in found.people]
    left = found.contributors - len(rows)
    named = any(one.name for one in found.people)
    words = Markup.of(
        "The names are the operator's; the addresses are on the chain. " if named else None,
        "Weights are relative to the largest of the round. " if found.judged is not None else None,
        tag("a", f"{left} more contributors" if left > 0 else "All contributors", href="/v1/contributors"),
        ". ",
        Markup.of(
            "Why an update got its weight: ",
            tag("code", f"folkmoot why ACCOUNT --round {found.judged} --coordinator URL"),
        )
        if found.judged is not None
        else None,
    )
    return Markup.of(
        pages.folded("Contributors", columns, rows),
        tag("p", words, class_="soft"),
    )


def _person(one: Person, found: Overview, newest: RoundView | None) -> list[object]:
    name = one.name or (f"member {one.number}" if one.number else "contributor")
    enrolled = {None: _NONE, True: "yes", False: tag("span", "not enrolled", class_="warn")}[one.enrolled]
    answer: object = enrolled
    if newest is not None and one.enrolled is not False:
        late = "awaited" if newest.phase in ("opening", "open") else _NONE
        answer = tag("span", late, class_="soft")
    if one.answer:
        answer = _state(one.answer)
    account = tag("a", pages.short(one.account, 8), href=f"/v1/contributors/{one.account}")
    cells: list[object] = [Markup.of(tag("b", name), " ", account), answer]
    if found.judged is not None:
        share = one.share
        part = share.weight / share.largest if share and share.largest else 0.0
        weight = _NONE if share is None else pages.bar(part)
        root = share is not None and share.reason == "root"
        cells += ["compared only" if root else weight, _state(share.reason) if share else _NONE]
    return cells


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


def _addresses(found: Overview) -> Markup:
    local = ", a local test chain" if found.chain_id == LOCAL_CHAIN_ID else ""
    return tag(
        "div",
        tag("p", f"Chain {found.chain_id}{local}."),
        [
            tag("div", f"{name} ", pages.copied(address))
            for name, address in (("Coordinator", found.health.coordinator), ("Ledger", found.ledger))
        ],
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
