# SPDX-License-Identifier: Apache-2.0
"""Whatever a stranger writes, it is text on a page, and a page is whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import folkmoot_lab
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from folkmoot.web.pages import TEMPLATES, is_address, part, render, visible

texts = st.text(alphabet=st.characters(codec=None), max_size=40)

LAB = Path(folkmoot_lab.__file__).parent
ALL = [*TEMPLATES.glob("*.html"), *LAB.rglob("*.html")]


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, object]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(str(page))  # `Markup` escapes what the parser makes of it
    reader.close()
    return reader


def words(text: str) -> str:
    """A text without white space, which the layout of a template adds to."""
    return re.sub(r"\s", "", text)


@given(texts)
def test_text_comes_out_as_it_went_in(text: str) -> None:
    made = part("short", text, 3) + part("copied", text)
    reader = read(made)
    assert {tag for tag, _ in reader.found} <= {"code", "details", "summary"}
    assert words(reader.text).endswith(words(visible(text)))
    made.encode()  # no lone surrogate is left


@given(texts)
def test_a_table_and_cards_hold_any_text(text: str) -> None:
    made = part("table", text, ("a", "#b", '"c'), [(text, text, text)]) + part("cards", [(text, text, text)])
    assert words(read(made).text) == words("abc" + 6 * visible(text))


@given(texts)
def test_a_page_holds_any_text(text: str) -> None:
    document = {
        "info": {"title": text, "version": text, "description": "d"},
        "paths": {text: {"get": {"description": "d", "responses": {"200": {"description": text}}}}},
    }
    page = render("operations.html", document=document).decode()
    assert words(visible(text)) in words(read(page).text)
    assert not [tag for tag, _ in read(page).found if tag == "script"]


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("operations.html")


@pytest.mark.parametrize("template", ALL, ids=lambda path: path.name)
def test_templates_escape_and_quote(template: Path) -> None:
    """Autoescape does not help where it is switched off, or where an attribute has no quotes."""
    text = template.read_text()
    unescaped = re.findall(r"{{([^{}]*)\|\s*safe\b", text)
    assert {name.strip() for name in unescaped} <= {"policy", "icon", "style"}
    assert "autoescape" not in text
    assert not re.search(r"=\{\{|=\{%", text)
    assert not re.search(r"<script|\bon[a-z]+=\"|\bsrc=", text)


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "JaVaScRiPt:x", " /v1"]
)
def test_a_link_leads_to_a_page(address: str) -> None:
    assert not is_address(address)


@pytest.mark.parametrize("address", ["/v1/docs", "https://example.org/a", "?reload=0", "#top", "run.html"])
def test_other_links_are_taken(address: str) -> None:
    assert is_address(address)


@given(st.floats(allow_nan=False))
def test_a_bar_stays_in_its_frame(share: float) -> None:
    root = ET.fromstring(part("bar", share))[0]  # noqa: S314  we made it ourselves
    assert all(0 < float(width) <= 72 for width in (shape.get("width", "0") for shape in root))
