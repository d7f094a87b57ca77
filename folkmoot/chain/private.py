# SPDX-License-Identifier: Apache-2.0
"""A private endpoint: it is given all transactions and nothing else; everything is read from the ordinary endpoints.

Such an endpoint (Flashbots Protect, for example) passes transactions to block builders without the public mempool.
Nobody else can then copy a proof before it is in a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from web3 import HTTPProvider
from web3.middleware import Web3Middleware

from folkmoot.errors import InputError, RpcError
from folkmoot.rpc.client import DEFAULT_TIMEOUT, Rpc
from folkmoot.runtime.urls import without_secrets

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import RPCEndpoint, RPCResponse

_PRIVATE: ContextVar[str | None] = ContextVar("private endpoint", default=None)


@contextmanager
def private_endpoint(url: str | None, chain_id: int) -> Iterator[None]:
    """Send all transactions through a private endpoint, on connections that the block opens. None changes nothing.

    Args:
        url: HTTP address of the endpoint.
        chain_id: EIP-155 id of the chain that it must serve.

    Raises:
        InputError: `wrong-private-rpc`: it is no HTTP address, or it serves another chain.
        RpcError: It can't be reached.
    """
    if url is None:
        yield
        return
    if not url.startswith(("http://", "https://")):
        raise InputError(
            f"{url!r} is not the address of a private endpoint.",
            remedy="Give its HTTP address, for example https://rpc.flashbots.net.",
            code="wrong-private-rpc",
        )
    with Rpc(url, DEFAULT_TIMEOUT) as rpc:
        served = rpc.chain_id()
    if served != chain_id:
        raise InputError(
            f"The private endpoint {without_secrets(url)} serves chain {served}, and the deployment is on chain "
            f"{chain_id}.",
            remedy="Give one of the deployment's chain.",
            code="wrong-private-rpc",
            details={"chainId": served, "expected": chain_id},
        )
    token = _PRIVATE.set(url)
    try:
        yield
    finally:
        _PRIVATE.reset(token)


def send_privately(w3: Web3, settings: dict[str, Any]) -> Web3:
    """Let a connection send its transactions through the endpoint of `private_endpoint`, if there is one.

    Args:
        w3: The connection.
        settings: Of the requests to that endpoint.
    """
    url = _PRIVATE.get()
    if url is not None:
        hidden, shown = url, without_secrets(url)
        private = HTTPProvider(url, request_kwargs=settings, exception_retry_configuration=None)

        class SendPrivately(Web3Middleware):
            """Gives transactions to the private endpoint, and every other request to the connection's own ones."""

            def wrap_make_request(self, make_request: Callable[..., Any]) -> Callable[..., Any]:
                def ask(method: RPCEndpoint, params: Any) -> RPCResponse:
                    if method != "eth_sendRawTransaction":
                        answer: RPCResponse = make_request(method, params)
                        return answer
                    try:
                        return private.make_request(method, params)
                    except OSError as error:
                        why = without_secrets(str(error), hidden)
                        raise RpcError(
                            f"The private endpoint {shown} did not take the transaction: {why}. "
                            "It was sent to nobody else.",
                            remedy="Try again, or leave out --private-rpc to send it to the ordinary endpoints.",
                            code="private-rpc-failed",
                        ) from error

                return ask

        w3.middleware_onion.inject(SendPrivately, layer=0)
    return w3
