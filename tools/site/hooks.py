# SPDX-License-Identifier: Apache-2.0
"""What MkDocs can't do by a setting: links to the repository, diagrams without other addresses, pipes in tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[2]
MERMAID = Path(__file__).resolve().parent / "node_modules" / "mermaid" / "dist" / "mermaid.min.js"
SERVED = "assets/javascripts/mermaid.min.js"
OUTSIDE = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add Mermaid, from the npm package that package-lock.json pins, to the files of the site.

    Raises:
        PluginError: The package is not installed.
    """
    if not MERMAID.is_file():
        raise PluginError(f"{MERMAID} is missing. Remedy: make docs installs it.")
    files.append(File.generated(config, SERVED, abs_src_path=str(MERMAID)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links that leave ``docs/`` at the repository, and write pipes in table code as Python-Markdown wants them.

    Raises:
        PluginError: A link's file does not exist.
    """

    def absolute(match: re.Match[str]) -> str:
        place = urljoin(f"docs/{page.file.src_uri}", match[1])
        if place.startswith("docs/"):
            return match[0]
        if not (ROOT / place).exists():
            raise PluginError(f"docs/{page.file.src_uri} links to {match[1]}, and there is no {place}.")
        return f"]({config.extra['repository']}/blob/main/{place}"

    def outside_fences(text: str) -> str:
        lines = OUTSIDE.sub(absolute, text).split("\n")
        return "\n".join(_code_pipes(line) if line.startswith("|") else line for line in lines)

    parts: list[str] = []
    end = 0
    for fence in FENCE.finditer(markdown):
        parts += [outside_fences(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, outside_fences(markdown[end:])])


def _code_pipes(line: str) -> str:
    """Take the backslash off pipes in a table's code spans; GitHub needs it there, Python-Markdown shows it."""
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Load our copy of Mermaid on pages with a diagram, so that the theme fetches none from another address."""
    if 'class="mermaid"' not in output:
        return output
    script = f'<script src="{get_relative_url(SERVED, page.url)}"></script>'
    head, found, rest = output.rpartition('<script src="')
    if not found:
        raise PluginError(f"{page.url} loads no script before which Mermaid could be loaded.")
    return f"{head}{script}{found}{rest}"
