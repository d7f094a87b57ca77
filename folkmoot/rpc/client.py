# SPDX-License-Identifier: Apache-2.0
"""Reading a chain by plain JSON-RPC: all that a contributor's node needs.

This module travels in the Flower App Bundle, so it may not know web3 or the packaged ABIs, which hold all code. httpx
is imported at the first request.
"""

from __future__ import annotations

import enum
import itertools
import json
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

from folkmoot.errors import ContractRefused, RpcError
from folkmoot.rpc.abi import Function, decode, function
from folkmoot.rpc.reverts import explain
from folkmoot.runtime import services, tls
from folkmoot.runtime.urls import without_secrets

if TYPE_CHECKING:
    import httpx

    from folkmoot.protocol.policy import Policy
    from folkmoot.rpc.poll import Endpoint

DEFAULT_TIMEOUT = 10.0
"""Seconds for which an endpoint may stay silent, connecting included."""

PATIENCE = 3
"""A request may take this many times the timeout in all, however steadily it is taken and its answer trickles."""

MAX_ANSWER = 256 << 20
"""Most bytes of an answer. Blocks bound what an honest one can be: logs with whole updates in them are the largest."""

PLACE_BITS = 63
"""Bits of numbers of blocks and of times: what a database takes."""

_SHOWN = 200
"""Characters of an answer that a message shows."""

REVERT_CODE = 3
"""Error code with which nodes report a reverted call."""

_OUT_OF_GAS = (
    "out of gas",
    "outofgas",
    "gas required exceeds",
    "gas spent exceeded",  # Nethermind
    "transaction execution fails",  # Nethermind
)
"""What nodes say of a call that its limit of gas is too low for, in lower case."""


class Block(NamedTuple):
    """A block, as far as it matters here."""

    number: int
    """Its number; 0 for the pending block, which need not have one."""
    hash: str
    """0x-hex; empty for the pending block."""
    timestamp: int
    """Unix time."""
    base_fee: int
    """Wei per unit of gas; 0 on a chain without EIP-1559."""
    has_base_fee: bool = True
    """Whether the chain has EIP-1559."""


class Receipt(NamedTuple):
    """What became of a transaction."""

    block_number: int
    block_hash: str
    """0x-hex."""
    succeeded: bool
    gas_used: int


class Phase(enum.IntEnum):
    """Where a round stands, as `IRoundLedger.Phase`."""

    NONE = 0
    OPEN = 1
    COMMITTED = 2
    ANCHORED = 3
    FINAL = 4
    CANCELLED = 5
    SLASHED = 6


class Head(NamedTuple):
    """The round whose state the next round trains from."""

    round: int
    """Its number."""
    state_root: bytes


class Draw(NamedTuple):
    """The draw of a round's places (`Places.Draw`)."""

    quota: int
    """Enrolled stake (1e-18 tokens) that has a place for certain; zero if nobody is drawn."""
    at: int
    """Unix time: only who has been enrolled since before has a place."""
    seed: int
    """What the lots of accounts with less are drawn from."""


class Basis(NamedTuple):
    """What the next draw of places rests on (`Places.Basis`)."""

    total: int
    """Sum of all enrolled stake (1e-18 tokens) when it was noted."""
    at: int
    """Unix time when it was noted."""
    block: int
    """Number of the block whose hash is the seed."""


class Member(NamedTuple):
    """What the vault knows of an account (`IStakeVault.Member`). Amounts in units of 1e-18 tokens."""

    stake: int
    """Present stake, with bonds and enrolled stake."""
    enrolled: int
    """Stake that is enrolled."""
    number: int
    """Member number; zero before the account enrols, or locks a bond, for the first time."""
    since: int
    """Unix time from which the enrolled stake has been as much or more."""


class Unbonding(NamedTuple):
    """A withdrawal under way."""

    amount: int
    """Units of 1e-18 tokens."""
    release_at: int
    """Unix time from which it can be withdrawn."""


