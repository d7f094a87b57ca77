# SPDX-License-Identifier: Apache-2.0
"""A private endpoint: it is given all transactions and nothing else; everything is read from the ordinary endpoints.

Such an endpoint (Flashbots Protect, for example) passes transactions to block builders without the public mempool.
Nobody else can then copy a proof before it is in a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from folkmoot.errors import InputError, RpcError
from folkmoot.rpc.client import DEFAULT_TIMEOUT, Rpc
from folkmoot.runtime.urls import without_secrets

_PRIVATE: ContextVar[str | None] = ContextVar("private endpoint", default=None)


@contextmanager
def private_endpoint(url: str | None, chain_id: int) -> Iterator[None]:
    """Send all transactions inside the block through a private endpoint. None changes nothing.

    Args:
        url: HTTP address of the endpoint.
        chain_id: EIP-155 id of the chain that it must serve.

    Raises:
        InputError: `wrong-private-rpc`: it is no HTTP address, or it serves another chain.
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


def send_privately(raw: str) -> bool:
    """Give a signed transaction (0x-hex) to the endpoint of `private_endpoint`; return whether there is one.

    Raises:
        RpcError: It does not take it; `private-rpc-failed`: it can't be reached.
    """
    url = _PRIVATE.get()
    if url is None:
        return False
    with Rpc(url, DEFAULT_TIMEOUT) as rpc:
        try:
            rpc.call("eth_sendRawTransaction", [raw])
        except RpcError as error:
            if error.code != RpcError.default_code:
                raise
            raise RpcError(
                f"The private endpoint {rpc.name} did not take the transaction: {error.message} It was sent to nobody "
                "else.",
                remedy="Try again, or leave out --private-rpc to send it to the ordinary endpoints.",
                code="private-rpc-failed",
            ) from error
    return True
