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

from client.signer.options import (
    MAX_FEE_GWEI,
    BundleHash,
    Owners,
    RecordPath,
    RemoteMethod,
    Wallet,
    local_keys,
)
from folkmoot.cli.context import context
from folkmoot.cli.options import account_address, node_folder
from folkmoot.cli.output import emit, is_json, note, write_file
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
    group.command("record")(signer_record)
    group.command("restore")(signer_restore)
    return group


def signer_run(
    socket: Annotated[
        Path, typer.Option(metavar="SOCKET", help="Path of the socket; give it to `folkmoot join --signer`.")
    ],
    record: RecordPath = None,
    socket_group: Annotated[
        str | None, typer.Option(metavar="GROUP", help="Group of the socket: one that the node's user is in.")
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
        ),
    ] = None,
    remote_method: Annotated[
        RemoteMethod, typer.Option(help="For Web3Signer eth_signTypedData, for Clef account_signTypedData.")
    ] = RemoteMethod.WEB3SIGNER,
    account: AccountOption = None,
    wallet: Wallet = None,
    owner: Owners = None,
    max_fee_gwei: Annotated[
        float,
        typer.Option(
            help="Highest price of a unit of gas at which an update is recorded on the chain by a transaction of the "
            "account, near the end of the commit window, if the coordinator has not recorded it. 0: never.",
            min=0,
        ),
    ] = MAX_FEE_GWEI,
) -> None:
    """Sign a node's updates until Ctrl-C, after checking each one against the chain and the signing record.

    Run it as another user than the node, whose code comes from the coordinator.

    Example: folkmoot signer run --socket /run/folkmoot/signer.sock --socket-group moot --socket-mode 660

    Example: folkmoot signer run --socket signer.sock --remote-signer http://127.0.0.1:9000 --account 0x...

    Example: folkmoot signer run --socket signer.sock --wallet 0xSAFE --keystore one.json --owner two.json
    """
    from client.signer.agent import SignerAgent
    from client.signer.checks import SigningRules
    from client.signer.committing import OwnCommitments
    from client.signer.keys import LocalKey, RemoteKey
    from client.signer.record import adopt_cap
    from client.signer.wallet import WalletKey, check_options
    from folkmoot.artifacts.federation import Federation
    from folkmoot.chain.client import check_deployment
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
    addresses = Deployment.load(context().deployment)
    with contextlib.ExitStack() as stack:
        with open_rpc(context().rpc) as endpoint, CoordinatorApi(context().coordinator) as api:
            check_deployment(endpoint, addresses)
            ledger = LedgerReader(endpoint, addresses.ledger)
            manifest = Federation.open(addresses, api.files, ledger).manifest
            policy = ledger.policy(ledger.current_policy())
        keys: list[OwnerKey] = []
        if remote_signer is not None:
            named = [parse_address(one) for one in (account or "", *(owner or ()))]
            remote = [RemoteKey(remote_signer, one, remote_method) for one in named]
            keys += [stack.enter_context(one) for one in remote]
        else:
            keys += local_keys(owner)
        rules = SigningRules(addresses, manifest, pinned)
        key: SigningKey = keys[0]
        if wallet is not None:
            key = WalletKey(wallet, keys, ",".join(context().rpc))
            key.check(rules.domain)
        folder = _record_folder(record, key.address, addresses)
        limit = ""
        if policy.noise1024:
            own = adopt_cap(folder, key.address, rules.domain, policy.privacy_cap)
            limit = f" It spends at most {_epsilon(own.cap or 0, 1e-5)} at delta 1e-05, which no vote raises."
        # Supervises no process; it handles SIGTERM.
        supervisor = stack.enter_context(Supervisor(folder))
        payer = keys[0].account if isinstance(keys[0], LocalKey) else None
        recorder = OwnCommitments(addresses, ",".join(context().rpc), payer, max_fee_gwei)
        place = ",".join(context().rpc), socket.absolute(), folder
        stack.enter_context(SignerAgent(key, rules, *place, own=recorder, mode=mode, group=socket_group))
        if is_json():
            typer.echo(json.dumps({"event": "signs", "account": key.address, "socket": str(socket)}))
        else:
            note(
                f"Signs for {key.address} at {socket}. The signing record is in {folder}.{limit} Ctrl-C ends it.",
            )
        supervisor.watch(lambda: False)