class Version(NamedTuple):
    """A version of the model."""

    version: int
    """Its number: that of the round that made it."""
    parent: int
    """Version that it was trained from."""
    registered_at: int
    """Unix time of its registration."""
    state_root: bytes


class Active(NamedTuple):
    """The version that a vote made active."""

    version: int
    """Its number."""
    report_hash: bytes
    """sha256 of the evaluation report that the voters were shown, zero if none."""


@dataclass(frozen=True, slots=True)
class RoundView:
    """What the ledger stores of a round (`IRoundLedger.Round`)."""

    policy: int
    """Number of the policy that the round pins."""
    phase: Phase
    """Phase: never `COMMITTED`; `LedgerReader.phase` derives it. `CANCELLED` if a round below was proven wrong."""
    entries: int
    """Number of commitments recorded."""
    opened_at: int
    """Unix time of the opening."""
    commit_deadline: int
    """Unix time from which no commitment is taken."""
    anchor_deadline: int
    """Unix time from which the anchor is late."""
    challenge_deadline: int
    """Unix time from which the round may be finalized; zero until anchored."""
    coordinator: str
    """Account that opened the round, checksummed."""
    base: int
    """Round whose state this round trains from."""
    position: int
    """Place among the rounds that stand, the genesis at 0; zero until anchored."""
    header_hash: bytes
    """keccak256 of the round header."""
    entries_hash: bytes
    """Rolling hash of the entries."""
    state_root: bytes
    """State root after the round; zero until anchored."""
    anchor_hash: bytes
    """keccak256 of the encoded anchor; zero until anchored."""

    @property
    def record_by(self) -> int:
        """Unix time by which a coordinator records the commitments that it has: three quarters of the window."""
        return self.opened_at + 3 * (self.commit_deadline - self.opened_at) // 4

    @property
    def own_commitments_from(self) -> int:
        """Unix time from which nodes record their commitments by themselves: four fifths of the window."""
        return self.opened_at + 4 * (self.commit_deadline - self.opened_at) // 5

    @classmethod
    def from_abi(cls, values: Any) -> RoundView:
        """Build from the decoded tuple, in the order of the contract's struct."""
        listed = list(values)
        listed[1] = _phase(listed[1])
        return cls(*listed)


