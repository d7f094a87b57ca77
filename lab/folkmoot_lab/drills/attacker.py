# SPDX-License-Identifier: Apache-2.0
"""The node of a contributor who attacks: `folkmoot join` with a task that attacks, and a signer that lies if it must.

    python -m folkmoot_lab.drills.attacker ATTACK --task TASK --coordinator ...  # the other options of `folkmoot join`

The product has no path that lies. Who wants to lie changes the program on their own machine, as this one does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from client.keeper import delivery
from client.keeper.delivery import signed_commitment
from client.signer import checks
from folkmoot.cli.main import run
from folkmoot.cli.output import fail
from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.errors import InputError
from folkmoot.flower.signing import SignerError
from folkmoot.flower.updates import KeptUpdate
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.updates import SequentialReader
from folkmoot_lab.drills.tasks import FALSE_NORM, attacking, parse_attack


class FalseNormRules(checks.SigningRules):
    """Rules of a signer that signs any sum of squares. All else must be true."""

    def check_update(self, commitment: Commitment, update: SequentialReader) -> None:
        """Check the encoding and the root of an update.

        Raises:
            SignerError: As for `SigningRules`, without ``wrong-norm``.
        """
        try:
            super().check_update(commitment, update)
        except SignerError as error:
            if error.code != "wrong-norm":
                raise


def false_norm_delivered(kept: KeptUpdate, *arguments: Any) -> tuple[Commitment, bytes]:
    """Let a keeper deliver an update whose sum of squares is not that of its commitment."""
    try:
        return signed_commitment(kept, *arguments)
    except InputError as error:
        if error.code != "damaged-update":
            raise
        return commitment_from_wire(kept.commitment)


def join_options(attack: str, options: Sequence[str]) -> list[str]:
    """Return the options of `folkmoot join`, with the task that attacks in the place of the given one.

    Raises:
        InputError: No attack has this name, or the options have no task.
    """
    parse_attack(attack)
    usage = "python -m folkmoot_lab.drills.attacker ATTACK --task TASK [other options of `folkmoot join`]"
    parser = argparse.ArgumentParser(usage=usage, allow_abbrev=False)
    parser.add_argument("--task", help="the task whose updates are attacked")
    given, others = parser.parse_known_args(options)
    if not given.task:
        raise InputError(
            "The options name no task, and only a task can attack.",
            remedy="Add --task, as for `folkmoot join`.",
        )
    return [*others, "--task", attacking(attack, given.task)]


def main(arguments: Sequence[str]) -> int:
    """Run the attacker's node until Ctrl-C; return the exit status."""
    attack, *options = arguments or [""]
    try:
        options = join_options(attack, options)
    except InputError as error:
        fail(error, "--json" in arguments)
        return 1
    if attack == FALSE_NORM:
        vars(checks)["SigningRules"] = FalseNormRules
        vars(delivery)["signed_commitment"] = false_norm_delivered
    return run(["join", *options])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
