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

from client.cli.task import OneTask, one_subject
from client.signer.options import MAX_FEE_GWEI, Wallet
from folkmoot.apps.limit import LIMIT
from folkmoot.cli.config_file import Key, checked, read, template
from folkmoot.cli.context import context
from folkmoot.cli.options import AppPath, DataPaths, NodeConfig, RunConfig, WritableFolders
from folkmoot.cli.output import emit, is_json, note, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.chain.client import Chain
    from folkmoot.ledger.deployment import Deployment


FILE_KEYS = (
    Key(
        "root",
        "Needs the coordinator's keystore. Train on the task's root set: good, or biased. The rule compares the "
        "updates "
        "of contributors with this update and never adds it to the model. Use good; biased, for experiments, lacks "
        "half "
        "of the classes.",
        "good",
    ),
    Key(
        "no-enrol",
        "Do not enrol: for an account that you enrol elsewhere. Without enrolment no round takes an update.",
        type=bool,
        default=False,
    ),
    Key(
        "record",
        "Folder of the signing record. Only the signer's user may be able to write to it. Default: the folder "
        "signer in "
        "the node's folder.",
        "FOLDER",
        Path,
    ),
    Key("owner", "Key files of more owners of --wallet.", "KEY", many=True),
    Key(
        "bundle",
        "SHA-256 of the only bundle of training code that this node runs and signs for. Default: any of the "
        "coordinator's.",
        "HASH",
    ),
    Key("mirror", "Mirrors to get models from, before the coordinator is asked.", "URL_OR_FOLDER", many=True),
    Key(
        "pass-env",
        "Environment variables that the training code gets. It gets no other of yours.",
        "NAME",
        many=True,
    ),
    Key(
        "limit-memory",
        "GB of memory for the training code. 0: half of this machine's.",
        type=float,
        default=0,
    ),
    Key("limit-disk", "GB of disk space for the training code.", type=float, default=10),
    Key(
        "app-wait",
        "Longest wait in seconds until the app has been read, and until it has trained once; then it is ended.",
        type=float,
        default=LIMIT,
        least=1,
    ),
    Key("insecure", "Use no TLS, even if the SuperLink is on another machine.", type=bool, default=False),
    Key(
        "max-fee-gwei",
        "Highest price of a unit of gas at which the node records its update on the chain by itself. It does so near "
        "the end of the commit window if the coordinator has not. 0: never. With --signer, `signer run` has its own.",
        type=float,
        default=MAX_FEE_GWEI,
        least=0,
    ),
    Key(
        "port",
        "Port of the SuperNode's Runtime API. 0: a free port.",
        type=int,
        default=0,
        least=0,
        most=65535,
    ),
    Key("pause", "Seconds between two polls for messages during a run.", type=float, default=0.5),
    Key(
        "no-fork",
        "Start a new Python process for each message, as Flower does. Slower.",
        type=bool,
        default=False,
    ),
    Key("layout", "Manifest that was made from --app, by folkmoot run.", "FILE", Path),
)
"""Settings of `join` that are in its file, or given by ``--set``."""


