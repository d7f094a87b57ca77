# SPDX-License-Identifier: Apache-2.0
"""The coordinator's side of the chain: what it sends (outbox) and what it reads (indexer).

Knows transactions and events, not what a round is.
"""
