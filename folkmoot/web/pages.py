# SPDX-License-Identifier: Apache-2.0
"""Build a whole HTML page: its head, its style sheet, and parts that several pages share.

A page is one file without scripts and without resources of other addresses. It works under a strict
Content-Security-Policy, in a text browser, and from a disk.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

from folkmoot.web.markup import Markup, tag

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f5;--card:#fff;--ink:#1c2421;--soft:#5a6660;--edge:#d9dedb;--deep:#0b6b4f;
--good:#0b6b4f;--warn:#8a5a00;--bad:#a3271f;--code:#eef1ef;--c0:#0b6b4f;--c1:#b4501a;--c2:#3b5bb5;--c3:#8a3a86}
@media(prefers-color-scheme:dark){:root{--page:#121614;--card:#1b211e;--ink:#e6ebe8;--soft:#9aa8a1;--edge:#313a36;
--deep:#5fd0a8;--good:#5fd0a8;--warn:#e3b356;--bad:#ff8f85;--code:#232b27;--c0:#5fd0a8;--c1:#f0935b;--c2:#92a9f7;
--c3:#dd92d8}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
header,main,footer{max-width:68rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.75rem}
header p{margin:.25rem 0;color:var(--soft)}
header .now{font-size:1.1rem;color:var(--ink)}
.brand{font-size:.8rem;letter-spacing:.12em;text-transform:uppercase;font-weight:600;color:var(--deep)}
h1{font-size:1.7rem;line-height:1.2;margin:.1rem 0;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.25rem 0 .75rem}
a{color:var(--deep)}
a:focus-visible{outline:3px solid var(--deep);outline-offset:2px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.25rem 0;padding:0}
.cards div,figure,.box{background:var(--card);border:1px solid var(--edge);border-radius:.6rem}
.cards div{padding:.75rem .9rem;min-width:0}
dt,.cards dd+dd{font-size:.82rem;color:var(--soft)}
dd{margin:0}
.cards dd:first-of-type{font-size:1.35rem;font-weight:600;line-height:1.3;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(22rem,100%),1fr));gap:.75rem}
figure{margin:0;padding:.75rem .9rem}
figcaption{font-weight:600}
.chart{display:block;width:100%;height:auto}
.chart text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--edge);stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.s0 .line{stroke:var(--c0)}.s1 .line{stroke:var(--c1);stroke-dasharray:7 4}
.s2 .line{stroke:var(--c2);stroke-dasharray:2 4}.s3 .line{stroke:var(--c3);stroke-dasharray:9 3 2 3}
.s0 .dot{fill:var(--c0)}.s1 .dot{fill:var(--c1)}.s2 .dot{fill:var(--c2)}.s3 .dot{fill:var(--c3)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin:.35rem 0 0;padding:0;font-size:.85rem;
color:var(--soft);overflow-wrap:anywhere}
.legend b{color:var(--ink);font-variant-numeric:tabular-nums}
.sample{width:22px;height:10px;vertical-align:middle}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--edge);border-radius:.6rem}
.wide:focus-visible{outline:3px solid var(--deep)}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:.45rem .9rem;text-align:left;vertical-align:top}
thead th{font-size:.8rem;font-weight:600;color:var(--soft);border-bottom:1px solid var(--edge)}
tbody tr+tr>*{border-top:1px solid var(--edge)}
tbody th{font-weight:600}
td.text{min-width:14rem;overflow-wrap:anywhere}
.note{display:block;max-width:22rem;min-width:12rem;font-size:.85rem;color:var(--soft)}
.number{text-align:right;font-variant-numeric:tabular-nums}
td.number{white-space:nowrap}tbody th{overflow-wrap:anywhere}
.soft{color:var(--soft)}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.good,.warn,.bad{font-weight:600}
.bar{width:72px;height:8px;vertical-align:middle;margin-right:.5rem}
.share{white-space:nowrap}.bar .whole{fill:var(--edge)}.bar .part{fill:var(--c0)}
code,pre{font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--code);border-radius:.4rem;padding:.7rem .9rem;margin:.5rem 0;overflow-x:auto;white-space:pre-wrap;
overflow-wrap:anywhere}
.box{padding:.25rem 1.1rem .6rem}
.box p{margin:.6rem 0}
.box+.wide,.wide+.wide,.box+p{margin-top:.75rem}
.links{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;list-style:none;padding:0;margin:.6rem 0}
summary{cursor:pointer}.copied{display:inline-block;vertical-align:top;max-width:100%}
details>.wide{margin-top:.5rem}.wide+details{margin-top:.6rem}
.whole-name{user-select:all;overflow-wrap:anywhere}
.notice{border-left:4px solid var(--warn);padding:.5rem .9rem;background:var(--card);border-radius:.3rem}
footer{margin-top:2.5rem;padding-bottom:2rem;color:var(--soft);font-size:.85rem}
@media(max-width:30rem){header,main,footer{padding-left:.85rem;padding-right:.85rem}th,td{padding:.4rem .6rem}
.cards{grid-template-columns:1fr 1fr}}
@media(max-width:48rem){.wide{overflow:visible}table,tbody,tr,tbody th,td{display:block}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tbody tr{padding:.55rem .9rem}tbody tr+tr{border-top:1px solid var(--edge)}tbody tr+tr>*{border-top:0}
tbody th,td{padding:0;white-space:normal!important;overflow-wrap:anywhere}
td{display:inline-block;margin:.1rem 1.1rem .1rem 0}
td::before,tbody th::before{content:attr(data-label) " ";font-size:.82rem;font-weight:400;color:var(--soft)}
tbody th:has(*)::before{content:none}td.text{min-width:0}.number{text-align:left}}
@media print{.wide,pre{overflow:visible}}
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

_ALONE = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy inside the page, for a page that is opened from a disk."""

