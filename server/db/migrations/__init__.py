# SPDX-License-Identifier: Apache-2.0
"""Alembic migrations, shipped with the package."""
