# SPDX-License-Identifier: Apache-2.0
"""Prove packed arithmetic and accounts of the contracts for all inputs, with halmos (`make prove`).

Every `check_` function of contracts/test/symbolic must hold for all inputs, and every `refute_` function must be
refuted by a counterexample, which shows that the proofs can fail. Halmos has a virtual environment of its own, because
its pins are not the project's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv-prove"
HALMOS = "halmos>=0.3.3,<0.4"
PROVEN, REFUTED = 0, 1
"""Exit codes of a test in halmos's JSON."""


def main() -> int:
    """Run both kinds; exit code 1 if anything is otherwise than it must be."""
    program = HOME / "bin/halmos"
    if not program.exists():
        venv.create(HOME, with_pip=True)
        pip = [
            str(HOME / "bin/python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            HALMOS,
        ]
        subprocess.run(pip, check=True)
    good = True
    for kind, wanted, word in (("refute_", REFUTED, "refuted"), ("check_", PROVEN, "proven")):
        results = _run(program, kind)
        good &= bool(results)
        for name, code, seconds in results:
            said = word if code == wanted else f"NOT {word} (halmos's code {code})"
            print(f"{name.split('(')[0]}: {said}, {seconds:.0f} s", flush=True)
            good &= code == wanted
    return 0 if good else 1


def _run(program: Path, kind: str) -> list[tuple[str, int, float]]:
    (forge,) = (ROOT / "node_modules/@foundry-rs").glob("forge-*/bin/forge")
    environment = os.environ | {
        "FOUNDRY_PROFILE": "prove",
        "PATH": os.pathsep.join((str(forge.parent), str(ROOT / ".venv/bin"), os.environ["PATH"])),
    }
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "results.json")
        options = ["--forge-build-out", "out-prove", "--function", kind, "--loop", "512"]
        options += ["--solver-timeout-assertion", "300000", "--statistics", "--json-output", str(answer)]
        done = subprocess.run(
            [program, *options],
            cwd=ROOT / "contracts",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if not answer.exists():
            print(done.stdout)
            raise SystemExit(f"halmos ended with {done.returncode} and no results")
        found = json.loads(answer.read_text())["test_results"]
    return [(test["name"], test["exitcode"], test["time"][0]) for tests in found.values() for test in tests]


if __name__ == "__main__":
    sys.exit(main())
