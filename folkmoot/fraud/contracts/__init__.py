# SPDX-License-Identifier: Apache-2.0
"""Disputes on the chain: rounds to check, demands for data, challenges, and decisions of judges."""
