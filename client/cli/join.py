# SPDX-License-Identifier: Apache-2.0
"""The contributor's commands: join a federation, measure its rounds, submit an update without Flower.

Commands import heavy libraries themselves, so that `folkmoot --help` stays fast.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.task import OneTask, TaskName, one_subject
from client.signer.options import Owners, RecordPath, Wallet
from folkmoot.cli.options import (
    APP_WAIT_DEFAULT,
    DEPLOYMENT_DEFAULT,
    RPC_DEFAULT,
    AppPath,
    AppWait,
    Confirmations,
    DataPaths,
    DeploymentPath,
    Json,
    KeystorePath,
    LogFormat,
    NodeConfig,
    PassEnv,
    PasswordFile,
    RpcUrl,
    RunConfig,
    WritableFolders,
)
from folkmoot.cli.output import emit, note
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.chain.client import Chain
    from folkmoot.ledger.deployment import Deployment

CoordinatorUrl = Annotated[
    str,
    typer.Option("--coordinator", envvar="FOLKMOOT_COORDINATOR", metavar="URL", help="Coordinator's API."),
]


def join(
    coordinator: CoordinatorUrl,
    superlink: Annotated[str, typer.Option(help="host:port of the coordinator's Flower SuperLink.")],
    task: OneTask = None,
    app: AppPath = None,
    run_config: RunConfig = None,
    partition: Annotated[
        str,
        typer.Option(
            help="i/n: use share i, counted from 0, of n shares of the data. Shipped tasks split their data so. An app "
            "reads the numbers as partition-id and num-partitions."
        ),
    ] = "0/1",
    node_config: NodeConfig = None,
    app_wait: AppWait = APP_WAIT_DEFAULT,
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of the node. Default: one per account and ledger, in your data folder."),
    ] = None,
    stake: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="If the stake is too low, stake this number of tokens first."),
    ] = None,
    root: Annotated[
        str,
        typer.Option(
            metavar="good|biased",
            help="Needs the coordinator's keystore. Train on the task's root set. The rule compares the updates of "
            "contributors with this update and never adds it to the model. Use good; biased, for experiments, lacks "
            "half of the classes.",
        ),
    ] = "",
    signer: Annotated[
        Path | None,
        typer.Option(
            "--signer",
            metavar="SOCKET",
            help="Socket of `folkmoot signer run`, which holds the key instead of this process. Stake and enrol the "
            "account before.",
        ),
    ] = None,
    record: RecordPath = None,
    wallet: Wallet = None,
    owner: Owners = None,
    port: Annotated[int, typer.Option(help="Port of the SuperNode's Runtime API. 0: a free port.")] = 0,
    root_certificates: Annotated[
        Path | None, typer.Option(help="Certificates for the SuperLink's TLS. Default: the system's.")
    ] = None,
    node_key: Annotated[
        Path | None,
        typer.Option(
            "--node-key",
            metavar="FILE",
            help="Key file of this node, for a SuperLink that admits registered nodes only. Created if it does not "
            "exist. Send FILE.pub to the operator.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Use no TLS, even if the SuperLink is on another machine.")
    ] = False,
    pause: Annotated[float, typer.Option(help="Seconds between two polls for messages during a run.")] = 0.5,
    no_enrol: Annotated[
        bool,
        typer.Option(
            "--no-enrol",
            help="Do not enrol: for an account that you enrol elsewhere. Without enrolment no round takes an update.",
        ),
    ] = False,
    no_fork: Annotated[
        bool,
        typer.Option(
            "--no-fork", help="Start a new Python process for each message, as Flower does. Slower."
        ),
    ] = False,
    data: DataPaths = None,
    writable: WritableFolders = None,
    pass_env: PassEnv = None,
    bundle: Annotated[
        str,
        typer.Option(
            metavar="HASH",
            help="SHA-256 of the only bundle of training code that this node runs and signs for. Default: any of the "
            "coordinator's.",
        ),
    ] = "",
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL_OR_FOLDER",
            help="Mirror to get models from, before the coordinator is asked. Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    limit_memory: Annotated[
        float, typer.Option(metavar="GB", help="Memory for the training code. 0: half of this machine's.")
    ] = 0,
    limit_disk: Annotated[float, typer.Option(metavar="GB", help="Disk space for the training code.")] = 10,
    without_sandbox: Annotated[
        bool,
        typer.Option(
            "--without-sandbox",
            help="Let the training code do all that your account can. For systems without a sandbox.",
        ),
    ] = False,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    log_format: LogFormat = None,
    layout: Annotated[
        Path | None, typer.Option(hidden=True, help="Manifest that was made from --app.")
    ] = None,
    json_: Json = False,
) -> None:
    """Join a federation: check its services, then run a signer and a Flower SuperNode until Ctrl-C.

    Give --task, or --app with the folder of the Flower app that the federation trains.

    Enrols the account with all its unlocked stake, unless you give --no-enrol: rounds take updates of enrolled accounts
    only, and wait for them. Enrols it again if it was removed because it had missed rounds. The coordinator's account,
    with --root, needs no enrolment.

    Example: folkmoot join --coordinator https://moot.example --superlink moot.example:8000 --task mnist

    Example: folkmoot join --coordinator URL --superlink HOST:PORT --app ./quickstart-pytorch --partition 0/3

    Example: folkmoot join --coordinator URL --superlink HOST:PORT --task mnist --wallet 0xSAFE --keystore owner.json
    """
    from client.keeper.keeper import Keeper
    from client.keeper.transfers import Transfers
    from client.node import access, admission, apps, node
    from client.node.enrolment import Reenrolment, enrol
    from client.signer.agent import RECORD_FOLDER, SignerAgent, linked_signer
    from client.signer.checks import SigningRules
    from client.signer.keys import LocalKey, SigningKey
    from client.signer.record import SignedRounds, adopt_cap
    from client.signer.wallet import WalletKey, check_options
    from folkmoot.apps.folder import AppFolder
    from folkmoot.cli.options import keystore_file, keystore_folder, node_folder, step_limit, unlock
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.flower.contributor import Contributor
    from folkmoot.flower.signing import budget_of_agent
    from folkmoot.ledger.admission import require_admitted
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.manifest import PRIVACY
    from folkmoot.rpc.client import LedgerReader
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime import keystore as keys
    from folkmoot.runtime import logs
    from folkmoot.runtime.memory import FROZEN, TRAINING, require_memory
    from folkmoot.runtime.superlink import SuperLink
    from folkmoot.runtime.units import format_amount, parse_address, parse_bundle
    from folkmoot.runtime.urls import secrets_of
    from folkmoot.sandbox.kernel import require_support
    from folkmoot.tasks import load_task

    logging_as = logs.chosen(log_format)
    which, partitions = node.parse_partition(partition)
    meeting_place = SuperLink(superlink, root_certificates, insecure)
    addresses = Deployment.load(deployment)
    # Report a task or an app that can't be loaded before anything else.
    subject = AppFolder.read(app, run_config or ()) if app is not None else None
    one = one_subject(task, app, run_config)
    if subject is None:
        load_task(one)
    elif root:
        raise InputError(
            "An app can't have a root set: only tasks have them.",
            remedy="Leave out --root, or use --task.",
        )
    config = apps.node_config(which, partitions, node_config)
    if node_key is not None and admission.make_if_missing(node_key, meeting_place):
        public = admission.public_file(node_key)
        note(
            f"Created the key of this node, {node_key}. Send {public} to the operator of the SuperLink.",
            json_,
        )
    key_file: Path | None = None
    owners = [Path(file) for file in owner or ()]
    check_options(wallet, owner)
    if wallet is not None and stake is not None:
        raise InputError(
            "--stake can't be used with --wallet: `join` sends no transactions of a contract.",
            remedy="Let the contract stake and enrol, then join.",
        )
    if signer is None:
        key_file = keystore_file(keystore)
        address = keys.address_of(key_file) if wallet is None else parse_address(wallet)
    elif stake is not None or record is not None or wallet is not None:
        raise InputError(
            "--signer can't be used with --stake, --record or --wallet.",
            remedy="Stake with `folkmoot stake`. Give --record and --wallet to `folkmoot signer run`.",
        )
    else:
        address = _account_of(signer, addresses)
    folder = (home or node_folder(address, addresses.ledger)).resolve()
    # With --signer too: the user's own key files may be another account's.
    kept: list[Path] = [keystore_folder()]
    if keystore is not None:
        kept += [file.path for file in keys.files_in(keystore)] if keystore.is_dir() else [keystore]
    granted = access.Access(
        data=tuple(data or ()),
        writable=tuple(writable or ()),
        environment=tuple(pass_env or ()),
        secrets=access.hidden_of([key_file, *owners, *kept, password_file, node_key, record]),
        bundle=parse_bundle(bundle),
        sandbox=not without_sandbox,
        memory=access.parse_limit(limit_memory),
        disk=access.parse_limit(limit_disk),
    ).with_config(config)
    access.check_options(granted)
    access.check_apart(folder, granted, [] if app is None else [app])
    if granted.sandbox:
        access.check_direct(rpc)
        require_support()

    def say(text: str) -> None:
        note(text, json_)

    bar = sys.stderr.isatty() and not json_

    with open_rpc(rpc) as endpoint, CoordinatorApi(coordinator) as api:
        say(f"Checking the chain at {endpoint.name} ...")
        node.check_chain(endpoint, addresses)
        if not (root or no_enrol or LedgerReader(endpoint, addresses.ledger).enrolled(address)):
            require_admitted(endpoint, addresses, address)
        say(f"Checking the coordinator at {api.url} and the SuperLink at {meeting_place.address} ...")
        node.check_coordinator(api, addresses)
        meeting_place.check()
        node.check_root(endpoint, addresses, address, root)
        lacking = node.missing_stake(endpoint, addresses, address)
        if lacking and stake is None:
            remedy = f"Add --stake {format_amount(lacking).split()[0]}, or use `folkmoot stake`."
            if wallet is not None:
                remedy = (
                    f"Let it approve tokens to the vault {addresses.vault} and call `stake` of the vault."
                )
            raise InputError(
                f"The stake of {address} is {format_amount(lacking)} too low for the current policy.",
                remedy=remedy,
                code="stake-too-low",
            )
        if wallet is not None and not no_enrol:
            node.check_enrolled(endpoint, addresses, address)
        genesis, manifest = node.read_genesis(endpoint, api, addresses)
        require_memory(
            TRAINING * manifest.size + FROZEN * manifest.file_bytes,
            "Training",
            "Nothing was started. Join on a machine with more memory, or give a higher --limit-memory.",
            access.memory_limit(granted),
        )
        contributor = Contributor(
            home=folder,
            rpc=",".join(rpc),
            coordinator=coordinator,
            deployment=addresses.to_json(),
            account=address,
            task=one if subject is None else subject.name,
            partition=which,
            partitions=partitions,
            root=root,
            private=PRIVACY in manifest.training,
        )
        transfers = Transfers(lambda event: say(_text(event)) if _text(event) else None, bar=bar)
        keeper = Keeper(contributor, manifest, genesis, mirror or (), transfers)
        ledger = LedgerReader(endpoint, addresses.ledger)
        policy = ledger.policy(ledger.current_policy())
        granted = access.pinned(granted, policy.bundle_hash)
        spent = ledger.spent(address) if policy.noise1024 else 0
        access.privacy_of(manifest, policy, spent)  # Join ends here if the budget is spent.
        if subject is None:
            say(f"Checking that the task {task} has the federation's model ...")
            node.check_task_apart(one, manifest, root)
        else:
            say(f"Checking that the app {subject.name} has the federation's model ...")
            apps.check(subject, manifest, partitions, layout, step_limit(app_wait, json_))
        say(f"Checking the base model, {manifest.state_file_size / 1e6:,.1f} MB ...")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with node.locked(folder):
            if manifest.files:
                say(f"Checking the arrays that nobody trains, {manifest.file_bytes / 1e6:,.1f} MB ...")
                keeper.fetch_carried()
            keeper.head()
        block = endpoint.block_number()
    account = None if key_file is None else unlock(key_file, password_file)
    if account is not None and stake is not None and (lacking or confirmations > 1):
        _stake(rpc, addresses, account, stake, confirmations, json_, there=not lacking)
    if not root:  # The coordinator commits its root update without enrolment.
        enrol(rpc, addresses, address, None if no_enrol or wallet else account, json_)
    own = SignedRounds()
    if account is None:
        if policy.noise1024:
            counted, cap = budget_of_agent(signer or contributor.socket)
            own = SignedRounds(other_costs=counted, cap=cap)
        agent: AbstractContextManager[object] = linked_signer(signer or contributor.socket, folder)
    else:
        rules = SigningRules(addresses, manifest, bytes.fromhex(granted.bundle) or None)
        place = record or folder / RECORD_FOLDER
        key: SigningKey = LocalKey(account)
        if wallet is not None:
            more = [LocalKey(unlock(file, password_file)) for file in owners]
            key = WalletKey(address, [LocalKey(account), *more], contributor.rpc)
            key.check(rules.domain)
        if policy.noise1024:
            own = adopt_cap(place, address, rules.domain, policy.privacy_cap)
        agent = SignerAgent(key, rules, contributor.rpc, contributor.socket, place)
    options = node.NodeOptions(
        superlink=meeting_place,
        port=port,
        fork=not no_fork,
        pause=pause,
        config=config,
        preload=None if subject is None else subject.preloads(),
        key=node_key and node_key.resolve(),
        access=granted,
    )
    privacy = access.privacy_of(manifest, policy, spent, own)
    for line in access.described(node.rules_for(contributor, granted), granted, signer, privacy):
        say(line)
    say(f"Starting the node in {folder} ...")
    if not json_:
        logs.setup(logging_as, hidden=secrets_of(*rpc), stream=sys.stdout)
    reenrolment = Reenrolment(rpc, addresses, address, None if wallet else account, block, json_)

    def tell(event: dict[str, Any]) -> None:
        if json_:
            typer.echo(json.dumps(event))
        else:
            _log(event, address)

    def on_event(event: dict[str, object]) -> None:
        tell(event)
        if event["event"] == "refused" and not (root or no_enrol):
            reenrolment.look()

    transfers.say = tell
    node.run_node(contributor, agent, options, on_event=on_event, keeper=keeper)


def _account_of(signer: Path, deployment: Deployment) -> str:
    """Return the account that a signer agent signs for, which must sign for this federation."""
    from folkmoot.flower.signing import account_of_agent

    address, domain = account_of_agent(signer)
    if (domain.chain_id, domain.verifying_contract) != (deployment.chain_id, deployment.ledger):
        raise InputError(
            f"The signer at {signer} signs for chain {domain.chain_id}, ledger {domain.verifying_contract}.",
            remedy="Start `folkmoot signer run` with the --deployment of this federation.",
            code="wrong-ledger",
        )
    return address


def _stake(
    rpc: Sequence[str],
    deployment: Deployment,
    account: LocalAccount,
    amount: str,
    confirmations: int,
    as_json: bool,
    *,
    there: bool,
) -> None:
    """Stake, or wait until a stake of an interrupted call has enough confirmations."""
    from folkmoot.cli.options import noted, require_web3
    from folkmoot.cli.stake import stake_with_permit
    from folkmoot.runtime.units import format_amount, parse_amount

    require_web3()
    from folkmoot.chain.client import Chain

    chain = Chain.connect(rpc, deployment)
    try:
        units, before = parse_amount(amount), chain.stake_of(account.address)
        if not there and chain.gas_balance_of(account.address) == 0:
            raise InputError(
                f"{account.address} has nothing to pay for the transaction that stakes.",
                remedy="Send it some of the chain's native coin.",
                code="no-gas",
            )
        with noted(confirmations, as_json) as notes:
            chain.notes = notes
            purpose = f"stake {amount} on top of {before - units if there else before} to join"
            if there:
                chain.earlier("vault", account.address, purpose, once=True)
                return
            stake_with_permit(chain, account, units, purpose)
            note(f"Staked {format_amount(units)}.", as_json)
    finally:
        chain.close()


def _text(event: dict[str, Any]) -> str:
    """Return the text of an event of the keeper."""
    if event["event"] != "transferred":
        return str(event.get("detail", ""))
    way = "Received" if event["direction"] == "down" else "Sent"
    size, seconds = int(event["bytes"]), float(event["seconds"])
    rate = f" ({size / seconds / 1e6:,.2f} MB/s)" if seconds else ""
    return f"{way} the {event['what']}: {size / 1e6:,.2f} MB in {seconds:.1f} s{rate}."


def _log(event: dict[str, object], account: str) -> None:
    """Print an event of the node."""
    from folkmoot.runtime.logs import fields

    values: dict[str, Any] = {"account": account, **event}
    kind = str(values.pop("event"))
    level = logging.INFO
    if kind == "joined":
        text = (
            f"{account} has joined and waits for the next round. Ctrl-C stops the node. Log: {values['log']}"
        )
    elif kind == "bundle":
        text = f"The training code that the coordinator sends is the bundle {values['hash']}."
    elif kind == "update":
        text = (
            f"Round {values['round']}: update {str(values['updateRoot'])[:18]}... is signed and on its way."
        )
    elif kind == "received":
        text = f"Round {values['round']}: the coordinator has the update."
    elif kind == "transferred":
        text = _text(event)
    elif kind == "trained":
        text = str(values.pop("detail"))
    elif kind in ("transfer-repeats", "means-failed", "keeper-failed"):
        level = logging.WARNING
        text = str(values.pop("detail"))
    elif kind == "left":
        level = logging.WARNING
        text = f"{values['detail']} It starts again in {values['pause']} s. Signed updates are kept."
    elif kind == "missed":
        level = logging.WARNING
        text = (
            f"{values['detail']} This node takes part in the next round without your help. If this happens in each "
            "round, use a faster connection or fewer training steps, or submit the update with `folkmoot submit`."
        )
    elif kind == "no-place":
        text = f"No update: {values['detail']}"
    elif "round" in values:
        level = logging.WARNING
        text = (
            f"Round {values['round']}: the coordinator refused the update, {values['detail']} "
            "This node takes part in the next round without your help. For more, run `folkmoot why`."
        )
    else:
        level = logging.WARNING
        text = f"Refused: {values.pop('detail')}"
    logging.getLogger("folkmoot.node").log(level, "%s", text, extra=fields(kind, **values))


def submit(
    round_: Annotated[int, typer.Argument(metavar="ROUND", help="Round of the update.")],
    coordinator: CoordinatorUrl,
    home: Annotated[Path, typer.Option(help="Folder of the node that made the update.")],
    on_chain: Annotated[
        bool,
        typer.Option(
            "--on-chain",
            help="Also write the whole update to the chain, in the commit window. A coordinator that then leaves it "
            "out loses its bond.",
        ),
    ] = False,
    wallet: Wallet = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Commit an update with your own transaction and upload its file, without Flower.

    Use it if the coordinator leaves you out. The chain takes commitments from every account with a place in the round.
    If the coordinator then refuses the file, everybody can see that on the chain.

    With --wallet, the account of the key file pays for the transaction, and the contract's signature is the node's.

    Example: folkmoot submit 7 --home node --coordinator https://moot.example
    """
    from client.keeper.delivery import signed_commitment
    from folkmoot.cli.options import sending, unlock
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.errors import CoordinatorError, UpdateRefused
    from folkmoot.flower.contributor import kept_update
    from folkmoot.runtime.units import parse_address

    if on_chain and wallet is not None:
        raise InputError(
            "--on-chain can't be used with --wallet: only the contract itself can deliver its update on the chain.",
            remedy="Leave out --on-chain.",
        )
    kept = kept_update(home, round_)
    if kept is None:
        raise InputError(
            f"The folder {home} keeps no update of round {round_}.",
            remedy="A node keeps its last three updates. Give the folder of the node that made this one with --home.",
            code="no-update",
        )
    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        contributor = account.address if wallet is None else parse_address(wallet)
        rpc_of_wallet = None if wallet is None else chain.ledger_reader.rpc
        policy = chain.ledger_reader.round(round_).policy  # 0 for an unknown round, which the ledger refuses.
        width = chain.ledger_reader.policy(policy).width if policy else 8
        commitment, signature = signed_commitment(
            kept, round_, contributor, chain.deployment, width, rpc_of_wallet
        )
        purpose = f"commit to round {round_}" + (f" for {contributor}" if wallet else "")
        parts = OnChainParts()
        # The commitment of an enrolled account may end the window, and with it the time to deliver.
        deliver_first = on_chain and chain.ledger_reader.counts(round_, account.address)
        if deliver_first:
            parts = _deliver(chain, account, coordinator, round_, commitment.update_root, kept.data, width)
        receipt = chain.earlier("ledger", account.address, purpose, wait=False, once=True)
        if receipt is None and not chain.ledger_reader.has_committed(round_, contributor):
            function = chain.ledger.functions.commitUpdate(commitment.abi_tuple())
            if wallet is not None:
                function = chain.ledger.functions.commitUpdateFor(commitment.abi_tuple(), signature)
            receipt = chain.send(function, account, purpose=purpose, wait=False, once=True)
        if on_chain and not deliver_first:
            parts = _deliver(chain, account, coordinator, round_, commitment.update_root, kept.data, width)
        delivered, why = True, ""
        try:
            with CoordinatorApi(coordinator) as api:
                api.submit_update(round_, kept.commitment, kept.data)
        except (CoordinatorError, UpdateRefused) as error:
            delivered, why = False, str(error)
        # After the delivery: the windows of a round do not wait for confirmations.
        (receipt,) = chain.settle(receipt) if receipt is not None else (*chain.settle(), None)
        document = {
            "round": round_,
            "updateRoot": "0x" + commitment.update_root.hex(),
            "transaction": None if receipt is None else receipt["transactionHash"].to_0x_hex(),
            "delivered": delivered,
            "parts": parts.all,
            "partsSent": parts.sent,
            "gas": parts.gas + (0 if receipt is None else receipt["gasUsed"]),
        }
        outcome = "and the coordinator has its file." if delivered else f"but its file was not taken: {why}"
        if parts.all:
            earlier = parts.all - parts.sent
            outcome += f" All of it is on the chain, in {parts.all} parts"
            outcome += f", {earlier} of them by an earlier call" if earlier else ""
            outcome += f", for {parts.gas:,} gas: it can't be left out."
        emit(document, json_, f"The commitment of round {round_} is on the chain, {outcome}")