def join(
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
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of the node. Default: one per account and ledger, in your data folder."),
    ] = None,
    stake: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="If the stake is too low, stake this number of tokens first."),
    ] = None,
    signer: Annotated[
        Path | None,
        typer.Option(
            "--signer",
            metavar="SOCKET",
            help="Socket of `folkmoot signer run`, which holds the key instead of this process. Stake and enrol the "
            "account before.",
        ),
    ] = None,
    wallet: Wallet = None,
    node_key: Annotated[
        Path | None,
        typer.Option(
            "--node-key",
            metavar="FILE",
            help="Key file of this node, for a SuperLink that admits registered nodes only. Created if it does not "
            "exist. Send FILE.pub to the operator.",
        ),
    ] = None,
    data: DataPaths = None,
    writable: WritableFolders = None,
    without_sandbox: Annotated[
        bool,
        typer.Option(
            "--without-sandbox",
            help="Let the training code do all that your account can. For systems without a sandbox.",
        ),
    ] = False,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="File with more settings; see --write-config."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="One more setting, as in the file. Repeat it for several."
        ),
    ] = None,
    write_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only write a file with all more settings, explained.")
    ] = None,
) -> None:
    """Join a federation: check its services, then run a signer and a Flower SuperNode until Ctrl-C.

    Give --task, or --app with the folder of the Flower app that the federation trains. Less usual settings are in a
    file, which --write-config writes with comments.

    Enrols the account with all its unlocked stake, unless the setting no-enrol is true: rounds take updates of enrolled
    accounts only, and wait for them. Enrols it again if it was removed because it had missed rounds. The coordinator's
    account, with the setting root, needs no enrolment.

    Example: folkmoot join --coordinator https://moot.example --superlink moot.example:8000 --task mnist

    Example: folkmoot join --app ./quickstart-pytorch --partition 0/3

    Example: folkmoot join --task mnist --set limit-disk=2 --set mirror=https://mirror.example
    """
    from client.keeper.keeper import Keeper
    from client.keeper.transfers import Transfers
    from client.node import access, admission, apps, node
    from client.node.enrolment import Reenrolment, enrol
    from client.signer.agent import RECORD_FOLDER, SignerAgent, linked_signer
    from client.signer.checks import SigningRules
    from client.signer.committing import OwnCommitments
    from client.signer.keys import LocalKey, SigningKey
    from client.signer.record import SignedRounds, adopt_cap
    from client.signer.wallet import WalletKey, check_options
    from folkmoot.apps.folder import AppFolder
    from folkmoot.artifacts.federation import Federation
    from folkmoot.chain.client import check_deployment
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

    if write_config is not None:
        _write_template(write_config)
        return
    extra = _more_settings(config_file, set_ or [])
    root, record, bundle = str(extra["root"] or ""), extra["record"], str(extra["bundle"] or "")
    owner, no_enrol = extra["owner"], bool(extra["no-enrol"])
    logging_as = logs.chosen(context().find("log-format"))
    which, partitions = node.parse_partition(partition)
    meeting_place = SuperLink(
        context().need("superlink"), context().find("root-certificates"), extra["insecure"]
    )
    addresses = Deployment.load(context().deployment)
    # Report a task or an app that can't be loaded before anything else.
    subject = AppFolder.read(app, run_config or ()) if app is not None else None
    one = one_subject(task, app, run_config)
    if subject is None:
        load_task(one)
    elif root:
        raise InputError(
            "An app can't have a root set: only tasks have them.",
            remedy="Leave out the setting root, or use --task.",
        )
    config = apps.node_config(which, partitions, node_config)
    if node_key is not None and admission.make_if_missing(node_key, meeting_place):
        public = admission.public_file(node_key)
        note(
            f"Created the key of this node, {node_key}. Send {public} to the operator of the SuperLink.",
        )
    key_file: Path | None = None
    owners = [Path(file) for file in owner]
    check_options(wallet, owner or None)
    if wallet is not None and stake is not None:
        raise InputError(
            "--stake can't be used with --wallet: `join` sends no transactions of a contract.",
            remedy="Let the contract stake and enrol, then join.",
        )
    if signer is None:
        key_file = keystore_file(context().keystore)
        address = keys.address_of(key_file) if wallet is None else parse_address(wallet)
    elif stake is not None or record is not None or wallet is not None:
        raise InputError(
            "--signer can't be used with --stake, --wallet or the setting record.",
            remedy="Stake with `folkmoot enrol --stake`. Give --record and --wallet to `folkmoot signer run`.",
        )
    else:
        address = _account_of(signer, addresses)
    folder = (home or node_folder(address, addresses.ledger)).resolve()
    # With --signer too: the user's own key files may be another account's.
    kept: list[Path] = [keystore_folder()]
    if (keystore := context().keystore) is not None:
        kept += [file.path for file in keys.files_in(keystore)] if keystore.is_dir() else [keystore]
    granted = access.Access(
        data=tuple(data or ()),
        writable=tuple(writable or ()),
        environment=tuple(extra["pass-env"]),
        secrets=access.hidden_of([key_file, *owners, *kept, context().password_file, node_key, record]),
        bundle=parse_bundle(bundle),
        sandbox=not without_sandbox,
        memory=access.parse_limit(extra["limit-memory"]),
        disk=access.parse_limit(extra["limit-disk"]),
    ).with_config(config)
    access.check_options(granted)
    access.check_apart(folder, granted, [] if app is None else [app])
    if granted.sandbox:
        access.check_direct(context().rpc)
        require_support()

    def say(text: str) -> None:
        note(text)

    bar = sys.stderr.isatty() and not is_json()

    with open_rpc(context().rpc) as endpoint, CoordinatorApi(context().coordinator) as api:
        say(f"Checking the chain at {endpoint.name} ...")
        check_deployment(endpoint, addresses)
        if not (root or no_enrol or LedgerReader(endpoint, addresses.ledger).enrolled(address)):
            require_admitted(endpoint, addresses, address)
        say(f"Checking the coordinator at {api.url} and the SuperLink at {meeting_place.address} ...")
        node.check_coordinator(api, addresses)
        meeting_place.check()
        node.check_root(endpoint, addresses, address, root)
        lacking = node.missing_stake(endpoint, addresses, address)
        if lacking and stake is None:
            remedy = f"Add --stake {format_amount(lacking).split()[0]}, or use `folkmoot enrol --stake`."
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
        ledger = LedgerReader(endpoint, addresses.ledger)
        federation = Federation.open(addresses, api.files, ledger)
        manifest = federation.manifest
        require_memory(
            TRAINING * manifest.size + FROZEN * manifest.file_bytes,
            "Training",
            "Nothing was started. Join on a machine with more memory, or give a higher limit-memory (--set "
            "limit-memory=GB).",
            access.memory_limit(granted),
        )
        contributor = Contributor(
            home=folder,
            rpc=",".join(context().rpc),
            coordinator=context().coordinator,
            deployment=addresses.to_json(),
            account=address,
            task=one if subject is None else subject.name,
            partition=which,
            partitions=partitions,
            root=root,
            private=PRIVACY in manifest.training,
        )
        transfers = Transfers(lambda event: say(_text(event)) if _text(event) else None, bar=bar)
        keeper = Keeper(
            contributor, manifest, federation.genesis, extra["mirror"], transfers, left_out=not root
        )
        policy = ledger.policy(ledger.current_policy())
        granted = access.pinned(granted, policy.bundle_hash)
        spent = ledger.spent(address) if policy.noise1024 else 0
        access.privacy_of(manifest, policy, spent)  # Join ends here if the budget is spent.
        if subject is None:
            say(f"Checking that the task {task} has the federation's model ...")
            node.check_task_apart(one, manifest, root)
        else:
            say(f"Checking that the app {subject.name} has the federation's model ...")
            apps.check(subject, manifest, partitions, extra["layout"], step_limit(extra["app-wait"]))
        say(f"Checking the base model, {manifest.state_file_size / 1e6:,.1f} MB ...")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with node.locked(folder):
            if manifest.files:
                say(f"Checking the arrays that nobody trains, {manifest.file_bytes / 1e6:,.1f} MB ...")
                keeper.fetch_carried()
            keeper.head()
        block = endpoint.block_number()
    account = None if key_file is None else unlock(key_file)
    if account is not None and stake is not None and (lacking or context().confirmations > 1):
        _stake(addresses, account, stake, there=not lacking)
    if not root:  # The coordinator commits its root update without enrolment.
        enrol(context().rpc, addresses, address, None if no_enrol or wallet else account)
        _say_if_without_coins(address if account is None else account.address, extra["max-fee-gwei"])
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
            more = [LocalKey(unlock(file)) for file in owners]
            key = WalletKey(address, [LocalKey(account), *more], contributor.rpc)
            key.check(rules.domain)
        if policy.noise1024:
            own = adopt_cap(place, address, rules.domain, policy.privacy_cap)
        recorder = OwnCommitments(addresses, contributor.rpc, account, extra["max-fee-gwei"])
        agent = SignerAgent(key, rules, contributor.rpc, contributor.socket, place, own=recorder)
    options = node.NodeOptions(
        superlink=meeting_place,
        port=extra["port"],
        fork=not extra["no-fork"],
        pause=extra["pause"],
        config=config,
        preload=None if subject is None else subject.preloads(),
        key=node_key and node_key.resolve(),
        access=granted,
    )
    privacy = access.privacy_of(manifest, policy, spent, own)
    for line in access.described(node.rules_for(contributor, granted), granted, signer, privacy):
        say(line)
    say(f"Starting the node in {folder} ...")
    if not is_json():
        logs.setup(logging_as, hidden=secrets_of(*context().rpc), stream=sys.stdout)
    reenrolment = Reenrolment(context().rpc, addresses, address, None if wallet else account, block)

    def tell(event: dict[str, Any]) -> None:
        if is_json():
            typer.echo(json.dumps(event))
        else:
            _log(event, address)

    def on_event(event: dict[str, object]) -> None:
        tell(event)
        if event["event"] == "refused" and not (root or no_enrol):
            reenrolment.look()

    transfers.say = tell
    node.run_node(contributor, agent, options, on_event=on_event, keeper=keeper)


