# SPDX-License-Identifier: Apache-2.0
"""The habits of the project that a machine can check."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import typer

from folkmoot.cli.main import build

ROOT = Path(__file__).resolve().parents[2]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def commands() -> list[tuple[str, click.Command]]:
    def leaves(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            return [
                leaf for key, inner in command.commands.items() for leaf in leaves(f"{name} {key}", inner)
            ]
        return [(name.strip(), command)]

    return leaves("", typer.main.get_command(build()))


def test_every_source_file_names_its_licence() -> None:
    bare = [
        path.relative_to(ROOT)
        for path in tracked("*.py", "*.sol", "*.js", "*.sh", "*.mako")
        if "SPDX-License-Identifier: Apache-2.0" not in path.read_text().split("\n\n")[0]
    ]
    assert bare == []


@pytest.mark.parametrize("name", ["folkmoot", "server", "client", "folkmoot_lab", "benchmarks"])
def test_no_other_distribution_shadows_our_packages(name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT), packages_distributions().get(name)


def test_the_wheel_leaves_no_module_out() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    modules = tracked(*(f"{package}/*.py" for package in wheel["packages"]))
    assert [path for path in modules for pattern in wheel["exclude"] if fnmatch(path.name, pattern)] == []


def test_no_file_of_the_laboratory_is_in_the_wheel_of_the_product() -> None:
    """`make dist` looks into the wheel itself."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    sources = [*build["wheel"]["packages"], *build["wheel"]["shared-data"], *build["sdist"]["include"]]
    assert {source.strip("/").split("/")[0] for source in sources} == {
        *("folkmoot", "server", "client"),
        *("README.md", "LICENSE", "pyproject.toml"),
    }


def test_the_laboratory_has_the_version_of_the_product() -> None:
    product, lab = (
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in (".", "lab")
    )
    assert lab["version"] == product["version"]
    assert lab["dependencies"] == [f"folkmoot[all]=={product['version']}"]
    assert lab["requires-python"] == product["requires-python"]
    assert (ROOT / "lab/LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_files_that_the_laboratory_names_by_their_place_exist() -> None:
    """Constants such as ``Path(__file__).parents[2] / "docs"``, without importing their modules."""
    found, missing = 0, []
    for path in tracked("lab/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and "Path(__file__)" in ast.unparse(node.value):
                place = eval(ast.unparse(node.value), {"Path": Path, "__file__": str(path)})  # noqa: S307  tracked code; an import would load torch
                found += 1
                missing += [] if place.exists() else [f"{path.relative_to(ROOT)}: {place}"]
    assert found > 5
    assert missing == []


def pages() -> list[Path]:
    return [path for path in tracked("*.md") if path.name != "CHANGELOG.md"]


def code(text: str) -> Iterator[str]:
    """The lines of code of a page, those between single marks included, without comments; a pipe ends a line."""
    fenced = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    blocks = fenced.findall(text.replace("\\\n", " "))
    blocks += re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    blocks += [" ".join(inline.split()) for inline in re.findall(r"`([^`]+)`", fenced.sub("", text))]
    for line in "\n".join(blocks).splitlines():
        yield from (part.strip() for part in re.split(r"&&|[|;]", line.partition(" #")[0]))


def test_the_pages_name_commands_and_options_that_exist() -> None:
    known = {name: {o for one in command.params for o in one.opts} for name, command in commands()}
    groups = {name.rpartition(" ")[0] for name in known}
    found, wrong = 0, set()
    for page in pages():
        for line in code(page.read_text()):
            called = re.match(r"(?:\$ )?(?:[A-Z_]+=\S* )*(?:\S*/)?folkmoot ([a-z].*)", line)
            if called is None:
                continue
            found += 1
            words = called[1].split()
            names = [" ".join(words[:count]) for count in (3, 2, 1)]
            options = next((known[name] for name in names if name in known), None)
            if options is None:
                wrong |= set() if any(name in groups for name in names) else {f"{page.name}: {line}"}
                continue
            given = {option for word in words for option in re.findall(r"^\[?(--[a-z-]+)", word)} - {"--help"}
            wrong |= {f"{page.name}: {line}: {option}" for option in given - options}
    assert found > 300
    assert wrong == set()


def test_the_targets_and_programs_that_the_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in pages():
        text = page.read_text()
        assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets, page.name
        programs = set(re.findall(r"tools/\w+\.py", text))
        assert {name for name in programs if not (ROOT / name).is_file()} == set(), page.name
        modules = set(re.findall(r"python -m (benchmarks[.\w]*\w)", text))
        assert {name for name in modules if find_spec(name) is None} == set(), page.name


def test_the_links_of_the_pages_lead_somewhere() -> None:
    def anchor(heading: str) -> str:
        return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())

    texts = {
        page: re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL) for page in pages()
    }
    anchors = {
        page: {anchor(one) for one in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        for page, text in texts.items()
    }
    dead = set()
    for page, text in texts.items():
        for link in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", text):
            path, _, place = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (place and place not in anchors.get(target, {place})):
                dead.add(f"{page.relative_to(ROOT)}: {link}")
    assert dead == set()


@pytest.mark.parametrize(
    ("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_speaks_json_and_shows_an_example(name: str, command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options, f"folkmoot {name}"
    assert f"Example: folkmoot {name}" in " ".join((command.help or "").split()), f"folkmoot {name}"


def test_the_command_starts_without_heavy_imports() -> None:
    heavy = {"torch", "web3", "flwr", "fastapi", "sqlalchemy", "numba", "sklearn"}
    code = (
        "import sys; from folkmoot.cli.main import run; run(['--version']);"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


def test_what_a_node_runs_needs_no_chain_client() -> None:
    """Its image has no web3 (deploy/lock/node.txt), which most commands of other roles import."""
    code = (
        "import sys; sys.modules['web3'] = None\n"  # Any import of it fails.
        "import client.node.executor, client.node.node, client.cli.signer, client.node.supernode, folkmoot.doctor\n"
        "from folkmoot.cli.main import run\n"
        "sys.exit(run(['doctor', '--join', '--rpc', 'http://127.0.0.1:1', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert '"sandbox"' in done.stdout, done.stderr
    assert "Unexpected" not in done.stdout + done.stderr


def workflows() -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")}


def test_actions_are_pinned_by_commit() -> None:
    used = {name: re.findall(r"uses: (.*)", text) for name, text in workflows().items()}
    assert all(used.values())
    loose = [
        f"{name}: {action}"
        for name, actions in used.items()
        for action in actions
        if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", action)
    ]
    assert loose == []


def test_python_versions_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [kind.rpartition(" ")[2] for kind in project["classifiers"] if re.search(r":: 3\.\d+$", kind)]
    assert project["requires-python"] == f">={named[0]}"
    matrix = re.search(r"^ +python: (\[.*\])$", workflows()["ci.yml"], re.MULTILINE)
    assert matrix is not None
    assert json.loads(matrix[1]) == named
    said = re.search(r"with Python (.*?\d) *\.\s", " ".join((ROOT / "CONTRIBUTING.md").read_text().split()))
    assert said is not None
    assert re.findall(r"3\.\d+", said[1]) == named
