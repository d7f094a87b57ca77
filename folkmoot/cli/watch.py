# SPDX-License-Identifier: Apache-2.0
"""`folkmoot watch`: check anchored rounds, all of them or one, and prove what is wrong."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import account_address, noted, require_web3, unlock
from folkmoot.cli.output import emit, is_json, note, pairs, working
from folkmoot.errors import KeystoreError

if TYPE_CHECKING:
    from web3.types import TxReceipt

    from folkmoot.artifacts.sources import ArtifactSource
    from folkmoot.fraud.contracts.record import Record
    from folkmoot.fraud.proofs.case import Case
    from folkmoot.fraud.proofs.finding import Finding
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.client import Rpc

MIRROR_TIMEOUT = 15.0
"""Timeout in seconds for connecting to a mirror, and between two parts of a file."""
MIRROR_RETRY_TIMEOUT = 15.0
"""Maximum sum in seconds of a mirror's pauses for one file, before the next mirror is asked."""


def _challenge(round_: int, place: int | None, dry_run: bool, yes: bool) -> None:
    """Recompute a round. If its anchor is wrong, prove it on the chain."""
    require_web3()
    from folkmoot.chain.private import private_endpoint
    from folkmoot.fraud.contracts.challenge import NOBODY, cheapest, cost_of
    from folkmoot.fraud.contracts.challenge import challenge as send_challenge
    from folkmoot.fraud.contracts.follower import Follower
    from folkmoot.fraud.proofs.proof import prove
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.units import format_amount

    addresses = Deployment.load(context().deployment)
    with private_endpoint(context().private_rpc, addresses.chain_id), open_rpc(context().rpc) as endpoint:
        with working("Reading the chain ..."):
            record = Follower(addresses).read(endpoint)
        if not dry_run and _report_earlier_proof(endpoint, record, round_):
            return
        case = _case(record, round_)
        source = _mirrors(context().artifacts)
        try:
            with working(f"Recomputing round {round_} ..."):
                finding = _examined(addresses, source, endpoint, case, record)
            _require_provable(finding)
            for line in _lines(finding):
                note(line)
            account = None if dry_run else unlock()
            sender = account.address if account is not None else NOBODY
            if place is None:
                proof, cost = cheapest(endpoint, addresses, finding, sender)
            else:
                proof = prove(finding, finding.suspicions[0], place)
                cost = cost_of(endpoint, addresses, case, proof, sender)
        finally:
            source.close()
        document: dict[str, Any] = {
            **finding.to_json(),
            "proof": {"kind": str(proof.kind), "place": proof.place, "bytes": len(proof.data)},
            "cost": cost.to_json(),
            "transaction": None,
        }
        lines = pairs(
            {
                "proof": f"{proof.kind}, place {proof.place}, {len(proof.data):,} bytes",
                "judge": cost.judge,
                "costs": f"{cost.gas:,} gas, {cost.wei / 10**18:.6f} native coins at the present price",
                "wins": f"{format_amount(cost.wins)}, a quarter of the bond; the rest is burnt",
            }
        )
        if account is None:
            emit(document, lines, "Nothing was sent.")
            return
        note(lines)
        if not yes:
            _ask(round_)
        with noted() as notes:
            with working("Proving ..."):
                receipt = send_challenge(endpoint, case, cost, proof, account, notes)
            _print_proven(document, receipt)


def _report_earlier_proof(endpoint: Rpc, record: Record, number: int) -> bool:
    """Report the proof that an interrupted call sent. Return whether there is one."""
    from folkmoot.fraud.contracts.challenge import earlier

    case = record.case(number)
    if case is None:
        return False
    with suppress(KeystoreError), noted() as notes:
        receipt = earlier(endpoint, case, account_address(None), notes)
        if receipt is not None:
            _print_proven({"round": number}, receipt)
            return True
    return False