@dataclass
class OnChainParts:
    """The parts of an update that were delivered on the chain."""

    all: int = 0
    """Number of parts of the update; all of them are on the chain."""
    sent: int = 0
    """Number of parts that this call sent."""
    gas: int = 0
    """Gas used by the sent parts."""


def _deliver(
    chain: Chain, account: LocalAccount, coordinator: str, number: int, root: bytes, data: bytes, width: int
) -> OnChainParts:
    """Send the parts of an update that are not yet on the chain."""
    from folkmoot.artifacts.sources import CoordinatorSource
    from folkmoot.errors import ContractRefused
    from folkmoot.fraud.proofs.availability import delivery_calls
    from folkmoot.fraud.watcher.round_files import open_shelf

    functions = chain.data_availability.functions
    there, missing, _ = chain.read(functions.deliveries(number, account.address, root))
    purpose = f"part {{}} of update {root.hex()} of round {number}"
    if there and not missing:
        for part in range(
            there
        ):  # A transaction of an interrupted call may not have enough confirmations yet.
            chain.earlier("data_availability", account.address, purpose.format(part), wait=False, once=True)
        return OnChainParts(there)
    ledger, source = chain.ledger_reader, CoordinatorSource(coordinator)
    try:
        manifest = open_shelf(source, ledger.genesis_hash(), ledger.manifest_hash()).manifest
    finally:
        source.close()
    calls = delivery_calls(number, data, manifest, width)
    parts = OnChainParts(len(calls))
    for part, call in enumerate(calls):
        try:
            deliver = functions.deliver(*call.arguments)
            receipt = chain.send(deliver, account, purpose=purpose.format(part), wait=False, once=True)
        except ContractRefused as error:
            if error.details.get("error") != "DataAvailabilityAlreadyDelivered":
                raise
            continue
        parts.sent += 1
        parts.gas += receipt["gasUsed"]
        # If this process is killed now, the next call sees the parts on the chain.
        if chain.notes is not None and chain.notes.depth == 1:
            chain.notes.told(receipt["transactionHash"].to_0x_hex())
    return parts


