# SPDX-License-Identifier: Apache-2.0
"""Who takes part in the comparison, by name, and how each is told the number of attackers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version

from benchmarks.robustness import flower
from benchmarks.robustness.peer import Peer, PeerRun
from folkmoot.aggregation.rules import PARAMETERS
from folkmoot.drill.federation import Plan, Run, Workload
from folkmoot.errors import InputError


def byzfl_missing() -> str:
    """Why there are no contenders of byzfl; empty if there are. The import takes some seconds, so it is done here."""
    try:
        importlib.import_module(_BYZFL)
    except ImportError as error:
        return f"byzfl can't be imported ({error}): its rows are not run. To have them: pip install 'folkmoot[bench]'"
    return ""


@dataclass(frozen=True)
class Contender:
    """One row of the comparison."""

    name: str
    """Name on the command line and in the results."""
    by: str
    """Package and version."""
    start: Callable[[Workload, Plan], Run]
    """From workload and plan, whose rule is overridden, to a run."""


def _ours(
    name: str, parameters: Callable[[int], tuple[int, ...]], root: str, workload: Workload, plan: Plan
) -> Run:
    return Run(workload, replace(plan, rule=name, parameters=parameters(plan.malicious), root=root))


def _flower(name: str, workload: Workload, plan: Plan) -> Run:
    return PeerRun(workload, plan, flower.make(name, plan.contributors, plan.malicious))


def _byzfl(name: str, workload: Workload, plan: Plan) -> Run:
    peer: Peer = importlib.import_module(_BYZFL).make(name, plan.malicious)
    return PeerRun(workload, plan, peer)


_BYZFL = "benchmarks.robustness.byzfl_rules"

_OURS: tuple[tuple[str, Callable[[int], tuple[int, ...]], str], ...] = (
    ("mean", lambda f: (), "none"),
    ("trimmed_mean", lambda f: (f,), "none"),
    ("multi_krum", lambda f: (f, 0), "none"),
    ("guarded_mean", lambda f: (), "none"),
    ("guided_mean", lambda f: (), "none"),
    ("root_guard", lambda f: (), "good"),
)


def contenders(with_byzfl: bool = True) -> dict[str, Contender]:
    """All contenders by name.

    Raises:
        ImportError: byzfl is wanted and can't be imported.
    """
    ours = f"folkmoot {version('folkmoot')}"
    found = [
        Contender(
            f"folkmoot:{name}" + ("" if root == "none" else f"@{root}"),
            ours,
            partial(_ours, name, parameters, root),
        )
        for name, parameters, root in _OURS
        if name in PARAMETERS
    ]
    found += [
        Contender(f"flower:{name}", flower.VERSION, partial(_flower, name)) for name in flower.STRATEGIES
    ]
    if with_byzfl:
        rules = importlib.import_module(_BYZFL)
        found += [Contender(f"byzfl:{name}", rules.VERSION, partial(_byzfl, name)) for name in rules.RULES]
    return {one.name: one for one in found}


def chosen(names: list[str]) -> list[Contender]:
    """The contenders with these names; all that can run here if there is no name.

    Raises:
        InputError: ``unknown-contender`` or ``missing-peer``: one of them does not exist or can't be imported.
    """
    wanted = not names or any(name.startswith("byzfl:") for name in names)
    missing = byzfl_missing() if wanted else ""
    if missing and names:
        raise InputError(missing, code="missing-peer")
    known = contenders(wanted and not missing)
    for name in names:
        if name not in known:
            raise InputError(
                f"There is no contender {name!r}.",
                remedy="python -m benchmarks.robustness --list shows them.",
                code="unknown-contender",
            )
    return [known[name] for name in names] if names else list(known.values())
