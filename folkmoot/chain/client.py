# SPDX-License-Identifier: Apache-2.0
"""Reads and transactions on all contracts, by web3, for the command line, the coordinator and the audit.

Every failure of the chain becomes a `ChainError`: an unreachable node, another chain, a contract that is not there, and
a revert with its custom error in words. Knows nothing of rounds beyond what the contracts say.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal, cast

import requests
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider, Web3
from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractLogicError,
    Web3Exception,
    Web3RPCError,
    Web3ValueError,
)
from web3.logs import DISCARD
from web3.providers.base import JSONBaseProvider
from web3.types import Nonce

from folkmoot.chain.private import send_privately
from folkmoot.chain.transactions import confirmations, sending
from folkmoot.chain.transactions import resume as interrupted
from folkmoot.chain.transactions.journal import Intent, PendingTx, TransactionJournal
from folkmoot.errors import ContractRefused, RpcError, WrongChainError
from folkmoot.ledger import packaged, reverts
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc.client import (
    DEFAULT_TIMEOUT,
    REVERT_CODE,
    Head,
    LedgerReader,
    Phase,
    RoundView,
    Rpc,
    VaultReader,
)
from folkmoot.rpc.quorum import Quorum, open_rpc
from folkmoot.rpc.refusals import Refusal, refusal_in
from folkmoot.runtime import services
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.urls import without_secrets

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.contract import Contract
    from web3.contract.contract import ContractConstructor, ContractFunction
    from web3.types import RPCEndpoint, RPCResponse, TxParams, TxReceipt

    from folkmoot.protocol.policy import Policy

TX_GAS_LIMIT = 16_777_216
"""Most gas of one transaction (EIP-7825)."""

GAS_MARGIN = 1.2
"""Factor on the estimate of a transaction's gas: state may change before it is mined."""

GAS_RESERVE = 60_000
"""Gas added to that: an estimate in the second of the last vote checkpoint overwrites it; later, one is added."""

CONFIRM_TIMEOUT = 180.0
"""Seconds that a transaction may take to be mined."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the model."""

    version: int
    """Its number: that of the round that made it."""
    parent: int
    """Version that it was trained from."""
    registered_at: int
    """Unix time of its registration."""
    state_root: bytes
    """Its state root."""


@dataclass(frozen=True, slots=True)
class Active:
    """The version that a vote made active."""

    version: int
    """Its number."""
    report_hash: bytes
    """sha256 of the evaluation report that the voters were shown, zero if none."""


@dataclass(frozen=True, slots=True)
class Unbonding:
    """A withdrawal under way."""

    amount: int
    """Units of 1e-18 tokens."""
    release_at: int
    """Unix time from which it can be withdrawn."""


