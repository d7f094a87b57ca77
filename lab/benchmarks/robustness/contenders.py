# SPDX-License-Identifier: Apache-2.0
"""Who takes part in the comparison, by name, and how each is told the number of attackers."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version

from folkmoot_lab.simulation.federation import Plan, Run, Workload

from benchmarks.robustness import flower
from benchmarks.robustness.peer import Peer, PeerRun
from folkmoot.aggregation.registry import PARAMETERS
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


def _ours(spec: str, workload: Workload, plan: Plan) -> Run:
    rule, _, root = spec.partition("@")
    name, _, numbers = rule.partition(":")
    parameters = tuple(plan.malicious if one == "f" else int(one) for one in numbers.split(",") if one)
    return Run(workload, replace(plan, rule=name, parameters=parameters, root=root or "none"))


def _flower(name: str, workload: Workload, plan: Plan) -> Run:
    return PeerRun(workload, plan, flower.make(name, plan.contributors, plan.malicious))


def _byzfl(name: str, workload: Workload, plan: Plan) -> Run:
    peer: Peer = importlib.import_module(_BYZFL).make(name, plan.malicious)
    return PeerRun(workload, plan, peer)


_BYZFL = "benchmarks.robustness.byzfl_rules"

OURS = (
    "mean",
    "clamped_mean",
    "clamped_mean@good",
    "trimmed_mean:f",
    "multi_krum:f,0",
    "guarded_mean",
    "guided_mean",
    "root_guard@good",
    "rooted_mean@good",
)
"""Our rules as ``NAME[:PARAMETERS][@ROOT]``, f for the number of attackers; any other can be named as well."""

_SPEC = re.compile(r"[a-z_]+(:(f|\d+)(,(f|\d+))*)?(@(good|biased))?")


def _folkmoot(spec: str) -> Contender:
    return Contender(f"folkmoot:{spec}", f"folkmoot {version('folkmoot')}", partial(_ours, spec))


def contenders(with_byzfl: bool = True) -> dict[str, Contender]:
    """All contenders by name.

    Raises:
        ImportError: byzfl is wanted and can't be imported.
    """
    found = [_folkmoot(spec) for spec in OURS]
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
        peer, _, spec = name.partition(":")
        if peer == "folkmoot" and _SPEC.fullmatch(spec) and re.split("[:@]", spec)[0] in PARAMETERS:
            known.setdefault(name, _folkmoot(spec))
        if name not in known:
            raise InputError(
                f"There is no contender {name!r}.",
                remedy="python -m benchmarks.robustness --list shows them; others are folkmoot:RULE:f,0@good.",
                code="unknown-contender",
            )
    return [known[name] for name in names] if names else list(known.values())
