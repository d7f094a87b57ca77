# SPDX-License-Identifier: Apache-2.0
"""The keeper brings a base to the contributor's disk by the fewest bytes, and believes only the chain."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.keeper import delivery
from client.keeper import keeper as keeper_module
from client.keeper.keeper import KEEPER_FOLDER, Keeper
from client.keeper.transfers import DOWN, UP, Transfers
from folkmoot.artifacts import store as artifact_store
from folkmoot.artifacts.store import FolderStore
from folkmoot.errors import ArtifactError, InputError, LocalError
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.keeping import NO_KEEPER, KeeperError, base_theta, deliver
from folkmoot.flower.updates import KeptUpdate, keep_update
from folkmoot.protocol import next_state
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.state import State
from folkmoot.rpc.client import Phase
from tests.file_server import FileServer
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.world import World, account

FULL, MEAN = MANIFEST.state_file_size, MANIFEST.size


@pytest.fixture
def world() -> Iterator[World]:
    with World(MANIFEST, dict(MODEL), rounds=100) as running:
        running.policy = replace(running.policy, momentum=512)
        yield running


@pytest.fixture
def contributor(world: World, tmp_path: Path) -> Contributor:
    home = tmp_path / "home"
    home.mkdir()
    return Contributor(home, world.url, world.url, world.deployment, account("ada").address, "scripted", 0, 1)


Start = Callable[..., tuple[Keeper, list[dict[str, Any]]]]


@pytest.fixture
def start(world: World, contributor: Contributor) -> Start:
    """Make a keeper as a new process would, and give what it says."""

    def made(mirrors: Sequence[str] = ()) -> tuple[Keeper, list[dict[str, Any]]]:
        said: list[dict[str, Any]] = []
        return Keeper(contributor, MANIFEST, world.genesis, mirrors, Transfers(said.append, bar=False)), said

    return made


def signed(world: World, shift: float) -> tuple[Commitment, bytes, bytes]:
    """Return a commitment for the open round with its update and its signature."""
    header, state = world.rounds[-1].header, world.states[-1]
    begin, who = state.to_float32(), account("ada")
    end = begin - np.float32(shift) * (begin != 0)
    update = encode_update(
        begin, end, header.exponents, MANIFEST, header.seed, who.address, width=header.width
    )
    commitment = Commitment(
        who.address, header.round, header.base_state_root, update.root, update.sum_squares
    )
    return commitment, update.data, commitment.sign(who, world.domain)


def narrow(world: World, width: int, mean_scale: int) -> None:
    """Give the open round and the next ones another width."""
    world.policy = replace(world.policy, width=width, mean_scale=mean_scale)
    world.rounds[-1].header = world._header(world.rounds[-1].number, world.states[-1])


def play(world: World, rounds: int) -> None:
    for number in range(rounds):
        commitment, data, _ = signed(world, 0.01 * (1 + number))
        world.rounds[-1].updates[commitment.contributor] = (commitment, data)
        world.close_round()


def fetched(said: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(line["what"], line["bytes"]) for line in said if line["event"] == "transferred"]


def is_base(world: World, path: Path) -> bool:
    return path.read_bytes() == world.states[-1].to_bytes()


def test_no_folder_is_made_before_it_is_needed(start: Start, contributor: Contributor) -> None:
    start()
    assert list(contributor.home.iterdir()) == []


def test_the_first_base_is_a_full_state_and_the_next_ones_are_means(world: World, start: Start) -> None:
    play(world, 1)
    keeper, said = start()
    assert is_base(world, keeper.base(2))
    assert fetched(said) == [("state after round 1", FULL)]
    play(world, 1)
    assert is_base(world, keeper.base(3))
    assert fetched(said)[1:] == [("mean of round 2", MEAN)]
    assert keeper.base(3) == keeper.base(3)
    assert len(fetched(said)) == 2, "what is there is not fetched again"
    keeper, said = start()
    assert is_base(world, keeper.base(3))
    assert fetched(said) == [], "nor by the next process"


def test_a_node_that_was_away_catches_up_by_means(
    world: World, start: Start, contributor: Contributor
) -> None:
    start()[0].head()
    play(world, 3)
    keeper, said = start()
    assert is_base(world, keeper.base(4))
    assert fetched(said) == [(f"mean of round {number}", MEAN) for number in (1, 2, 3)]
    kept = {path.name for path in (contributor.home / KEEPER_FOLDER).glob("??/*")}
    assert kept == {world.rounds[number].state for number in (2, 3)}, "older states and means are removed"


@pytest.mark.parametrize(("width", "mean_scale"), [(4, 1), (2, 7)])
def test_packed_means_lead_to_the_same_state(world: World, start: Start, width: int, mean_scale: int) -> None:
    narrow(world, width, mean_scale)
    keeper, said = start()
    keeper.head()
    play(world, 2)
    assert is_base(world, keeper.base(3))
    assert fetched(said)[1:] == [(f"mean of round {number}", MEAN // 2) for number in (1, 2)]


def test_after_a_long_time_a_full_state_is_fewer_bytes(world: World, start: Start) -> None:
    keeper, said = start()
    keeper.head()
    play(world, FULL // MEAN + 1)
    assert is_base(world, keeper.head())
    assert fetched(said)[1:] == [(f"state after round {FULL // MEAN + 1}", FULL)]


def test_a_cancelled_round_leads_back_to_a_state_that_is_kept(world: World, start: Start) -> None:
    keeper, said = start()
    play(world, 1)
    keeper.head()
    world.cancel_round()
    before = len(fetched(said))
    assert is_base(world, keeper.base(3))
    assert len(fetched(said)) == before


def test_a_state_that_was_deleted_is_made_from_an_earlier_one(world: World, start: Start) -> None:
    play(world, 3)
    for number in (2, 3):
        del world.artifacts[str(world.rounds[number].state)]
    keeper, said = start()
    assert is_base(world, keeper.base(4))
    assert [what for what, _ in fetched(said)] == [
        "state after round 1",
        "mean of round 2",
        "mean of round 3",
    ]


def test_a_wrong_mean_is_named_and_the_full_state_is_fetched(world: World, start: Start) -> None:
    keeper, said = start()
    keeper.head()
    play(world, 1)
    leaves = bytearray(world.artifacts[str(world.rounds[1].mean)])
    leaves[0] ^= 1
    world.rounds[1].mean = world.publish(bytes(leaves))
    assert is_base(world, keeper.base(2))
    (failed,) = [line for line in said if line["event"] == "means-failed"]
    assert failed["code"] == "artifact-damaged"
    assert world.rounds[1].mean in failed["detail"]
    assert fetched(said)[-1] == ("state after round 1", FULL)


@pytest.mark.parametrize("change", ["mean", "state"])
def test_a_coordinator_whose_states_are_wrong_too_is_refused(
    world: World, start: Start, contributor: Contributor, change: str
) -> None:
    keeper, _ = start()
    if change == "mean":
        keeper.head()
    play(world, 1)
    wrong = State(world.states[-1].theta + 1, world.states[-1].momentum)
    world.rounds[1].state = world.publish(wrong.to_bytes())
    world.rounds[1].mean = world.publish(bytes(MEAN))
    for _ in range(2):
        with pytest.raises(KeeperError, match=world.rounds[1].state) as caught:
            keeper.base(2)
        assert caught.value.code == "wrong-base"
    world.rounds[1].state = world.publish(world.states[-1].to_bytes())
    assert is_base(world, keeper.base(2)), "and nothing is left of it"


def test_a_header_that_is_not_the_chains_is_refused(world: World, start: Start) -> None:
    play(world, 1)
    view = world.view
    world.view = lambda one: {**view(one), "header": "0x" + world.rounds[-1].header.encoded.hex()}  # type: ignore[method-assign]
    with pytest.raises(KeeperError, match="says of round 1") as caught:
        start()[0].base(2)
    assert caught.value.code == "wrong-base"


def test_mirrors_serve_and_the_coordinator_is_asked_for_names_only(world: World, start: Start) -> None:
    play(world, 2)
    with FileServer(dict(world.artifacts)) as broken, FileServer(dict(world.artifacts)) as lying:
        lying.files[str(world.rounds[2].state)] = b"another file"
        world.artifacts.clear()
        broken.break_after = [3000, 1000]
        keeper, said = start([lying.url, broken.url])
        assert is_base(world, keeper.base(3))
        assert broken.ranges == [None, "bytes=3000-", "bytes=4000-"]
        assert broken.sent == FULL
        assert fetched(said) == [("state after round 2", FULL + len(b"another file"))]


def test_a_mirror_may_be_a_folder(world: World, start: Start, tmp_path: Path) -> None:
    play(world, 1)
    for name, data in world.artifacts.items():
        (tmp_path / name[:2]).mkdir(exist_ok=True)
        (tmp_path / name[:2] / name).write_bytes(data)
    files = dict(world.artifacts)
    world.artifacts.clear()
    assert is_base(world, start([str(tmp_path)])[0].base(2))
    for name, data in files.items():
        assert (tmp_path / name[:2] / name).read_bytes() == data, "which is only read"


def test_a_mirror_that_is_gone_costs_no_round(
    world: World, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="mirror=") as caught:
        start([str(tmp_path / "none")])
    assert caught.value.code == "no-mirror"
    monkeypatch.setattr(keeper_module, "MIRROR_SECONDS", 0.5)
    (tmp_path / "folder").mkdir()
    with FileServer({}) as closed:
        pass
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keeper, _ = start([str(tmp_path / "folder"), silent_url, closed.url])
        (tmp_path / "folder").rmdir()
        assert is_base(world, keeper.base(1))


def test_what_is_there_of_files_that_nobody_names_any_more_goes(
    world: World, start: Start, contributor: Contributor
) -> None:
    """Else a coordinator that names another file each time, and breaks off, would fill the disk."""
    store = FolderStore(contributor.home / KEEPER_FOLDER)
    store.unfinished_path("ab" * 32).write_bytes(b"some of it")
    kept = dict(world.artifacts)
    world.artifacts.clear()
    keeper, _ = start()
    with pytest.raises(ArtifactError):
        keeper.base(1)
    assert "ab" * 32 not in store.unfinished()
    world.artifacts.update(kept)
    assert is_base(world, keeper.base(1))


def test_a_name_of_a_file_is_a_hash(world: World, start: Start) -> None:
    play(world, 1)
    for name in ("../../contributor.json", "AB" * 32, 7, ""):
        world.rounds[1].state = name  # type: ignore[assignment]  # The coordinator sends anything.
        with pytest.raises(KeeperError, match="is not the sha256 of a file") as caught:
            start()[0].base(2)
        assert caught.value.code == "wrong-base"


def test_a_header_with_too_few_exponents_leads_nowhere(world: World, start: Start) -> None:
    keeper, said = start()
    keeper.head()
    play(world, 1)
    world.rounds[1].header = replace(world.rounds[1].header, exponents=world.rounds[1].header.exponents[:1])
    assert is_base(world, keeper.base(2))
    assert [line["code"] for line in said if line["event"] == "means-failed"] == ["artifact-damaged"]


def test_a_state_that_is_exchanged_on_the_disk_is_noticed(world: World, start: Start) -> None:
    keeper, said = start()
    path = keeper.head()
    data = path.read_bytes()
    path.with_suffix(".new").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    path.with_suffix(".new").replace(path)
    assert is_base(world, keeper.head())
    assert fetched(said) == 2 * [("state after round 0", FULL)]


def test_a_damaged_or_a_strangers_state_is_not_used(
    world: World, start: Start, contributor: Contributor
) -> None:
    path = start()[0].head()
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    store = FolderStore(contributor.home / KEEPER_FOLDER)
    store.link(world.states[-1].root(MANIFEST.hash).hex(), store.put(b"of another federation").sha256)
    keeper, said = start()
    assert is_base(world, keeper.head())
    assert fetched(said) == [("state after round 0", FULL)]


@pytest.mark.parametrize(
    "point",
    [
        "keeper.file-kept.before",
        "keeper.file-kept.after",
        "keeper.file-linked.before",
        "keeper.file-linked.after",
    ],
)
def test_a_killed_keeper_leaves_whole_files_only(
    world: World, start: Start, contributor: Contributor, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    class KilledError(BaseException):
        """The process ends here."""

    def kill(name: str) -> None:
        if name == point:
            raise KilledError

    keeper, _ = start()
    keeper.head()
    play(world, 1)
    with monkeypatch.context() as patched:
        patched.setattr(artifact_store, "fault_point", kill)
        with pytest.raises(KilledError):
            keeper.base(2)
    for path in (contributor.home / KEEPER_FOLDER).glob("??/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert is_base(world, start()[0].base(2))


def test_a_full_disk_is_said_and_loses_nothing(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, _ = start()
    keeper.head()
    play(world, 1)

    def full(leaves: U8) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(next_state, "mean_values", full)
        with pytest.raises(LocalError, match="No space left") as caught:
            keeper.base(2)
    assert caught.value.code == "keeper-disk"
    assert is_base(world, keeper.base(2))


def test_a_round_that_is_not_open_is_refused(world: World, start: Start) -> None:
    world.rounds[1].phase = Phase.CANCELLED
    for number in (1, 7):
        with pytest.raises(KeeperError) as caught:
            start()[0].base(number)
        assert caught.value.code == "round-closed"


# The socket


def test_the_training_code_gets_theta_over_the_socket(
    world: World, start: Start, contributor: Contributor
) -> None:
    play(world, 1)
    with pytest.raises(KeeperError) as caught:
        base_theta(contributor.keeper, 2, MANIFEST.size)
    assert caught.value.code == NO_KEEPER
    with start()[0]:
        assert np.array_equal(base_theta(contributor.keeper, 2, MANIFEST.size), world.states[-1].theta)
        with pytest.raises(KeeperError, match="the manifest needs"):
            base_theta(contributor.keeper, 2, MANIFEST.size + 256)
        with pytest.raises(KeeperError) as caught:
            base_theta(contributor.keeper, 9, MANIFEST.size)
        assert caught.value.code == "round-closed"
    assert not contributor.keeper.exists()


def test_one_keeper_serves_the_nodes_of_a_machine_from_the_same_states(
    world: World, contributor: Contributor, tmp_path: Path
) -> None:
    home = tmp_path / "other"
    home.mkdir()
    other = replace(contributor, home=home, account=account("ben").address)
    transfers = Transfers(bar=False)
    with Keeper(contributor, MANIFEST, world.genesis, (), transfers, [other]):
        for node in (contributor, other, other, other, other, other):
            assert np.array_equal(base_theta(node.keeper, 1, MANIFEST.size), world.states[0].theta)
        with pytest.raises(KeeperError) as caught:
            deliver(other.keeper, 1)
        assert caught.value.code == "no-update"
    assert transfers.bytes[DOWN] == FULL, "once"
    assert not other.keeper.exists()


@pytest.mark.parametrize("width", [8, 2])
def test_a_signed_update_is_delivered_once(
    world: World, start: Start, contributor: Contributor, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    from folkmoot.coordinator_api import commitment_to_wire

    narrow(world, width, 1)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(delivery, "accepts", lambda *_: False)  # The account is no contract.
    world.expect = 2
    commitment, data, signature = signed(world, 0.01)
    kept = KeptUpdate("", commitment_to_wire(commitment, signature), data)
    keeper, _ = start()
    with keeper:
        with pytest.raises(KeeperError) as caught:
            deliver(contributor.keeper, 1)
        assert caught.value.code == "no-update"
        forged = replace(kept, commitment=commitment_to_wire(commitment, bytes(65)))
        changed = replace(kept, data=bytes([data[0] ^ 1]) + data[1:])
        for wrong in (forged, changed):
            keep_update(contributor.home, 1, wrong)
            with pytest.raises(KeeperError):
                deliver(contributor.keeper, 1)
        assert keeper._transfers.bytes[UP] == 0, "the training code sends nothing else"
        keep_update(contributor.home, 1, kept)
        world.down = True
        repeated: list[str] = []

        def hear(event: dict[str, Any]) -> None:
            repeated.append(event["event"])
            world.down = False

        keeper._transfers.say = hear
        deliver(contributor.keeper, 1)
        deliver(contributor.keeper, 1)
    assert repeated.count("transferred") == 1
    assert world.rounds[1].updates[commitment.contributor][1] == data


def test_the_training_code_sends_no_bytes_of_its_own(
    world: World, start: Start, contributor: Contributor, tmp_path: Path
) -> None:
    from folkmoot.coordinator_api import commitment_to_wire

    world.expect = 2
    commitment, data, signature = signed(world, 0.01)
    text = commitment_to_wire(commitment, signature)
    received: list[str] = []
    accept = world.accept

    def hear(number: int, wire: str, data: bytes) -> tuple[int, dict[str, Any]]:
        received.append(wire)
        return accept(number, wire, data)

    world.accept = hear  # type: ignore[method-assign]  # To read what is sent.
    update = contributor.home / "updates" / "1.update"
    with start()[0]:
        for note in ("", " \t \t", "\n"):
            keep_update(contributor.home, 1, KeptUpdate("", note + text, data))
            deliver(contributor.keeper, 1)
        assert received == [text], "once, and nothing of the file's own text"
        (tmp_path / "elsewhere").write_bytes(data)

        def refused() -> None:
            with pytest.raises(KeeperError) as caught:
                deliver(contributor.keeper, 1)
            assert caught.value.code == "no-update"
            update.unlink()

        os.truncate(update, 1 << 40)  # A file with a hole, which the disk limit does not count.
        refused()
        update.symlink_to(tmp_path / "elsewhere")
        refused()
        os.mkfifo(update)
        refused()


def test_a_refusal_of_the_coordinator_has_its_code(
    world: World, start: Start, contributor: Contributor
) -> None:
    from folkmoot.coordinator_api import commitment_to_wire

    commitment, data, signature = signed(world, 0.01)
    keep_update(contributor.home, 1, KeptUpdate("", commitment_to_wire(commitment, signature), data))
    world.cancel_round()
    with start()[0], pytest.raises(KeeperError) as caught:
        deliver(contributor.keeper, 1)
    assert caught.value.code == "round-closed"


def test_nonsense_is_answered_and_costs_nothing(start: Start, contributor: Contributor) -> None:
    keeper, _ = start()
    with keeper:
        for text in (
            b"\n",
            b"[]\n",
            b"{}\n",
            b'{"type": "Base", "round": "1"}\n',
            b'{"type": "x", "round": 1}\n',
            b'{"type": "Base", "round": true}\n',
            b'{"type": "Base", "round": -1}\n',
            b'{"type": "Deliver", "round": 18446744073709551616}\n',
            5000 * b"[" + b"\n",
        ):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(contributor.keeper))
                connection.sendall(text)
                assert b"malformed-request" in connection.makefile("rb").readline()
    assert keeper._transfers.bytes == {DOWN: 0, UP: 0}


def test_a_transfer_is_told_with_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    from client.cli.join import _text

    said: list[dict[str, Any]] = []
    transfers = Transfers(said.append, bar=True)
    with transfers.transfer("mean of round 7", DOWN) as at:
        at(1_500_000, 2_000_000, 2_000_000)
    with transfers.transfer("mean of round 8", DOWN):
        pass  # It was there already.
    (event,) = said
    assert _text({**event, "seconds": 0.5}) == "Received the mean of round 7: 1.50 MB in 0.5 s (3.00 MB/s)."
    assert _text({**event, "direction": UP, "seconds": 0}) == "Sent the mean of round 7: 1.50 MB in 0.0 s."
    assert transfers.bytes == {DOWN: 1_500_000, UP: 0}
