# SPDX-License-Identifier: Apache-2.0
"""Reading a chain by plain JSON-RPC: all that a contributor's node needs.

This module travels in the Flower App Bundle, so it may not know web3 or the packaged ABIs; the few calls that it makes
are encoded here. httpx is imported at the first request.
"""

from __future__ import annotations

import enum
import itertools
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.errors import ContractRefused, RpcError
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

POLICY_TYPE = (
    "(bytes32,uint32[],uint64,uint16,uint16,uint8,uint8,uint16,uint16,"
    "uint32,uint32,uint32,uint64,uint32,uint32,uint64,uint32,uint128,uint128,uint128,address,bytes32)"
)
"""ABI type of `IRoundLedger.Policy`."""

ROUND_TYPE = (
    "(uint32,uint8,uint16,uint40,uint40,uint40,uint40,address,uint64,bool,uint24,"
    "bytes32,bytes32,bytes32,bytes32)"
)
"""ABI type of `IRoundLedger.Round`."""

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
    """Its state root."""


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
    settled: bool
    """Whether the rewards were settled."""
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

    @classmethod
    def from_abi(cls, values: Any) -> RoundView:
        """Build from the decoded tuple, in the order of the contract's struct."""
        listed = list(values)
        listed[1] = _phase(listed[1])
        listed[7] = to_checksum_address(listed[7])
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
            client, self._http = self._http, None
        if client is not None:
            client.close()

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
        method = "eth_getBlockByNumber"
        block = self.call(method, ["latest", False])
        return self.quantity(method, self.member(method, block, "timestamp"), PLACE_BITS)

    def code(self, address: str) -> bytes:
        """Return the code at an address, empty if there is no contract.

        Raises:
            RpcError: as `call`.
        """
        return self._data("eth_getCode", [address, "latest"])

    def eth_call(self, to: str, data: bytes, block: int | None = None, sender: str | None = None) -> bytes:
        """Call a contract on a block, the newest if left out, and return the bytes that it returned.

        Args:
            to: The contract.
            data: Selector and arguments.
            block: The block.
            sender: Account that calls; nobody if left out.

        Raises:
            RpcError: as `call`.
            ContractRefused: the call reverted.
        """
        tag = "latest" if block is None else hex(block)
        caller = {} if sender is None else {"from": sender}
        return self._data("eth_call", [{**caller, "to": to, "data": "0x" + data.hex()}, tag])

    def read(
        self,
        to: str,
        signature: str,
        returns: list[str],
        *arguments: Any,
        block: int | None = None,
        sender: str | None = None,
    ) -> tuple[Any, ...]:
        """Call a view function, e.g. `read(vault, "stakeOf(address)", ["uint256"], account)`.

        Args:
            to: The contract.
            signature: Name and types of the arguments.
            returns: Types of what it returns.
            arguments: The arguments.
            block: Block at whose end it is called; the newest if left out.
            sender: Account that calls; nobody if left out.

        Raises:
            RpcError: as `call`, or the answer does not have the expected form (no contract, or another one).
            ContractRefused: the call reverted.
        """
        types = _argument_types(signature)
        data = keccak(text=signature)[:4] + encode(types, list(arguments))
        answer = self.eth_call(to, data, block, sender)
        try:
            return decode(returns, answer)
        except (DecodingError, OverflowError) as error:
            raise wrong_contract(to, signature) from error

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
        """Return a hash that an answer holds: 0x and 64 hex digits, in lower case.

        Raises:
            RpcError: it is none.
        """
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
            return _refusal(method, message, raw)
        return RpcError(
            f"The RPC endpoint {self.name} answered {method} with an error: {(message or str(error))[:1000]}.",
            remedy="Check that the node is in sync and serves this method.",
            code="rpc-error",
            details={"method": method, "rpcCode": error.get("code"), "message": message[:1000]},
        )

    def _other(self, what: str, status: int) -> RpcError:
        """Return the error for an answer that is no JSON-RPC: another service may be at the address."""
        unknown = status in services.UNKNOWN_PATH
        found = services.mistaken(self.url, self.name, services.CHAIN) if unknown else None
        if found is None:
            return self._unreachable(what)
        message, remedy = found
        return RpcError(message, remedy=remedy, details={"url": self.name})

    def _unreachable(self, what: str, remedy: str = "") -> RpcError:
        return RpcError(
            f"The RPC endpoint {self.name} {without_secrets(what, self.url)}.",
            remedy=remedy or "Check the address (--rpc or FOLKMOOT_RPC) and that the node is running.",
            details={"url": self.name},
        )


