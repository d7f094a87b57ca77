# SPDX-License-Identifier: Apache-2.0
"""A scripted chain and a scripted coordinator behind one HTTP port, for tests of what talks to both.

It checks nothing but signatures and update trees, keeps everything in memory, and moves on as soon as everybody that
is expected has answered. What it serves can be falsified by the test.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.address import to_checksum_address

from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.errors import FolkmootError
from folkmoot.flower.signing import Charged, LocalSigner
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.codec import decode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_leaves, mean_of
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.outer_step import outer_step
from folkmoot.protocol.packing import pack, unpack
from folkmoot.protocol.policy import MEAN_SQUARE_CAPS, Policy
from folkmoot.protocol.state import State
from folkmoot.rpc.abi import function
from folkmoot.rpc.client import Phase
from folkmoot.runtime.coding import coded

CHAIN_ID = 31337
MEMBER_TYPE = "(uint96,uint96,uint24,uint40)"
LEDGER = "0x" + "a1" * 20


def account(name: str) -> Any:
    return Account.from_key(keccak(b"world", name.encode()))


@dataclass
class Round:
    number: int
    header: RoundHeader
    base: int
    phase: Phase = Phase.OPEN
    state_root: bytes = bytes(32)
    updates: dict[str, tuple[Commitment, bytes]] = field(default_factory=dict)
    base_state: str = ""
    state: str | None = None
    mean: str | None = None


class World:
    """A context manager; `url` is both the RPC endpoint and the coordinator."""

    def __init__(
        self,
        manifest: Manifest,
        model: dict[str, Any],
        *,
        exponent: int = -9,
        expect: int = 1,
        rounds: int = 1,
        port: int = 0,
    ) -> None:
        self.manifest = manifest
        self.exponent = exponent
        self.expect = expect
        self.total = rounds
        self.lock = threading.RLock()
        self.artifacts: dict[str, bytes] = {}
        self.states = [State.genesis(manifest, model)]
        self.rounds: list[Round] = []
        self.refusals: list[str] = []
        self.refused: dict[tuple[int, str], dict[str, Any]] = {}
        self.times: list[float] = []
        self.run_state = "running"
        self.opened_at = 100
        self.down = False
        cap = MEAN_SQUARE_CAPS[8] * manifest.elements
        self.policy = Policy("mean", (), cap, 1, 8, 8, 1024, 0, 600, 600, 600, 0, 0, 0)
        self.spent = 0  # what every account has spent of its privacy budget
        self.no_code = False
        self.place = True
        self.member = (10**24, 1, 0)  # enrolled, number, since
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        genesis = Round(
            0, self._header(0, self.states[0]), 0, Phase.FINAL, self.states[0].root(manifest.hash)
        )
        self.rounds.append(genesis)
        self.publish(manifest.to_json())
        self.genesis = Genesis.of(manifest, self.states[0], (exponent,) * len(manifest.tensors))
        self.open_round()

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def domain(self) -> Domain:
        return Domain(CHAIN_ID, LEDGER)

    @property
    def deployment(self) -> dict[str, Any]:
        other = "0x" + "b2" * 20
        addresses = {**dict.fromkeys(CONTRACTS, other), "ledger": self.domain.verifying_contract}
        made = Deployment(
            chain_id=CHAIN_ID, block=1, genesis_hash="0x" + self.genesis.hash.hex(), parent=None, **addresses
        )
        return made.to_json()

    def publish(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        self.artifacts[name] = data
        return name

    def _header(self, number: int, base: State) -> RoundHeader:
        root = base.root(self.manifest.hash)
        return RoundHeader(
            round=number,
            manifest_hash=self.manifest.hash,
            base_state_root=root,
            policy_id=1,
            width=self.policy.width,
            seed=derive_seed(CHAIN_ID, self.domain.verifying_contract, number, root),
            exponents=(self.exponent,) * len(self.manifest.tensors),
        )

    def open_round(self) -> Round:
        number = len(self.rounds)
        base = max(one.number for one in self.rounds if one.phase is not Phase.CANCELLED)
        opened = Round(number, self._header(number, self.states[-1]), base)
        opened.base_state = self.states[-1].sha256()
        self.publish(self.states[-1].to_bytes())
        self.rounds.append(opened)
        self.times.append(time.monotonic())
        return opened

    def close_round(self) -> None:
        """Average the updates, and open the next round or end the run."""
        current = self.rounds[-1]
        base = self.states[-1]
        policy = self.policy
        total = np.sum(
            [decode_update(data, self.manifest, policy.width) for _, data in current.updates.values()], axis=0
        )
        mean = mean_of(total.astype(np.int64), len(current.updates), policy.mean_scale)
        exponents = np.full(self.manifest.leaves, self.exponent)
        scale, rate, decay = policy.mean_scale, policy.rate, policy.momentum
        state = State(*outer_step(base.theta, base.momentum, mean, scale, exponents, rate, decay))
        current.mean = self.publish(pack(mean_leaves(mean), policy.mean_width).tobytes())
        self.states.append(state)
        for _, data in current.updates.values():
            self.publish(data)
        current.phase = Phase.ANCHORED
        current.state_root = state.root(self.manifest.hash)
        current.state = self.publish(state.to_bytes())
        if self.completed >= self.total:
            self.run_state = "done"
            self.times.append(time.monotonic())
        else:
            self.open_round()

    def cancel_round(self) -> None:
        """Cancel the open round, and open the next one on the same base."""
        with self.lock:
            self.rounds[-1].phase = Phase.CANCELLED
            self.open_round()

    @property
    def completed(self) -> int:
        return sum(one.phase is Phase.ANCHORED for one in self.rounds)

    # Answers

    def rpc(self, method: str, params: list[Any]) -> Any:
        if method == "eth_chainId":
            return hex(CHAIN_ID)
        if method == "eth_blockNumber":
            return hex(len(self.rounds))
        if method == "eth_getLogs":
            return []  # Commitments reach the scripted coordinator only, never the chain.
        if method == "eth_getCode":
            return "0x" if self.no_code else "0x60"
        if method == "eth_getBlockByNumber":
            return {"number": "0x1", "hash": f"0x{1:064x}", "timestamp": hex(int(time.time()))}
        data = bytes.fromhex(params[0]["data"][2:])
        selector, number = data[:4], int.from_bytes(data[4:36], "big")
        known = self.rounds[number] if number < len(self.rounds) else None
        if selector == keccak(b"phase(uint64)")[:4]:
            return "0x" + encode(["uint8"], [int(known.phase if known else Phase.NONE)]).hex()
        if selector == keccak(b"rounds(uint64)")[:4]:
            return "0x" + encode(function("ledger", "rounds").outputs, [self._round_abi(known)]).hex()
        if selector == keccak(b"policies(uint32)")[:4]:
            return "0x" + encode(function("policies", "policies").outputs, [self.policy.abi_tuple()]).hex()
        if selector == keccak(b"policies()")[:4]:
            return "0x" + encode(["address"], [to_checksum_address(b"\x99" * 20)]).hex()
        if selector == keccak(b"genesisHash()")[:4]:
            return "0x" + self.genesis.hash.hex()
        if selector == keccak(b"manifestHash()")[:4]:
            return "0x" + self.manifest.hash.hex()
        if selector == keccak(b"head()")[:4]:
            newest = max(one.number for one in self.rounds if one.phase in (Phase.ANCHORED, Phase.FINAL))
            return "0x" + encode(["uint64", "bytes32"], [newest, self.rounds[newest].state_root]).hex()
        if selector == keccak(b"nextRound()")[:4]:
            return "0x" + encode(["uint64"], [len(self.rounds)]).hex()
        if selector == keccak(b"hasCommitted(uint64,address)")[:4]:
            delivered = known is not None and to_checksum_address(data[48:68]) in known.updates
            return "0x" + encode(["bool"], [delivered]).hex()
        if selector == keccak(b"hasPlace(uint64,address)")[:4]:
            return "0x" + encode(["bool"], [self.place]).hex()
        if selector == keccak(b"members(address[])")[:4]:
            return "0x" + encode([f"{MEMBER_TYPE}[]"], [[(10**24, *self.member)]]).hex()
        if selector == keccak(b"draws(uint64)")[:4]:
            return "0x" + encode(["(uint96,uint40,uint120)"], [(10**20, 10**9, 1)]).hex()
        if selector == keccak(b"odometer()")[:4]:
            return "0x" + encode(["address"], ["0x" + "c3" * 20]).hex()
        if selector == keccak(b"spent(address)")[:4]:
            return "0x" + encode(["uint64"], [self.spent]).hex()
        return "0x" + encode(["uint256"], [10**30]).hex()

    def _round_abi(self, known: Round | None) -> tuple[Any, ...]:
        zero = bytes(32)
        nobody = "0x" + "00" * 20
        if known is None:
            return (0, 0, 0, 0, 0, 0, 0, nobody, 0, 0, zero, zero, zero, zero)
        return (
            1, int(known.phase), len(known.updates), 1, 2**39, 2**39, 0, nobody, known.base, 0,
            known.header.hash, zero, known.state_root, zero,
        )  # fmt: skip

    def current(self) -> dict[str, Any] | None:
        last = self.rounds[-1]
        if last.phase is not Phase.OPEN:
            return None
        base = self.states[-1]
        return {
            "round": last.number,
            "phase": "open",
            "header": "0x" + last.header.encoded.hex(),
            "manifest": hashlib.sha256(self.manifest.to_json()).hexdigest(),
            "baseState": base.sha256(),
            "momentumRoot": "0x" + base.momentum_tree().root.hex(),
            "commitDeadline": 1_000_000,
            "chainTime": 0,
            "received": len(last.updates),
            "openedAt": self.opened_at,
        }

    def run(self) -> dict[str, Any]:
        return {
            "id": "run-1",
            "state": self.run_state,
            "rounds": self.total,
            "completed": self.completed,
            "expect": self.expect,
            "error": "scripted" if self.run_state == "failed" else None,
        }

    def view(self, one: Round) -> dict[str, Any]:
        return {
            "round": one.number,
            "run": "run-1" if one.number else None,
            "phase": one.phase.name.lower(),
            "baseState": one.base_state,
            "state": one.state,
            "header": "0x" + one.header.encoded.hex(),
            "mean": one.mean,
            "received": len(one.updates),
            "openedAt": self.opened_at,
        }

    def delivered(self, number: int, address: str) -> dict[str, Any] | None:
        found = self.rounds[number].updates.get(address)
        if found is not None:
            commitment, data = found
            name = hashlib.sha256(data).hexdigest()
            root = "0x" + commitment.update_root.hex()
            return {
                "status": "received",
                "updateRoot": root,
                "sha256": name if name in self.artifacts else None,
            }
        refused = self.refused.get((number, address))
        return refused and {"status": "refused", "reason": refused["code"], "detail": refused["detail"]}

    def accept(self, number: int, wire: str, data: bytes) -> tuple[int, dict[str, Any]]:
        try:
            commitment, signature = commitment_from_wire(wire)
            commitment.check_signature(signature, self.domain)
        except FolkmootError as error:
            return _problem(400, error.code, error.message)
        current = self.rounds[-1]
        if number != current.number or current.phase is not Phase.OPEN:
            return _problem(409, "round-closed", "closed")
        if commitment.base_state_root != current.header.base_state_root:
            return _problem(422, "wrong-base", "another base")
        tree = update_tree(unpack(np.frombuffer(data, dtype=np.uint8), self.policy.width))
        if tree.root != commitment.update_root or tree.sum_squares != commitment.sum_squares:
            return _problem(422, "wrong-root", "another update")
        current.updates[commitment.contributor] = (commitment, data)
        if len(current.updates) >= self.expect:
            self.close_round()
        return 202, {"status": "accepted"}


def _problem(status: int, code: str, detail: str) -> tuple[int, dict[str, Any]]:
    return status, {"title": code, "status": status, "code": code, "detail": detail, "remedy": ""}


def _handler(world: World) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # Else the end of each answer waits 40 ms for an acknowledgement.

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, status: int, body: bytes | dict[str, Any]) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if isinstance(body, bytes) and "gzip" in self.headers.get("Accept-Encoding", ""):
                data = b"".join(coded([data], packed=True))
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            with world.lock:
                if world.down:
                    return self._send(*_problem(503, "rpc-unreachable", "the coordinator's chain is away"))
                parts = self.path.strip("/").split("/")
                if parts[1:3] == ["rounds", "current"]:
                    found = world.current()
                    return (
                        self._send(200, found) if found else self._send(*_problem(404, "no-open-round", ""))
                    )
                if parts[1:] == ["rounds"]:
                    return self._send(200, {"items": [world.view(one) for one in world.rounds[::-1]]})
                if parts[1] == "rounds" and len(parts) == 5 and parts[3] == "updates":
                    told = world.delivered(int(parts[2]), parts[4])
                    return self._send(200, told) if told else self._send(*_problem(404, "unknown-update", ""))
                if parts[1] == "rounds" and parts[2].isdigit() and int(parts[2]) < len(world.rounds):
                    return self._send(200, world.view(world.rounds[int(parts[2])]))
                if parts[1:] == ["artifacts", "by-keccak", world.genesis.hash.hex()]:
                    return self._send(200, world.genesis.to_json())
                if parts[1:] == ["policies", "1"]:
                    return self._send(200, {"minContributors": world.policy.min_contributors})
                if parts[1] == "runs":
                    return self._send(200, world.run())
                if parts[1] == "deployment":
                    return self._send(200, world.deployment)
                if parts[1] == "artifacts" and parts[2] in world.artifacts:
                    return self._send(200, world.artifacts[parts[2]])
                code = "round-unknown" if self.path.startswith("/v1/rounds/") else "not-found"
                return self._send(*_problem(404, code, self.path))

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return gzip.decompress(body)

        def do_POST(self) -> None:
            import base64

            body = self._body()
            with world.lock:
                if self.path == "/":
                    asked = json.loads(body)
                    answer = world.rpc(asked["method"], asked["params"])
                    return self._send(200, {"jsonrpc": "2.0", "id": asked["id"], "result": answer})
                if world.down:
                    return self._send(503, {})
                wire = base64.urlsafe_b64decode(self.headers["Folkmoot-Commitment"]).decode()
                number = int(self.path.split("/")[3])
                status, answer = world.accept(number, wire, body)
                if status != 202:
                    world.refusals.append(str(answer["code"]))
                    world.refused[number, commitment_from_wire(wire)[0].contributor] = answer
                return self._send(status, answer)

    return Handler


class CountingSigner(LocalSigner):
    """A signer that charges private trainings, in memory."""

    def charge(self, commitment: Commitment, domain: Domain) -> Charged:
        self.check_unsigned(commitment, domain)
        return Charged(cost=1, spent=1, cap=2)