def signer_record(
    record: RecordPath = None,
    account: AccountOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Write the record to this file, or to standard output, to move the account. Stop the signer before.",
        ),
    ] = None,
    cap: Annotated[
        str | None,
        typer.Option(
            metavar="EPSILON|none",
            help="Set the account's own cap on its privacy budget in this federation. Stop the signer before.",
        ),
    ] = None,
    delta: Annotated[float, typer.Option(help="The delta that epsilon is for.")] = 1e-5,
    content: Annotated[
        bool,
        typer.Option(
            "--content",
            help="With --cap: epsilon is for what a record says, not only for whether it is there.",
        ),
    ] = False,
) -> None:
    """Show what the account has signed and spent by its signing record. The signer may run.

    A private training is charged before it begins. Rounds that were charged and not signed are listed: a training
    failed, or its update was refused, or came too late. `folkmoot balance` shows what the ledger has counted.

    A written file has digests of signed messages and no secrets. No vote can raise the account's own cap. Without
    --cap, it is that of the policy under which `join` or `signer run` first starts. An account with a cap signs nothing
    under a policy without noise. `none` removes the cap, until one of them starts again.

    Example: folkmoot signer record

    Example: folkmoot signer record --out record.json

    Example: folkmoot signer record --cap 3
    """
    if out is not None and cap is not None:
        raise typer.BadParameter("give --out or --cap")
    if out is not None:
        _export(record, out, account)
    elif cap is not None:
        _set_cap(cap, delta, content, record, account)
    else:
        _show(record, account, delta)


def _show(record: Path | None, account: str | None, delta: float) -> None:
    from client.signer.record import LOST, RECORD_FILE, SigningRecord

    folder = record
    if folder is None:
        address = account_address(account)
        folder = _record_folder(None, address, _deployment(None))
    _require_record(folder)
    path = folder / RECORD_FILE
    try:
        signed = SigningRecord.from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(
            f"The signing record {path} can't be read: {error.strerror}.",
            remedy="Run this command as the user that runs the signer.",
        ) from error
    ledgers = []
    lines = []
    for (chain_id, ledger), rounds in sorted(signed.ledgers.items()):
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
    emit({"account": signed.account, "file": str(path), "ledgers": ledgers}, signed.account, *lines)


def _epsilon(units: int, delta: float) -> str:
    """Return units of 2^-32 rho in words: epsilon for presence, and for the content of a record."""
    from folkmoot.privacy.accountant import CONTENT, epsilon_of
    from folkmoot.protocol.budget import UNITS_OF_RHO

    rho = units / UNITS_OF_RHO
    if not units:
        return "epsilon 0"
    content = epsilon_of(rho, delta, CONTENT)
    return f"epsilon {epsilon_of(rho, delta):.2f} ({content:.2f} for what a record says; {rho:.4f} rho)"


def _export(record: Path | None, out: str, account: str | None) -> None:
    from client.signer.record import RecordFolder

    address = account_address(account)
    folder = _record_folder(record, address, _deployment(record))
    _require_record(folder)
    with RecordFolder(folder, address) as opened:
        data = opened.record.to_json()
    if out == "-":
        sys.stdout.write(data.decode() + "\n")
        return
    write_file(Path(out), data + b"\n")
    emit({"account": address, "file": out}, f"Wrote the signing record of {address} to {out}.")


def signer_restore(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="File of `folkmoot signer record --out`, to add.")
    ] = None,
    raise_: Annotated[
        int | None,
        typer.Option(
            "--raise",
            min=0,
            metavar="ROUND",
            help="Sign nothing in this round or an earlier one: the newest round that was closed.",
        ),
    ] = None,
    since: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="ROUND",
            help="With a privacy budget: the first round that a lost record may have charged. 1 if unknown.",
        ),
    ] = None,
    record: RecordPath = None,
    account: AccountOption = None,
) -> None:
    """Restore a signing record: add one from a file, or start anew after a lost one with --raise.

    A file adds all its digests and trainings, and the higher low-water mark. Each training counts once, however often
    records are added. Nothing lowers a mark, or what is spent. A file has nothing that was charged after it was
    written: if it is all that is left, run this again with --raise.

    Before --raise, wait until the round has closed. With a privacy budget, each round from --since on counts as trained
    twice, the most that a record charges; so does an earlier one that this record does not know, if the ledger has an
    update in it. Nobody can tell what a lost record had charged: this may count too much, and never too little.

    Example: folkmoot signer restore record.json

    Example: folkmoot signer restore --raise 41 --since 30
    """
    if (file is None) == (raise_ is None) or (since is not None and raise_ is None):
        raise typer.BadParameter("give a FILE, or --raise ROUND, to which --since belongs")
    if file is not None:
        _import(file, record, account)
    elif raise_ is not None:
        _raise(raise_, since, record, account)


