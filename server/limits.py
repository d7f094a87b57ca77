# SPDX-License-Identifier: Apache-2.0
"""Limits that commands and the API share; without imports, because commands start fast."""

from __future__ import annotations

MOST_PATIENCE = 30 * 86_400
"""Longest patience of a run, in seconds."""

MOST_WAIT = 3_600
"""Longest wait for nodes at the beginning of a run, in seconds."""
