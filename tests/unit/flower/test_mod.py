# SPDX-License-Identifier: Apache-2.0
"""The mod trains from what the chain knows and from nothing else, and sends nothing but the signed update."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict

from client.keeper.keeper import Keeper
from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.errors import LocalError
from folkmoot.flower import chain, checking, records
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.encoding import MAX_CONFIGS
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.flower.signing import CHAIN_UNAVAILABLE, LocalSigner, SignerError, draft_key_of
from folkmoot.flower.updates import draft_update, drafted_update, kept_update
from folkmoot.protocol.codec import decode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import update_tree
from folkmoot.rpc.client import Phase
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.grid import context, number
from tests.unit.flower.world import CHAIN_ID, CountingSigner, World, account
from tests.unit.privacy.test_settings import GOOD

Join = Callable[..., Contributor]


@dataclass
class App:
    """An app that shifts its weights; it knows nothing of Folkmoot."""

    shift: float = 0.01
    spoil: Callable[[dict[str, Any]], None] = lambda arrays: None
    seen: list[RecordDict] = field(default_factory=list)
    error: Exception | None = None

    def __call__(self, message: Message, context: Context) -> Message:
        self.seen.append(message.content)
        if self.error is not None:
            raise self.error
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}  # type: ignore[union-attr]
        trained = {
            name: a - np.float32(self.shift) if a.dtype == np.float32 else a for name, a in arrays.items()
        }
        self.spoil(trained)
        reply = RecordDict(
            {
                "arrays": ArrayRecord({name: Array(array) for name, array in trained.items()}),
                "secrets": ConfigRecord({"patients": "names"}),
                "metrics": MetricRecord({"num-examples": 12, "loss": 0.5}),
            }
        )
        return Message(reply, reply_to=message)


def said(world: World, **changes: Any) -> records.RoundMessage:
    last = world.rounds[-1]
    message = records.RoundMessage(
        round=last.number,
        header=last.header.encoded,
        manifest=world.manifest.to_json(),
        momentum_root=world.states[-1].momentum_tree().root,
        chain_id=CHAIN_ID,
        ledger=world.domain.verifying_contract,
        bundle_hash=b"",
    )
    return replace(message, **changes)


def train_message(world: World, **changes: Any) -> Message:
    round_message = said(world, **changes)
    content = RecordDict(
        {
            records.ROUND: round_message.to_record(),
            round_message.arrays_key: ArrayRecord(),
            records.CONFIG: ConfigRecord({"server-round": world.rounds[-1].number}),
        }
    )
    return number(Message(content, 1, "train"), "m1")


def run(contributor: Contributor, message: Message, app: App | None = None, name: str = "ada") -> Message:
    mod = folkmoot_mod(signer=CountingSigner(account(name)))
    return mod(message, context(contributor), app or App())


@pytest.fixture
def world() -> Iterator[World]:
    """A round stays open: it waits for more updates than a test makes."""
    with World(MANIFEST, dict(MODEL), expect=9) as running:
        yield running


def delivered(world: World, name: str = "ada") -> bytes:
    """Return the update that a keeper has delivered in the first round."""
    return world.rounds[1].updates[account(name).address][1]


def reason(reply: Message) -> str:
    assert reply.has_error()
    return reply.error.reason or ""


def test_a_good_round_gives_a_signed_update(world: World, join: Join) -> None:
    app = App()
    reply = run(join(world), train_message(world), app)
    commitment, signature = commitment_from_wire(reply.content[records.COMMITMENT]["commitment"])
    commitment.check_signature(signature, world.domain)
    data = delivered(world)
    tree = update_tree(np.frombuffer(data, np.uint8))
    assert (commitment.update_root, commitment.sum_squares) == (tree.root, tree.sum_squares)
    assert commitment.base_state_root == world.rounds[-1].header.base_state_root
    assert commitment.round == 1
    assert commitment.memory_hash == bytes(32)
    assert commitment.bundle_hash == bytes(32)
    # A shift of 0.01 at 2^-9 a unit: about 5 where there is a weight, 0 in the padding.
    update = decode_update(data, MANIFEST)
    assert abs(update[:300].mean() - 0.01 * 512) < 0.2
    assert not update[300:512].any()


def test_the_base_is_let_go_of_while_the_app_trains(
    world: World, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base takes 8 bytes a weight, which large models need for the training itself."""
    bases: list[weakref.ref[Any]] = []
    held: list[bool] = []
    ask = checking.base_theta

    def base_theta(path: Path, number: int, size: int) -> Any:
        theta = ask(path, number, size)
        bases.append(weakref.ref(theta))
        return theta

    monkeypatch.setattr(checking, "base_theta", base_theta)
    reply = run(join(world), train_message(world), App(spoil=lambda _: held.append(bases[0]() is not None)))
    assert not reply.has_error()
    assert held == [False]