class Rpc:
    """A JSON-RPC endpoint of an Ethereum node.

    Usable as a context manager. Safe to share between threads: httpx clients are.

    Args:
        url: HTTP address of the endpoint.
        timeout: Seconds for which it may stay silent.
    """

    def __init__(self, url: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.url = url
        self.timeout = timeout
        self._ids = itertools.count(1)
        self._http: httpx.Client | None = None
        self._close_client: Callable[[], Any] = lambda: None
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The address as messages show it, without what may be secret."""
        return without_secrets(self.url)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints that are compared, where there are several (`quorum.Quorum`)."""
        return ()

    @property
    def warnings(self) -> list[str]:
        """What is wrong with some of the endpoints, where there are several (`quorum.Quorum`)."""
        return []

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._opening:
            self._http = None
            self._close_client()

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        """Call a method and return its result as it came.

        Raises:
            RpcError: the endpoint can't be reached in time, or answers with an error or with nonsense.
            ContractRefused: the node says that a call reverted.
        """
        import httpx

        from folkmoot.runtime.deadlines import within

        number = next(self._ids)
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or []}
        status, most = 0, PATIENCE * self.timeout
        end = time.monotonic() + most
        try:
            with within(most):
                status, data = self._post(method, body)
            answer = json.loads(data)
        except httpx.TimeoutException as error:
            if time.monotonic() >= end:
                raise self._unreachable(f"did not end its answer to {method} in {most:g} seconds") from error
            raise self._unreachable(f"gave no answer to {method} in {self.timeout:g} seconds") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if refused := tls.reason(error):
                raise self._unreachable(f"can't be reached: TLS fails, {refused}", tls.REMEDY) from error
            raise self._unreachable(f"can't be reached: {error}") from error
        except (ValueError, RecursionError) as error:
            raise self._other(f"did not answer {method} with JSON (HTTP {status})", status) from error
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise self._other(f"did not answer {method} with JSON-RPC (HTTP {status})", status)
        failed = answer.get("error") is not None
        if answer.get("id") != number and not (failed and answer.get("id") is None):
            raise self._unreachable(f"answered {method} with the answer to another request")
        if failed:
            raise self._failure(method, answer["error"])
        if "result" not in answer:
            raise self._unreachable(f"answered {method} with neither a result nor an error")
        return answer["result"]

    def _post(self, method: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Send a request and return status and body, which is bounded in size."""
        import httpx

        from folkmoot.runtime.deadlines import Transport

        with self._opening:
            if self._http is None:
                self._http = httpx.Client(timeout=self.timeout, transport=Transport())
                self._close_client = weakref.finalize(self, self._http.close)  # also when it is dropped
            client = self._http
        data = bytearray()
        with client.stream("POST", self.url, json=body) as response:
            for part in response.iter_bytes():
                data += part
                if len(data) > MAX_ANSWER:
                    raise RpcError(
                        f"The RPC endpoint {self.name} answered {method} with more than {MAX_ANSWER >> 20} MiB.",
                        remedy="Use another endpoint: no honest answer is that large.",
                        code="rpc-error",
                    )
        return response.status_code, bytes(data)

    def chain_id(self) -> int:
        """Return the EIP-155 id of the chain.

        Raises:
            RpcError: as `call`.
        """
        return self._quantity("eth_chainId")

    def block_number(self) -> int:
        """Return the number of the newest block.

        Raises:
            RpcError: as `call`.
        """
        method = "eth_blockNumber"
        return self.quantity(method, self.call(method), PLACE_BITS)

    def latest_timestamp(self) -> int:
        """Return the Unix time of the newest block.

        Raises:
            RpcError: as `call`.
        """
        return self.latest().timestamp

    def latest(self) -> Block:
        """Return the newest block.

        Raises:
            RpcError: as `call`.
        """
        block = self.block_at("latest")
        if block is None:
            raise self._unreachable("has no newest block", "Check that the node is in sync.")
        return block

    def block_at(self, number: int | str) -> Block | None:
        """Return a block of the canonical chain, by its number, `latest` or `pending`; None if it is not there (yet).

        Raises:
            RpcError: as `call`.
        """
        method, pending = "eth_getBlockByNumber", number == "pending"
        answer = self.call(method, [hex(number) if isinstance(number, int) else number, False])
        if answer is None:
            return None
        member, quantity = partial(self.member, method, answer), partial(self.quantity, method)
        # A pending block has no hash yet, and with some nodes no number.
        actual = 0 if pending else quantity(member("number"), PLACE_BITS)
        if isinstance(number, int) and actual != number:
            raise self.nonsense(method, answer)
        return Block(
            number=actual,
            hash="" if pending else self.digest(method, member("hash")),
            timestamp=quantity(member("timestamp"), PLACE_BITS),
            base_fee=quantity(answer.get("baseFeePerGas") or "0x0"),
            has_base_fee=answer.get("baseFeePerGas") is not None,
        )

    def fresh_block(self) -> tuple[str, int]:
        """Return the block whose time is nearest to that of a transaction sent now, and its Unix time.

        An idle local chain has an old newest block, while the contracts go by the time of the block to come: that is
        the pending one. Where a local chain has run ahead of the clock, its pending block is older than its newest.

        Raises:
            RpcError: as `call`.
        """
        latest = self.latest().timestamp
        pending = self.block_at("pending")
        if pending is None or pending.timestamp <= latest:
            return "latest", latest
        return "pending", pending.timestamp

    def transaction_count(self, account: str, block: int | str = "latest") -> int:
        """Return how many transactions an account has sent up to a block, or with the pool (`pending`).

        Raises:
            RpcError: as `call`.
        """
        method = "eth_getTransactionCount"
        tag = hex(block) if isinstance(block, int) else block
        return self.quantity(method, self.call(method, [account, tag]))

    def balance(self, account: str) -> int:
        """Return what an account has of the chain's native coin, in wei.

        Raises:
            RpcError: as `call`.
        """
        method = "eth_getBalance"
        return self.quantity(method, self.call(method, [account, "latest"]))

    def receipt(self, transaction: str) -> Receipt | None:
        """Return the receipt of a transaction (0x-hex); None while it is not in the canonical chain.

        Raises:
            RpcError: as `call`.
        """
        method = "eth_getTransactionReceipt"
        answer = self.call(method, [transaction])
        if answer is None:
            return None
        member, quantity = partial(self.member, method, answer), partial(self.quantity, method)
        if member("blockHash") is None:
            return None  # some nodes answer for what is in their pool
        if self.digest(method, member("transactionHash")) != transaction:
            raise self.nonsense(method, member("transactionHash"))
        return Receipt(
            block_number=quantity(member("blockNumber"), PLACE_BITS),
            block_hash=self.digest(method, member("blockHash")),
            succeeded=quantity(member("status")) == 1,
            gas_used=quantity(member("gasUsed"), PLACE_BITS),
        )

    def estimate(
        self, account: str, to: str, data: bytes, gas: int | None = None, block: str | None = None
    ) -> int:
        """Return the gas that a call would take now, with at most so much; of a creation, if it calls nobody.

        Raises:
            RpcError: as `call`.
            ContractRefused: it would revert, or take more.
        """
        method = "eth_estimateGas"
        limit = {} if gas is None else {"gas": hex(gas)}
        called = {"to": to} if to else {}
        call = {"from": account, **called, "data": "0x" + data.hex(), **limit}
        return self.quantity(method, self.call(method, [call] if block is None else [call, block]))

    def priority_fee(self) -> int:
        """Return the tip per gas, in wei, that gets a transaction in; 1 gwei where the node does not say.

        Raises:
            RpcError: as `call`.
        """
        method = "eth_maxPriorityFeePerGas"
        try:
            return self.quantity(method, self.call(method))
        except RpcError as error:
            if error.code != "rpc-error":
                raise
            return 10**9

    def gas_price(self) -> int:
        """Return what a unit of gas costs on a chain without EIP-1559, in wei.

        Raises:
            RpcError: as `call`.
        """
        return self._quantity("eth_gasPrice")

    def logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Return raw logs. A node that lacks a block that is asked for by its hash gives an error.

        Raises:
            RpcError: as `call`.
        """
        method = "eth_getLogs"
        answer = self.call(method, [query])
        if not isinstance(answer, list) or not all(isinstance(log, dict) for log in answer):
            raise self.nonsense(method, answer)
        return answer

    def code(self, address: str) -> bytes:
        """Return the code at an address, empty if there is no contract.

        Raises:
            RpcError: as `call`.
        """
        return self._data("eth_getCode", [address, "latest"])

    def eth_call(
        self, to: str, data: bytes, block: int | str | None = None, sender: str | None = None
    ) -> bytes:
        """Call a contract on a block, the newest if left out, and return the bytes that it returned.

        Args:
            to: The contract.
            data: Selector and arguments.
            sender: Account that calls; nobody if left out.

        Raises:
            RpcError: as `call`.
        """
        tag = hex(block) if isinstance(block, int) else block or "latest"
        caller = {} if sender is None else {"from": sender}
        return self._data("eth_call", [{**caller, "to": to, "data": "0x" + data.hex()}, tag])

    def read(
        self,
        to: str,
        signature: str,
        returns: Sequence[str],
        *arguments: Any,
        block: int | str | None = None,
        sender: str | None = None,
    ) -> tuple[Any, ...]:
        """Call a view function, e.g. `read(vault, "stakeOf(address)", ["uint256"], account)`.

        Args:
            to: The contract.
            signature: Name and types of the arguments.
            returns: Types of what it returns.
            block: Block at whose end it is called, or `pending`; the newest if left out.
            sender: Account that calls; nobody if left out.

        Raises:
            RpcError: as `call`, or the answer does not have the expected form (no contract, or another one).
        """
        name, _, inside = signature.removesuffix(")").partition("(")
        types = tuple(inside.split(",")) if inside else ()
        return self.invoke(to, Function(name, types, tuple(returns)), arguments, block=block, sender=sender)

    def invoke(
        self,
        to: str,
        called: Function,
        arguments: Sequence[Any],
        *,
        block: int | str | None = None,
        sender: str | None = None,
    ) -> tuple[Any, ...]:
        """Call a function without a transaction, as `read`, and return its results."""
        try:
            answer = self.eth_call(to, called.encode(*arguments), block, sender)
        except ContractRefused as error:
            raise explain(error.details.get("data"), called.name) from error
        try:
            return decode(called.outputs, answer)
        except (DecodingError, OverflowError) as error:
            raise wrong_contract(to, called.signature) from error

    # What answers are made of. `what` is the method that was asked, for the message.

    def quantity(self, what: str, value: Any, bits: int = 256) -> int:
        """Return a number that an answer holds as 0x-hex.

        Raises:
            RpcError: it is none, or has more bits.
        """
        try:
            number = int(value, 16)
        except (TypeError, ValueError) as error:
            raise self.nonsense(what, value) from error
        if not 0 <= number < 1 << bits:
            raise self.nonsense(what, value)
        return number

    def digest(self, what: str, value: Any) -> str:
        """Return a hash that an answer holds: 0x and 64 hex digits, in lower case."""
        try:
            if len(value) == 66 and value.startswith("0x") and bytes.fromhex(value[2:]):
                return str(value.lower())
        except (TypeError, AttributeError, ValueError):
            pass
        raise self.nonsense(what, value)

    def member(self, what: str, value: Any, name: str) -> Any:
        """Return a member of an object in an answer.

        Raises:
            RpcError: it is no object, or has no such member.
        """
        if not isinstance(value, dict) or name not in value:
            raise self.nonsense(what, value)
        return value[name]

    def nonsense(self, what: str, value: Any) -> RpcError:
        """Return the error for an answer that can't be one."""
        text = repr(value)
        if len(text) > _SHOWN:
            text = f"{text[:_SHOWN]}... ({len(text):,} characters)"
        return self._unreachable(f"answered {what} with {text}")

    def _quantity(self, method: str) -> int:
        return self.quantity(method, self.call(method))

    def _data(self, method: str, params: list[Any]) -> bytes:
        value = self.call(method, params)
        try:
            return bytes.fromhex(value.removeprefix("0x"))
        except (AttributeError, ValueError) as error:
            raise self.nonsense(method, value) from error

    def _failure(self, method: str, error: Any) -> RpcError | ContractRefused:
        if not isinstance(error, dict):
            return self._unreachable(f"answered {method} with the error {str(error)[:_SHOWN]}")
        message = str(error.get("message", ""))
        data = error.get("data")
        if isinstance(data, dict):  # some nodes wrap it
            data = data.get("data")
        refused = ("revert", *(_OUT_OF_GAS if method in ("eth_call", "eth_estimateGas") else ()))
        if error.get("code") == REVERT_CODE or any(words in message.lower() for words in refused):
            raw = data if isinstance(data, str) and data.startswith("0x") else "0x"
            refusal = explain(raw, method)
            refusal.details["message"] = message[:1000]
            return refusal
        return RpcError(
            f"The RPC endpoint {self.name} answered {method} with an error: {(message or str(error))[:1000]}.",
            remedy="Check that the node is in sync and serves this method.",
            code="rpc-error",
            details={"method": method, "rpcCode": error.get("code"), "message": message[:1000]},
        )

    def _other(self, what: str, status: int) -> RpcError:
        """Return the error for an answer that is no JSON-RPC: another service may be at the address."""
        unknown = status in services.UNKNOWN_PATH
        mistake = services.mistaken(self.url, self.name, services.CHAIN) if unknown else None
        if mistake is None:
            return self._unreachable(what)
        message, remedy = mistake
        return RpcError(message, remedy=remedy, details={"url": self.name})

    def _unreachable(self, what: str, remedy: str = "") -> RpcError:
        return RpcError(
            f"The RPC endpoint {self.name} {without_secrets(what, self.url)}.",
            remedy=remedy or "Check the address (--rpc or FOLKMOOT_RPC) and that the node is running.",
            details={"url": self.name},
        )


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a contract, or the creation of one."""

    to: str
    """Address of the contract, checksummed; empty for a creation."""
    function: Function
    arguments: tuple[Any, ...]
    code: bytes = b""
    """Creation code without the arguments; empty for a call."""

    @property
    def name(self) -> str:
        """What it does, for messages."""
        return self.function.name or "the deployment"

    @property
    def data(self) -> bytes:
        """Selector and arguments, or creation code and arguments."""
        encoded = self.function.encode(*self.arguments)
        return self.code + encoded[4:] if self.code else encoded


class Contract:
    """A contract of the federation, whose functions are those of its ABI.

    Args:
        rpc: Endpoint to ask.
        role: Its role in the deployment, or its name in Solidity.
    """

    role = ""

    def __init__(self, rpc: Rpc, address: str, role: str = "") -> None:
        self.rpc = rpc
        self.address = to_checksum_address(address)
        self.role = role or self.role

    @property
    def functions(self) -> Functions:
        """Its functions by name: `functions.stake(account, amount)` is a `Call`, for `Chain.send` and `Chain.read`."""
        return Functions(self)

    def read(
        self, name: str, *arguments: Any, block: int | str | None = None, sender: str | None = None
    ) -> Any:
        """Call a function without a transaction; return its result, a tuple if there are several.

        Args:
            name: Name of the function.
            block: Block at whose end it is called, or `pending`; the newest if left out.
            sender: Account that calls; nobody if left out.

        Raises:
            RpcError: the endpoint failed, or another contract is at the address.
        """
        called = function(self.role, name)
        results = self.rpc.invoke(self.address, called, arguments, block=block, sender=sender)
        return results[0] if len(results) == 1 else results

    def accepts(self, name: str, *arguments: Any, sender: str | None = None) -> bool:
        """Return whether a call would succeed now."""
        try:
            self.read(name, *arguments, sender=sender)
        except ContractRefused:
            return False
        return True


class Functions:
    """The functions of a contract as attributes."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def __getattr__(self, name: str) -> Callable[..., Call]:
        try:
            called = function(self._contract.role, name)
        except KeyError:
            raise AttributeError(f"{self._contract.role} has no function {name}") from None
        return lambda *arguments: Call(self._contract.address, called, arguments)


class LedgerReader(Contract):
    """Typed reads of the RoundLedger.

    Every method raises RpcError when the endpoint fails or no ledger is at the address.
    """

    role = "ledger"

    def round(self, round_id: int, block: int | None = None) -> RoundView:
        """Return what is stored of a round at the end of a block, the newest if left out.

        Its phase is `NONE` if there is no such round.
        """
        return RoundView.from_abi(self.read("rounds", round_id, block=block))

    def phase(self, round_id: int) -> Phase:
        """Return the phase of a round at the time of the newest block."""
        return _phase(self.read("phase", round_id))

    def head(self) -> Head:
        """Return the round whose state the next round trains from."""
        return Head(*self.read("head"))

    def next_round(self) -> int:
        """Return the number that the next round gets."""
        return int(self.read("nextRound"))

    @cached_property
    def policies(self) -> Contract:
        """The contract of the policies, which never changes."""
        return Contract(self.rpc, self.read("policies"), "policies")

    def current_policy(self) -> int:
        """Return the number of the policy that the next round pins."""
        return int(self.policies.read("currentPolicy"))

    def policy(self, policy_id: int, block: int | None = None) -> Policy:
        """Return a policy as of the end of a block, the newest if left out."""
        from folkmoot.protocol.policy import Policy

        return Policy.from_abi(self.policies.read("policies", policy_id, block=block))

    def coordinator(self) -> str:
        """Return the coordinator of the next round."""
        return str(self.read("coordinator"))

    def has_committed(self, round_id: int, contributor: str) -> bool:
        """Return whether an account has a commitment in a round."""
        return bool(self.read("hasCommitted", round_id, contributor))

    def enrolled(self, account: str) -> bool:
        """Return whether an account is enrolled."""
        return bool(self.read("isEnrolled", account))

    def has_place(self, round_id: int, account: str) -> bool:
        """Return whether an account may commit in a round, as long as the round is not full."""
        return bool(self.read("hasPlace", round_id, account))

    def spent(self, account: str) -> int:
        """Return what an account has spent of its privacy budget, in units of 2^-32 of rho."""
        return int(Contract(self.rpc, self.read("odometer"), "Odometer").read("spent", account))

    def draw(self, round_id: int) -> Draw:
        """Return the draw of a round's places."""
        return Draw(*self.read("draws", round_id))

    def pending_rounds(self) -> int:
        """Return the number of anchored rounds that are not final yet."""
        return int(self.read("pendingRounds"))

    def counts(self, round_id: int, account: str) -> bool:
        """Return whether the early end of a round's commit window waits for an account's commitment."""
        member = VaultReader(self.rpc, self.read("vault")).members([account])[account]
        return self.enrolled(account) and member.since < self.round(round_id).opened_at

    def can_close(self, round_id: int) -> bool:
        """Return whether the coordinator could end a round's commit window now."""
        return self.accepts("closeCommits", round_id, sender=self.round(round_id).coordinator)

    def can_remove(self, account: str) -> bool:
        """Return whether anybody could take an account off the list of the enrolled now."""
        return self.accepts("remove", account)

    def can_release(self, round_id: int) -> bool:
        """Return whether a round is void and its bond still locked: anybody could release it now."""
        return self.accepts("releaseVoid", round_id)

    def admission(self) -> str:
        """Return the contract that decides who may enrol; the zero address in an open federation."""
        return str(self.read("admission"))

    def manifest_hash(self) -> bytes:
        """Return the hash of the manifest."""
        return bytes(self.read("manifestHash"))

    def genesis_hash(self) -> bytes:
        """Return the keccak256 of the genesis file."""
        return bytes(self.read("genesisHash"))

    def bounds(self) -> tuple[int, ...]:
        """Return what no policy may go beyond, in the order of `IPolicies.Bounds`."""
        return tuple(map(int, self.policies.read("bounds")))


class RewardsReader(Contract):
    """Typed reads of the Rewards.

    Every method raises RpcError when the endpoint fails or no such contract is at the address.
    """

    role = "rewards"

    def claimable(self, account: str) -> int:
        """Return the rewards that an account can claim, in units of 1e-18 tokens."""
        return int(self.read("claimable", account))

    def is_settled(self, round_id: int, block: int | None = None) -> bool:
        """Return whether the rewards of a round were credited at the end of a block, the newest if left out."""
        return bool(self.read("isSettled", round_id, block=block))


class VaultReader(Contract):
    """Typed reads of the StakeVault. Amounts are in units of 1e-18 tokens.

    Every method raises RpcError when the endpoint fails or no vault is at the address.
    """

    role = "vault"

    def stake_of(self, account: str) -> int:
        """Return the stake of an account, without what is unbonding."""
        return int(self.read("stakeOf", account))

    def members(self, accounts: list[str]) -> dict[str, Member]:
        """Return what the vault knows of each account."""
        listed = self.read("members", accounts)
        if len(listed) != len(accounts):
            raise wrong_contract(self.address, function(self.role, "members").signature)
        return {account: Member(*values) for account, values in zip(accounts, listed, strict=True)}

    def bond_of(self, account: str) -> int:
        """Return the stake of an account that is locked for its rounds."""
        return int(self.read("bondOf", account))

    def unlocked_of(self, account: str) -> int:
        """Return the stake of an account without its bonds."""
        return self.stake_of(account) - self.bond_of(account)

    def votes_of(self, account: str) -> int:
        """Return the present votes of an account, in units of stake."""
        return int(self.read("getVotes", account))

    def delegate_of(self, account: str) -> str:
        """Return who votes with the stake of an account; the zero address if nobody does."""
        return str(self.read("delegates", account))

    def unbondings(self, account: str) -> list[Unbonding]:
        """Return the withdrawals of an account that are under way, the oldest first."""
        return [Unbonding(*entry) for entry in self.read("unbondings", account)]

    def total_enrolled(self) -> int:
        """Return the sum of all enrolled stake."""
        return int(self.read("totalEnrolled"))

    def basis(self) -> Basis:
        """Return what the next draw of places rests on."""
        return Basis(*self.read("basis"))

    def unbonding_period(self) -> int:
        """Return for how many seconds stake can still be taken from who wants it back."""
        return int(self.read("unbondingPeriod"))

    def total_staked(self) -> int:
        """Return the sum of all stakes."""
        return int(self.read("totalStaked"))


class TokenReader(Contract):
    """Typed reads of the MootToken. Amounts are in units of 1e-18 tokens."""

    role = "token"

    def balance_of(self, account: str) -> int:
        """Return the tokens of an account."""
        return int(self.read("balanceOf", account))

    def allowance(self, owner: str, spender: str) -> int:
        """Return what a spender may still take of an owner's tokens."""
        return int(self.read("allowance", owner, spender))


class RegistryReader(Contract):
    """Typed reads of the ModelRegistry."""

    role = "registry"

    def active(self) -> Active | None:
        """Return the active version, None if no vote has made one active yet."""
        try:
            return Active(*self.read("active"))
        except ContractRefused as error:
            if error.details.get("error") == "ModelRegistryNoActiveVersion":
                return None
            raise

    def standing(self, number: int) -> int:
        """Return what votes made of a version: 0 candidate, 1 released, 2 recalled."""
        return int(self.read("standing", number))

    def version(self, number: int) -> Version:
        """Return a version."""
        return Version(number, *self.read("versions", number))

    def warranties(self, number: int) -> tuple[int, bool]:
        """Return what is behind a version, in units of 1e-18 tokens, and whether a vote took what was there."""
        total, forfeited = self.read("warrantiesOf", number)
        return int(total), bool(forfeited)

    def warranty(self, number: int, account: str) -> tuple[int, int]:
        """Return what an account has behind a version, and the Unix time from which it can take that out."""
        amount, release_at = self.read("warrantyOf", number, account)
        return int(amount), int(release_at)


def wrong_contract(address: str, question: str) -> RpcError:
    """Return the error for a contract that returned what Folkmoot's never do."""
    return RpcError(
        f"The contract at {address} does not answer {question} as Folkmoot's contracts do.",
        remedy="Check that the deployment file belongs to this chain.",
        code="wrong-contract",
    )


def _phase(value: int) -> Phase:
    try:
        return Phase(value)
    except ValueError as error:
        raise RpcError(
            f"The ledger answers with a phase {value}, which there is not.",
            remedy="Check that the deployment file belongs to this chain.",
            code="wrong-contract",
        ) from error
