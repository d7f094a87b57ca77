# SPDX-License-Identifier: Apache-2.0
"""Attacks on a federation in one process, and what they cost whom (docs/robustness.md).

``federation`` runs one drill with the real codec, checks, rules, sums and outer step; ``attacks`` are what it
is attacked with; ``grid`` runs many. Numpy only; the data comes from the caller.
"""