@pytest.mark.parametrize(
    ("enrolled", "since", "code", "words"),
    [
        (0, 0, "not-enrolled", "round 1 takes no update of it"),
        (10**17, 0, "stake-too-low", "0.1 MOOT for the round, and its policy asks for 1 MOOT"),
        (10**18, 1, "no-place", "round 1 was open already"),
        (10**18, 0, "no-place", "was not drawn for round 1"),
    ],
)
def test_without_a_place_nothing_is_trained(
    world: World,
    join: Join,
    caplog: pytest.LogCaptureFixture,
    enrolled: int,
    since: int,
    code: str,
    words: str,
) -> None:
    world.policy = replace(world.policy, min_stake=10**18)
    world.place, world.member = False, (enrolled, 1, since)
    app = App()
    with caplog.at_level("INFO", logger="flwr"):
        said_by_node = reason(run(join(world), train_message(world), app))
    assert said_by_node.startswith(f"{code}: ")
    assert words in said_by_node
    assert app.seen == []
    levels = {record.levelname for record in caplog.records}
    assert ("ERROR" in levels) == (code != "no-place"), "not to be drawn is no failure"


def test_a_signed_update_is_sent_again_without_a_place(world: World, join: Join) -> None:
    """It may be on the chain already; the stake may have been taken out since."""
    contributor = join(world)
    first = run(contributor, train_message(world))
    world.place = False
    again = run(contributor, train_message(world))
    assert again.content[records.COMMITMENT] == first.content[records.COMMITMENT]


def test_the_app_sees_an_ordinary_message(world: World, join: Join) -> None:
    app = App()
    run(join(world), train_message(world), app)
    (content,) = app.seen
    arrays = {name: array.numpy() for name, array in content.array_records["arrays"].items()}
    assert set(content.array_records) == {"arrays"}
    assert {name: array.dtype for name, array in arrays.items()} == {
        name: a.dtype for name, a in MODEL.items()
    }
    assert np.allclose(arrays["weight"], MODEL["weight"], atol=2**-26)
    assert content.config_records["config"]["server-round"] == 1


def test_only_update_commitment_and_metrics_leave(world: World, join: Join) -> None:
    reply = run(join(world), train_message(world))
    assert set(reply.content) == {records.COMMITMENT, "metrics"}
    assert reply.content["metrics"] == MetricRecord({"num-examples": 1, "loss": 0.5})


@pytest.mark.parametrize("kind", ["evaluate", "query", "evaluate.special"])
def test_other_messages_pass(world: World, join: Join, kind: str) -> None:
    message = number(Message(RecordDict({"x": ConfigRecord({"a": 1})}), 1, kind), "m1")
    seen = []

    def app(message: Message, context: Context) -> Message:
        seen.append(message)
        return Message(RecordDict(), reply_to=message)

    folkmoot_mod()(message, context(join(world)), app)
    assert seen == [message]


def test_an_ordinary_train_message_is_refused(world: World, join: Join) -> None:
    message = number(Message(RecordDict({"arrays": ArrayRecord()}), 1, "train"), "m1")
    assert reason(run(join(world), message)).startswith("not-anchored:")


def test_a_node_that_has_not_joined(world: World) -> None:
    reply = folkmoot_mod()(train_message(world), context(None), App())
    assert reason(reply).startswith("no-contributor:")


def wrong_header(world: World) -> Message:
    header = replace(world.rounds[-1].header, exponents=(0, 0))
    return train_message(world, header=header.encoded)


def poisoned_chain_of_lies(world: World) -> Message:
    """Header and base agree with each other, but not with the chain."""
    header = replace(world.rounds[-1].header, base_state_root=b"\x07" * 32)
    return train_message(world, header=header.encoded)


def wrong_seed_on_chain(world: World) -> Message:
    world.rounds[-1].header = replace(world.rounds[-1].header, seed=b"\x05" * 32)
    return train_message(world)


