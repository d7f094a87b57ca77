# SPDX-License-Identifier: Apache-2.0
"""Disputes on the chain: the rounds to look at, demands for data, challenges, and what judges decided."""
