# SPDX-License-Identifier: Apache-2.0
"""The coordinator's database: its tables, its engine, its migrations.

Knows SQLAlchemy and nothing of the chain, of HTTP or of a round's rules.
"""