class LedgerReader:
    """Typed reads of the RoundLedger.

    Every method raises RpcError when the endpoint fails or no ledger is at the address.

    Args:
        rpc: Endpoint to ask.
        ledger: Address of the RoundLedger.
    """

    def __init__(self, rpc: Rpc, ledger: str) -> None:
        self.rpc = rpc
        self.address = to_checksum_address(ledger)

    def round(self, round_id: int, block: int | None = None) -> RoundView:
        """Return what is stored of a round at the end of a block, the newest if left out.

        Its phase is `NONE` if there is no such round.
        """
        (values,) = self.rpc.read(self.address, "rounds(uint64)", [ROUND_TYPE], round_id, block=block)
        return RoundView.from_abi(values)

    def phase(self, round_id: int) -> Phase:
        """Return the phase of a round at the time of the newest block."""
        (value,) = self.rpc.read(self.address, "phase(uint64)", ["uint8"], round_id)
        return _phase(value)

    def head(self) -> Head:
        """Return the round whose state the next round trains from."""
        round_id, state_root = self.rpc.read(self.address, "head()", ["uint64", "bytes32"])
        return Head(round_id, state_root)

    def next_round(self) -> int:
        """Return the number that the next round gets."""
        (value,) = self.rpc.read(self.address, "nextRound()", ["uint64"])
        return int(value)

    def current_policy(self) -> int:
        """Return the number of the policy that the next round pins."""
        (value,) = self.rpc.read(self.address, "currentPolicy()", ["uint32"])
        return int(value)

    def policy(self, policy_id: int, block: int | None = None) -> Policy:
        """Return a policy as of the end of a block, the newest if left out.

        Raises:
            ContractRefused: there is no such policy.
        """
        (values,) = self.rpc.read(self.address, "policies(uint32)", [POLICY_TYPE], policy_id, block=block)
        from folkmoot.protocol.policy import Policy

        return Policy.from_abi(values)

    def coordinator(self) -> str:
        """Return the coordinator of the next round."""
        (value,) = self.rpc.read(self.address, "coordinator()", ["address"])
        return str(to_checksum_address(value))

    def has_committed(self, round_id: int, contributor: str) -> bool:
        """Return whether an account has a commitment in a round."""
        (value,) = self.rpc.read(
            self.address, "hasCommitted(uint64,address)", ["bool"], round_id, contributor
        )
        return bool(value)

    def enrolled(self, account: str) -> bool:
        """Return whether an account is enrolled."""
        (value,) = self.rpc.read(self.address, "isEnrolled(address)", ["bool"], account)
        return bool(value)

    def has_place(self, round_id: int, account: str) -> bool:
        """Return whether an account may commit in a round, as long as the round is not full."""
        (value,) = self.rpc.read(self.address, "hasPlace(uint64,address)", ["bool"], round_id, account)
        return bool(value)

    def spent(self, account: str) -> int:
        """Return what an account has spent of its privacy budget, in units of 2^-32 of rho."""
        (odometer,) = self.rpc.read(self.address, "odometer()", ["address"])
        (value,) = self.rpc.read(odometer, "spent(address)", ["uint64"], account)
        return int(value)

    def draw(self, round_id: int) -> Draw:
        """Return the draw of a round's places."""
        (values,) = self.rpc.read(self.address, "draws(uint64)", ["(uint96,uint40,uint120)"], round_id)
        return Draw(*values)

    def pending_rounds(self) -> int:
        """Return the number of anchored rounds that are not final yet."""
        (value,) = self.rpc.read(self.address, "pendingRounds()", ["uint256"])
        return int(value)

    def counts(self, round_id: int, account: str) -> bool:
        """Return whether the early end of a round's commit window waits for an account's commitment."""
        (vault,) = self.rpc.read(self.address, "vault()", ["address"])
        member = VaultReader(self.rpc, vault).members([account])[account]
        return self.enrolled(account) and member.since < self.round(round_id).opened_at

    def can_close(self, round_id: int) -> bool:
        """Return whether the coordinator could end a round's commit window now."""
        try:
            sender = self.round(round_id).coordinator
            self.rpc.read(self.address, "closeCommits(uint64)", [], round_id, sender=sender)
        except ContractRefused:
            return False
        return True

    def can_remove(self, account: str) -> bool:
        """Return whether anybody could take an account off the list of the enrolled now."""
        try:
            self.rpc.read(self.address, "remove(address)", [], account)
        except ContractRefused:
            return False
        return True

    def can_release(self, round_id: int) -> bool:
        """Return whether a round is void and its bond still locked: anybody could release it now."""
        try:
            self.rpc.read(self.address, "releaseVoid(uint64)", [], round_id)
        except ContractRefused:
            return False
        return True

    def admission(self) -> str:
        """Return the contract that decides who may enrol; the zero address in an open federation."""
        (value,) = self.rpc.read(self.address, "admission()", ["address"])
        return str(to_checksum_address(value))

    def claimable(self, account: str) -> int:
        """Return the rewards that an account can claim, in units of 1e-18 tokens."""
        (value,) = self.rpc.read(self.address, "claimable(address)", ["uint256"], account)
        return int(value)

    def manifest_hash(self) -> bytes:
        """Return the hash of the manifest."""
        (value,) = self.rpc.read(self.address, "manifestHash()", ["bytes32"])
        return bytes(value)

    def genesis_hash(self) -> bytes:
        """Return the keccak256 of the genesis file."""
        (value,) = self.rpc.read(self.address, "genesisHash()", ["bytes32"])
        return bytes(value)

    def latest_timestamp(self) -> int:
        """Return the Unix time of the newest block."""
        return self.rpc.latest_timestamp()


