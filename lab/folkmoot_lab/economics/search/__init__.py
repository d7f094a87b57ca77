# SPDX-License-Identifier: Apache-2.0
"""A program that looks for strategies that pay, by playing the real contracts in an EVM in memory.

`chain` has the contracts, `world` the honest people, `moves` what attackers can do, `scenarios` who attacks,
`searcher` the search. No strategy is written here.
"""
