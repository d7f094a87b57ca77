# SPDX-License-Identifier: Apache-2.0
"""Output of an audit: a progress bar, and a summary of the checks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from folkmoot.audit.audit import Progress, Summary
from folkmoot.audit.journal import Journal
from folkmoot.audit.ledger_state import Expired
from folkmoot.runtime.units import format_amount


@contextmanager
def shown_progress(quiet: bool) -> Iterator[Progress]:
    """Show a bar on standard error while the block runs; none if `quiet` or without a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Progress(say=_say)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Reading the chain", total=None)
        yield Progress(
            step=lambda what: bar.update(task, description=f"{what[0].upper()}{what[1:]}"),
            round=lambda done, total: bar.update(task, completed=done, total=total),
            say=lambda text: bar.console.print(text, markup=False, highlight=False),
        )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def rows(summary: Summary) -> dict[str, str]:
    """Return the summary for people: name and value of each line."""
    phases = ", ".join(f"{count} {phase}" for phase, count in sorted(summary.rounds.items()))
    entries = summary.entries
    relied = f", {entries.relied} relied on the ledger" if entries.relied else ""
    journal = {"journal": of_journal(summary.journal)} if summary.journal else {}
    return {
        "block": f"{summary.head.number} (0x{summary.head.hash.hex()})",
        "rounds": f"{sum(summary.rounds.values())} ({phases or 'none yet'})",
        "recomputed": f"{summary.recomputed} rounds, {summary.updates} updates, {_size(summary.hashed)}",
        **({"expired": of_expired(summary)} if summary.expired else {}),
        **journal,
        "models": f"{summary.models} files of the coordinator are those of their states"
        if summary.models
        else "none compared: no coordinator was asked (--coordinator)",
        "entries": f"{entries.signed} signed, {entries.own} sent by their contributor{relied}",
        **({"memories": _memories(summary)} if summary.memories else {}),
        "votes": f"{summary.votes} on {summary.proposals} proposals",
        "rewards": f"{format_amount(summary.rewards)} claimed",
        "head": f"round {summary.model_head}, state root 0x{summary.state_root.hex()}",
        "active": f"version {summary.active[0]}" if summary.active else "no version yet",
        **({"parent": _parent(summary)} if summary.parent else {}),
        "time": f"{summary.seconds:.1f} s",
    }


def _parent(summary: Summary) -> str:
    asked = (
        f"{summary.parent_standing} there"
        if summary.parent_standing
        else "its chain was not asked (--parent-rpc)"
    )
    return f"the first state is that of {summary.parent}: {asked}"


def _memories(summary: Summary) -> str:
    return f"{summary.memories} entries name what their contributor's training keeps, which is its own word"


_WHY = {
    Expired.RETENTION: "update files deleted after the voters' retention time",
    Expired.WISH: "update files deleted because their contributors wanted it",
    Expired.WINDOW: "compared by their rule with updates that were deleted",
}


def of_expired(summary: Summary) -> str:
    """Return which rounds were not recomputed and why, and which auditors recomputed them earlier."""
    parts = []
    for why, text in _WHY.items():
        numbers = [number for number, cause in summary.expired.items() if cause is why]
        if numbers:
            parts.append(f"{_named(numbers)} {text}")
    for auditor in sorted({one for auditors in summary.attested.values() for one in auditors}):
        numbers = [number for number, auditors in summary.attested.items() if auditor in auditors]
        parts.append(f"{auditor} attests that it recomputed {_named(numbers)}")
    checked = "not recomputed, and checked without the updates"
    return f"{len(summary.expired)} rounds, {checked}: {'; '.join(parts)}"


def of_journal(journal: Journal) -> str:
    """Return which rounds an earlier audit verified, according to its journal, and which ones this audit."""
    parts = []
    if journal.kept:
        first, last = journal.kept[0].at[:10], max(line.at for line in journal.kept)[:10]
        when = f"on {first}" if first == last else f"from {first} to {last}"
        numbers = [line.round for line in journal.kept]
        parts.append(f"{_named(numbers)} verified {when} by this journal, and the files not read again")
    if journal.noted:
        parts.append(f"{_named(journal.noted)} verified now")
    return "; ".join(parts) or "no round to note yet"


def _named(numbers: Sequence[int]) -> str:
    """Return e.g. `rounds 1-4, 6`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"round{'s' if len(numbers) > 1 else ''} {shown}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
