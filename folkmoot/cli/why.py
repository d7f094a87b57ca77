# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot why`: explain the weight and the reward of an update from its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import account_address, connected
from folkmoot.cli.output import emit, table, working
from folkmoot.errors import ArtifactError, CoordinatorError, FolkmootError, InputError

if TYPE_CHECKING:
    from folkmoot.chain.client import Chain
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.ledger.replay import Round

SHOWN_REFUSALS = 3
"""Number of newest refusals that are shown without --round."""


def why(
    account: Annotated[str | None, typer.Argument(help="Account. Default: that of the key file.")] = None,
    round_: Annotated[
        int | None,
        typer.Option("--round", min=1, metavar="N", help="One round. Default: the newest, and a table."),
    ] = None,
    last: Annotated[int, typer.Option(min=1, metavar="K", help="Rounds in the table.")] = 10,
) -> None:
    """Explain the weights and rewards of updates, with the numbers and the formulas.

    Example: folkmoot why 0x... --round 7 --rpc https://rpc.example --coordinator https://coordinator.example
    """
    who = account_address(account)
    rpc, coordinator, artifacts = (context().find(name) for name in ("rpc", "coordinator", "artifacts"))
    if coordinator is None and (not rpc or artifacts is None):
        raise InputError(
            "The source of the verdicts is missing.",
            remedy="Give --coordinator, or --rpc with --artifacts.",
            code="source-missing",
        )
    with working("Reading verdicts ..."):
        if rpc:
            document = _from_chain(who, round_, artifacts or [coordinator], coordinator)
        else:
            document = _from_coordinator(who, round_, coordinator)
    document["verdicts"] = document["verdicts"] if round_ is None else document["verdicts"][:1]
    emit(document, *_shown(document, round_, last))


# Sources. Both return the same document, with the newest verdicts first.


def _from_chain(
    who: str,
    number: int | None,
    artifacts: list[str],
    coordinator: str | None,
) -> dict[str, Any]:
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.explain.from_chain import judgements, parts_of
    from folkmoot.explain.reputation import reputation
    from folkmoot.ledger.replay import read_state

    with connected() as chain:
        source = open_sources(artifacts)
        try:
            rounds = read_state(chain).rounds
            judged = judgements(chain, source, rounds, who)
        finally:
            source.close()
        chosen = [verdict for verdict in judged if number is None or verdict.part.round == number]
        model = _model(chain, artifacts, coordinator, number) if chosen and number and coordinator else None
        refused = _refusals(who, number, coordinator) if coordinator else []
        if not chosen and not refused:
            raise _nothing(who, number, rounds, chain, asked=coordinator is not None)
        reader = chain.ledger
        spent = reader.spent(who)
        left = reader.policy(reader.current_policy()).rounds_left(spent)
    return {
        "account": who,
        "checked": True,
        "source": ", ".join(artifacts),
        "reputation": reputation(parts_of(judged)).to_json(),
        "verdicts": [verdict.to_json() for verdict in reversed(chosen)],
        "refused": refused,
        "privacy": {"spent": str(spent), "roundsLeft": left},
        **({} if model is None else {"model": model}),
    }


def _model(chain: Chain, artifacts: list[str], coordinator: str, number: int) -> dict[str, Any]:
    """Compare the model that the coordinator hands out after a round with the state root on the chain."""
    from folkmoot.artifacts.model import check_handed_out, model_of
    from folkmoot.artifacts.sources import CoordinatorSource, open_sources

    source = open_sources(artifacts)
    try:
        with CoordinatorSource(coordinator) as asked:
            model = model_of(chain.rpc, chain.deployment, source, number)
            check_handed_out(asked, number, model.sha256, model.size)
    except ArtifactError as error:
        return {"checked": False, "error": error.message, "code": error.code}
    finally:
        source.close()
    return {"checked": True, "sha256": model.sha256, "stateRoot": "0x" + model.state_root.hex()}