def canary(
    coordinator: CoordinatorUrl,
    task: TaskName,
    public_records: Annotated[
        bool,
        typer.Option(
            "--public-records",
            help="In a federation with privacy: the held-out records are public. Exact counts of them are published.",
        ),
    ] = False,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """Measure each computed round before it is anchored, and report to the coordinator. Runs until Ctrl-C.

    The canary must be enabled at the coordinator, and the key must be the key of the configured evaluator. With --json,
    prints one line of JSON for each round.

    Example: folkmoot canary --task mnist --coordinator https://moot.example --keystore evaluator.json
    """
    from client.tasks.canary import Evaluator
    from folkmoot.artifacts.carried import files_of
    from folkmoot.artifacts.sources import CoordinatorSource
    from folkmoot.cli.options import unlock
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.tasks import load_task

    loaded = load_task(task)
    account = unlock(keystore, password_file)
    with CoordinatorApi(coordinator) as api, CoordinatorSource(coordinator) as source:
        evaluator = Evaluator(loaded, api, account, files_of(source), public_records=public_records)
        note(f"{account.address} watches {coordinator}; Ctrl-C ends it.", json_)
        for line in evaluator.run():
            typer.echo(json.dumps(line) if json_ else _result_line(line))


def _result_line(line: dict[str, Any]) -> str:
    """Return one line of text about a round."""
    if "error" in line:
        return f"Round {line['round']} was not measured: {line['error']}"
    before, after = (
        "no number" if one is None else f"{100 * one:.1f}%" if line["by"] == "accuracy" else f"{one:.6g}"
        for one in (line["before"], line["after"])
    )
    result = "FELL, the round is withheld" if line["fell"] else "fine"
    return f"Round {line['round']}: {result}. {line['by'].capitalize()} {before} before, {after} after."
