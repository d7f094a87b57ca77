# SPDX-License-Identifier: Apache-2.0
"""An attack from a file: the example of the docs, and everything that a file can do wrong."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from folkmoot_lab.simulation import attack_file
from folkmoot_lab.simulation.federation import Plan, Run, Workload, run

from folkmoot.cli.main import run as command
from folkmoot.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SMALL = Plan(contributors=7, malicious=2, rounds=3, rule="clamped_mean")


def example() -> str:
    page = (ROOT / "docs/robustness.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(code)


def written(folder: Path, text: str) -> str:
    path = folder / "my_attack.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return f"{path}:attack"


def refused(workload: Workload, folder: Path, text: str) -> str:
    """What is said of an attack file whose attack is defined by this text."""
    name = written(folder, text)
    with pytest.raises(InputError) as caught:
        run(workload, replace(SMALL, attack=name))
    assert caught.value.code == "attack-file"
    return str(caught.value).replace(str(folder) + "/", "")


def test_the_example_of_the_page_runs_as_it_stands(workload: Workload, tmp_path: Path) -> None:
    assert len(example().splitlines()) <= 20
    name = written(tmp_path, example())
    drill = Run(workload, replace(SMALL, attack=name))
    outcome = drill.run()
    assert drill.attack.knows == "public"
    assert outcome.attacker_pay is not None
    assert drill.earlier_own is not None
    assert drill.earlier_sent is not None
    assert not np.array_equal(drill.earlier_sent, drill.earlier_own)


def test_integers_are_published_as_they_are_and_the_padding_is_nothing(
    workload: Workload, tmp_path: Path
) -> None:
    text = """
        import numpy as np
        def attack(scene):
            return np.full(scene.own.shape, 3 + scene.number)
    """
    drill = Run(workload, replace(SMALL, attack=written(tmp_path, text)))
    step, empty = drill.scene(0, drill.model[None], drill.model[None], None).step, drill.model * 0
    drill.round(0)
    sent = drill.published[0].updates[-2:] / step
    padding = drill.scene(1, empty[None], empty[None], None).real == 0
    assert set(np.unique(sent[:, ~padding])) == {3}
    assert not sent[:, padding].any()


def test_integers_above_the_cap_are_refused_as_by_a_ledger(workload: Workload, tmp_path: Path) -> None:
    text = """
        import numpy as np
        def attack(scene):
            return np.full(scene.own.shape, scene.largest)
    """
    outcome = run(workload, replace(SMALL, attack=written(tmp_path, text)))
    assert outcome.detected == 1
    assert outcome.attacker_pay == 0


def test_globals_live_as_long_as_a_drill(workload: Workload, tmp_path: Path) -> None:
    text = """
        seen = []
        def attack(scene):
            seen.append(scene.number)
            assert seen == list(range(scene.number + 1))
            return scene.own
    """
    name = written(tmp_path, text)
    assert run(workload, replace(SMALL, attack=name)) == run(workload, replace(SMALL, attack=name))


def test_a_backdoor_of_ones_own(workload: Workload, tmp_path: Path) -> None:
    text = """
        from folkmoot_lab.simulation.scene import Trigger
        GOAL = "backdoor"
        def attack(scene):
            scene.memory["trigger"] = Trigger((1, 2), target=3, source=1)
            return scene.own
    """
    outcome = run(workload, replace(SMALL, attack=written(tmp_path, text)))
    assert outcome.backdoor is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "failed in round 1 (line 3: `return 1 / 0`): ZeroDivisionError: division by zero."),
        ("raise SystemExit(3)", "failed in round 1 (line 3: `raise SystemExit(3)`): SystemExit: 3."),
        ("return scene.nothing", "AttributeError: 'Scene' object has no attribute 'nothing'."),
        ("return np.ones(3)", "NameError: name 'np' is not defined."),
        (
            "return None",
            "returned no numbers in round 1, but NoneType. It returns an array of shape (2, 1024)",
        ),
        ("return 'harm'", "returned no numbers in round 1, but str."),
        ("return [[1], [2, 3]]", "returned no numbers in round 1, but list."),
        ("return scene.own > 0", "returned no numbers in round 1, but ndarray."),
        ("return scene.own * 1j", "returned no numbers in round 1, but ndarray."),
        (
            "return scene.own[0]",
            "returned an array of shape (1024,) in round 1. It returns an array of shape (2, 1024)",
        ),
        ("return scene.own.T", "returned an array of shape (1024, 2) in round 1."),
        ("return scene.own[:1]", "returned an array of shape (1, 1024) in round 1."),
        ("return scene.own * float('nan')", "returned nan in round 1, for attacker 1, coordinate 0."),
        ("return scene.own + 1e300 * 1e300", "returned inf in round 1, for attacker 1, coordinate 0."),
        (
            "return (scene.own * 0).astype(int) + 128",
            "returned an integer outside of -127 to 127 in round 1.",
        ),
        (
            "return (scene.own * 0).astype('uint64') - 1",
            "returned an integer outside of -127 to 127 in round 1.",
        ),
        ("return scene.own if scene.number < 2 else 5", "returned an array of shape () in round 3."),
        ("scene.memory.clear(); return scene.own", "The trigger of my_attack.py:attack is None in round 1."),
        (
            "scene.memory['trigger'] = type(scene.memory['trigger'])((16,)); return scene.own",
            "It is a `Trigger` with pixels from 0 to 15 and classes from 0 to 3.",
        ),
        ("scene.model[:] = 0; return scene.own", "ValueError: assignment destination is read-only."),
    ],
)
def test_what_an_attack_does_wrong_is_said(workload: Workload, tmp_path: Path, body: str, said: str) -> None:
    assert said in refused(workload, tmp_path, f"\ndef attack(scene):\n    {body}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def attack(scene:", "my_attack.py is not Python: line 1: '(' was never closed"),
        ("x = 1\0", "my_attack.py is not Python"),
        ("import nothing_of_this_name", "failed while it was loaded (line 1: `import nothing_of_this_name`)"),
        ("def other(scene): ...", "my_attack.py has no function 'attack'. It has: other."),
        ("attack = 3", "my_attack.py has no function 'attack'. It has: none."),
        ("KNOWS = 'everything'\ndef attack(scene): ...", "KNOWS of"),
        ("GOAL = ['harm']\ndef attack(scene): ...", "It is one of harm, backdoor, reward."),
        (
            "KNOWS = 'own'\ndef attack(scene):\n    return scene.rounds",
            "'own' does not know 'rounds'. It is known from 'public' on.",
        ),
        ("KNOWS = 'public'\ndef attack(scene):\n    return scene.honest", "(line 3: `return scene.honest`)"),
        ("def attack(): ...", "takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_file_that_is_no_attack_is_refused(
    workload: Workload, tmp_path: Path, text: str, said: str
) -> None:
    assert said in refused(workload, tmp_path, text)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.py:attack", "can't be read: No such file or directory. Check the path."),
        ("missing.py", "names no function. Write missing.py:attack, if its function is attack."),
        (".py:attack", "can't be read"),
    ],
)
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        replace(SMALL, attack=name)
    (tmp_path / "latin.py").write_bytes(b"# \xff")
    with pytest.raises(InputError, match="it is not UTF-8 text"):
        replace(SMALL, attack=f"{tmp_path / 'latin.py'}:attack")


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "while True:\n        try:\n            while True: pass\n        except Exception: pass",
    ],
)
def test_an_attack_that_hangs_is_stopped(
    workload: Workload, tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_file, "LIMIT", 0.2)
    said = refused(workload, tmp_path, f"def attack(scene):\n    {body}\n")
    assert "gave no answer within 0.2 seconds in round 1 (line " in said
    assert "while True: pass`)" in said


OPTIONS = ("drill", "--task", "digits", "--contributors", "3", "--malicious", "1", "--rounds", "1")


def test_on_the_command_line_an_error_has_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "def attack(scene):\n    return scene.own / [] ")
    assert command([*OPTIONS, "--attack", "my_attack.py:attack"]) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "error: The attack my_attack.py:attack failed in round 1 (line 2: `return scene.own / []`)" in said
    written(tmp_path, example())
    assert command([*OPTIONS, "--attack", "my_attack.py:attack"]) == 0
    assert "honest reward" in capfd.readouterr().out


def test_a_grid_that_is_kept_takes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, example())
    grid = [*OPTIONS, "--grid", "--rules", "mean", "--attacks", "my_attack.py:attack"]
    assert command([*grid, "--out", "grid.jsonl"]) == 1
    assert "would not see that my_attack.py:attack changed" in capfd.readouterr().err
    assert command(grid) == 0
