# SPDX-License-Identifier: Apache-2.0
"""Write the files of deploy/lock, which pin every Python package by version and hash, or check them.

Each is for `pip install --require-hashes -r`, for one role, on any system and any Python that pyproject.toml admits.
Without options the pins stay that still fit pyproject.toml; `--upgrade` takes the newest releases. `--check` needs no
network: it fails where pyproject.toml asks for a package that a file lacks or pins outside the range.

torch is not pinned, though what it needs is. Its CPU builds have hashes of their own on an index of their own, and the
build that PyPI serves for Linux brings 3 GB of CUDA libraries. Install it after the others, as a range.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "lock"

LOCKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "everything": (("all",), ("dev",)),
    "node": (("fast", "tasks"), ()),
    "watcher": (("chain", "fast", "s3"), ()),
    "coordinator": (("server", "s3"), ()),
    "docs": ((), ("docs",)),
    "release": ((), ("release",)),
}
"""The extras and the dependency groups of each file. The others take the versions of the first, where it has them."""

UNPINNED = "torch"

# What torch needs, without the CUDA libraries of PyPI's build for Linux. Not in pyproject.toml: there it would hold for
# everybody who installs Folkmoot with uv.
TORCH = """
[[dependency-metadata]]
name = "torch"
requires-dist = [
    "filelock", "fsspec>=0.8.5", "jinja2", "networkx>=2.5.1", "setuptools", "sympy>=1.13.3", "typing-extensions>=4.10",
]
"""


def compile_lock(name: str, options: list[str]) -> None:
    """Write one file with uv, which Flower installs."""
    extras, groups = LOCKS[name]
    command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes", "--no-emit-package", UNPINNED]
    command += [
        "--custom-compile-command",
        "make lock",
        "--output-file",
        str(FOLDER / f"{name}.txt"),
        *options,
    ]
    command += ["pyproject.toml"] if extras else []
    command += [word for extra in extras for word in ("--extra", extra)]
    command += [word for group in groups for word in ("--group", group)]
    if name != "everything":
        command += ["--constraints", str(FOLDER / "everything.txt")]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(TORCH)
        settings.flush()
        subprocess.run([*command, "--config-file", settings.name], cwd=ROOT, check=True)


def pins(text: str) -> dict[str, list[Requirement]]:
    """Return the pins of a file by package: several where they differ between versions of Python."""
    found: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^(?!\s|#|--)([^\\\n]+)", text, re.MULTILINE):
        pin = Requirement(line)
        found.setdefault(_canonical(pin.name), []).append(pin)
    return found


def asked(project: dict[str, Any], extras: tuple[str, ...], groups: tuple[str, ...]) -> list[Requirement]:
    """Return what pyproject.toml asks for, with the extras that extras name."""
    meta = project["project"]
    wanted = [Requirement(line) for line in (meta["dependencies"] if extras else [])]
    for extra in extras:
        for requirement in map(Requirement, meta["optional-dependencies"][extra]):
            if requirement.name == meta["name"]:
                wanted += asked(project, tuple(sorted(requirement.extras)), ())
            else:
                wanted.append(requirement)
    return wanted + [Requirement(line) for group in groups for line in project["dependency-groups"][group]]


def differences(name: str, text: str, project: dict[str, Any]) -> list[str]:
    """Return how a file does not fit pyproject.toml, in sentences."""
    found = pins(text)
    wanted = [requirement for requirement in asked(project, *LOCKS[name]) if requirement.name != UNPINNED]
    wrong = []
    for requirement in wanted:
        pinned = found.get(_canonical(requirement.name), [])
        if not pinned:
            wrong.append(f"deploy/lock/{name}.txt lacks {requirement.name}.")
        wrong += [
            f"deploy/lock/{name}.txt has {pin}, and pyproject.toml asks for {requirement}."
            for pin in pinned
            if not requirement.specifier.contains(_version(pin), prereleases=True)
        ]
    blocks = re.findall(r"^[^\s#].*\n(?:\s.*\n)*", text, re.MULTILINE)
    direct = {
        _canonical(Requirement(re.split(r"[\\\n]", block)[0]).name)
        for block in blocks
        if "(pyproject.toml" in block
    }
    extra = direct - {_canonical(requirement.name) for requirement in wanted}
    wrong += [
        f"deploy/lock/{name}.txt has {one}, for which pyproject.toml no longer asks." for one in sorted(extra)
    ]
    hashed = sum("--hash=sha256:" in block for block in blocks)
    if hashed != sum(map(len, found.values())):
        wrong.append(f"deploy/lock/{name}.txt has a package without a hash.")
    return list(dict.fromkeys(wrong))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(pin: Requirement) -> str:
    (only,) = pin.specifier
    return only.version


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with pyproject.toml, and write nothing")
    parser.add_argument("--upgrade", action="store_true", help="take the newest releases that fit")
    options = parser.parse_args()
    if not options.check:
        for name in LOCKS:
            compile_lock(name, ["--upgrade"] if options.upgrade else [])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wrong = [
        line for name in LOCKS for line in differences(name, (FOLDER / f"{name}.txt").read_text(), project)
    ]
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print("Remedy: make lock", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
