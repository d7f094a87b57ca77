# SPDX-License-Identifier: Apache-2.0
"""Write what the package knows of the contracts from their ABIs: a record for each event, and all functions and errors.

    python tools/generate_contracts.py            write the modules
    python tools/generate_contracts.py --check    fail if a module is another one

Names and types come from the ABIs that the package ships, what a record means from the comments of the Solidity
interfaces. Of an event of OpenZeppelin's it says the signature.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from folkmoot.ledger.event import field_name
from folkmoot.ledger.packaged import NAMES, PARTS, contract, named, signature_of, type_of
from tools import generated
from tools.protocol_appendix import comment_of, notices, sources, structs

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ROOT / "folkmoot" / "ledger" / "events.py"
FUNCTIONS = ROOT / "folkmoot" / "rpc" / "generated" / "functions.py"
ERRORS = ROOT / "folkmoot" / "rpc" / "generated" / "errors.py"

HEAD = '''\
# SPDX-License-Identifier: Apache-2.0
"""The events of all contracts as typed records; written by `tools/generate_contracts.py`, do not edit.

A uint40 is a Unix time. Amounts, bonds and rewards are in units of 1e-18 tokens.
"""
# ruff: noqa: D205  # a summary is as long as the contract's comment

from __future__ import annotations

from folkmoot.ledger.event import Event as Event
from folkmoot.ledger.event import record
from folkmoot.protocol.policy import Policy
'''

FUNCTIONS_HEAD = '''\
# SPDX-License-Identifier: Apache-2.0
"""The functions of all contracts; written by `tools/generate_contracts.py`, do not edit.

By contract (its role in a deployment, and its name in Solidity) and name: ABI types of the arguments and of the
results.
"""
# ruff: noqa: E501
# fmt: off

FUNCTIONS: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
'''

ERRORS_HEAD = '''\
# SPDX-License-Identifier: Apache-2.0
"""The custom errors of all contracts, by name, with their values; written by `tools/generate_contracts.py`.

Do not edit.
"""
# ruff: noqa: E501
# fmt: off

ERRORS: list[tuple[str, list[dict[str, str]]]] = [
'''

TYPES = {
    "address": "str",
    "string": "str",
    "bool": "bool",
    "bytes": "bytes",
    "struct IPolicies.Policy": "Policy",
    "struct IRoundLedger.Anchor": "AnchorRecord",
}


def python_type(parameter: dict[str, Any]) -> str:
    """Return the annotation of a field."""
    kind = str(parameter["type"])
    if kind.endswith("[]"):
        return f"tuple[{python_type({**parameter, 'type': kind.removesuffix('[]')})}, ...]"
    if kind == "tuple":
        kind = str(parameter["internalType"])
    return TYPES.get(kind) or ("bytes" if kind.startswith("bytes") else "int")


def _docstring(summary: str, rest: str = "") -> str:
    parts = [f'"""{summary}', *(["", rest, '"""'] if rest else [])]
    wrapped = [textwrap.fill(part, 120, initial_indent="    ", subsequent_indent="    ") for part in parts]
    return "\n".join(wrapped) + '"""' * (not rest)


def _fields(parameters: list[dict[str, Any]], comments: dict[str, str]) -> Iterator[str]:
    for parameter in parameters:
        internal = str(parameter["internalType"])
        note = f"  # {internal}" if internal == "uint40" or internal.startswith("enum ") else ""
        yield f"    {field_name(parameter['name'])}: {python_type(parameter)}{note}"
        if comment := comments.get(parameter["name"]):
            yield _docstring(comment)


def events_module() -> str:
    """Return the text of the module of events."""
    texts = sources()
    anchor = "struct IRoundLedger.Anchor"
    lines = [HEAD, "", "@record", "class AnchorRecord:", f'    """`{anchor.removeprefix("struct ")}`."""', ""]
    lines += _fields(structs()[anchor]["components"], notices(anchor.removeprefix("struct "), texts))
    written: set[str] = set()
    for role, name in NAMES.items():
        events = {entry["name"]: entry for entry in contract(role).abi if entry["type"] == "event"}
        new = [entry for key, entry in events.items() if key not in written]
        written |= events.keys()
        if new:
            lines += ["", "", f"# {name}"]
        for entry in new:
            comment = re.sub(r"`(\w+)`", lambda match: f"`{field_name(match[1])}`", comment_of(entry, texts))
            notice, *about = comment.removeprefix("@notice ").split(" @param ")
            summary, _, rest = (notice or f"OpenZeppelin's `{signature_of(entry)}`.").partition(". ")
            doc = _docstring(summary.rstrip(".") + ".", rest)
            lines += ["", "", "@record", f"class {entry['name']}(Event):", doc]
            if entry["inputs"]:
                lines += ["", *_fields(entry["inputs"], dict(text.split(" ", 1) for text in about))]
    return "\n".join(lines) + "\n"


def functions_module() -> str:
    """Return the text of the module of functions."""
    lines = [FUNCTIONS_HEAD.rstrip()]
    roles = {name: role for role, name in NAMES.items()}
    for name in [*NAMES.values(), *PARTS]:
        functions: dict[str, dict[str, Any]] = {}
        for entry in named(name).abi:
            shortest = functions.get(entry.get("name", ""), entry)
            if entry["type"] == "function" and len(entry["inputs"]) <= len(shortest["inputs"]):
                functions[entry["name"]] = entry
        lines.append(f'    "{roles.get(name, name)}": {{')
        for key, entry in functions.items():
            types = (tuple(map(type_of, entry[side])) for side in ("inputs", "outputs"))
            lines.append(f'        "{key}": ({", ".join(map(_tuple, types))}),')
        lines.append("    },")
    lines += ["}", "", *(f'FUNCTIONS["{name}"] = FUNCTIONS["{role}"]' for name, role in roles.items())]
    return "\n".join(lines) + "\n"


def errors_module() -> str:
    """Return the text of the module of errors."""
    signatures: dict[str, dict[str, Any]] = {}
    for name in NAMES.values():
        for entry in named(name).abi:
            if entry["type"] == "error":
                signatures.setdefault(signature_of(entry), entry)
    lines = [ERRORS_HEAD.rstrip()]
    for entry in signatures.values():
        inputs = [{key: part[key] for key in ("name", "type", "internalType")} for part in entry["inputs"]]
        lines.append(f"    ({json.dumps(entry['name'])}, {json.dumps(inputs)}),")
    return "\n".join([*lines, "]"]) + "\n"


def _tuple(values: tuple[str, ...]) -> str:
    """Return a tuple of texts as source."""
    inside = ", ".join(f'"{value}"' for value in values)
    return f"({inside}{',' * (len(values) == 1)})"


def main(arguments: list[str] | None = None) -> int:
    """Write or check the modules; return the exit status."""
    return max(
        generated.main(EVENTS, events_module, __file__, arguments),
        generated.main(FUNCTIONS, functions_module, __file__, arguments),
        generated.main(ERRORS, errors_module, __file__, arguments),
    )


if __name__ == "__main__":
    sys.exit(main())