def _import(file: Path, record: Path | None, account: str | None) -> None:
    from client.signer.record import RecordFolder, SigningRecord

    try:
        imported = SigningRecord.from_json(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(
            f"The file {file} can't be read: {error.strerror}.",
            remedy="Give a file of `folkmoot signer record --out`.",
        ) from error
    address = imported.account if account is None and context().keystore is None else account_address(account)
    folder = _record_folder(record, address, _deployment(record))
    with RecordFolder(folder, address) as opened:
        opened.store(opened.record.merged(imported))
        document = json.loads(opened.record.to_json())
    text = f"Imported {file} into the signing record of {address} in {folder}."
    private = {key[1]: rounds.unsure for key, rounds in imported.ledgers.items() if rounds.trainings}
    backup = [
        "If it is a backup, and the record went on after it and is lost: wait until the open round has closed, and run",
        *(
            f"  folkmoot signer restore --raise ROUND --since {round_}    # for the ledger {ledger}"
            for ledger, round_ in private.items()
        ),
    ]
    emit(document, text, *(backup if private else []))


def _raise(round_: int, since: int | None, record: Path | None, account: str | None) -> None:
    from functools import cache

    from client.signer.record import RecordFolder
    from folkmoot.chain.client import check_deployment
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.budget import UNITS_OF_RHO
    from folkmoot.protocol.commitment import Domain
    from folkmoot.rpc.client import LedgerReader
    from folkmoot.rpc.quorum import open_rpc

    addresses = Deployment.load(context().deployment)
    domain = Domain(addresses.chain_id, addresses.ledger)
    address = account_address(account)
    folder = _record_folder(record, address, addresses)
    with open_rpc(context().rpc) as endpoint, RecordFolder(folder, address) as opened:
        check_deployment(endpoint, addresses)
        ledger = LedgerReader(endpoint, addresses.ledger)
        rounds = opened.record.of(domain)
        if since is None and (rounds.cap is not None or ledger.policy(ledger.current_policy()).noise1024):
            raise InputError(
                "This federation has a privacy budget, and a lost record may have charged trainings that the ledger "
                "never saw.",
                remedy="Nothing was changed. Add --since with the first round that it may have charged: each round "
                "from there on counts as trained twice, the most that a record charges. Use --since 1 if nobody knows, "
                f"and --since {round_ + 1} if you know that nothing was lost.",
                code="since-needed",
            )
        policy, lost = cache(ledger.policy), {}
        first = since or round_ + 1
        for number in () if since is None else range(1, min(round_ + 1, ledger.next_round())):
            known = number in rounds.trainings
            if number < first and (known or not ledger.has_committed(number, address)):
                continue
            if cost := policy(ledger.round(number).policy).cost:
                lost[number] = cost
        rounds = rounds.with_lost(lost).raised(round_)
        opened.store(opened.record.with_rounds(domain, rounds))
    text = f"{address} signs nothing up to round {rounds.mark}."
    if lost:
        text += (
            f" Counted as trained twice each, as a lost record may have charged them: rounds "
            f"{', '.join(map(str, lost))}. The record has {rounds.spent / UNITS_OF_RHO:.4f} rho spent."
        )
    document = {
        "account": address,
        "lowWaterMark": rounds.mark,
        "lost": sorted(lost),
        "spent": str(rounds.spent),
    }
    emit(document, text)


def _set_cap(epsilon: str, delta: float, content: bool, record: Path | None, account: str | None) -> None:
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
    addresses = Deployment.load(context().deployment)
    domain = Domain(addresses.chain_id, addresses.ledger)
    address = account_address(account)
    with RecordFolder(_record_folder(record, address, addresses), address) as opened:
        rounds = replace(opened.record.of(domain), cap=cap)
        opened.store(opened.record.with_rounds(domain, rounds))
    document = {"account": address, "cap": cap and str(cap), "spent": str(rounds.spent)}
    limit = (
        "has no cap of its own"
        if cap is None
        else f"spends at most {_epsilon(cap, delta)} at delta {delta:g}"
    )
    emit(document, f"{address} {limit}. The record has {rounds.spent / UNITS_OF_RHO:.4f} rho spent.")


def _parse_epsilon(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is not an epsilon.", remedy="Give a number such as 3, or the word none."
        ) from error


def _deployment(record: Path | None) -> Deployment | None:
    """Return the deployment if the record's default folder depends on it."""
    from folkmoot.ledger.deployment import Deployment

    return Deployment.load(context().deployment) if record is None else None


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
