# SPDX-License-Identifier: Apache-2.0
"""An attack from a file of the user: loaded, called within a time limit, and its answer checked.

The file is the user's own program, with all its rights. Whatever it does wrong becomes an ``InputError`` with the code
``attack-file`` that shows its line. What cannot be caught in the process, such as its end, ``apart`` sees from outside.
"""

from __future__ import annotations

import linecache
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import InputError
from folkmoot_lab.simulation.scene import ALL, LEVELS, Scene, Trigger

LIMIT = 60.0
"""Seconds in which a file has to be loaded, and to answer in each round."""

GRACE = 5.0
"""Seconds after the limit until the process of a drill is ended."""

GOALS = ("harm", "backdoor", "reward")
"""What an attack can want."""


class _TimeUp(BaseException):
    """The limit is over. ``except Exception`` does not catch it."""


class Link:
    """Is told when a file is called."""

    @contextmanager
    def call(self, name: str, when: str) -> Iterator[None]:
        """Call a file in the block."""
        yield


LINK = Link()
"""The one that is told; ``apart`` puts another in its place."""


@dataclass(frozen=True)
class AttackFile:
    """An attack from a file."""

    name: str
    """FILE.py:FUNCTION."""
    function: Callable[[Scene], Any]
    """The function."""
    knows: str
    """The file's ``KNOWS``, one of ``scene.LEVELS``."""
    goal: str
    """The file's ``GOAL``, one of GOALS."""

    def send(self, scene: Scene) -> NDArray[Any]:
        """Return the attackers' updates: float32[f, d] or int64[f, d], 0 in the padding.

        Raises:
            InputError: ``attack-file``: it failed, did not answer in time, or what it returned is no update.
        """
        when = f"in round {scene.number + 1}"
        with _guarded(self.name, when):
            made = self.function(scene)
        return _checked(self.name, when, made, scene)


def names_file(name: str) -> bool:
    """Whether the name of an attack names a file."""
    return ".py:" in name or name.endswith(".py")


def load(name: str) -> AttackFile:
    """Load FILE.py:FUNCTION.

    Raises:
        InputError: ``attack-file``: the file can't be read or run, or it has not this function.
    """
    path, _, function = name.rpartition(":")
    if not path:
        raise _wrong(f"{name!r} names no function.", f"Write {name}:attack, if its function is attack.")
    try:
        source = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise _wrong(f"The attack file {path} can't be read: {reason}.", "Check the path.") from None
    linecache.checkcache(path)
    module = ModuleType("attack_file_of_the_user")
    sys.modules[module.__name__] = module  # dataclasses look there
    with _guarded(path, "while it was loaded"):
        exec(_compiled(source, path), vars(module))  # noqa: S102 - it is the user's own program
    found = vars(module).get(function)
    if not callable(found):
        names = ", ".join(one for one, value in vars(module).items() if callable(value) and one[0] != "_")
        raise _wrong(f"{path} has no function {function!r}.", f"It has: {names or 'none'}.")
    knows, goal = vars(module).get("KNOWS", ALL), vars(module).get("GOAL", "harm")
    for constant, value, values in (("KNOWS", knows, LEVELS), ("GOAL", goal, GOALS)):
        if value not in values:
            raise _wrong(f"{constant} of {path} is {value!r}.", f"It is one of {', '.join(values)}.")
    return AttackFile(name, found, knows, goal)


def _compiled(source: str, path: str) -> CodeType:
    try:
        return compile(source, path, "exec")
    except (SyntaxError, ValueError) as error:
        where = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _wrong(f"The attack file {path} is not Python: {where}{reason}.", "Correct it.") from None


@contextmanager
def _guarded(name: str, when: str) -> Iterator[None]:
    """Turn whatever the user's code raises into an error, a hang too."""
    path = path_of(name)

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise _TimeUp

    handler = signal.signal(signal.SIGALRM, over)
    # Once a second after that, for code that catches everything.
    before = signal.setitimer(signal.ITIMER_REAL, LIMIT, 1.0)
    try:
        with LINK.call(name, when):
            yield
    except _TimeUp as error:
        raise no_answer(name, when, _line(error, path)) from None
    except InputError as error:
        if error.code == "attack-file":
            raise
        remedy = error.remedy or "Correct it."
        raise _wrong(
            f"The attack {name} failed {when}{_line(error, path)}: {error.message}", remedy
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too
        said = "".join(traceback.format_exception_only(error)).strip()
        raise _wrong(f"The attack {name} failed {when}{_line(error, path)}: {said}.", "Correct it.") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def _line(error: BaseException, path: str) -> str:
    """Return where the user's own code was, as text; empty where that is not known."""
    own = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == path]
    return line_text(path, own[-1].lineno or 0) if own else ""


def path_of(name: str) -> str:
    """Return the file of FILE.py:FUNCTION, or of FILE.py."""
    return name.rpartition(":")[0] or name


def line_text(path: str, number: int) -> str:
    """Return a line of a file, in parentheses after a space."""
    linecache.checkcache(path)
    return f" (line {number}: `{linecache.getline(path, number).strip()}`)"


def no_answer(name: str, when: str, where: str) -> InputError:
    """Return the error of an attack that takes too long."""
    return _wrong(
        f"The attack {name} gave no answer within {LIMIT:g} seconds {when}{where}.",
        "Let it try less in a round.",
    )


def _checked(name: str, when: str, made: Any, scene: Scene) -> NDArray[Any]:
    try:
        array = np.asarray(made)
    except (TypeError, ValueError):
        array = np.asarray(None)
    begin = f"The attack {name} returned"
    count, size = scene.own.shape
    wanted = f"It returns an array of shape ({count}, {size}): a row for each attacker."
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise _wrong(f"{begin} no numbers {when}, but {type(made).__name__}.", wanted)
    if array.shape != (count, size):
        raise _wrong(f"{begin} an array of shape {array.shape} {when}.", wanted)
    if not np.isfinite(array).all():
        row, place = np.argwhere(~np.isfinite(array))[0]
        raise _wrong(f"{begin} {array[row, place]} {when}, for attacker {row + 1}, coordinate {place}.", "")
    if np.issubdtype(array.dtype, np.integer) and ((array > scene.largest) | (array < -scene.largest)).any():
        raise _wrong(
            f"{begin} an integer outside of {-scene.largest} to {scene.largest} {when}.",
            "Clip integers to `scene.largest`, or return floats: changes of the model.",
        )
    trigger, inputs = scene.memory.get("trigger"), scene.manifest.tensors[0].shape[0]
    if not isinstance(trigger, Trigger) or not trigger.fits(inputs, scene.classes):
        raise _wrong(
            f"The trigger of {name} is {trigger!r} {when}.",
            f"It is a `Trigger` with pixels from 0 to {inputs - 1} and classes from 0 to {scene.classes - 1}.",
        )
    return np.where(scene.real, array, 0)


def _wrong(message: str, remedy: str) -> InputError:
    return InputError(message, remedy=remedy, code="attack-file")