def _print_proven(document: dict[str, Any], receipt: TxReceipt) -> None:
    transaction, gas = receipt["transactionHash"].to_0x_hex(), receipt["gasUsed"]
    text = f"Round {document['round']} is void: transaction {transaction}, {gas:,} gas."
    emit({**document, "transaction": transaction, "gasUsed": gas}, text)


def watch(
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for the watcher's state. Default: in this user's data folder."
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Check once, then exit with 0, 3 or 4.")] = False,
    round_: Annotated[
        int | None,
        typer.Option(
            "--round", min=1, metavar="N", help="Check this anchored round only, and prove it wrong."
        ),
    ] = None,
    place: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="With --round: leaf or entry to prove wrong instead of the first."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Send nothing, even with a key. With --round: show proof and cost."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --round: send without asking.")] = False,
    pause: Annotated[
        float,
        typer.Option("--pause", "--every", min=0.1, metavar="SECONDS", help="Seconds between two polls."),
    ] = 15.0,
    metrics: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="PORT", help="Serve /metrics for Prometheus.")
    ] = None,
    token_value: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="COINS",
            help="Value of a token in native coins. Challenges that cost more than their reward are then not sent.",
        ),
    ] = None,
    always: Annotated[
        bool, typer.Option("--always", help="Challenge even if it costs more than its reward.")
    ] = False,
    deposits: Annotated[
        bool,
        typer.Option(
            help="Demand withheld files and open disputes on the chain; each costs a deposit meanwhile."
        ),
    ] = True,
) -> None:
    """Recompute every round when it is anchored, and prove errors on the chain.

    Needs the chain and any mirror, not the coordinator. Without --keystore it only reports. With --once, the exit
    status is 0 if all rounds are right, 3 if a round is wrong, 4 if a round could not be checked.

    With --round, the exit status is 1 if there is nothing to prove (the error's code is `nothing-to-prove`,
    `not-provable`, `withheld` or `window-over`).

    Example: folkmoot watch --artifacts https://mirror.example --keystore watcher.json

    Example: folkmoot watch --round 7 --dry-run
    """
    if round_ is not None:
        _challenge(round_, place, dry_run, yes)
        return
    if place is not None or yes:
        raise typer.BadParameter("--place and --yes go with --round")
    require_web3()
    from folkmoot.chain.private import private_endpoint
    from folkmoot.fraud.watcher.journal import Journal, Log, held
    from folkmoot.fraud.watcher.metrics import Metrics, serve
    from folkmoot.fraud.watcher.watch import Options, Watcher, run
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.runtime import logs
    from folkmoot.runtime.urls import secrets_of

    addresses = Deployment.load(context().deployment)
    account = unlock() if context().keystore is not None and not dry_run else None
    folder = state if state is not None else _default_folder() / addresses.ledger
    logs.setup(
        logs.chosen("json" if is_json() else context().find("log-format")),
        hidden=secrets_of(*context().rpc, *context().artifacts, *filter(None, [context().private_rpc])),
        stream=sys.stdout,
    )
    log = Log()
    with private_endpoint(context().private_rpc, addresses.chain_id), held(folder):
        numbers = Metrics()
        watcher = Watcher(
            context().rpc,
            addresses,
            _opened(context().artifacts),
            Journal.open(folder, addresses.chain_id, addresses.ledger),
            log,
            Options(account, token_value, always, deposits),
            numbers,
        )
        server = serve(numbers, metrics) if metrics is not None else None
        stop = threading.Event()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
        who = f"challenging as {account.address}" if account is not None else "reporting only: no --keystore"
        log(
            "started",
            f"Watching {addresses.ledger} on chain {addresses.chain_id}, {who}.",
            ledger=addresses.ledger,
        )
        try:
            status = run(watcher, once=once, every=pause, wait=stop.wait)
        finally:
            watcher.close()
            if server is not None:
                server.shutdown()
                server.server_close()
    log("stopped", "Stopped.", status=status)
    raise typer.Exit(status if once else 0)


