# SPDX-License-Identifier: Apache-2.0
"""Attacks on published updates: what they give away about a contributor's records, measured and reported.

``membership`` finds which records were trained on, ``distinguish`` is the adversary who knows all records but one, and
``inversion`` reconstructs records. ``rounds`` simulates a federation with the real codec and outer step, ``published``
reads a running one, and ``study`` runs the attacks on both. Knows NumPy, torch, tasks and files; no server or client.
"""