def other_base_on_chain(world: World) -> Message:
    """The header's hash is on the chain, but it names another base than the ledger's round has."""
    world.rounds[0].state_root = b"\x09" * 32
    return train_message(world)


def closed(world: World) -> Message:
    world.rounds[-1].phase = Phase.COMMITTED
    return train_message(world)


def without_arrays(world: World) -> Message:
    message = train_message(world)
    del message.content[records.ARRAYS]
    return message


CASES: list[tuple[str, Callable[[World], Message]]] = [
    ("wrong-base", lambda world: train_message(world, momentum_root=b"\x01" * 32)),
    ("wrong-base", other_base_on_chain),
    ("wrong-header", wrong_header),
    ("wrong-header", poisoned_chain_of_lies),
    ("wrong-header", wrong_seed_on_chain),
    ("unknown-round", lambda world: train_message(world, round=7)),
    ("round-closed", closed),
    ("wrong-chain", lambda world: train_message(world, chain_id=1)),
    ("wrong-chain", lambda world: train_message(world, ledger="0x" + "b2" * 20)),
    ("malformed-round", lambda world: train_message(world, header=b"no header")),
    ("malformed-round", lambda world: train_message(world, manifest=b"{}")),
    ("malformed-round", without_arrays),
]


@pytest.mark.parametrize(("code", "make"), CASES, ids=[f"{code}-{n}" for n, (code, _) in enumerate(CASES)])
def test_refusals_before_training(
    world: World, join: Join, code: str, make: Callable[[World], Message]
) -> None:
    contributor = join(world)
    app = App()
    reply = run(contributor, make(world), app)
    assert reason(reply).startswith(f"{code}:")
    assert not app.seen, "it trained"
    assert kept_update(contributor.home, 1) is None, "it signed"


def test_a_keeper_that_gives_another_base(world: World, join: Join) -> None:
    app, theta = App(), world.states[-1].theta.copy()
    theta[5] += 1
    contributor = join(world, theta=theta)
    text = reason(run(contributor, train_message(world), app))
    assert text.startswith("wrong-base: the base model has the state root")
    assert not app.seen, "it trained"
    assert kept_update(contributor.home, 1) is None, "it signed"


