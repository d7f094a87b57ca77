# SPDX-License-Identifier: Apache-2.0
"""An RPC endpoint in front of a real node that goes away, talks nonsense or lags when a test says so."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from folkmoot.chain.rpc import REVERT_CODE, Rpc
from folkmoot.errors import ContractRefused, RpcError


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


class RpcProxy:
    """The endpoint; a context manager.

    Args:
        url: The real node.

    Attributes:
        hits: How many requests each trouble met.
    """

    def __init__(self, url: str) -> None:
        self.hits: Counter[Trouble] = Counter()
        self._real = Rpc(url)
        self._trouble = Trouble.NONE
        self._newest = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = proxy._answer(asked)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the library's
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
        self._real.close()

    def become(self, trouble: Trouble) -> None:
        """Do this from now on."""
        self._newest = self._real.block_number()
        self._trouble = trouble

    def _answer(self, asked: dict[str, Any]) -> bytes | None:
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