def _default_folder() -> Path:
    from platformdirs import user_data_path

    return user_data_path("folkmoot") / "watch"


def _opened(locations: list[str]) -> dict[str, ArtifactSource]:
    """Open sources. Skip a folder that does not exist (yet)."""
    from folkmoot.artifacts.sources import CoordinatorSource, FolderSource

    sources: dict[str, ArtifactSource] = {}
    for location in locations:
        if location.startswith(("http://", "https://")):
            sources[location] = CoordinatorSource(
                location, MIRROR_TIMEOUT, retry_timeout=MIRROR_RETRY_TIMEOUT
            )
        else:
            sources[location] = FolderSource(Path(location).expanduser())
    return sources


def _mirrors(locations: list[str]) -> ArtifactSource:
    from folkmoot.artifacts.sources import SeveralSources

    return SeveralSources(
        list(_opened(locations).values()), failed=lambda _, error: note(f"note: {error.message}")
    )


def _case(record: Record, number: int) -> Case:
    """Return the case of a round that can be challenged."""
    from folkmoot.fraud.contracts.challenge import ChallengeFailed, window_over
    from folkmoot.rpc.client import Phase

    events = record.rounds.get(number)
    phase = events.phase if events is not None else Phase.NONE
    if phase == Phase.ANCHORED:
        return record.cases[number]
    if phase == Phase.FINAL:
        raise window_over(record.cases[number])
    if phase == Phase.SLASHED:
        raise ChallengeFailed(
            f"Round {number} is void already: it was proven wrong.",
            remedy="Nothing is left to do.",
            code="already-void",
        )
    raise ChallengeFailed(
        f"Round {number} is not anchored (it is {phase.name.lower()}): there is nothing to prove.",
        remedy="`folkmoot status` shows the rounds.",
        code="nothing-to-prove",
    )


def _examined(
    addresses: Deployment, source: ArtifactSource, endpoint: Any, case: Case, record: Record
) -> Finding:
    from folkmoot.artifacts.federation import Federation
    from folkmoot.fraud.proofs.examine import examine
    from folkmoot.fraud.watcher.round_files import RoundFiles
    from folkmoot.rpc.client import LedgerReader

    federation = Federation.open(addresses, source, LedgerReader(endpoint, case.ledger))
    round_files = RoundFiles(source, federation.genesis, federation.manifest)
    return examine(round_files.material(case, record.cases))


def _require_provable(finding: Finding) -> None:
    """Check that a finding can be proven."""
    from folkmoot.fraud.contracts.challenge import ChallengeFailed

    if finding.suspicions:
        return
    number, details = finding.case.round, finding.to_json()
    text = " ".join(_lines(finding))
    if finding.right:
        raise ChallengeFailed(
            f"Round {number} is right: the anchor is what everybody computes.",
            code="nothing-to-prove",
            details=details,
        )
    if finding.demands:
        raise ChallengeFailed(
            f"Round {number} can't be checked: files to which it commits are missing. {text}",
            remedy="Try other mirrors; if none has them, demand them on the chain.",
            code="withheld",
            details=details,
        )
    raise ChallengeFailed(
        f"Round {number} is wrong, but no contract can see it. {text}",
        remedy="Show the others these numbers, and vote.",
        code="not-provable",
        details=details,
    )


def _lines(finding: Finding) -> list[str]:
    texts = [suspicion.text for suspicion in finding.suspicions] + [demand.text for demand in finding.demands]
    return [*texts, finding.disputed] if finding.disputes else texts


def _ask(number: int) -> None:
    """Ask the user whether to send."""
    from folkmoot.fraud.contracts.challenge import ChallengeFailed

    if not sys.stdin.isatty():
        raise ChallengeFailed(
            "A proof costs gas, and there is no terminal to ask on.",
            remedy="Give --yes.",
            code="not-confirmed",
        )
    typer.confirm(f"Prove round {number} wrong?", abort=True)