def test_a_node_without_a_keeper_trains_nothing(
    world: World, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    assert reason(run(join(world, keeper=False), train_message(world), app)) == (
        "no-keeper: this node has no keeper."
    )
    assert not app.seen
    assert "Start the node with `folkmoot join`" in caplog.text


def test_a_keeper_that_gets_no_base_costs_the_round_and_tells_nothing_of_the_machine(
    world: World, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(keeper: Keeper, number: int, *, closed: bool = False) -> Path:
        raise LocalError("The disk is full.", remedy="Make room.", code="keeper-disk")

    app, contributor = App(), join(world)
    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "base", full)
        text = reason(run(contributor, train_message(world), app))
    assert text == "keeper-disk: the node's keeper could not get the base."
    assert not app.seen
    assert not run(contributor, train_message(world), app).has_error(), "the next message is handled"


def test_another_manifest_of_the_same_layout(world: World, join: Join) -> None:
    other = replace(MANIFEST, training={"learning_rate": 99})
    assert reason(run(join(world), train_message(world, manifest=other.to_json()))).startswith(
        "wrong-manifest:"
    )


def test_a_false_anchor_does_not_bring_another_manifest(world: World, join: Join) -> None:
    """The chain takes any state root at first. Without the noise of the manifest, each refusal would be a leak."""
    other = replace(MANIFEST, training={"learning_rate": 1e30})
    current, root = world.rounds[-1], world.states[-1].root(other.hash)
    world.rounds[0].state_root = root
    seed = derive_seed(CHAIN_ID, world.domain.verifying_contract, current.number, root)
    current.header = replace(current.header, manifest_hash=other.hash, base_state_root=root, seed=seed)
    app = App()
    refused = run(join(world), train_message(world, manifest=other.to_json()), app)
    assert reason(refused) == "wrong-manifest: the round's manifest is not the federation's."
    assert not app.seen


def test_an_unreachable_chain_is_no_leave_to_train(
    world: World, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "CHAIN_TIMEOUT", 0.0)
    app = App()
    reply = run(join(world, rpc="http://127.0.0.1:9/secret-key"), train_message(world), app)
    assert reason(reply) == "rpc-unreachable: for more, read the node's log."
    assert not app.seen


def test_a_chain_that_comes_back_costs_nobody_a_round(
    world: World, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, away = chain.open_rpc, [1, 2]

    def restarting(url: str) -> Any:
        return real("http://127.0.0.1:9" if away and away.pop() else url)

    pauses: list[float] = []
    monkeypatch.setattr(chain, "open_rpc", restarting)
    monkeypatch.setattr("folkmoot.runtime.backoff.time.sleep", pauses.append)
    reply = run(join(world), train_message(world), App())
    assert not reply.has_error()
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number(world: World, join: Join, value: float) -> None:
    def spoil(arrays: dict[str, Any]) -> None:
        arrays["bias"][1] = value

    contributor = join(world)
    text = reason(run(contributor, train_message(world), App(spoil=spoil)))
    assert text.startswith("non-finite-update:")
    assert "'bias'" in text
    assert kept_update(contributor.home, 1) is None


def test_an_update_above_the_cap_is_fitted_and_said(
    world: World, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="flwr"):
        reply = run(join(world), train_message(world), App(shift=1e3))
    commitment, _ = commitment_from_wire(reply.content[records.COMMITMENT]["commitment"])
    assert commitment.sum_squares == 64**2 * MANIFEST.elements == world.policy.max_sum_squares
    data = delivered(world)
    assert set(decode_update(data, MANIFEST)) == {0, 64}
    assert "100.00% of the coordinates were clamped to ±64" in caplog.text


def test_a_cap_without_room_sends_nothing(world: World, join: Join) -> None:
    world.policy = replace(world.policy, max_sum_squares=7)
    contributor = join(world)
    assert reason(run(contributor, train_message(world))).startswith("cap-too-small: The update has 303 ")
    assert kept_update(contributor.home, 1) is None


def _add(arrays: dict[str, Any]) -> None:
    arrays["more"] = np.zeros(1, np.float32)


def _drop(arrays: dict[str, Any]) -> None:
    del arrays["bias"]


def _reshape(arrays: dict[str, Any]) -> None:
    arrays["weight"] = arrays["weight"].T


@pytest.mark.parametrize("spoil", [_add, _drop, _reshape])
def test_an_app_that_replies_with_another_model(
    world: World, join: Join, spoil: Callable[[dict[str, Any]], None]
) -> None:
    assert reason(run(join(world), train_message(world), App(spoil=spoil))).startswith("wrong-reply:")


def test_half_precision_is_fine(world: World, join: Join) -> None:
    def spoil(arrays: dict[str, Any]) -> None:
        arrays["weight"] = arrays["weight"].astype(np.float16)

    assert not run(join(world), train_message(world), App(spoil=spoil)).has_error()


def test_what_an_app_raises_is_told_to_its_own_node_only(
    world: World, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    contributor = join(world)
    reply = run(contributor, train_message(world), App(error=ValueError("patient 17 has no age")))
    place = re.fullmatch(
        r"training-failed: (training raised ValueError at \w+\.py, line \d+\.)", reason(reply)
    )
    assert place
    assert caplog.messages[-1] == (
        f"Refused: {place[1]} ValueError: patient 17 has no age. "
        f"The traceback is in {contributor.home}/logs/supernode.log."
    )


def test_the_place_is_where_the_app_called_a_library(
    world: World, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(arrays: dict[str, Any]) -> None:
        os.environ["NOT_SET_HERE"]  # It is raised in Python's own code, which has no file.

    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    said = reason(run(join(world), train_message(world), App(spoil=spoil)))
    lines = Path(__file__).read_text().splitlines()
    line = 1 + next(place for place, text in enumerate(lines) if 'os.environ["NOT_SET_HERE"]' in text)
    assert said == f"training-failed: training raised KeyError at test_mod.py, line {line}."


def test_an_error_reply_of_the_app_passes(world: World, join: Join) -> None:
    from flwr.app import Error

    def app(message: Message, context: Context) -> Message:
        return Message(Error(17, "mine"), reply_to=message)

    mod = folkmoot_mod(signer=CountingSigner(account("ada")))
    assert reason(mod(train_message(world), context(join(world)), app)) == "mine"


def test_a_round_that_is_asked_for_again_is_not_trained_again(world: World, join: Join) -> None:
    contributor = join(world)
    first = run(contributor, train_message(world))
    app = App(shift=0.5)
    again = run(contributor, train_message(world), app)
    assert not app.seen
    assert again.content[records.COMMITMENT] == first.content[records.COMMITMENT]


class DeadSigner(LocalSigner):
    """A signer whose process dies before it signs."""

    def sign(self, commitment: Commitment, domain: Domain, data: bytes) -> bytes:
        raise SignerError("It does not run.", code="signer-unreachable")


class BlindSigner(LocalSigner):
    """Can't read the chain, or only an old block of it, when it is asked first."""

    tries = 0
    code = CHAIN_UNAVAILABLE

    def sign(self, commitment: Commitment, domain: Domain, data: bytes) -> bytes:
        self.tries += 1
        if self.tries == 1:
            raise SignerError("It can't read the chain.", code=self.code)
        return super().sign(commitment, domain, data)


@pytest.mark.parametrize("code", [CHAIN_UNAVAILABLE, "round-ahead"])
def test_a_signer_that_cant_read_the_chain_is_asked_again(world: World, join: Join, code: str) -> None:
    signer = BlindSigner(account("ada"))
    signer.code = code
    reply = folkmoot_mod(signer=signer)(train_message(world), context(join(world)), App())
    assert not reply.has_error()
    assert signer.tries == 2


def test_what_was_trained_is_signed_after_a_restart_and_not_trained_again(world: World, join: Join) -> None:
    """Training twice need not give the same bits, and a signer signs one digest a round."""
    contributor, first, second = join(world), App(), App(shift=0.5)
    died = folkmoot_mod(signer=DeadSigner(account("ada")))(train_message(world), context(contributor), first)
    assert reason(died).startswith("signer-unreachable:")
    run(contributor, train_message(world), second)
    assert (len(first.seen), len(second.seen)) == (1, 0)
    data = delivered(world)
    assert abs(decode_update(data, MANIFEST)[:300].mean() - 0.01 * 512) < 0.2
    kept = kept_update(contributor.home, 1)
    assert kept is not None
    assert kept.data == data


def test_an_update_that_was_never_signed_can_not_be_read_on_the_disk(world: World, join: Join) -> None:
    contributor = join(world)
    folkmoot_mod(signer=DeadSigner(account("ada")))(train_message(world), context(contributor), App())
    key = draft_key_of(account("ada"))
    draft = drafted_update(contributor.home, 1, key)
    assert draft is not None
    stored = [path.read_bytes() for path in contributor.home.rglob("*") if path.is_file()]
    assert not any(draft.data[:LEAF] in content for content in stored)
    assert drafted_update(contributor.home, 1, draft_key_of(account("ben"))) is None


@pytest.mark.parametrize("damage", ["flipped", "truncated", "of another round", "another key"])
def test_a_draft_that_can_not_be_read_counts_as_none(world: World, join: Join, damage: str) -> None:
    contributor, first, second = join(world), App(), App()
    folkmoot_mod(signer=DeadSigner(account("ada")))(train_message(world), context(contributor), first)
    (path,) = contributor.home.glob("updates/*.draft")
    stored, key = path.read_bytes(), draft_key_of(account("ada"))
    draft = drafted_update(contributor.home, 1, key)
    assert draft is not None
    if damage == "flipped":
        path.write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
    elif damage == "truncated":
        path.write_bytes(stored[:20])
    else:
        number, other = (2, key) if damage == "of another round" else (1, bytes(32))
        draft_update(contributor.home, number, draft, other)
        path.with_name(f"{number}.draft").rename(path)
    assert not run(contributor, train_message(world), second).has_error()
    assert len(second.seen) == 1, "trained again"


def test_an_update_that_comes_too_late_is_not_signed_and_its_contributor_is_told(
    world: World, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    contributor = join(world)

    def dawdle(arrays: dict[str, Any]) -> None:
        world.rounds[-1].phase = Phase.COMMITTED

    reply = run(contributor, train_message(world), App(spoil=dawdle))
    assert reason(reply) == "round-closed: round 1 closed while this node trained, so its update is too late."
    assert "It takes part in the next round" in caplog.text
    assert kept_update(contributor.home, 1) is None


def test_a_signer_that_refuses(world: World, join: Join) -> None:
    contributor = join(world)
    signer = CountingSigner(account("ada"))
    mod = folkmoot_mod(signer=signer)
    mod(train_message(world), context(contributor), App())
    for path in (contributor.home / "updates").iterdir():
        path.unlink()
    reply = mod(train_message(world), context(contributor), App(shift=0.5))
    assert reason(reply).startswith("already-signed:")


def test_an_evaluation_tells_no_number_of_examples(world: World, join: Join) -> None:
    def app(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 250, "loss": 0.5})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    message = number(Message(RecordDict(), 1, "evaluate"), "m1")
    reply = folkmoot_mod()(message, context(join(world)), app)
    assert reply.content["metrics"] == MetricRecord({"num-examples": 1, "loss": 0.5})


def test_a_claimed_bundle_is_not_signed_unless_it_runs(world: World, join: Join) -> None:
    reply = run(join(world), train_message(world, bundle_hash=b"\xab" * 32))
    commitment, _ = commitment_from_wire(reply.content[records.COMMITMENT]["commitment"])
    assert commitment.bundle_hash == bytes(32)


def test_the_header_reads_back() -> None:
    """The cases above rest on it: changed headers are well-formed."""
    header = RoundHeader(1, b"\x01" * 32, b"\x02" * 32, 1, 8, b"\x03" * 32, (-9, -9))
    assert RoundHeader.decode(replace(header, exponents=(0, 0)).encoded).exponents == (0, 0)


# The app's own message and what it does to its arrays


def test_the_message_is_the_one_that_flower_would_send(world: World, join: Join) -> None:
    """Only the app's records, in its order, the arrays under its own key; our round is gone."""
    message = train_message(world, arrays_key="model")
    message.content["extra"] = ConfigRecord({"x": 1})
    arrays = message.content["model"]
    message.content = RecordDict(
        {
            "first": MetricRecord({"a": 1}),
            "model": arrays,
            records.CONFIG: message.content[records.CONFIG],
            records.ROUND: message.content[records.ROUND],
        }
    )
    seen: list[RecordDict] = []

    def app(message: Message, context: Context) -> Message:
        seen.append(message.content)
        return Message(
            RecordDict({"model": message.content["model"], "more": ArrayRecord()}), reply_to=message
        )

    reply = folkmoot_mod(signer=CountingSigner(account("ada")))(message, context(join(world)), app)
    assert not reply.has_error()
    assert list(seen[0]) == ["first", "model", "config"]
    assert list(seen[0].array_records["model"]) == list(MODEL)


def test_config_records_leave_only_where_they_may_and_only_small_ones(world: World, join: Join) -> None:
    app = App()
    mod = folkmoot_mod(signer=CountingSigner(account("ada")), configs=True)
    reply = mod(train_message(world), context(join(world)), app)
    assert set(reply.content) == {records.COMMITMENT, "metrics", "secrets"}

    def large(message: Message, context: Context) -> Message:
        said = app(message, context)
        said.content["secrets"] = ConfigRecord({"data": b"x" * (MAX_CONFIGS + 1)})
        return said

    reply = mod(train_message(world), context(join(world, "ben")), large)
    assert reply.has_error() or "secrets" not in reply.content


def test_an_app_can_not_put_a_commitment_of_its_own_into_its_reply(world: World, join: Join) -> None:
    def app(message: Message, context: Context) -> Message:
        said = App()(message, context)
        said.content[records.COMMITMENT] = ConfigRecord({"commitment": "forged"})
        return said

    mod = folkmoot_mod(signer=CountingSigner(account("ada")), configs=True)
    reply = mod(train_message(world), context(join(world)), app)
    assert reply.content.config_records[records.COMMITMENT]["commitment"] != "forged"


def test_metrics_are_sent_again_with_an_update_that_is_sent_again(world: World, join: Join) -> None:
    contributor = join(world)
    first, again = run(contributor, train_message(world)), run(contributor, train_message(world))
    assert again.content.metric_records["metrics"] == first.content.metric_records["metrics"]
    assert set(again.content) == set(first.content)


def private_world() -> World:
    manifest = Manifest.from_arrays("scripted", MODEL, {"privacy": GOOD})
    world = World(manifest, dict(MODEL))
    changes = {"noise1024": GOOD["noise1024"], "steps": GOOD["steps"], "privacy_cap": 10**9}
    world.policy = replace(world.policy, **changes)
    return world


def test_nothing_but_the_update_leaves_a_federation_with_a_privacy_budget(join: Join) -> None:
    with private_world() as world:
        mod = folkmoot_mod(signer=CountingSigner(account("ada")), configs=True)
        reply = mod(train_message(world), context(join(world, private=True)), App())
    assert set(reply.content) == {records.COMMITMENT}


def test_the_text_of_an_apps_error_stays_on_a_node_with_a_privacy_budget(join: Join) -> None:
    def failing(message: Message, context: Context) -> Message:
        return Message(Error(1, "row 17 is of a patient"), reply_to=message)

    mod = folkmoot_mod(signer=CountingSigner(account("ada")))
    with private_world() as world:
        kept = mod(train_message(world), context(join(world, private=True)), failing)
        told = mod(train_message(world), context(join(world, "ben")), failing)
    assert reason(kept) == "training-failed: the app answered with an error, whose text stays on this node."
    assert reason(told) == "row 17 is of a patient"


@pytest.mark.parametrize("kind", ["evaluate", "query", "evaluate.own"])
def test_results_stay_on_a_node_with_a_privacy_budget(join: Join, world: World, kind: str) -> None:
    message = number(Message(RecordDict({"arrays": ArrayRecord()}), 1, kind), "m1")
    app = App(shift=0)
    refused = run(join(world, private=True), message, app)
    assert reason(refused).startswith("private-results: this federation has a privacy budget")
    assert not app.seen
    assert not run(join(world, "ben"), message, app).has_error()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"noise1024": GOOD["noise1024"] // 2}, "wrong-privacy"),
        ({"min_sum_squares": 1}, "floor-too-high"),
        ({"max_sum_squares": 302}, "cap-too-small"),
    ],
)
def test_a_node_trains_nothing_under_a_policy_that_does_not_suit_the_noise(
    join: Join, changes: dict[str, int], code: str
) -> None:
    with private_world() as world:
        world.policy = replace(world.policy, **changes)
        app = App()
        refused = run(join(world, private=True), train_message(world), app)
    assert reason(refused).startswith(f"{code}: ")
    assert not app.seen, "what is refused after the training wastes its cost"


INTEGERS = {
    "weight": np.zeros((3, 100), np.float32),
    "steps": np.array(7, np.int64),
    "table": np.arange(20, dtype=np.int32),
    "mask": np.array([0, -np.inf], np.float32),
}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda arrays: arrays.update(table=arrays["table"] + 1), "changed the array 'table' of int32"),
        (lambda arrays: arrays.update(table=arrays["table"][:5]), "'table' has the shape [5], not [20]"),
        (lambda arrays: arrays.update(weight=arrays["weight"][:2]), "'weight' has the shape [2, 100]"),
        (lambda arrays: arrays.update(new=np.zeros(2)), "'new' is not in the manifest"),
        (lambda arrays: arrays.pop("weight"), "'weight' is missing"),
        (lambda arrays: arrays.update(steps=np.asarray(arrays["steps"] + 1)), ""),
        (lambda arrays: arrays.pop("table"), ""),
        (lambda arrays: None, ""),
    ],
)
def test_what_an_app_does_to_its_arrays(
    join: Join, spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    """Counters may change, a table of integers may not, and the layout must stay; it is said of which array."""

    with World(Manifest.from_arrays("integers", INTEGERS), dict(INTEGERS)) as world:
        app = App(spoil=spoil)
        reply = run(join(world), train_message(world), app)
    assert not np.isfinite(app.seen[0].array_records["arrays"]["mask"].numpy()).all()
    if words:
        assert reason(reply).startswith("wrong-reply: ")
        assert words in reason(reply)
    else:
        assert not reply.has_error()


def test_of_half_precision_the_update_is_what_changed_since_what_the_app_saw(join: Join) -> None:
    """A weight that half precision can't hold is rounded for the app; that is no update."""

    values = {"w": np.full(300, 1.0, np.float16)}
    manifest = Manifest.from_arrays("half", values)
    with World(manifest, {"w": np.full(300, 1.0003, np.float32)}, exponent=-20) as world:

        def app(message: Message, context: Context) -> Message:
            arrays = message.content.array_records["arrays"]
            assert arrays["w"].numpy().dtype == np.float16
            return Message(RecordDict({"arrays": arrays}), reply_to=message)

        folkmoot_mod(signer=CountingSigner(account("ada")))(train_message(world), context(join(world)), app)
        update = decode_update(delivered(world), manifest)
    assert not update.any()