def _from_coordinator(who: str, number: int | None, url: str) -> dict[str, Any]:
    from folkmoot.coordinator_api import CoordinatorApi

    with CoordinatorApi(url) as api:
        refused = _refusals(who, number, url)
        try:
            if number is None:
                verdicts = list(api.items(f"/v1/contributors/{who}/verdicts", limit=200))
            else:
                verdicts = [api.get(f"/v1/rounds/{number}/updates/{who}/verdict")]
        except CoordinatorError as error:
            if error.code not in ("unknown-update", "round-not-anchored", "round-void") or not refused:
                raise
            verdicts = []
        except (KeyError, TypeError) as error:
            raise _nonsense(api.url) from error
        if not verdicts and not refused:
            raise InputError(
                f"{who} has no entry in any anchored round.",
                remedy="Check the address; `folkmoot why` answers once a round is anchored.",
                code="unknown-contributor",
            )
        view = api.get(f"/v1/contributors/{who}")
        return {
            "account": who,
            "checked": False,
            "source": url,
            "reputation": _object(api, view.get("reputation")),
            "verdicts": verdicts,
            "refused": refused,
            "privacy": {"spent": view.get("privacySpent"), "roundsLeft": view.get("privacyRoundsLeft")},
        }


def _refusals(who: str, number: int | None, url: str) -> list[dict[str, Any]]:
    """Return the account's updates that the coordinator refused, newest first."""
    from folkmoot.coordinator_api import CoordinatorApi

    with CoordinatorApi(url) as api:
        try:
            if number is None:
                refusals = list(api.get(f"/v1/contributors/{who}")["refused"])
            else:
                refusals = list(reversed(api.get(f"/v1/rounds/{number}/updates/{who}")["refusals"]))
        except FolkmootError as error:
            if error.code in ("unknown-contributor", "unknown-update", "round-unknown"):
                return []  # A coordinator has only the rounds that it led; the chain has all of them.
            raise
        except (KeyError, TypeError) as error:
            raise _nonsense(api.url) from error
        return [_object(api, refusal) for refusal in refusals]


def _nothing(
    who: str, number: int | None, rounds: dict[int, Round], chain: Chain, *, asked: bool
) -> InputError:
    """Return the error for a missing verdict."""
    from folkmoot.runtime.units import format_duration

    hint = "" if asked else "What was refused on arrival only the coordinator knows: give --coordinator."
    if number is None:
        under_way = [
            round_.number for round_ in rounds.values() if who in round_.contributors and not round_.void
        ]
        if under_way:
            text = f"{who} has no verdict yet: its first round, {under_way[0]}, is not anchored."
            return InputError(text, remedy="Ask again after the anchor.", code="round-not-anchored")
        return InputError(
            f"{who} has no entry in any anchored round.", remedy=hint, code="unknown-contributor"
        )
    view = rounds.get(number)
    if view is None:
        newest = max(rounds, default=0)
        text = f"There is no round {number}; " + (
            f"the newest is {newest}." if newest else "none was opened yet."
        )
        return InputError(text, remedy="`folkmoot status` shows the newest.", code="round-unknown")
    entry = "has an entry in it" if who in view.contributors else "has no entry in it"
    if view.void:
        return InputError(
            f"Round {number} was {view.phase.name.lower()}: nothing counted and nobody was paid. {who} {entry}.",
            remedy="Rounds that follow are not touched by it.",
            code="round-void",
        )
    if view.anchor is None:
        seconds_left = view.anchor_deadline - chain.rpc.latest_timestamp()
        late = "late: anybody may cancel the round"
        due = f"due in at most {format_duration(seconds_left)}" if seconds_left > 0 else late
        return InputError(
            f"Round {number} is not anchored yet, so it has no verdicts; {who} {entry}. The anchor is {due}.",
            remedy="Ask again after the anchor.",
            code="round-not-anchored",
        )
    drawn = _not_drawn(who, number, chain)
    return InputError(
        f"{who} has no entry in round {number}.{drawn}",
        remedy=hint,
        code="not-drawn" if drawn else "unknown-update",
    )


