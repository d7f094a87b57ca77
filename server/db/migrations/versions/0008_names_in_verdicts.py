# SPDX-License-Identifier: Apache-2.0
"""Other names of reasons and numbers in the verdicts of entries."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_REASONS = {
    "against-others": "against-core",
    "against-path": "against-trajectory",
    "empty": "zero-update",
    "unrelated": "uncorrelated",
}
_NUMBERS = {
    "clip": "clipFactor",
    "company": "coreSimilarity",
    "companyLeast": "multiplierFloor",
    "companyMedian": "coreSimilarityMedian",
    "pathCosine": "trajectoryCosine",
    "pathLimit": "trajectoryThreshold",
    "pathMedian": "trajectoryMedian",
    "relatedShare": "squaredCosineRatio",
    "relatedness": "squaredCosineSum",
    "score": "krumScore",
    "threshold": "krumThreshold",
}
_ENTRIES = sa.table(
    "entries",
    sa.column("round", sa.BigInteger),
    sa.column("position", sa.Integer),
    sa.column("reason", sa.String),
    sa.column("numbers", sa.JSON),
)


def upgrade() -> None:
    """Write the new names."""
    _rename(_REASONS, _NUMBERS)


def downgrade() -> None:
    """Write the old names."""
    _rename({new: old for old, new in _REASONS.items()}, {new: old for old, new in _NUMBERS.items()})


def _rename(reasons: Mapping[str, str], names: Mapping[str, str]) -> None:
    connection, entries = op.get_bind(), _ENTRIES.c
    for before, after in reasons.items():
        connection.execute(_ENTRIES.update().where(entries.reason == before).values(reason=after))
    for number in connection.scalars(sa.select(entries.round).distinct()).all():
        query = sa.select(entries.position, entries.numbers).where(entries.round == number)
        for position, numbers in connection.execute(query).all():
            if numbers and not names.keys().isdisjoint(numbers):
                renamed = {names.get(name, name): value for name, value in numbers.items()}
                place = sa.and_(entries.round == number, entries.position == position)
                connection.execute(_ENTRIES.update().where(place).values(numbers=renamed))