class Chain:
    """The contracts of one federation.

    Use `connect`. Every method raises RpcError when the endpoint fails, and ContractRefused when a contract does.

    Attributes:
        w3: The web3 connection.
        rpc: Plain JSON-RPC to the same endpoint, for `ledger.scan.scan`.
        deployment: The addresses.
        notes: Where transactions are noted before they are sent, so that an interrupted command is not repeated; None
            notes nothing.
        token, vault, registry, ledger, timelock, governor, arbiter, and the judges: The web3 contracts.
        members: The list of members, only in a federation that has one.
        ledger_reader, vault_reader: Typed reads.
    """

    token: Contract
    vault: Contract
    registry: Contract
    ledger: Contract
    timelock: Contract
    governor: Contract
    fraud_proofs: Contract
    gram_proofs: Contract
    contributor_faults: Contract
    data_availability: Contract
    disputes: Contract
    arbiter: Contract
    members: Contract

    def __init__(self, w3: Web3, rpc: Rpc, deployment: Deployment) -> None:
        self.w3 = w3
        self.rpc = rpc
        self.deployment = deployment
        self.notes: TransactionJournal | None = None
        for role in deployment.roles:
            setattr(self, role, contract_at(w3, role, getattr(deployment, role)))
        self.ledger_reader = LedgerReader(rpc, deployment.ledger)
        self.vault_reader = VaultReader(rpc, deployment.vault)

    @classmethod
    def connect(
        cls, rpc_url: str | Sequence[str], deployment: Deployment, *, timeout: float = DEFAULT_TIMEOUT
    ) -> Chain:
        """Connect, and check the chain id, the code at every address and the genesis.

        Args:
            rpc_url: HTTP address of an endpoint, or of several (`quorum.split_urls`).
            deployment: The addresses.
            timeout: Seconds that one request may take.

        Raises:
            RpcError: the endpoint can't be reached.
            WrongChainError: the chain is another one, or a contract is missing or belongs to another federation.
        """
        rpc = open_rpc(rpc_url, timeout)
        try:
            check_deployment(rpc, deployment)
            return cls(web3_over(rpc), rpc, deployment)
        except BaseException:
            rpc.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self.rpc.close()

    # Transactions

    def send(
        self,
        function: ContractFunction | ContractConstructor,
        account: LocalAccount,
        *,
        timeout: float = CONFIRM_TIMEOUT,
        purpose: str = "",
        wait: bool = True,
        once: bool = False,
    ) -> TxReceipt:
        """Send a call as a transaction, wait until it is mined, and return its receipt.

        With `notes`, what an interrupted call for the same purpose sent is taken up instead: see there. They also say
        how deep it must lie until it is returned.

        Args:
            function: The call with its arguments, e.g. `chain.vault.functions.requestUnbond(amount)`.
            account: Account that signs and pays.
            timeout: Seconds that it may take to be mined.
            purpose: What for, in words that stay the same in another call; the function and its arguments if empty.
            wait: Whether to wait for that depth; else `settle` must do it before anybody is told.
            once: Whether the contract lets it happen only once, or twice is as good as once: then it is tried again
                where nobody can say what became of what an interrupted call sent.

        Raises:
            RpcError: the endpoint failed, or the account can't pay the gas.
            ContractRefused: the contract refuses; nothing was sent, or it was mined as failed.
            ChainError: code `not-mined`: it was sent, but not mined in time; `outcome-unknown`: an interrupted call may
                have done it, and the endpoint can't say; what `settle` raises.
            LocalError: it can't be noted; nothing was sent.
        """
        return send(
            self.w3,
            function,
            account,
            timeout=timeout,
            notes=self.notes,
            purpose=purpose,
            wait=wait,
            once=once,
        )

    def settle(self, *receipts: TxReceipt) -> list[TxReceipt]:
        """Wait until all that was sent has the confirmations that `notes` ask for; return the receipts of then.

        Args:
            receipts: Of what `send` and `earlier` returned.

        Raises:
            RpcError: the endpoint failed.
            ContractRefused: a reorg took one of them, and it failed when it was mined again.
            ChainError: code `not-confirmed`: no block came in time; `not-mined`: what a reorg took was not mined again
                in time; `nonce-taken`: another transaction has its nonce.
        """
        return list(receipts) if self.notes is None else settle(self.w3, self.notes, *receipts)

    def earlier(
        self, role: str, sender: str, purpose: str, *, wait: bool = True, once: bool = False
    ) -> TxReceipt | None:
        """Return the receipt of what an interrupted call for the same purpose sent; None if there is none.

        For commands that look at the chain before they send: what they see may be their own doing.

        Args:
            role: Contract (`ledger`, ...) that is called.
            sender: Account that signs, checksummed.
            purpose: As for `send`.
            wait: As for `send`.
            once: As for `send`.

        Raises:
            RpcError: the endpoint failed.
            ChainError: code `not-mined`: it is on its way, and was not mined in time; `outcome-unknown`: as for `send`;
                what `settle` raises.
            LocalError: the note of it can't be read.
        """
        if self.notes is None:
            return None
        contract = getattr(self.deployment, role)
        return earlier(self.w3, self.notes, contract, sender, purpose, wait=wait, once=once)

    def event_of(self, receipt: TxReceipt, role: str, name: str) -> dict[str, Any]:
        """Return the values of the first event of a name that a contract emitted in a transaction.

        Raises:
            RpcError: there is none: the endpoint's receipt is not of that call.
        """
        found = getattr(self, role).events[name]().process_receipt(receipt, errors=DISCARD)
        own = [log for log in found if log["address"] == getattr(self.deployment, role)]
        if not own:
            where = without_secrets(endpoint_of(self.w3))
            raise RpcError(
                f"The RPC endpoint {where} sent a receipt without the event {name} that it must have.",
                remedy="Use another endpoint.",
                code="bad-log",
            )
        return dict(own[0]["args"])

    def read(self, function: ContractFunction, *, pending: bool = False, sender: str | None = None) -> Any:
        """Call a function without a transaction and return its result.

        Args:
            function: The call with its arguments.
            sender: The account that seems to call; None for views, which do not ask.
            pending: Whether to call it on the block that would come next instead of on the newest: what depends on the
                time is then right on a chain that has been idle.

        Raises:
            RpcError: the endpoint failed.
            ContractRefused: the call reverted.
        """
        with chain_errors(function.fn_name, endpoint_of(self.w3)):
            block = fresh_block(self.w3)[0] if pending else "latest"
            return function.call({"from": sender} if sender is not None else {}, block_identifier=block)

    # Reads

    def timestamp(self) -> int:
        """Return the Unix time of the newest block: the clock that the contracts go by."""
        return self.rpc.latest_timestamp()

    def now(self) -> int:
        """Return the Unix time that a transaction sent now would see, as far as the node can say."""
        with chain_errors("eth_getBlockByNumber", endpoint_of(self.w3)):
            return fresh_block(self.w3)[1]

    def block_number(self) -> int:
        """Return the number of the newest block."""
        return self.rpc.block_number()

    def head(self) -> Head:
        """Return the round whose state the next round trains from."""
        return self.ledger_reader.head()

    def next_round(self) -> int:
        """Return the number that the next round gets."""
        return self.ledger_reader.next_round()

    def round(self, round_id: int) -> RoundView:
        """Return what is stored of a round; its phase is `NONE` if there is no such round."""
        return self.ledger_reader.round(round_id)

    def phase(self, round_id: int) -> Phase:
        """Return the phase of a round as a transaction sent now would see it."""
        return Phase(self.read(self.ledger.functions.phase(round_id), pending=True))

    def current_policy(self) -> int:
        """Return the number of the policy that the next round pins."""
        return self.ledger_reader.current_policy()

    def policy(self, policy_id: int) -> Policy:
        """Return a policy."""
        return self.ledger_reader.policy(policy_id)

    def coordinator(self) -> str:
        """Return the coordinator of the next round."""
        return self.ledger_reader.coordinator()

    def claimable(self, account: str) -> int:
        """Return the rewards that an account can claim, in units of 1e-18 tokens."""
        return self.ledger_reader.claimable(account)

    def balance_of(self, account: str) -> int:
        """Return the tokens of an account, in units of 1e-18."""
        return int(self.read(self.token.functions.balanceOf(account)))

    def allowance(self, owner: str, spender: str) -> int:
        """Return what a spender may still take of an owner's tokens, in units of 1e-18."""
        return int(self.read(self.token.functions.allowance(owner, spender)))

    def gas_balance_of(self, account: str) -> int:
        """Return the native coins of an account, in wei."""
        with chain_errors("eth_getBalance", endpoint_of(self.w3)):
            return int(self.w3.eth.get_balance(to_checksum_address(account)))

    def stake_of(self, account: str) -> int:
        """Return the stake of an account, in units of 1e-18 tokens, without what is unbonding."""
        return self.vault_reader.stake_of(account)

    def total_staked(self) -> int:
        """Return the sum of all stakes, in units of 1e-18 tokens."""
        return self.vault_reader.total_staked()

    def votes_of(self, account: str) -> int:
        """Return the present votes of an account, in units of stake."""
        return int(self.read(self.vault.functions.getVotes(account)))

    def delegate_of(self, account: str) -> str:
        """Return who votes with the stake of an account; the zero address if nobody does."""
        return str(self.read(self.vault.functions.delegates(account)))

    def unbondings(self, account: str) -> list[Unbonding]:
        """Return the withdrawals of an account that are under way, the oldest first."""
        return [Unbonding(*entry) for entry in self.read(self.vault.functions.unbondings(account))]

    def bond_of(self, account: str) -> int:
        """Return the stake of an account that is locked for its rounds, in units of 1e-18 tokens."""
        return self.vault_reader.bond_of(account)

    def unlocked_of(self, account: str) -> int:
        """Return the stake of an account without its bonds, in units of 1e-18 tokens."""
        return self.stake_of(account) - self.bond_of(account)

    def bounds(self) -> tuple[int, ...]:
        """Return what no policy may go beyond, in the order of `IRoundLedger.Bounds`."""
        address = self.read(self.ledger.functions.limits())
        limits = self.w3.eth.contract(address, abi=packaged.named("PolicyLimits").abi)
        return tuple(int(value) for value in self.read(limits.functions.bounds()))

    def unbonding_period(self) -> int:
        """Return the seconds from a request to the release."""
        return int(self.read(self.vault.functions.unbondingPeriod()))

    def active(self) -> Active | None:
        """Return the active version, None if no vote has made one active yet."""
        try:
            return Active(*self.read(self.registry.functions.active()))
        except ContractRefused as error:
            if error.details.get("error") == "ModelRegistryNoActiveVersion":
                return None
            raise

    def version(self, number: int) -> Version:
        """Return a version.

        Raises:
            ContractRefused: there is no such version.
        """
        parent, registered_at, state_root = self.read(self.registry.functions.versions(number))
        return Version(number, parent, registered_at, state_root)


