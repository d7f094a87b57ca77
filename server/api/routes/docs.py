# SPDX-License-Identifier: Apache-2.0
"""The documentation of the API as a page, from the OpenAPI document. It loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from folkmoot.web import pages
from folkmoot.web.markup import Markup, tag

router = APIRouter(tags=["index"])

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": pages.POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What a page is sent with."""


@router.head("/v1/docs", include_in_schema=False)
@router.get("/v1/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """Describe every operation: what it does, what it takes, what it answers."""
    document: Mapping[str, Any] = request.app.openapi()
    info = document["info"]
    body = pages.page(
        info["title"],
        tag(
            "header",
            tag("h1", info["title"]),
            tag("p", f"Release {info['version']}. ", _link("/v1/openapi.json")),
        ),
        tag("main", *_lines(info["description"]), *_operations(document)),
    )
    return HTMLResponse(body, headers=HEADERS)


def _link(path: str) -> Markup:
    return tag("a", path, href=path)


def _operations(document: Mapping[str, Any]) -> Iterator[Markup]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parameters = [
                (found["name"], found["in"], found.get("description", ""))
                for found in operation.get("parameters", [])
            ]
            answers = [(status, found["description"]) for status, found in operation["responses"].items()]
            yield tag(
                "section",
                tag("h2", f"{method.upper()} {path}"),
                *_lines(operation.get("description", "")),
                pages.table("Parameters", ("name", "in", "meaning"), parameters) if parameters else "",
                pages.table("Answers", ("status", "meaning"), answers),
            )


def _lines(text: str) -> Iterator[Markup]:
    """Paragraphs of a text; its tables in Markdown become tables."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip().strip("`") for cell in line.strip("| ").split(" | ")])
            continue
        if rows:
            yield _table(rows)
            rows = []
        if line.strip():
            yield tag("p", line)
    if rows:
        yield _table(rows)


def _table(rows: list[list[str]]) -> Markup:
    return pages.table("Codes", rows[0], rows[2:])
