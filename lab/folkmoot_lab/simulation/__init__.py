# SPDX-License-Identifier: Apache-2.0
"""Simulation of attacks on a federation in one process, with their effects measured (docs/robustness.md).

``federation`` runs one drill (a simulated federation under attack), whose rounds `folkmoot.round` computes; ``attacks``
has the attacks; ``grid`` runs many drills. Numpy only; the data comes from the caller.
"""
