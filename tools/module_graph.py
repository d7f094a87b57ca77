# SPDX-License-Identifier: Apache-2.0
"""Print a Mermaid diagram and a table of the packages, from the real imports of the code.

Rooms are the packages directly below ``folkmoot`` and ``server``, the modules beside them, and ``client``. Every import
counts: also one inside a function, and one under ``if TYPE_CHECKING``, because it is a dependency for the reader.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ("folkmoot", "server", "client")
INSIDE = {"server": "coordinator", "client": "contributor's programs"}


@dataclass
class Room:
    """A package, or a module beside the packages of a root.

    Attributes:
        name: Dotted name.
        path: Its folder or file, relative to the repository.
        summary: First sentence of its docstring.
        rooms: Rooms that it imports.
        packages: Third-party packages that it imports.
    """

    name: str
    path: str
    summary: str
    rooms: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the file of each module of the three roots."""
    for root in ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "migrations" not in parts:  # loaded by Alembic, imported by nobody
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def known() -> frozenset[str]:
    """Return the names of all modules."""
    return frozenset(name for name, _ in modules())


def room_of(module: str) -> str:
    """Return the room of a module: its package below the root, or the module itself."""
    root, _, rest = module.partition(".")
    return f"{root}.{rest.split('.')[0]}" if rest else root


def imports(module: str, path: Path) -> Iterator[str]:
    """Yield the dotted name of each module or package that a module imports."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (above, node.module or "") if part)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in known() else source


def summary(path: Path) -> str:
    """Return the first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def rooms() -> dict[str, Room]:
    """Return all rooms by name, with what they import."""
    found: dict[str, Room] = {}
    for module, path in modules():
        name = room_of(module)
        if name in ("folkmoot", "server") or path.name == "__main__.py":
            continue
        place = ROOT / name.replace(".", "/")
        if name not in found:
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            shown = f"{name.replace('.', '/')}/" if place.is_dir() else f"{name.replace('.', '/')}.py"
            found[name] = Room(name, shown, summary(file))
        for target in imports(module, path):
            top = target.partition(".")[0]
            if top in ROOTS:
                found[name].rooms.add(room_of(target))
            elif top not in sys.stdlib_module_names:
                found[name].packages.add(top)
    for room in found.values():
        room.rooms = {target for target in room.rooms if target in found and target != room.name}
    return found


def halves(found: dict[str, Room]) -> dict[str, set[str]]:
    """Return what the rooms of ``folkmoot`` and the two halves as wholes import of ``folkmoot``."""
    graph: dict[str, set[str]] = {"server": set(), "client": set()}
    for name, room in found.items():
        root = name.partition(".")[0]
        node = name if root == "folkmoot" else root
        graph.setdefault(node, set()).update(
            target for target in room.rooms if target.startswith("folkmoot.")
        )
    return graph


def inside(found: dict[str, Room], root: str) -> dict[str, set[str]]:
    """Return what the rooms of a root import of each other."""
    names = {name for name in found if name.startswith(f"{root}.")}
    return {name: found[name].rooms & names for name in sorted(names)}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the nodes that a node imports, directly or through others."""
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def arrows(graph: dict[str, set[str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the arrows to draw: imports that no path through a third room implies, and imports within a circle."""
    below = {name: reachable(graph, name) for name in graph}
    circle = {name: {name} | {o for o in below[name] if name in below[o]} for name in graph}
    straight: dict[tuple[str, str], tuple[str, str]] = {}
    circular: list[tuple[str, str]] = []
    for name in sorted(graph):
        others = {target for member in circle[name] for target in graph[member]} - circle[name]
        for target in sorted(graph[name]):
            if target in circle[name]:
                circular.append((name, target))
            elif not any(target in below[other] and other not in circle[target] for other in others):
                straight.setdefault((min(circle[name]), min(circle[target])), (name, target))
    return sorted(straight.values()), circular


def depth(found: dict[str, Room], name: str) -> int:
    """Return the number of rooms that a room imports, directly or through others."""
    return len(reachable({key: room.rooms for key, room in found.items()}, name))


def diagram(graph: dict[str, set[str]]) -> list[str]:
    """Return the lines of a Mermaid diagram: nodes, then arrows; dotted ones belong to a circle."""
    straight, circular = arrows(graph)
    lines = ["```mermaid", "flowchart TB"]
    for name in sorted(graph):
        root, _, rest = name.partition(".")
        file = "" if not rest or (ROOT / root / rest).is_dir() else ".py"
        lines.append(f'  {identifier(name)}["{rest or root + "/"}{file}"]')
    lines += [f"  {identifier(a)} --> {identifier(b)}" for a, b in straight]
    lines += [f"  {identifier(a)} -.-> {identifier(b)}" for a, b in circular]
    return [*lines, "```"]


def identifier(name: str) -> str:
    """Return a name that Mermaid takes for a node."""
    return name.replace(".", "_")


def table(found: dict[str, Room], root: str) -> list[str]:
    """Return the lines of the table of a root, the rooms that import least first."""
    lines = ["| package | what it holds | imports of Folkmoot | other imports |", "| --- | --- | --- | --- |"]
    for name in sorted(found, key=lambda name: (depth(found, name), name)):
        room = found[name]
        if name.partition(".")[0] == root:
            ours = ", ".join(sorted(target.removeprefix("folkmoot.") for target in room.rooms)) or "-"
            others = ", ".join(sorted(room.packages)) or "-"
            lines.append(f"| `{room.path}` | {room.summary} | {ours} | {others} |")
    return lines


def page() -> str:
    """Return all diagrams and tables, as Markdown."""
    found = rooms()
    lines = ["### The library and the two halves", "", *diagram(halves(found))]
    for root in ROOTS:
        if root in INSIDE:
            lines += ["", f"### Inside the {INSIDE[root]}", "", *diagram(inside(found, root))]
        lines += ["", *table(found, root)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
