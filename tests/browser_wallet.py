# SPDX-License-Identifier: Apache-2.0
"""A wallet in a browser (EIP-6963, EIP-1193) that asks a real node and signs with an account's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from folkmoot.devnet.anvil import Anvil
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from tests.chromium import Page

CAST_VOTE = "0x" + keccak(text="castVote(uint256,uint8)")[:4].hex()

_SCRIPT = """
const listeners = {};
const provider = {
  on: (name, act) => (listeners[name] ??= []).push(act),
  request: async (wish) => {
    const { result, error } = await call("wallet", wish);
    if (error) throw Object.assign(new Error(error.message), error);
    return result;
  },
};
window.walletSays = (name, value) => (listeners[name] ?? []).forEach(act => act(value));
const detail = Object.freeze({ info: { uuid: "1", name: NAME, icon: "data:,", rdns: "test.wallet" }, provider });
const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
addEventListener("eip6963:requestProvider", announce);
announce();
"""


class BrowserWallet:
    """A wallet that its user has installed: what it does is what the test sets."""

    def __init__(self, page: Page, anvil: Anvil, account: LocalAccount, name: str = "Purse") -> None:
        self.anvil, self.account, self.page = anvil, account, page
        self.chain_id = LOCAL_CHAIN_ID
        self.known = {LOCAL_CHAIN_ID}
        self.is_open = False
        """Whether the user has let the page see the account."""
        self.rejects = False
        self.refused: set[str] = set()
        """Methods that the wallet's node does not serve."""
        self.meanwhile: Callable[[], object] | None = None
        """What happens just before the node is asked whether a vote would be taken."""
        self.asked: list[str] = []
        page.offer("wallet", self._request, _SCRIPT.replace("NAME", repr(name)))

    def change(self, account: LocalAccount) -> None:
        """Choose another account, as the user."""
        self.account = account
        self.page.value("walletSays('accountsChanged', [])")

    def _request(self, wish: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(wish["method"])
        if (
            self.meanwhile
            and wish["method"] == "eth_call"
            and wish["params"][0]["data"].startswith(CAST_VOTE)
        ):
            act, self.meanwhile = self.meanwhile, None
            act()
        if wish["method"] in self.refused:
            return {"error": {"code": -32005, "message": "query returned more than 10000 results"}}
        try:
            return {"result": self._answer(wish["method"], wish.get("params") or [])}
        except _Refused as refused:
            return {"error": refused.args[0]}

    def _answer(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_requestAccounts":
                if self.rejects:
                    raise _Refused({"code": 4001, "message": "User rejected the request."})
                self.is_open = True
                return [self.account.address]
            case "eth_accounts":
                return [self.account.address] if self.is_open else []
            case "eth_chainId":
                return hex(self.chain_id)
            case "wallet_switchEthereumChain":
                if int(params[0]["chainId"], 16) not in self.known:
                    raise _Refused({"code": 4902, "message": "Unrecognized chain ID."})
                self.chain_id = int(params[0]["chainId"], 16)
                return None
            case "eth_sendTransaction":
                return self._send(params[0])
        return self._node(method, *params)

    def _node(self, method: str, *params: Any) -> Any:
        """What the wallet's node answers."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx.post(self.anvil.url, json=body, timeout=30).json()
        if "error" in answer:
            raise _Refused(answer["error"])
        return answer["result"]

    def _send(self, wish: dict[str, Any]) -> Any:
        if self.rejects:
            raise _Refused({"code": 4001, "message": "User denied transaction signature."})
        assert wish["from"].lower() == self.account.address.lower()
        transaction = {
            "to": wish["to"],
            "data": wish["data"],
            "gas": 2 * int(self._node("eth_estimateGas", wish), 16),
            "nonce": int(self._node("eth_getTransactionCount", self.account.address, "pending"), 16),
            "gasPrice": 2 * int(self._node("eth_gasPrice"), 16),
            "chainId": self.chain_id,
        }
        signed = self.account.sign_transaction(transaction)
        return self._node("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())


class _Refused(Exception):
    """An error of JSON-RPC."""
