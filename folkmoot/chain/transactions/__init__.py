# SPDX-License-Identifier: Apache-2.0
"""Transactions that are sent once, whatever is killed: noted before they are sent, found again, replaced, cancelled.

Knows no contract: what a transaction is for is its caller's affair.
"""

CONFIRM_TIMEOUT = 180.0
"""Seconds that a transaction may take to be mined."""
