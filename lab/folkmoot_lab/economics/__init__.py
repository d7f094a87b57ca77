# SPDX-License-Identifier: Apache-2.0
"""What attacks on a federation cost and bring in, played move by move in exact integers.

No chain and no network: `rules` has the contracts' constants, `world` the moves, `strategies` the attacks. The page
docs/economics.md explains the game; `folkmoot economics` prints the results.
"""
