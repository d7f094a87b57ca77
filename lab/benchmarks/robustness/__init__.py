# SPDX-License-Identifier: Apache-2.0
"""Our rules beside the peers' own code in the same federation under the same attacks.

``python -m benchmarks.robustness`` runs the federation of ``folkmoot drill``, with its seeds and its attackers, and
hands each round's updates to a **contender**: one of our rules, a strategy class of the installed Flower, or a rule of
the installed byzfl. No peer's code is changed, copied or imitated; what is missing on the machine is left out and said
so.
"""
