# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PURE = [
    f"folkmoot.protocol.{path.stem}"
    for path in sorted((ROOT / "folkmoot" / "protocol").glob("[!_]*.py"))
    if path.stem != "kernels"  # made with numba, and loaded only where there is some
]
PURE += ["folkmoot.round"]


def imported_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_the_package_is_light() -> None:
    heavy = {"numpy", "numba", "web3", "eth_account", "flwr", "torch", "httpx"}
    assert not heavy & imported_by("import folkmoot")


def test_the_pure_library_needs_neither_numba_nor_network() -> None:
    statement = "\n".join(f"import {name}" for name in PURE)
    forbidden = {
        "numba",
        "web3",
        "flwr",
        "torch",
        "httpx",
        "fastapi",
        "sqlalchemy",
        "typer",
        "server",
        "client",
    }
    assert not forbidden & imported_by(statement)


@pytest.mark.parametrize("name", PURE)
def test_modules_say_what_they_are_for(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    public = [value for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
    ours = [value for value in public if getattr(value, "__module__", "") == module.__name__]
    assert all(value.__doc__ for value in ours)