def _write_template(path: Path) -> None:
    comment = (
        "More settings of `folkmoot join --config THIS_FILE`. Remove the # of what you change.\n"
        "For one call, `--set KEY=VALUE` does the same and wins over the file."
    )
    if path.exists():
        raise InputError(
            f"There is already a file {path}.", remedy="Give another name, or remove it.", code="file-exists"
        )
    write_file(path, template(FILE_KEYS, comment).encode())
    emit({"file": str(path)}, f"Wrote {path}. Use it with: folkmoot join --config {path} ...")


def _more_settings(path: Path | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the file and of ``--set``, with the default values of the others."""
    settings: dict[str, Any] = {key.name: [] if key.many else key.default for key in FILE_KEYS}
    if path is not None:
        settings |= read(path, FILE_KEYS, "Write one with `folkmoot join --write-config FILE`.")
    given: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise InputError(
                f"--set: {pair!r} is no setting.", remedy="Write KEY=VALUE.", code="invalid-setting"
            )
        is_list = any(key.many for key in FILE_KEYS if key.name == name)
        given[name] = [*given.get(name, []), value] if is_list else value
    return settings | checked(given, FILE_KEYS, "--set")


def _say_if_without_coins(payer: str, max_fee_gwei: float) -> None:
    """Say that an account could not record an update that the coordinator leaves out."""
    from folkmoot.rpc.quorum import open_rpc

    with open_rpc(context().rpc) as endpoint:
        empty = max_fee_gwei > 0 and endpoint.balance(payer) == 0
    if empty:
        note(
            f"{payer} has none of the chain's native coin. If the coordinator leaves an update out, this node can't "
            "record it: that takes at most 102,000 gas. Send it some, at any time. The node starts all the same."
        )


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
    deployment: Deployment,
    account: LocalAccount,
    amount: str,
    *,
    there: bool,
) -> None:
    """Stake, or wait until a stake of an interrupted call has enough confirmations."""
    from folkmoot.cli.options import noted, require_web3
    from folkmoot.cli.stake import stake_with_permit
    from folkmoot.runtime.units import format_amount, parse_amount

    require_web3()
    from folkmoot.chain.client import Chain

    chain = Chain.connect(context().rpc, deployment)
    try:
        units, before = parse_amount(amount), chain.vault.stake_of(account.address)
        if not there and chain.rpc.balance(account.address) == 0:
            raise InputError(
                f"{account.address} has nothing to pay for the transaction that stakes.",
                remedy="Send it some of the chain's native coin.",
                code="no-gas",
            )
        with noted() as notes:
            chain.notes = notes
            purpose = f"stake {amount} on top of {before - units if there else before} to join"
            if there:
                chain.earlier("vault", account.address, purpose, once=True)
                return
            stake_with_permit(chain, account, units, purpose)
            note(f"Staked {format_amount(units)}.")
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
    elif kind in (
        "transfer-repeats",
        "means-failed",
        "keeper-failed",
        "own-commitment",
        "not-committed",
        "not-acknowledged",
    ):
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
) -> None:
    """Commit an update with your own transaction and upload its file, without Flower.

    Use it if the coordinator leaves you out. The chain takes commitments from every account with a place in the round.
    If the coordinator then refuses the file, everybody can see that on the chain.

    With --wallet, the account of the key file pays for the transaction, and the contract's signature is the node's.

    Example: folkmoot submit 7 --home node --coordinator https://moot.example
    """
    from client.keeper.delivery import keep_acknowledgement, signed_commitment
    from client.signer.committing import commit
    from folkmoot.cli.options import sending, unlock
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.errors import CoordinatorError, UpdateRefused
    from folkmoot.flower.updates import kept_update
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
    with sending() as chain:
        account = unlock()
        contributor = account.address if wallet is None else parse_address(wallet)
        rpc_of_wallet = None if wallet is None else chain.ledger.rpc
        policy = chain.ledger.round(round_).policy  # 0 for an unknown round, which the ledger refuses.
        width = chain.ledger.policy(policy).width if policy else 8
        commitment, signature = signed_commitment(
            kept, round_, contributor, chain.deployment, width, rpc_of_wallet
        )
        parts = OnChainParts()
        # The commitment of an enrolled account may end the window, and with it the time to deliver.
        deliver_first = on_chain and chain.ledger.counts(round_, account.address)
        if deliver_first:
            parts = _deliver(
                chain, account, context().coordinator, round_, commitment.update_root, kept.data, width
            )
        receipt = commit(chain, account, commitment, signature)
        if on_chain and not deliver_first:
            parts = _deliver(
                chain, account, context().coordinator, round_, commitment.update_root, kept.data, width
            )
        delivered, why = True, ""
        try:
            with CoordinatorApi(context().coordinator) as api:
                signed = api.submit_update(round_, kept.commitment, kept.data)
            coordinator = chain.ledger.round(round_).coordinator
            keep_acknowledgement(home, chain.deployment, coordinator, commitment, signed)
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
        emit(document, f"The commitment of round {round_} is on the chain, {outcome}")


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
    from folkmoot.artifacts.federation import Federation
    from folkmoot.artifacts.sources import CoordinatorSource
    from folkmoot.errors import ContractRefused
    from folkmoot.fraud.proofs.availability import delivery_calls

    functions = chain.data_availability.functions
    there, missing, _ = chain.read(functions.deliveries(number, account.address, root))
    purpose = f"part {{}} of update {root.hex()} of round {number}"
    if there and not missing:
        for part in range(
            there
        ):  # A transaction of an interrupted call may not have enough confirmations yet.
            chain.earlier("data_availability", account.address, purpose.format(part), wait=False, once=True)
        return OnChainParts(there)
    ledger, source = chain.ledger, CoordinatorSource(coordinator)
    try:
        manifest = Federation.open(chain.deployment, source, ledger).manifest
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
        if chain.notes.keeps and chain.notes.depth == 1:
            chain.notes.acknowledge(receipt["transactionHash"].to_0x_hex())
    return parts
