# SPDX-License-Identifier: Apache-2.0
"""The command `demo`: a whole federation on one machine, as a story, with or without somebody who cheats."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from folkmoot.cli.context import leave_environment
from folkmoot.cli.options import Clock, Feedback, Start
from folkmoot.cli.output import emit, is_json
from folkmoot.cli.policy import parse_rule
from folkmoot.devnet.cli import Root, Rule, Task, Window, console_for, window_of
from folkmoot.errors import InputError

DEMO_TASK = "mnist"
DEMO_ATTACK = "sign-flip:2"
"""Attack of the last contributor of a demo: it sends minus twice its update."""

DEMO_HONEST = 2
"""Number of honest rounds before a lie."""


class _Usual(NamedTuple):
    """What a demo has where nobody says otherwise."""

    contributors: int
    rounds: int
    width: int
    link: float


USUAL_DEMO = _Usual(contributors=5, rounds=5, width=8, link=0)
TEXT_TASK, TEXT_DEMO = "text", _Usual(contributors=3, rounds=8, width=4, link=5)
"""A language model on home lines."""

Attack = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        metavar="NUMBER=ATTACK",
        help="Make a contributor (from 1) an attacker, e.g. 5=sign-flip; may be repeated; 'none' for nobody.",
        show_default=False,
    ),
]


def demo(
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Number of rounds (5; 8 for the task text); with --cheat, of honest rounds before the lie (2), or of "
            "the attack.",
            min=1,
            max=1000,
        ),
    ] = None,
    contributors: Annotated[
        int | None, typer.Option(help="Number of contributors (5; 3 for the task text).", min=1, max=64)
    ] = None,
    task: Task = DEMO_TASK,
    attack: Attack = None,
    rule: Rule = "clamped_mean",
    root: Root = "",
    start: Start = "base",
    clock: Clock = False,
    window: Window = None,
    width: Annotated[
        int | None,
        typer.Option(metavar="8|4|2", help="Bits of a coordinate of an update (8; 4 for the task text)."),
    ] = None,
    feedback: Feedback = False,
    link: Annotated[
        float | None,
        typer.Option(
            metavar="MBIT",
            help="Limit the line of each contributor's node to so many Mbit/s in each direction (no limit; 5 for the "
            "task text). 0 is no limit. A proxy before the node does it.",
        ),
    ] = None,
    cheat: Annotated[
        str,
        typer.Option(
            metavar="mean|weights|pay|outer-step|norm|withhold|censor|left-out|double-anchor|puppets|copied-proof|spam|capture",
            help="Make the coordinator lie in one round, and show how it is slashed; or play an attack of several "
            "accounts or of a vote (the last four), and show what it brings in.",
        ),
    ] = "",
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Train breast-cancer-private with differential privacy for as many rounds as the budget allows (20), "
            "and show that the next round is refused.",
        ),
    ] = False,
    harmful_release: Annotated[
        bool,
        typer.Option(
            "--harmful-release",
            help="Release a version too early (after 1 round), and show how it is recalled and who pays.",
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    home: Annotated[
        Path | None, typer.Option(help="Folder for keys, logs and artifacts. Default: a new temporary one.")
    ] = None,
) -> None:
    """Show a whole federation: training, a poisoned update, a vote on the release, and an audit of all rounds.

    Starts a local chain, the contracts, a coordinator, a Flower SuperLink and the contributors, on free ports of
    this machine, and ends them all. Takes two to three minutes on two cores.

    With --cheat, the coordinator lies, and a watcher proves it on the chain, or opens a dispute that is voted on (pay);
    or somebody attacks with several accounts (puppets, copied-proof, spam) or by a vote (capture), and the demo ends
    with what that brought in.

    Example: folkmoot demo --rounds 3 --keep

    Example: folkmoot demo --task text

    Example: folkmoot demo --task text --start eager --clock

    Example: folkmoot demo --cheat mean

    Example: folkmoot demo --private

    Example: folkmoot demo --harmful-release
    """
    from folkmoot.protocol.packing import check_width
    from folkmoot_lab.stories.cheat import GAMES, CheatDemo, check_cheat, staged
    from folkmoot_lab.stories.demo import Demo
    from folkmoot_lab.stories.federation import Story
    from folkmoot_lab.stories.harmful import ROUNDS as HARMFUL_ROUNDS
    from folkmoot_lab.stories.harmful import HarmfulDemo
    from folkmoot_lab.stories.private import ROUNDS as PRIVATE_ROUNDS
    from folkmoot_lab.stories.private import TASK as PRIVATE_TASK
    from folkmoot_lab.stories.private import PrivateDemo

    leave_environment()
    if cheat:
        check_cheat(cheat)
    if private and (cheat or attack or root or feedback or task != DEMO_TASK):
        raise InputError(
            "The private demo is shown with its own task, without attacks, root set and error feedback.",
            remedy="Leave out --cheat, --attack, --root, --feedback and --task.",
        )
    if harmful_release and (cheat or private or task == TEXT_TASK or contributors == 1):
        raise InputError(
            "A harmful release is shown with a task that has classes and several contributors, without --cheat and "
            "--private.",
            remedy="Leave out --cheat, --private, --task text and --contributors 1.",
        )
    if clock and (private or cheat):
        raise InputError(
            "The private demo and those of cheats train a fixed number of steps.",
            remedy="Leave out --clock, or --private and --cheat.",
        )
    usual = TEXT_DEMO if task == TEXT_TASK else USUAL_DEMO
    contributors = usual.contributors if contributors is None else contributors
    place = home if home is not None else Path(tempfile.mkdtemp(prefix="folkmoot-demo-"))
    name, parameters = parse_rule(rule)
    plan = Story(
        home=place.absolute(),
        task=PRIVATE_TASK if private else task,
        contributors=contributors,
        attackers=parse_attacks(
            attack, {contributors: DEMO_ATTACK} if contributors > 2 and not cheat and not private else {}
        ),
        rule=name,
        parameters=parameters,
        root=root,
        budget_rounds=rounds or PRIVATE_ROUNDS,
        start=start,
        clock=clock,
        commit_window=window_of(window, clock),
        width=check_width(usual.width if width is None else width),
        feedback=feedback,
        link=usual.link if link is None else link,
    )
    console = console_for()
    if cheat in GAMES:
        from folkmoot_lab.stories.games import CLASSES

        if plan.attackers or plan.root:
            raise InputError(
                f"The cheat {cheat} is shown without poisoned updates and without a root set.",
                remedy="Leave out --attack and --root.",
                code="cheat-not-shown",
            )
        game = CLASSES[cheat]
        summary = game(game.staged(plan), rounds or game.default_rounds, console, keep=keep).run()
    elif cheat:
        honest = rounds or DEMO_HONEST
        summary = CheatDemo(staged(plan, cheat, honest), cheat, honest, console, keep=keep).run()
    elif private:
        summary = PrivateDemo(plan, plan.budget_rounds, console, keep=keep).run()
    elif harmful_release:
        summary = HarmfulDemo(plan, rounds or HARMFUL_ROUNDS, console, keep=keep).run()
    else:
        summary = Demo(plan, rounds or usual.rounds, console, keep=keep).run()
    if is_json():
        emit(summary)


def parse_attacks(texts: list[str] | None, default: dict[int, str]) -> dict[int, str]:
    """Return the attack of each attacking contributor.

    Raises:
        InputError: An option is malformed.
    """
    if texts is None:
        return default
    attacks: dict[int, str] = {}
    for text in texts:
        if text == "none":
            continue
        number, separator, drill = text.partition("=")
        if not separator or not number.isdigit() or not drill:
            raise InputError(
                f"{text!r} is not an attack.", remedy="Write NUMBER=ATTACK, e.g. 5=sign-flip, or none."
            )
        attacks[int(number)] = drill
    return attacks
