# SPDX-License-Identifier: Apache-2.0
"""An RPC endpoint in front of a real node that goes away, talks nonsense, lags or lies when a test says so."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from folkmoot.errors import ContractRefused, RpcError
from folkmoot.rpc.client import REVERT_CODE, Rpc


class Trouble(StrEnum):
    """What the endpoint does."""

    NONE = "none"
    AWAY = "away"
    """Closes the connection."""
    GARBAGE = "garbage"
    """Answers with what is no JSON."""
    NONSENSE = "nonsense"
    """Answers with results of a type that no method has."""
    OLD = "old"
    """Knows no block above the one that was the newest when it began."""
    FORGETFUL = "forgetful"
    """Says that it took a transaction, and loses it."""


class Lie(StrEnum):
    """What the endpoint lies about; all else it answers truthfully."""

    HEAD = "head"
    """Another newest block, far ahead."""
    FORK = "fork"
    """Other hashes of all blocks."""
    STALE = "stale"
    """A newest block long ago."""
    CHAIN = "chain"
    """Another chain id."""
    STORAGE = "storage"
    """What contracts answer, code and balances."""
    LOGS_CHANGED = "logs-changed"
    """The data of logs."""
    LOGS_DROPPED = "logs-dropped"
    """That there are none."""
    RECEIPTS_FORGED = "receipts-forged"
    """That what failed succeeded, and the other way round."""
    RECEIPTS_HIDDEN = "receipts-hidden"
    """That nothing was mined."""
    REFUSED = "refused"
    """That every call reverts."""
    GAS = "gas"
    """Gas, fees and nonces."""
    SWALLOWED = "swallowed"
    """That it takes transactions."""


class Lack(StrEnum):
    """What the endpoint has not got, or no more; it says so as nodes do."""

    RECEIPTS = "receipts"
    """Receipts by the hash of their transaction."""
    INDEX = "index"
    """Transactions by their hash."""
    BLOCK_RECEIPTS = "block-receipts"
    """The receipts of a block."""
    STATES = "states"
    """The state of any block but the newest."""


class RpcProxy:
    """The endpoint; a context manager.

    Args:
        url: The real node.

    Attributes:
        hits: How many requests each trouble met.
        lies: How many answers were lies.
        methods: How often each method was asked for.
    """

    def __init__(self, url: str) -> None:
        self.hits: Counter[Trouble] = Counter()
        self.methods: Counter[str] = Counter()
        self._real = Rpc(url)
        self.lies: Counter[Lie] = Counter()
        self._trouble = Trouble.NONE
        self._lies: tuple[Lie, ...] = ()
        self._lacks: tuple[Lack, ...] = ()
        self._refused: tuple[str, ...] = ()
        self._changes: dict[str, Callable[[list[Any]], Any]] = {}
        self._newest = 0
        self._asking, self._asked, self._over = threading.Condition(), 0, False
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with proxy._asking:
                    if proxy._over:
                        self.close_connection = True
                        return
                    proxy._asked += 1
                try:
                    answer = proxy._answer(asked)
                finally:
                    with proxy._asking:
                        proxy._asked -= 1
                        proxy._asking.notify_all()
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._asking:  # whoever gave up on an answer left its request behind
            self._over = True
            self._asking.wait_for(lambda: not self._asked)
        self._real.close()

    def become(self, trouble: Trouble) -> None:
        """Do this from now on."""
        self._newest = self._real.block_number()
        self._trouble = trouble

    def tell(self, *lies: Lie) -> None:
        """Tell these lies from now on, where several would do the first; none for the truth."""
        self._lies = lies

    def refuse(self, *methods: str) -> None:
        """Close the connection when these methods are asked for; none to answer all of them."""
        self._refused = methods

    def change(self, method: str, answer: Callable[[list[Any]], Any]) -> None:
        """Answer a method with what the function makes of its parameters, an `RpcError` too; None is the truth."""
        self._changes[method] = answer

    def truth(self, method: str, params: list[Any]) -> Any:
        """Ask the real node."""
        return self._real.call(method, params)

    def lack(self, *lacks: Lack) -> None:
        """Have these no more from now on; none for all of them."""
        self._lacks = lacks

    def _answer(self, asked: dict[str, Any]) -> bytes | None:
        self.methods[asked["method"]] += 1
        if asked["method"] in self._refused:
            return None
        change = self._changes.get(asked["method"])
        if change is not None and (changed := change(asked["params"])) is not None:
            error = {"code": -32000, "message": changed.message} if isinstance(changed, RpcError) else None
            return self._framed(asked, error=error) if error else self._framed(asked, result=changed)
        for lack in self._lacks:
            if (missing := self._missing(lack, asked["method"], asked["params"])) is not None:
                return self._framed(asked, **missing)
        for lie in self._lies:
            lied = self._lied(lie, asked["method"], asked["params"])
            if lied is not None:
                self.lies[lie] += 1
                return self._framed(asked, **lied)
        trouble, method, params = self._trouble, asked["method"], asked["params"]
        if trouble is not Trouble.FORGETFUL or method == "eth_sendRawTransaction":
            self.hits[trouble] += 1
        match trouble:
            case Trouble.AWAY:
                return None
            case Trouble.GARBAGE:
                return b"<html>502 Bad Gateway</html>"
            case Trouble.NONSENSE:
                return self._framed(asked, result=[{"what": None}])
            case Trouble.FORGETFUL if method == "eth_sendRawTransaction":
                return self._framed(asked, result="0x" + "00" * 32)
            case Trouble.OLD:
                if method == "eth_getBlockByNumber" and params[0].startswith("0x"):
                    if int(params[0], 16) > self._newest:
                        return self._framed(asked, result=None)
                elif method != "eth_getTransactionCount":
                    params = [hex(self._newest) if one in ("latest", "pending") else one for one in params]
        try:
            result = self._real.call(method, params)
        except ContractRefused as error:
            said = {"code": REVERT_CODE, "message": error.message, "data": error.details.get("data")}
            return self._framed(asked, error=said)
        except RpcError as error:
            return self._framed(asked, error={"code": error.details.get("rpcCode"), "message": error.message})
        late = trouble is Trouble.OLD and method == "eth_getTransactionReceipt" and result is not None
        if late and int(result["blockNumber"], 16) > self._newest:
            result = None
        return self._framed(asked, result=result)

    @staticmethod
    def _missing(lack: Lack, method: str, params: list[Any]) -> dict[str, Any] | None:
        """Result or error for what is not there; None where it is."""
        match lack:
            case Lack.RECEIPTS if method == "eth_getTransactionReceipt":
                return {"result": None}
            case Lack.INDEX if method == "eth_getTransactionByHash":
                return {"result": None}
            case Lack.BLOCK_RECEIPTS if method == "eth_getBlockReceipts":
                return {"error": {"code": -32601, "message": "the method does not exist"}}
            case Lack.STATES if method == "eth_getTransactionCount" and params[1].startswith("0x"):
                return {"error": {"code": -32000, "message": "missing trie node"}}
        return None

    def _lied(self, lie: Lie, method: str, params: list[Any]) -> dict[str, Any] | None:
        """Result or error that is a lie; None where the truth is told."""
        block = method == "eth_getBlockByNumber"
        match lie:
            case Lie.CHAIN if method == "eth_chainId":
                return {"result": "0x539"}
            case Lie.STORAGE if method == "eth_call":
                return {"result": "0x" + "00" * 31 + "07"}
            case Lie.STORAGE if method in ("eth_getCode", "eth_getBalance"):
                return {"result": "0x07"}
            case Lie.LOGS_DROPPED if method == "eth_getLogs":
                return {"result": []}
            case Lie.RECEIPTS_HIDDEN if method == "eth_getTransactionReceipt":
                return {"result": None}
            case Lie.REFUSED if method in ("eth_call", "eth_estimateGas"):
                return {"error": {"code": REVERT_CODE, "message": "execution reverted", "data": "0x"}}
            case Lie.GAS if method in ("eth_estimateGas", "eth_maxPriorityFeePerGas", "eth_gasPrice"):
                return {"result": hex(10**15)}
            case Lie.GAS if method == "eth_getTransactionCount" and params[1] == "pending":
                return {"result": hex(10**6)}
            case Lie.SWALLOWED if method == "eth_sendRawTransaction":
                return {"result": "0x" + "00" * 32}
            case Lie.HEAD if block and params[0] == "latest":
                found = self._real.call(method, params)
                number = int(found["number"], 16) + 1_000
                return {"result": {**found, "number": hex(number), "hash": "0x" + "be" * 32}}
            case Lie.STALE if block and params[0] == "latest":
                return {"result": self._real.call(method, ["0x0", params[1]])}
            case Lie.FORK if block and (found := self._real.call(method, params)):
                return {"result": {**found, "hash": "0x" + f"{int(found['number'], 16):064x}"}}
            case Lie.LOGS_CHANGED if method == "eth_getLogs" and (found := self._real.call(method, params)):
                return {
                    "result": [{**log, "data": "0x" + "00" * (len(log["data"]) // 2 - 1)} for log in found]
                }
            case Lie.RECEIPTS_FORGED if method == "eth_getTransactionReceipt":
                if found := self._real.call(method, params):
                    return {"result": {**found, "status": hex(1 - int(found["status"], 16))}}
        return None

    @staticmethod
    def _framed(asked: dict[str, Any], **content: Any) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], **content}).encode()


def one_after_the_other(proxy: RpcProxy, over: threading.Event, seconds: float) -> None:
    """Go through all troubles, with as much time without any between them, until it is over."""
    troubles = [trouble for trouble in Trouble if trouble is not Trouble.NONE]
    for trouble in itertools.cycle(troubles):
        proxy.become(trouble)
        if over.wait(seconds):
            break
        proxy.become(Trouble.NONE)
        if over.wait(seconds):
            break
    proxy.become(Trouble.NONE)