def _not_drawn(who: str, number: int, chain: Chain) -> str:
    """Return whether an account was drawn for a place, as far as the chain still shows it; empty without a crowd.

    What the account had enrolled when the round opened is not stored, so this says how much its lot asked for.
    """
    from folkmoot.protocol.places import LOT_BITS, lot_of
    from folkmoot.runtime.units import format_amount

    draw = chain.ledger.draw(number)
    if not draw.quota or who == chain.ledger.round(number).coordinator:
        return ""
    needed = (lot_of(draw.seed, who) * draw.quota >> LOT_BITS) + 1  # the least integer that the draw accepts
    enrolled = chain.vault.members([who])[who].enrolled
    return (
        f" More stake was enrolled than the round had places, so they were drawn: the lot of this account asked for "
        f"{format_amount(needed)} to be enrolled before the opening. Now it has {format_amount(enrolled)}."
    )


def _object(api: CoordinatorApi, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _nonsense(api.url)
    return value


def _nonsense(url: str) -> CoordinatorError:
    return CoordinatorError(
        f"The coordinator {url} gave an answer that can't be read.",
        remedy="Check that it is a Folkmoot coordinator of this release.",
    )


# Output. A coordinator may send anything, so a missing field is its error.


def _shown(document: dict[str, Any], number: int | None, last: int) -> list[Any]:
    from folkmoot.explain.why import reputation_text

    try:
        verdicts = document["verdicts"]
        shown: list[Any] = [document["account"], reputation_text(document["reputation"])]
        privacy = document["privacy"]
        if privacy["roundsLeft"] is not None:
            shown.append(
                f"Privacy budget: {int(privacy['spent'])} spent by the ledger, enough for "
                f"{int(privacy['roundsLeft'])} more rounds under the current policy. The signer may have counted more: "
                "`folkmoot signer record`."
            )
        if number is None and verdicts:
            shown.append(table(("round", "phase", "weight", "reason", "pay"), map(_row, verdicts[:last])))
        shown += [_judged(verdict) for verdict in verdicts[:1]]
        refused = document["refused"]
        shown += [_refused(refusal) for refusal in (refused if number else refused[:SHOWN_REFUSALS])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _nonsense(str(document["source"])) from error
    if (model := document.get("model")) is not None:
        shown.append(
            f"Checked: the model after round {number} that the coordinator hands out is that of the state root on the "
            "chain."
            if model["checked"]
            else f"The model after round {number} is not what it must be. {model['error']}"
        )
    shown.append(
        "Checked: every verdicts file has the hash that its round's anchor on the chain names, and the anchor's "
        "weights. Whether the rule yields these numbers, `folkmoot audit` recomputes."
        if document["checked"]
        else "Not checked: this is what the coordinator says. Give --rpc and --deployment to compare with the chain."
    )
    return shown


def _row(verdict: dict[str, Any]) -> tuple[str, ...]:
    from folkmoot.runtime.units import format_amount

    pay = format_amount(int(verdict["pay"]))
    return (
        str(verdict["round"]),
        str(verdict["phase"]),
        f"{verdict['weight']}/{verdict['largestWeight']}",
        str(verdict["reason"]),
        pay if verdict["credited"] is not None else f"{pay} (not yet credited)",
    )


def _judged(verdict: dict[str, Any]) -> str:
    words = verdict["explanation"]
    lines = [
        f"Round {verdict['round']} ({verdict['phase']}), entry {int(verdict['position']) + 1} of "
        f"{verdict['entries']}: {verdict['reason']}",
        f"  {words['summary']}",
        *(f"  {detail}" for detail in words["details"]),
        f"  {words['weight']}",
        f"  {words['pay']}",
        f"  What you could do: {words['advice']}",
    ]
    return "\n".join(lines) + "\n"


def _refused(refusal: dict[str, Any]) -> str:
    from folkmoot.explain.reasons import words_of

    words = words_of(str(refusal["reason"]))
    lines = [
        f"Round {refusal['round']}: refused, {refusal['reason']} (it never became an entry)",
        f"  {words.summary}",
        f"  {refusal['detail']}",
    ]
    if not refusal["authenticated"]:
        lines.append("  It did not bear the account's signature: anybody may have sent it.")
    return "\n".join([*lines, f"  What you could do: {words.advice}"]) + "\n"
