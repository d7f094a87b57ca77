# SPDX-License-Identifier: Apache-2.0
"""Whenever the state machine does nothing, it says why: by type and by its source. `test_phases.py` searches."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import server.rounds
from server.rounds.engine import Engine
from server.rounds.phase import StepHandler
from server.waiting import REASONS, Progress, Why, fields_of, wait

SOURCES = sorted(Path(server.__file__ or "").parent.rglob("*.py"))
HOUSEKEEPING = {"close", "forget"}
"""Public methods of the phases that take no step."""


def test_every_step_returns_progress() -> None:
    """A step that may say nothing, or only yes and no, can wait in silence."""
    for module in pkgutil.iter_modules(server.rounds.__path__):
        importlib.import_module(f"server.rounds.{module.name}")
    steps = [
        method
        for handler in StepHandler.__subclasses__()
        for name, method in vars(handler).items()
        if callable(method) and not name.startswith("_") and name not in HOUSEKEEPING
    ]
    assert len(steps) >= 12
    for step in [*steps, Engine._advance]:
        assert get_type_hints(step)["return"] in (Progress, Iterator[Progress]), step.__qualname__


def calls() -> Iterator[tuple[str, Why, set[str], bool]]:
    """Where each reason is given: with which values, and whether others come from a dictionary."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in ("wait", "refused"):
                continue
            whys = [
                Why[part.attr]
                for argument in node.args[:1]
                for part in ast.walk(argument)
                if isinstance(part, ast.Attribute)
                and isinstance(part.value, ast.Name)
                and part.value.id == "Why"
            ]
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            given |= set(("round", "until")[: len(node.args) - 1])
            if node.func.id == "refused":
                given = {"round", "problem", "remedy"}
            for why in whys:
                yield (
                    f"{path.name}:{node.lineno}",
                    why,
                    given,
                    any(word.arg is None for word in node.keywords),
                )


def test_every_reason_is_given_somewhere_with_the_values_that_it_names() -> None:
    found = list(calls())
    assert {why for _, why, _, _ in found} == set(Why) == set(REASONS)
    for where, why, given, more in found:
        assert more or fields_of(why) <= given, f"{where}: {why} lacks {fields_of(why) - given}"


def test_a_reason_that_no_time_ends_says_what_does() -> None:
    ends = {
        Why.STUCK,
        Why.TO_BE_CANCELLED,
        Why.LOOK_FAILED,
        Why.CANCELLED_ROUNDS,
        Why.DEMAND_LATE,
        Why.INTERVAL,
    }
    for why, reason in REASONS.items():
        assert reason.normal or reason.remedy or "tried again" in reason.text or why in ends


def test_no_path_of_the_machine_is_in_a_reason() -> None:
    assert wait(Why.LOOK_FAILED, problem="No room in /srv/db: help.").message == "No room in <path>: help."
