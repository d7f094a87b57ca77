# SPDX-License-Identifier: Apache-2.0
"""Several endpoints of one chain that look like one, of which a minority may be unavailable, lagging or Byzantine.

Every question goes to all of them at once, and what a majority answers is the answer. Nothing is decided without one:
then the question fails with `rpc-no-quorum`, and whoever asked asks again later. With two endpoints both must agree.

To be comparable, answers must be about the same block. So the newest block is the newest one that a majority has, and
what the contracts store is read at a block by its hash (EIP-1898); an endpoint without that block abstains. Logs count
together with the hash of the block up to which they were asked. What honest nodes may differ in (gas estimates, fees,
what waits in the pool) is settled by the middle answer, which no minority can move beyond what the others say.

An endpoint that fails is left alone for a while, longer each time. One that contradicts a majority is counted and
logged (`rpc-disagrees`), and still asked. A majority that lies together is believed. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from eth_utils.crypto import keccak

from folkmoot.errors import ContractRefused, InputError, RpcError
from folkmoot.rpc.client import DEFAULT_TIMEOUT, PATIENCE, PLACE_BITS, Rpc
from folkmoot.rpc.normalize import fingerprint, normalize_response
from folkmoot.rpc.poll import FIRST_PAUSE, LONGEST_PAUSE, Answer, Endpoint, Poll
from folkmoot.rpc.refusals import Refusal, refusal_in
from folkmoot.runtime.logs import fields
from folkmoot.runtime.urls import apart, without_secrets

logger = logging.getLogger(__name__)

REMEMBERED_SECONDS = 600.0
"""For how long `warnings` names an endpoint that contradicted the others."""

SAID_SECONDS = 60.0
"""Between two lines of the log about the same trouble with the same endpoint."""

UNDECIDED_SECONDS = 15.0
"""For how long `warnings` tells of a question without a majority: what matters is asked again in seconds."""

BEHIND_SECONDS = 60
"""By how much the newest block of an endpoint may be older than the majority's before that is a warning."""

LATE_BLOCKS = 2
"""Newest blocks that an honest node may not have seen yet, or see alone."""

PINNED_SECONDS = 5.0
"""For how long the hash of a block is remembered to read at it: not every node says that a reorg took it away."""

_PINS = 256
"""Hashes that are remembered at most."""

_BLOCK_AT = {
    "eth_call": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
    "eth_getProof": 2,
}
"""Methods that read state, and which of their parameters is the block."""

_HIGH = ("eth_estimateGas",)
_LOW = ("eth_maxPriorityFeePerGas", "eth_gasPrice")
"""Numbers that honest nodes differ in. Of two middle ones the higher is taken for gas, the lower for what it costs."""

_LOCAL = ("evm_", "anvil_", "hardhat_")
"""Methods that change a local chain, and must do so once."""

Question = Callable[[Rpc], tuple[Hashable, Any]]
"""Asks one endpoint: what its answer is compared by, and the answer."""


