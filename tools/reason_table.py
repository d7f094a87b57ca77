# SPDX-License-Identifier: Apache-2.0
"""Write the table of refusals in section 7 of the protocol page from the one table of reason codes.

python tools/reason_table.py            write it into docs/protocol/rules.md
python tools/reason_table.py --check    fail if the page has another one
"""

from __future__ import annotations

import re
import sys

from folkmoot.protocol.verdict import Reason
from tools import generated

PAGE = generated.ROOT / "docs" / "protocol" / "rules.md"
HEAD = "| code | the update is refused because |\n| --- | --- |\n"


def page() -> str:
    """Return the page with the table of `Reason`."""
    rows = "".join(
        f"| `{reason}` | {reason.refusal.replace('(protocol, ', '(')} |\n"
        for reason in Reason
        if reason.refusal
    )
    text, count = re.subn(
        re.escape(HEAD) + r"(?:\|.*\n)+", lambda _: HEAD + rows, PAGE.read_text(encoding="utf-8")
    )
    if count != 1:
        raise ValueError(f"{PAGE} must have one table with the head {HEAD!r}, and has {count}.")
    return text


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, __file__))
