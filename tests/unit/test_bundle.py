# SPDX-License-Identifier: Apache-2.0
"""The app bundle goes to every contributor: it holds what a node needs and nothing else, and runs on a bare node."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.errors import InputError
from folkmoot.runtime.flower_internals import build_bundle
from server.relay import flower_run

OURS = ("folkmoot", "client", "server", "folkmoot_lab")

WHOLE = ("flower", "privacy", "protocol", "rpc", "rpc/generated", "runtime", "tasks", "tasks/text")
"""Folders of `folkmoot` that travel whole, without the folders in them."""

EXPECTED = {
    "pyproject.toml",
    ".info/CONTENT",
    "client/__init__.py",
    "client/app.py",
    "folkmoot/__init__.py",
    "folkmoot/artifacts/__init__.py",
    "folkmoot/artifacts/reading.py",
    "folkmoot/artifacts/sources.py",
    "folkmoot/artifacts/store.py",
    "folkmoot/coordinator_api.py",
    "folkmoot/errors.py",
    "folkmoot/ledger/__init__.py",
    "folkmoot/ledger/deployment.py",
}
EXPECTED |= {
    f"folkmoot/{room}/{path.name}"
    for room in WHOLE
    for path in (flower_run.project_root() / "folkmoot" / room).iterdir()
    if path.suffix in (".py", ".json")
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flower_run.stage(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def bundle(app: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(build_bundle(app)))


def test_the_bundle_holds_exactly_what_a_node_needs(bundle: zipfile.ZipFile) -> None:
    assert set(bundle.namelist()) == EXPECTED


def test_no_code_of_the_bundle_reaches_beyond_it(bundle: zipfile.ZipFile) -> None:
    """Neither web nor database nor web3 nor key files are imported anywhere in it, not even late."""
    forbidden = re.compile(
        r"^\s*(?:from|import)\s+(web3|fastapi|sqlalchemy|alembic|starlette|uvicorn|folkmoot\.runtime\.keystore|"
        r"client\.|server\b)",
        re.MULTILINE,
    )
    for name in bundle.namelist():
        assert not forbidden.search(bundle.read(name).decode()), name


def test_a_bundle_is_the_same_every_time(app: Path, tmp_path: Path) -> None:
    assert flower_run.bundle_hash(app) == flower_run.bundle_hash(flower_run.stage(tmp_path))


def test_the_bundle_loads_where_folkmoot_is_not_installed(app: Path) -> None:
    """In a fresh interpreter the staged files come first, and nothing of ours comes from anywhere else."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import client.app, folkmoot.tasks.mnist, folkmoot.tasks.text.texts, folkmoot.flower\n"
        "folkmoot.tasks.text.texts.encoding()\n"
        "folkmoot.flower.folkmoot_mod, folkmoot.flower.anchored_client\n"
        f"ours = [m for n, m in sys.modules.items() if n.split('.')[0] in {OURS}]\n"
        "strange = [m.__file__ for m in ours if not m.__file__.startswith(sys.argv[1])]\n"
        "heavy = {'web3', 'torch', 'fastapi', 'sqlalchemy', 'sklearn', 'numba'} & set(sys.modules)\n"
        "sys.exit(str(strange or heavy) if strange or heavy else 0)\n"
    )
    # Modules that Flower itself brings along are Flower's affair.
    done = subprocess.run(
        [sys.executable, "-c", code, str(app)], capture_output=True, text=True, check=False, cwd=app.parent,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "pyproject.toml").write_text(
        '[project]\nname = "folkmoot"\n[tool.flwr.app]\nfab-include = ["/no/such/*.py"]\n'
    )
    with pytest.raises(InputError, match="no/such"):
        flower_run.stage(tmp_path / "out", root)


@pytest.mark.parametrize("value", ['a"b', "a'b", "a\\b", ["list"], None])
def test_run_settings_that_flower_would_misread(value: object) -> None:
    with pytest.raises(InputError, match="can't be written"):
        flower_run.run_config({"coordinator": value})


def test_run_settings() -> None:
    settings = {"coordinator": "http://127.0.0.1:1", "min-nodes": 3, "fraction-train": 0.5, "flag": True}
    expected = 'coordinator="http://127.0.0.1:1" min-nodes=3 fraction-train=0.5 flag=true'
    assert flower_run.run_config(settings) == expected


def test_whatever_the_bundle_imports_is_in_it() -> None:
    """Also inside of functions: such an import fails at the first message, on every node."""
    missing = set()
    for name in EXPECTED:
        if not name.endswith(".py"):
            continue
        for module in imported(ast.parse((flower_run.project_root() / name).read_text(encoding="utf-8"))):
            path = module.replace(".", "/")
            if not {f"{path}.py", f"{path}/__init__.py"} & set(EXPECTED):
                missing.add(f"{name}: {module}")
    assert missing == set()


def imported(tree: ast.AST) -> Iterator[str]:
    """Our modules that a file imports when it runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [one for one in names if is_module(one)] or [node.module]
            yield from (one for one in modules if one.partition(".")[0] in OURS)
        elif isinstance(node, ast.Import):
            ours = (alias.name for alias in node.names)
            yield from (one for one in ours if one.partition(".")[0] in OURS)
        yield from imported(node)


def is_module(name: str) -> bool:
    """Whether a dotted name is a module of this repository."""
    path = flower_run.project_root() / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
