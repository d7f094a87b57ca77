# SPDX-License-Identifier: Apache-2.0
"""Attacks of contributors on a federation: simulated ones, and nodes that lie."""
