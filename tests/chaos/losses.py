# SPDX-License-Identifier: Apache-2.0
"""What a coordinator loses besides time: files of its store, the store, the database; a mirror has what is public.

Knows where the things are and how to lose them; when, the story says (`tests.chaos.bereft`).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, select

from folkmoot.chain.client import Chain
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.rpc.client import Phase
from server.db.engine import Database
from server.db.models import Artifact
from tests.chaos.commands import Command
from tests.chaos.local_chain import Miner
from tests.chaos.shelves import RoundFiles
from tests.chaos.supervisor import PATIENCE, Supervisor
from tests.postgres import make_anew

MOST_FILES = 5
"""Files that are lost at a time, and a link."""


OWN = ("model", "report")
"""Kinds of files that are not part of what a round commits to."""


class Mirror:
    """`folkmoot mirror --follow` of the store, beside the coordinator and unharmed.

    Args:
        folder: Where it copies to.
        source: Folder or URL of the store.
        rpc: The chain.
        deployment: The federation's addresses.
    """

    def __init__(self, folder: Path, source: str, rpc: str, deployment: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "folkmoot", "mirror", "--follow", "--pause", "0.3", "--json"]
        command += ["--from", source, "--to", str(folder), "--rpc", rpc, "--deployment", str(deployment)]
        with (folder.parent / "log-mirror").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))

    def has(self, row: Artifact) -> bool:
        """Whether it has a file, and the link to it."""
        linked = row.keccak is None or (self.folder / "by-keccak" / row.keccak).exists()
        return linked and (self.folder / row.sha256[:2] / row.sha256).exists()

    def close(self) -> None:
        """End it.

        Raises:
            AssertionError: It ended before.
        """
        ended = self._process.poll()
        self._process.kill()
        self._process.wait()
        if ended is not None:
            raise AssertionError(f"the mirror ended by itself with {ended}")


@dataclass
class Losses:
    """Loses things of one coordinator.

    Args:
        random: Decides what and how.
        supervisor: The coordinator's process.
        database: Its database, to look at.
        url: Where it is, past the line that fails.
        shelf: Its store.
        mirror: Where the files of anchored rounds are as well.
        miner: The chain.
        chain: The federation.
        account: The coordinator's address.
        repair: The command that brings files back.
        restore: The command that brings a database back.
    """

    random: random.Random
    supervisor: Supervisor
    database: Database
    url: str
    round_files: RoundFiles
    mirror: Mirror
    miner: Miner
    chain: Chain
    account: str
    repair: Command
    restore: Command

    # Files.

    @contextmanager
    def of_files(self, *victims: str, genesis: bool = False) -> Iterator[set[str]]:
        """Lose some files and a link, and have them repaired at the end.

        Args:
            victims: Files that are lost in any case.
            genesis: Whether those without which no coordinator starts may be among them.

        Yields:
            Names of the lost files, and the keccak whose link is lost.

        Raises:
            AssertionError: The repair failed, or a file is still another one.
        """
        lost, link = self._lose_files(victims, genesis)
        yield {*lost, link}
        self.supervisor.tell(f"repair of {len(lost)} files")
        done = self.repair.call()
        if done is None or done["lacking"]:
            raise AssertionError(f"the repair left this: {done}")
        for sha256 in lost:
            if sha256_hex(self.round_files.read(sha256)) != sha256:
                raise AssertionError(f"the repaired file {sha256} is another one")
        if not self.round_files.linked(link):
            raise AssertionError(f"there is no link {link} after the repair")

    def _lose_files(self, victims: tuple[str, ...], genesis: bool) -> tuple[set[str], str]:
        self._wait(self._is_mirrored, "the mirror")
        with self.database.read() as session:
            rows = list(session.scalars(select(Artifact).order_by(Artifact.sha256)))
            session.expunge_all()
        rows = [row for row in rows if (genesis or row.round != 0) and self.mirror.has(row)]
        if not rows:
            raise AssertionError("the mirror has no file of a round")
        chosen = self.random.sample(rows, min(MOST_FILES, len(rows)))
        lost = {*victims, *(row.sha256 for row in chosen)}
        for sha256 in sorted(lost):
            data = self.round_files.read(sha256)
            place = self.random.randrange(len(data))
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            self.round_files.replace(sha256, self.random.choice((None, b"", data[:place], changed)))
        link = self.random.choice([row.keccak for row in rows if row.keccak is not None])
        self.round_files.unlink(link)
        return lost, link

    # The database.

    def of_database(self, *, store: bool) -> None:
        """Lose the database; the process is dead.

        Args:
            store: Whether the store is lost, too, once the mirror has all that the chain needs of it.
        """
        self.supervisor.mend()
        if store:
            self._wait(self._is_quiet, "the end of what is under way")
            self._wait(self._is_mirrored, "the mirror")
        self.supervisor.tell(f"the database {'and the store are' if store else 'is'} lost")
        self.database.close()
        if make_url(self.url).get_backend_name() == "sqlite":
            for path in self.supervisor.home.glob("coordinator.sqlite3*"):
                path.unlink()
        else:
            make_anew(self.url)
        if store:
            self.round_files.clear()
        self._reorg()

    def restore_database(self) -> None:
        """Have the database restored; a reorg that is no deeper than others follows.

        Raises:
            AssertionError: It was not restored.
        """
        done = self.restore.call()
        self.supervisor.tell(f"restored: {done['rounds'] if done else 'before it was told'}")
        self._reorg()

    def _reorg(self) -> None:
        """Take the newest blocks back, as far as nothing that counts as settled is in them."""
        depth = self.random.randrange(self.supervisor.depth)
        if depth:
            self.miner.reorg(depth)

    def _is_quiet(self) -> bool:
        counts = {
            self.chain.rpc.call("eth_getTransactionCount", [self.account, tag])
            for tag in ("latest", "pending")
        }
        return len(counts) == 1

    def _is_mirrored(self) -> bool:
        """Whether the mirror has the files of the genesis and of all rounds that are anchored on the chain."""
        ledger = self.chain.ledger
        phases = {number: ledger.round(number).phase for number in range(1, ledger.next_round())}
        anchored = {number for number, phase in phases.items() if phase in (Phase.ANCHORED, Phase.FINAL)}
        with self.database.read() as session:
            rows = list(session.scalars(select(Artifact).where(Artifact.kind.not_in(OWN))))
        return all(self.mirror.has(row) for row in rows if row.round in {0, *anchored})

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not come in {PATIENCE:g} s")
            time.sleep(0.1)  # files and rows change without a word
