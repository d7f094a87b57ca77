# SPDX-License-Identifier: Apache-2.0
"""The commands `folkmoot signer ...`: run the signer agent as a process of its own, and look after its record.

Run by another user than the node, the agent's key and record are out of reach of the code that trains.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.signer.options import BundleHash, Owners, RecordPath, RemoteMethod, Wallet, local_keys
from folkmoot.cli.options import (
    DEPLOYMENT_DEFAULT,
    RPC_DEFAULT,
    DeploymentPath,
    Json,
    KeystorePath,
    PasswordFile,
    RpcUrl,
    account_address,
    keystore_file,
    node_folder,
)
from folkmoot.cli.output import emit, note, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from client.signer.keys import OwnerKey, SigningKey
    from folkmoot.ledger.deployment import Deployment

AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account",
        metavar="ADDRESS",
        help="The account; with --wallet, the owner's. Default: that of the key file.",
        show_default=False,
    ),
]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(
        help="The signer agent as a process of its own, and its signing record.", no_args_is_help=True
    )
    group.command("run")(signer_run)
    record = typer.Typer(
        help="The signing record, which prevents two signatures in a round and counts the privacy budget.",
        no_args_is_help=True,
    )
    record.command("show")(record_show)
    record.command("export")(record_export)
    record.command("import")(record_import)
    record.command("raise")(record_raise)
    record.command("cap")(record_cap)
    group.add_typer(record, name="record")
    return group


def signer_run(
    coordinator: Annotated[
        str,
        typer.Option(
            envvar="FOLKMOOT_COORDINATOR", metavar="URL", help="Coordinator's API, for the manifest."
        ),
    ],
    socket: Annotated[
        Path, typer.Option(metavar="SOCKET", help="Path of the socket; give it to `folkmoot join --signer`.")
    ],
    record: RecordPath = None,
    socket_group: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP", help="Group of the socket: one that the node's user is in.", show_default=False
        ),
    ] = None,
    socket_mode: Annotated[
        str, typer.Option(metavar="OCTAL", help="Permissions of the socket. With a group: 660.")
    ] = "600",
    bundle: BundleHash = None,
    remote_signer: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Web3Signer or Clef, which holds the key instead of a key file. Needs --account.",
            show_default=False,
        ),
    ] = None,
    remote_method: Annotated[
        RemoteMethod, typer.Option(help="For Web3Signer eth_signTypedData, for Clef account_signTypedData.")
    ] = RemoteMethod.WEB3SIGNER,
    account: AccountOption = None,
    wallet: Wallet = None,
    owner: Owners = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """Sign a node's updates until Ctrl-C, after checking each one against the chain and the signing record.

    Run it as another user than the node, whose code comes from the coordinator.

    Example: folkmoot signer run --socket /run/folkmoot/signer.sock --socket-group moot --socket-mode 660

    Example: folkmoot signer run --socket signer.sock --remote-signer http://127.0.0.1:9000 --account 0x...

    Example: folkmoot signer run --socket signer.sock --wallet 0xSAFE --keystore one.json --owner two.json
    """
    from client.node import node
    from client.signer.agent import SignerAgent
    from client.signer.checks import SigningRules
    from client.signer.keys import RemoteKey
    from client.signer.record import adopt_cap
    from client.signer.wallet import WalletKey, check_options
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.client import LedgerReader
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.processes import Supervisor
    from folkmoot.runtime.units import parse_address, parse_bundle

    mode, pinned = _parse_mode(socket_mode), bytes.fromhex(parse_bundle(bundle or "")) or None
    if remote_signer is not None and account is None:
        raise InputError(
            "--remote-signer needs --account: the address that it signs for.",
            remedy="Add --account ADDRESS, or leave out --remote-signer to use a key file.",
        )
    check_options(wallet, owner)
    addresses = Deployment.load(deployment)
    with contextlib.ExitStack() as stack:
        with open_rpc(rpc) as endpoint, CoordinatorApi(coordinator) as api:
            node.check_chain(endpoint, addresses)
            _, manifest = node.read_genesis(endpoint, api, addresses)
            ledger = LedgerReader(endpoint, addresses.ledger)
            policy = ledger.policy(ledger.current_policy())
        keys: list[OwnerKey] = []
        if remote_signer is not None:
            named = [parse_address(one) for one in (account or "", *(owner or ()))]
            remote = [RemoteKey(remote_signer, one, remote_method) for one in named]
            keys += [stack.enter_context(one) for one in remote]
        else:
            keys += local_keys(keystore, owner, password_file)
        rules = SigningRules(addresses, manifest, pinned)
        key: SigningKey = keys[0]
        if wallet is not None:
            key = WalletKey(wallet, keys, ",".join(rpc))
            key.check(rules.domain)
        folder = _record_folder(record, key.address, addresses)
        limit = ""
        if policy.noise1024:
            own = adopt_cap(folder, key.address, rules.domain, policy.privacy_cap)
            limit = f" It spends at most {_epsilon(own.cap or 0, 1e-5)} at delta 1e-05, which no vote raises."
        # Supervises no process; it handles SIGTERM.
        supervisor = stack.enter_context(Supervisor(folder))
        stack.enter_context(
            SignerAgent(key, rules, ",".join(rpc), socket.absolute(), folder, mode=mode, group=socket_group)
        )
        if json_:
            typer.echo(json.dumps({"event": "signs", "account": key.address, "socket": str(socket)}))
        else:
            note(
                f"Signs for {key.address} at {socket}. The signing record is in {folder}.{limit} Ctrl-C ends it.",
                json_,
            )
        supervisor.watch(lambda: False)


def record_show(
    record: RecordPath = None,
    account: AccountOption = None,
    delta: Annotated[float, typer.Option(help="The delta that epsilon is for.")] = 1e-5,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    json_: Json = False,
) -> None:
    """Show what the account has signed and spent by its signing record. The signer may run.

    A private training is charged before it begins. Rounds that were charged and not signed are listed: a training
    failed, or its update was refused, or came too late. `folkmoot balance` shows what the ledger has counted.

    Example: folkmoot signer record show
    """
    from client.signer.record import LOST, RECORD_FILE, SigningRecord

    folder = record
    if folder is None:
        address = _address(account, keystore)
        folder = _record_folder(None, address, _deployment(None, deployment))
    _require_record(folder)
    path = folder / RECORD_FILE
    try:
        found = SigningRecord.from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(
            f"The signing record {path} can't be read: {error.strerror}.",
            remedy="Run this command as the user that runs the signer.",
        ) from error
    ledgers = []
    lines = []
    for (chain_id, ledger), rounds in sorted(found.ledgers.items()):
        lost = sorted(number for number, named in rounds.trainings.items() if set(named) == {LOST})
        known = {*rounds.signed, *lost, *range(rounds.mark + 1)}  # No digest is kept up to the mark.
        unsigned = sorted(rounds.trainings.keys() - known)
        ledgers.append(
            {
                "chainId": chain_id,
                "ledger": ledger,
                "lowWaterMark": rounds.mark,
                "signed": sorted(rounds.signed),
                "spent": str(rounds.spent),
                "cap": None if rounds.cap is None else str(rounds.cap),
                "unsigned": unsigned,
                "lost": lost,
            }
        )
        lines.append(
            f"Chain {chain_id}, ledger {ledger}: {len(rounds.signed)} rounds signed since {rounds.mark}."
        )
        if rounds.spent or rounds.cap is not None:
            limit = "no cap of its own" if rounds.cap is None else f"at most {_epsilon(rounds.cap, delta)}"
            lines.append(f"  Spent {_epsilon(rounds.spent, delta)} at delta {delta:g}, {limit}.")
        if unsigned:
            lines.append(f"  Charged and not signed: rounds {', '.join(map(str, unsigned))}.")
        if lost:
            lines.append(
                f"  Counted because a lost record may have charged them: rounds {', '.join(map(str, lost))}."
            )
    emit({"account": found.account, "file": str(path), "ledgers": ledgers}, json_, found.account, *lines)


def _epsilon(units: int, delta: float) -> str:
    """Return units of 2^-32 rho in words: epsilon for presence, and for the content of a record."""
    from folkmoot.privacy.accountant import CONTENT, epsilon_of
    from folkmoot.protocol.budget import UNITS_OF_RHO

    rho = units / UNITS_OF_RHO
    if not units:
        return "epsilon 0"
    content = epsilon_of(rho, delta, CONTENT)
    return f"epsilon {epsilon_of(rho, delta):.2f} ({content:.2f} for what a record says; {rho:.4f} rho)"


def record_export(
    record: RecordPath = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write. Default: standard output.", show_default=False),
    ] = None,
    account: AccountOption = None,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    json_: Json = False,
) -> None:
    """Write the signing record, to move the account to another machine. Stop the signer before.

    The file has digests of signed messages and no secrets.

    Example: folkmoot signer record export --out record.json
    """
    from client.signer.record import RecordFolder

    address = _address(account, keystore)
    folder = _record_folder(record, address, _deployment(record, deployment))
    _require_record(folder)
    with RecordFolder(folder, address) as opened:
        data = opened.record.to_json()
    if out is None:
        sys.stdout.write(data.decode() + "\n")
        return
    write_file(out, data + b"\n")
    emit({"account": address, "file": str(out)}, json_, f"Wrote the signing record of {address} to {out}.")


def record_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of `folkmoot signer record export`.")],
    record: RecordPath = None,
    account: AccountOption = None,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    json_: Json = False,
) -> None:
    """Add another signing record to this one: all its digests and trainings, and the higher low-water mark.

    Each training counts once, however often records are imported. Never lowers a mark, or what is spent. A file has
    nothing that was charged after it was written: if it is all that is left, run `folkmoot signer record raise` too.

    Example: folkmoot signer record import record.json
    """
    from client.signer.record import RecordFolder, SigningRecord

    try:
        imported = SigningRecord.from_json(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(
            f"The file {file} can't be read: {error.strerror}.",
            remedy="Give a file of `folkmoot signer record export`.",
        ) from error
    address = imported.account if account is None and keystore is None else _address(account, keystore)
    folder = _record_folder(record, address, _deployment(record, deployment))
    with RecordFolder(folder, address) as opened:
        opened.store(opened.record.merged(imported))
        document = json.loads(opened.record.to_json())
    newest = max((max(one.trainings, default=0) for one in imported.ledgers.values()), default=0)
    backup = (
        f"Its newest training is of round {newest}. If it is a backup, and the record went on after it and is lost: "
        f"wait until the open round has closed, and run `folkmoot signer record raise ROUND --since {newest + 1}`."
    )
    said = f"Imported {file} into the signing record of {address} in {folder}."
    emit(document, json_, said, *([backup] if newest else []))


def record_raise(
    round_: Annotated[int, typer.Argument(metavar="ROUND", min=0, help="Newest round that was closed.")],
    since: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="ROUND",
            help="With a privacy budget: the first round that a lost record may have charged. 1 if unknown.",
            show_default=False,
        ),
    ] = None,
    record: RecordPath = None,
    account: AccountOption = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    json_: Json = False,
) -> None:
    """Raise the low-water mark: sign nothing in this round or an earlier one. To start anew after a lost record.

    Wait until the round has closed. The mark never falls. With a privacy budget, each round that this record does not
    know counts as trained once, if it is one from --since on or the ledger has an update in it: nobody can tell what a
    lost record had charged. A record that is found and imported later replaces these by what it knows.

    Example: folkmoot signer record raise 41

    Example: folkmoot signer record raise 41 --since 30
    """
    from functools import cache

    from client.node.node import check_chain
    from client.signer.record import LOST, RecordFolder, SignedRounds
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.budget import UNITS_OF_RHO
    from folkmoot.protocol.commitment import Domain
    from folkmoot.rpc.client import LedgerReader
    from folkmoot.rpc.quorum import open_rpc

    addresses = Deployment.load(deployment)
    domain = Domain(addresses.chain_id, addresses.ledger)
    address = _address(account, keystore)
    folder = _record_folder(record, address, addresses)
    with open_rpc(rpc) as endpoint, RecordFolder(folder, address) as opened:
        check_chain(endpoint, addresses)
        ledger = LedgerReader(endpoint, addresses.ledger)
        rounds = opened.record.of(domain)
        if since is None and (rounds.cap is not None or ledger.policy(ledger.current_policy()).noise1024):
            raise InputError(
                "This federation has a privacy budget, and a lost record may have charged trainings that the ledger "
                "never saw.",
                remedy="Nothing was changed. Add --since with the first round that it may have charged: each round "
                "from there on that this record does not know counts as trained once. Use --since 1 if nobody knows, "
                f"and --since {round_ + 1} if you know that nothing was lost.",
                code="since-needed",
            )
        policy, lost = cache(ledger.policy), {}
        first = since or round_ + 1
        for number in () if since is None else range(1, min(round_ + 1, ledger.next_round())):
            if number in rounds.trainings or not (number >= first or ledger.has_committed(number, address)):
                continue
            if cost := policy(ledger.round(number).policy).cost:
                lost[number] = {LOST: cost}
        rounds = rounds.merged(SignedRounds(round_, trainings=lost))
        opened.store(opened.record.with_rounds(domain, rounds))
    said = f"{address} signs nothing up to round {rounds.mark}."
    if lost:
        said += (
            f" Counted as trained once each, as a lost record may have charged them: rounds "
            f"{', '.join(map(str, lost))}. The record has {rounds.spent / UNITS_OF_RHO:.4f} rho spent."
        )
    document = {
        "account": address,
        "lowWaterMark": rounds.mark,
        "lost": sorted(lost),
        "spent": str(rounds.spent),
    }
    emit(document, json_, said)


def record_cap(
    epsilon: Annotated[
        str, typer.Argument(metavar="EPSILON|none", help="Most epsilon that the account spends, or none.")
    ],
    delta: Annotated[float, typer.Option(help="The delta that epsilon is for.")] = 1e-5,
    content: Annotated[
        bool,
        typer.Option(
            "--content", help="Epsilon is for what a record says, not only for whether it is there."
        ),
    ] = False,
    record: RecordPath = None,
    account: AccountOption = None,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    json_: Json = False,
) -> None:
    """Set the account's own cap on its privacy budget in a federation. No vote can raise it. Stop the signer before.

    Without this command, the cap is that of the policy under which `join` or `signer run` first starts. An account with
    a cap signs nothing under a policy without noise. `none` removes the cap, until one of them starts again.

    Example: folkmoot signer record cap 3
    """
    from dataclasses import replace

    from client.signer.record import MAX_NUMBER, RecordFolder
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.privacy.accountant import CONTENT, rho_for
    from folkmoot.protocol.budget import UNITS_OF_RHO
    from folkmoot.protocol.commitment import Domain

    per_rho = UNITS_OF_RHO // (CONTENT**2 if content else 1)
    cap = None if epsilon == "none" else int(rho_for(_parse_epsilon(epsilon), delta) * per_rho)
    if cap is not None and cap > MAX_NUMBER:
        raise InputError(
            f"An epsilon of {epsilon} is more than a signing record can hold.",
            remedy="Nothing was changed. Give a number such as 3, or the word none.",
        )
    addresses = Deployment.load(deployment)
    domain = Domain(addresses.chain_id, addresses.ledger)
    address = _address(account, keystore)
    with RecordFolder(_record_folder(record, address, addresses), address) as opened:
        rounds = replace(opened.record.of(domain), cap=cap)
        opened.store(opened.record.with_rounds(domain, rounds))
    document = {"account": address, "cap": cap and str(cap), "spent": str(rounds.spent)}
    limit = (
        "has no cap of its own"
        if cap is None
        else f"spends at most {_epsilon(cap, delta)} at delta {delta:g}"
    )
    emit(document, json_, f"{address} {limit}. The record has {rounds.spent / UNITS_OF_RHO:.4f} rho spent.")


def _parse_epsilon(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is not an epsilon.", remedy="Give a number such as 3, or the word none."
        ) from error


def _address(account: str | None, keystore: Path | None) -> str:
    return account_address(account, keystore if account else keystore_file(keystore))


def _deployment(record: Path | None, path: Path) -> Deployment | None:
    """Return the deployment if the record's default folder depends on it."""
    from folkmoot.ledger.deployment import Deployment

    return Deployment.load(path) if record is None else None


def _record_folder(record: Path | None, account: str, deployment: Deployment | None) -> Path:
    from client.signer.agent import RECORD_FOLDER

    if record is not None or deployment is None:
        return (record or Path(RECORD_FOLDER)).absolute()
    return node_folder(account, deployment.ledger) / RECORD_FOLDER


def _require_record(folder: Path) -> None:
    from client.signer.record import RECORD_FILE

    if not (folder / RECORD_FILE).exists():
        raise InputError(
            f"There is no signing record in {folder}.",
            remedy="Give the folder of the signer with --record.",
            code="record-missing",
        )


def _parse_mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or mode & 0o002:
        raise InputError(
            f"{text!r} are no permissions of the socket.",
            remedy="Give octal digits such as 600 or 660. Everybody must not be able to write to it.",
        )
    return mode
