# SPDX-License-Identifier: Apache-2.0
"""Render HTML pages from templates that escape everything: one style sheet, no scripts.

A page is one file without resources of other addresses. It works under a strict Content-Security-Policy, in a text
browser, and from a disk. Text from strangers stays text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
_STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_ALONE = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy inside the page, for a page that is opened from a disk."""

POLICY = f"{_ALONE}; frame-ancestors 'none'"
"""The page's Content-Security-Policy: its own style sheet, its icon, and nothing else."""

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cg fill='%230b6b4f'%3E"
    "%3Ccircle cx='8' cy='3' r='2.2'/%3E%3Ccircle cx='13' cy='8' r='2.2'/%3E%3Ccircle cx='8' cy='13' r='2.2'/%3E"
    "%3Ccircle cx='3' cy='8' r='2.2'/%3E%3C/g%3E%3C/svg%3E"
)

_ADDRESS = re.compile(r"(?:https?://|/(?!/)|\?|#|[A-Za-z0-9._-]+$)")
"""Allowed beginnings of a link: the scheme of another site, or a path on this site. No `javascript:`, no `data:`."""


def render(template: str, folder: Path = TEMPLATES, /, **values: Any) -> bytes:
    """Return a page in UTF-8.

    Args:
        template: Name of the template.
        folder: Its folder; the templates of this package are found from everywhere.
        values: What it shows. Only `Markup` is not escaped.
    """
    return visible(_environment(folder).get_template(template).render(values)).encode()


def part(name: str, /, *arguments: Any, **options: Any) -> Markup:
    """Return a part of a page: what a macro of `templates/parts.html` makes of its arguments."""
    macro = getattr(_environment(TEMPLATES).get_template("parts.html").module, name)
    return Markup(visible(macro(*arguments, **options)))  # noqa: S704  the template has escaped it


def visible(text: str) -> str:
    """Return a text without control characters, marks of text direction, and lone surrogates."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


@cache
def check_page(*, fetches: bool = False) -> tuple[bytes, str]:
    """Return the page that checks a round without a network, and its Content-Security-Policy.

    ``console/`` builds it. It has one script, which its policy names by its hash, and which can reach nothing.

    Args:
        fetches: Whether it may reach the origin that serves it, for evidence. No other byte of it differs.
    """
    page = Path(__file__).with_name("check.html").read_bytes()
    if fetches:
        page = page.replace(b"; connect-src 'none';", b"; connect-src 'self';", 1)
    return page, _policy(page)


@cache
def vote_page() -> tuple[bytes, str]:
    """Return the page on which people vote with their wallets, and its Content-Security-Policy.

    ``console/`` builds it. Its one script reaches the origin that serves it, and the wallets of the browser.
    """
    page = Path(__file__).with_name("vote.html").read_bytes()
    return page, _policy(page)


def _policy(page: bytes) -> str:
    """Return the policy that a page of ``console/`` names, and that it stands in no frame."""
    policy = page.partition(b'"Content-Security-Policy" content="')[2].partition(b'"')[0].decode()
    return f"{policy}; frame-ancestors 'none'"


def is_address(text: str) -> bool:
    """Return whether a link may lead there."""
    return _ADDRESS.match(text) is not None


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.globals |= {
        "style": _STYLE,
        "icon": _ICON,
        "policy": _ALONE,
        "none_": "\N{EN DASH}",
        "reload": None,
    }
    environment.tests["address"] = is_address
    return environment
