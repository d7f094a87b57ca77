# SPDX-License-Identifier: Apache-2.0
"""A local Ethereum chain: find Anvil, start it, wait until it answers, end it.

For demos, drills and tests. Does not depend on Folkmoot's contracts.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from folkmoot.errors import FolkmootError, LocalError, RpcError
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.local_chain import FUNDS, LOCAL_CHAIN_ID, advance, fund
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.processes import Child, died, free_port, require_free_port, spawn

ANVIL_VARIABLE = "FOLKMOOT_ANVIL"
"""Environment variable with the path of the program."""

KEPT_STATES = 128
"""Number of newest blocks whose state can be read: the default of a full node (go-ethereum).

By default, Anvil writes up to 3,600 states of each chain to `~/.foundry` and never removes them: gigabytes.
"""


def find_anvil() -> Path:
    """Return the path of Anvil: from `FOLKMOOT_ANVIL`, `node_modules` of this or a parent folder, or PATH.

    Raises:
        LocalError: Anvil was not found, or the variable does not name a program.
    """
    named = os.environ.get(ANVIL_VARIABLE)
    if named:
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named)
        raise LocalError(
            f"{ANVIL_VARIABLE} names {named}, which is not a program.",
            remedy="Correct the variable or unset it.",
            code="anvil-missing",
        )
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    inside = Path("node_modules", "@foundry-rs", f"anvil-{sys.platform}-{machine}", "bin", "anvil")
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if os.access(folder / inside, os.X_OK):
                return folder / inside
    program = shutil.which("anvil")
    if program:
        return Path(program)
    raise LocalError(
        "Anvil, the local chain, is not installed.",
        remedy="In a clone of the repository, run `make install`. Elsewhere, run `npm install @foundry-rs/anvil` in "
        f"this folder, install Foundry (https://getfoundry.sh), or set {ANVIL_VARIABLE} to the program.",
        code="anvil-missing",
    )


def anvil_command(
    port: int,
    *,
    host: str = "127.0.0.1",
    block_time: float | None = None,
    mixed: bool = False,
    state: Path | None = None,
    chain_id: int = LOCAL_CHAIN_ID,
    kept_states: int = KEPT_STATES,
) -> list[str]:
    """Return the command that starts a local chain on a port.

    Args:
        port: TCP port.
        host: Address to listen on; the loopback address by default.
        block_time: Seconds between blocks. With None, each transaction is mined at once.
        mixed: With a block time, also mine each transaction at once, so that nobody waits and the chain's clock
            advances.
        state: File from which the chain's state is loaded if it exists, and to which it is saved at the end.
        chain_id: Chain id, for tests of checks that refuse other chains.
        kept_states: Number of newest blocks whose state can be read.
    """
    command = [
        str(find_anvil()),
        *("--host", host),
        *("--port", str(port)),
        *("--chain-id", str(chain_id)),
        *("--accounts", "1"),
        "--enable-tx-gas-limit",  # The cap of EIP-7825, as on main networks.
        *("--prune-history", str(kept_states)),
    ]
    if block_time is not None:
        command += ["--block-time", f"{block_time:g}", *(["--mixed-mining"] if mixed else [])]
    if state is not None:
        command += ["--state", str(state)]
        if (last := _last_time(state)) >= time.time():
            # The chain's clock was advanced. Anvil does not save that, and would mine blocks older than the previous
            # ones.
            command += ["--timestamp", str(last + 1)]
    return command


def keep(rpc: Rpc, state: Path) -> None:
    """Write a copy of a running chain beside its state file, as a whole: Anvil's own writing may be cut short.

    Raises:
        OSError: The file can't be written. The older copy stays.
    """
    packed = bytes.fromhex(str(rpc.call("anvil_dumpState", []))[2:])
    write_whole(_kept(state), gzip.decompress(packed))


def take_newest(state: Path) -> bool:
    """Let a state file be the newest whole one of itself and its copy; return whether there is one."""
    blocks = {path: _last_block(path) for path in (state, _kept(state))}
    newest = max(blocks, key=lambda path: blocks[path])
    if blocks[newest] < 0:
        return False
    if newest != state:
        write_whole(state, newest.read_bytes())
    return True


def _kept(state: Path) -> Path:
    return state.with_name(f"{state.name}.kept")


def _last_block(state: Path) -> int:
    """Return the number of the newest block of a saved chain; -1 if there is no whole one."""
    try:
        return int(json.loads(state.read_bytes())["best_block_number"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def _last_time(state: Path) -> int:
    """Return the Unix time of the newest block of a saved chain, or 0. Read only the beginning of the file."""
    try:
        with state.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError:
        return 0
    match = re.match(rb'\{"block":\{[^{}]*"timestamp":"(0x[0-9a-f]+)"', head)
    return int(match[1], 16) if match else 0


class Anvil:
    """A running local chain; a context manager.

    Args:
        port: Port to listen on; by default a free one.
        host: Address to listen on; the loopback address by default.
        block_time: Seconds between blocks. With None, each transaction is mined at once.
        state: File for loading and saving the chain's state.
        log: File for its output; by default a temporary one.
        timeout: Timeout in seconds for its first answer.
        chain_id: Chain id, for tests of checks that refuse other chains.
        kept_states: Number of newest blocks whose state can be read.
    """

    def __init__(
        self,
        port: int | None = None,
        *,
        host: str = "127.0.0.1",
        block_time: float | None = None,
        state: Path | None = None,
        log: Path | None = None,
        timeout: float = 30.0,
        chain_id: int = LOCAL_CHAIN_ID,
        kept_states: int = KEPT_STATES,
    ) -> None:
        self.port = port
        self.host = host
        self.block_time = block_time
        self.state = state
        self.log = log
        self.timeout = timeout
        self.chain_id = chain_id
        self.kept_states = kept_states
        self._child: Child | None = None
        self._rpc: Rpc | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """URL of its JSON-RPC endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def rpc(self) -> Rpc:
        """JSON-RPC client of this chain."""
        if self._rpc is None:
            self._rpc = Rpc(self.url)
        return self._rpc

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        return self._child.pid if self._child else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start Anvil and wait until it answers.

        Raises:
            LocalError: Anvil is missing, the port is taken, or it does not answer in time.
        """
        if self.port is None:
            self.port = free_port()
        else:
            require_free_port(self.port, "the local chain")
        command = self._command(self.port)
        if self.log is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="folkmoot-anvil-")
            self.log = Path(self._scratch.name, "anvil.log")
        try:
            self._child = spawn("anvil", command, self.log)
            self._await_answer(self._child)
        except FolkmootError:
            self.stop()
            raise

    def stop(self) -> None:
        """End Anvil: SIGTERM first, then SIGKILL. It may be called again."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()
        if self._rpc is not None:
            self._rpc.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch, self.log = None, None

    def call(self, method: str, *params: Any) -> Any:
        """Call a JSON-RPC method.

        Raises:
            RpcError: Anvil gave no answer, or an error.
        """
        return self.rpc.call(method, list(params))

    def fund(self, address: str, wei: int = FUNDS) -> None:
        """Set the balance of an account, in wei."""
        fund(self.rpc, address, wei)

    def advance(self, seconds: int) -> int:
        """Advance the chain's clock and mine a block; return the new Unix time."""
        return advance(self.rpc, seconds)

    def snapshot(self) -> str:
        """Save the state of the chain; return a snapshot for one call of `revert`."""
        return str(self.call("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Restore the state of a snapshot."""
        self.call("evm_revert", snapshot)

    def _command(self, port: int) -> list[str]:
        return anvil_command(
            port,
            host=self.host,
            block_time=self.block_time,
            state=self.state,
            chain_id=self.chain_id,
            kept_states=self.kept_states,
        )

    def _await_answer(self, child: Child) -> None:
        end = time.monotonic() + self.timeout
        probe = Rpc(self.url, timeout=2.0)
        try:
            while True:
                try:
                    probe.chain_id()
                except RpcError:
                    if not child.alive:
                        raise died(child) from None
                    if time.monotonic() >= end:
                        raise LocalError(
                            f"The local chain did not answer in {self.timeout:g} seconds. Its log ends with:\n"
                            f"{child.tail()}\n",
                            remedy="Try again. If this repeats, start Anvil by hand and read its output.",
                            code="local-not-ready",
                        ) from None
                    time.sleep(0.05)
                else:
                    return
        finally:
            probe.close()
