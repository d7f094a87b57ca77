# SPDX-License-Identifier: Apache-2.0
"""What every process needs around its work: files, locks, logs, deadlines, TLS, keys, child processes, units.

Knows no protocol beyond hashes, no chain and no federation.
"""
