# SPDX-License-Identifier: Apache-2.0
"""`folkmoot policy` writes a file that fits the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from folkmoot.aggregation import policy_file
from folkmoot.chain.terms import PROFILES
from folkmoot.cli import policy as command
from folkmoot.cli.deploy import first_of
from folkmoot.cli.main import run
from folkmoot.errors import InputError
from folkmoot.protocol.genesis import Genesis, width_settings
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.outer_step import EAGER_MOMENTUM, EAGER_RATE
from folkmoot.protocol.policy import ARBITER, CLAMPED_MEAN, NO_VERIFIER
from folkmoot.protocol.state import State
from tests.unit.privacy.test_settings import GOOD

ELEMENTS = 300


@pytest.fixture
def genesis(tmp_path: Path) -> Path:
    return genesis_of(tmp_path, {})


def genesis_of(tmp_path: Path, training: dict[str, object], exponent: int = -9) -> Path:
    values = {"weight": np.zeros((ELEMENTS,), np.float32)}
    manifest = Manifest.from_arrays("tiny", values, training)
    state = State.genesis(manifest, values)
    made = Genesis.of(manifest, state, (exponent,))
    folder = tmp_path / "genesis"
    for data in (manifest.to_json(), state.to_bytes(), made.to_json()):
        digest = sha256_hex(data)
        (folder / digest[:2]).mkdir(parents=True, exist_ok=True)
        (folder / digest[:2] / digest).write_bytes(data)
    (folder / "genesis.json").write_bytes(made.to_json())
    return folder


def test_the_command_has_the_words_of_the_protocol() -> None:
    assert (command.DEFAULT_RULE, command.ARBITER) == (CLAMPED_MEAN, ARBITER)


def test_the_cap_follows_the_size_of_the_model(
    genesis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy.json"
    words = ["policy", "--genesis", str(genesis), "--profile", "demo", "--reward", "10", "--out", str(out)]
    assert run(words) == 0
    assert "A round has 64 places, each worth 0.15625 MOOT at most." in capsys.readouterr().out
    made = policy_file.load(out)
    assert made.max_sum_squares == 64**2 * ELEMENTS
    assert (made.rule, made.parameters) == ("clamped_mean", ())


@pytest.mark.parametrize(("width", "cap"), [(8, 4096), (4, 16), (2, 1)])
def test_the_cap_follows_the_width(tmp_path: Path, width: int, cap: int) -> None:
    out, genesis = tmp_path / "policy.json", genesis_of(tmp_path, dict(width_settings(width)))
    assert run(["policy", "--genesis", str(genesis), "--width", str(width), "--out", str(out)]) == 0
    made = policy_file.load(out)
    assert (made.width, made.max_sum_squares) == (width, cap * ELEMENTS)


@pytest.mark.parametrize(
    ("training", "width", "code"), [({}, "3", "width-unknown"), ({"privacy": GOOD}, "4", "private-width")]
)
def test_a_width_that_the_ledger_refuses_is_refused_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training: dict[str, object], width: str, code: str
) -> None:
    folder, out = genesis_of(tmp_path, training), tmp_path / "policy.json"
    assert run(["policy", "--genesis", str(folder), "--width", width, "--out", str(out), "--json"]) == 1
    assert code in capsys.readouterr().out
    assert not out.exists()


def test_the_commit_window_and_the_outer_step_of_an_eager_start(tmp_path: Path) -> None:
    out, folder = tmp_path / "policy.json", genesis_of(tmp_path, {"start": "eager"})
    words = ["policy", "--genesis", str(folder), "--out", str(out)]
    assert run(words) == 0
    usual = policy_file.load(out)
    assert (usual.rate, usual.momentum) == (EAGER_RATE, EAGER_MOMENTUM)
    assert run([*words, "--force", "--commit-window", "600", "--retain-rounds", "16"]) == 0
    assert policy_file.load(out) == replace(usual, commit_window=600, interval=600, retain_rounds=16)
    assert usual.commit_window == usual.interval == PROFILES["l2"].windows.commit != 600


@pytest.mark.parametrize(
    ("words", "interval", "minted"),
    [
        ((), 3_600, "at most 2400 MOOT"),
        (("--commit-window", "7000"), 7_000, "at most 1300 MOOT"),
        (("--profile", "demo", "--commit-window", "60"), 0, "no bound, as its interval is 0"),
        (("--profile", "l1"), 21_600, "at most 400 MOOT"),
    ],
)
def test_it_says_what_is_minted_in_a_day_at_most(
    genesis: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    interval: int,
    minted: str,
) -> None:
    out = tmp_path / "policy.json"
    assert run(["policy", "--genesis", str(genesis), "--out", str(out), *words]) == 0
    said = f"Minted for the rounds of a day, whatever the coordinator does: {minted}."
    assert said in " ".join(capsys.readouterr().out.split())
    assert policy_file.load(out).interval == interval


@pytest.mark.parametrize("training", [{}, {"start": "eager"}])
@pytest.mark.parametrize(
    ("made_for", "width", "effect"),
    [(8, 4, "cut to their largest"), (4, 8, "rounded more than"), (2, 4, "rounded")],
)
def test_a_width_that_the_genesis_was_not_made_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    made_for: int,
    width: int,
    effect: str,
    training: dict[str, object],
) -> None:
    folder = genesis_of(tmp_path, {**width_settings(made_for), **training})
    words = ["policy", "--genesis", str(folder), "--out", str(tmp_path / "policy.json"), "--json"]
    assert run([*words, "--width", str(width)]) == 1
    refused = json.loads(capsys.readouterr().out)["error"]
    assert refused["code"] == "other-width"
    assert f"for updates of {made_for} bits a coordinate, and the policy has {width}" in refused["message"]
    assert effect in refused["message"]
    assert run([*words, "--width", str(made_for)]) == 0
    # The same is a warning where the policy file comes from elsewhere, before anything is sent.
    policy = tmp_path / "other.json"
    made = policy_file.load(tmp_path / "policy.json")
    policy.write_text(json.dumps(policy_file.to_json(replace(made, width=width))))
    address = "0x" + "11" * 20
    deploy = ["deploy", "--genesis", str(folder / "genesis.json"), "--policy", str(policy)]
    deploy += ["--appoint", address, "--allocate", f"{address}=1", "--keystore", str(tmp_path / "none")]
    capsys.readouterr()
    assert run(deploy) == 1
    assert effect in capsys.readouterr().err


def test_where_updates_carry_noise_the_rule_is_the_one_for_it(tmp_path: Path) -> None:
    out = tmp_path / "policy.json"
    words = [
        "policy",
        "--genesis",
        str(genesis_of(tmp_path, {"privacy": GOOD})),
        "--out",
        str(out),
    ]
    assert run(words) == 0
    made = policy_file.load(out)
    assert made.rule == "clamped_mean"
    assert (made.noise1024, made.steps) == (GOOD["noise1024"], GOOD["steps"])
    assert made.rounds_left(0) == 20
    assert (
        run([*words, "--force", "--rule", "mean", "--budget-rounds", "3", "--bundle", "0x" + "ab" * 32]) == 0
    )
    made = policy_file.load(out)
    assert (made.rule, made.rounds_left(0), made.bundle_hash) == ("mean", 3, b"\xab" * 32)
    assert run([*words, "--force", "--bundle", "ab"]) == 1


def test_noise_brings_a_floor_where_there_are_weights_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, training = tmp_path / "policy.json", {"learning_rate": 40, "privacy": GOOD}
    words = ["policy", "--genesis", str(genesis_of(tmp_path, training)), "--out", str(out)]
    assert run(words) == 0
    made = policy_file.load(out)
    assert "The policy has no minSumSquares: its exponents are too small" in capsys.readouterr().err
    assert made.min_sum_squares == 0
    folder = genesis_of(tmp_path, training, exponent=-4)
    assert run([*words, "--force"]) == 0
    made = policy_file.load(out)
    variance = (GOOD["noise1024"] / 1024 * GOOD["clip"] * 40 / GOOD["B0"] * 2**4) ** 2
    assert made.min_sum_squares == pytest.approx(ELEMENTS * variance * (1 - 6 * (2 / ELEMENTS) ** 0.5), abs=1)
    assert "minSumSquares:" not in capsys.readouterr().err
    first = first_of(folder / "genesis.json", folder)
    assert policy_file.check_privacy(made, *first) == ""
    for other, code in (
        (replace(made, min_sum_squares=made.min_sum_squares + 1), "floor-too-high"),
        (replace(made, max_sum_squares=ELEMENTS - 1), "cap-too-small"),
        (replace(made, noise1024=made.noise1024 - 1), "wrong-privacy"),
    ):
        with pytest.raises(InputError) as refused:
            policy_file.check_privacy(other, *first)
        assert refused.value.code == code


def test_a_policy_without_noise_is_warned_of(
    genesis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "--genesis", str(genesis), "--out", str(tmp_path / "policy.json")]) == 0
    assert "treat a published update as publishing your records" in capsys.readouterr().err


def test_a_policy_file_is_not_overwritten(genesis: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy.json"
    out.write_text("mine")
    assert run(["policy", "--genesis", str(genesis), "--out", str(out)]) == 1
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--rule", "nonsense"), "unknown-rule"),
        (("--rule", "multi_krum:1"), "wrong-parameters"),
        (("--rule", "multi_krum:0,0"), "impossible-policy"),
        (("--profile", "mars"), "unknown-profile"),
        (("--bond", "399"), "impossible-policy"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    genesis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str], code: str
) -> None:
    arguments = ["policy", "--genesis", str(genesis), "--out", str(tmp_path / "p.json"), "--json", *words]
    assert run(arguments) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    ("words", "verifier"),
    [
        ((), ARBITER),
        (("--verifier", "arbiter"), ARBITER),
        (("--verifier", "none"), NO_VERIFIER),
        (("--verifier", "0x" + "11" * 20), "0x" + "11" * 20),
    ],
)
def test_the_verifier_is_the_arbiter_unless_another_is_named(
    genesis: Path, tmp_path: Path, words: tuple[str, ...], verifier: str
) -> None:
    out = tmp_path / "policy.json"
    assert run(["policy", "--genesis", str(genesis), "--out", str(out), *words]) == 0
    assert policy_file.load(out).verifier == verifier


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        ((), None),
        (("--gas-price-in-tokens", "9"), None),
        (("--gas-price-in-tokens", "10"), "The bond of 500 MOOT is low."),
        (("--bond", "400"), "The bond of 400 MOOT is low."),
        (("--verifier", "none"), "The policy has no verifier"),
        (("--rule", "mean"), "These strategies pay against the policy: Sybil split"),
    ],
)
def test_a_bond_that_is_too_low_is_warned_of_and_the_defaults_are_not(
    genesis: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    warning: str | None,
) -> None:
    arguments = ["policy", "--genesis", str(genesis), "--out", str(tmp_path / "p.json"), "--json", *words]
    assert run(arguments) == 0
    said = json.loads(capsys.readouterr().out)["warning"]
    assert said is None if warning is None else said.startswith(warning)


@pytest.mark.parametrize("verifier", [NO_VERIFIER, ARBITER])
def test_windows_in_which_nobody_can_act_are_named(verifier: str) -> None:
    from dataclasses import replace

    from folkmoot.chain.bonds import LEAST_WINDOW, policy_warning
    from folkmoot.cli.policy import default_of

    enough = replace(default_of("l2"), verifier=verifier, commit_window=LEAST_WINDOW)
    assert "Window" not in (policy_warning(enough) or "")
    short = replace(enough, commit_window=1, challenge_window=LEAST_WINDOW - 1)
    said = policy_warning(short) or ""
    assert "shorter than 60 s: commitWindow 1 s, challengeWindow 59 s." in said
    assert "anchorWindow" not in said
    assert said.startswith("The policy has no verifier" if verifier == NO_VERIFIER else "These windows")


def test_multi_krum_has_no_more_places_than_can_be_proven(genesis: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    assert run(["policy", "--genesis", str(genesis), "--out", str(out), "--rule", "multi_krum:1,0"]) == 0
    assert policy_file.load(out).max_contributors == 32
    document = json.loads(out.read_text())
    out.write_text(json.dumps(document | {"maxContributors": 33}))
    with pytest.raises(InputError, match="takes at most 32"):
        policy_file.load(out)


def test_a_verifier_that_is_no_address_is_refused(genesis: Path, tmp_path: Path) -> None:
    arguments = ["policy", "--genesis", str(genesis), "--out", str(tmp_path / "p.json")]
    assert run([*arguments, "--verifier", "somebody"]) == 1