POLICY = f"{_ALONE}; frame-ancestors 'none'"
"""The page's Content-Security-Policy: its own style sheet, its icon, and nothing else."""

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cg fill='%230b6b4f'%3E"
    "%3Ccircle cx='8' cy='3' r='2.2'/%3E%3Ccircle cx='13' cy='8' r='2.2'/%3E%3Ccircle cx='8' cy='13' r='2.2'/%3E"
    "%3Ccircle cx='3' cy='8' r='2.2'/%3E%3C/g%3E%3C/svg%3E"
)


def page(title: str, *body: object, reload: int | None = None) -> bytes:
    """Return a page in UTF-8.

    Args:
        title: Title in the browser.
        body: `header`, `main` and `footer`.
        reload: Seconds after which the page reloads; None for never.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_ALONE),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        None if reload is None else tag("meta", http_equiv="refresh", content=reload),
        tag("title", title),
        Markup(f'<link rel="icon" href="{_ICON}">'),
        Markup(f"<style>{STYLE}</style>"),
    )
    written = tag("html", head, tag("body", *body), lang="en")
    return f"<!doctype html>\n{written}\n".encode()


def cards(values: Iterable[tuple[str, object, object]]) -> Markup:
    """Return the cards of the most important values: name, value, and a remark or None."""
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", value), None if remark is None else tag("dd", remark))
            for name, value, remark in values
        ],
        class_="cards",
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table whose first column has the names of the rows.

    Args:
        caption: Description of the table, for screen readers.
        columns: Headings. `#` at the beginning marks a column of numbers, `"` a column of long texts.
        rows: Cells, as many as there are columns.
    """
    classes = [{"#": "number", '"': "text"}.get(column[:1]) for column in columns]
    heads = [
        tag("th", column.lstrip('#"'), scope="col", class_="number" if kind == "number" else None)
        for column, kind in zip(columns, classes, strict=True)
    ]
    lines = []
    for row in rows:
        first, *rest = zip(row, columns, classes, strict=True)
        # On a narrow screen a row is a card, whose values have the heading beside them.
        cells = [tag("td", cell, class_=kind, data_label=name.lstrip('#"')) for cell, name, kind in rest]
        lines.append(tag("tr", tag("th", first[0], scope="row", data_label=columns[0].lstrip('#"')), cells))
    element = tag("table", tag("thead", tag("tr", heads)), tag("tbody", lines))
    return tag("div", element, class_="wide", role="region", aria_label=caption, tabindex=0)


def folded(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]], first: int = 12) -> Markup:
    """Return a table of the first rows, and of the others in a part that a reader opens."""
    more = rows[first:]
    rest = (
        tag("details", tag("summary", f"{len(more)} more"), table(f"More: {caption}", columns, more))
        if more
        else None
    )
    return Markup.of(table(caption, columns, rows[:first]), rest)


def bar(share: float, text: str = "") -> Markup:
    """Return a bar for a share between 0 and 1, with a text: by default its percentage."""
    width = max(0.0, min(1.0, share)) * 72
    drawn = tag(
        "svg",
        tag("rect", width=72, height=8, rx=4, class_="whole"),
        tag("rect", width=f"{width:g}", height=8, rx=4, class_="part") if width else None,
        viewBox="0 0 72 8",
        class_="bar",
        aria_hidden="true",
    )
    return tag("span", drawn, text or f"{share:.0%}", class_="share")


def copied(name: str) -> Markup:
    """Return a hash or address shortened, and in full where it is opened: one click marks it for copying."""
    return tag(
        "details", tag("summary", short(name)), tag("code", name, class_="whole-name"), class_="copied"
    )


def short(name: str, keep: int = 10) -> Markup:
    """Return a shortened hash or address, with the full one in its title."""
    return tag("code", name) if len(name) <= keep + 1 else tag("code", name[:keep] + "…", title=name)