def split_urls(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the URLs that an option or setting holds: one or several, separated by commas.

    Raises:
        InputError: there is none, or one twice: it would have two votes.
    """
    parts = [given] if isinstance(given, str) else given
    urls = [url for part in parts for url in apart(part)]
    if not urls:
        raise InputError("There is no RPC endpoint.", remedy="Give one with --rpc (or FOLKMOOT_RPC).")
    for url, count in Counter(url.rstrip("/") for url in urls).items():
        if count > 1:
            raise InputError(
                f"The RPC endpoint {without_secrets(url)} is given {count} times.",
                remedy="Give each once: every endpoint has one vote.",
                code="rpc-twice",
            )
    return tuple(urls)


def open_rpc(given: str | Sequence[str], timeout: float = DEFAULT_TIMEOUT) -> Rpc:
    """Return what reads a chain: the endpoint, or a `Quorum` of several; nothing is asked yet.

    Args:
        given: URLs, as `split_urls` takes them.
        timeout: Seconds for which an endpoint may stay silent.

    Raises:
        InputError: as `split_urls`.
    """
    urls = split_urls(given)
    return Rpc(urls[0], timeout) if len(urls) == 1 else Quorum(urls, timeout)


class Quorum(Rpc):
    """Endpoints of one chain that decide by majority; see the module's text.

    Args:
        urls: HTTP addresses, each once.
        timeout: Seconds for which an endpoint may stay silent.

    Attributes:
        majority: How many must agree.
    """

    def __init__(self, urls: Sequence[str], timeout: float = DEFAULT_TIMEOUT) -> None:
        super().__init__(",".join(urls), timeout)
        self._endpoints = [Endpoint(Rpc(url, timeout)) for url in urls]
        self.majority = len(urls) // 2 + 1
        self._newest = -1
        self._pins: OrderedDict[int, tuple[str, float]] = OrderedDict()
        self._logged_at: dict[str, float] = {}
        self._closed = False
        self._undecided: tuple[float, str] = (float("-inf"), "")
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The addresses as messages show them."""
        return ", ".join(endpoint.name for endpoint in self.endpoints)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints, in the order in which they were given."""
        return self._endpoints

    @property
    def warnings(self) -> list[str]:
        """What is wrong with endpoints now, each a sentence for the operator."""
        now, warnings = time.monotonic(), []
        for endpoint in self.endpoints:
            if endpoint.failures:
                warnings.append(f"The RPC endpoint {endpoint.name} is left alone for a while: {endpoint.why}")
            elif endpoint.behind > BEHIND_SECONDS:
                warnings.append(
                    f"The RPC endpoint {endpoint.name} is {endpoint.behind} seconds behind the others."
                )
            if now < endpoint.disagreed_at + REMEMBERED_SECONDS:
                warnings.append(
                    f"The RPC endpoint {endpoint.name} contradicted the others {endpoint.disagreed} times, "
                    f"the last time about {endpoint.about}. It lies or is broken (rpc-disagrees): replace it."
                )
        since, why = self._undecided
        if now < since + UNDECIDED_SECONDS:
            warnings.append(why)
        return warnings

    def close(self) -> None:
        """Close the connections, those that are in use after their answer; the next call opens new ones."""
        with self._lock:
            self._closed = True
            idle = [one for one in self.endpoints if not one.open]
        for endpoint in idle:
            endpoint.rpc.close()

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        """Call a method on all endpoints and return what a majority answers, without what only some nodes add.

        Raises:
            RpcError: ``rpc-no-quorum`` if there is no majority; ``rpc-error`` if that is for endpoints that refuse.
            ContractRefused: a majority says that the call reverted.
        """
        asked = list(params or [])
        if method.startswith(_LOCAL):
            return self._once(method, asked)
        match method:
            case "eth_sendRawTransaction":
                return self._send(asked)
            case "eth_blockNumber":
                return self._head()["number"]
            case "eth_getBlockByNumber" if asked[0] == "latest":
                head = self._head()
                return self.call(method, [head["number"], True]) if asked[1:] == [True] else head
            case "eth_getBlockByNumber" if asked[0] == "pending":
                return self._middle(method, asked, _time_of, high=False)
            case "eth_getTransactionCount" if asked[1:] == ["pending"]:
                return self._middle(method, asked, _number, high=False)
            case "eth_getTransactionReceipt":
                return self._receipt(method, asked)
            case "eth_getLogs":
                return self._logs(method, asked)
        if method in _HIGH + _LOW:
            return self._middle(method, asked, _number, high=method in _HIGH)
        if method in _BLOCK_AT:
            return self._state(method, asked)
        return self._result(method, self._vote(_about(method, asked), _plain(method, asked)))

    # The kinds of questions

    def _head(self) -> dict[str, Any]:
        """Return the newest block that a majority has.

        Endpoints need not be equally far: of the numbers of their newest blocks, it is the highest that a majority
        reaches and agrees on.
        """
        poll = self._ask(_newest)
        poll.wait(self._decided, self._bound, grace=self.majority)
        answers = poll.so_far()
        winner = self._winner(answers)
        if winner is None:
            reached = sorted((_height(one) for one in answers if one.key is not None), reverse=True)
            for number in dict.fromkeys(reached[self.majority - 1 :]):
                block, _ = self._vote(f"block {number}", _plain("eth_getBlockByNumber", [hex(number), False]))
                if block is not None and block.value is not None and block.error is None:
                    winner = block
                    break
        if winner is None:
            raise self._no_quorum("the newest block", answers)
        head, self._newest = winner, _height(winner)

        def judge(answer: Answer) -> None:
            if answer.key is None:
                return
            answer.endpoint.behind = _seconds(head) - _seconds(answer)
            if answer.key != head.key and _height(answer) == _height(head):
                self._disagreed(answer.endpoint, f"block {_height(head)}")

        poll.close(judge)
        return dict(head.value)

    def _state(self, method: str, params: list[Any]) -> Any:
        """Read what is stored, at a block by its hash."""
        place = _BLOCK_AT[method]
        tag = params[place] if len(params) > place else "latest"
        if not isinstance(tag, str) or not (tag == "latest" or tag.startswith("0x")):
            return self._result(method, self._vote(method, _plain(method, params)))
        for again in (False, True):
            number, digest = self._pin(tag, fresh=again)
            at = {"blockHash": digest, "requireCanonical": True}
            what = f"{method} at block {number}"
            vote = self._vote(what, _plain(method, [*params[:place], at]))
            if vote[0] is not None:
                break  # else a reorg took the block, or machines behind one address have not seen it yet
        return self._result(what, vote)

    def _pin(self, tag: str, *, fresh: bool) -> tuple[int, str]:
        """Return number and hash of a block that a majority has."""
        if tag == "latest":
            head = self._head()
            return self.quantity("eth_getBlockByNumber", head["number"]), head["hash"]
        number = self.quantity("eth_getBlockByNumber", tag)
        with self._lock:
            known, at = self._pins.pop(number, ("", float("-inf")))
        if fresh or time.monotonic() > at + PINNED_SECONDS:
            method = "eth_getBlockByNumber"
            block = self.call(method, [hex(number), False])
            if block is None:
                raise RpcError(
                    f"No majority of the RPC endpoints has block {number}.",
                    remedy="Wait until they are in sync.",
                    code="rpc-error",
                )
            known, at = self.digest(method, self.member(method, block, "hash")), time.monotonic()
        with self._lock:
            self._pins[number] = known, at
            while len(self._pins) > _PINS:
                self._pins.popitem(last=False)
        return number, known

    def _logs(self, method: str, params: list[Any]) -> Any:
        """Read logs. An endpoint has a vote only if it has the last block: else it would just know fewer."""
        query = dict(params[0])
        if "blockHash" in query:
            return self._result(method, self._vote(method, _plain(method, params)))
        if query.get("toBlock", "latest") == "latest":
            query["toBlock"] = self._head()["number"]
        last = query["toBlock"]

        def ask(rpc: Rpc) -> tuple[Hashable, Any]:
            logs = normalize_response(method, rpc.call(method, [query]))
            asked = "eth_getBlockByNumber"
            block = rpc.call(asked, [last, False])
            if block is None:
                raise RpcError(f"The RPC endpoint {rpc.name} has no block {last} yet.", code="rpc-behind")
            return (fingerprint(logs), rpc.digest(asked, rpc.member(asked, block, "hash"))), logs

        what = f"{method} up to block {int(last, 16)}"
        return self._result(what, self._vote(what, ask))

    def _receipt(self, method: str, params: list[Any]) -> Any:
        """Find a receipt. That one is there which only a minority has counts if a majority has its block."""
        vote = self._vote(method, _plain(method, params))
        if vote[0] is None and any(one.key is not None and one.value is not None for one in vote[1]):
            newest = self.quantity(method, self._head()["number"])
            answers = [
                Answer(one.endpoint, fingerprint(None))
                if one.key is not None and _place_of(one.value) > newest
                else one
                for one in vote[1]
            ]
            vote = self._winner(answers), answers
        return self._result(method, vote)

    def _middle(
        self, method: str, params: list[Any], number: Callable[[Rpc, str, Any], int], *, high: bool
    ) -> Any:
        """Return the middle answer of at least a majority, by a number in it."""

        def ask(rpc: Rpc) -> tuple[Hashable, Any]:
            result = normalize_response(method, rpc.call(method, params))
            return number(rpc, method, result), result

        poll = self._ask(ask)
        poll.wait(lambda answers, left: False, self._bound, grace=self.majority)
        answers = poll.so_far()
        sorted_keys = sorted(
            (one.key, place) for place, one in enumerate(answers) if isinstance(one.key, int)
        )
        if len(sorted_keys) < self.majority:
            refused = [answer for answer in answers if answer.error is not None]
            return self._result(method, (self._winner(refused), answers))
        _, place = sorted_keys[len(sorted_keys) // 2 if high else (len(sorted_keys) - 1) // 2]
        return answers[place].value

    def _send(self, params: list[Any]) -> str:
        """Hand a transaction to all; it is sent if one takes it or has it."""

        def ask(rpc: Rpc) -> tuple[Hashable, Any]:
            try:
                rpc.call("eth_sendRawTransaction", params)
            except RpcError as error:
                if refusal_in(error.message) is not Refusal.ALREADY_KNOWN:
                    raise
            return True, None

        poll = self._ask(ask)
        poll.wait(lambda answers, left: False, self._bound, grace=1)
        answers = poll.so_far()
        if any(answer.key is not None for answer in answers):
            return "0x" + keccak(hexstr=params[0]).hex()
        raise self._no_quorum("eth_sendRawTransaction", answers)

    def _once(self, method: str, params: list[Any]) -> Any:
        """Change a local chain through the first endpoint that answers."""
        *others, last = self.endpoints
        for endpoint in others:
            with suppress(RpcError):
                return endpoint.rpc.call(method, params)
        return last.rpc.call(method, params)

    # Votes

    @property
    def _bound(self) -> float:
        return (PATIENCE + 1) * self.timeout

    def _vote(self, what: str, question: Question) -> tuple[Answer | None, list[Answer]]:
        """Ask all; return what a majority says, if there is one, and all answers so far."""
        poll = self._ask(question)
        poll.wait(self._decided, self._bound)
        answers = poll.so_far()
        winner = self._winner(answers)
        if winner is not None:
            poll.close(partial(self._judge, winner, what))
        return winner, answers

    def _ask(self, question: Question) -> Poll:
        """Begin to ask every endpoint that does not rest; those that do as well, if no majority is left without."""
        now = time.monotonic()
        with self._lock:
            self._closed = False
            chosen = [endpoint for endpoint in self.endpoints if not endpoint.rests(now, LONGEST_PAUSE)]
            if len(chosen) < self.majority:
                chosen = [endpoint for endpoint in self.endpoints if not endpoint.rests(now, FIRST_PAUSE)]
            for one in chosen:
                one.open += 1
                if one.failures:
                    one.failed_at = now  # one request finds out whether it is back, not all of this moment
        poll = Poll(chosen)
        for one in chosen:
            threading.Thread(target=self._run, args=(poll, one, question), name="rpc", daemon=True).start()
        return poll

    def _run(self, poll: Poll, endpoint: Endpoint, question: Question) -> None:
        try:
            key, value = question(endpoint.rpc)
            answer = Answer(endpoint, key, value)
        except ContractRefused as error:
            answer = Answer(endpoint, ("refused", str(error.details.get("data")).lower()), None, error)
        except RpcError as error:
            answer = Answer(endpoint, error=error)
        except Exception as error:  # whatever it answered, the poll must hear of it
            answer = Answer(endpoint, error=endpoint.rpc.nonsense("a request", repr(error)))
        self._note(endpoint, answer.error)
        poll.add(answer)

    def _winner(self, answers: Sequence[Answer]) -> Answer | None:
        counted = Counter(answer.key for answer in answers if answer.key is not None)
        for key, count in counted.most_common(1):
            if count >= self.majority:
                return next(answer for answer in answers if answer.key == key)
        return None

    def _decided(self, answers: Sequence[Answer], left: int) -> bool:
        """Whether there is a majority, or can be none any more."""
        counted = Counter(answer.key for answer in answers if answer.key is not None)
        most = max(counted.values(), default=0)
        return most >= self.majority or most + left < self.majority

    def _result(self, what: str, vote: tuple[Answer | None, list[Answer]]) -> Any:
        winner, answers = vote
        if winner is None:
            raise self._no_quorum(what, answers)
        if winner.error is not None:
            raise winner.error
        return winner.value

    def _no_quorum(self, what: str, answers: Sequence[Answer]) -> RpcError:
        refusals = [answer.error for answer in answers if isinstance(answer.error, RpcError)]
        refusals = [error for error in refusals if error.code == "rpc-error"]
        if refusals and len({answer.key for answer in answers if answer.key is not None}) < 2:
            reasons = Counter(str(error.details.get("message")) for error in refusals)
            return max(refusals, key=lambda error: reasons[str(error.details.get("message"))])
        answer_of = {answer.endpoint: answer.shown() for answer in answers}
        parts = [
            f"{endpoint.name} says: {answer_of[endpoint]}"
            if endpoint in answer_of
            else f"{endpoint.name} was not asked or has not answered yet{f' ({endpoint.why})' if endpoint.why else ''}"
            for endpoint in self.endpoints
        ]
        text = (
            f"No majority of the RPC endpoints ({self.majority} of {len(self.endpoints)}) agrees on {what}. "
        )
        text += "; ".join(part.rstrip(".") for part in parts) + "."
        self._undecided = time.monotonic(), f"{text} (rpc-no-quorum)"
        self._say(self._logged_at, "rpc-no-quorum", text)
        return RpcError(
            text,
            remedy="Nothing is decided until enough of them agree: replace those that are away or lie.",
            code="rpc-no-quorum",
            details={
                "about": what,
                "endpoints": {endpoint.name: answer_of.get(endpoint) for endpoint in self.endpoints},
            },
        )

    # What is remembered of endpoints

    def _note(self, endpoint: Endpoint, error: RpcError | ContractRefused | None) -> None:
        """Remember whether an endpoint answered. A refusal is an answer."""
        away = isinstance(error, RpcError) and error.code not in ("rpc-error", "rpc-behind")
        with self._lock:
            endpoint.open -= 1
            if away and error is not None:
                endpoint.failures = min(endpoint.failures + 1, 16)
                endpoint.failed += 1
                endpoint.failed_at, endpoint.why = time.monotonic(), error.message
            else:
                back, endpoint.failures = endpoint.failures > 0, 0
            over = self._closed and not endpoint.open
        if over:
            endpoint.rpc.close()
        elif away:
            self._say(endpoint.logged_at, "rpc-failed", endpoint.why, endpoint=endpoint.name)
        elif back:
            logger.info(
                "the RPC endpoint %s answers again",
                endpoint.name,
                extra=fields("rpc-back", endpoint=endpoint.name),
            )

    def _judge(self, winner: Answer, what: str, answer: Answer) -> None:
        """Count an answer against the majority's, unless an honest node that is early or late could give it."""
        if answer.key is None or answer.key == winner.key:
            return
        missing = winner.error is answer.error is None and (winner.value is None) != (answer.value is None)
        if missing and _place_of(winner.value or answer.value) > self._newest - LATE_BLOCKS:
            return
        self._disagreed(answer.endpoint, what)

    def _disagreed(self, endpoint: Endpoint, what: str) -> None:
        with self._lock:
            endpoint.disagreed += 1
            endpoint.disagreed_at, endpoint.about = time.monotonic(), what
        text = f"The RPC endpoint {endpoint.name} contradicts {self.majority} others about {what}."
        self._say(endpoint.logged_at, "rpc-disagrees", text, endpoint=endpoint.name, about=what)

    def _say(self, logged_at: dict[str, float], event: str, text: str, **values: Any) -> None:
        """Log what is wrong, unless that was done lately, or nobody wants answers any more."""
        now = time.monotonic()
        with self._lock:
            if self._closed or now < logged_at.get(event, float("-inf")) + SAID_SECONDS:
                return
            logged_at[event] = now
        logger.warning("%s", text, extra=fields(event, **values))


def _plain(method: str, params: list[Any]) -> Question:
    """A question whose answers must be the same."""

    def ask(rpc: Rpc) -> tuple[Hashable, Any]:
        result = normalize_response(method, rpc.call(method, params))
        return fingerprint(result), result

    return ask


def _about(method: str, params: list[Any]) -> str:
    """What a question is about, for messages."""
    short = [param for param in params if isinstance(param, str) and len(param) <= 66]
    return " ".join([method, *short])


def _newest(rpc: Rpc) -> tuple[Hashable, Any]:
    method = "eth_getBlockByNumber"
    block = normalize_response(method, rpc.call(method, ["latest", False]))
    for name in ("number", "timestamp"):
        rpc.quantity(method, rpc.member(method, block, name), PLACE_BITS)
    rpc.digest(method, rpc.member(method, block, "hash"))
    return fingerprint(block), block


def _number(rpc: Rpc, method: str, answer: Any) -> int:
    return rpc.quantity(method, answer)


def _time_of(rpc: Rpc, method: str, block: Any) -> int:
    """Time of a block; -1 if the node has none, as not every one has a pending block."""
    if block is None:
        return -1
    return rpc.quantity(method, rpc.member(method, block, "timestamp"))


def _height(answer: Answer) -> int:
    return int(answer.value["number"], 16)


def _seconds(answer: Answer) -> int:
    return int(answer.value["timestamp"], 16)


def _place_of(value: Any) -> int:
    """Number of the block that an answer is or is of; -1 if it names none."""
    try:
        return int(value.get("blockNumber") or value.get("number"), 16)
    except (AttributeError, TypeError, ValueError):
        return -1
