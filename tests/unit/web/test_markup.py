# SPDX-License-Identifier: Apache-2.0
"""Whatever a stranger writes, it is text on a page, and a page is whole."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.web import pages
from folkmoot.web.markup import Markup, tag, visible

texts = st.text(alphabet=st.characters(codec=None), max_size=40)


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
    reader.feed(page)
    reader.close()
    return reader


@given(texts, texts)
def test_text_comes_out_as_it_went_in(text: str, attribute: str) -> None:
    made = tag("p", text, [tag("b", text), None], title=attribute)
    reader = read(made)
    assert reader.text == 2 * visible(text)
    assert reader.found == [("p", [("title", visible(attribute))]), ("b", [])]
    made.encode()  # no lone surrogate is left


@given(texts)
def test_a_table_and_cards_hold_any_text(text: str) -> None:
    made = pages.table(text, ("a", "#b", '"c'), [(text, text, text)]) + pages.cards([(text, text, text)])
    assert read(made).text == "abc" + 6 * visible(text)


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "JaVaScRiPt:x", " /v1"]
)
def test_a_link_leads_to_a_page(address: str) -> None:
    with pytest.raises(ValueError, match="no address of a page"):
        tag("a", "x", href=address)


@pytest.mark.parametrize("address", ["/v1/docs", "https://example.org/a", "?reload=0", "#top", "run.html"])
def test_other_links_are_taken(address: str) -> None:
    assert f'href="{address}"' in tag("a", "x", href=address)


@pytest.mark.parametrize("name", ["p onclick", "<b>", "", "1p"])
def test_a_name_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        tag(name)


def test_attributes_that_are_no_text() -> None:
    assert tag("td", 1, None, class_="x", data_n=2, hidden=True, title=None, lang=False) == (
        '<td class="x" data-n="2" hidden>1</td>'
    )
    assert tag("br") == "<br>"
    assert Markup.of("<", Markup("<b>"), ["&", 1.5]) == "&lt;<b>&amp;1.5"


@given(st.floats(allow_nan=False))
def test_a_bar_stays_in_its_frame(share: float) -> None:
    root = ET.fromstring(pages.bar(share))[0]  # noqa: S314  we made it ourselves
    assert all(0 < float(part.get("width", "0")) <= 72 for part in root)
