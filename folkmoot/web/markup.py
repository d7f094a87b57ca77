# SPDX-License-Identifier: Apache-2.0
"""Build HTML and SVG from untrusted text: escape everything except `Markup`.

A page is built from `tag`s. Every value other than `Markup` is escaped to text, so untrusted text can't become an
element. This module needs only the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Self

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
_NAME = re.compile("[a-zA-Z][a-zA-Z0-9-]*")
_ADDRESS = re.compile(r"(?:https?://|/(?!/)|\?|#|[A-Za-z0-9._-]+$)")
"""Allowed beginnings of a link: the scheme of another site, or a path on this site. No `javascript:`, no `data:`."""


class Markup(str):
    """Trusted HTML or SVG text."""

    __slots__ = ()

    @classmethod
    def of(cls, *children: object) -> Self:
        """Join children: `Markup` unchanged, iterables one by one, None as nothing, other values as escaped text."""
        return cls("".join(_written(children)))


def visible(text: str) -> str:
    """Return a text without control characters, marks of text direction, and lone surrogates."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: Name of the element.
        children: Children, as for `Markup.of`.
        attributes: Attributes by name. `_` means `-`, and a final `_` is dropped (`class_`). True gives an attribute
            without a value; None and False give none.

    Raises:
        ValueError: A name is invalid, or a link does not lead to a page.
    """
    written = [_named(name)]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        plain = _named(key.rstrip("_").replace("_", "-"))
        if value is True:
            written.append(plain)
            continue
        text = visible(str(value))
        if plain in ("href", "src") and not _ADDRESS.match(text):
            raise ValueError(f"{text!r} is no address of a page")
        written.append(f'{plain}="{escape(text, quote=True)}"')
    opening = " ".join(written)
    if name in _VOID:
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{Markup.of(*children)}</{name}>")


def _written(children: Iterable[object]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield escape(visible(child), quote=False)
        elif isinstance(child, Iterable):
            yield from _written(child)
        else:
            yield escape(visible(str(child)), quote=False)


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an element or attribute")
    return name
