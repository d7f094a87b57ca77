# SPDX-License-Identifier: Apache-2.0
"""The commands `folkmoot task ...`: list and check tasks, make the genesis files, evaluate models.

Commands import heavy libraries themselves, so that `folkmoot --help` stays fast.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import (
    APP_WAIT_DEFAULT,
    BUDGET_ROUNDS,
    AppPath,
    AppWait,
    Clock,
    Feedback,
    NodeConfig,
    RunConfig,
    Start,
    Width,
    step_limit,
)
from folkmoot.cli.output import emit, is_json, note, pairs, table
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.tasks import Task

TaskName = Annotated[str, typer.Option("--task", help="A shipped task, or package.module:object.")]
OneTask = Annotated[
    str | None, typer.Option("--task", help="A shipped task, or package.module:object.", show_default=False)
]

ModelFile = Annotated[Path | None, typer.Option(help="Model file (safetensors).")]
Version = Annotated[str, typer.Option(help="Number of the version, or `active`.")]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(help="Tasks: what a federation trains.", no_args_is_help=True)
    group.command("init")(task_init)
    group.command("evaluate")(task_evaluate)
    group.command("generate")(task_generate)
    group.command("check")(task_check)
    group.command("privacy")(task_privacy)
    return group


def task_init(
    out: Annotated[Path, typer.Option(help="Folder for the files. A web server can serve it as a mirror.")],
    task: OneTask = None,
    app: AppPath = None,
    run_config: RunConfig = None,
    node_config: NodeConfig = None,
    app_wait: AppWait = APP_WAIT_DEFAULT,
    nodes: Annotated[int, typer.Option(help="Number of nodes that the app will run on.", min=1)] = 3,
    root_digest: Annotated[
        str,
        typer.Option(
            help="Commit to a root set: the sha256 of the coordinator's root data. For a shipped task, good or biased."
        ),
    ] = "",
    width: Width = 8,
    start: Start = "base",
    clock: Clock = False,
    feedback: Feedback = False,
    epsilon: Annotated[
        float | None,
        typer.Option(
            metavar="EPS",
            help="The data are records of people: declare privacy, with the noise for this epsilon.",
        ),
    ] = None,
    budget_rounds: Annotated[
        int, typer.Option(min=1, metavar="ROUNDS", help="Rounds that --epsilon is for, as in `policy`.")
    ] = BUDGET_ROUNDS,
    records: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="About the number of records of a contributor, for --epsilon. It is public. Default: the task's.",
        ),
    ] = None,
    content: Annotated[
        bool,
        typer.Option(
            "--content",
            help="--epsilon limits what can be found out about what a record says, not only whether it is there. "
            "Needs twice the noise.",
        ),
    ] = False,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Start from the weights in this file (safetensors), not from the task's own initial ones.",
        ),
    ] = None,
) -> None:
    """Try the task once, then write the manifest, the initial model and the genesis file of a new federation.

    With --app, the ServerApp of the app gives the arrays and the initial model. The command also runs the ClientApp's
    train function once, on partition 0, to check it and to measure how large its updates are.

    Example: folkmoot task init --task mnist --out genesis/

    Example: folkmoot task init --app ./quickstart-pytorch --nodes 3 --out genesis/

    Example: folkmoot task init --task my_model:task --from model.safetensors --out genesis/

    Example: folkmoot task init --task text --start eager --clock --out genesis/

    Example: folkmoot task init --task my_ward:task --epsilon 3 --records 200 --out genesis/
    """
    from client.tasks import evaluation, trial
    from client.tasks.genesis import check_memory, write_genesis
    from folkmoot.privacy import PrivacySettings
    from folkmoot.protocol.feedback import settings as feedback_settings
    from folkmoot.protocol.manifest import TRAINED_DTYPES
    from folkmoot.protocol.packing import check_width
    from folkmoot.tasks import load_task, pace, pretrained, private, root

    one = one_subject(task, app, run_config)
    check_width(width)
    asked = feedback_settings(feedback, width)
    if (records is not None or content) and epsilon is None:
        name = "--content" if content else "--records"
        raise InputError(f"{name} belongs to --epsilon.", remedy="Leave it out, or add --epsilon EPS.")
    if app is not None:
        if epsilon is not None:
            raise InputError(
                "An app can't declare privacy with --epsilon: its own train function makes the noise.",
                remedy="Leave out --epsilon, or write a task (docs/privacy.md).",
            )
        if from_ is not None:
            raise InputError(
                "An app can't start from a file of weights.",
                remedy="Leave out --from: the app's own initial_arrays are the start.",
            )
        if clock or start != pace.BASE:
            raise InputError(
                "An app has no training settings: --start and --clock are for tasks.",
                remedy="Leave out both.",
            )
        _app_init(app, run_config, node_config, app_wait, nodes, out, root_digest, width, asked)
        return
    loaded = load_task(one)
    check_memory(loaded)
    if epsilon is not None:
        loaded = private.declaring(loaded, epsilon, budget_rounds, records, content=content)
    weights = evaluation.mapped_weights(from_) if from_ is not None else None
    if weights is not None:  # Before the task is tried, which takes as long as a round.
        pretrained.load(loaded, trial.model_of(loaded), weights)
    tried = _try(loaded)
    committed = root.parse_digest(loaded, root_digest) if root_digest else ""
    paced = {
        **({pace.START: start} if start != pace.BASE else {}),
        **({pace.CLOCK: True} if clock else {}),
        **asked,
    }
    genesis = write_genesis(loaded, out, committed, width, weights, paced)
    settings = PrivacySettings.of(genesis.manifest.training)
    frozen = sum(math.prod(one.shape) for one in genesis.manifest.carried if one.dtype in TRAINED_DTYPES)
    shown = {
        "genesis": str(out / "genesis.json"),
        "task": genesis.manifest.task,
        "parameters": str(genesis.manifest.elements),
        **({"frozen": str(frozen)} if frozen else {}),
        "state root": "0x" + genesis.state_root.hex(),
        "genesis hash": "0x" + genesis.genesis.hash.hex(),
        "first exponents": "from the privacy settings, without any data"
        if settings is not None
        else f"guessed, because this machine could not train once ({genesis.guessed})"
        if genesis.guessed
        else "from one training on this machine's data",
    }
    if committed:
        shown["root set"] = committed
    if settings is not None:
        shown["privacy"] = (
            f"noise1024 {settings.noise1024}, {settings.steps} steps a round, B0 {settings.divisor}: "
            f"{settings.described(budget_rounds)}"
        )
    document = {
        "genesis": str(out / "genesis.json"),
        "task": genesis.manifest.task,
        "parameters": genesis.manifest.elements,
        "frozen": frozen,
        "manifestHash": "0x" + genesis.manifest.hash.hex(),
        "stateRoot": "0x" + genesis.state_root.hex(),
        "genesisHash": "0x" + genesis.genesis.hash.hex(),
        "exponents": list(genesis.genesis.exponents),
        "guessed": genesis.guessed or None,
        "tried": tried,
        "rootDigest": committed or None,
        "privacy": settings and settings.to_json(),
    }
    emit(document, pairs(shown))
    if settings is not None:
        note(f"Write its policy with --budget-rounds {budget_rounds}: `folkmoot policy`.")


def one_subject(task: str | None, app: Path | None, run_config: list[str] | None) -> str:
    """Return the task's name, empty if an app is given.

    Raises:
        InputError: Both or none are given, or a run config is given without an app.
    """
    if (task is None) == (app is None):
        raise InputError(
            "Exactly one of --task and --app is needed.",
            remedy="Give --task for a shipped task or one of your own, --app for the folder of a Flower app.",
        )
    if app is None and run_config:
        raise InputError("--run-config belongs to --app.", remedy="Leave it out, or give --app FOLDER.")
    return task or ""


def _app_init(
    app: Path,
    run_config: list[str] | None,
    node_config: list[str] | None,
    app_wait: float,
    nodes: int,
    out: Path,
    root_digest: str,
    width: int,
    settings: Mapping[str, Any],
) -> None:
    from client.node import apps
    from folkmoot.apps.folder import AppFolder

    if root_digest:
        raise InputError("An app can't have a root set.", remedy="Leave out --root-digest, or use a task.")
    folder, config = AppFolder.read(app, run_config or ()), apps.node_config(0, nodes, node_config)
    note("Reading the app, and training once on partition 0 ...")
    genesis = apps.init(folder, nodes, out, config, step_limit(app_wait), width, settings)
    captured, start = genesis.captured, genesis.start
    numbers = (
        ", ".join(f"{name} {value:.4g}" for name, value in genesis.trial.metrics.items()) or "no numbers"
    )
    shown = {
        "genesis": str(out / "genesis.json"),
        "app": captured.app.name,
        "strategy": captured.strategy,
        "rounds": str(captured.num_rounds),
        "nodes asked a round": f"{captured.asked} of {nodes}",
        "parameters": str(start.manifest.elements),
        "state root": "0x" + start.state_root.hex(),
        "genesis hash": "0x" + start.genesis.hash.hex(),
        "one training": f"{genesis.trial.seconds:.1f} s on partition 0: {numbers}",
    }
    document = {
        "genesis": str(out / "genesis.json"),
        "task": start.manifest.task,
        "parameters": start.manifest.elements,
        "manifestHash": "0x" + start.manifest.hash.hex(),
        "stateRoot": "0x" + start.state_root.hex(),
        "genesisHash": "0x" + start.genesis.hash.hex(),
        "exponents": list(start.genesis.exponents),
        "guessed": start.guessed or None,
        "rootDigest": None,
        "app": {
            "strategy": captured.strategy,
            "rounds": captured.num_rounds,
            "nodes": nodes,
            "asked": captured.asked,
            "trainSeconds": round(genesis.trial.seconds, 1),
            "trainMetrics": dict(genesis.trial.metrics),
            "notes": genesis.notes,
        },
    }
    emit(document, pairs(shown), *genesis.notes)


def _try(task: Task) -> list[dict[str, str]]:
    """Try a task and print one line per step; return the steps."""
    from client.tasks import trial

    tried = []
    for step in trial.steps(task):
        note(str(step))
        tried.append(step.to_json())
    return tried


def task_check(
    task: OneTask = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Only check that the task has the model of this federation's manifest."
        ),
    ] = None,
    root: Annotated[
        str,
        typer.Option(
            metavar="good|biased",
            help="With --manifest: also check that the federation has committed to this root set.",
        ),
    ] = "",
) -> None:
    """Try a task once on this machine: model, data, train, evaluate, predictions.

    With --manifest, only check that the task has the model of a federation. Without --task, list the shipped tasks.

    Example: folkmoot task check

    Example: folkmoot task check --task my_package.my_module:task

    Example: folkmoot task check --task my_package.my_module:task --manifest manifest.json
    """
    from client.node import node
    from client.tasks import trial
    from folkmoot.protocol.manifest import Manifest
    from folkmoot.tasks import load_task, names
    from folkmoot.tasks import root as root_sets

    if task is None:
        emit({"tasks": names()}, "\n".join(names()))
        return
    if manifest is None:
        if root:
            raise InputError(
                "There is no manifest to compare the root set with.", remedy="Add --manifest FILE."
            )
        tried = _try(load_task(task))
        warned = any(step["state"] == trial.WARNING for step in tried)
        conclusion = f"The task {task} works here" + (", except for the warnings above." if warned else ".")
        emit({"task": task, "tried": tried}, conclusion)
        return
    try:
        data = manifest.read_bytes()
    except OSError as error:
        raise InputError(
            f"The manifest {manifest} can't be read: {error.strerror}.", remedy="Check the path."
        ) from error
    federations, loaded = Manifest.from_json(data), load_task(task)
    trial.model_of(loaded)
    node.check_task(loaded, federations)
    if root:
        root_sets.check(loaded, root, dict(federations.training))
    emit({"task": task, "fits": True}, f"The task {task} has the federation's model.")


def task_privacy(
    task: TaskName,
    partition: Annotated[
        str, typer.Option(help="i/n: use share i, counted from 0, of n shares of a shipped task's data.")
    ] = "0/5",
    rounds: Annotated[int, typer.Option(help="Rounds that the budget is for.", min=1)] = 20,
    contributors: Annotated[
        int, typer.Option(help="Contributors whose updates are averaged, with data like yours.", min=1)
    ] = 5,
    repeat: Annotated[int, typer.Option(help="Trainings of each budget.", min=1)] = 3,
) -> None:
    """Show what privacy costs in accuracy: train here, on your own data only, at epsilon 1, 3, 8 and without noise.

    The budget of the federation is not touched, as nothing leaves this machine. A fifth of the data is held out to
    measure the accuracy.

    Example: folkmoot task privacy --task breast-cancer-private --partition 0/5
    """
    from client.node.node import parse_partition
    from client.tasks import privacy
    from folkmoot.tasks import load_task

    loaded, (which, shares) = load_task(task), parse_partition(partition)
    settings = privacy.settings_of(loaded)
    note(f"Training {repeat} times {rounds} rounds for each of {len(privacy.EPSILONS)} budgets ...")
    measured = list(
        privacy.measure(loaded, which, shares, rounds=rounds, contributors=contributors, repeat=repeat)
    )
    text = (
        f"Accuracy after {rounds} rounds of {settings.steps} step{'s' if settings.steps > 1 else ''}, "
        f"clip {settings.clip:g}, B0 {settings.divisor}, learning rate {loaded.training['learning_rate']:g}, "
        f"delta {settings.delta:g}, as in a federation of {contributors} with data like yours."
    )
    rows = [
        [
            "none" if one.epsilon is None else f"{one.epsilon:g}",
            "-" if one.noise1024 is None else str(one.noise1024),
            f"{one.accuracy:.1%}",
            f"{one.worst:.1%}",
        ]
        for one in measured
    ]
    document = {
        "task": task,
        "rounds": rounds,
        "contributors": contributors,
        "repeat": repeat,
        "learningRate": loaded.training["learning_rate"],
        "privacy": settings.to_json(),
        "budgets": [one.to_json() for one in measured],
        "warning": privacy.WARNING,
    }
    emit(document, text, table(["epsilon", "noise1024", "accuracy", "worst"], rows), privacy.WARNING)


def task_evaluate(
    task: TaskName,
    model: ModelFile = None,
    version: Version = "active",
    report: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Evaluate each newly anchored state, one JSON line each.")
    ] = False,
    canary: Annotated[
        bool,
        typer.Option(
            "--canary",
            help="Measure each computed round before it is anchored, and report to the coordinator, until Ctrl-C. It "
            "must be enabled there, for the account of --keystore. One line each.",
        ),
    ] = False,
    public_records: Annotated[
        bool,
        typer.Option(
            "--public-records",
            help="With --canary and privacy: the held-out records are public. Exact counts of them are published.",
        ),
    ] = False,
) -> None:
    """Measure a model on the task's held-out examples: by class, by group, and under two triggers.

    Example: folkmoot task evaluate --task mnist --version 12 --report report.json

    Example: folkmoot task evaluate --task mnist --canary --keystore evaluator.json
    """
    from client.tasks import evaluation
    from folkmoot.cli import reports
    from folkmoot.protocol.manifest import PRIVACY
    from folkmoot.tasks import load_task

    if canary:
        _canary(task, public_records)
        return
    loaded = load_task(task)
    if watch:
        for line in evaluation.watch(loaded, context().coordinator):
            typer.echo(json.dumps(line))
        return
    evaluated = evaluation.evaluate(loaded, _model_data(model, version))
    if report is not None:
        evaluation.write_report(evaluated, report)
        if PRIVACY in loaded.training:
            note(f"Warning: {evaluation.NO_NOISE}")
    shown = {"model": evaluated.model, **reports.summary(evaluated.measured)}
    emit(evaluated.to_json(), pairs(shown), *reports.tables(evaluated.measured))


def _canary(task: str, public_records: bool) -> None:
    from client.tasks.canary import Evaluator
    from folkmoot.artifacts.federation import files_of
    from folkmoot.artifacts.sources import CoordinatorSource
    from folkmoot.cli.options import unlock
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.tasks import load_task

    loaded = load_task(task)
    account = unlock()
    with CoordinatorApi(context().coordinator) as api, CoordinatorSource(context().coordinator) as source:
        evaluator = Evaluator(loaded, api, account, files_of(source), public_records=public_records)
        note(f"{account.address} watches {context().coordinator}; Ctrl-C ends it.")
        for line in evaluator.run():
            typer.echo(json.dumps(line) if is_json() else _result_line(line))


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


def task_generate(
    task: TaskName,
    model: ModelFile = None,
    version: Version = "active",
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    tokens: Annotated[int, typer.Option(help="Number of tokens to write.")] = 200,
    temperature: Annotated[
        float, typer.Option(help="0 writes the most likely text; with 1 the model draws by its own chances.")
    ] = 0.8,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the draws. Equal seeds give equal texts on one machine.", min=0, max=2**63 - 1
        ),
    ] = 0,
) -> None:
    """Let a language model write text: a model file, or a version of a federation.

    Example: folkmoot task generate --task text --coordinator URL --prompt "HAMLET."

    Example: folkmoot task generate --task text --model model.safetensors --temperature 0
    """
    from client.tasks import evaluation
    from folkmoot.tasks import load_task

    loaded = load_task(task)
    weights = evaluation.weights_of(_model_data(model, version))
    text = evaluation.generate(
        loaded,
        evaluation.model_of(loaded, weights),
        prompt,
        tokens=tokens,
        temperature=temperature,
        seed=seed,
    )
    emit({"task": task, "prompt": prompt, "text": text}, prompt + text)


def _model_data(model: Path | None, version: str) -> bytes:
    """Return a model file, from a path or from a coordinator."""
    from client.tasks import evaluation

    if model is not None:
        return evaluation.read_model(model)
    if context().find("coordinator") is None:
        raise InputError("There is no model.", remedy="Give --model FILE or --coordinator URL.")
    return evaluation.fetch_model(context().coordinator, version)
