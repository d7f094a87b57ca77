# SPDX-License-Identifier: Apache-2.0
"""The watcher: a process that follows the ledger, examines every round, and disputes what is wrong."""