def connect_web3(rpc_url: str | Sequence[str], *, timeout: float = DEFAULT_TIMEOUT) -> Web3:
    """Return a web3 connection with a bounded time for each request; nothing is asked yet.

    Args:
        rpc_url: HTTP address of an endpoint, or of several (`quorum.split_urls`).
        timeout: Seconds that one request may take.
    """
    return web3_over(open_rpc(rpc_url, timeout))


def web3_over(rpc: Rpc, session: requests.Session | None = None) -> Web3:
    """Return a web3 connection to the same endpoint; to several, it asks as `rpc` does.

    Args:
        rpc: What reads the chain.
        session: Connections to use, where there is one endpoint.
    """
    settings: dict[str, Any] = {"timeout": rpc.timeout}
    if authorities := os.environ.get("SSL_CERT_FILE"):
        settings["verify"] = authorities  # as httpx does, with which the rest reads the chain
    provider: JSONBaseProvider = (
        QuorumProvider(rpc)
        if isinstance(rpc, Quorum)
        # Without retries: a caller who wants them knows which calls may be repeated.
        else HTTPProvider(
            rpc.url, request_kwargs=settings, session=session, exception_retry_configuration=None
        )
    )
    return send_privately(Web3(provider), settings)


class QuorumProvider(JSONBaseProvider):
    """Lets web3 ask several endpoints.

    Args:
        rpc: The endpoints.
    """

    def __init__(self, rpc: Quorum) -> None:
        super().__init__()
        self.rpc = rpc
        self.endpoint_uri = rpc.url

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask, and return the answer in the form that web3 expects.

        Raises:
            RpcError: there is none.
        """
        asked = json.loads(self.encode_rpc_request(method, params))
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            answer["result"] = self.rpc.call(method, asked["params"])
        except ContractRefused as error:
            data = error.details.get("data")
            answer["error"] = {"code": REVERT_CODE, "message": "execution reverted", "data": data}
        except RpcError as error:
            if method == "eth_getTransactionReceipt" and error.code == "rpc-no-quorum":
                answer["result"] = None  # whoever waits for it looks again
            elif error.code == "rpc-error":
                details = error.details
                answer["error"] = {"code": details.get("rpcCode"), "message": details.get("message")}
            else:
                raise
        return cast("RPCResponse", answer)


def contract_at(w3: Web3, role: str, address: str) -> Contract:
    """Return the web3 contract of a role (`ledger`, ...) at an address."""
    return w3.eth.contract(to_checksum_address(address), abi=packaged.contract(role).abi)


def check_deployment(rpc: Rpc, deployment: Deployment) -> None:
    """Check that a deployment is on this chain.

    Raises:
        RpcError: the endpoint can't be reached.
        WrongChainError: another chain id, no code at an address, or a ledger with another genesis.
    """
    chain_id = rpc.chain_id()
    if chain_id != deployment.chain_id:
        raise WrongChainError(
            f"The RPC endpoint {rpc.name} serves chain {chain_id}, the deployment is on chain {deployment.chain_id}.",
            remedy="Give the endpoint of the deployment's chain, or the deployment file of this chain.",
            details={"chainId": chain_id, "expected": deployment.chain_id},
        )
    for role in deployment.roles:
        address = getattr(deployment, role)
        if not rpc.code(address):
            raise WrongChainError(
                f"There is no contract at {address}, where the deployment has its {role}.",
                remedy="Check the deployment file; a local chain that was started anew has no contracts: deploy again.",
                code="contract-missing",
                details={"role": role, "address": address},
            )
    genesis_hash = LedgerReader(rpc, deployment.ledger).genesis_hash()
    if "0x" + genesis_hash.hex() != deployment.genesis_hash:
        raise WrongChainError(
            f"The ledger at {deployment.ledger} has the genesis 0x{genesis_hash.hex()}, the deployment file says "
            f"{deployment.genesis_hash}.",
            remedy="The file belongs to another federation; get the right one.",
            code="other-genesis",
        )


def send(
    w3: Web3,
    function: ContractFunction | ContractConstructor,
    account: LocalAccount,
    *,
    timeout: float = CONFIRM_TIMEOUT,
    notes: TransactionJournal | None = None,
    purpose: str = "",
    nonce: int | None = None,
    wait: bool = True,
    once: bool = False,
    harmless: bool = False,
) -> TxReceipt:
    """Send a call or a deployment; see `Chain.send`.

    Args:
        w3: The connection.
        function: The call, or the creation of a contract.
        account: Account that signs and pays.
        timeout: Seconds that it may take to be mined.
        notes: Where it is noted before it is sent; None notes nothing.
        purpose: What for; a creation that is noted must have one.
        nonce: The nonce that it must have; the account's next one if left out.
        wait: Whether to wait until it has the confirmations that the notes ask for; else `settle` must.
        once: As for `Chain.send`.
        harmless: Whether it does no harm to do it twice. It is not noted then, and only waited for with the others.
    """
    doing, url = _name_of(function), endpoint_of(w3)
    noting = notes is not None and not harmless
    note: PendingTx | None = None
    with chain_errors(doing, url):
        intent = _intent(w3, function, account.address, purpose)
        if notes is not None and noting:
            taken, note = interrupted.take_up(w3, notes, intent, doing, timeout, wait=wait, once=once)
            if taken is not None:
                return taken
        if note is not None:
            nonce = note.nonce
        elif nonce is None:
            nonce = w3.eth.get_transaction_count(account.address, "pending")
        forms = () if note is None else note.forms
        sender: TxParams = {"from": account.address}
        estimate = function.estimate_gas(sender, block_identifier=fresh_block(w3)[0])
        fields: TxParams = {
            "from": account.address,
            "nonce": Nonce(nonce),
            "gas": min(int(estimate * GAS_MARGIN) + GAS_RESERVE, max(estimate, TX_GAS_LIMIT)),
            "chainId": intent.chain_id,
            **sending.fees(w3, sending.in_pool(w3, forms)),
        }
        signed = account.sign_transaction(cast("dict[str, Any]", function.build_transaction(fields)))
        raw = signed.raw_transaction.to_0x_hex()
        block = w3.eth.block_number if note is None else note.block
        note = PendingTx(intent, nonce, (*forms, signed.hash.to_0x_hex()), raw, block)
        if notes is not None and noting:
            notes.write(note)
        try:
            w3.eth.send_raw_transaction(signed.raw_transaction)
        except Web3RPCError:
            # A node that has one of the forms refuses others of that nonce, and the same one once more.
            if sending.receipt_of(w3, note.forms) is None and sending.in_pool(w3, note.forms) is None:
                raise
        fault_point("sender.sent")
        receipt = sending.await_receipt(w3, note.forms, doing, timeout, noted=noting)
        fault_point("sender.mined")
    if notes is not None:
        notes.mined(note, receipt["transactionHash"].to_0x_hex(), earlier=False)
        if (wait and not harmless) or receipt["status"] != 1:  # a reorg may still let it succeed
            (receipt,) = settle(w3, notes, receipt)
    if receipt["status"] != 1:
        if notes is not None:
            notes.forget(note)
        raise _failed(w3, receipt, doing)
    return receipt


def settle(
    w3: Web3, notes: TransactionJournal, *receipts: TxReceipt, say: Callable[[str], None] | None = None
) -> list[TxReceipt]:
    """Wait until all that was sent has the confirmations that its notes ask for; see `Chain.settle`.

    Args:
        w3: The connection.
        notes: What was sent.
        receipts: Those that are returned as they are then.
        say: As for `depth.await_depth`.
    """
    if notes.depth <= 1:
        return list(receipts)
    with chain_errors("waiting for confirmations", endpoint_of(w3)):
        found = confirmations.await_depth(w3, notes, CONFIRM_TIMEOUT, say)
    for (transaction, note), receipt in zip(notes.untold().items(), found.values(), strict=True):
        if receipt["status"] != 1:
            notes.forget(note)
            raise _failed(w3, receipt, shorten(note.intent.purpose, 60))
        notes.mined(  # after a reorg it may be another form of it
            note, receipt["transactionHash"].to_0x_hex(), earlier=notes.is_earlier(transaction)
        )
    return [found[receipt["transactionHash"].to_0x_hex()] for receipt in receipts]


def earlier(
    w3: Web3,
    notes: TransactionJournal,
    contract: str,
    sender: str,
    purpose: str,
    *,
    wait: bool = True,
    once: bool = False,
) -> TxReceipt | None:
    """Return the receipt of what an interrupted call sent to a contract; see `Chain.earlier`."""
    with chain_errors(purpose, endpoint_of(w3)):
        intent = Intent(w3.eth.chain_id, sender, contract, purpose)
        receipt, _ = interrupted.take_up(w3, notes, intent, purpose, CONFIRM_TIMEOUT, wait=wait, once=once)
    return receipt


def _name_of(function: ContractFunction | ContractConstructor) -> str:
    return str(getattr(function, "fn_name", "the deployment"))


def _intent(w3: Web3, function: ContractFunction | ContractConstructor, sender: str, purpose: str) -> Intent:
    words = purpose or f"{_name_of(function)}{getattr(function, 'arguments', ())!r}"
    return Intent(w3.eth.chain_id, sender, str(getattr(function, "address", "") or ""), words)


def fresh_block(w3: Web3) -> tuple[Literal["latest", "pending"], int]:
    """Return the block whose time is nearest to that of a transaction sent now, and its Unix time.

    An idle local chain has an old newest block, while the contracts go by the time of the block to come: that is the
    pending one. Where a local chain has run ahead of the clock, its pending block is older than its newest.
    """
    latest = int(w3.eth.get_block("latest")["timestamp"])
    try:
        pending = int(w3.eth.get_block("pending")["timestamp"])
    except (BlockNotFound, KeyError):  # a node without a pending block
        return "latest", latest
    return ("pending", pending) if pending > latest else ("latest", latest)


@contextlib.contextmanager
def chain_errors(doing: str, url: str) -> Iterator[None]:
    """Turn the exceptions of web3 and requests inside the block into chain errors.

    Args:
        doing: What is being done, for the message.
        url: Endpoint, for the message, which leaves out what is secret in it.

    Raises:
        ContractRefused: a contract reverted.
        RpcError: everything else.
    """
    try:
        yield
    except ContractLogicError as error:
        raise refusal_of(error, doing) from error
    except Web3RPCError as error:
        raise _rpc_failure(error, doing, url) from error
    except (BadFunctionCallOutput, Web3ValueError) as error:
        raise RpcError(
            f"The contract does not answer {doing} as Folkmoot's contracts do.",
            remedy="Check that the deployment file belongs to this chain.",
            code="wrong-contract",
        ) from error
    except (requests.RequestException, OSError, Web3Exception) as error:
        shown, status = without_secrets(url), getattr(getattr(error, "response", None), "status_code", 0)
        unknown = status in services.UNKNOWN_PATH
        message, remedy = (services.mistaken(url, shown, services.CHAIN) if unknown else None) or (
            f"The RPC endpoint {shown} can't be reached: {_reason(error, url)}.",
            "Check the address (--rpc or FOLKMOOT_RPC) and that the node is running.",
        )
        raise RpcError(message, remedy=remedy, details={"url": shown}) from error


def refusal_of(error: BaseException, doing: str) -> ContractRefused:
    """Return the refusal that a web3 exception stands for."""
    data = getattr(error, "data", None)
    if isinstance(data, dict):  # some nodes wrap it
        data = data.get("data")
    return reverts.explain(data if isinstance(data, str | bytes) else None, doing)


def endpoint_of(w3: Web3) -> str:
    """Return the address of the endpoint behind a connection, with what is secret in it."""
    return str(getattr(w3.provider, "endpoint_uri", "?"))


def _failed(w3: Web3, receipt: TxReceipt, doing: str) -> ContractRefused:
    """Ask for the reason of a transaction that was mined as failed, by repeating it on the block before."""
    transaction = receipt["transactionHash"]
    details = {"transaction": transaction.to_0x_hex()}
    try:
        sent = w3.eth.get_transaction(transaction)
        call: TxParams = {"from": sent["from"], "data": sent["input"], "gas": sent["gas"]}
        if "to" in sent:
            call["to"] = sent["to"]
        w3.eth.call(call, receipt["blockNumber"] - 1)
    except ContractLogicError as error:
        refusal = refusal_of(error, doing)
        refusal.details.update(details)
        return refusal
    except (Web3Exception, requests.RequestException):
        pass  # the node has no state of that block any more
    return ContractRefused(
        f"The transaction {details['transaction']} ({doing}) failed on the chain.",
        remedy="The state changed between the check and the block; look at it and try again.",
        details=details,
    )


def _rpc_failure(error: Web3RPCError, doing: str, url: str) -> RpcError | ContractRefused:
    response = error.rpc_response or {}
    answer = response.get("error")
    message = str(answer.get("message", "")) if isinstance(answer, dict) else str(error)
    if isinstance(answer, dict) and "revert" in message.lower():
        return reverts.explain(cast("dict[str, Any]", answer).get("data"), doing)
    if refusal_in(message) is Refusal.NO_GAS_MONEY:
        return RpcError(
            "The account has not enough native coins to pay the gas.",
            remedy="Send it some (on a local chain: `folkmoot fund ADDRESS`).",
            code="no-gas-money",
            details={"message": message},
        )
    return RpcError(
        f"The RPC endpoint {without_secrets(url)} refused {doing}: {message}.",
        remedy="Check that the node is in sync; if the nonce is the trouble, wait for your pending transactions.",
        code="rpc-error",
        details={"message": message},
    )


def _reason(error: BaseException, url: str) -> str:
    if isinstance(error, requests.Timeout):
        return "it gave no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    said = without_secrets(str(error), url)  # requests names the whole URL
    return said.splitlines()[0][:200] if said else type(error).__name__
