# SPDX-License-Identifier: Apache-2.0
"""The life of a round: the engine that leads every round from its opening to its rewards.

Decides when, never what: the outcome of a round is `folkmoot.round`'s, and what reaches the chain goes
through the outbox.
"""
