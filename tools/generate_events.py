# SPDX-License-Identifier: Apache-2.0
"""Write folkmoot/ledger/events.py: a typed record for each event of the contracts.

    python tools/generate_events.py            write the module
    python tools/generate_events.py --check    fail if the module is another one

Names and types come from the ABIs that the package ships, what a record means from the comments of the Solidity
interfaces. Of an event of OpenZeppelin's it says the signature.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from folkmoot.ledger.event import field_name
from folkmoot.ledger.packaged import NAMES, contract, signature_of
from tools import generated
from tools.protocol_appendix import comment_of, notices, sources, structs

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "folkmoot" / "ledger" / "events.py"

HEAD = '''\
# SPDX-License-Identifier: Apache-2.0
"""The events of all contracts as typed records; written by `tools/generate_events.py`, do not edit.

A uint40 is a Unix time. Amounts, bonds and rewards are in units of 1e-18 tokens.
"""
# ruff: noqa: D205  # a summary is as long as the contract's comment

from __future__ import annotations

from folkmoot.ledger.event import Event as Event
from folkmoot.ledger.event import record
from folkmoot.protocol.policy import Policy
'''

TYPES = {
    "address": "str",
    "string": "str",
    "bool": "bool",
    "bytes": "bytes",
    "struct IRoundLedger.Policy": "Policy",
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


def module() -> str:
    """Return the text of the module."""
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


def main(arguments: list[str] | None = None) -> int:
    """Write or check the module; return the exit status."""
    return generated.main(MODULE, module, __file__, arguments)


if __name__ == "__main__":
    sys.exit(main())
