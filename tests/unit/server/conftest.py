# SPDX-License-Identifier: Apache-2.0
"""Fixtures that tests of the coordinator share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.db import schema
from server.db.engine import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database of this release."""
    made = Database.open(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    schema.upgrade(made.engine)
    yield made
    made.close()