class VaultReader:
    """Typed reads of the StakeVault.

    Every method raises RpcError when the endpoint fails or no vault is at the address.

    Args:
        rpc: Endpoint to ask.
        vault: Address of the StakeVault.
    """

    def __init__(self, rpc: Rpc, vault: str) -> None:
        self.rpc = rpc
        self.address = to_checksum_address(vault)

    def stake_of(self, account: str) -> int:
        """Return the stake of an account, in units of 1e-18 tokens, without what is unbonding."""
        (value,) = self.rpc.read(self.address, "stakeOf(address)", ["uint256"], account)
        return int(value)

    def members(self, accounts: list[str]) -> dict[str, Member]:
        """Return what the vault knows of each account."""
        question = "members(address[])"
        (found,) = self.rpc.read(self.address, question, ["(uint96,uint96,uint24,uint40)[]"], accounts)
        if len(found) != len(accounts):
            raise wrong_contract(self.address, question)
        return {account: Member(*values) for account, values in zip(accounts, found, strict=True)}

    def bond_of(self, account: str) -> int:
        """Return the stake of an account that is locked for its rounds, in units of 1e-18 tokens."""
        (value,) = self.rpc.read(self.address, "bondOf(address)", ["uint256"], account)
        return int(value)

    def total_enrolled(self) -> int:
        """Return the sum of all enrolled stake, in units of 1e-18 tokens."""
        (value,) = self.rpc.read(self.address, "totalEnrolled()", ["uint256"])
        return int(value)

    def basis(self) -> Basis:
        """Return what the next draw of places rests on."""
        (values,) = self.rpc.read(self.address, "basis()", ["(uint96,uint40,uint40)"])
        return Basis(*values)

    def unbonding_period(self) -> int:
        """Return for how many seconds stake can still be taken from who wants it back."""
        (value,) = self.rpc.read(self.address, "unbondingPeriod()", ["uint40"])
        return int(value)

    def total_staked(self) -> int:
        """Return the sum of all stakes, in units of 1e-18 tokens."""
        (value,) = self.rpc.read(self.address, "totalStaked()", ["uint256"])
        return int(value)


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


def _argument_types(signature: str) -> list[str]:
    inside = signature[signature.index("(") + 1 : -1]
    return inside.split(",") if inside else []


def _refusal(method: str, message: str, data: str) -> ContractRefused:
    """Name the two reverts that the reads of this module can meet; `refusals` knows all of them."""
    try:
        raw = bytes.fromhex(data[2:])
    except ValueError:
        raw = b""
    if raw[:4] == keccak(text="RoundLedgerUnknownPolicy(uint32)")[:4] and len(raw) == 36:
        number = int.from_bytes(raw[4:], "big")
        return ContractRefused(
            f"There is no policy {number}.",
            remedy="Policies are numbered from 1; `folkmoot status` shows the current one.",
            details={"error": "RoundLedgerUnknownPolicy", "arguments": {"policyId": number}, "data": data},
        )
    return ContractRefused(
        f"The contract refused {method}: {message[:1000] or 'no reason given'}.",
        remedy="Check that the deployment file belongs to this chain.",
        details={"data": data},
    )
